// SPDX-License-Identifier: MIT OR GPL-2.0-or-later
/* Turns the registry of nv-reg.h into module parameters and into the text of params. */

#include <linux/module.h>

#include "nv-reg.h"
#include "nv.h"

#define DEFINE_NUMBER(name, value)				\
	static unsigned int NVreg_##name = value;		\
	module_param(NVreg_##name, uint, 0);
#define DEFINE_TEXT(name)					\
	static char *NVreg_##name;				\
	module_param(NVreg_##name, charp, 0);

NV_REGISTRY_NUMBERS(DEFINE_NUMBER)
NV_REGISTRY_TEXTS(DEFINE_TEXT)

#define SHOW_NUMBER(name, value) seq_printf(file, "%s: %u\n", #name, NVreg_##name);
#define SHOW_TEXT(name) \
	seq_printf(file, "%s: \"%s\"\n", #name, NVreg_##name ? NVreg_##name : "");

void nv_registry_show(struct seq_file *file)
{
	NV_REGISTRY_NUMBERS(SHOW_NUMBER)
	NV_REGISTRY_TEXTS(SHOW_TEXT)
}
