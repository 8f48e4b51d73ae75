/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The state behind the API. One lock guards all of it; only resident kernels run without it,
 * while they spin on real memory.
 */
#ifndef LAB_CUDA_SIMULATION_H
#define LAB_CUDA_SIMULATION_H

#include <pthread.h>
#include <stdbool.h>

#include "common/link_path.h"
#include "common/machine.h"
#include "cuda/abi.h"

#define MAXIMUM_KERNEL_PARAMETERS 8

struct context {
	int device;			/* CUDA ordinal */
	unsigned int retained;
	bool peers[MAXIMUM_GPUS];	/* ordinals whose memory this context may reach */
	CUresult error;			/* sticky, until the context is reset */
	struct stream *default_stream;
};

/* What one GPU sees of another's allocation where that is not the allocation itself. */
struct window {
	struct window *next;
	int initiator;
	unsigned char *shadow;		/* as long as the allocation, or NULL */
	unsigned char *pending;		/* a write that has not arrived yet, or NULL */
	size_t pending_offset, pending_bytes;
};

struct allocation {
	struct allocation *next;
	int device;			/* ordinal, or -1 for page-locked host memory */
	CUdeviceptr address;
	size_t bytes;
	unsigned char *memory;
	int file;			/* behind device memory, for other processes; or -1 */
	int opener;			/* ordinal whose context opened a handle for it, or -1 */
	unsigned int opened;		/* how often it did */
	unsigned int pins;		/* resident kernels that have its address */
	struct window *windows;
};

enum operation_kind { OPERATION_COPY, OPERATION_SET, OPERATION_KERNEL, OPERATION_RECORD,
		      OPERATION_WAIT };

struct operation {
	struct operation *next;
	double not_before;		/* virtual time of the host when it was enqueued */
	enum operation_kind kind;
	union {
		struct {
			CUdeviceptr to, from;
			size_t bytes;
			void *snapshot;		/* of pageable host memory, or NULL */
		} copy;
		struct {
			CUdeviceptr to;
			uint32_t value;
			unsigned int width;	/* bytes of one element */
			size_t count;
		} set;
		struct {
			const struct kernel *kernel;
			uint64_t parameters[MAXIMUM_KERNEL_PARAMETERS];
		} launch;
		struct {
			struct event *event;
			uint64_t ticket;
		} event;
	};
};

enum stream_state { STREAM_READY, STREAM_RESIDENT, STREAM_WAITING, STREAM_HUNG };

struct stream {
	struct stream *next;
	struct context *context;
	bool blocking;			/* synchronous calls of its context wait for it */
	bool destroyed;
	enum stream_state state;
	struct operation *head, **tail;
	struct operation *waiting;	/* what STREAM_WAITING waits for */
	double time;			/* virtual end of what was executed, seconds */
};

struct event {
	struct event *next;
	uint64_t recorded, completed;	/* tickets: of the last record enqueued, executed */
	unsigned int references;	/* operations in queues */
	bool destroyed;
	bool timing;
	double time;
};

struct kernel {
	const char *name;
	unsigned int parameter_count;
	/* Does the kernel's work; *end enters as the virtual start. NULL if it is resident. */
	CUresult (*execute)(struct stream *stream, const uint64_t *parameters, double *end);
	/* A resident kernel runs in a thread of its own: prepared with the lock, run without
	 * it, finished with it again; finish returns the virtual duration in seconds. */
	CUresult (*prepare)(struct stream *stream, const uint64_t *parameters, void **state);
	void (*run)(void *state);
	double (*finish)(void *state);
};

extern pthread_mutex_t simulation_lock;
extern pthread_cond_t simulation_changed;
extern double host_time;		/* virtual time that the host has seen pass, seconds */

/* context.c */
const struct machine *simulation_machine(void);	/* NULL before cuInit */
int gpu_of(int ordinal);			/* index in bus order */
int device_count(void);
bool device_is_valid(CUdevice device);
struct context *current_context(void);
/* The current context if there is one and it is healthy; else *error says why not. */
struct context *usable_context(CUresult *error);
bool context_is_valid(const struct context *context);
/* With the lock held: maps the memory of a GPU (ordinal) into a context. */
CUresult context_enable_peer(struct context *context, int peer);

/* memory.c */
#define IPC_FILE_NAME "gpufleet-lab"
struct allocation *allocation_at(CUdeviceptr address, size_t bytes);
struct allocation *allocation_first(void);
/* Maps a file, which it takes over, as memory of a device (ordinal). */
struct allocation *allocation_map(int device, int file, size_t bytes);
void allocation_free(struct allocation *allocation);
/* All that the context of this device owns or has opened. */
void allocation_free_all(int device);
bool address_is_of_device(CUdeviceptr address);

/* peer_window.c: data between GPUs as it really arrives. */
/* The memory that is reached there: a fault may be of opened memory alone. */
bool peer_transfer_hangs(const struct allocation *there, int from, int to);
void peer_store(int initiator, struct allocation *to, size_t offset, const void *data,
		size_t bytes);
void peer_load(int initiator, struct allocation *from, size_t offset, void *data, size_t bytes);
void peer_windows_free(struct allocation *allocation);
enum peer_delivery { PEER_DELIVERS, PEER_LOSES, PEER_MIRRORS, PEER_DELIVERS_LATE, PEER_ALIASES };
enum peer_delivery peer_delivery(const struct allocation *there, int from, int to);
#define ALIAS_BYTES ((size_t)2 << 20)

/* timeline.c: when transfers end, in virtual seconds. */
double timeline_transfer(const struct link_path *path, double earliest, double latency,
			 size_t bytes, double factor);
double timeline_peer(int from, int to, double earliest, size_t bytes, double factor);
double timeline_local(double earliest, size_t bytes);
double timeline_load_seconds(bool remote);

/* stream.c */
struct stream *stream_new(struct context *context, bool blocking);
struct stream *stream_resolve(struct context *context, CUstream handle);
CUresult stream_submit(struct stream *stream, const struct operation *operation);
void stream_drain(struct stream *stream);
bool stream_is_idle(const struct stream *stream);
void stream_wait(struct stream *stream);
void streams_reset(struct context *context);
void streams_wake(void);
/* Waits until all that synchronous calls of this context have to wait for is done. */
void context_wait(struct context *context, bool every_stream);

/* event.c */
void event_complete(struct event *event, uint64_t ticket, double time);
void event_unreference(struct event *event);

/* copy.c: both return the sticky error that they cause. */
CUresult copy_execute(struct stream *stream, const struct operation *operation, double start);
CUresult set_execute(struct stream *stream, const struct operation *operation, double start);

/* launch.c */
void launch_execute(struct stream *stream, const struct operation *operation, double start);
const struct kernel *kernel_find(const char *name);

/* compiled_image.c: what a cubin offers, as ".entry name" lines to be freed; NULL if it is none. */
bool image_is_compiled(const void *image);
char *image_entries(const void *image);

/* kernels.c, resident.c */
extern const struct kernel kernels[];		/* ends with a NULL name */
extern const struct kernel resident_gate, resident_ping_pong;
uint64_t mix64(uint64_t value);

/* What a kernel of this stream may do at an address. */
enum reach { REACH_NOTHING, REACH_LOCAL, REACH_PEER };
enum reach kernel_reach(const struct stream *stream, CUdeviceptr address, size_t bytes,
			struct allocation **allocation, size_t *offset);

#endif
