// SPDX-License-Identifier: MIT OR GPL-2.0-or-later
/* The decision that the peer-to-peer forks change: whether two GPUs may reach one another's
 * memory through BAR1. The release as published says no for these cards. */

#include "nv-rm.h"

enum rm_peer_to_peer_type rm_peer_to_peer_type(void)
{
	return RM_PEER_TO_PEER_NONE;
}

const char *rm_peer_to_peer_name(enum rm_peer_to_peer_type type)
{
	return type == RM_PEER_TO_PEER_BAR1 ? "bar1" : "none";
}
