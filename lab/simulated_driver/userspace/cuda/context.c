// SPDX-License-Identifier: GPL-3.0-or-later
/* Initialisation, the visible devices, primary contexts and peer access between them. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/context_registry.h"
#include "cuda/simulation.h"

pthread_mutex_t simulation_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t simulation_changed = PTHREAD_COND_INITIALIZER;
double host_time;

static const struct machine *machine;
static int visible[MAXIMUM_GPUS];
static int visible_count;
static struct context contexts[MAXIMUM_GPUS];
static _Thread_local struct context *thread_context;

const struct machine *simulation_machine(void)
{
	return machine;
}

int gpu_of(int ordinal)
{
	return visible[ordinal];
}

int device_count(void)
{
	return visible_count;
}

bool device_is_valid(CUdevice device)
{
	return device >= 0 && device < visible_count;
}

static int find_visible(const struct machine *found, const char *name)
{
	char *end;
	long index = strtol(name, &end, 10);

	if (end != name && *end == '\0')
		return index >= 0 && index < (long)found->gpu_count ? (int)index : -1;
	/* As in the real library, a unique beginning of the UUID is enough. */
	for (size_t gpu = 0; gpu < found->gpu_count && strncmp(name, "GPU-", 4) == 0; gpu++)
		if (strncmp(found->host.gpus[gpu].uuid, name, strlen(name)) == 0)
			return (int)gpu;
	return -1;
}

/* CUDA_VISIBLE_DEVICES: the list ends at the first entry that names no device. */
static void choose_visible(const struct machine *found)
{
	const char *chosen = getenv("CUDA_VISIBLE_DEVICES");
	char list[1024];
	char *place, *name;

	visible_count = 0;
	if (!chosen) {
		for (size_t gpu = 0; gpu < found->gpu_count; gpu++)
			visible[visible_count++] = (int)gpu;
		return;
	}
	snprintf(list, sizeof(list), "%s", chosen);
	for (name = strtok_r(list, ", ", &place); name && visible_count < MAXIMUM_GPUS;
	     name = strtok_r(NULL, ", ", &place)) {
		int gpu = find_visible(found, name);

		if (gpu < 0)
			break;
		visible[visible_count++] = gpu;
	}
}

static CUresult initialise(void)
{
	const struct machine *found = machine_get();

	if (!found)
		return CUDA_ERROR_UNKNOWN;
	if (!found->module_loaded)
		return CUDA_ERROR_NO_DEVICE;
	if (!machine_version_matches(found))
		return CUDA_ERROR_SYSTEM_DRIVER_MISMATCH;
	if (found->fault.kind == FAULT_ERROR &&
	    found->fault.error_code == CUDA_ERROR_SYSTEM_NOT_READY)
		return CUDA_ERROR_SYSTEM_NOT_READY;
	choose_visible(found);
	if (visible_count == 0)
		return CUDA_ERROR_NO_DEVICE;
	for (int device = 0; device < visible_count; device++)
		contexts[device].device = device;
	machine = found;
	return CUDA_SUCCESS;
}

CUresult cuInit(unsigned int flags)
{
	CUresult result;

	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&simulation_lock);
	result = machine ? CUDA_SUCCESS : initialise();
	pthread_mutex_unlock(&simulation_lock);
	return result;
}

bool context_is_valid(const struct context *context)
{
	for (int device = 0; device < visible_count; device++)
		if (context == &contexts[device])
			return context->retained > 0;
	return false;
}

struct context *current_context(void)
{
	return thread_context;
}

struct context *usable_context(CUresult *error)
{
	*error = !machine ? CUDA_ERROR_NOT_INITIALIZED
	       : !context_is_valid(thread_context) ? CUDA_ERROR_INVALID_CONTEXT
	       : thread_context->error;
	return *error ? NULL : thread_context;
}

/* Whether the compute mode keeps this process out: always, or while another has a context. */
static bool is_taken(int gpu)
{
	enum compute_mode mode = machine->host.gpus[gpu].compute_mode;
	pid_t pids[2];
	size_t count;

	if (mode != COMPUTE_EXCLUSIVE_PROCESS)
		return mode == COMPUTE_PROHIBITED;
	count = context_registry_list(gpu, pids, 2);
	return count > 1 || (count == 1 && pids[0] != getpid());
}

