// SPDX-License-Identifier: GPL-3.0-or-later
/* Copies and memory sets: by the copy engine between GPUs, or staged through the host. */

#include <stdlib.h>
#include <string.h>

#include "cuda/simulation.h"

/* Address of the bytes in this process, of device memory or of the host's own. */
static unsigned char *memory_at(CUdeviceptr address, size_t bytes, struct allocation **allocation)
{
	*allocation = allocation_at(address, bytes);
	if (*allocation)
		return (*allocation)->memory + (address - (*allocation)->address);
	return address_is_of_device(address) ? NULL : (unsigned char *)(uintptr_t)address;
}

static bool is_of_device(const struct allocation *allocation)
{
	return allocation && allocation->device >= 0;
}

/* Between the memories of two GPUs. The stream's context decides whether it goes directly. */
static void copy_between(struct stream *stream, struct allocation *to, unsigned char *to_memory,
			 struct allocation *from, unsigned char *from_memory, size_t bytes,
			 double start)
{
	const struct machine *machine = simulation_machine();
	const struct context *context = stream->context;
	int initiator = gpu_of(context->device);
	int target = gpu_of(to->device), source = gpu_of(from->device);
	bool write = context->device == from->device && context->peers[to->device];
	bool read = context->device == to->device && context->peers[from->device];

	if ((write || read) && peer_transfer_hangs(write ? to : from, source, target)) {
		stream->state = STREAM_HUNG;
	} else if (write) {
		peer_store(initiator, to, (size_t)(to_memory - to->memory), from_memory, bytes);
		stream->time = timeline_peer(source, target, start, bytes, 1.0);
	} else if (read) {
		peer_load(initiator, from, (size_t)(from_memory - from->memory), to_memory, bytes);
		stream->time = timeline_peer(source, target, start, bytes, 1.0);
	} else {
		struct link_path path = link_path_staged(machine, source, target);

		memcpy(to_memory, from_memory, bytes);
		stream->time = timeline_transfer(&path, start, machine->host.latency_off, bytes,
						 1.0);
	}
}

CUresult copy_execute(struct stream *stream, const struct operation *operation, double start)
{
	const struct machine *machine = simulation_machine();
	size_t bytes = operation->copy.bytes;
	struct allocation *to, *from;
	unsigned char *to_memory = memory_at(operation->copy.to, bytes, &to);
	unsigned char *from_memory = memory_at(operation->copy.from, bytes, &from);

	if (operation->copy.snapshot)
		from_memory = operation->copy.snapshot;
	/* Freed between being enqueued and being executed. */
	if (!to_memory || !from_memory)
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	if (is_of_device(to) && is_of_device(from) && to->device != from->device) {
		copy_between(stream, to, to_memory, from, from_memory, bytes, start);
		return CUDA_SUCCESS;
	}
	memmove(to_memory, from_memory, bytes);
	if (is_of_device(to) && is_of_device(from)) {
		stream->time = timeline_local(start, bytes);
	} else {
		bool to_host = !is_of_device(to);
		int device = is_of_device(to) ? to->device
			   : is_of_device(from) ? from->device : stream->context->device;
		struct link_path path = link_path_host(machine, gpu_of(device), to_host);

		/* A staged copy is two of these: each has half of its latency. */
		stream->time = timeline_transfer(&path, start, machine->host.latency_off / 2,
						 bytes, 1.0);
	}
	return CUDA_SUCCESS;
}

CUresult set_execute(struct stream *stream, const struct operation *operation, double start)
{
	size_t bytes = operation->set.count * operation->set.width;
	struct allocation *to;
	unsigned char *memory = memory_at(operation->set.to, bytes, &to);

	if (!memory)
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	for (size_t at = 0; at < bytes; at += operation->set.width)
		memcpy(memory + at, &operation->set.value, operation->set.width);
	stream->time = timeline_local(start, bytes);
	return CUDA_SUCCESS;
}

/* Enqueues; a synchronous call runs on the default stream once blocking streams are done. */
static CUresult enqueue(struct operation *operation, CUstream handle, bool synchronous)
{
	struct context *context;
	struct stream *stream;
	CUresult result;

	pthread_mutex_lock(&simulation_lock);
	context = usable_context(&result);
	stream = context ? stream_resolve(context, handle) : NULL;
	if (context && !stream)
		result = CUDA_ERROR_INVALID_HANDLE;
	if (stream && synchronous)
		context_wait(context, false);
	if (stream)
		result = context->error ? context->error : stream_submit(stream, operation);
	if (stream && synchronous && !result) {
		stream_wait(stream);
		result = context->error;
	}
	pthread_mutex_unlock(&simulation_lock);
	return result;
}

