// SPDX-License-Identifier: GPL-3.0-or-later
/* What one device is, and who uses it. */

#include <stdio.h>
#include <string.h>

#include "common/context_registry.h"
#include "common/error_counters.h"
#include "nvml/session.h"

/* What the driver keeps for itself of a card's memory. */
#define RESERVED_BYTES (512ull << 20)
/* Static mappings of BAR1 of an idle card. */
#define BAR1_USED_BYTES (16ull << 20)
#define MEMORY_VERSION_2 (sizeof(nvmlMemory_v2_t) | 2u << 24)
#define MAXIMUM_PROCESSES 256
#define NO_INSTANCE 0xFFFFFFFFu

static const struct gpu_description *described(int index)
{
	return &session_machine()->host.gpus[index];
}

void fill_pci_info(const struct gpu_state *gpu, nvmlPciInfo_t *info)
{
	memset(info, 0, sizeof(*info));
	info->domain = gpu->domain;
	info->bus = gpu->bus;
	info->device = gpu->device;
	info->pciDeviceId = gpu->pci_device << 16 | gpu->pci_vendor;
	snprintf(info->busIdLegacy, sizeof(info->busIdLegacy), "%04X:%02X:%02X.%X",
		 gpu->domain & 0xFFFFu, gpu->bus & 0xFFu, gpu->device & 0xFFu,
		 gpu->function & 0xFu);
	snprintf(info->busId, sizeof(info->busId), "%08X:%02X:%02X.%X", gpu->domain, gpu->bus,
		 gpu->device, gpu->function);
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index)
{
	int gpu;
	nvmlReturn_t result = session_device(device, index, &gpu);

	if (!result)
		*index = (unsigned int)gpu;
	return result;
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length)
{
	int gpu;
	nvmlReturn_t result = session_device(device, name, &gpu);

	return result ? result : session_text(name, length, described(gpu)->name);
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length)
{
	int gpu;
	nvmlReturn_t result = session_device(device, uuid, &gpu);

	return result ? result : session_text(uuid, length, described(gpu)->uuid);
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *info)
{
	int gpu;
	nvmlReturn_t result = session_device(device, info, &gpu);

	if (!result)
		fill_pci_info(device, info);
	return result;
}

nvmlReturn_t nvmlDeviceGetPciInfo(nvmlDevice_t device, nvmlPciInfo_t *info)
{
	return nvmlDeviceGetPciInfo_v3(device, info);
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
	int gpu;
	nvmlReturn_t result = session_device(device, memory, &gpu);

	if (!result) {
		memory->total = described(gpu)->memory_bytes;
		memory->used = RESERVED_BYTES;
		memory->free = memory->total - memory->used;
	}
	return result;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory)
{
	int gpu;
	nvmlReturn_t result = session_device(device, memory, &gpu);

	if (result)
		return result;
	if (memory->version != MEMORY_VERSION_2)
		return NVML_ERROR_INVALID_ARGUMENT;
	memory->total = described(gpu)->memory_bytes;
	memory->reserved = RESERVED_BYTES;
	memory->used = 0;
	memory->free = memory->total - memory->reserved;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetBAR1MemoryInfo(nvmlDevice_t device, nvmlBAR1Memory_t *memory)
{
	int gpu;
	nvmlReturn_t result = session_device(device, memory, &gpu);

	if (!result) {
		memory->bar1Total = described(gpu)->bar1_bytes;
		memory->bar1Used = BAR1_USED_BYTES;
		memory->bar1Free = memory->bar1Total - memory->bar1Used;
	}
	return result;
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor)
{
	int gpu;
	nvmlReturn_t result = session_device(device, major && minor ? major : NULL, &gpu);

	if (!result) {
		*major = (int)described(gpu)->compute_major;
		*minor = (int)described(gpu)->compute_minor;
	}
	return result;
}

nvmlReturn_t nvmlDeviceGetDisplayMode(nvmlDevice_t device, int *enabled)
{
	int gpu;
	nvmlReturn_t result = session_device(device, enabled, &gpu);

	if (!result)
		*enabled = described(gpu)->display;
	return result;
}

nvmlReturn_t nvmlDeviceGetDisplayActive(nvmlDevice_t device, int *active)
{
	return nvmlDeviceGetDisplayMode(device, active);
}

nvmlReturn_t nvmlDeviceGetComputeMode(nvmlDevice_t device, int *mode)
{
	int gpu;
	nvmlReturn_t result = session_device(device, mode, &gpu);

	if (!result)
		*mode = (int)described(gpu)->compute_mode;
	return result;
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *current,
				  unsigned int *pending)
{
	int gpu;
	nvmlReturn_t result = session_device(device, current && pending ? current : NULL, &gpu);

	return result ? result : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t device, int *current, int *pending)
{
	int gpu;
	nvmlReturn_t result = session_device(device, current && pending ? current : NULL, &gpu);

	if (result)
		return result;
	if (!described(gpu)->ecc)
		return NVML_ERROR_NOT_SUPPORTED;
	*current = *pending = 1;
	return NVML_SUCCESS;
}

/* Counted since the driver was loaded (volatile, 0) or for good (aggregate, 1): here the same. */
nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, int type, int counter,
					 unsigned long long *count)
{
	int gpu;
	nvmlReturn_t result = session_device(device, count, &gpu);

	if (result)
		return result;
	if (type < 0 || type > 1 || counter < 0 || counter > 1)
		return NVML_ERROR_INVALID_ARGUMENT;
	if (!described(gpu)->ecc)
		return NVML_ERROR_NOT_SUPPORTED;
	*count = error_counters_read(gpu, type ? ERROR_ECC_UNCORRECTED : ERROR_ECC_CORRECTED);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *count,
						     nvmlProcessInfo_t *processes)
{
	pid_t pids[MAXIMUM_PROCESSES];
	size_t found;
	int gpu;
	nvmlReturn_t result = session_device(device, count, &gpu);

	if (result)
		return result;
	found = context_registry_list(gpu, pids, MAXIMUM_PROCESSES);
	if (found > MAXIMUM_PROCESSES)
		found = MAXIMUM_PROCESSES;
	if (found > *count) {
		*count = (unsigned int)found;
		return NVML_ERROR_INSUFFICIENT_SIZE;
	}
	if (found > 0 && !processes)
		return NVML_ERROR_INVALID_ARGUMENT;
	for (size_t index = 0; index < found; index++)
		processes[index] = (nvmlProcessInfo_t){
			.pid = (unsigned int)pids[index],
			.usedGpuMemory = NVML_VALUE_NOT_AVAILABLE,
			.gpuInstanceId = NO_INSTANCE,
			.computeInstanceId = NO_INSTANCE,
		};
	*count = (unsigned int)found;
	return NVML_SUCCESS;
}

/* Nothing in the lab draws. */
nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t device, unsigned int *count,
						      nvmlProcessInfo_t *processes)
{
	int gpu;
	nvmlReturn_t result = session_device(device, count, &gpu);

	(void)processes;
	if (!result)
		*count = 0;
	return result;
}
