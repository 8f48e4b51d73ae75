// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Streams are queues. What is enqueued on a stream that nothing holds up is executed at once;
 * behind a resident kernel or an event that has not come it waits, as on a GPU.
 */

#include <math.h>
#include <stdlib.h>

#include "cuda/simulation.h"

#define STREAM_NON_BLOCKING 1
/* Special handles: the legacy and the per-thread default stream. */
#define STREAM_LEGACY ((CUstream)1)
#define STREAM_PER_THREAD ((CUstream)2)

static struct stream *streams;

bool stream_is_idle(const struct stream *stream)
{
	return stream->state == STREAM_READY && !stream->head;
}

/* Streams destroyed while busy stay until they are idle. */
static void free_destroyed(void)
{
	struct stream **link = &streams;

	while (*link) {
		struct stream *stream = *link;

		if (stream->destroyed && stream_is_idle(stream)) {
			*link = stream->next;
			free(stream);
		} else {
			link = &stream->next;
		}
	}
}

struct stream *stream_new(struct context *context, bool blocking)
{
	struct stream *stream;

	free_destroyed();
	stream = calloc(1, sizeof(*stream));
	if (!stream)
		return NULL;
	stream->context = context;
	stream->blocking = blocking;
	stream->tail = &stream->head;
	stream->next = streams;
	streams = stream;
	return stream;
}

struct stream *stream_resolve(struct context *context, CUstream handle)
{
	if (!handle || handle == STREAM_LEGACY || handle == STREAM_PER_THREAD)
		return context->default_stream;
	for (struct stream *stream = streams; stream; stream = stream->next)
		if (stream == handle && !stream->destroyed)
			return stream;
	return NULL;
}

static void operation_free(struct operation *operation)
{
	if (operation->kind == OPERATION_COPY)
		free(operation->copy.snapshot);
	if (operation->kind == OPERATION_RECORD || operation->kind == OPERATION_WAIT)
		event_unreference(operation->event.event);
	free(operation);
}

static bool event_has_come(const struct operation *operation)
{
	return operation->event.event->completed >= operation->event.ticket;
}

/* Returns false if the operation is kept because the stream waits for its event. */
static bool execute(struct stream *stream, struct operation *operation)
{
	struct context *context = stream->context;
	double start = fmax(stream->time, operation->not_before);
	CUresult error = CUDA_SUCCESS;

	switch (operation->kind) {
	case OPERATION_COPY:
		error = context->error ? CUDA_SUCCESS : copy_execute(stream, operation, start);
		break;
	case OPERATION_SET:
		error = context->error ? CUDA_SUCCESS : set_execute(stream, operation, start);
		break;
	case OPERATION_KERNEL:
		if (!context->error)
			launch_execute(stream, operation, start);
		break;
	case OPERATION_RECORD:
		stream->time = start;
		event_complete(operation->event.event, operation->event.ticket, start);
		break;
	case OPERATION_WAIT:
		if (!event_has_come(operation)) {
			stream->state = STREAM_WAITING;
			stream->waiting = operation;
			return false;
		}
		stream->time = fmax(start, operation->event.event->time);
	}
	if (error)
		context->error = error;
	return true;
}

void stream_drain(struct stream *stream)
{
	while (stream->state == STREAM_READY && stream->head) {
		struct operation *operation = stream->head;

		stream->head = operation->next;
		if (!stream->head)
			stream->tail = &stream->head;
		if (execute(stream, operation))
			operation_free(operation);
	}
	pthread_cond_broadcast(&simulation_changed);
}

void streams_wake(void)
{
	for (struct stream *stream = streams; stream; stream = stream->next) {
		struct operation *operation = stream->waiting;

		if (stream->state != STREAM_WAITING || !event_has_come(operation))
			continue;
		stream->state = STREAM_READY;
		stream->waiting = NULL;
		stream->time = fmax(stream->time, operation->event.event->time);
		operation_free(operation);
		stream_drain(stream);
	}
}

