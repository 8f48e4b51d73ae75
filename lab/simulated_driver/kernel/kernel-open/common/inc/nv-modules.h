/* SPDX-License-Identifier: MIT OR GPL-2.0-or-later */
/* The symbols by which the five modules depend on each other, so that depmod orders them
 * and the kernel refuses to unload a module that another one uses. */
#ifndef NV_MODULES_H
#define NV_MODULES_H

#include <linux/types.h>

struct nvidia_modeset_rm_ops {
	const char *version_string;	/* set by the caller; the callee's release on return */
	int (*device_count)(void);
};

struct nvkms_kapi_functions_table {
	const char *version_string;
	int (*device_count)(void);
};

/* nvidia.ko */
int nvidia_get_rm_ops(struct nvidia_modeset_rm_ops *ops);
int nvUvmInterfaceRegisterUvmCallbacks(void);
void nvUvmInterfaceDeRegisterUvmOps(void);
bool nvidia_p2p_is_supported(void);

/* nvidia-modeset.ko */
bool nvKmsKapiGetFunctionsTable(struct nvkms_kapi_functions_table *table);

#endif
