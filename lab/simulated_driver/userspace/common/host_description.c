// SPDX-License-Identifier: GPL-3.0-or-later

#include "common/host_description.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/text_file.h"

#define MAXIMUM_TEXT (1024 * 1024)
#define MICROSECOND 1e-6
/* Published figures across sockets are 68 to 88 % of the link's ceiling. */
#define SOCKET_SHARE 0.8

static bool complain(const char *what, const char *name)
{
	fprintf(stderr, "gpufleet lab: host description: %s: %s\n", what, name);
	return false;
}

static bool copy_text(char *buffer, size_t size, const char *text)
{
	return text && path_format(buffer, size, "%s", text);
}

static struct pcie_link read_link(const struct json_value *object)
{
	return (struct pcie_link){
		.generation = (unsigned int)json_number(object, "gen", 0),
		.width = (unsigned int)json_number(object, "width", 0),
	};
}

static bool share_is_valid(double share)
{
	return share > 0 && share <= 1;
}

static bool link_is_valid(struct pcie_link link)
{
	return link.generation >= 1 && link.generation <= 6 && link.width >= 1 && link.width <= 32;
}

/* The port with this name, or the switch that has a downstream port of this name. */
static int find_port(const struct host_description *host, const struct json_value *ports,
		     const char *name)
{
	const struct json_value *value = ports->first;

	for (int index = 0; value && index < (int)host->port_count; index++, value = value->next) {
		const struct json_value *downstream = json_member(value, "downstream");

		if (strcmp(host->ports[index].name, name) == 0)
			return index;
		for (downstream = downstream ? downstream->first : NULL; downstream;
		     downstream = downstream->next)
			if (downstream->type == JSON_STRING &&
			    strcmp(downstream->string, name) == 0)
				return index;
	}
	return -1;
}

static bool read_ports(struct host_description *host, const struct json_value *ports)
{
	const struct json_value *value;

	if (!ports || ports->type != JSON_ARRAY)
		return complain("a list is missing", "ports");
	for (value = ports->first; value; value = value->next) {
		struct port *port = &host->ports[host->port_count];
		const char *kind = json_string(value, "kind", "");

		if (host->port_count == MAXIMUM_PORTS)
			return complain("too many", "ports");
		if (!copy_text(port->name, sizeof(port->name), json_string(value, "id", NULL)))
			return complain("a port without a short id", "ports");
		port->is_switch = strcmp(kind, "switch") == 0;
		if (!port->is_switch && strcmp(kind, "root_port") != 0)
			return complain("kind must be root_port or switch", port->name);
		port->link = read_link(value);
		if (!link_is_valid(port->link))
			return complain("gen must be 1 to 6, width 1 to 32", port->name);
		port->numa_node = (int)json_number(value, "numa_node", 0);
		port->peer_share = json_number(value, "peer_share", 1);
		if (!share_is_valid(port->peer_share))
			return complain("peer_share must be above 0, at most 1", port->name);
		port->parent = -1;
		host->port_count++;
	}
	value = ports->first;
	for (size_t index = 0; index < host->port_count; index++, value = value->next) {
		struct port *port = &host->ports[index];

		if (!port->is_switch)
			continue;
		port->parent = find_port(host, ports, json_string(value, "parent", ""));
		/* A parent stands before its children, so that no circle can be described. */
		if (port->parent < 0 || port->parent >= (int)index)
			return complain("a switch needs a parent that stands before it", port->name);
	}
	return true;
}

static bool read_nvlink(struct gpu_description *gpu, const struct json_value *list)
{
	for (const struct json_value *value = list ? list->first : NULL; value;
	     value = value->next) {
		struct nvlink_peer *peer = &gpu->nvlink[gpu->nvlink_count];

		if (gpu->nvlink_count == MAXIMUM_NVLINK_PEERS)
			return complain("too many NVLink peers", gpu->name);
		peer->gpu = (unsigned int)json_number(value, "peer", MAXIMUM_GPUS);
		peer->links = (unsigned int)json_number(value, "links", 0);
		peer->bytes_per_second_per_link =
			json_number(value, "bytes_per_second_per_link", 0);
		if (peer->gpu >= MAXIMUM_GPUS || !peer->links || peer->links > MAXIMUM_NVLINKS ||
		    peer->bytes_per_second_per_link <= 0)
			return complain("nvlink needs peer, links, bytes_per_second_per_link",
					gpu->name);
		gpu->nvlink_count++;
	}
	return true;
}

static bool read_compute_mode(struct gpu_description *gpu, const char *name)
{
	static const struct {
		const char *name;
		enum compute_mode mode;
	} modes[] = {
		{ "default", COMPUTE_DEFAULT },
		{ "prohibited", COMPUTE_PROHIBITED },
		{ "exclusive_process", COMPUTE_EXCLUSIVE_PROCESS },
	};

	for (size_t index = 0; index < sizeof(modes) / sizeof(modes[0]); index++) {
		if (strcmp(name, modes[index].name) == 0) {
			gpu->compute_mode = modes[index].mode;
			return true;
		}
	}
	return complain("no such compute_mode", name);
}

