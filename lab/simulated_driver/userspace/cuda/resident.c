// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Kernels that run while the host and other kernels do something else: each is a thread that
 * looks at the real memory. One look at a flag counts as a microsecond of real time, which is
 * about what it takes on a GPU. On a GPU both partners of a ping-pong spin; here they sleep until
 * the other wakes them, because threads that spin take the processor from whom they wait for. How
 * long they wait is counted in such sleeps and not by the clock: a busy machine holds up partners
 * that a GPU would not, and wakes the one that waits as late as the other.
 */

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cuda/simulation.h"

#define PAYLOAD_WORDS 32
#define GATE_BYTES (2 * sizeof(uint64_t))
#define MAILBOX_BYTES ((1 + PAYLOAD_WORDS) * sizeof(uint64_t))
#define PING_PONG_BOUND 2.0
#define GATE_BOUND 10.0
/* A second thread may have to be started first: no wait is cut shorter than this. */
#define SHORTEST_BOUND 0.25
#define SECONDS_PER_LOOK 1e-6
#define PAUSE_NANOSECONDS 20000
/* Between two looks at the gate of a ping-pong. */
#define LOOK_NANOSECONDS 1000000
/* What a wake-up that went elsewhere (an alias) costs at most. */
#define NAP_NANOSECONDS 10000000

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static double wait_bound(uint64_t looks, double longest)
{
	double seconds = (double)looks * SECONDS_PER_LOOK;

	return seconds < SHORTEST_BOUND ? SHORTEST_BOUND : seconds > longest ? longest : seconds;
}

/* As many sleeps of this length as that takes. */
static unsigned int sleeps(uint64_t looks, double longest, long nanoseconds)
{
	return (unsigned int)(wait_bound(looks, longest) * 1e9 / (double)nanoseconds);
}

static void pin(struct allocation *allocation)
{
	allocation->pins++;
}

static void unpin(struct allocation *allocation)
{
	allocation->pins--;
	pthread_cond_broadcast(&simulation_changed);
}

struct gate {
	struct allocation *allocation;
	_Atomic uint32_t *flag;
	double bound;
};

static CUresult gate_prepare(struct stream *stream, const uint64_t *parameters, void **state)
{
	struct allocation *allocation;
	struct gate *gate;
	size_t offset;

	if (kernel_reach(stream, parameters[0], sizeof(uint32_t), &allocation, &offset) !=
	    REACH_LOCAL)
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	gate = malloc(sizeof(*gate));
	if (!gate)
		return CUDA_ERROR_OUT_OF_MEMORY;
	gate->allocation = allocation;
	gate->flag = (_Atomic uint32_t *)(void *)(allocation->memory + offset);
	gate->bound = wait_bound(parameters[1], GATE_BOUND);
	pin(allocation);
	*state = gate;
	return CUDA_SUCCESS;
}

static void gate_run(void *state)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NANOSECONDS };
	const struct gate *gate = state;
	double end = now() + gate->bound;

	while (!atomic_load_explicit(gate->flag, memory_order_acquire) && now() < end)
		nanosleep(&pause, NULL);
}

/* In virtual time a gate takes none: the host's time does not pass in it. */
static double gate_finish(void *state)
{
	struct gate *gate = state;

	unpin(gate->allocation);
	free(gate);
	return 0;
}

const struct kernel resident_gate = {
	.name = "gate",
	.parameter_count = 2,
	.prepare = gate_prepare,
	.run = gate_run,
	.finish = gate_finish,
};

/* A mailbox: a flag and behind it the payload. */
typedef _Atomic uint64_t mailbox_word;

#define PINNED 4

enum ending { PLAYED, GAVE_UP, GATE_STAYED_SHUT };

struct ping_pong {
	struct allocation *pinned[PINNED];
	mailbox_word *mine, *theirs;
	mailbox_word *gate;		/* this kernel runs; the host lets it begin */
	unsigned char *result;
	uint64_t rounds;
	bool leader;
	bool late;			/* the payload that arrives is that of the turn before */
	unsigned int naps, looks;	/* at most for one turn, and at the gate */
	double turn_seconds;		/* virtual, one way */
	uint64_t answer[4];		/* rounds completed, mismatches, ending, nanoseconds */
	mailbox_word nowhere[1 + PAYLOAD_WORDS];
};

static mailbox_word *mailbox_at(struct allocation *allocation, size_t offset)
{
	return (mailbox_word *)(void *)(allocation->memory + offset);
}

/* Where what is written to the partner's mailbox really goes. */
static CUresult ping_pong_aim(struct ping_pong *ping_pong, struct stream *stream,
			      CUdeviceptr theirs)
{
	int own = gpu_of(stream->context->device);
	struct allocation *allocation;
	size_t offset;
	enum reach reach = kernel_reach(stream, theirs, MAILBOX_BYTES, &allocation, &offset);

	if (reach == REACH_NOTHING)
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	ping_pong->pinned[1] = allocation;
	ping_pong->theirs = mailbox_at(allocation, offset);
	if (reach == REACH_LOCAL)
		return CUDA_SUCCESS;
	if (peer_transfer_hangs(allocation, own, gpu_of(allocation->device)))
		stream->state = STREAM_HUNG;
	switch (peer_delivery(allocation, own, gpu_of(allocation->device))) {
	case PEER_LOSES:
	case PEER_MIRRORS:
		ping_pong->theirs = ping_pong->nowhere;
		break;
	case PEER_DELIVERS_LATE:
		ping_pong->late = true;
		break;
	case PEER_ALIASES:
		ping_pong->theirs = mailbox_at(allocation, offset % ALIAS_BYTES);
		break;
	case PEER_DELIVERS:
		break;
	}
	return CUDA_SUCCESS;
}

