// SPDX-License-Identifier: GPL-3.0-or-later
/* Initialisation, versions, errors, and handles of devices. */

#include "nvml/session.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/text_file.h"

static pthread_mutex_t session_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned int initialised;

const struct machine *session_machine(void)
{
	unsigned int open;

	pthread_mutex_lock(&session_lock);
	open = initialised;
	pthread_mutex_unlock(&session_lock);
	return open ? machine_get() : NULL;
}

nvmlReturn_t session_device(nvmlDevice_t device, const void *answer, int *index)
{
	const struct machine *machine = session_machine();

	if (!machine)
		return NVML_ERROR_UNINITIALIZED;
	for (size_t gpu = 0; gpu < machine->gpu_count; gpu++) {
		if (device == &machine->gpus[gpu] && answer) {
			*index = (int)gpu;
			return NVML_SUCCESS;
		}
	}
	return NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t session_text(char *buffer, unsigned int length, const char *text)
{
	return path_format(buffer, length, "%s", text) ? NVML_SUCCESS
						       : NVML_ERROR_INSUFFICIENT_SIZE;
}

static nvmlReturn_t initialise(void)
{
	const struct machine *machine = machine_get();

	if (!machine)
		return NVML_ERROR_UNKNOWN;
	if (!machine->module_loaded)
		return NVML_ERROR_DRIVER_NOT_LOADED;
	if (!machine_version_matches(machine))
		return NVML_ERROR_LIB_RM_VERSION_MISMATCH;
	pthread_mutex_lock(&session_lock);
	initialised++;
	pthread_mutex_unlock(&session_lock);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlInit_v2(void)
{
	return initialise();
}

/* No GPUs and no attach, the two flags there are, change nothing here. */
nvmlReturn_t nvmlInitWithFlags(unsigned int flags)
{
	return flags > 3 ? NVML_ERROR_INVALID_ARGUMENT : initialise();
}

nvmlReturn_t nvmlShutdown(void)
{
	nvmlReturn_t result = NVML_ERROR_UNINITIALIZED;

	pthread_mutex_lock(&session_lock);
	if (initialised > 0) {
		initialised--;
		result = NVML_SUCCESS;
	}
	pthread_mutex_unlock(&session_lock);
	return result;
}

const char *nvmlErrorString(nvmlReturn_t result)
{
	switch (result) {
	case NVML_SUCCESS:
		return "The operation was successful";
	case NVML_ERROR_UNINITIALIZED:
		return "NVML was not first initialized with nvmlInit()";
	case NVML_ERROR_INVALID_ARGUMENT:
		return "A supplied argument is invalid";
	case NVML_ERROR_NOT_SUPPORTED:
		return "The requested operation is not available on target device";
	case NVML_ERROR_NO_PERMISSION:
		return "The current user does not have permission for operation";
	case NVML_ERROR_NOT_FOUND:
		return "A query to find an object was unsuccessful";
	case NVML_ERROR_INSUFFICIENT_SIZE:
		return "An input argument is not large enough";
	case NVML_ERROR_DRIVER_NOT_LOADED:
		return "NVIDIA driver is not loaded";
	case NVML_ERROR_LIB_RM_VERSION_MISMATCH:
		return "RM detects a driver/library version mismatch";
	default:
		return "An internal driver error occurred";
	}
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *text, unsigned int length)
{
	const struct machine *machine = session_machine();

	if (!machine)
		return NVML_ERROR_UNINITIALIZED;
	return text ? session_text(text, length, machine->module_version)
		    : NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t nvmlSystemGetNVMLVersion(char *text, unsigned int length)
{
	const struct machine *machine = machine_get();
	char version[64];

	if (!text)
		return NVML_ERROR_INVALID_ARGUMENT;
	snprintf(version, sizeof(version), "%d.%s", machine ? machine->host.cuda_version / 1000 : 0,
		 NV_VERSION_STRING);
	return session_text(text, length, version);
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version)
{
	const struct machine *machine = session_machine();

	if (!machine)
		return NVML_ERROR_UNINITIALIZED;
	if (!version)
		return NVML_ERROR_INVALID_ARGUMENT;
	*version = machine->host.cuda_version;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version)
{
	return nvmlSystemGetCudaDriverVersion(version);
}

nvmlReturn_t nvmlSystemGetConfComputeState(nvmlConfComputeSystemState_t *state)
{
	const struct machine *machine = session_machine();

	if (!machine)
		return NVML_ERROR_UNINITIALIZED;
	if (!state)
		return NVML_ERROR_INVALID_ARGUMENT;
	if (!machine->host.knows_confidential_compute)
		return NVML_ERROR_NOT_SUPPORTED;
	*state = (nvmlConfComputeSystemState_t){
		.environment = machine->host.confidential_compute ? 2 : 0,
		.ccFeature = machine->host.confidential_compute,
	};
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlSystemGetProcessName(unsigned int pid, char *name, unsigned int length)
{
	char path[64], line[256];

	if (!session_machine())
		return NVML_ERROR_UNINITIALIZED;
	if (!name || length == 0)
		return NVML_ERROR_INVALID_ARGUMENT;
	/* Up to the first NUL: the program, without its arguments. Never of the fake tree: the
	 * processes are real ones. */
	snprintf(path, sizeof(path), "/proc/%u/cmdline", pid);
	if (!read_line(path, line, sizeof(line)))
		return NVML_ERROR_NOT_FOUND;
	return session_text(name, length, line);
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count)
{
	const struct machine *machine = session_machine();

	if (!machine)
		return NVML_ERROR_UNINITIALIZED;
	if (!count)
		return NVML_ERROR_INVALID_ARGUMENT;
	*count = (unsigned int)machine->gpu_count;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device)
{
	const struct machine *machine = session_machine();

	if (!machine)
		return NVML_ERROR_UNINITIALIZED;
	if (!device || index >= machine->gpu_count)
		return NVML_ERROR_INVALID_ARGUMENT;
	*device = &machine->gpus[index];
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device)
{
	const struct machine *machine = session_machine();

	if (!machine)
		return NVML_ERROR_UNINITIALIZED;
	if (!uuid || !device)
		return NVML_ERROR_INVALID_ARGUMENT;
	for (size_t gpu = 0; gpu < machine->gpu_count; gpu++) {
		if (strcmp(machine->host.gpus[gpu].uuid, uuid) == 0) {
			*device = &machine->gpus[gpu];
			return NVML_SUCCESS;
		}
	}
	return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *address, nvmlDevice_t *device)
{
	const struct machine *machine = session_machine();
	unsigned int domain, bus, slot, function;

	if (!machine)
		return NVML_ERROR_UNINITIALIZED;
	/* Domains are written with four or with eight digits. */
	if (!address || !device ||
	    sscanf(address, "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4)
		return NVML_ERROR_INVALID_ARGUMENT;
	for (size_t index = 0; index < machine->gpu_count; index++) {
		const struct gpu_state *gpu = &machine->gpus[index];

		if (gpu->domain == domain && gpu->bus == bus && gpu->device == slot &&
		    gpu->function == function) {
			*device = gpu;
			return NVML_SUCCESS;
		}
	}
	return NVML_ERROR_NOT_FOUND;
}
