// SPDX-License-Identifier: GPL-3.0-or-later

#include <stdio.h>
#include <string.h>

#include "cuda/simulation.h"

/* CUdevice_attribute, the ones that have an answer other than zero. */
enum {
	ATTRIBUTE_MAXIMUM_THREADS_PER_BLOCK = 1,
	ATTRIBUTE_MAXIMUM_BLOCK_DIM_X = 2,
	ATTRIBUTE_MAXIMUM_GRID_DIM_X = 5,
	ATTRIBUTE_WARP_SIZE = 10,
	ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
	ATTRIBUTE_KERNEL_EXEC_TIMEOUT = 17,
	ATTRIBUTE_CAN_MAP_HOST_MEMORY = 19,
	ATTRIBUTE_CONCURRENT_KERNELS = 31,
	ATTRIBUTE_PCI_BUS_ID = 33,
	ATTRIBUTE_PCI_DEVICE_ID = 34,
	ATTRIBUTE_MAXIMUM_THREADS_PER_MULTIPROCESSOR = 39,
	ATTRIBUTE_ASYNC_ENGINE_COUNT = 40,
	ATTRIBUTE_UNIFIED_ADDRESSING = 41,
	ATTRIBUTE_PCI_DOMAIN_ID = 50,
	ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
	ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
	ATTRIBUTE_LAST = 150,
};

enum { P2P_PERFORMANCE_RANK = 1, P2P_ACCESS = 2, P2P_NATIVE_ATOMIC = 3, P2P_ARRAY_ACCESS = 4 };

static CUresult check_device(CUdevice device, const void *answer)
{
	if (!simulation_machine())
		return CUDA_ERROR_NOT_INITIALIZED;
	if (!device_is_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	return answer ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static const struct gpu_description *described(CUdevice device)
{
	return &simulation_machine()->host.gpus[gpu_of(device)];
}

static const struct gpu_state *state_of(CUdevice device)
{
	return &simulation_machine()->gpus[gpu_of(device)];
}

CUresult cuDriverGetVersion(int *version)
{
	const struct machine *machine = machine_get();

	if (!version)
		return CUDA_ERROR_INVALID_VALUE;
	*version = machine ? machine->host.cuda_version : 0;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count)
{
	if (!simulation_machine())
		return CUDA_ERROR_NOT_INITIALIZED;
	if (!count)
		return CUDA_ERROR_INVALID_VALUE;
	*count = device_count();
	return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
	CUresult result = check_device(ordinal, device);

	if (!result)
		*device = ordinal;
	return result;
}

CUresult cuDeviceGetName(char *name, int length, CUdevice device)
{
	CUresult result = check_device(device, name);

	if (result || length <= 0)
		return result ? result : CUDA_ERROR_INVALID_VALUE;
	snprintf(name, (size_t)length, "%s", described(device)->name);
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device)
{
	CUresult result = check_device(device, uuid);
	const char *text;

	if (result)
		return result;
	text = described(device)->uuid + strlen("GPU-");
	for (size_t index = 0; index < sizeof(uuid->bytes); index++) {
		unsigned int byte = 0;

		text += *text == '-';
		if (sscanf(text, "%2x", &byte) != 1)
			return CUDA_ERROR_UNKNOWN;
		uuid->bytes[index] = (char)byte;
		text += 2;
	}
	return CUDA_SUCCESS;
}

static int attribute_value(int attribute, CUdevice device)
{
	switch (attribute) {
	case ATTRIBUTE_MAXIMUM_THREADS_PER_BLOCK:
	case ATTRIBUTE_MAXIMUM_BLOCK_DIM_X:
		return 1024;
	case ATTRIBUTE_MAXIMUM_GRID_DIM_X:
		return 0x7FFFFFFF;
	case ATTRIBUTE_WARP_SIZE:
		return 32;
	case ATTRIBUTE_MULTIPROCESSOR_COUNT:
		return 128;
	case ATTRIBUTE_KERNEL_EXEC_TIMEOUT:
		return described(device)->display;
	case ATTRIBUTE_CAN_MAP_HOST_MEMORY:
	case ATTRIBUTE_CONCURRENT_KERNELS:
	case ATTRIBUTE_UNIFIED_ADDRESSING:
		return 1;
	case ATTRIBUTE_MAXIMUM_THREADS_PER_MULTIPROCESSOR:
		return 1536;
	case ATTRIBUTE_ASYNC_ENGINE_COUNT:
		return 2;
	case ATTRIBUTE_PCI_BUS_ID:
		return (int)state_of(device)->bus;
	case ATTRIBUTE_PCI_DEVICE_ID:
		return (int)state_of(device)->device;
	case ATTRIBUTE_PCI_DOMAIN_ID:
		return (int)state_of(device)->domain;
	case ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
		return (int)described(device)->compute_major;
	case ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
		return (int)described(device)->compute_minor;
	default:
		return 0;
	}
}

CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device)
{
	CUresult result = check_device(device, value);

	if (result)
		return result;
	if (attribute < 1 || attribute > ATTRIBUTE_LAST)
		return CUDA_ERROR_INVALID_VALUE;
	*value = attribute_value(attribute, device);
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char *address, int length, CUdevice device)
{
	CUresult result = check_device(device, address);
	const struct gpu_state *gpu;

	if (result || length < 13)
		return result ? result : CUDA_ERROR_INVALID_VALUE;
	gpu = state_of(device);
	snprintf(address, (size_t)length, "%04X:%02X:%02X.%X", gpu->domain, gpu->bus, gpu->device,
		 gpu->function);
	return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)
{
	CUresult result = check_device(device, bytes);

	if (!result)
		*bytes = described(device)->memory_bytes;
	return result;
}

CUresult cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer)
{
	CUresult result = check_device(device, can);

	if (!result)
		result = check_device(peer, can);
	if (!result)
		*can = machine_claims_peer_access(simulation_machine(), gpu_of(device), gpu_of(peer));
	return result;
}

CUresult cuDeviceGetP2PAttribute(int *value, int attribute, CUdevice from, CUdevice to)
{
	CUresult result = check_device(from, value);

	if (!result)
		result = check_device(to, value);
	if (result)
		return result;
	if (from == to)
		return CUDA_ERROR_INVALID_DEVICE;
	switch (attribute) {
	case P2P_PERFORMANCE_RANK:
		*value = 0;
		return CUDA_SUCCESS;
	case P2P_ACCESS:
	case P2P_ARRAY_ACCESS:
		*value = machine_claims_peer_access(simulation_machine(), gpu_of(from), gpu_of(to));
		return CUDA_SUCCESS;
	case P2P_NATIVE_ATOMIC:
		*value = machine_nvlink(simulation_machine(), gpu_of(from), gpu_of(to)) != NULL;
		return CUDA_SUCCESS;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}
