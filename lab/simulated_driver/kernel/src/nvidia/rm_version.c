// SPDX-License-Identifier: MIT OR GPL-2.0-or-later
/* The release is kept in this object as well, because a stale nv-kernel.o_binary beside a
 * newer kernel-open is a real failure: nvidia.ko compares the two when it is loaded. */

#include "nv-rm.h"

const char *rm_version_string(void)
{
	return NV_VERSION_STRING;
}
