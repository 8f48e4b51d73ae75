/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a kernel would say of the simulated hardware, in a tree of files that has a log of its own:
 * a record is appended to <root>/dev/kmsg where that is a regular file. On a running system the
 * device is left alone, because the kernel marks what programs write there as theirs.
 */
#ifndef LAB_KERNEL_LOG_H
#define LAB_KERNEL_LOG_H

#include <stdbool.h>

#include "common/machine.h"

/* An access of this GPU that its IOMMU had no translation for. */
void kernel_log_iommu_fault(const struct machine *machine, int gpu, bool write);

/* Xid 31: an address that the GPU's memory management unit does not know. */
void kernel_log_mmu_fault(const struct machine *machine, int gpu);

#endif
