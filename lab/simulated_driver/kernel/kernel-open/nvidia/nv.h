/* SPDX-License-Identifier: MIT OR GPL-2.0-or-later */
/* What the files of nvidia.ko share. */
#ifndef NV_H
#define NV_H

#include <linux/pci.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

/* nv-pci.c */
int nv_pci_register_driver(void);
void nv_pci_unregister_driver(void);
int nv_pci_device_count(void);

/* nv-procfs.c: a directory per GPU can only be added between init and exit. */
int nv_procfs_init(void);
void nv_procfs_exit(void);
void nv_procfs_add_gpu(struct pci_dev *device);
void nv_procfs_remove_gpu(struct pci_dev *device);

/* nv-reg.c */
void nv_registry_show(struct seq_file *file);

#endif
