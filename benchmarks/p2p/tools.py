# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tools: where each is found, how it is called, and one run of it with a time limit."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import outputs
from .figures import Figures, figures_of_result

OURS = "p2p_verify"
OURS_QUICK = "p2p_verify, quick"
_HERE = Path(__file__).resolve().parent
_NCCL_BYTES = "536870912"
_KILL_WAIT_SECONDS = 10.0
_RAW_CHARACTERS_KEPT = 200_000

Parse = Callable[[str, Sequence[int]], Figures]


@dataclass(frozen=True)
class Tool:
    """One tool, ready to be run.

    Attributes:
        name: as the table shows it.
        argv: its command.
        parse: standard output and the GPUs' numbers to figures; raises ValueError.
        remarks: standard output to lines worth telling, such as a testcase that was waived.
        version: standard output to the tool's version.
    """

    name: str
    argv: tuple[str, ...]
    parse: Parse
    remarks: Callable[[str], list[str]] = field(default=lambda _text: [])
    version: Callable[[str], str] = field(default=lambda _text: "")


@dataclass(frozen=True)
class Run:
    """One run: its figures, or why there are none.

    ``raw`` is all that the tool printed; ``result`` is p2p_verify's own.
    """

    tool: str
    wall_seconds: float
    figures: Figures
    trouble: str = ""
    raw: str = ""
    remarks: tuple[str, ...] = ()
    version: str = ""
    result: Mapping[str, Any] | None = None


def our_tool(options: Sequence[str], name: str = OURS) -> Tool:
    """Return p2p_verify, run by measure.py with these options."""
    argv = (sys.executable, str(_HERE / "measure.py"), *options)
    return Tool(name, argv, lambda text, _gpus: figures_of_result(our_result(text)))


def our_result(text: str) -> Mapping[str, Any]:
    """Return the result in the last line that measure.py printed; raises ValueError."""
    lines = text.strip().splitlines()
    loaded = json.loads(lines[-1]) if lines else None
    if not isinstance(loaded, dict) or "pairs" not in loaded:
        raise ValueError("no result in the output")
    return loaded


def other_tools(gpu_count: int, paths: Mapping[str, str]) -> tuple[list[Tool], list[str]]:
    """Return the tools that are there, and the names of those that are not.

    Args:
        gpu_count: GPUs that will be visible.
        paths: name of a tool to its path; any other is looked for on PATH.
    """
    wanted: dict[str, Callable[[str], Tool]] = {
        "nvbandwidth": lambda path: Tool(
            "nvbandwidth",
            (path, "-j", "-t", *outputs.NVBANDWIDTH_TESTCASES),
            outputs.nvbandwidth,
            outputs.nvbandwidth_remarks,
            outputs.nvbandwidth_version,
        ),
        "p2pBandwidthLatencyTest": lambda path: Tool(
            "p2pBandwidthLatencyTest", (path,), outputs.classic
        ),
        "sendrecv_perf": lambda path: _nccl_tool(
            "sendrecv_perf", path, "NCCL send and receive", gpu_count
        ),
        "all_reduce_perf": lambda path: _nccl_tool(
            "all_reduce_perf", path, "NCCL all-reduce", gpu_count
        ),
    }
    there, absent = [], []
    for name, make in wanted.items():
        path = paths.get(name) or shutil.which(name)
        if path is None:
            absent.append(name)
        else:
            there.append(make(path))
    return there, absent


def _nccl_tool(name: str, path: str, figure: str, gpu_count: int) -> Tool:
    argv = (path, "-b", _NCCL_BYTES, "-e", _NCCL_BYTES, "-g", str(gpu_count))
    return Tool(name, argv, lambda text, _gpus: outputs.nccl(text, figure))


def environment_for(uuids: Sequence[str]) -> dict[str, str]:
    """Return the environment in which every tool sees these GPUs, ordered by PCI address."""
    return {
        **os.environ,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        **({"CUDA_VISIBLE_DEVICES": ",".join(uuids)} if uuids else {}),
    }


def run(
    tool: Tool, gpus: Sequence[int], environment: Mapping[str, str], limit_seconds: float
) -> Run:
    """Run a tool once; whatever goes wrong is told in the Run and never raised.

    Args:
        gpus: p2p_verify's numbers of the visible GPUs, in order.
        limit_seconds: until it and all that it started are killed.
    """
    begin = time.monotonic()
    try:
        process = subprocess.Popen(
            tool.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        return Run(tool.name, time.monotonic() - begin, {}, f"could not be started: {error}")
    timed_out = False
    try:
        written, said = process.communicate(timeout=limit_seconds)
    except subprocess.TimeoutExpired:
        timed_out = True
        written, said = _killed(process)
    except BaseException:
        _killed(process)
        raise
    wall = time.monotonic() - begin
    raw = (written + (f"\n--- standard error\n{said}" if said.strip() else ""))[
        -_RAW_CHARACTERS_KEPT:
    ]
    if timed_out:
        return Run(tool.name, wall, {}, f"killed after {limit_seconds:g} s", raw)
    status = process.returncode
    if status != 0 and not written.strip():
        words = " ".join(said.split())[-300:]
        return Run(tool.name, wall, {}, f"ended with {status}: {words}", raw)
    return replace(_read(tool, status, written, gpus), wall_seconds=wall, raw=raw)


def _read(tool: Tool, status: int, written: str, gpus: Sequence[int]) -> Run:
    """Return what the output says, its wall time and raw text left to the caller."""
    try:
        figures = tool.parse(written, gpus)
        remarks = tuple(tool.remarks(written))
        version = tool.version(written)
        result = our_result(written) if tool.name in (OURS, OURS_QUICK) else None
    # A tool that prints something unforeseen must not end the comparison.
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        ending = f"ended with {status}; " if status else ""
        return Run(tool.name, 0.0, {}, f"{ending}its output was not understood: {error}")
    if status != 0:
        remarks = (*remarks, f"ended with {status}")
    trouble = "" if figures else "no figure in its output"
    return Run(tool.name, 0.0, figures, trouble, "", remarks, version, result)


def _killed(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Kill the process group and return what it had printed."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        return process.communicate(timeout=_KILL_WAIT_SECONDS)
    except subprocess.TimeoutExpired:  # uninterruptible in the kernel: it is left
        return "", ""
