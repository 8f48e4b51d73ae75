# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program for the tests: uses libcuda.so.1 by ctypes and prints what happened as JSON.

Usage: cuda_scenarios.py SCENARIO [ARGUMENT...]; a scenario is a function of this file.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import struct
import subprocess
import sys
from ctypes import byref, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

import pynvml
from support.cuda_library import CUDA, PTX, CudaFailure, Gpu
from support.elf_objects import cubin_image

NOT_READY = 600
ILLEGAL_ADDRESS = 700
MEGABYTE = 1 << 20
POISON = 0xA5


def _pair(first: str, second: str, enable: bool = True) -> tuple[Gpu, Gpu]:
    CUDA.call("cuInit", c_uint(0))
    one, two = Gpu(int(first)), Gpu(int(second))
    if enable:
        for gpu, peer in ((one, two), (two, one)):
            result = gpu.enable(peer)
            if result:
                raise CudaFailure("cuCtxEnablePeerAccess", result)
    return one, two


def initialise() -> Any:
    """Return the result of cuInit and the number of devices."""
    result = CUDA.status("cuInit", c_uint(0))
    count = c_int(-1)
    return {"result": result, "count": CUDA.status("cuDeviceGetCount", byref(count)) or count.value}


def capability(first: str, second: str) -> Any:
    """Return what the driver claims and what enabling access answers."""
    one, two = _pair(first, second, enable=False)
    return {"can": int(one.can_access(two)), "enable": one.enable(two), "again": one.enable(two)}


def _seen(received: bytes, sent: bytes) -> str:
    if received == sent:
        return "right"
    if received == bytes([POISON]) * len(sent):
        return "unchanged"
    return "zeros" if received == bytes(len(sent)) else "wrong"


