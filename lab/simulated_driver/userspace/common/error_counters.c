// SPDX-License-Identifier: GPL-3.0-or-later

#include "common/error_counters.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/run_directory.h"
#include "common/text_file.h"

static bool counter_path(char *path, int gpu, enum error_kind kind)
{
	return path_format(path, PATH_MAX, "%s/run/gpufleet-lab/errors/%d.%d", tree_root(), gpu,
			   (int)kind);
}

static void add(int gpu, enum error_kind kind, unsigned int errors)
{
	static const char bytes[MAXIMUM_ERRORS_PER_TRANSFER];
	char path[PATH_MAX];
	int file;

	if (!counter_path(path, gpu, kind))
		return;
	run_directory_make("errors");
	file = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
	if (file < 0)
		return;
	if (write(file, bytes, errors) != (ssize_t)errors)
		fprintf(stderr, "gpufleet lab: %s cannot be written\n", path);
	close(file);
}

void error_counters_transfer(const struct host_description *host, int gpu)
{
	for (int kind = 0; kind < ERROR_KINDS; kind++)
		if (host->gpus[gpu].errors_per_transfer[kind])
			add(gpu, kind, host->gpus[gpu].errors_per_transfer[kind]);
}

unsigned long long error_counters_read(int gpu, enum error_kind kind)
{
	struct stat status;
	char path[PATH_MAX];

	return counter_path(path, gpu, kind) && stat(path, &status) == 0
		? (unsigned long long)status.st_size : 0;
}
