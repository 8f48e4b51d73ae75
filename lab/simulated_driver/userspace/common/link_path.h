/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The links that a transfer passes, and how fast the slowest of them is. */
#ifndef LAB_LINK_PATH_H
#define LAB_LINK_PATH_H

#include "common/machine.h"

/* Each direction of each link is a resource that one transfer uses at a time. */
#define LINK_RESOURCES (2 * (MAXIMUM_GPUS + MAXIMUM_PORTS) + MAXIMUM_GPUS * MAXIMUM_GPUS)
#define MAXIMUM_HOPS 16

struct link_path {
	int resources[MAXIMUM_HOPS];
	size_t count;
	double bytes_per_second;
};

/* From the memory of one GPU to that of another, by NVLink where there is one. */
struct link_path link_path_between(const struct machine *machine, int from, int to);

/* The same through the host's memory: never by NVLink, and always up to the root. */
struct link_path link_path_staged(const struct machine *machine, int from, int to);

/* Between a GPU and the host's memory. */
struct link_path link_path_host(const struct machine *machine, int gpu, bool to_host);

/* The GPU's own link as it runs: its capability, the described port, what sysfs reads. */
struct pcie_link link_of_gpu(const struct machine *machine, int gpu);

/* How near two GPUs are, in NVML's levels: 10 one switch, 20 switches, 30 the same node's
 * host bridge, 50 across sockets. */
int link_common_ancestor(const struct machine *machine, int first, int second);

#endif