static bool is_known(CUdeviceptr address, size_t bytes)
{
	struct allocation *found;

	pthread_mutex_lock(&simulation_lock);
	found = allocation_at(address, bytes);
	pthread_mutex_unlock(&simulation_lock);
	return found != NULL;
}

static CUresult copy(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream,
		     bool synchronous)
{
	struct operation operation = {
		.kind = OPERATION_COPY,
		.copy = { .to = to, .from = from, .bytes = bytes },
	};

	if (bytes == 0)
		return CUDA_SUCCESS;
	if ((address_is_of_device(to) && !is_known(to, bytes)) ||
	    (address_is_of_device(from) && !is_known(from, bytes)) || !to || !from)
		return CUDA_ERROR_INVALID_VALUE;
	/* Pageable memory is read before the call returns, page-locked memory when its turn is. */
	if (!synchronous && !is_known(from, bytes)) {
		operation.copy.snapshot = malloc(bytes);
		if (!operation.copy.snapshot)
			return CUDA_ERROR_OUT_OF_MEMORY;
		memcpy(operation.copy.snapshot, (const void *)(uintptr_t)from, bytes);
	}
	CUresult result = enqueue(&operation, stream, synchronous);

	/* What was enqueued owns the snapshot. */
	if (result)
		free(operation.copy.snapshot);
	return result;
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes)
{
	return is_known(to, bytes) ? copy(to, (CUdeviceptr)(uintptr_t)from, bytes, NULL, true)
				   : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes)
{
	return is_known(from, bytes) ? copy((CUdeviceptr)(uintptr_t)to, from, bytes, NULL, true)
				     : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
	return is_known(to, bytes) && is_known(from, bytes) ? copy(to, from, bytes, NULL, true)
							    : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
	return is_known(to, bytes) ? copy(to, (CUdeviceptr)(uintptr_t)from, bytes, stream, false)
				   : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
	return is_known(from, bytes) ? copy((CUdeviceptr)(uintptr_t)to, from, bytes, stream, false)
				     : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
	return is_known(to, bytes) && is_known(from, bytes) ? copy(to, from, bytes, stream, false)
							    : CUDA_ERROR_INVALID_VALUE;
}

/* Which memory an address is of, the address itself tells. */
CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
	return copy(to, from, bytes, stream, false);
}

static bool contexts_own(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
			 CUcontext from_context, size_t bytes)
{
	struct allocation *target, *source;
	bool own;

	pthread_mutex_lock(&simulation_lock);
	target = allocation_at(to, bytes);
	source = allocation_at(from, bytes);
	own = context_is_valid(to_context) && context_is_valid(from_context) && target && source &&
	      target->device == to_context->device && source->device == from_context->device;
	pthread_mutex_unlock(&simulation_lock);
	return own;
}

CUresult cuMemcpyPeer(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
		      CUcontext from_context, size_t bytes)
{
	return contexts_own(to, to_context, from, from_context, bytes)
		? copy(to, from, bytes, NULL, true) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
			   CUcontext from_context, size_t bytes, CUstream stream)
{
	return contexts_own(to, to_context, from, from_context, bytes)
		? copy(to, from, bytes, stream, false) : CUDA_ERROR_INVALID_VALUE;
}

static CUresult set(CUdeviceptr to, uint32_t value, unsigned int width, size_t count,
		    CUstream stream, bool synchronous)
{
	struct operation operation = {
		.kind = OPERATION_SET,
		.set = { .to = to, .value = value, .width = width, .count = count },
	};

	if (count == 0)
		return CUDA_SUCCESS;
	if (to % width || count > SIZE_MAX / width || !is_known(to, count * width))
		return CUDA_ERROR_INVALID_VALUE;
	return enqueue(&operation, stream, synchronous);
}

CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count)
{
	return set(to, value, 1, count, NULL, true);
}

CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned int value, size_t count)
{
	return set(to, value, 4, count, NULL, true);
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream)
{
	return set(to, value, 1, count, stream, false);
}

CUresult cuMemsetD32Async(CUdeviceptr to, unsigned int value, size_t count, CUstream stream)
{
	return set(to, value, 4, count, stream, false);
}
