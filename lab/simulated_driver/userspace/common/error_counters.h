/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Errors that the described hardware makes while it transfers, counted over all processes: one
 * file for each GPU and kind below <root>/run/gpufleet-lab/errors, a byte for every error.
 */
#ifndef LAB_ERROR_COUNTERS_H
#define LAB_ERROR_COUNTERS_H

#include "common/host_description.h"

/* A transfer that this GPU took part in, with as many errors as its description says. */
void error_counters_transfer(const struct host_description *host, int gpu);

/* How many of a kind there were since the tree was made. */
unsigned long long error_counters_read(int gpu, enum error_kind kind);

#endif
