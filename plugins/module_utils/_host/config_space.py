# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding capabilities in a PCI function's configuration space, as pure functions on bytes.

Register layouts: PCI Express Base Specification, chapter 7 (the names in
``linux/pci_regs.h`` are given beside each offset).
"""

from __future__ import annotations

import struct

# What sysfs hands out: 64 bytes to ordinary users, all of it to root.
CONVENTIONAL_BYTES = 256

_STATUS = 0x06  # PCI_STATUS
_STATUS_CAPABILITY_LIST = 0x10  # PCI_STATUS_CAP_LIST
_CAPABILITY_POINTER = 0x34  # PCI_CAPABILITY_LIST
_FIRST_CAPABILITY = 0x40  # PCI_STD_HEADER_SIZEOF: none can lie in the header
_FIRST_EXTENDED = 0x100  # PCI_CFG_SPACE_SIZE

PCI_EXPRESS_CAPABILITY = 0x10  # PCI_CAP_ID_EXP
_DEVICE_CONTROL = 0x08  # PCI_EXP_DEVCTL
ACS_EXTENDED_CAPABILITY = 0x000D  # PCI_EXT_CAP_ID_ACS
_ACS_CONTROL = 0x06  # PCI_ACS_CTRL
RESIZABLE_BAR_CAPABILITY = 0x0015  # PCI_EXT_CAP_ID_REBAR
_RESIZABLE_BAR_SIZES = 0x04  # PCI_REBAR_CAP: from bit 4 on, bit n stands for 2^(n-4) MiB
_RESIZABLE_BAR_CONTROL = 0x08  # PCI_REBAR_CTRL: bits 7:5 hold the number of resizable BARs
_RESIZABLE_BAR_ENTRY = 8


def is_answering(config: bytes) -> bool:
    """Return whether the function answered: one that is asleep or gone reads as all ones."""
    return len(config) >= 64 and config[:2] != b"\xff\xff"


def find_capability(config: bytes, capability: int) -> int | None:
    """Return the offset of a conventional capability, or None where it is not in ``config``."""
    if len(config) < 64 or not config[_STATUS] & _STATUS_CAPABILITY_LIST:
        return None
    visited: set[int] = set()
    offset = config[_CAPABILITY_POINTER] & 0xFC
    # A broken device may chain its list into a ring.
    while offset >= _FIRST_CAPABILITY and offset + 2 <= len(config) and offset not in visited:
        visited.add(offset)
        if config[offset] == capability:
            return offset
        offset = config[offset + 1] & 0xFC
    return None


def find_extended_capability(config: bytes, capability: int) -> int | None:
    """Return the offset of an extended capability (from 0x100 on), or None."""
    visited: set[int] = set()
    offset = _FIRST_EXTENDED
    while offset >= _FIRST_EXTENDED and offset + 4 <= len(config) and offset not in visited:
        visited.add(offset)
        (header,) = struct.unpack_from("<I", config, offset)
        if header in (0, 0xFFFFFFFF):
            return None
        if header & 0xFFFF == capability:
            return offset
        offset = (header >> 20) & 0xFFC
    return None


def max_payload_bytes(config: bytes) -> int | None:
    """Return the payload size in force: 128 << DevCtl[7:5], in bytes.

    None where the function is not PCI Express, its capability was not readable, or the field
    holds a reserved value.
    """
    offset = find_capability(config, PCI_EXPRESS_CAPABILITY)
    if offset is None or offset + _DEVICE_CONTROL + 2 > len(config):
        return None
    (control,) = struct.unpack_from("<H", config, offset + _DEVICE_CONTROL)
    exponent = (control >> 5) & 0b111
    return None if exponent > 5 else 128 << exponent


def acs_control(config: bytes) -> int | None:
    """Return the ACS control register, or None where the function has no ACS capability."""
    offset = find_extended_capability(config, ACS_EXTENDED_CAPABILITY)
    if offset is None or offset + _ACS_CONTROL + 2 > len(config):
        return None
    (control,) = struct.unpack_from("<H", config, offset + _ACS_CONTROL)
    return int(control)


def largest_resizable_bar(config: bytes) -> int | None:
    """Return the largest size in bytes that any BAR can be given; None where none is resizable."""
    offset = find_extended_capability(config, RESIZABLE_BAR_CAPABILITY)
    if offset is None or offset + _RESIZABLE_BAR_CONTROL + 4 > len(config):
        return None
    (control,) = struct.unpack_from("<I", config, offset + _RESIZABLE_BAR_CONTROL)
    entries = (control >> 5) & 0b111
    sizes: list[int] = []
    for entry in range(entries):
        position = offset + _RESIZABLE_BAR_SIZES + entry * _RESIZABLE_BAR_ENTRY
        if position + 4 <= len(config):
            (supported,) = struct.unpack_from("<I", config, position)
            if supported >> 4:
                sizes.append((1 << 20) << ((supported >> 4).bit_length() - 1))
    return max(sizes, default=None)
