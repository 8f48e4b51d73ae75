// SPDX-License-Identifier: MIT OR GPL-2.0-or-later
/* nvidia-peermem.ko: needs nvidia.ko only; like the real one it loads whether or not this
 * driver can do peer-to-peer transfers, and says which. */

#include <linux/module.h>

#include "nv-modules.h"

static int __init nv_mem_client_init(void)
{
	pr_info("nvidia-peermem: peer-to-peer transfers are %s\n",
		nvidia_p2p_is_supported() ? "supported" : "not supported");
	return 0;
}

static void __exit nv_mem_client_cleanup(void)
{
	pr_info("nvidia-peermem: Unloading\n");
}

module_init(nv_mem_client_init);
module_exit(nv_mem_client_cleanup);

MODULE_LICENSE("Dual MIT/GPL");
MODULE_VERSION(NV_VERSION_STRING);
MODULE_DESCRIPTION("Simulated NVIDIA peer memory client of the gpufleet lab");
