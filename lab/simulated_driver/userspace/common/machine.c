// SPDX-License-Identifier: GPL-3.0-or-later

#include "common/machine.h"

#include <dirent.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/sysfs_device.h"
#include "common/text_file.h"

static struct machine the_machine;
static bool machine_is_read;
static pthread_once_t machine_once = PTHREAD_ONCE_INIT;

static void read_module(struct machine *machine)
{
	char path[PATH_MAX];
	char line[256];
	const char *release;

	if (!path_format(path, sizeof(path), "%s/proc/driver/nvidia/version", tree_root()) ||
	    !read_line(path, line, sizeof(line)))
		return;
	/* "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  595.58.03  Release Build" */
	release = strstr(line, "x86_64");
	if (!release || sscanf(release, "x86_64 %31s", machine->module_version) != 1)
		return;
	machine->module_loaded = true;
	if (path_format(path, sizeof(path), "%s/proc/driver/nvidia/lab_peer_to_peer", tree_root()) &&
	    read_line(path, line, sizeof(line)))
		machine->peer_to_peer_patched = strcmp(line, "bar1") == 0;
}

static int compare_bdf(const void *left, const void *right)
{
	const struct gpu_state *a = left, *b = right;

	return strcmp(a->bdf, b->bdf);
}

static void read_gpus(struct machine *machine)
{
	const char *match = getenv("GPUFLEET_LAB_MATCH");
	unsigned int vendor = 0x1b36, device = 0x0005;
	struct gpu_state *found = calloc(MAXIMUM_GPUS, sizeof(*found));
	size_t count = 0;
	struct dirent *entry;
	char path[PATH_MAX];
	DIR *directory;

	if (match && sscanf(match, "%x:%x", &vendor, &device) != 2)
		fprintf(stderr, "gpufleet lab: GPUFLEET_LAB_MATCH is not vendor:device: %s\n", match);
	if (!found || !path_format(path, sizeof(path), "%s/sys/bus/pci/devices", tree_root())) {
		free(found);
		return;
	}
	directory = opendir(path);
	while (directory && count < MAXIMUM_GPUS && (entry = readdir(directory))) {
		struct gpu_state *gpu = &found[count];

		if (sysfs_device_read(entry->d_name, gpu) && gpu->pci_vendor == vendor &&
		    gpu->pci_device == device)
			count++;
		else
			memset(gpu, 0, sizeof(*gpu));
	}
	if (directory)
		closedir(directory);
	qsort(found, count, sizeof(*found), compare_bdf);
	machine->gpu_count = count < machine->host.gpu_count ? count : machine->host.gpu_count;
	memcpy(machine->gpus, found, machine->gpu_count * sizeof(*found));
	free(found);
}

static void read_machine(void)
{
	if (!host_description_read(&the_machine.host) || !fault_read(&the_machine.fault))
		return;
	read_module(&the_machine);
	read_gpus(&the_machine);
	machine_is_read = true;
}

const struct machine *machine_get(void)
{
	pthread_once(&machine_once, read_machine);
	return machine_is_read ? &the_machine : NULL;
}

bool machine_version_matches(const struct machine *machine)
{
	return strcmp(machine->module_version, NV_VERSION_STRING) == 0;
}

const struct nvlink_peer *machine_nvlink(const struct machine *machine, int from, int to)
{
	const struct gpu_description *gpu = &machine->host.gpus[from];

	for (size_t index = 0; index < gpu->nvlink_count; index++)
		if ((int)gpu->nvlink[index].gpu == to)
			return &gpu->nvlink[index];
	return NULL;
}

enum generation { TURING_OR_OLDER, AMPERE, ADA, HOPPER, BLACKWELL };

static enum generation generation_of(const struct gpu_description *gpu)
{
	if (gpu->compute_major >= 10)
		return BLACKWELL;
	if (gpu->compute_major == 9)
		return HOPPER;
	if (gpu->compute_major == 8)
		return gpu->compute_minor == 9 ? ADA : AMPERE;
	return TURING_OR_OLDER;
}

bool machine_claims_peer_access(const struct machine *machine, int from, int to)
{
	/* Between confidential GPUs there is none over PCIe, whatever the module. */
	return from != to && !machine->host.confidential_compute &&
	       (machine->peer_to_peer_patched || machine_nvlink(machine, from, to) != NULL);
}

static bool bar1_covers_memory(const struct gpu_description *gpu)
{
	return gpu->bar1_bytes >= gpu->memory_bytes;
}

bool machine_peer_access_works(const struct machine *machine, int from, int to)
{
	const struct gpu_description *a = &machine->host.gpus[from];
	const struct gpu_description *b = &machine->host.gpus[to];

	if (machine->host.confidential_compute)
		return false;
	if (machine_nvlink(machine, from, to))
		return true;
	return machine->peer_to_peer_patched && !machine->gpus[from].iommu_translates &&
	       !machine->gpus[to].iommu_translates && generation_of(a) == generation_of(b) &&
	       generation_of(a) != TURING_OR_OLDER && bar1_covers_memory(a) &&
	       bar1_covers_memory(b);
}
