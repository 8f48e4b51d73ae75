// SPDX-License-Identifier: GPL-3.0-or-later

#include "common/fault.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text_file.h"

static const struct {
	const char *name;
	enum fault_kind kind;
} names[] = {
	{ "none", FAULT_NONE },		{ "mirror", FAULT_MIRROR },
	{ "drop", FAULT_DROP },		{ "stale", FAULT_STALE },
	{ "bit_flip", FAULT_BIT_FLIP },	{ "alias_2mib", FAULT_ALIAS_2MIB },
	{ "one_way", FAULT_ONE_WAY },	{ "hang", FAULT_HANG },
	{ "too_fast", FAULT_TOO_FAST },	{ "slow", FAULT_SLOW },
	{ "no_jit", FAULT_NO_JIT },	{ "ptx_too_new", FAULT_PTX_TOO_NEW },
};

/* The codes that have a place where they are answered, ended by 0; see the README's table. */
static const int error_codes[] = { 46, 205, 217, 700, 711, 801, 802, 0 };

/* Those that opening another process's memory answers. */
static const int ipc_error_codes[] = { 205, 217, 304, 711, 800, 801, 0 };

/* Before a fault's name: it touches only what is done through a handle of another process. */
static const char ipc_prefix[] = "ipc_";

static bool parse_name(struct fault *fault, const char *name)
{
	char *end;

	for (size_t index = 0; index < sizeof(names) / sizeof(names[0]); index++) {
		if (strcmp(name, names[index].name) == 0) {
			fault->kind = names[index].kind;
			return true;
		}
	}
	if (strncmp(name, "error_", 6) != 0 || name[6] == '\0')
		return false;
	fault->kind = FAULT_ERROR;
	fault->error_code = (int)strtol(name + 6, &end, 10);
	for (const int *code = fault->ipc_only ? ipc_error_codes : error_codes; *code; code++)
		if (*end == '\0' && fault->error_code == *code)
			return true;
	return false;
}

/* A GPU's index up to the delimiter, or * for any; where the text goes on, or NULL. */
static const char *parse_end(int *gpu, const char *text, char delimiter)
{
	char *end;

	if (text[0] == '*' && text[1] == delimiter)
		return text + 1;
	*gpu = (int)strtol(text, &end, 10);
	return end != text && *end == delimiter && *gpu >= 0 ? end : NULL;
}

static bool parse_pair(struct fault *fault, const char *pair)
{
	const char *rest = parse_end(&fault->from, pair, '>');

	return rest && parse_end(&fault->to, rest + 1, '\0') &&
	       (fault->from < 0 || fault->from != fault->to);
}

static bool is_or_any(int named, int gpu)
{
	return named < 0 || named == gpu;
}

bool fault_read(struct fault *fault)
{
	const char *text = getenv("GPUFLEET_LAB_FAULT");
	char line[64] = "none";
	char path[PATH_MAX];
	char *pair;

	*fault = (struct fault){ .kind = FAULT_NONE, .from = -1, .to = -1 };
	if (text)
		snprintf(line, sizeof(line), "%s", text);
	else if (!path_format(path, sizeof(path), "%s/etc/gpufleet-lab/fault", tree_root()) ||
		 !read_line(path, line, sizeof(line)))
		return true;
	if (line[0] == '\0')
		return true;
	pair = strchr(line, ':');
	if (pair)
		*pair++ = '\0';
	fault->ipc_only = strncmp(line, ipc_prefix, strlen(ipc_prefix)) == 0;
	if (parse_name(fault, line + (fault->ipc_only ? strlen(ipc_prefix) : 0)) &&
	    (!pair || parse_pair(fault, pair)))
		return true;
	fprintf(stderr, "gpufleet lab: no such fault: %s%s%s\n", line, pair ? ":" : "",
		pair ? pair : "");
	return false;
}

bool fault_touches(const struct fault *fault, enum fault_kind kind, int from, int to)
{
	return !fault->ipc_only && fault_touches_opened(fault, kind, from, to);
}

bool fault_touches_opened(const struct fault *fault, enum fault_kind kind, int from, int to)
{
	if (fault->kind != kind)
		return false;
	/* The named direction is the one that works; unnamed, it is from lower to higher. */
	if (kind == FAULT_ONE_WAY)
		return fault->from < 0 && fault->to < 0
			? from > to : is_or_any(fault->from, to) && is_or_any(fault->to, from);
	return is_or_any(fault->from, from) && is_or_any(fault->to, to);
}

bool fault_is_error(const struct fault *fault, int error_code, int from, int to)
{
	return fault->error_code == error_code && fault_touches(fault, FAULT_ERROR, from, to);
}

int fault_opening_error(const struct fault *fault, int from, int to)
{
	return fault->ipc_only && fault_touches_opened(fault, FAULT_ERROR, from, to)
		? fault->error_code : 0;
}
