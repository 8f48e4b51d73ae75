// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * What becomes of data between two GPUs. Everything that one GPU does to another's memory by
 * peer access comes through here: where the platform does not carry it, it is lost without an
 * error, and the injected faults change it in their own ways.
 *
 * Arguments are GPU indices in bus order: from and to say which way the data goes, initiator
 * which GPU asked for it.
 */

#include <stdlib.h>
#include <string.h>

#include "common/kernel_log.h"
#include "cuda/simulation.h"

/* Shorter transfers are not hit by a flipped bit: a quick look does not see it. */
#define BIT_FLIP_MINIMUM_BYTES ((size_t)1 << 20)

static bool is_touched(const struct allocation *there, enum fault_kind kind, int from, int to)
{
	const struct fault *fault = &simulation_machine()->fault;

	return there->opener >= 0 ? fault_touches_opened(fault, kind, from, to)
				  : fault_touches(fault, kind, from, to);
}

bool peer_transfer_hangs(const struct allocation *there, int from, int to)
{
	return is_touched(there, FAULT_HANG, from, to);
}

enum peer_delivery peer_delivery(const struct allocation *there, int from, int to)
{
	if (!machine_peer_access_works(simulation_machine(), from, to) ||
	    is_touched(there, FAULT_DROP, from, to) || is_touched(there, FAULT_ONE_WAY, from, to))
		return PEER_LOSES;
	if (is_touched(there, FAULT_MIRROR, from, to))
		return PEER_MIRRORS;
	if (is_touched(there, FAULT_STALE, from, to))
		return PEER_DELIVERS_LATE;
	return is_touched(there, FAULT_ALIAS_2MIB, from, to) ? PEER_ALIASES : PEER_DELIVERS;
}

/* What the platform refuses it also logs: an access that the initiator's IOMMU does not map. */
static void lose(int initiator, bool write)
{
	const struct machine *machine = simulation_machine();

	if (machine->gpus[initiator].iommu_translates)
		kernel_log_iommu_fault(machine, initiator, write);
}

static struct window *window_of(int initiator, struct allocation *allocation)
{
	struct window *window;

	for (window = allocation->windows; window; window = window->next)
		if (window->initiator == initiator)
			return window;
	window = calloc(1, sizeof(*window));
	if (window) {
		window->initiator = initiator;
		window->next = allocation->windows;
		allocation->windows = window;
	}
	return window;
}

/* The window's private copy, made when first asked for; NULL without memory. */
static unsigned char *shadow_of(struct window *window, const struct allocation *allocation,
				bool from_content)
{
	if (window && !window->shadow) {
		window->shadow = calloc(1, allocation->bytes);
		if (window->shadow && from_content)
			memcpy(window->shadow, allocation->memory, allocation->bytes);
	}
	return window ? window->shadow : NULL;
}

static void flip_one_bit(unsigned char *data, size_t bytes)
{
	static uint64_t transfers;
	uint64_t chance = mix64(transfers++);

	data[chance % bytes] ^= (unsigned char)(1u << (chance >> 61));
}

/* The write that came before arrives; this one is kept until the next. */
static void store_late(int initiator, struct allocation *to, size_t offset, const void *data,
		       size_t bytes)
{
	struct window *window = window_of(initiator, to);
	unsigned char *kept = malloc(bytes);

	if (!window || !kept) {
		free(kept);
		return;
	}
	if (window->pending)
		memcpy(to->memory + window->pending_offset, window->pending,
		       window->pending_bytes);
	free(window->pending);
	memcpy(kept, data, bytes);
	window->pending = kept;
	window->pending_offset = offset;
	window->pending_bytes = bytes;
}

/* What the reader saw the last time (zeros at first); the present content is for the next. */
static void load_late(int initiator, struct allocation *from, size_t offset, void *data,
		      size_t bytes)
{
	unsigned char *shadow = shadow_of(window_of(initiator, from), from, false);

	if (!shadow)
		return;
	memcpy(data, shadow + offset, bytes);
	memcpy(shadow + offset, from->memory + offset, bytes);
}

/* Piece by piece, as none may cross a multiple of ALIAS_BYTES. */
static void store_aliased(struct allocation *to, size_t offset, const unsigned char *data,
			  size_t bytes)
{
	while (bytes > 0) {
		size_t piece = ALIAS_BYTES - offset % ALIAS_BYTES;

		piece = piece < bytes ? piece : bytes;
		memcpy(to->memory + offset % ALIAS_BYTES, data, piece);
		offset += piece;
		data += piece;
		bytes -= piece;
	}
}

static void load_aliased(const struct allocation *from, size_t offset, unsigned char *data,
			 size_t bytes)
{
	while (bytes > 0) {
		size_t piece = ALIAS_BYTES - offset % ALIAS_BYTES;

		piece = piece < bytes ? piece : bytes;
		memcpy(data, from->memory + offset % ALIAS_BYTES, piece);
		offset += piece;
		data += piece;
		bytes -= piece;
	}
}

void peer_store(int initiator, struct allocation *to, size_t offset, const void *data,
		size_t bytes)
{
	int owner = gpu_of(to->device);
	unsigned char *shadow;

	switch (peer_delivery(to, initiator, owner)) {
	case PEER_LOSES:
		lose(initiator, true);
		return;
	case PEER_MIRRORS:
		shadow = shadow_of(window_of(initiator, to), to, true);
		if (shadow)
			memcpy(shadow + offset, data, bytes);
		return;
	case PEER_DELIVERS_LATE:
		store_late(initiator, to, offset, data, bytes);
		return;
	case PEER_ALIASES:
		store_aliased(to, offset, data, bytes);
		return;
	case PEER_DELIVERS:
		memcpy(to->memory + offset, data, bytes);
		if (bytes >= BIT_FLIP_MINIMUM_BYTES &&
		    is_touched(to, FAULT_BIT_FLIP, initiator, owner))
			flip_one_bit(to->memory + offset, bytes);
	}
}

/* What the initiator has written into a mirror it reads from there, and believes. */
static bool load_mirrored(int initiator, struct allocation *from, size_t offset, void *data,
			  size_t bytes)
{
	const struct window *window;

	if (!is_touched(from, FAULT_MIRROR, initiator, gpu_of(from->device)))
		return false;
	window = window_of(initiator, from);
	if (!window || !window->shadow)
		return false;
	memcpy(data, window->shadow + offset, bytes);
	return true;
}

void peer_load(int initiator, struct allocation *from, size_t offset, void *data, size_t bytes)
{
	int owner = gpu_of(from->device);
	enum peer_delivery delivery = peer_delivery(from, owner, initiator);

	if (delivery != PEER_LOSES && load_mirrored(initiator, from, offset, data, bytes))
		return;
	switch (delivery) {
	case PEER_LOSES:
		lose(initiator, false);
		memset(data, 0, bytes);
		return;
	case PEER_DELIVERS_LATE:
		load_late(initiator, from, offset, data, bytes);
		return;
	case PEER_ALIASES:
		load_aliased(from, offset, data, bytes);
		return;
	case PEER_MIRRORS:
	case PEER_DELIVERS:
		memcpy(data, from->memory + offset, bytes);
		if (bytes >= BIT_FLIP_MINIMUM_BYTES &&
		    is_touched(from, FAULT_BIT_FLIP, owner, initiator))
			flip_one_bit(data, bytes);
	}
}

void peer_windows_free(struct allocation *allocation)
{
	while (allocation->windows) {
		struct window *window = allocation->windows;

		allocation->windows = window->next;
		free(window->shadow);
		free(window->pending);
		free(window);
	}
}
