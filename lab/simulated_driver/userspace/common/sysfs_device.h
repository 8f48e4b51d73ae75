/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reads one PCI device of <root>/sys/bus/pci/devices and the bridges above it. */
#ifndef LAB_SYSFS_DEVICE_H
#define LAB_SYSFS_DEVICE_H

#include "common/machine.h"

/* False if the name is no PCI address or the device's identity cannot be read. */
bool sysfs_device_read(const char *name, struct gpu_state *gpu);

#endif
