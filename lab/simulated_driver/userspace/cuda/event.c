// SPDX-License-Identifier: GPL-3.0-or-later
/* Events carry virtual times out of streams and from one stream to another. */

#include <math.h>
#include <stdlib.h>

#include "cuda/simulation.h"

#define EVENT_DISABLE_TIMING 2
#define EVENT_LAST_FLAG 7

static struct event *events;

static struct event *event_resolve(CUevent handle)
{
	for (struct event *event = events; event; event = event->next)
		if (event == handle && !event->destroyed)
			return event;
	return NULL;
}

static void event_free_if_unused(struct event *event)
{
	struct event **link = &events;

	if (!event->destroyed || event->references > 0)
		return;
	while (*link != event)
		link = &(*link)->next;
	*link = event->next;
	free(event);
}

void event_unreference(struct event *event)
{
	event->references--;
	event_free_if_unused(event);
}

void event_complete(struct event *event, uint64_t ticket, double time)
{
	event->completed = ticket;
	event->time = time;
	streams_wake();
}

CUresult cuEventCreate(CUevent *event, unsigned int flags)
{
	struct event *new = NULL;
	CUresult result;

	if (!event || flags > EVENT_LAST_FLAG)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&simulation_lock);
	if (usable_context(&result)) {
		new = calloc(1, sizeof(*new));
		result = new ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (new) {
		new->timing = !(flags & EVENT_DISABLE_TIMING);
		new->next = events;
		events = new;
		*event = new;
	}
	pthread_mutex_unlock(&simulation_lock);
	return result;
}

CUresult cuEventDestroy_v2(CUevent handle)
{
	struct event *event;

	pthread_mutex_lock(&simulation_lock);
	event = event_resolve(handle);
	if (event) {
		event->destroyed = true;
		event_free_if_unused(event);
	}
	pthread_mutex_unlock(&simulation_lock);
	return event ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

/* Enqueues a record of the event, or a wait for its last record. */
static CUresult enqueue(CUevent handle, CUstream stream_handle, enum operation_kind kind)
{
	struct operation operation = { .kind = kind };
	struct context *context;
	struct stream *stream;
	struct event *event;
	CUresult result;

	pthread_mutex_lock(&simulation_lock);
	context = usable_context(&result);
	stream = context ? stream_resolve(context, stream_handle) : NULL;
	event = context ? event_resolve(handle) : NULL;
	if (context && (!stream || !event)) {
		result = CUDA_ERROR_INVALID_HANDLE;
	} else if (context) {
		if (kind == OPERATION_RECORD)
			event->recorded++;
		event->references++;
		operation.event.event = event;
		operation.event.ticket = event->recorded;
		result = stream_submit(stream, &operation);
	}
	pthread_mutex_unlock(&simulation_lock);
	return result;
}

CUresult cuEventRecord(CUevent event, CUstream stream)
{
	return enqueue(event, stream, OPERATION_RECORD);
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int flags)
{
	return flags ? CUDA_ERROR_INVALID_VALUE : enqueue(event, stream, OPERATION_WAIT);
}

static CUresult query(CUevent handle, bool wait)
{
	struct event *event;
	CUresult result;

	pthread_mutex_lock(&simulation_lock);
	event = usable_context(&result) ? event_resolve(handle) : NULL;
	if (!result && !event)
		result = CUDA_ERROR_INVALID_HANDLE;
	if (event) {
		while (wait && event->completed < event->recorded)
			pthread_cond_wait(&simulation_changed, &simulation_lock);
		result = event->completed < event->recorded ? CUDA_ERROR_NOT_READY
							    : current_context()->error;
		if (!result)
			host_time = fmax(host_time, event->time);
	}
	pthread_mutex_unlock(&simulation_lock);
	return result;
}

CUresult cuEventQuery(CUevent event)
{
	return query(event, false);
}

CUresult cuEventSynchronize(CUevent event)
{
	return query(event, true);
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent start_handle, CUevent end_handle)
{
	struct event *start, *end;
	CUresult result = CUDA_SUCCESS;

	if (!milliseconds)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&simulation_lock);
	start = event_resolve(start_handle);
	end = event_resolve(end_handle);
	if (!start || !end || !start->timing || !end->timing || !start->recorded || !end->recorded)
		result = CUDA_ERROR_INVALID_HANDLE;
	else if (start->completed < start->recorded || end->completed < end->recorded)
		result = CUDA_ERROR_NOT_READY;
	else
		*milliseconds = (float)((end->time - start->time) * 1e3);
	pthread_mutex_unlock(&simulation_lock);
	return result;
}
