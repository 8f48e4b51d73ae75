// SPDX-License-Identifier: MIT OR GPL-2.0-or-later
/* nvidia-modeset.ko: takes nvidia.ko's operations and offers the kernel interface that
 * nvidia-drm.ko uses. */

#include <linux/module.h>

#include "nv-modules.h"

static struct nvidia_modeset_rm_ops rm_ops = { .version_string = NV_VERSION_STRING };

bool nvKmsKapiGetFunctionsTable(struct nvkms_kapi_functions_table *table)
{
	table->version_string = rm_ops.version_string;
	table->device_count = rm_ops.device_count;
	return true;
}
EXPORT_SYMBOL(nvKmsKapiGetFunctionsTable);

static int __init nvkms_init(void)
{
	int status = nvidia_get_rm_ops(&rm_ops);

	if (status)
		pr_err("nvidia-modeset: release %s cannot work with nvidia.ko of %s\n",
		       NV_VERSION_STRING, rm_ops.version_string);
	else
		pr_info("nvidia-modeset: Loading NVIDIA UNIX Open Kernel Mode Setting Driver"
			" for x86_64  %s  (gpufleet@lab)\n", NV_VERSION_STRING);
	return status;
}

static void __exit nvkms_exit(void)
{
	pr_info("nvidia-modeset: Unloading\n");
}

module_init(nvkms_init);
module_exit(nvkms_exit);

MODULE_LICENSE("Dual MIT/GPL");
MODULE_VERSION(NV_VERSION_STRING);
MODULE_DESCRIPTION("Simulated NVIDIA mode setting driver of the gpufleet lab");
