// SPDX-License-Identifier: MIT OR GPL-2.0-or-later
/* Binds to the lab's GPUs, which are QEMU's pci-testdev with a BAR of the size of a GPU's
 * BAR1. Nothing on the device is touched: the driver link in sysfs is what matters. */

#include <linux/atomic.h>
#include <linux/module.h>

#include "nv.h"

#define LAB_GPU_VENDOR 0x1b36
#define LAB_GPU_DEVICE 0x0005

static atomic_t device_count = ATOMIC_INIT(0);

static int nv_pci_probe(struct pci_dev *device, const struct pci_device_id *id)
{
	int status = pci_enable_device_mem(device);

	if (status) {
		pci_err(device, "NVRM: cannot enable the device: %d\n", status);
		return status;
	}
	pci_set_master(device);
	nv_procfs_add_gpu(device);
	atomic_inc(&device_count);
	return 0;
}

static void nv_pci_remove(struct pci_dev *device)
{
	atomic_dec(&device_count);
	nv_procfs_remove_gpu(device);
	pci_clear_master(device);
	pci_disable_device(device);
}

static const struct pci_device_id nv_pci_table[] = {
	{ PCI_DEVICE(LAB_GPU_VENDOR, LAB_GPU_DEVICE) },
	{ }
};
MODULE_DEVICE_TABLE(pci, nv_pci_table);

static struct pci_driver nv_pci_driver = {
	.name = "nvidia",
	.id_table = nv_pci_table,
	.probe = nv_pci_probe,
	.remove = nv_pci_remove,
};

int nv_pci_register_driver(void)
{
	return pci_register_driver(&nv_pci_driver);
}

void nv_pci_unregister_driver(void)
{
	pci_unregister_driver(&nv_pci_driver);
}

int nv_pci_device_count(void)
{
	return atomic_read(&device_count);
}
