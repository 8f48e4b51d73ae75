# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernels, as PTX text that every driver since CUDA 10.0 compiles for sm_75 and newer.

PTX travels as text and needs no toolkit on the target; the driver's own compiler (package
libnvidia-ptxjitcompiler) makes it native. All parameters are 64-bit. Words are little-endian
64-bit, and ``pattern(i) = mix64(i ^ seed)`` with the finaliser of splitmix64, a bijection: two
indices never share a word, so a copy that lands at another place shows at any stride.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .mix64_ptx import mix64_ptx
from .resident_kernels import GATE, PING_PONG


@dataclass(frozen=True)
class Shape:
    """How many threads a kernel is launched with."""

    blocks_per_multiprocessor: int
    threads_per_block: int


# Resident at once on every architecture from sm_75: 4 x 256 of at least 1024 threads.
_GRID = Shape(4, 256)
# One thread on every multiprocessor, of which one block works.
_ONE_EACH = Shape(1, 1)
# Saturates NVLink as well as PCIe; what nvbandwidth has, so that figures compare.
_BULK = Shape(1, 512)

ENTRIES = {
    "fill_pattern": _GRID,
    "verify_pattern": _GRID,
    "bulk_copy": _BULK,
    "pointer_chase": _ONE_EACH,
    "ping_pong": _ONE_EACH,
    "gate": _ONE_EACH,
}
"""Name of each kernel -> its shape; the resident ones are launched with one thread."""

VECTOR_BYTES = 16  # what a thread moves at a time
_VECTORS_IN_FLIGHT = 12  # loads of one thread before its first store


# index = first element of this thread, step = number of threads in the grid.
_GRID_STRIDE = """
    .reg .u32 %block, %threads, %thread, %blocks;
    .reg .u64 %index, %step;
    mov.u32 %block, %ctaid.x;
    mov.u32 %threads, %ntid.x;
    mov.u32 %thread, %tid.x;
    mov.u32 %blocks, %nctaid.x;
    cvt.u64.u32 %index, %thread;
    mad.wide.u32 %index, %block, %threads, %index;
    mul.wide.u32 %step, %blocks, %threads;"""

_FILL_PATTERN = f"""
// dst[k] = pattern(first_index + k) for k < words
.visible .entry fill_pattern(
    .param .u64 dst, .param .u64 words, .param .u64 seed, .param .u64 first_index)
{{{_GRID_STRIDE}
    .reg .pred %done;
    .reg .u64 %dst, %words, %seed, %first, %word, %scratch, %address;
    ld.param.u64 %dst, [dst];
    cvta.to.global.u64 %dst, %dst;
    ld.param.u64 %words, [words];
    ld.param.u64 %seed, [seed];
    ld.param.u64 %first, [first_index];
LOOP:
    setp.ge.u64 %done, %index, %words;
    @%done bra DONE;
    add.u64 %word, %first, %index;
    xor.b64 %word, %word, %seed;{mix64_ptx("%word", "%scratch")}
    shl.b64 %address, %index, 3;
    add.u64 %address, %address, %dst;
    st.global.u64 [%address], %word;
    add.u64 %index, %index, %step;
    bra LOOP;
DONE:
    ret;
}}
"""

_VERIFY_PATTERN = f"""
// result[0] += mismatches, result[1] = min(result[1], first_index + k of a mismatch)
.visible .entry verify_pattern(
    .param .u64 src, .param .u64 words, .param .u64 seed, .param .u64 first_index,
    .param .u64 result)
{{{_GRID_STRIDE}
    .reg .pred %done, %good;
    .reg .u64 %src, %words, %seed, %first, %result;
    .reg .u64 %place, %word, %scratch, %address, %found, %bad, %lowest;
    ld.param.u64 %src, [src];
    cvta.to.global.u64 %src, %src;
    ld.param.u64 %words, [words];
    ld.param.u64 %seed, [seed];
    ld.param.u64 %first, [first_index];
    ld.param.u64 %result, [result];
    cvta.to.global.u64 %result, %result;
    mov.u64 %bad, 0;
    mov.u64 %lowest, 0xFFFFFFFFFFFFFFFF;
LOOP:
    setp.ge.u64 %done, %index, %words;
    @%done bra DONE;
    add.u64 %place, %first, %index;
    xor.b64 %word, %place, %seed;{mix64_ptx("%word", "%scratch")}
    shl.b64 %address, %index, 3;
    add.u64 %address, %address, %src;
    ld.global.u64 %found, [%address];
    setp.eq.u64 %good, %found, %word;
    @%good bra NEXT;
    add.u64 %bad, %bad, 1;
    min.u64 %lowest, %lowest, %place;
NEXT:
    add.u64 %index, %index, %step;
    bra LOOP;
DONE:
    setp.eq.u64 %good, %bad, 0;
    @%good bra EXIT;
    red.global.add.u64 [%result], %bad;
    red.global.min.u64 [%result+8], %lowest;
EXIT:
    ret;
}}
"""

