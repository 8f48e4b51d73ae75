/* SPDX-License-Identifier: MIT OR GPL-2.0-or-later */
/*
 * What nv-kernel.o (the part without Linux) offers to kernel-open. Neither side includes
 * the other's headers, so only plain C types pass here.
 */
#ifndef NV_RM_H
#define NV_RM_H

enum rm_peer_to_peer_type {
	RM_PEER_TO_PEER_NONE = 0,
	RM_PEER_TO_PEER_BAR1 = 1,
};

/* The release this object was built from, e.g. "595.58.03". */
const char *rm_version_string(void);

/* How GPUs of this driver reach one another's memory over PCIe. */
enum rm_peer_to_peer_type rm_peer_to_peer_type(void);

/* "none" or "bar1". */
const char *rm_peer_to_peer_name(enum rm_peer_to_peer_type type);

#endif
