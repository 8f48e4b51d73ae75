# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PCI addresses, as sysfs, drivers and people write them."""

from __future__ import annotations

import re

from .errors import GpufleetError

# Domain, bus, device and function, each in hexadecimal; the domain may be left out.
BDF = re.compile(r"(?:([0-9a-f]{1,8}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})\.([0-7])")


class PciAddressInvalid(GpufleetError):
    """A text that should be a PCI address is not one."""


def normalise_bdf(text: str) -> str:
    """Return a PCI address in sysfs' form: four-digit domain, lower case.

    NVML writes eight-digit domains, CUDA upper case, people leave the domain out.

    Raises:
        PciAddressInvalid: the text is not a PCI address.
    """
    match = BDF.fullmatch(text.strip().lower())
    if match is None:
        raise PciAddressInvalid(
            "pci_address_invalid",
            read=repr(text),
            want="domain:bus:device.function, such as 0000:01:00.0",
            remedy="give the address as lspci -D prints it",
        )
    domain, bus, device, function = match.groups()
    return f"{int(domain or '0', 16):04x}:{int(bus, 16):02x}:{int(device, 16):02x}.{function}"