CUresult stream_submit(struct stream *stream, const struct operation *operation)
{
	struct operation *copy = malloc(sizeof(*copy));

	if (!copy)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*copy = *operation;
	copy->next = NULL;
	copy->not_before = host_time;
	*stream->tail = copy;
	stream->tail = &copy->next;
	stream_drain(stream);
	return CUDA_SUCCESS;
}

void stream_wait(struct stream *stream)
{
	while (!stream_is_idle(stream))
		pthread_cond_wait(&simulation_changed, &simulation_lock);
	host_time = fmax(host_time, stream->time);
}

void context_wait(struct context *context, bool every_stream)
{
	struct stream *stream = streams;

	while (stream) {
		if (stream->context == context && (every_stream || stream->blocking)) {
			if (!stream_is_idle(stream)) {
				pthread_cond_wait(&simulation_changed, &simulation_lock);
				/* The list may have changed meanwhile. */
				stream = streams;
				continue;
			}
			host_time = fmax(host_time, stream->time);
		}
		stream = stream->next;
	}
}

void streams_reset(struct context *context)
{
	for (struct stream *stream = streams; stream; stream = stream->next) {
		if (stream->context != context)
			continue;
		while (stream->state == STREAM_RESIDENT)
			pthread_cond_wait(&simulation_changed, &simulation_lock);
		while (stream->head) {
			struct operation *operation = stream->head;

			stream->head = operation->next;
			operation_free(operation);
		}
		stream->tail = &stream->head;
		if (stream->waiting)
			operation_free(stream->waiting);
		stream->waiting = NULL;
		stream->state = STREAM_READY;
		stream->destroyed = stream != context->default_stream;
	}
	free_destroyed();
}

CUresult cuStreamCreate(CUstream *stream, unsigned int flags)
{
	struct context *context;
	CUresult result;

	if (!stream || flags > STREAM_NON_BLOCKING)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&simulation_lock);
	context = usable_context(&result);
	if (context) {
		*stream = stream_new(context, flags != STREAM_NON_BLOCKING);
		result = *stream ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
	}
	pthread_mutex_unlock(&simulation_lock);
	return result;
}

/* Takes the lock and finds the stream; with an error the lock is already released. */
static CUresult stream_begin(CUstream handle, struct stream **stream)
{
	struct context *context;
	CUresult result;

	pthread_mutex_lock(&simulation_lock);
	context = usable_context(&result);
	*stream = context ? stream_resolve(context, handle) : NULL;
	if (context && !*stream)
		result = CUDA_ERROR_INVALID_HANDLE;
	if (result)
		pthread_mutex_unlock(&simulation_lock);
	return result;
}

CUresult cuStreamDestroy_v2(CUstream handle)
{
	struct stream *stream;
	CUresult result;

	pthread_mutex_lock(&simulation_lock);
	stream = NULL;
	if (!simulation_machine())
		result = CUDA_ERROR_NOT_INITIALIZED;
	else if (!handle || handle == STREAM_LEGACY || handle == STREAM_PER_THREAD)
		result = CUDA_ERROR_INVALID_HANDLE;
	else
		result = (stream = stream_resolve(NULL, handle)) ? CUDA_SUCCESS
								 : CUDA_ERROR_INVALID_HANDLE;
	if (stream) {
		stream->destroyed = true;
		free_destroyed();
	}
	pthread_mutex_unlock(&simulation_lock);
	return result;
}

CUresult cuStreamQuery(CUstream handle)
{
	struct stream *stream;
	CUresult result = stream_begin(handle, &stream);

	if (result)
		return result;
	if (stream->context->error)
		result = stream->context->error;
	else if (!stream_is_idle(stream))
		result = CUDA_ERROR_NOT_READY;
	else
		host_time = fmax(host_time, stream->time);
	pthread_mutex_unlock(&simulation_lock);
	return result;
}

CUresult cuStreamSynchronize(CUstream handle)
{
	struct stream *stream;
	CUresult result = stream_begin(handle, &stream);

	if (result)
		return result;
	stream_wait(stream);
	result = stream->context->error;
	pthread_mutex_unlock(&simulation_lock);
	return result;
}
