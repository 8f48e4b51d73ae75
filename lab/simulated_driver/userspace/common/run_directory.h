/* SPDX-License-Identifier: GPL-3.0-or-later */
/* <root>/run/gpufleet-lab/<name>: what the libraries' processes tell each other. */
#ifndef LAB_RUN_DIRECTORY_H
#define LAB_RUN_DIRECTORY_H

/* Makes the directory and those above it, as far as this process may. */
void run_directory_make(const char *name);

#endif
