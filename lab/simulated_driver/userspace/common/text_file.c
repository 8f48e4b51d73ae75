// SPDX-License-Identifier: GPL-3.0-or-later

#include "common/text_file.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool path_format(char *buffer, size_t size, const char *format, ...)
{
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(buffer, size, format, arguments);
	va_end(arguments);
	return length >= 0 && (size_t)length < size;
}

const char *tree_root(void)
{
	const char *root = getenv("GPUFLEET_LAB_ROOT");

	return root && strcmp(root, "/") != 0 ? root : "";
}

bool read_line(const char *path, char *buffer, size_t size)
{
	FILE *file = fopen(path, "re");
	bool read;

	if (!file)
		return false;
	read = fgets(buffer, (int)size, file) != NULL;
	fclose(file);
	if (read)
		buffer[strcspn(buffer, "\r\n")] = '\0';
	return read;
}

char *read_text(const char *path, size_t limit)
{
	FILE *file = fopen(path, "re");
	char *text;
	size_t length;

	if (!file)
		return NULL;
	text = malloc(limit + 1);
	length = text ? fread(text, 1, limit + 1, file) : 0;
	fclose(file);
	if (!text || length > limit) {
		free(text);
		return NULL;
	}
	text[length] = '\0';
	return text;
}
