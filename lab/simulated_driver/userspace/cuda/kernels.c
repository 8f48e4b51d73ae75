// SPDX-License-Identifier: GPL-3.0-or-later
/* The kernels that end by themselves, with the meaning of the PTX entries of the same name. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/kernel_log.h"
#include "cuda/simulation.h"

#define VECTOR_BYTES 16
/* Loads and stores by kernels reach a little less than copy engines do: 376 of 394 GB/s. */
#define KERNEL_EFFICIENCY 0.95

/* The finaliser of splitmix64 (Steele, Lea, Flood 2014). */
uint64_t mix64(uint64_t value)
{
	value += 0x9E3779B97F4A7C15u;
	value ^= value >> 30;
	value *= 0xBF58476D1CE4E5B9u;
	value ^= value >> 27;
	value *= 0x94D049BB133111EBu;
	return value ^ value >> 31;
}

enum reach kernel_reach(const struct stream *stream, CUdeviceptr address, size_t bytes,
			struct allocation **allocation, size_t *offset)
{
	const struct context *context = stream->context;
	const struct fault *fault = &simulation_machine()->fault;

	*allocation = allocation_at(address, bytes);
	if (!*allocation || address % sizeof(uint64_t))
		return REACH_NOTHING;
	*offset = (size_t)(address - (*allocation)->address);
	if ((*allocation)->device < 0 || (*allocation)->device == context->device)
		return REACH_LOCAL;
	if (!context->peers[(*allocation)->device] ||
	    fault_is_error(fault, CUDA_ERROR_ILLEGAL_ADDRESS, gpu_of(context->device),
			   gpu_of((*allocation)->device))) {
		kernel_log_mmu_fault(simulation_machine(), gpu_of(context->device));
		return REACH_NOTHING;
	}
	return REACH_PEER;
}

/* A range as one kernel sees it: the memory itself, or a buffer that stands for a peer's. */
struct view {
	enum reach reach;
	struct allocation *allocation;
	size_t offset, bytes;
	unsigned char *memory;
};

enum access { READS, WRITES };

static CUresult view_open(struct stream *stream, struct view *view, CUdeviceptr address,
			  size_t bytes, enum access access, uint64_t passes, double *end)
{
	int own = gpu_of(stream->context->device), other;

	view->bytes = bytes;
	view->reach = kernel_reach(stream, address, bytes, &view->allocation, &view->offset);
	if (view->reach == REACH_NOTHING)
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	view->memory = view->allocation->memory + view->offset;
	if (view->reach == REACH_LOCAL) {
		*end = fmax(*end, timeline_local(*end, passes * bytes));
		return CUDA_SUCCESS;
	}
	other = gpu_of(view->allocation->device);
	if (access == WRITES ? peer_transfer_hangs(view->allocation, own, other)
			     : peer_transfer_hangs(view->allocation, other, own))
		stream->state = STREAM_HUNG;
	view->memory = malloc(bytes);
	if (!view->memory)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*end = access == WRITES ? timeline_peer(own, other, *end, passes * bytes, KERNEL_EFFICIENCY)
				: timeline_peer(other, own, *end, passes * bytes, KERNEL_EFFICIENCY);
	if (access == READS)
		peer_load(own, view->allocation, view->offset, view->memory, bytes);
	return CUDA_SUCCESS;
}

static void view_close(const struct stream *stream, struct view *view, enum access access)
{
	if (view->reach != REACH_PEER)
		return;
	if (access == WRITES && stream->state != STREAM_HUNG)
		peer_store(gpu_of(stream->context->device), view->allocation, view->offset,
			   view->memory, view->bytes);
	free(view->memory);
}

static CUresult fill_pattern(struct stream *stream, const uint64_t *parameters, double *end)
{
	uint64_t words = parameters[1], seed = parameters[2], first = parameters[3];
	struct view to;
	CUresult error = view_open(stream, &to, parameters[0], words * sizeof(uint64_t), WRITES, 1,
				    end);

	if (error)
		return error;
	for (uint64_t index = 0; index < words; index++) {
		uint64_t word = mix64((first + index) ^ seed);

		memcpy(to.memory + index * sizeof(word), &word, sizeof(word));
	}
	view_close(stream, &to, WRITES);
	return CUDA_SUCCESS;
}

static CUresult verify_pattern(struct stream *stream, const uint64_t *parameters, double *end)
{
	uint64_t words = parameters[1], seed = parameters[2], first = parameters[3];
	uint64_t found[2] = { 0, UINT64_MAX }, before[2];
	struct allocation *result;
	struct view from;
	size_t offset;
	CUresult error;

	if (kernel_reach(stream, parameters[4], sizeof(before), &result, &offset) != REACH_LOCAL)
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	error = view_open(stream, &from, parameters[0], words * sizeof(uint64_t), READS, 1, end);
	if (error)
		return error;
	for (uint64_t index = words; index-- > 0;) {
		uint64_t word;

		memcpy(&word, from.memory + index * sizeof(word), sizeof(word));
		if (word != mix64((first + index) ^ seed)) {
			found[0]++;
			found[1] = first + index;
		}
	}
	view_close(stream, &from, READS);
	memcpy(before, result->memory + offset, sizeof(before));
	before[0] += found[0];
	before[1] = found[1] < before[1] ? found[1] : before[1];
	memcpy(result->memory + offset, before, sizeof(before));
	return CUDA_SUCCESS;
}