_IN_FLIGHT = range(_VECTORS_IN_FLIGHT)
_LOAD_ALL = "".join(
    f"""
    ld.global.v2.u64 {{%low{n}, %high{n}}}, [%from];
    add.u64 %from, %from, %stride;"""
    for n in _IN_FLIGHT
)
_STORE_ALL = "".join(
    f"""
    st.global.v2.u64 [%to], {{%low{n}, %high{n}}};
    add.u64 %to, %to, %stride;"""
    for n in _IN_FLIGHT
)

_BULK_COPY = f"""
// The whole of src to dst, passes times over; dst or src may be a peer's memory. Each thread
// loads {_VECTORS_IN_FLIGHT} vectors before it stores them; the grid moves through memory side
// by side. Passes do not wait for each other, so that only the last one drains the link.
.visible .entry bulk_copy(
    .param .u64 dst, .param .u64 src, .param .u64 vectors, .param .u64 passes)
{{{_GRID_STRIDE}
    .reg .pred %done;
    .reg .u64 %dst, %src, %vectors, %passes, %stride, %ahead, %batch;
    .reg .u64 %place, %last, %from, %to;
    .reg .u64 %low<{_VECTORS_IN_FLIGHT}>, %high<{_VECTORS_IN_FLIGHT}>;
    ld.param.u64 %dst, [dst];
    cvta.to.global.u64 %dst, %dst;
    ld.param.u64 %src, [src];
    cvta.to.global.u64 %src, %src;
    ld.param.u64 %vectors, [vectors];
    ld.param.u64 %passes, [passes];
    shl.b64 %stride, %step, 4;
    mul.lo.u64 %ahead, %step, {_VECTORS_IN_FLIGHT - 1};
    mul.lo.u64 %batch, %step, {_VECTORS_IN_FLIGHT};
    shl.b64 %from, %index, 4;
    add.u64 %dst, %dst, %from;
    add.u64 %src, %src, %from;
PASS:
    setp.eq.u64 %done, %passes, 0;
    @%done bra DONE;
    sub.u64 %passes, %passes, 1;
    mov.u64 %place, %index;
    mov.u64 %from, %src;
    mov.u64 %to, %dst;
BATCH:
    add.u64 %last, %place, %ahead;
    setp.ge.u64 %done, %last, %vectors;
    @%done bra REST;{_LOAD_ALL}{_STORE_ALL}
    add.u64 %place, %place, %batch;
    bra BATCH;
REST:
    setp.ge.u64 %done, %place, %vectors;
    @%done bra PASS;
    ld.global.v2.u64 {{%low0, %high0}}, [%from];
    st.global.v2.u64 [%to], {{%low0, %high0}};
    add.u64 %from, %from, %stride;
    add.u64 %to, %to, %stride;
    add.u64 %place, %place, %step;
    bra REST;
DONE:
    ret;
}}
"""

_POINTER_CHASE = """
// result[0] = address arrived at, result[1] = nanoseconds; by one thread of the block given. The
// loads are plain ones: a chain that is no longer than loads meets no line twice.
.visible .entry pointer_chase(
    .param .u64 start, .param .u64 loads, .param .u64 result, .param .u64 block)
{
    .reg .pred %done;
    .reg .u32 %number;
    .reg .u64 %place, %loads, %result, %block, %begin, %end;
    mov.u32 %number, %ctaid.x;
    cvt.u64.u32 %begin, %number;
    ld.param.u64 %block, [block];
    setp.ne.u64 %done, %begin, %block;
    @%done bra EXIT;
    ld.param.u64 %place, [start];
    cvta.to.global.u64 %place, %place;
    ld.param.u64 %loads, [loads];
    ld.param.u64 %result, [result];
    cvta.to.global.u64 %result, %result;
    mov.u64 %begin, %globaltimer;
LOOP:
    setp.eq.u64 %done, %loads, 0;
    @%done bra DONE;
    ld.global.u64 %place, [%place];
    sub.u64 %loads, %loads, 1;
    bra LOOP;
DONE:
    // Looked at before the clock is: the last load must have arrived.
    setp.eq.u64 %done, %place, 0;
    @%done bra EXIT;
    mov.u64 %end, %globaltimer;
    st.global.u64 [%result], %place;
    sub.u64 %end, %end, %begin;
    st.global.u64 [%result+8], %end;
EXIT:
    ret;
}
"""

# 6.3 is the first version with .target sm_75; the memory model's .acquire, .release and .sys
# need sm_70.
_HEADER = ".version 6.3\n.target sm_75\n.address_size 64\n"
_TEXTS = {
    "fill_pattern": _FILL_PATTERN,
    "verify_pattern": _VERIFY_PATTERN,
    "bulk_copy": _BULK_COPY,
    "pointer_chase": _POINTER_CHASE,
    "ping_pong": PING_PONG,
    "gate": GATE,
}


def ptx_of(names: Iterable[str]) -> str:
    """Return the text of these kernels: what is not in it need not be compiled."""
    return _HEADER + "".join(_TEXTS[name] for name in names)
