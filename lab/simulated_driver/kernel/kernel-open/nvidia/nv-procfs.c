// SPDX-License-Identifier: MIT OR GPL-2.0-or-later
/*
 * /proc/driver/nvidia: version, params and gpus/<address>/information in the real driver's
 * formats, and lab_peer_to_peer, by which the lab's userspace libraries learn which variant
 * of the module is loaded.
 */

#include <linux/errno.h>

#include "nv-rm.h"
#include "nv.h"

static struct proc_dir_entry *directory;
static struct proc_dir_entry *gpus_directory;

static int version_show(struct seq_file *file, void *unused)
{
	seq_printf(file, "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  %s"
			 "  Release Build  (gpufleet@lab)\n", NV_VERSION_STRING);
	seq_puts(file, "GCC version:  gcc version " __VERSION__ "\n");
	return 0;
}

static int params_show(struct seq_file *file, void *unused)
{
	nv_registry_show(file);
	return 0;
}

static int peer_to_peer_show(struct seq_file *file, void *unused)
{
	seq_printf(file, "%s\n", rm_peer_to_peer_name(rm_peer_to_peer_type()));
	return 0;
}

static int information_show(struct seq_file *file, void *unused)
{
	struct pci_dev *device = file->private;

	seq_puts(file, "Model: \t\t Unknown\n");
	seq_printf(file, "IRQ:   \t\t %u\n", device->irq);
	seq_puts(file, "GPU UUID: \t GPU-????????-????-????-????-????????????\n");
	seq_puts(file, "Video BIOS: \t ??.??.??.??.??\n");
	seq_puts(file, "Bus Type: \t PCIe\n");
	seq_printf(file, "Bus Location: \t %s\n", pci_name(device));
	seq_printf(file, "GPU Firmware: \t %s\n", NV_VERSION_STRING);
	seq_puts(file, "GPU Excluded:\t No\n");
	return 0;
}

int nv_procfs_init(void)
{
	directory = proc_mkdir("driver/nvidia", NULL);
	if (!directory)
		return -ENOMEM;
	gpus_directory = proc_mkdir("gpus", directory);
	if (!gpus_directory ||
	    !proc_create_single("version", 0444, directory, version_show) ||
	    !proc_create_single("params", 0444, directory, params_show) ||
	    !proc_create_single("lab_peer_to_peer", 0444, directory, peer_to_peer_show)) {
		nv_procfs_exit();
		return -ENOMEM;
	}
	return 0;
}

void nv_procfs_exit(void)
{
	proc_remove(directory);
	directory = NULL;
	gpus_directory = NULL;
}

/* Best effort: a GPU without its text still works, so a failure is not returned. */
void nv_procfs_add_gpu(struct pci_dev *device)
{
	struct proc_dir_entry *gpu = proc_mkdir(pci_name(device), gpus_directory);

	if (!gpu || !proc_create_single_data("information", 0444, gpu, information_show, device))
		pci_warn(device, "NVRM: no entry in /proc/driver/nvidia/gpus\n");
}

void nv_procfs_remove_gpu(struct pci_dev *device)
{
	remove_proc_subtree(pci_name(device), gpus_directory);
}
