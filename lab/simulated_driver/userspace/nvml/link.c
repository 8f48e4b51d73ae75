// SPDX-License-Identifier: GPL-3.0-or-later
/* PCIe links, peer-to-peer status, topology, NVLink. */

#include "common/error_counters.h"
#include "common/link_path.h"
#include "nvml/session.h"

enum { P2P_READ = 0, P2P_WRITE = 1, P2P_NVLINK = 2, P2P_ATOMICS = 3, P2P_PCI = 4 };
enum { STATUS_OK = 0, STATUS_CHIPSET_NOT_SUPPORTED = 1, STATUS_NOT_SUPPORTED = 5 };

enum {
	FIELD_NVLINK_SPEED_MBPS_FIRST = 84,
	FIELD_NVLINK_SPEED_MBPS_LAST = 89,
	FIELD_NVLINK_SPEED_MBPS_COMMON = 90,
	FIELD_NVLINK_LINK_COUNT = 91,
	FIELD_NVLINK_GET_SPEED = 164,
	FIELD_NVLINK_GET_STATE = 165,
};
#define VALUE_UNSIGNED_INT 1
#define NVLINK_VERSION_3_0 4	/* NVML_NVLINK_VERSION_3_0 */
#define REMOTE_IS_GPU 0
#define BYTES_PER_MEGABYTE 1e6

