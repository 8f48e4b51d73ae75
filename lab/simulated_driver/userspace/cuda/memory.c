// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Device memory: addresses that no host pointer can have, never used twice, with host memory
 * behind them that the kernel fills in when it is touched. It is that of an unnamed file, so
 * that another process can map it too.
 */

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cuda/simulation.h"

/* Above the user half of x86-64's 47-bit address space; 1 TiB for each device. */
#define DEVICE_ADDRESSES 0x0000A00000000000ull
#define ADDRESSES_PER_DEVICE ((CUdeviceptr)1 << 40)
#define ALIGNMENT ((size_t)2 << 20)

static struct allocation *allocations;
static CUdeviceptr next_offset[MAXIMUM_GPUS];
static size_t used[MAXIMUM_GPUS];

struct allocation *allocation_first(void)
{
	return allocations;
}

struct allocation *allocation_at(CUdeviceptr address, size_t bytes)
{
	for (struct allocation *found = allocations; found; found = found->next)
		if (address >= found->address && bytes <= found->bytes &&
		    address - found->address <= found->bytes - bytes)
			return found;
	return NULL;
}

/* Takes the file over, which is -1 for memory of this process alone. */
static struct allocation *allocation_new(int device, int file, size_t bytes)
{
	int sharing = file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	struct allocation *new = calloc(1, sizeof(*new));

	if (new)
		new->memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, sharing | MAP_NORESERVE,
				   file, 0);
	if (!new || new->memory == MAP_FAILED) {
		if (file >= 0)
			close(file);
		free(new);
		return NULL;
	}
	new->device = device;
	new->bytes = bytes;
	new->file = file;
	new->opener = -1;
	new->next = allocations;
	allocations = new;
	return new;
}

/* Gives device memory the next address of its device. */
static void place(struct allocation *allocation)
{
	int device = allocation->device;

	allocation->address = DEVICE_ADDRESSES + (CUdeviceptr)device * ADDRESSES_PER_DEVICE +
			      next_offset[device];
	/* A gap behind each, so that running over the end is seen. */
	next_offset[device] += (allocation->bytes + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

struct allocation *allocation_map(int device, int file, size_t bytes)
{
	struct allocation *new = allocation_new(device, file, bytes);

	if (new)
		place(new);
	return new;
}

void allocation_free(struct allocation *allocation)
{
	struct allocation **link = &allocations;

	while (allocation->pins > 0)
		pthread_cond_wait(&simulation_changed, &simulation_lock);
	while (*link != allocation)
		link = &(*link)->next;
	*link = allocation->next;
	if (allocation->device >= 0 && allocation->opener < 0)
		used[allocation->device] -= allocation->bytes;
	peer_windows_free(allocation);
	munmap(allocation->memory, allocation->bytes);
	if (allocation->file >= 0)
		close(allocation->file);
	free(allocation);
}

void allocation_free_all(int device)
{
	struct allocation *found = allocations;

	while (found) {
		if (found->opener < 0 ? found->device == device : found->opener == device) {
			/* Freeing may wait, and the list change meanwhile: start again. */
			allocation_free(found);
			found = allocations;
		} else {
			found = found->next;
		}
	}
}

bool address_is_of_device(CUdeviceptr address)
{
	return address >= DEVICE_ADDRESSES &&
	       address < DEVICE_ADDRESSES + MAXIMUM_GPUS * ADDRESSES_PER_DEVICE;
}

static CUresult allocate(struct context *context, CUdeviceptr *address, size_t bytes)
{
	int device = context->device;
	size_t limit = simulation_machine()->host.simulated_free_bytes;
	struct allocation *new;
	int file;

	if (bytes > limit || used[device] > limit - bytes)
		return CUDA_ERROR_OUT_OF_MEMORY;
	file = memfd_create(IPC_FILE_NAME, MFD_CLOEXEC);
	if (file < 0)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (ftruncate(file, (off_t)bytes) != 0) {
		close(file);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	new = allocation_map(device, file, bytes);
	if (!new)
		return CUDA_ERROR_OUT_OF_MEMORY;
	used[device] += bytes;
	*address = new->address;
	return CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes)
{
	struct context *context;
	CUresult result;

	if (!address || bytes == 0)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&simulation_lock);
	context = usable_context(&result);
	if (context)
		result = allocate(context, address, bytes);
	pthread_mutex_unlock(&simulation_lock);
	return result;
}

/* Freeing waits, as in the real library, for what may still use the memory. */
static CUresult free_at(CUdeviceptr address, bool host)
{
	struct allocation *found;
	struct context *context;
	CUresult result;

	pthread_mutex_lock(&simulation_lock);
	context = usable_context(&result);
	found = context ? allocation_at(address, 1) : NULL;
	if (context && (!found || found->address != address || (found->device < 0) != host ||
			found->opener >= 0)) {
		result = CUDA_ERROR_INVALID_VALUE;
	} else if (context) {
		context_wait(context, true);
		allocation_free(found);
	}
	pthread_mutex_unlock(&simulation_lock);
	return result;
}

CUresult cuMemFree_v2(CUdeviceptr address)
{
	return address ? free_at(address, false) : CUDA_SUCCESS;
}

CUresult cuMemFreeHost(void *address)
{
	return free_at((CUdeviceptr)(uintptr_t)address, true);
}

CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes)
{
	struct context *context;
	CUresult result;

	if (!free_bytes || !total_bytes)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&simulation_lock);
	context = usable_context(&result);
	if (context) {
		const struct host_description *host = &simulation_machine()->host;

		*free_bytes = host->simulated_free_bytes - used[context->device];
		*total_bytes = host->gpus[gpu_of(context->device)].memory_bytes;
	}
	pthread_mutex_unlock(&simulation_lock);
	return result;
}

CUresult cuMemHostAlloc(void **address, size_t bytes, unsigned int flags)
{
	struct allocation *new = NULL;
	CUresult result;

	/* Portable, device-mapped and write-combined are all that there are. */
	if (!address || bytes == 0 || flags > 7)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&simulation_lock);
	if (usable_context(&result)) {
		new = allocation_new(-1, -1, bytes);
		result = new ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (new) {
		new->address = (CUdeviceptr)(uintptr_t)new->memory;
		*address = new->memory;
	}
	pthread_mutex_unlock(&simulation_lock);
	return result;
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *device, void *host, unsigned int flags)
{
	struct allocation *found;
	CUresult result;

	if (!device || flags)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&simulation_lock);
	if (usable_context(&result)) {
		found = allocation_at((CUdeviceptr)(uintptr_t)host, 1);
		if (found && found->device < 0)
			*device = (CUdeviceptr)(uintptr_t)host;
		else
			result = CUDA_ERROR_INVALID_VALUE;
	}
	pthread_mutex_unlock(&simulation_lock);
	return result;
}
