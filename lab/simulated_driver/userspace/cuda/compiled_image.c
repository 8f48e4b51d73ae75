// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * A compiled image (cubin) is an ELF file for the machine "CUDA": it needs no compiler, and its
 * kernels are its global function symbols. Programs that bring their kernels compiled are thus
 * untouched by a driver that cannot compile.
 */

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/simulation.h"

#define DIRECTIVE ".entry "

bool image_is_compiled(const void *image)
{
	return memcmp(image, ELFMAG, SELFMAG) == 0;
}

/* The section with the symbols, or NULL where this is no 64-bit ELF file for a GPU. */
static const Elf64_Shdr *image_symbols(const unsigned char *image)
{
	const Elf64_Ehdr *header = (const void *)image;
	const Elf64_Shdr *sections;

	if (image[EI_CLASS] != ELFCLASS64 || header->e_machine != EM_CUDA || !header->e_shoff)
		return NULL;
	sections = (const void *)(image + header->e_shoff);
	for (unsigned int index = 0; index < header->e_shnum; index++)
		if (sections[index].sh_type == SHT_SYMTAB &&
		    sections[index].sh_link < header->e_shnum)
			return &sections[index];
	return NULL;
}

static const char *kernel_name(const unsigned char *image, const Elf64_Shdr *names,
			       const Elf64_Sym *symbol)
{
	if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || symbol->st_name >= names->sh_size)
		return NULL;
	return (const char *)image + names->sh_offset + symbol->st_name;
}

char *image_entries(const void *image)
{
	const unsigned char *bytes = image;
	const Elf64_Shdr *section = image_symbols(bytes), *names;
	const Elf64_Sym *symbols;
	size_t count, length = 1;
	char *text;

	if (!section)
		return NULL;
	names = (const Elf64_Shdr *)(const void *)
		(bytes + ((const Elf64_Ehdr *)image)->e_shoff) + section->sh_link;
	symbols = (const void *)(bytes + section->sh_offset);
	count = section->sh_size / sizeof(*symbols);
	for (size_t index = 0; index < count; index++) {
		const char *name = kernel_name(bytes, names, &symbols[index]);

		length += name ? strlen(DIRECTIVE) + strlen(name) + 1 : 0;
	}
	text = calloc(1, length);
	for (size_t index = 0; text && index < count; index++) {
		const char *name = kernel_name(bytes, names, &symbols[index]);

		if (name)
			sprintf(text + strlen(text), "%s%s\n", DIRECTIVE, name);
	}
	return text;
}
