// SPDX-License-Identifier: MIT OR GPL-2.0-or-later
/* nvidia-drm.ko: uses nvidia-modeset.ko, which uses nvidia.ko; unloading goes backwards. */

#include <linux/errno.h>
#include <linux/module.h>

#include "nv-modules.h"

static struct nvkms_kapi_functions_table kapi;

static bool modeset;
module_param(modeset, bool, 0400);
MODULE_PARM_DESC(modeset, "Enable DRM kernel mode setting");

static int __init nv_drm_init(void)
{
	if (!nvKmsKapiGetFunctionsTable(&kapi))
		return -EINVAL;
	pr_info("[drm] [nvidia-drm] %d GPU(s), modeset=%d\n", kapi.device_count(), modeset);
	return 0;
}

static void __exit nv_drm_exit(void)
{
	pr_info("[drm] [nvidia-drm] Unloading driver\n");
}

module_init(nv_drm_init);
module_exit(nv_drm_exit);

MODULE_LICENSE("Dual MIT/GPL");
MODULE_VERSION(NV_VERSION_STRING);
MODULE_DESCRIPTION("Simulated NVIDIA DRM driver of the gpufleet lab");
