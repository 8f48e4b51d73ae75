// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Formulas: raw rate = GT/s x lanes x encoding / 8; what remains for data = payload /
 * (payload + 24), the 24 bytes being framing 4 + header 16 + LCRC 4 (PCI Express base
 * specification, transaction and data link layers).
 */

#include "common/link_path.h"

#include <math.h>

#define PACKET_OVERHEAD_BYTES 24
/* What measurements reach of that ceiling on good hosts: 0.97 to 0.98. */
#define LINK_EFFICIENCY 0.97
#define HOST_EFFICIENCY 0.95
/* Published figures with P2P off are four fifths of those with it on, where only links count. */
#define STAGED_EFFICIENCY 0.80
/* Of 22 to 26 GB/s in the switch, 3 to 9 are left where its ports redirect by ACS. */
#define REDIRECTED_SHARE 0.25

struct hop {
	int link;		/* GPU index, or MAXIMUM_GPUS + port index for a switch's uplink */
	double raw;
};

static double raw_rate(struct pcie_link link)
{
	static const double transfers[] = { 0, 2.5e9, 5e9, 8e9, 16e9, 32e9, 64e9 };
	double encoding = link.generation <= 2 ? 0.8
			: link.generation <= 5 ? 128.0 / 130.0 : 236.0 / 256.0;

	return transfers[link.generation] * link.width * encoding / 8;
}

static struct pcie_link slower(struct pcie_link a, struct pcie_link b)
{
	return (struct pcie_link){
		.generation = a.generation < b.generation ? a.generation : b.generation,
		.width = a.width < b.width ? a.width : b.width,
	};
}

struct pcie_link link_of_gpu(const struct machine *machine, int gpu)
{
	const struct gpu_description *described = &machine->host.gpus[gpu];
	const struct port *port = &machine->host.ports[described->port];

	if (machine->gpus[gpu].slot.generation)
		return slower(described->link, machine->gpus[gpu].slot);
	/* A switch's link is the one above it; the GPU's own link below is only its own. */
	return port->is_switch ? described->link : slower(described->link, port->link);
}

/* The hops from the GPU up to the root, its own link first. */
static size_t hops_to_root(const struct machine *machine, int gpu, struct hop *hops)
{
	const struct host_description *host = &machine->host;
	size_t count = 0;

	hops[count++] = (struct hop){ gpu, raw_rate(link_of_gpu(machine, gpu)) };
	for (int port = host->gpus[gpu].port;
	     port >= 0 && host->ports[port].is_switch && count < MAXIMUM_HOPS / 2;
	     port = host->ports[port].parent) {
		struct pcie_link link = machine->gpus[gpu].uplink;
		const struct port *parent = &host->ports[host->ports[port].parent];

		if (!link.generation || !link.width) {
			link = host->ports[port].link;
			if (!parent->is_switch)
				link = slower(link, parent->link);
		}
		hops[count++] = (struct hop){ MAXIMUM_GPUS + port, raw_rate(link) };
	}
	return count;
}

static double payload_share(const struct machine *machine, int from, int to)
{
	unsigned int payload = machine->gpus[from].payload_bytes;
	unsigned int other = machine->gpus[to].payload_bytes;

	if (!payload || (other && other < payload))
		payload = other;
	if (!payload)
		payload = machine->host.link_payload_bytes;
	return (double)payload / (payload + PACKET_OVERHEAD_BYTES);
}

static void pass(struct link_path *path, const struct hop *hop, bool up)
{
	path->resources[path->count++] = 2 * hop->link + (up ? 0 : 1);
	path->bytes_per_second = fmin(path->bytes_per_second, hop->raw);
}

/* What bridges and sockets leave to data between GPUs, where links could carry more. */
static double peer_share(const struct machine *machine, int from, int to)
{
	const struct host_description *host = &machine->host;
	const int ends[] = { from, to };
	double share = 1;

	for (size_t end = 0; end < 2; end++)
		for (int port = host->gpus[ends[end]].port; port >= 0; port = host->ports[port].parent)
			share = fmin(share, host->ports[port].peer_share);
	if (host->gpus[from].numa_node != host->gpus[to].numa_node)
		share = fmin(share, host->socket_share);
	return share;
}

static struct link_path pcie_path(const struct machine *machine, int from, int to,
				  bool through_host)
{
	struct hop up[MAXIMUM_HOPS / 2], down[MAXIMUM_HOPS / 2];
	size_t ups = hops_to_root(machine, from, up), downs = hops_to_root(machine, to, down);
	bool one_switch = ups > 1 && downs > 1 && up[ups - 1].link == down[downs - 1].link;
	bool redirected = one_switch &&
			  (machine->gpus[from].acs_redirects || machine->gpus[to].acs_redirects);
	struct link_path path = { .bytes_per_second = INFINITY };

	/* Links above the switch that both are under are not passed. */
	while (!through_host && !redirected && ups > 1 && downs > 1 &&
	       up[ups - 1].link == down[downs - 1].link) {
		ups--;
		downs--;
	}
	for (size_t index = 0; index < ups; index++)
		pass(&path, &up[index], true);
	for (size_t index = downs; index > 0; index--)
		pass(&path, &down[index - 1], false);
	path.bytes_per_second *= payload_share(machine, from, to) * LINK_EFFICIENCY;
	if (!through_host)
		path.bytes_per_second *= redirected ? REDIRECTED_SHARE
						    : peer_share(machine, from, to);
	return path;
}

struct link_path link_path_between(const struct machine *machine, int from, int to)
{
	const struct nvlink_peer *nvlink = machine_nvlink(machine, from, to);
	struct link_path path = { .count = 1 };

	if (!nvlink)
		return pcie_path(machine, from, to, false);
	path.resources[0] = 2 * (MAXIMUM_GPUS + MAXIMUM_PORTS) + from * MAXIMUM_GPUS + to;
	path.bytes_per_second = nvlink->links * nvlink->bytes_per_second_per_link * LINK_EFFICIENCY;
	return path;
}

struct link_path link_path_staged(const struct machine *machine, int from, int to)
{
	struct link_path path = pcie_path(machine, from, to, true);

	path.bytes_per_second *= STAGED_EFFICIENCY;
	return path;
}

struct link_path link_path_host(const struct machine *machine, int gpu, bool to_host)
{
	struct hop hops[MAXIMUM_HOPS / 2];
	size_t count = hops_to_root(machine, gpu, hops);
	struct link_path path = { .bytes_per_second = INFINITY };

	for (size_t index = 0; index < count; index++)
		pass(&path, &hops[index], to_host);
	path.bytes_per_second *= payload_share(machine, gpu, gpu) * HOST_EFFICIENCY;
	return path;
}

int link_common_ancestor(const struct machine *machine, int first, int second)
{
	const struct host_description *host = &machine->host;
	struct hop a[MAXIMUM_HOPS / 2], b[MAXIMUM_HOPS / 2];
	size_t ups = hops_to_root(machine, first, a), downs = hops_to_root(machine, second, b);

	if (first == second)
		return 0;
	if (ups > 1 && downs > 1 && a[1].link == b[1].link)
		return 10;
	if (ups > 1 && downs > 1 && a[ups - 1].link == b[downs - 1].link)
		return 20;
	return host->gpus[first].numa_node == host->gpus[second].numa_node ? 30 : 50;
}
