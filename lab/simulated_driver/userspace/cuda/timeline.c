// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The virtual clock. Each direction of each link is busy at some times; a transfer starts as
 * soon as its stream has come to it and all links of its path are free for as long as it needs
 * them. Contention comes out of that, and nothing else needs to know of it.
 */

#include <math.h>
#include <string.h>

#include "common/error_counters.h"
#include "cuda/simulation.h"

/* Of a card's own memory; only its being far above any link matters. */
#define LOCAL_BYTES_PER_SECOND 800e9
#define LOCAL_LATENCY 2e-6
#define LOCAL_LOAD 0.35e-6
/* Injected: rates no link has, as seen with a display in BAR1, and those of a redirected path. */
#define TOO_FAST_FACTOR 4.5
#define SLOW_FACTOR 0.2

/* Of one direction of one link, in order; what was before the first counts as busy. */
#define BUSY_TIMES 64
/* Shorter gaps are the latency between queued copies: nothing is put into them. */
#define SMALLEST_GAP 2e-6

struct busy_times {
	double forgotten;
	size_t count;
	struct busy_time { double start, end; } times[BUSY_TIMES];
};

static struct busy_times links[LINK_RESOURCES];

/* The first time from `start` on at which the link is free for so long. */
static double free_from(const struct busy_times *link, double start, double seconds)
{
	start = fmax(start, link->forgotten);
	for (size_t index = 0; index < link->count; index++) {
		const struct busy_time *time = &link->times[index];

		if (start + seconds <= time->start)
			break;
		start = fmax(start, time->end);
	}
	return start;
}

static void remove_time(struct busy_times *link, size_t index)
{
	link->count--;
	memmove(&link->times[index], &link->times[index + 1],
		(link->count - index) * sizeof(link->times[0]));
}

static void occupy(struct busy_times *link, double start, double end)
{
	size_t index = link->count;

	if (link->count == BUSY_TIMES) {
		link->forgotten = link->times[0].end;
		remove_time(link, 0);
		index--;
	}
	while (index > 0 && link->times[index - 1].start > start)
		index--;
	memmove(&link->times[index + 1], &link->times[index],
		(link->count - index) * sizeof(link->times[0]));
	link->times[index] = (struct busy_time){ start, end };
	link->count++;
	if (index > 0 && start - link->times[index - 1].end < SMALLEST_GAP) {
		link->times[--index].end = end;
		remove_time(link, index + 1);
	}
	if (index + 1 < link->count && link->times[index + 1].start - end < SMALLEST_GAP) {
		link->times[index].end = link->times[index + 1].end;
		remove_time(link, index + 1);
	}
}

double timeline_transfer(const struct link_path *path, double earliest, double latency,
			 size_t bytes, double factor)
{
	double busy = (double)bytes / (path->bytes_per_second * factor);
	double start = earliest, before;

	do {
		before = start;
		for (size_t hop = 0; hop < path->count; hop++)
			start = free_from(&links[path->resources[hop]], start, busy);
	} while (start > before);
	for (size_t hop = 0; hop < path->count; hop++)
		occupy(&links[path->resources[hop]], start, start + busy);
	return start + latency + busy;
}

static double injected_factor(int from, int to)
{
	const struct fault *fault = &simulation_machine()->fault;

	if (fault_touches(fault, FAULT_TOO_FAST, from, to))
		return TOO_FAST_FACTOR;
	return fault_touches(fault, FAULT_SLOW, from, to) ? SLOW_FACTOR : 1.0;
}

/* Arguments from and to are GPU indices. */
double timeline_peer(int from, int to, double earliest, size_t bytes, double factor)
{
	const struct machine *machine = simulation_machine();
	struct link_path path = link_path_between(machine, from, to);

	error_counters_transfer(&machine->host, from);
	error_counters_transfer(&machine->host, to);
	return timeline_transfer(&path, earliest, machine->host.latency_on, bytes,
				 factor * injected_factor(from, to));
}

double timeline_local(double earliest, size_t bytes)
{
	return earliest + LOCAL_LATENCY + (double)bytes / LOCAL_BYTES_PER_SECOND;
}

/* A remote load is a request and an answer, where a queued copy is one posted write. */
double timeline_load_seconds(bool remote)
{
	return remote ? 2 * simulation_machine()->host.latency_on : LOCAL_LOAD;
}
