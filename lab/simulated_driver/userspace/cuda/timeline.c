// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The virtual clock. Each direction of each link is free again at some time; a transfer
 * starts when its stream has come to it and all links of its path are free. Contention comes
 * out of that, and nothing else needs to know of it.
 */

#include <math.h>

#include "cuda/simulation.h"

/* Of a card's own memory; only its being far above any link matters. */
#define LOCAL_BYTES_PER_SECOND 800e9
#define LOCAL_LATENCY 2e-6
#define LOCAL_LOAD 0.35e-6
/* Injected: rates no link has, as seen with a display in BAR1, and those of a redirected path. */
#define TOO_FAST_FACTOR 4.5
#define SLOW_FACTOR 0.2

static double free_at[LINK_RESOURCES];

double timeline_transfer(const struct link_path *path, double earliest, double latency,
			 size_t bytes, double factor)
{
	double busy = (double)bytes / (path->bytes_per_second * factor);
	double start = earliest;

	for (size_t hop = 0; hop < path->count; hop++)
		start = fmax(start, free_at[path->resources[hop]]);
	for (size_t hop = 0; hop < path->count; hop++)
		free_at[path->resources[hop]] = start + busy;
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
