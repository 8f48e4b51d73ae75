// SPDX-License-Identifier: MIT OR GPL-2.0-or-later
/* nvidia-uvm.ko: registers with nvidia.ko, as the unified memory driver does. */

#include <linux/module.h>

#include "nv-modules.h"

static int __init uvm_init(void)
{
	return nvUvmInterfaceRegisterUvmCallbacks();
}

static void __exit uvm_exit(void)
{
	nvUvmInterfaceDeRegisterUvmOps();
}

module_init(uvm_init);
module_exit(uvm_exit);

MODULE_LICENSE("Dual MIT/GPL");
MODULE_VERSION(NV_VERSION_STRING);
MODULE_DESCRIPTION("Simulated NVIDIA unified memory driver of the gpufleet lab");
