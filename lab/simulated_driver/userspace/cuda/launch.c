// SPDX-License-Identifier: GPL-3.0-or-later
/* Modules, functions and launches. PTX is not executed: its entries are dispatched by name to
 * what is written here in C. */

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/simulation.h"

#define MAXIMUM_THREADS_PER_BLOCK 1024
#define ATTRIBUTE_MAXIMUM_THREADS 0

struct module {
	struct module *next;
	char *text;
};

struct resident {
	struct stream *stream;
	const struct kernel *kernel;
	void *state;
	double start;
};

static struct module *modules;

const struct kernel *kernel_find(const char *name)
{
	static const struct kernel *const residents[] = { &resident_gate, &resident_ping_pong };

	for (const struct kernel *kernel = kernels; kernel->name; kernel++)
		if (strcmp(kernel->name, name) == 0)
			return kernel;
	for (size_t index = 0; index < sizeof(residents) / sizeof(residents[0]); index++)
		if (strcmp(residents[index]->name, name) == 0)
			return residents[index];
	return NULL;
}

static void *run_resident(void *argument)
{
	struct resident *resident = argument;
	struct stream *stream = resident->stream;

	resident->kernel->run(resident->state);
	pthread_mutex_lock(&simulation_lock);
	stream->time = resident->start + resident->kernel->finish(resident->state);
	stream->state = STREAM_READY;
	stream_drain(stream);
	pthread_mutex_unlock(&simulation_lock);
	free(resident);
	return NULL;
}

static CUresult start_resident(struct stream *stream, const struct kernel *kernel, void *state,
			       double start)
{
	struct resident *resident = malloc(sizeof(*resident));
	pthread_attr_t attributes;
	pthread_t thread;
	int failure;

	if (!resident) {
		kernel->finish(state);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	*resident = (struct resident){ stream, kernel, state, start };
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	failure = pthread_create(&thread, &attributes, run_resident, resident);
	pthread_attr_destroy(&attributes);
	if (failure) {
		kernel->finish(state);
		free(resident);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	stream->state = STREAM_RESIDENT;
	return CUDA_SUCCESS;
}

void launch_execute(struct stream *stream, const struct operation *operation, double start)
{
	const struct kernel *kernel = operation->launch.kernel;
	const uint64_t *parameters = operation->launch.parameters;
	double end = start;
	void *state;
	CUresult error;

	if (kernel->execute) {
		error = kernel->execute(stream, parameters, &end);
		stream->time = end;
	} else {
		error = kernel->prepare(stream, parameters, &state);
		if (!error && stream->state != STREAM_HUNG)
			error = start_resident(stream, kernel, state, start);
	}
	if (error)
		stream->context->error = error;
}

static struct module *module_resolve(CUmodule handle)
{
	for (struct module *module = modules; module; module = module->next)
		if (module == handle)
			return module;
	return NULL;
}

/* What the PTX compiler of the real driver would say to this image. */
static CUresult compile(const char *image, char **text)
{
	if (image_is_compiled(image)) {
		*text = image_entries(image);
		return *text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_IMAGE;
	}
	if (simulation_machine()->fault.kind == FAULT_NO_JIT)
		return CUDA_ERROR_JIT_COMPILER_NOT_FOUND;
	if (simulation_machine()->fault.kind == FAULT_PTX_TOO_NEW)
		return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
	if (!strstr(image, ".version"))
		return CUDA_ERROR_INVALID_PTX;
	*text = strdup(image);
	return *text ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int count, int *options,
			    void **values)
{
	struct module *new = NULL;
	char *text = NULL;
	CUresult result;

	if (!module || !image || (count > 0 && (!options || !values)))
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&simulation_lock);
	if (usable_context(&result))
		result = compile(image, &text);
	if (!result) {
		new = calloc(1, sizeof(*new));
		if (!new) {
			free(text);
			result = CUDA_ERROR_OUT_OF_MEMORY;
		}
	}
	if (!result) {
		new->text = text;
		new->next = modules;
		modules = new;
		*module = new;
	}
	pthread_mutex_unlock(&simulation_lock);
	return result;
}

CUresult cuModuleUnload(CUmodule handle)
{
	struct module **link = &modules;
	struct module *module;

	pthread_mutex_lock(&simulation_lock);
	module = module_resolve(handle);
	if (module) {
		while (*link != module)
			link = &(*link)->next;
		*link = module->next;
		free(module->text);
		free(module);
	}
	pthread_mutex_unlock(&simulation_lock);
	return module ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

/* Whether the PTX declares ".entry name". */
static bool has_entry(const char *text, const char *name)
{
	size_t length = strlen(name);

	for (text = strstr(text, ".entry"); text; text = strstr(text, ".entry")) {
		text += strlen(".entry");
		while (isspace((unsigned char)*text))
			text++;
		if (strncmp(text, name, length) == 0 && !isalnum((unsigned char)text[length]) &&
		    text[length] != '_' && text[length] != '$')
			return true;
	}
	return false;
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule handle, const char *name)
{
	struct module *module;
	CUresult result;

	if (!function || !name)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&simulation_lock);
	module = usable_context(&result) ? module_resolve(handle) : NULL;
	if (!result && !module)
		result = CUDA_ERROR_INVALID_HANDLE;
	if (module) {
		*function = has_entry(module->text, name) ? kernel_find(name) : NULL;
		result = *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
	}
	pthread_mutex_unlock(&simulation_lock);
	return result;
}

static bool function_is_valid(CUfunction function)
{
	if (function == &resident_gate || function == &resident_ping_pong)
		return true;
	for (const struct kernel *kernel = kernels; kernel->name; kernel++)
		if (function == kernel)
			return true;
	return false;
}

CUresult cuFuncGetAttribute(int *value, int attribute, CUfunction function)
{
	if (!value || attribute < 0)
		return CUDA_ERROR_INVALID_VALUE;
	if (!function_is_valid(function))
		return CUDA_ERROR_INVALID_HANDLE;
	*value = attribute == ATTRIBUTE_MAXIMUM_THREADS ? MAXIMUM_THREADS_PER_BLOCK : 0;
	return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y,
			unsigned int grid_z, unsigned int block_x, unsigned int block_y,
			unsigned int block_z, unsigned int shared_bytes, CUstream handle,
			void **parameters, void **extra)
{
	struct operation operation = { .kind = OPERATION_KERNEL, .launch = { .kernel = function } };
	unsigned long long threads = (unsigned long long)block_x * block_y * block_z;
	struct context *context;
	struct stream *stream;
	CUresult result;

	(void)shared_bytes;
	if (!grid_x || !grid_y || !grid_z || !threads || threads > MAXIMUM_THREADS_PER_BLOCK ||
	    !parameters || extra)
		return CUDA_ERROR_INVALID_VALUE;
	if (!function_is_valid(function))
		return CUDA_ERROR_INVALID_HANDLE;
	for (unsigned int index = 0; index < function->parameter_count; index++)
		memcpy(&operation.launch.parameters[index], parameters[index], sizeof(uint64_t));
	pthread_mutex_lock(&simulation_lock);
	context = usable_context(&result);
	stream = context ? stream_resolve(context, handle) : NULL;
	if (context)
		result = stream ? stream_submit(stream, &operation) : CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_unlock(&simulation_lock);
	return result;
}