static nvmlReturn_t answer_link(nvmlDevice_t device, unsigned int *value, bool current, bool width)
{
	struct pcie_link link;
	int gpu;
	nvmlReturn_t result = session_device(device, value, &gpu);

	if (result)
		return result;
	link = current ? link_of_gpu(session_machine(), gpu)
		       : session_machine()->host.gpus[gpu].link;
	*value = width ? link.width : link.generation;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCurrPcieLinkGeneration(nvmlDevice_t device, unsigned int *value)
{
	return answer_link(device, value, true, false);
}

nvmlReturn_t nvmlDeviceGetMaxPcieLinkGeneration(nvmlDevice_t device, unsigned int *value)
{
	return answer_link(device, value, false, false);
}

nvmlReturn_t nvmlDeviceGetCurrPcieLinkWidth(nvmlDevice_t device, unsigned int *value)
{
	return answer_link(device, value, true, true);
}

nvmlReturn_t nvmlDeviceGetMaxPcieLinkWidth(nvmlDevice_t device, unsigned int *value)
{
	return answer_link(device, value, false, true);
}

nvmlReturn_t nvmlDeviceGetPcieReplayCounter(nvmlDevice_t device, unsigned int *value)
{
	int gpu;
	nvmlReturn_t result = session_device(device, value, &gpu);

	if (!result)
		*value = (unsigned int)error_counters_read(gpu, ERROR_PCIE_REPLAY);
	return result;
}

nvmlReturn_t nvmlDeviceGetP2PStatus(nvmlDevice_t first, nvmlDevice_t second, int capability,
				    int *status)
{
	int from, to;
	nvmlReturn_t result = session_device(first, status, &from);

	if (!result)
		result = session_device(second, status, &to);
	if (result)
		return result;
	switch (capability) {
	case P2P_READ:
	case P2P_WRITE:
	case P2P_PCI:
		*status = machine_claims_peer_access(session_machine(), from, to)
			? STATUS_OK : STATUS_CHIPSET_NOT_SUPPORTED;
		return NVML_SUCCESS;
	case P2P_NVLINK:
	case P2P_ATOMICS:
		*status = machine_nvlink(session_machine(), from, to) ? STATUS_OK
								      : STATUS_NOT_SUPPORTED;
		return NVML_SUCCESS;
	default:
		return NVML_ERROR_INVALID_ARGUMENT;
	}
}

nvmlReturn_t nvmlDeviceGetTopologyCommonAncestor(nvmlDevice_t first, nvmlDevice_t second,
						 int *level)
{
	int a, b;
	nvmlReturn_t result = session_device(first, level, &a);

	if (!result)
		result = session_device(second, level, &b);
	if (!result)
		*level = link_common_ancestor(session_machine(), a, b);
	return result;
}

/*
 * The peer at the other end of a link: links are numbered through the peers in order. A port
 * behind them that nothing is plugged into is inactive and has no peer.
 */
static nvmlReturn_t find_nvlink(nvmlDevice_t device, unsigned int link, const void *answer,
				const struct nvlink_peer **peer)
{
	const struct gpu_description *described;
	unsigned int ports;
	int gpu;
	nvmlReturn_t result = session_device(device, answer, &gpu);

	if (result)
		return result;
	if (link >= MAXIMUM_NVLINKS)
		return NVML_ERROR_INVALID_ARGUMENT;
	described = &session_machine()->host.gpus[gpu];
	ports = described->nvlink_ports;
	for (size_t index = 0; index < described->nvlink_count; index++) {
		if (link < described->nvlink[index].links) {
			*peer = &described->nvlink[index];
			return NVML_SUCCESS;
		}
		link -= described->nvlink[index].links;
		ports -= described->nvlink[index].links;
	}
	*peer = NULL;
	return link < ports ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t nvmlDeviceGetNvLinkState(nvmlDevice_t device, unsigned int link, int *active)
{
	const struct nvlink_peer *peer;
	nvmlReturn_t result = find_nvlink(device, link, active, &peer);

	if (!result)
		*active = peer != NULL;
	return result;
}

nvmlReturn_t nvmlDeviceGetNvLinkVersion(nvmlDevice_t device, unsigned int link,
					unsigned int *version)
{
	const struct nvlink_peer *peer;
	nvmlReturn_t result = find_nvlink(device, link, version, &peer);

	if (!result)
		*version = NVLINK_VERSION_3_0;
	return result;
}

nvmlReturn_t nvmlDeviceGetNvLinkRemotePciInfo_v2(nvmlDevice_t device, unsigned int link,
						 nvmlPciInfo_t *info)
{
	const struct nvlink_peer *peer;
	nvmlReturn_t result = find_nvlink(device, link, info, &peer);

	if (result)
		return result;
	if (!peer)
		return NVML_ERROR_NOT_SUPPORTED;
	if (peer->gpu >= session_machine()->gpu_count)
		return NVML_ERROR_NOT_FOUND;
	fill_pci_info(&session_machine()->gpus[peer->gpu], info);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetNvLinkRemoteDeviceType(nvmlDevice_t device, unsigned int link, int *type)
{
	const struct nvlink_peer *peer;
	nvmlReturn_t result = find_nvlink(device, link, type, &peer);

	if (result || !peer)
		return result ? result : NVML_ERROR_NOT_SUPPORTED;
	*type = REMOTE_IS_GPU;
	return NVML_SUCCESS;
}

static nvmlReturn_t nvlink_speed(nvmlDevice_t device, unsigned int link, unsigned int *megabytes)
{
	const struct nvlink_peer *peer;
	nvmlReturn_t result = find_nvlink(device, link, megabytes, &peer);

	if (result || !peer)
		return result ? result : NVML_ERROR_NOT_SUPPORTED;
	*megabytes = (unsigned int)(peer->bytes_per_second_per_link / BYTES_PER_MEGABYTE);
	return NVML_SUCCESS;
}

static nvmlReturn_t field_value(nvmlDevice_t device, int gpu, nvmlFieldValue_t *value)
{
	const struct gpu_description *described = &session_machine()->host.gpus[gpu];
	const struct nvlink_peer *peer;
	nvmlReturn_t result;

	value->valueType = VALUE_UNSIGNED_INT;
	switch (value->fieldId) {
	case FIELD_NVLINK_GET_SPEED:
		return nvlink_speed(device, value->scopeId, &value->value.uiVal);
	case FIELD_NVLINK_SPEED_MBPS_COMMON:
		return nvlink_speed(device, 0, &value->value.uiVal);
	case FIELD_NVLINK_GET_STATE:
		result = find_nvlink(device, value->scopeId, value, &peer);
		value->value.uiVal = !result && peer;
		return result;
	case FIELD_NVLINK_LINK_COUNT:
		value->value.uiVal = described->nvlink_ports;
		return NVML_SUCCESS;
	default:
		if (value->fieldId >= FIELD_NVLINK_SPEED_MBPS_FIRST &&
		    value->fieldId <= FIELD_NVLINK_SPEED_MBPS_LAST)
			return nvlink_speed(device, value->fieldId - FIELD_NVLINK_SPEED_MBPS_FIRST,
					    &value->value.uiVal);
		return NVML_ERROR_NOT_SUPPORTED;
	}
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *values)
{
	int gpu;
	nvmlReturn_t result = session_device(device, values, &gpu);

	if (result || count <= 0)
		return result ? result : NVML_ERROR_INVALID_ARGUMENT;
	for (int index = 0; index < count; index++)
		values[index].nvmlReturn = field_value(device, gpu, &values[index]);
	return NVML_SUCCESS;
}
