# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verifying the machine that this runs on, without an inventory.

The module p2p_verify is run as a program of its own, its arguments as JSON on standard input and
its result as JSON on standard output: the interface that Ansible itself uses. A playbook would
take longer to start than two GPUs take to be verified, and would need a writable home and heed an
``ansible.cfg`` that was written for a fleet.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .errors import FleetError, GpufleetError, Interrupted
from .results import Result

_MODULE = "ansible_collections.gpufleet.p2p.plugins.modules.p2p_verify"
_GRACE_SECONDS = 10.0
_JOIN_SECONDS = 1.0


def verify_here(
    *,
    devices: Sequence[str] = (),
    quick: bool = False,
    allow_busy: bool = False,
    gpu_match: Sequence[str] = (),
    observer: Callable[[int, int], None] | None = None,
) -> Result:
    """Measure and judge every ordered pair of this machine's GPUs; nothing is changed.

    Root is not needed; without it some of the host cannot be read, see ``unread_parts``.

    Args:
        devices: GPUs to look at, by index, UUID or PCI address; all by default.
        quick: move less and repeat less.
        allow_busy: go on although programs use the GPUs.
        gpu_match: which PCI functions are GPUs, ``vendor:device:class-prefix``; NVIDIA's by
            default.
        observer: called with how many pairs are measured and how many there are to measure, each
            in both directions, in a thread of its own.

    Raises:
        GpufleetError: nothing could be measured: ``gpus_busy``, ``device_unknown``,
            ``nvml_unavailable``, ``userspace_mismatch``.
        FleetError: ``verification_died``, the module ended without a result.
        Interrupted: Ctrl-C; the measuring processes were ended.
    """
    arguments: dict[str, Any] = {
        "devices": list(devices),
        "quick": quick,
        "allow_busy": allow_busy,
    }
    if gpu_match:
        arguments["gpu_match"] = list(gpu_match)
    with _Progress(observer) as progress:
        if progress.path:
            arguments["progress_path"] = progress.path
        process = subprocess.Popen(
            [sys.executable, "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=progress.descriptors,
            env=_environment(),
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        progress.begin()
        try:
            written, said = process.communicate(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
        except KeyboardInterrupt:
            _end(process)
            raise Interrupted from None
        except BaseException:
            _end(process)
            raise
    return _result_of(written, said, process.returncode)


def unread_parts(result: Result) -> tuple[str, ...]:
    """Return what of the host could not be read, one sentence each; some of it takes root."""
    parts = []
    if any(pair.bandwidth.payload_assumed for pair in result.pairs):
        parts.append(
            "configuration space of PCIe devices (takes root): ceilings assume a payload of "
            "256 bytes, and whether ACS redirects is not known"
        )
    dark = sorted(
        {hop.bdf for pair in result.pairs for hop in pair.hops if None in (hop.gen, hop.width)}
    )
    if dark:
        parts.append("speed and width of the links of " + ", ".join(dark))
    unknown = sorted(bdf for bdf, kind in result.iommu_groups.items() if kind == "unknown")
    if unknown:
        parts.append("type of the IOMMU groups of " + ", ".join(unknown))
    if result.driver.build_id is None:
        parts.append("build-id of the running nvidia.ko")
    nameless = [gpu.index for gpu in result.gpus if gpu.bar1_bytes is None]
    if nameless:
        parts.append("size of BAR1 of GPU " + ", ".join(map(str, nameless)))
    return tuple(parts)


class _Progress:
    """A pipe that the module tells its progress through, if there is an observer."""

    def __init__(self, observer: Callable[[int, int], None] | None) -> None:
        self._observer = observer
        self._reader: int | None = None
        self._writer: int | None = None
        self._thread = threading.Thread(target=self._follow, name="progress", daemon=True)

    def __enter__(self) -> _Progress:
        if self._observer is not None:
            self._reader, self._writer = os.pipe()
        return self

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What the module inherits."""
        return () if self._writer is None else (self._writer,)

    @property
    def path(self) -> str:
        """The pipe as the module can open it; empty where nobody listens."""
        return "" if self._writer is None else f"/dev/fd/{self._writer}"

    def begin(self) -> None:
        """Listen, once the module has its end of the pipe."""
        if self._writer is not None:
            os.close(self._writer)
            self._writer = None
            self._thread.start()

    def _follow(self) -> None:
        if self._reader is None or self._observer is None:
            return
        with open(self._reader, encoding="ascii", errors="replace", closefd=False) as lines:
            for line in lines:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    told = json.loads(line)
                    self._observer(int(told["done"]), int(told["total"]))

    def __exit__(self, *_exception: object) -> None:
        if self._thread.ident is not None:
            # The pipe ends with the module; a process that it could not end may hold it longer.
            self._thread.join(_JOIN_SECONDS)
        for descriptor in (self._writer, self._reader):
            if descriptor is not None and not self._thread.is_alive():
                os.close(descriptor)


def _environment() -> dict[str, str]:
    """Return the module's environment: this interpreter's imports, and never the current folder's.

    ``python -m`` puts the current directory first, where a file of anybody's could stand in for a
    module of the standard library.
    """
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "PYTHONSAFEPATH": "1",
    }


def _result_of(written: str, said: str, status: int) -> Result:
    answer = _last_object(written)
    if answer is None:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        raise FleetError(
            "verification_died",
            read=f"p2p_verify ended with {status}: {' '.join(lines[-3:]) or 'no message'}",
            want="a result",
            remedy="run it again, and look at dmesg for NVRM and Xid lines",
        )
    if answer.get("failed"):
        error = answer.get("error")
        if isinstance(error, dict):
            code, *rest = (str(error.get(part, "")) for part in ("code", "read", "want", "remedy"))
            raise GpufleetError(code, read=rest[0], want=rest[1], remedy=rest[2])
        raise FleetError(
            "verification_failed",
            read=" ".join(str(answer.get("msg", "no message")).split()),
            want="a result",
            remedy="correct what the message names, then run again",
        )
    return Result.from_dict(answer.get("p2p"))


def _last_object(written: str) -> Mapping[str, Any] | None:
    """Return the JSON object in the last line that is one; libraries may print before it."""
    for line in reversed(written.splitlines()):
        try:
            loaded = json.loads(line)
        except ValueError:
            continue
        if isinstance(loaded, dict):
            return loaded
    return None


def _end(process: subprocess.Popen[str]) -> None:
    """Interrupt the module, which ends its measuring processes, and wait for it."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
