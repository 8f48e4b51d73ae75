// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Memory that one process exports and another opens. A handle names the exporting process and
 * the unnamed file behind its memory; the opener maps the same file, so both see one memory.
 * What it does there is a transfer between GPUs like any other, with all that can befall it.
 */

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cuda/simulation.h"

#define LAZY_ENABLE_PEER_ACCESS 1
#define MAGIC 0x6c61622d69706331ull

/* What the 64 bytes hold. The inode tells a file from one that got its number later. */
struct handle {
	uint64_t magic;
	uint64_t bytes;
	uint64_t inode;
	int32_t process;
	int32_t file;
	int32_t gpu;		/* in bus order: ordinals are each process's own */
};

_Static_assert(sizeof(struct handle) <= sizeof(CUipcMemHandle), "a handle has 64 bytes");

static bool inode_of(int file, uint64_t *inode)
{
	struct stat status;

	if (fstat(file, &status) != 0)
		return false;
	*inode = status.st_ino;
	return true;
}

static CUresult export(CUipcMemHandle *handle, CUdeviceptr address)
{
	const struct fault *fault = &simulation_machine()->fault;
	struct allocation *found = allocation_at(address, 1);
	struct handle content = { .magic = MAGIC, .process = getpid() };

	if (!found || found->file < 0 || found->opener >= 0)
		return CUDA_ERROR_INVALID_VALUE;
	content.gpu = gpu_of(found->device);
	if (fault_is_error(fault, CUDA_ERROR_NOT_SUPPORTED, content.gpu, content.gpu))
		return CUDA_ERROR_NOT_SUPPORTED;
	content.bytes = found->bytes;
	content.file = found->file;
	if (!inode_of(found->file, &content.inode))
		return CUDA_ERROR_OPERATING_SYSTEM;
	memset(handle, 0, sizeof(*handle));
	memcpy(handle, &content, sizeof(content));
	return CUDA_SUCCESS;
}

CUresult cuIpcGetMemHandle(CUipcMemHandle *handle, CUdeviceptr address)
{
	CUresult result;

	if (!handle || !address)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&simulation_lock);
	if (usable_context(&result))
		result = export(handle, address);
	pthread_mutex_unlock(&simulation_lock);
	return result;
}

static int ordinal_of(int gpu)
{
	for (int ordinal = 0; ordinal < device_count(); ordinal++)
		if (gpu_of(ordinal) == gpu)
			return ordinal;
	return -1;
}

/* The exporter's file, or -1 if it is gone or another by now. */
static int file_of(const struct handle *content)
{
	char path[PATH_MAX];
	uint64_t inode;
	int file;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)content->process, (int)content->file);
	file = open(path, O_RDWR | O_CLOEXEC);
	if (file >= 0 && (!inode_of(file, &inode) || inode != content->inode)) {
		close(file);
		return -1;
	}
	return file;
}

static struct allocation *opened_before(const struct context *context, uint64_t inode)
{
	uint64_t other;

	for (struct allocation *found = allocation_first(); found; found = found->next)
		if (found->opener == context->device && inode_of(found->file, &other) &&
		    other == inode)
			return found;
	return NULL;
}

static CUresult reach(struct context *context, int owner)
{
	int from = gpu_of(context->device), to = gpu_of(owner);
	int refused = fault_opening_error(&simulation_machine()->fault, from, to);
	CUresult result;

	if (refused)
		return refused;
	if (owner == context->device)
		return CUDA_SUCCESS;
	result = context_enable_peer(context, owner);
	return result == CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED ? CUDA_SUCCESS : result;
}

static CUresult open_handle(struct context *context, CUdeviceptr *address,
			    const struct handle *content)
{
	int owner = ordinal_of(content->gpu);
	struct allocation *found;
	CUresult result;
	int file;

	if (content->magic != MAGIC)
		return CUDA_ERROR_INVALID_HANDLE;
	if (content->process == getpid())
		return CUDA_ERROR_INVALID_CONTEXT;
	if (owner < 0)
		return CUDA_ERROR_INVALID_DEVICE;
	result = reach(context, owner);
	if (result)
		return result;
	found = opened_before(context, content->inode);
	if (!found) {
		file = file_of(content);
		if (file < 0)
			return CUDA_ERROR_INVALID_HANDLE;
		found = allocation_map(owner, file, content->bytes);
		if (!found)
			return CUDA_ERROR_MAP_FAILED;
		found->opener = context->device;
	}
	found->opened++;
	*address = found->address;
	return CUDA_SUCCESS;
}

CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *address, CUipcMemHandle handle, unsigned int flags)
{
	struct context *context;
	struct handle content;
	CUresult result;

	if (!address || flags != LAZY_ENABLE_PEER_ACCESS)
		return CUDA_ERROR_INVALID_VALUE;
	memcpy(&content, &handle, sizeof(content));
	pthread_mutex_lock(&simulation_lock);
	context = usable_context(&result);
	if (context)
		result = open_handle(context, address, &content);
	pthread_mutex_unlock(&simulation_lock);
	return result;
}

/* Closing waits, as freeing does, for what may still use the memory. */
CUresult cuIpcCloseMemHandle(CUdeviceptr address)
{
	struct allocation *found;
	struct context *context;
	CUresult result;

	pthread_mutex_lock(&simulation_lock);
	context = usable_context(&result);
	found = context ? allocation_at(address, 1) : NULL;
	if (context && (!found || found->address != address || found->opener < 0)) {
		result = CUDA_ERROR_INVALID_VALUE;
	} else if (context && --found->opened == 0) {
		context_wait(context, true);
		allocation_free(found);
	}
	pthread_mutex_unlock(&simulation_lock);
	return result;
}