/* What a card has beside its memory and links; all of it may be left out. */
static bool read_extras(struct gpu_description *gpu, const struct json_value *value)
{
	static const char *const kinds[ERROR_KINDS] = { "pcie_replays", "ecc_corrected",
							"ecc_uncorrected" };
	const struct json_value *errors = json_member(value, "errors_per_transfer");
	unsigned int links = 0;

	for (size_t index = 0; index < gpu->nvlink_count; index++)
		links += gpu->nvlink[index].links;
	gpu->nvlink_ports = (unsigned int)json_number(value, "nvlink_ports", links);
	if (gpu->nvlink_ports < links || gpu->nvlink_ports > MAXIMUM_NVLINKS)
		return complain("nvlink_ports must be at least its links, and at most 18",
				gpu->name);
	gpu->ecc = json_boolean(value, "ecc", false);
	for (int kind = 0; errors && kind < ERROR_KINDS; kind++) {
		double number = json_number(errors, kinds[kind], 0);

		if (number < 0 || number > MAXIMUM_ERRORS_PER_TRANSFER)
			return complain("errors_per_transfer must be 0 to 16", gpu->name);
		gpu->errors_per_transfer[kind] = (unsigned int)number;
	}
	return read_compute_mode(gpu, json_string(value, "compute_mode", "default"));
}

static bool read_gpu(struct host_description *host, const struct json_value *ports,
		     const struct json_value *value)
{
	struct gpu_description *gpu = &host->gpus[host->gpu_count];
	const struct json_value *capability = json_member(value, "compute_capability");
	const struct json_value *major = capability ? capability->first : NULL;

	if (!copy_text(gpu->name, sizeof(gpu->name), json_string(value, "name", NULL)))
		return complain("a GPU without a name", "gpus");
	if (!copy_text(gpu->uuid, sizeof(gpu->uuid), json_string(value, "uuid", NULL)))
		return complain("a GPU without a uuid", gpu->name);
	gpu->port = find_port(host, ports, json_string(value, "port", ""));
	if (gpu->port < 0)
		return complain("its port is not described", gpu->name);
	if (!major || major->type != JSON_NUMBER || !major->next ||
	    major->next->type != JSON_NUMBER)
		return complain("compute_capability must be [major, minor]", gpu->name);
	gpu->compute_major = (unsigned int)major->number;
	gpu->compute_minor = (unsigned int)major->next->number;
	gpu->memory_bytes = (uint64_t)json_number(value, "memory_bytes", 0);
	gpu->bar1_bytes = (uint64_t)json_number(value, "bar1_bytes", 0);
	gpu->link = read_link(value);
	if (!gpu->memory_bytes || !gpu->bar1_bytes || !link_is_valid(gpu->link))
		return complain("memory_bytes, bar1_bytes, gen or width is wrong", gpu->name);
	gpu->numa_node = (int)json_number(value, "numa_node", 0);
	gpu->display = json_boolean(value, "display", false);
	return read_nvlink(gpu, json_member(value, "nvlink")) && read_extras(gpu, value);
}

static bool read_gpus(struct host_description *host, const struct json_value *ports,
		      const struct json_value *gpus)
{
	if (!gpus || gpus->type != JSON_ARRAY)
		return complain("a list is missing", "gpus");
	for (const struct json_value *value = gpus->first; value; value = value->next) {
		if (host->gpu_count == MAXIMUM_GPUS)
			return complain("too many", "gpus");
		if (!read_gpu(host, ports, value))
			return false;
		host->gpu_count++;
	}
	return true;
}

static bool read_figures(struct host_description *host, const struct json_value *root)
{
	const struct json_value *latency = json_member(root, "latency_us");

	if (json_number(root, "schema", 0) != 1)
		return complain("must be 1", "schema");
	host->knows_confidential_compute = json_member(root, "confidential_compute") != NULL;
	host->confidential_compute = json_boolean(root, "confidential_compute", false);
	host->cpu_is_amd = strcmp(json_string(root, "cpu_vendor", ""), "amd") == 0;
	host->cuda_version = (int)json_number(json_member(root, "driver"), "cuda", 13020);
	host->link_payload_bytes = (unsigned int)json_number(root, "link_payload_bytes", 256);
	host->socket_share = json_number(root, "socket_share", SOCKET_SHARE);
	host->simulated_free_bytes =
		(uint64_t)json_number(root, "simulated_free_bytes", 128.0 * 1024 * 1024);
	host->latency_off = json_number(latency, "off", 14.0) * MICROSECOND;
	host->latency_on = json_number(latency, "on", 0.48) * MICROSECOND;
	if (host->link_payload_bytes < 128 || host->link_payload_bytes > 4096)
		return complain("must be 128 to 4096", "link_payload_bytes");
	if (!share_is_valid(host->socket_share))
		return complain("must be above 0, at most 1", "socket_share");
	if (host->latency_off <= 0 || host->latency_on <= 0)
		return complain("must be above zero", "latency_us");
	return true;
}

bool host_description_read(struct host_description *host)
{
	const char *named = getenv("GPUFLEET_LAB_HOST");
	struct json_document *document;
	const struct json_value *root, *ports;
	const char *error;
	char path[PATH_MAX];
	char *text;
	bool valid;

	memset(host, 0, sizeof(*host));
	if (!(named ? path_format(path, sizeof(path), "%s", named)
		    : path_format(path, sizeof(path), "%s/etc/gpufleet-lab/host.json", tree_root())))
		return complain("the path is too long", "GPUFLEET_LAB_HOST");
	text = read_text(path, MAXIMUM_TEXT);
	if (!text)
		return complain("cannot be read, or is over 1 MiB", path);
	document = json_parse(text, &error);
	free(text);
	if (!document)
		return complain(error, path);
	root = json_root(document);
	ports = json_member(root, "ports");
	valid = read_figures(host, root) && read_ports(host, ports) &&
		read_gpus(host, ports, json_member(root, "gpus"));
	json_free(document);
	return valid;
}