def transfer(first: str, second: str, size: str = "65536", enable: str = "1") -> Any:
    """Move data from the first GPU to the second in four ways; the owner says what arrived."""
    source, target = _pair(first, second, enable == "1")
    count = int(size)
    outgoing, incoming = source.allocate(count), target.allocate(count)
    ways = {"copy_write": source, "copy_read": target, "sm_write": source, "sm_read": target}
    seen = {}
    for number, (way, initiator) in enumerate(ways.items()):
        sent = random.Random(number).randbytes(count)
        source.write(outgoing, sent)
        target.write(incoming, bytes([POISON]) * count)
        if way.startswith("copy"):
            result = initiator.copy_peer((target, incoming), (source, outgoing), count)
        else:
            result = initiator.launch("copy_words", incoming, outgoing, count // 16)
        result = result or initiator.finish(1.0)
        seen[way] = result or _seen(target.read(incoming, count), sent)
        if result == ILLEGAL_ADDRESS:
            break  # the context is lost
    return seen


def mirror_readback(first: str, second: str) -> Any:
    """Write to the peer, read it back through the peer mapping, and let the owner look."""
    source, target = _pair(first, second)
    sent = random.Random(1).randbytes(MEGABYTE)
    outgoing, incoming = source.allocate(MEGABYTE), target.allocate(MEGABYTE)
    back = source.allocate(MEGABYTE)
    source.write(outgoing, sent)
    target.write(incoming, bytes([POISON]) * MEGABYTE)
    source.copy_peer((target, incoming), (source, outgoing), MEGABYTE)
    source.copy_peer((source, back), (target, incoming), MEGABYTE)
    source.finish()
    return {
        "initiator": _seen(source.read(back, MEGABYTE), sent),
        "owner": _seen(target.read(incoming, MEGABYTE), sent),
    }


def stale_write(first: str, second: str) -> Any:
    """Return what the owner sees after a first and a second peer write."""
    source, target = _pair(first, second)
    outgoing, incoming = source.allocate(4096), target.allocate(4096)
    target.write(incoming, bytes([POISON]) * 4096)
    seen = []
    for value in (b"\x01", b"\x02"):
        source.write(outgoing, value * 4096)
        source.copy_peer((target, incoming), (source, outgoing), 4096)
        source.finish()
        seen.append(target.read(incoming, 1)[0])
    return seen


def wrong_places(first: str, second: str, size: str) -> Any:
    """Return how a large peer write differs from what was sent: bits, and where words went."""
    source, target = _pair(first, second)
    count = int(size)
    sent = b"".join(struct.pack("<Q", index + 1) for index in range(count // 8))
    outgoing, incoming = source.allocate(count), target.allocate(count)
    source.write(outgoing, sent)
    target.write(incoming, bytes(count))
    source.copy_peer((target, incoming), (source, outgoing), count)
    source.finish()
    received = target.read(incoming, count)
    difference = int.from_bytes(sent, "little") ^ int.from_bytes(received, "little")
    first_word, beyond = struct.unpack_from("<Q", received), received[2 * MEGABYTE :]
    return {
        "bits": bin(difference).count("1"),
        "first_word": first_word[0],
        "beyond_2mib_written": any(beyond),
    }


class Handle(ctypes.Structure):
    """CUipcMemHandle."""

    _fields_ = (("reserved", ctypes.c_ubyte * 64),)


def _export(address: int) -> Handle:
    handle = Handle()
    CUDA.call("cuIpcGetMemHandle", byref(handle), address)
    return handle


def _open(gpu: Gpu, handle: Handle, flags: int = 1) -> tuple[int, int]:
    gpu.use()
    address = c_uint64()
    result = CUDA.status("cuIpcOpenMemHandle_v2", byref(address), handle, c_uint(flags))
    return result, address.value


def ipc_initiator(ordinal: str, handle: str) -> Any:
    """Be the other process: open, write in two ways, read back, close."""
    CUDA.call("cuInit", c_uint(0))
    gpu = Gpu(int(ordinal))
    result, there = _open(gpu, Handle.from_buffer_copy(bytes.fromhex(handle)))
    if result:
        return {"open": result}
    sent, seen = random.Random(1).randbytes(2 * MEGABYTE), {"open": 0}
    outgoing, back = gpu.allocate(2 * MEGABYTE), gpu.allocate(2 * MEGABYTE)
    gpu.write(outgoing, sent)
    size = c_size_t(MEGABYTE)
    CUDA.call("cuMemcpyDtoDAsync_v2", there, outgoing, size, gpu.stream)
    CUDA.call("cuMemcpyDtoDAsync_v2", back, there, size, gpu.stream)
    beyond = [address + MEGABYTE for address in (there, outgoing, back)]
    gpu.launch("copy_words", beyond[0], beyond[1], MEGABYTE // 16)
    gpu.launch("copy_words", beyond[2], beyond[0], MEGABYTE // 16)
    seen["end"] = gpu.finish(0.5)
    if seen["end"] == 0:
        received = gpu.read(back, 2 * MEGABYTE)
        seen["copy"] = _seen(received[:MEGABYTE], sent[:MEGABYTE])
        seen["sm"] = _seen(received[MEGABYTE:], sent[MEGABYTE:])
        again, address = _open(gpu, Handle.from_buffer_copy(bytes.fromhex(handle)))
        seen["again_the_same"] = (again, address) == (0, there)
        seen["free"] = CUDA.status("cuMemFree_v2", there)
        seen["close"] = [CUDA.status("cuIpcCloseMemHandle", there) for _ in range(3)]
    return seen


def ipc(owner_ordinal: str, initiator_ordinal: str) -> Any:
    """Export memory, let another process write to it, and look at what arrived."""
    CUDA.call("cuInit", c_uint(0))
    owner = Gpu(int(owner_ordinal))
    incoming = owner.allocate(2 * MEGABYTE)
    owner.write(incoming, bytes([POISON]) * 2 * MEGABYTE)
    handle = _export(incoming)
    done = subprocess.run(
        [sys.executable, __file__, "ipc_initiator", initiator_ordinal, bytes(handle).hex()],
        check=True,
        capture_output=True,
        text=True,
    )
    received = owner.read(incoming, 2 * MEGABYTE)
    sent = random.Random(1).randbytes(2 * MEGABYTE)
    return {
        "initiator": json.loads(done.stdout),
        "copy": _seen(received[:MEGABYTE], sent[:MEGABYTE]),
        "sm": _seen(received[MEGABYTE:], sent[MEGABYTE:]),
    }


def ipc_misuse(first: str) -> Any:
    """Return what wrong uses of handles are answered."""
    CUDA.call("cuInit", c_uint(0))
    gpu = Gpu(int(first))
    memory = gpu.allocate(MEGABYTE)
    handle = _export(memory)
    host = c_void_p()
    CUDA.call("cuMemHostAlloc", byref(host), c_size_t(4096), c_uint(0))
    script = f"open_stale {bytes(handle).hex()}".split()
    CUDA.call("cuMemFree_v2", memory)
    stale = subprocess.run(
        [sys.executable, __file__, *script], check=True, capture_output=True, text=True
    )
    return {
        "own_process": _open(gpu, handle)[0],
        "flags": _open(gpu, handle, 0)[0],
        "garbage": _open(gpu, Handle())[0],
        "freed": json.loads(stale.stdout),
        "host_memory": CUDA.status("cuIpcGetMemHandle", byref(Handle()), host.value),
        "not_opened": CUDA.status("cuIpcCloseMemHandle", gpu.allocate(MEGABYTE)),
    }


def open_stale(handle: str) -> Any:
    """Return the answer to opening a handle whose memory is gone."""
    CUDA.call("cuInit", c_uint(0))
    return _open(Gpu(0), Handle.from_buffer_copy(bytes.fromhex(handle)))[0]


def rates(first: str, second: str) -> Any:
    """Return GB/s and microseconds on the virtual clock: direct, both ways, staged, small."""
    one, two = _pair(first, second, enable=False)
    size, copies = 16 * MEGABYTE, 4
    buffers = {gpu: (gpu.allocate(size), gpu.allocate(size)) for gpu in (one, two)}

    def measure(movers: list[tuple[Gpu, Gpu]], count: int, length: int) -> float:
        start, end = movers[0][0].event(), movers[0][0].event()
        movers[0][0].record(start)
        for source, _ in movers[1:]:
            source.use()
            CUDA.call("cuStreamWaitEvent", source.stream, start, c_uint(0))
        for _ in range(count):
            for source, target in movers:
                source.copy_peer((target, buffers[target][1]), (source, buffers[source][0]), length)
        for source, _ in movers[1:]:
            done = source.event()
            source.record(done)
            movers[0][0].use()
            CUDA.call("cuStreamWaitEvent", movers[0][0].stream, done, c_uint(0))
        movers[0][0].record(end)
        movers[0][0].finish()
        return movers[0][0].seconds_between(start, end)

    result = {
        "off": size * copies / measure([(one, two)], copies, size) / 1e9,
        "off_latency": measure([(one, two)], 100, 16) / 100 * 1e6,
    }
    for gpu, peer in ((one, two), (two, one)):
        if gpu.enable(peer):
            return result
    both = measure([(one, two), (two, one)], copies, size)
    result.update(
        on=size * copies / measure([(one, two)], copies, size) / 1e9,
        both=2 * size * copies / both / 1e9,
        on_latency=measure([(one, two)], 100, 16) / 100 * 1e6,
    )
    return result


def bulk_copy(first: str, second: str) -> Any:
    """Copy to and from a peer by kernel, once and three times over; return data and GB/s."""
    one, two = _pair(first, second)
    size = 4 * MEGABYTE
    outgoing, incoming = one.allocate(size), two.allocate(size)
    start, end = one.event(), one.event()

    def seconds(target: int, source: int, passes: int) -> float:
        one.record(start)
        one.launch("bulk_copy", target, source, size // 16, passes)
        one.record(end)
        one.finish()
        return one.seconds_between(start, end)

    one.write(outgoing, b"\x07" * size)
    two.write(incoming, bytes([POISON]) * size)
    result: dict[str, Any] = {"none": seconds(incoming, outgoing, 0)}
    untouched = two.read(incoming, 1)[0]
    written = [seconds(incoming, outgoing, passes) for passes in (1, 3)]
    arrived = two.read(incoming, size) == b"\x07" * size
    two.write(incoming, b"\x08" * size)
    read = seconds(outgoing, incoming, 3)
    result.update(
        untouched=untouched,
        written=[size * n / s / 1e9 for n, s in zip((1, 3), written, strict=True)],
        read=3 * size / read / 1e9,
        data=[arrived, one.read(outgoing, size) == b"\x08" * size],
    )
    return result


def shared_link(first: str, second: str, third: str, fourth: str) -> Any:
    """Return the sum of GB/s of two copies at once: first to second, third to fourth."""
    CUDA.call("cuInit", c_uint(0))
    gpus = [Gpu(int(number)) for number in (first, second, third, fourth)]
    size = 8 * MEGABYTE
    memory = {gpu: gpu.allocate(size) for gpu in gpus}
    gpus[0].enable(gpus[1])
    gpus[2].enable(gpus[3])
    start, ends = gpus[0].event(), [gpus[0].event(), gpus[2].event()]
    gpus[0].record(start)
    for source, target, end in ((gpus[0], gpus[1], ends[0]), (gpus[2], gpus[3], ends[1])):
        source.copy_peer((target, memory[target]), (source, memory[source]), size)
        source.record(end)
    longest = max(gpus[0].seconds_between(start, end) for end in ends)
    return 2 * size / longest / 1e9


def _mapped_words(count: int) -> tuple[Any, int]:
    """Return zeroed 64-bit words of page-locked host memory and their address for kernels."""
    memory, seen = c_void_p(), c_uint64()
    CUDA.call("cuMemHostAlloc", byref(memory), c_size_t(8 * count), c_uint(2))
    CUDA.call("cuMemHostGetDevicePointer_v2", byref(seen), memory, c_uint(0))
    words = ctypes.cast(memory, ctypes.POINTER(c_uint64))
    for index in range(count):
        words[index] = 0
    return words, seen.value


def ping_pong(first: str, second: str, rounds: str = "200", open_gate: str = "open") -> Any:
    """Return both sides' result words: rounds, mismatches, ending, nanoseconds."""
    one, two = _pair(first, second)
    boxes = {gpu: gpu.allocate(4096) for gpu in (one, two)}
    results = {gpu: gpu.allocate(64) for gpu in (one, two)}
    for gpu in (one, two):
        gpu.write(boxes[gpu], bytes(4096))
        gpu.write(results[gpu], bytes(64))
    event = one.event()
    looks = 300_000
    words, address = _mapped_words(4)
    one.launch(
        *("ping_pong", boxes[one], boxes[two], int(rounds), 1, results[one], looks),
        *(address, looks),
    )
    one.record(event)
    early = CUDA.status("cuEventQuery", event)
    two.launch(
        *("ping_pong", boxes[two], boxes[one], int(rounds), 0, results[two], looks),
        *(address + 16, looks),
    )
    if open_gate == "open":
        words[1] = words[3] = 1
    ends = [gpu.finish() for gpu in (one, two)]
    played = [
        struct.unpack("<4Q", gpu.read(results[gpu], 32)) if not end else None
        for gpu, end in zip((one, two), ends, strict=True)
    ]
    running = [words[0], words[2]]
    return {"event_before_partner": early, "ends": ends, "results": played, "running": running}


def gate(first: str, second: str) -> Any:
    """Hold a peer copy behind a gate and let it go; an event carries it to another stream."""
    one, two = _pair(first, second)
    size = 4096
    outgoing, incoming = one.allocate(size), two.allocate(size)
    flag, other = c_void_p(), c_uint64()
    CUDA.call("cuMemHostAlloc", byref(flag), c_size_t(64), c_uint(2))
    CUDA.call("cuMemHostGetDevicePointer_v2", byref(other), flag, c_uint(0))
    word = ctypes.cast(flag, ctypes.POINTER(c_uint))
    word[0] = 0
    one.write(outgoing, b"\x01" * size)
    two.write(incoming, bytes([POISON]) * size)
    one.launch("gate", other.value, 5_000_000)
    one.copy_peer((two, incoming), (one, outgoing), size)
    event = one.event()
    one.record(event)
    two.use()
    CUDA.call("cuStreamWaitEvent", two.stream, event, c_uint(0))
    held = {
        "stream": CUDA.status("cuStreamQuery", one.stream),
        "waiting": CUDA.status("cuStreamQuery", two.stream),
        "event": CUDA.status("cuEventQuery", event),
        "data": two.read(incoming, 1)[0],
    }
    word[0] = 1
    return {"held": held, "ends": [one.finish(), two.finish()], "data": two.read(incoming, 1)[0]}


def kernels(ordinal: str) -> Any:
    """Fill, damage, verify and chase within one GPU."""
    CUDA.call("cuInit", c_uint(0))
    gpu = Gpu(int(ordinal))
    words, seed, first_index = 1024, 7, 100
    data, result = gpu.allocate(words * 8), gpu.allocate(64)
    gpu.launch("fill_pattern", data, words, seed, first_index)
    filled = struct.unpack_from("<Q", gpu.read(data, 8))[0]
    gpu.write(data + 8 * 5, bytes(8))
    gpu.write(data + 8 * 9, bytes(8))
    gpu.write(result, struct.pack("<2Q", 0, 2**64 - 1))
    gpu.launch("verify_pattern", data, words, seed, first_index, result)
    verified = struct.unpack("<2Q", gpu.read(result, 16))
    ring = struct.pack("<2Q", data + 8, data)
    gpu.write(data, ring)
    gpu.launch("pointer_chase", data, 1001, result, 0)
    chased = struct.unpack("<2Q", gpu.read(result, 16))
    return {
        "filled": filled,
        "verified": verified,
        "arrived": chased[0] - data,
        "nanoseconds": chased[1],
    }


def errors(first: str, second: str) -> Any:
    """Return what wrong uses answer."""
    one, two = _pair(first, second, enable=False)
    mine, theirs, foreign = one.allocate(4096), two.allocate(4096), c_uint64()
    answers = {
        "host_pointer_as_device": CUDA.status("cuMemsetD8_v2", 4096, c_uint(0), c_size_t(16)),
        "beyond_the_end": CUDA.status("cuMemsetD8_v2", theirs, c_uint(0), c_size_t(4097)),
        "disable_not_enabled": CUDA.status("cuCtxDisablePeerAccess", one.context),
        "stream": CUDA.status("cuStreamQuery", 12345),
        "too_much": CUDA.status("cuMemAlloc_v2", byref(foreign), c_size_t(1 << 40)),
    }
    try:
        one.launch("unheard_of")
    except CudaFailure as failure:
        answers["kernel"] = failure.args[1]
    answers["binary"] = CUDA.status(
        "cuModuleLoadDataEx", byref(c_void_p()), b"\x7fELF", c_uint(0), None, None
    )
    answers["launch"] = one.launch("copy_words", theirs, mine, 16)
    answers["after_launch"] = one.finish()
    answers["sticky"] = CUDA.status("cuMemAlloc_v2", byref(foreign), c_size_t(16))
    CUDA.call("cuDevicePrimaryCtxReset_v2", c_int(one.ordinal))
    answers["after_reset"] = CUDA.status("cuMemAlloc_v2", byref(foreign), c_size_t(16))
    return answers


def module_load() -> Any:
    """Return the result of compiling PTX."""
    CUDA.call("cuInit", c_uint(0))
    Gpu(0)
    return CUDA.status("cuModuleLoadDataEx", byref(c_void_p()), PTX, c_uint(0), None, None)


def compiled_image() -> Any:
    """Return what two kernels of a compiled image answer: one that it names, one that it lacks."""
    CUDA.call("cuInit", c_uint(0))
    gpu = Gpu(0, cubin_image(["copy_words"]))
    data = gpu.allocate(4096)
    known = gpu.launch("copy_words", data + 2048, data, 16)
    try:
        return {"known": known, "unnamed": gpu.launch("gate", data, 1)}
    except CudaFailure as failure:
        return {"known": known, "unnamed": failure.number}


def repeating_kernels(first: str, second: str) -> Any:
    """Fill a peer's memory with a repeating pattern and compare, right and with one wrong word."""
    one, two = _pair(first, second)
    one.image = cubin_image(["fill_repeating", "compare_repeating"])
    pattern, result, theirs = one.allocate(8), one.allocate(8), two.allocate(4096)
    one.write(pattern, b"\xab" * 8)
    seen = []
    one.launch("fill_repeating", theirs, 1024, pattern, 2)
    owner = two.read(theirs + 4092, 4).hex()
    for wrong in (b"\xab", b"\xac"):
        two.write(theirs + 2048, wrong)
        one.write(result, bytes(8))
        one.launch("compare_repeating", theirs, 1024, pattern, 2, result)
        seen.append(one.read(result, 4)[0])
    return {"right": seen[0], "wrong": seen[1], "owner": owner}


def memory() -> Any:
    """Return free and total before, with, and after an allocation."""
    CUDA.call("cuInit", c_uint(0))
    gpu = Gpu(0)
    free, total = c_size_t(), c_size_t()
    seen = []
    address = 0
    for step in ("before", "with", "after"):
        if step == "with":
            address = gpu.allocate(MEGABYTE)
        elif step == "after":
            CUDA.call("cuMemFree_v2", address)
        CUDA.call("cuMemGetInfo_v2", byref(free), byref(total))
        seen.append((free.value, total.value))
    return seen


def processes() -> Any:
    """Return the processes that NVML lists while this one has a context, and this one's number."""
    CUDA.call("cuInit", c_uint(0))
    Gpu(0)
    pynvml.nvmlInit()
    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in (0, 1)]
    listed = [
        [entry.pid for entry in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)]
        for handle in handles
    ]
    return {"pid": os.getpid(), "listed": listed}


def main() -> None:
    """Run the named scenario and print its result; a failed call is a result too."""
    try:
        answer = globals()[sys.argv[1]](*sys.argv[2:])
    except CudaFailure as failure:
        answer = {"call": failure.args[0], "error": failure.args[1]}
    print(json.dumps(answer))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
