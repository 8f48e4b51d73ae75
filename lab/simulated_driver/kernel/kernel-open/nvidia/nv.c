// SPDX-License-Identifier: MIT OR GPL-2.0-or-later
/* Loading and unloading of nvidia.ko, and what it offers to the other four modules. */

#include <linux/errno.h>
#include <linux/module.h>
#include <linux/string.h>

#include "nv-modules.h"
#include "nv-rm.h"
#include "nv.h"

static int __init nvidia_init_module(void)
{
	int status;

	if (strcmp(rm_version_string(), NV_VERSION_STRING) != 0) {
		pr_err("NVRM: nv-kernel.o is of release %s, kernel-open of %s\n",
		       rm_version_string(), NV_VERSION_STRING);
		return -EINVAL;
	}
	status = nv_procfs_init();
	if (status)
		return status;
	status = nv_pci_register_driver();
	if (status)
		goto no_driver;
	/* Like the real driver: without a GPU there is nothing to stay for. */
	if (nv_pci_device_count() == 0) {
		pr_err("NVRM: No NVIDIA GPU found.\n");
		status = -ENODEV;
		goto no_device;
	}
	pr_info("NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  %s  Release Build\n",
		NV_VERSION_STRING);
	return 0;

no_device:
	nv_pci_unregister_driver();
no_driver:
	nv_procfs_exit();
	return status;
}

static void __exit nvidia_exit_module(void)
{
	nv_pci_unregister_driver();
	nv_procfs_exit();
}

/* Returns -EINVAL if the caller was built for another release. */
int nvidia_get_rm_ops(struct nvidia_modeset_rm_ops *ops)
{
	bool same_release = strcmp(ops->version_string, NV_VERSION_STRING) == 0;

	ops->version_string = NV_VERSION_STRING;
	ops->device_count = nv_pci_device_count;
	return same_release ? 0 : -EINVAL;
}
EXPORT_SYMBOL(nvidia_get_rm_ops);

int nvUvmInterfaceRegisterUvmCallbacks(void)
{
	return nv_pci_device_count() > 0 ? 0 : -ENODEV;
}
EXPORT_SYMBOL(nvUvmInterfaceRegisterUvmCallbacks);

void nvUvmInterfaceDeRegisterUvmOps(void)
{
	pr_debug("NVRM: UVM operations deregistered\n");
}
EXPORT_SYMBOL(nvUvmInterfaceDeRegisterUvmOps);

bool nvidia_p2p_is_supported(void)
{
	return rm_peer_to_peer_type() != RM_PEER_TO_PEER_NONE;
}
EXPORT_SYMBOL(nvidia_p2p_is_supported);

module_init(nvidia_init_module);
module_exit(nvidia_exit_module);

MODULE_LICENSE("Dual MIT/GPL");
MODULE_VERSION(NV_VERSION_STRING);
MODULE_DESCRIPTION("Simulated NVIDIA driver of the gpufleet lab");
