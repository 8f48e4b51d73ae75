/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The described host (lab/hosts/<name>.json): which GPUs, behind which links. */
#ifndef LAB_HOST_DESCRIPTION_H
#define LAB_HOST_DESCRIPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAXIMUM_GPUS 32
#define MAXIMUM_PORTS 64
#define MAXIMUM_NVLINK_PEERS 8
#define MAXIMUM_NVLINKS 18		/* NVML_NVLINK_MAX_LINKS */

struct pcie_link {
	unsigned int generation;	/* 1 to 6; 0 = unknown */
	unsigned int width;		/* lanes; 0 = unknown */
};

struct port {
	char name[32];
	bool is_switch;
	int parent;			/* index of the port above a switch, -1 for a root port */
	struct pcie_link link;		/* below a root port; above a switch */
	int numa_node;
	double peer_share;		/* of a link's rate that GPUs behind a switch get to peers */
};

struct nvlink_peer {
	unsigned int gpu;
	unsigned int links;
	double bytes_per_second_per_link;
};

/* NVML's nvmlComputeMode_t. */
enum compute_mode { COMPUTE_DEFAULT = 0, COMPUTE_PROHIBITED = 2, COMPUTE_EXCLUSIVE_PROCESS = 3 };

enum error_kind { ERROR_PCIE_REPLAY, ERROR_ECC_CORRECTED, ERROR_ECC_UNCORRECTED, ERROR_KINDS };
#define MAXIMUM_ERRORS_PER_TRANSFER 16

struct gpu_description {
	char name[96];
	char uuid[48];			/* GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx */
	int port;			/* index: the root port or the switch it sits under */
	unsigned int compute_major, compute_minor;
	uint64_t memory_bytes;
	uint64_t bar1_bytes;
	struct pcie_link link;
	int numa_node;
	bool display;
	struct nvlink_peer nvlink[MAXIMUM_NVLINK_PEERS];
	size_t nvlink_count;
	unsigned int nvlink_ports;	/* of the card; those beyond its links are inactive */
	bool ecc;			/* has error-correcting memory, and counts its errors */
	enum compute_mode compute_mode;
	unsigned int errors_per_transfer[ERROR_KINDS];
};

struct host_description {
	struct port ports[MAXIMUM_PORTS];
	size_t port_count;
	struct gpu_description gpus[MAXIMUM_GPUS];
	size_t gpu_count;
	bool cpu_is_amd;
	bool knows_confidential_compute, confidential_compute;
	int cuda_version;		/* as cuDriverGetVersion: 13020 = 13.2 */
	unsigned int link_payload_bytes;
	double socket_share;		/* of a link's rate that peers get across NUMA nodes */
	uint64_t simulated_free_bytes;
	double latency_off, latency_on;	/* seconds per queued small copy */
};

/* Reads $GPUFLEET_LAB_HOST or <root>/etc/gpufleet-lab/host.json. False with a line on
 * standard error if it is missing or wrong: a lab that guesses would prove nothing. */
bool host_description_read(struct host_description *host);

#endif
