// SPDX-License-Identifier: GPL-3.0-or-later
/* cuGetProcAddress: names without a suffix give the current version of a function. */

#include <string.h>

#include "cuda/abi.h"

enum { SYMBOL_FOUND = 0, SYMBOL_NOT_FOUND = 1 };

typedef void (*any_function)(void);

static const struct {
	const char *name;
	any_function function;
} functions[] = {
	{ "cuInit", (any_function)cuInit },
	{ "cuDriverGetVersion", (any_function)cuDriverGetVersion },
	{ "cuGetErrorName", (any_function)cuGetErrorName },
	{ "cuGetErrorString", (any_function)cuGetErrorString },
	{ "cuGetProcAddress", (any_function)cuGetProcAddress_v2 },
	{ "cuDeviceGet", (any_function)cuDeviceGet },
	{ "cuDeviceGetCount", (any_function)cuDeviceGetCount },
	{ "cuDeviceGetName", (any_function)cuDeviceGetName },
	{ "cuDeviceGetUuid", (any_function)cuDeviceGetUuid_v2 },
	{ "cuDeviceGetAttribute", (any_function)cuDeviceGetAttribute },
	{ "cuDeviceGetPCIBusId", (any_function)cuDeviceGetPCIBusId },
	{ "cuDeviceTotalMem", (any_function)cuDeviceTotalMem_v2 },
	{ "cuDeviceCanAccessPeer", (any_function)cuDeviceCanAccessPeer },
	{ "cuDeviceGetP2PAttribute", (any_function)cuDeviceGetP2PAttribute },
	{ "cuDevicePrimaryCtxRetain", (any_function)cuDevicePrimaryCtxRetain },
	{ "cuDevicePrimaryCtxRelease", (any_function)cuDevicePrimaryCtxRelease_v2 },
	{ "cuDevicePrimaryCtxReset", (any_function)cuDevicePrimaryCtxReset_v2 },
	{ "cuCtxSetCurrent", (any_function)cuCtxSetCurrent },
	{ "cuCtxGetCurrent", (any_function)cuCtxGetCurrent },
	{ "cuCtxGetDevice", (any_function)cuCtxGetDevice },
	{ "cuCtxSynchronize", (any_function)cuCtxSynchronize },
	{ "cuCtxEnablePeerAccess", (any_function)cuCtxEnablePeerAccess },
	{ "cuCtxDisablePeerAccess", (any_function)cuCtxDisablePeerAccess },
	{ "cuMemAlloc", (any_function)cuMemAlloc_v2 },
	{ "cuMemFree", (any_function)cuMemFree_v2 },
	{ "cuMemGetInfo", (any_function)cuMemGetInfo_v2 },
	{ "cuMemHostAlloc", (any_function)cuMemHostAlloc },
	{ "cuMemFreeHost", (any_function)cuMemFreeHost },
	{ "cuMemHostGetDevicePointer", (any_function)cuMemHostGetDevicePointer_v2 },
	{ "cuIpcGetMemHandle", (any_function)cuIpcGetMemHandle },
	{ "cuIpcOpenMemHandle", (any_function)cuIpcOpenMemHandle_v2 },
	{ "cuIpcCloseMemHandle", (any_function)cuIpcCloseMemHandle },
	{ "cuMemcpyHtoD", (any_function)cuMemcpyHtoD_v2 },
	{ "cuMemcpyDtoH", (any_function)cuMemcpyDtoH_v2 },
	{ "cuMemcpyDtoD", (any_function)cuMemcpyDtoD_v2 },
	{ "cuMemcpyHtoDAsync", (any_function)cuMemcpyHtoDAsync_v2 },
	{ "cuMemcpyDtoHAsync", (any_function)cuMemcpyDtoHAsync_v2 },
	{ "cuMemcpyDtoDAsync", (any_function)cuMemcpyDtoDAsync_v2 },
	{ "cuMemcpyAsync", (any_function)cuMemcpyAsync },
	{ "cuMemcpyPeer", (any_function)cuMemcpyPeer },
	{ "cuMemcpyPeerAsync", (any_function)cuMemcpyPeerAsync },
	{ "cuMemsetD8", (any_function)cuMemsetD8_v2 },
	{ "cuMemsetD32", (any_function)cuMemsetD32_v2 },
	{ "cuMemsetD8Async", (any_function)cuMemsetD8Async },
	{ "cuMemsetD32Async", (any_function)cuMemsetD32Async },
	{ "cuStreamCreate", (any_function)cuStreamCreate },
	{ "cuStreamDestroy", (any_function)cuStreamDestroy_v2 },
	{ "cuStreamQuery", (any_function)cuStreamQuery },
	{ "cuStreamSynchronize", (any_function)cuStreamSynchronize },
	{ "cuStreamWaitEvent", (any_function)cuStreamWaitEvent },
	{ "cuEventCreate", (any_function)cuEventCreate },
	{ "cuEventDestroy", (any_function)cuEventDestroy_v2 },
	{ "cuEventRecord", (any_function)cuEventRecord },
	{ "cuEventQuery", (any_function)cuEventQuery },
	{ "cuEventSynchronize", (any_function)cuEventSynchronize },
	{ "cuEventElapsedTime", (any_function)cuEventElapsedTime },
	{ "cuModuleLoadDataEx", (any_function)cuModuleLoadDataEx },
	{ "cuModuleUnload", (any_function)cuModuleUnload },
	{ "cuModuleGetFunction", (any_function)cuModuleGetFunction },
	{ "cuFuncGetAttribute", (any_function)cuFuncGetAttribute },
	{ "cuLaunchKernel", (any_function)cuLaunchKernel },
};

CUresult cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags,
			     int *status)
{
	(void)version;
	(void)flags;
	if (!symbol || !function)
		return CUDA_ERROR_INVALID_VALUE;
	*function = NULL;
	for (size_t index = 0; index < sizeof(functions) / sizeof(functions[0]); index++)
		if (strcmp(functions[index].name, symbol) == 0)
			memcpy(function, &functions[index].function, sizeof(*function));
	if (status)
		*status = *function ? SYMBOL_FOUND : SYMBOL_NOT_FOUND;
	return *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
