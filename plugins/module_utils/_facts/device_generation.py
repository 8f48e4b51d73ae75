# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A GPU's generation from its PCI device id: the answer before any driver runs.

Where NVML answers, its compute capability decides instead.
"""

from __future__ import annotations

# NVIDIA gives each chip a block of device ids; these are the first ids of runs of blocks that
# belong to one architecture (the PCI ID Repository, vendor 10de, lists the chips' names).
_FIRST_DEVICE = (
    (0x2900, "blackwell"),  # GB100, GB20x
    (0x2681, "ada"),  # AD102 to AD107
    (0x2480, "ampere"),  # GA103 to GA107
    (0x2300, "hopper"),  # GH100
    (0x2200, "ampere"),  # GA102
    (0x2182, "turing"),  # TU116
    (0x2080, "ampere"),  # GA100
    (0x1E02, "turing"),  # TU102 to TU117
    (0x1D81, "volta"),  # GV100
    (0x15F0, "pascal"),  # GP100 to GP108
    (0x1340, "maxwell"),  # GM10x, GM20x
)
_END = 0x3500


def generation_of_device(vendor: str, device: str) -> str | None:
    """Return the architecture's name in lower case, None where the id does not tell.

    Args:
        vendor: vendor id as four hexadecimal digits.
        device: device id as four hexadecimal digits.
    """
    if vendor != "10de":
        return None
    number = int(device, 16)
    if number >= _END:
        return None
    return next((name for first, name in _FIRST_DEVICE if number >= first), None)