/* The data of several passes is that of one; their time is that of all. */
static CUresult copy(struct stream *stream, const uint64_t *parameters, uint64_t passes,
		     double *end)
{
	size_t bytes = parameters[2] * VECTOR_BYTES;
	double written = *end;
	struct view to, from;
	CUresult error;

	if (passes == 0)
		return CUDA_SUCCESS;
	error = view_open(stream, &from, parameters[1], bytes, READS, passes, end);
	if (error)
		return error;
	error = view_open(stream, &to, parameters[0], bytes, WRITES, passes, &written);
	if (!error) {
		memmove(to.memory, from.memory, bytes);
		view_close(stream, &to, WRITES);
	}
	view_close(stream, &from, READS);
	*end = fmax(*end, written);
	return error;
}

static CUresult copy_words(struct stream *stream, const uint64_t *parameters, double *end)
{
	return copy(stream, parameters, 1, end);
}

static CUresult bulk_copy(struct stream *stream, const uint64_t *parameters, double *end)
{
	return copy(stream, parameters, parameters[3], end);
}

static CUresult pointer_chase(struct stream *stream, const uint64_t *parameters, double *end)
{
	int own = gpu_of(stream->context->device);
	struct allocation *result, *from;
	uint64_t answer[2] = { parameters[0], 0 };
	double seconds = 0;
	size_t place, offset;

	if (kernel_reach(stream, parameters[2], sizeof(answer), &result, &place) != REACH_LOCAL)
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	for (uint64_t load = 0; load < parameters[1]; load++) {
		enum reach reach = kernel_reach(stream, answer[0], sizeof(uint64_t), &from, &offset);

		if (reach == REACH_NOTHING)
			return CUDA_ERROR_ILLEGAL_ADDRESS;
		if (reach == REACH_PEER && peer_transfer_hangs(from, gpu_of(from->device), own)) {
			stream->state = STREAM_HUNG;
			return CUDA_SUCCESS;
		}
		if (reach == REACH_PEER)
			peer_load(own, from, offset, &answer[0], sizeof(uint64_t));
		else
			memcpy(&answer[0], from->memory + offset, sizeof(uint64_t));
		seconds += timeline_load_seconds(reach == REACH_PEER);
	}
	answer[1] = (uint64_t)(seconds * 1e9);
	memcpy(result->memory + place, answer, sizeof(answer));
	*end += seconds;
	return CUDA_SUCCESS;
}

/*
 * The two that nvbandwidth's method is made of: a pattern of 32-bit words, local to the GPU of the
 * kernel, is written or compared again and again over a buffer that may be a peer's.
 */
static CUresult open_repeating(struct stream *stream, const uint64_t *parameters, double *end,
			       struct view *buffer, enum access access,
			       struct allocation **pattern, size_t *offset)
{
	if (!parameters[3] || kernel_reach(stream, parameters[2], parameters[3] * sizeof(uint32_t),
					   pattern, offset) != REACH_LOCAL)
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	return view_open(stream, buffer, parameters[0], parameters[1] * sizeof(uint32_t), access,
			 1, end);
}

static CUresult fill_repeating(struct stream *stream, const uint64_t *parameters, double *end)
{
	struct allocation *pattern;
	struct view to;
	size_t offset;
	CUresult error = open_repeating(stream, parameters, end, &to, WRITES, &pattern, &offset);

	if (error)
		return error;
	for (uint64_t index = 0; index < parameters[1]; index++)
		memcpy(to.memory + index * sizeof(uint32_t),
		       pattern->memory + offset + index % parameters[3] * sizeof(uint32_t),
		       sizeof(uint32_t));
	view_close(stream, &to, WRITES);
	return CUDA_SUCCESS;
}

static CUresult compare_repeating(struct stream *stream, const uint64_t *parameters, double *end)
{
	const uint32_t mismatch = 1;
	struct allocation *pattern, *result;
	struct view from;
	size_t offset, place;
	CUresult error;

	if (kernel_reach(stream, parameters[4], sizeof(mismatch), &result, &place) != REACH_LOCAL)
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	error = open_repeating(stream, parameters, end, &from, READS, &pattern, &offset);
	if (error)
		return error;
	for (uint64_t index = 0; index < parameters[1]; index++)
		if (memcmp(from.memory + index * sizeof(uint32_t),
			   pattern->memory + offset + index % parameters[3] * sizeof(uint32_t),
			   sizeof(uint32_t)) != 0)
			memcpy(result->memory + place, &mismatch, sizeof(mismatch));
	view_close(stream, &from, READS);
	return CUDA_SUCCESS;
}

const struct kernel kernels[] = {
	{ .name = "fill_pattern", .parameter_count = 4, .execute = fill_pattern },
	{ .name = "verify_pattern", .parameter_count = 5, .execute = verify_pattern },
	{ .name = "copy_words", .parameter_count = 3, .execute = copy_words },
	{ .name = "bulk_copy", .parameter_count = 4, .execute = bulk_copy },
	{ .name = "pointer_chase", .parameter_count = 4, .execute = pointer_chase },
	{ .name = "fill_repeating", .parameter_count = 4, .execute = fill_repeating },
	{ .name = "compare_repeating", .parameter_count = 5, .execute = compare_repeating },
	{ .name = NULL },
};
