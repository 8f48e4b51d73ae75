/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The injected fault: $GPUFLEET_LAB_FAULT or the text of <root>/etc/gpufleet-lab/fault. */
#ifndef LAB_FAULT_H
#define LAB_FAULT_H

#include <stdbool.h>

enum fault_kind {
	FAULT_NONE,
	FAULT_MIRROR,
	FAULT_DROP,
	FAULT_STALE,
	FAULT_BIT_FLIP,
	FAULT_ALIAS_2MIB,
	FAULT_ONE_WAY,
	FAULT_HANG,
	FAULT_TOO_FAST,
	FAULT_SLOW,
	FAULT_NO_JIT,
	FAULT_PTX_TOO_NEW,
	FAULT_ERROR,
};

struct fault {
	enum fault_kind kind;
	int from, to;		/* -1 = any GPU */
	int error_code;		/* of FAULT_ERROR: the CUresult to answer with */
	bool ipc_only;		/* only memory that another process has opened is touched */
};

/* False with a line on standard error for a name that does not exist. */
bool fault_read(struct fault *fault);

/* Whether the fault touches data on its way from one GPU (index in bus order) to another. */
bool fault_touches(const struct fault *fault, enum fault_kind kind, int from, int to);

/* The same for memory that this process reaches by a handle of another process. */
bool fault_touches_opened(const struct fault *fault, enum fault_kind kind, int from, int to);

/* Whether this error code is to be answered to what GPU `from` asks of GPU `to`. */
bool fault_is_error(const struct fault *fault, int error_code, int from, int to);

/* The error code with which GPU `from` is refused to open memory of GPU `to`, or 0. */
int fault_opening_error(const struct fault *fault, int from, int to);

#endif
