/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of libnvidia-ml share: the initialised machine and its device handles. */
#ifndef LAB_NVML_SESSION_H
#define LAB_NVML_SESSION_H

#include "common/machine.h"
#include "nvml/abi.h"

/* The machine while the library is initialised, else NULL. */
const struct machine *session_machine(void);

/* Checks the handle and the place for the answer; *index is then the GPU's. */
nvmlReturn_t session_device(nvmlDevice_t device, const void *answer, int *index);

/* Copies a text with its end; NVML_ERROR_INSUFFICIENT_SIZE if it does not fit. */
nvmlReturn_t session_text(char *buffer, unsigned int length, const char *text);

void fill_pci_info(const struct gpu_state *gpu, nvmlPciInfo_t *info);

#endif
