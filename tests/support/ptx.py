# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the kernels' PTX thread by thread, as the PTX ISA describes each instruction.

It knows the instructions that the kernels have and refuses others. Threads run one after the
other, or in turns at every acquiring load, which is where a kernel waits for another. It says
whether the text does what it is meant to; nothing about caches, timing or real GPUs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_MASKS = {"32": 0xFFFFFFFF, "64": 0xFFFFFFFFFFFFFFFF}
_ENTRY = re.compile(r"\.visible \.entry (\w+)\s*\((.*?)\)\s*\{(.*?)\n\}", re.S)
_TESTS = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "ge": lambda a, b: a >= b,
    "gt": lambda a, b: a > b,
}
_SUMS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul.lo": lambda a, b: a * b,
    "mul.wide": lambda a, b: a * b,
    "min": min,
    "xor": lambda a, b: a ^ b,
    "shl": lambda a, b: a << b,
    "shr": lambda a, b: a >> b,
}


class Memory:
    """Buffers at addresses; an access outside of them is an error, as on a GPU."""

    def __init__(self) -> None:
        self._buffers: dict[int, bytearray] = {}
        self.loads: list[int] = []

    def add(self, address: int, data: bytes) -> int:
        """Place a buffer and return its address."""
        self._buffers[address] = bytearray(data)
        return address

    def data(self, address: int) -> bytes:
        """Return what a buffer holds."""
        return bytes(self._buffers[address])

    def load(self, address: int, size: int) -> int:
        """Return the little-endian word at an address, and remember the load."""
        self.loads.append(address)
        buffer, offset = self._at(address, size)
        return int.from_bytes(buffer[offset : offset + size], "little")

    def store(self, address: int, size: int, value: int) -> None:
        """Store a little-endian word."""
        buffer, offset = self._at(address, size)
        buffer[offset : offset + size] = value.to_bytes(size, "little")

    def _at(self, address: int, size: int) -> tuple[bytearray, int]:
        if address % size:
            raise AssertionError(f"misaligned access of {size} bytes at {address:#x}")
        for base, buffer in self._buffers.items():
            if base <= address and address + size <= base + len(buffer):
                return buffer, address - base
        raise AssertionError(f"illegal access of {size} bytes at {address:#x}")


@dataclass
class _Thread:
    registers: dict[str, int] = field(default_factory=dict)

    def value(self, operand: str) -> int:
        return self.registers[operand] if operand.startswith("%") else int(operand, 0)


class Program:
    """One entry of a PTX text."""

    def __init__(self, text: str, entry: str) -> None:
        bodies = {name: (parameters, body) for name, parameters, body in _ENTRY.findall(text)}
        parameters, body = bodies[entry]
        self._parameters = re.findall(r"\.param \.u64 (\w+)", parameters)
        self._steps: list[tuple[str, list[str], str]] = []
        self._labels: dict[str, int] = {}
        for line in body.splitlines():
            self._read(line.split("//")[0].strip())

    def threads(
        self, memory: Memory, arguments: Sequence[int], blocks: int = 1, threads: int = 1
    ) -> list[Iterator[None]]:
        """Return the threads of a launch; each pauses at every acquiring load."""
        if len(arguments) != len(self._parameters):
            raise AssertionError(f"{len(self._parameters)} arguments are wanted")
        launch = dict(zip(self._parameters, arguments, strict=True))
        return [
            self._run(
                memory,
                launch,
                {"%ctaid.x": block, "%ntid.x": threads, "%tid.x": thread, "%nctaid.x": blocks},
            )
            for block in range(blocks)
            for thread in range(threads)
        ]

    def run(
        self, memory: Memory, arguments: Sequence[int], blocks: int = 1, threads: int = 1
    ) -> None:
        """Run all threads, one after the other."""
        for thread in self.threads(memory, arguments, blocks, threads):
            for _pause in thread:
                pass

    def _read(self, line: str) -> None:
        if line.endswith(":"):
            self._labels[line[:-1]] = len(self._steps)
        elif line and not line.startswith(".reg"):
            guard = ""
            if line.startswith("@"):
                guard, line = line[1:].split(maxsplit=1)
            name, _space, rest = line.rstrip(";").partition(" ")
            operands = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^\s,{}\[\]]+", rest)
            self._steps.append((name, operands, guard))

    def _run(
        self, memory: Memory, launch: dict[str, int], special: dict[str, int]
    ) -> Iterator[None]:
        thread = _Thread(dict(special))
        clock = 0
        at = 0
        while True:
            name, operands, guard = self._steps[at]
            at += 1
            if guard and not thread.registers[guard]:
                continue
            if name == "ret":
                return
            if name == "bra":
                at = self._labels[operands[0]]
                continue
            # One nanosecond an instruction.
            clock += 1
            thread.registers["%globaltimer"] = clock
            if name.startswith("ld.acquire"):
                yield
            if name == "ld.param.u64":
                thread.registers[operands[0]] = launch[operands[1].strip("[]")]
            elif name.startswith(("ld.", "st.", "red.")):
                _access(memory, thread, name, operands)
            else:
                _compute(thread, name, operands)


def _access(memory: Memory, thread: _Thread, name: str, operands: list[str]) -> None:
    size = int(name[-2:]) // 8
    place = next(operand for operand in operands if operand.startswith("["))
    base, _plus, offset = place.strip("[]").partition("+")
    address = thread.value(base) + int(offset or "0")
    others = [operand for operand in operands if operand != place]
    registers = re.findall(r"%\w+", others[0])
    if len(registers) * size > size and address % (len(registers) * size):
        raise AssertionError(f"misaligned vector at {address:#x}")
    for number, register in enumerate(registers):
        word = address + number * size
        if name.startswith("ld."):
            thread.registers[register] = memory.load(word, size)
        elif name.startswith("st."):
            memory.store(word, size, thread.registers[register])
        else:
            combine = _SUMS[name.split(".")[2]]
            memory.store(word, size, combine(memory.load(word, size), thread.registers[register]))


def _compute(thread: _Thread, name: str, operands: list[str]) -> None:
    target, *sources = operands
    values = [thread.value(source) for source in sources]
    kind, _dot, width = name.rpartition(".")
    mask = _MASKS[width[1:]]
    if kind.startswith("setp."):
        result = int(_TESTS[kind[5:]](*values))
    elif kind in ("mov", "cvt.u64", "cvta.to.global"):
        result = values[0]
    elif kind == "mad.wide":
        result = values[0] * values[1] + values[2]
        mask = _MASKS["64"]
    elif kind in _SUMS:
        result = _SUMS[kind](*values)
        mask = _MASKS["64"] if kind == "mul.wide" else mask
    else:
        raise AssertionError(f"{name} is not known here")
    thread.registers[target] = result & mask
