/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The described host joined with what is true of the machine at this moment: which GPUs the
 * PCI bus has, whether the IOMMU translates for them, which variant of nvidia.ko is loaded.
 */
#ifndef LAB_MACHINE_H
#define LAB_MACHINE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/fault.h"
#include "common/host_description.h"

struct gpu_state {
	char bdf[16];			/* 0000:01:00.0 */
	unsigned int domain, bus, device, function;
	unsigned int pci_vendor, pci_device;
	bool iommu_translates;		/* its group exists and is not of type identity */
	struct pcie_link slot;		/* the bridge directly above, as sysfs reads it */
	struct pcie_link uplink;	/* slowest of the bridges above that one */
	bool acs_redirects;		/* a switch's port above sends peer requests up to the host */
	unsigned int payload_bytes;	/* smallest DevCtl MPS from here to the root; 0 = unknown */
};

struct machine {
	struct host_description host;
	struct gpu_state gpus[MAXIMUM_GPUS];
	size_t gpu_count;		/* described and present on the bus */
	bool module_loaded;
	char module_version[32];
	bool peer_to_peer_patched;
	struct fault fault;
};

/* The machine, read once per process; NULL if the description or the fault is wrong. */
const struct machine *machine_get(void);

/* Whether the loaded module is of the release this library was built as. */
bool machine_version_matches(const struct machine *machine);

/* The NVLink bundle from one GPU to another, or NULL. */
const struct nvlink_peer *machine_nvlink(const struct machine *machine, int from, int to);

/* What the driver claims: always, once patched (that is the forks' lie), or with NVLink. */
bool machine_claims_peer_access(const struct machine *machine, int from, int to);

/* Whether peer transfers between the two really arrive. */
bool machine_peer_access_works(const struct machine *machine, int from, int to);

#endif
