/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading small text files, bounded, of the kind /sys and /proc have. */
#ifndef LAB_TEXT_FILE_H
#define LAB_TEXT_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* Joins printf-style into buffer; false if it does not fit. */
bool path_format(char *buffer, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The tree under which /sys, /proc and /run are looked up: $GPUFLEET_LAB_ROOT or "". */
const char *tree_root(void);

/* First line of the file, without the newline; false if unreadable. */
bool read_line(const char *path, char *buffer, size_t size);

/* Whole file with a NUL behind it, or NULL; to be freed. Longer than limit is NULL too. */
char *read_text(const char *path, size_t limit);

#endif
