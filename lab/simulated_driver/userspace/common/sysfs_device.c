// SPDX-License-Identifier: GPL-3.0-or-later

#include "common/sysfs_device.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text_file.h"

#define MAXIMUM_BRIDGES 8

/* Offsets and fields of the PCI Local Bus and PCI Express base specifications. */
#define CONFIG_STATUS 0x06
#define STATUS_CAPABILITIES 0x10
#define CONFIG_CAPABILITY_POINTER 0x34
#define CAPABILITY_PCI_EXPRESS 0x10
#define EXPRESS_DEVICE_CONTROL 0x08
#define CONVENTIONAL_BYTES 256
#define EXTENDED_BYTES 4096
#define EXTENDED_CAPABILITY_ACS 0x000D
#define ACS_CONTROL 0x06
#define ACS_REQUEST_REDIRECT 0x04
#define ACS_COMPLETION_REDIRECT 0x08

static bool device_file(char *path, const char *bdf, const char *name)
{
	return path_format(path, PATH_MAX, "%s/sys/bus/pci/devices/%s/%s", tree_root(), bdf, name);
}

static bool device_line(const char *bdf, const char *name, char *line, size_t size)
{
	char path[PATH_MAX];

	return device_file(path, bdf, name) && read_line(path, line, size);
}

static bool device_hex(const char *bdf, const char *name, unsigned int *value)
{
	char line[32];

	return device_line(bdf, name, line, sizeof(line)) && sscanf(line, "%x", value) == 1;
}

static bool parse_bdf(const char *name, struct gpu_state *gpu)
{
	char rest;

	return sscanf(name, "%x:%x:%x.%x%c", &gpu->domain, &gpu->bus, &gpu->device,
		      &gpu->function, &rest) == 4 &&
	       path_format(gpu->bdf, sizeof(gpu->bdf), "%s", name);
}

/* "16.0 GT/s PCIe" and "8"; what cannot be read ("Unknown") stays 0. */
static struct pcie_link read_link(const char *bdf)
{
	static const double transfers[] = { 2.5, 5, 8, 16, 32, 64 };
	struct pcie_link link = { 0, 0 };
	char line[64];
	double speed;

	if (device_line(bdf, "current_link_speed", line, sizeof(line)) &&
	    sscanf(line, "%lf GT/s", &speed) == 1)
		for (unsigned int index = 0; index < 6; index++)
			if (speed == transfers[index])
				link.generation = index + 1;
	if (device_line(bdf, "current_link_width", line, sizeof(line)) &&
	    sscanf(line, "%u", &link.width) != 1)
		link.width = 0;
	return link.generation && link.width ? link : (struct pcie_link){ 0, 0 };
}

static size_t read_config(const char *bdf, unsigned char *config, size_t size)
{
	char path[PATH_MAX];
	FILE *file = device_file(path, bdf, "config") ? fopen(path, "re") : NULL;
	size_t length = 0;

	if (file) {
		length = fread(config, 1, size, file);
		fclose(file);
	}
	return length;
}

/* Maximum payload size in force, from DevCtl[7:5]; 0 without a PCI Express capability. */
static unsigned int read_payload(const char *bdf)
{
	unsigned char config[CONVENTIONAL_BYTES];
	size_t length = read_config(bdf, config, sizeof(config));

	if (length < sizeof(config) || !(config[CONFIG_STATUS] & STATUS_CAPABILITIES))
		return 0;
	/* 48 capabilities of four bytes fill the space: more steps would be a circle. */
	unsigned int at = config[CONFIG_CAPABILITY_POINTER] & ~3u;

	for (int step = 0; at >= 0x40 && at <= 0xF0 && step < 48; step++) {
		if (config[at] == CAPABILITY_PCI_EXPRESS)
			return 128u << (config[at + EXPRESS_DEVICE_CONTROL] >> 5 & 7);
		at = config[at + 1] & ~3u;
	}
	return 0;
}

/* Whether the port's Access Control Services send peer requests or completions upwards. */
static bool read_redirects(const char *bdf)
{
	unsigned char config[EXTENDED_BYTES];
	unsigned int at = CONVENTIONAL_BYTES;

	if (read_config(bdf, config, sizeof(config)) < sizeof(config))
		return false;
	/* A list longer than there is room for is a circle. */
	for (int step = 0; at >= CONVENTIONAL_BYTES && at + 8 <= EXTENDED_BYTES &&
			   step < EXTENDED_BYTES / 8; step++) {
		if ((config[at] | config[at + 1] << 8) == EXTENDED_CAPABILITY_ACS)
			return config[at + ACS_CONTROL] &
			       (ACS_REQUEST_REDIRECT | ACS_COMPLETION_REDIRECT);
		at = (config[at + 2] >> 4 | config[at + 3] << 4) & ~3u;
	}
	return false;
}

/* Addresses of the bridges above, root port first, from the device's place in /sys/devices. */
static size_t bridges_above(const char *bdf, char bridges[MAXIMUM_BRIDGES][16])
{
	char path[PATH_MAX], real[PATH_MAX];
	char *place, *component;
	size_t count = 0;

	if (!path_format(path, sizeof(path), "%s/sys/bus/pci/devices/%s", tree_root(), bdf) ||
	    !realpath(path, real))
		return 0;
	for (component = strtok_r(real, "/", &place); component;
	     component = strtok_r(NULL, "/", &place)) {
		struct gpu_state address;

		if (count < MAXIMUM_BRIDGES && parse_bdf(component, &address) &&
		    strcmp(component, bdf) != 0)
			memcpy(bridges[count++], address.bdf, sizeof(address.bdf));
	}
	return count;
}

static void lower(unsigned int *least, unsigned int value)
{
	if (value && (!*least || value < *least))
		*least = value;
}

bool sysfs_device_read(const char *name, struct gpu_state *gpu)
{
	char bridges[MAXIMUM_BRIDGES][16];
	size_t count;
	char line[64];

	if (!parse_bdf(name, gpu) || !device_hex(name, "vendor", &gpu->pci_vendor) ||
	    !device_hex(name, "device", &gpu->pci_device))
		return false;
	gpu->iommu_translates = device_line(name, "iommu_group/type", line, sizeof(line)) &&
				strcmp(line, "identity") != 0;
	count = bridges_above(name, bridges);
	gpu->payload_bytes = read_payload(name);
	for (size_t index = 0; index < count; index++) {
		struct pcie_link link = read_link(bridges[index]);

		lower(&gpu->payload_bytes, read_payload(bridges[index]));
		/* A root port's own redirection changes no way: what comes to it is in the host. */
		gpu->acs_redirects |= index > 0 && read_redirects(bridges[index]);
		if (index + 1 == count) {
			gpu->slot = link;
		} else {
			lower(&gpu->uplink.generation, link.generation);
			lower(&gpu->uplink.width, link.width);
		}
	}
	return true;
}
