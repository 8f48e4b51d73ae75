// SPDX-License-Identifier: GPL-3.0-or-later

#include "common/run_directory.h"

#include <limits.h>
#include <stddef.h>
#include <sys/stat.h>

#include "common/text_file.h"

void run_directory_make(const char *name)
{
	const char *const parts[] = { "", "/gpufleet-lab", "/gpufleet-lab/" };
	char path[PATH_MAX];

	for (size_t index = 0; index < sizeof(parts) / sizeof(parts[0]); index++)
		if (path_format(path, sizeof(path), "%s/run%s%s", tree_root(), parts[index],
				index == 2 ? name : ""))
			mkdir(path, 0755);
}
