// SPDX-License-Identifier: GPL-3.0-or-later

#include "common/context_registry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/host_description.h"
#include "common/run_directory.h"
#include "common/text_file.h"

static bool registered[MAXIMUM_GPUS];
static pid_t registered_by;

static bool entry_path(char *path, int gpu)
{
	return path_format(path, PATH_MAX, "%s/run/gpufleet-lab/contexts/%d.%d", tree_root(),
			   (int)getpid(), gpu);
}

/* Programs rarely release their contexts before they end; the driver does it for them. */
static void remove_all(void)
{
	if (registered_by != getpid())
		return;
	for (int gpu = 0; gpu < MAXIMUM_GPUS; gpu++)
		context_registry_remove(gpu);
}

void context_registry_add(int gpu)
{
	char path[PATH_MAX];
	int file;

	if (!entry_path(path, gpu))
		return;
	run_directory_make("contexts");
	file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	if (file < 0)
		return;
	close(file);
	if (registered_by != getpid()) {
		registered_by = getpid();
		atexit(remove_all);
	}
	registered[gpu] = true;
}

void context_registry_remove(int gpu)
{
	char path[PATH_MAX];

	if (registered[gpu] && entry_path(path, gpu))
		unlink(path);
	registered[gpu] = false;
}

/* One that has ended and waits to be collected has closed its device files: no context is left. */
static bool is_zombie(int pid)
{
	char path[PATH_MAX], state = 0;
	FILE *file;

	if (!path_format(path, sizeof(path), "/proc/%d/stat", pid))
		return false;
	file = fopen(path, "re");
	if (!file)
		return false;
	/* proc(5): the command's name is in parentheses and may hold any but the last of them. */
	for (int byte; (byte = fgetc(file)) != EOF;)
		if (byte == ')')
			fscanf(file, " %c", &state);
	fclose(file);
	return state == 'Z' || state == 'X';
}

static bool is_alive(int pid)
{
	return (kill(pid, 0) == 0 || errno == EPERM) && !is_zombie(pid);
}

size_t context_registry_list(int gpu, pid_t *pids, size_t size)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *directory;
	size_t count = 0;

	if (!path_format(path, sizeof(path), "%s/run/gpufleet-lab/contexts", tree_root()))
		return 0;
	directory = opendir(path);
	while (directory && (entry = readdir(directory))) {
		int pid, index;
		char rest;

		if (sscanf(entry->d_name, "%d.%d%c", &pid, &index, &rest) != 2 || index != gpu)
			continue;
		if (!is_alive(pid)) {
			/* Left by a process that was killed; the next one may get its number. */
			unlinkat(dirfd(directory), entry->d_name, 0);
			continue;
		}
		if (count < size)
			pids[count] = pid;
		count++;
	}
	if (directory)
		closedir(directory);
	return count;
}
