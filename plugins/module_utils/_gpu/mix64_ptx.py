# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hash that makes the words of every payload, as PTX."""

from __future__ import annotations


def mix64_ptx(value: str, scratch: str) -> str:
    """Return the instructions of splitmix64's finaliser on the 64-bit register ``value``."""
    return f"""
    add.u64 {value}, {value}, 0x9E3779B97F4A7C15;
    shr.u64 {scratch}, {value}, 30;
    xor.b64 {value}, {value}, {scratch};
    mul.lo.u64 {value}, {value}, 0xBF58476D1CE4E5B9;
    shr.u64 {scratch}, {value}, 27;
    xor.b64 {value}, {value}, {scratch};
    mul.lo.u64 {value}, {value}, 0x94D049BB133111EB;
    shr.u64 {scratch}, {value}, 31;
    xor.b64 {value}, {value}, {scratch};"""