static bool device_is_denied(CUdevice device)
{
	const struct fault *fault = &machine->fault;

	return is_taken(gpu_of(device)) ||
	       (fault->kind == FAULT_ERROR && fault->error_code == CUDA_ERROR_DEVICE_UNAVAILABLE &&
		((fault->from < 0 && fault->to < 0) || fault->from == gpu_of(device) ||
		 fault->to == gpu_of(device)));
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
	CUresult result = CUDA_SUCCESS;

	if (!machine)
		return CUDA_ERROR_NOT_INITIALIZED;
	if (!context)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_is_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	if (device_is_denied(device))
		return CUDA_ERROR_DEVICE_UNAVAILABLE;
	pthread_mutex_lock(&simulation_lock);
	if (!contexts[device].default_stream)
		contexts[device].default_stream = stream_new(&contexts[device], true);
	if (!contexts[device].default_stream) {
		result = CUDA_ERROR_OUT_OF_MEMORY;
	} else {
		if (contexts[device].retained++ == 0)
			context_registry_add(gpu_of(device));
		*context = &contexts[device];
	}
	pthread_mutex_unlock(&simulation_lock);
	return result;
}

/* With the lock held: what the context owned is gone, and with it its error. */
static void context_reset(struct context *context)
{
	streams_reset(context);
	allocation_free_all(context->device);
	memset(context->peers, 0, sizeof(context->peers));
	context->error = CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
	CUresult result = CUDA_SUCCESS;

	if (!machine)
		return CUDA_ERROR_NOT_INITIALIZED;
	if (!device_is_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&simulation_lock);
	if (contexts[device].retained == 0) {
		result = CUDA_ERROR_INVALID_CONTEXT;
	} else if (--contexts[device].retained == 0) {
		context_reset(&contexts[device]);
		context_registry_remove(gpu_of(device));
	}
	pthread_mutex_unlock(&simulation_lock);
	return result;
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice device)
{
	if (!machine)
		return CUDA_ERROR_NOT_INITIALIZED;
	if (!device_is_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&simulation_lock);
	context_reset(&contexts[device]);
	pthread_mutex_unlock(&simulation_lock);
	return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext context)
{
	if (!machine)
		return CUDA_ERROR_NOT_INITIALIZED;
	if (context && !context_is_valid(context))
		return CUDA_ERROR_INVALID_CONTEXT;
	thread_context = context;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *context)
{
	if (!machine)
		return CUDA_ERROR_NOT_INITIALIZED;
	if (!context)
		return CUDA_ERROR_INVALID_VALUE;
	*context = thread_context;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *device)
{
	if (!machine)
		return CUDA_ERROR_NOT_INITIALIZED;
	if (!device)
		return CUDA_ERROR_INVALID_VALUE;
	if (!context_is_valid(thread_context))
		return CUDA_ERROR_INVALID_CONTEXT;
	*device = thread_context->device;
	return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize(void)
{
	struct context *context;
	CUresult result;

	pthread_mutex_lock(&simulation_lock);
	context = usable_context(&result);
	if (context) {
		context_wait(context, true);
		result = context->error;
	}
	pthread_mutex_unlock(&simulation_lock);
	return result;
}

CUresult context_enable_peer(struct context *context, int peer)
{
	/* What real hosts answer here: no mapping resources, no mapping, no support. */
	static const CUresult injected[] = { CUDA_ERROR_MAP_FAILED,
					     CUDA_ERROR_PEER_ACCESS_UNSUPPORTED,
					     CUDA_ERROR_TOO_MANY_PEERS };
	int from = gpu_of(context->device), to = gpu_of(peer);

	if (!machine_claims_peer_access(machine, from, to))
		return CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
	for (size_t index = 0; index < sizeof(injected) / sizeof(injected[0]); index++)
		if (fault_is_error(&machine->fault, injected[index], from, to))
			return injected[index];
	if (context->peers[peer])
		return CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
	context->peers[peer] = true;
	return CUDA_SUCCESS;
}

CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned int flags)
{
	struct context *context;
	CUresult result;

	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&simulation_lock);
	context = usable_context(&result);
	if (context)
		result = context_is_valid(peer) ? context_enable_peer(context, peer->device)
						: CUDA_ERROR_INVALID_CONTEXT;
	pthread_mutex_unlock(&simulation_lock);
	return result;
}

CUresult cuCtxDisablePeerAccess(CUcontext peer)
{
	struct context *context;
	CUresult result;

	pthread_mutex_lock(&simulation_lock);
	context = usable_context(&result);
	if (context && !context_is_valid(peer)) {
		result = CUDA_ERROR_INVALID_CONTEXT;
	} else if (context && !context->peers[peer->device]) {
		result = CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
	} else if (context) {
		context_wait(context, true);
		context->peers[peer->device] = false;
	}
	pthread_mutex_unlock(&simulation_lock);
	return result;
}
