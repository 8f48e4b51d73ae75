/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who has a context on which GPU, so that NVML can list processes as the real one does:
 * <root>/run/gpufleet-lab/contexts/<pid>.<gpu index>, one empty file each.
 */
#ifndef LAB_CONTEXT_REGISTRY_H
#define LAB_CONTEXT_REGISTRY_H

#include <stddef.h>
#include <sys/types.h>

/* Best effort: a process that may not write there is not listed. */
void context_registry_add(int gpu);
void context_registry_remove(int gpu);

/* Living processes with a context on the GPU: their number, the first `size` of them in pids. */
size_t context_registry_list(int gpu, pid_t *pids, size_t size);

#endif