static CUresult ping_pong_prepare(struct stream *stream, const uint64_t *parameters, void **state)
{
	struct ping_pong *ping_pong = calloc(1, sizeof(*ping_pong));
	struct allocation *mine, *result, *gate;
	size_t mine_offset, result_offset, gate_offset;
	CUresult error;

	if (!ping_pong)
		return CUDA_ERROR_OUT_OF_MEMORY;
	error = kernel_reach(stream, parameters[0], MAILBOX_BYTES, &mine, &mine_offset) ==
				REACH_LOCAL &&
		kernel_reach(stream, parameters[4], sizeof(ping_pong->answer), &result,
			     &result_offset) == REACH_LOCAL &&
		kernel_reach(stream, parameters[6], GATE_BYTES, &gate, &gate_offset) ==
				REACH_LOCAL
		? ping_pong_aim(ping_pong, stream, parameters[1]) : CUDA_ERROR_ILLEGAL_ADDRESS;
	if (error || stream->state == STREAM_HUNG) {
		free(ping_pong);
		return error;
	}
	ping_pong->mine = mailbox_at(mine, mine_offset);
	ping_pong->result = result->memory + result_offset;
	ping_pong->pinned[0] = mine;
	ping_pong->pinned[2] = result;
	ping_pong->gate = mailbox_at(gate, gate_offset);
	ping_pong->pinned[3] = gate;
	for (size_t index = 0; index < PINNED; index++)
		pin(ping_pong->pinned[index]);
	ping_pong->rounds = parameters[2];
	ping_pong->leader = parameters[3] != 0;
	ping_pong->naps = sleeps(parameters[5], PING_PONG_BOUND, NAP_NANOSECONDS);
	ping_pong->looks = sleeps(parameters[7], GATE_BOUND, LOOK_NANOSECONDS);
	ping_pong->turn_seconds = timeline_load_seconds(true);
	*state = ping_pong;
	return CUDA_SUCCESS;
}

/* The half of a flag that changes with every turn; the memory may be another process' as well. */
static uint32_t *futex_of(mailbox_word *flag)
{
	return (uint32_t *)(void *)flag;
}

static void send_turn(struct ping_pong *ping_pong, uint64_t turn)
{
	for (uint64_t index = 0; index < PAYLOAD_WORDS; index++) {
		uint64_t word = mix64((ping_pong->late ? turn - 1 : turn) * 64 + index);

		atomic_store_explicit(&ping_pong->theirs[1 + index], word, memory_order_relaxed);
	}
	atomic_store_explicit(&ping_pong->theirs[0], turn, memory_order_release);
	syscall(SYS_futex, futex_of(ping_pong->theirs), FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* False if the turn did not come within the bound. */
static bool receive_turn(struct ping_pong *ping_pong, uint64_t turn)
{
	const struct timespec nap = { .tv_nsec = NAP_NANOSECONDS };
	unsigned int naps = 0;
	uint64_t seen;

	while ((seen = atomic_load_explicit(&ping_pong->mine[0], memory_order_acquire)) < turn) {
		if (naps++ > ping_pong->naps)
			return false;
		syscall(SYS_futex, futex_of(ping_pong->mine), FUTEX_WAIT, (uint32_t)seen, &nap,
			NULL, 0);
	}
	for (uint64_t index = 0; index < PAYLOAD_WORDS; index++)
		if (atomic_load_explicit(&ping_pong->mine[1 + index], memory_order_relaxed) !=
		    mix64(turn * 64 + index))
			ping_pong->answer[1]++;
	return true;
}

/* False if the host did not open the gate within the bound. */
static bool pass_gate(struct ping_pong *ping_pong)
{
	const struct timespec pause = { .tv_nsec = LOOK_NANOSECONDS };

	atomic_store_explicit(&ping_pong->gate[0], 1, memory_order_release);
	for (unsigned int look = 0; look < ping_pong->looks; look++) {
		if (atomic_load_explicit(&ping_pong->gate[1], memory_order_acquire))
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

static void ping_pong_run(void *state)
{
	struct ping_pong *ping_pong = state;

	if (!pass_gate(ping_pong)) {
		ping_pong->answer[2] = GATE_STAYED_SHUT;
		return;
	}
	for (uint64_t turn = 1; turn <= ping_pong->rounds; turn++) {
		if (ping_pong->leader)
			send_turn(ping_pong, turn);
		if (!receive_turn(ping_pong, turn)) {
			ping_pong->answer[2] = GAVE_UP;
			return;
		}
		if (!ping_pong->leader)
			send_turn(ping_pong, turn);
		ping_pong->answer[0] = turn;
	}
}

/* The time told is from the end of the first round, as in the PTX: launching is not in it. */
static double ping_pong_finish(void *state)
{
	struct ping_pong *ping_pong = state;
	uint64_t rounds = ping_pong->answer[0];
	double seconds = (double)rounds * 2 * ping_pong->turn_seconds;

	if (rounds > 0)
		ping_pong->answer[3] =
			(uint64_t)((double)(rounds - 1) * 2e9 * ping_pong->turn_seconds);
	memcpy(ping_pong->result, ping_pong->answer, sizeof(ping_pong->answer));
	for (size_t index = 0; index < PINNED; index++)
		unpin(ping_pong->pinned[index]);
	free(ping_pong);
	return seconds;
}

const struct kernel resident_ping_pong = {
	.name = "ping_pong",
	.parameter_count = 8,
	.prepare = ping_pong_prepare,
	.run = ping_pong_run,
	.finish = ping_pong_finish,
};
