// SPDX-License-Identifier: GPL-3.0-or-later

#include "common/kernel_log.h"

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/text_file.h"

/* The burst of the kernel's own rate limit: what comes after it is suppressed. */
#define BURST 10
#define LEVEL_ERROR 3
/* Where the transfers would have gone; the simulation has no bus addresses. */
#define FAULT_ADDRESS 0x4000000000ull

static void append(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void append(const char *format, ...)
{
	static unsigned int said;
	char path[PATH_MAX], message[512], record[600];
	struct stat status;
	va_list arguments;
	int file, length;

	if (!path_format(path, sizeof(path), "%s/dev/kmsg", tree_root()) ||
	    stat(path, &status) != 0 || !S_ISREG(status.st_mode) || said >= BURST)
		return;
	said++;
	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	length = snprintf(record, sizeof(record), "%d,%u,%u,-;%s\n", LEVEL_ERROR, said, said,
			  message);
	file = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (file < 0)
		return;
	if (write(file, record, (size_t)length) != length)
		fprintf(stderr, "gpufleet lab: %s cannot be written\n", path);
	close(file);
}

void kernel_log_iommu_fault(const struct machine *machine, int gpu, bool write)
{
	const struct gpu_state *state = &machine->gpus[gpu];

	if (machine->host.cpu_is_amd)
		append("nvidia %s: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x%04x address=0x%llx flags=0x%04x]",
		       state->bdf, (unsigned int)gpu + 1, FAULT_ADDRESS, write ? 0x20u : 0x0u);
	else
		append("DMAR: [DMA %s NO_PASID] Request device [%02x:%02x.%u] fault addr 0x%llx [fault reason 0x%02x] PTE %s access is not set",
		       write ? "Write" : "Read", state->bus, state->device, state->function,
		       FAULT_ADDRESS, write ? 0x05u : 0x06u, write ? "Write" : "Read");
}

void kernel_log_mmu_fault(const struct machine *machine, int gpu)
{
	const struct gpu_state *state = &machine->gpus[gpu];

	append("NVRM: Xid (PCI:%04x:%02x:%02x): 31, pid=%d, name=python3, Ch 00000008, intr 00000000. MMU Fault: ENGINE GRAPHICS GPCCLIENT_T1_0 faulted @ 0x7f00_00000000. Fault is of type FAULT_PDE ACCESS_TYPE_VIRT_WRITE",
	       state->domain, state->bus, state->device, (int)getpid());
}
