# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults that strike a step while it runs, on the guest's own disk and by its own tools.

Each is injected into every step of every subject, on a copy of the disk as the steps before left
it. What fails then may fail; what counts is what the disk boots afterwards.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import run
from support.driver_hosts import ARCHIVE, Host

from .guest_disk import NODES, kill_all_in
from .subjects import OTHER_ARCHIVE, Step

Act = Callable[[Host], None]
_KEEP_BACK = "/var/tmp/gpufleet-filler"


@dataclass(frozen=True)
class Fault:
    """A kind of fault, and one way to inject it.

    Attributes:
        kind: as the record calls it.
        variant: what tells it from others of the kind, such as the bytes left on a full disk.
        strike: runs the step on the host under the fault.
    """

    kind: str
    variant: str
    strike: Callable[[Host, Step, dict[str, Any]], None]


def attempt(host: Host, step: Step, notes: dict[str, Any]) -> None:
    """Do a step that may fail, as it does under a fault."""
    with contextlib.suppress(Exception):
        step.act(host, dict(notes))


def full_root(left: int) -> Fault:
    """The root file system has so many bytes left, those reserved for root included."""

    def strike(host: Host, step: Step, notes: dict[str, Any]) -> None:
        with host.path(_KEEP_BACK).open("wb", buffering=0) as stream:
            size = 1 << 26
            while size >= 4096:
                try:
                    os.posix_fallocate(stream.fileno(), stream.seek(0, 2), size)
                except OSError:
                    size //= 2
            held = stream.seek(0, 2)
            stream.truncate(max(0, held - left))
        attempt(host, step, notes)

    return Fault("disk_full_root", f"{left} bytes left", strike)


def full_directory(kind: str, place: str, left: int) -> Fault:
    """A directory that is a file system of its own has so many bytes left."""

    def strike(host: Host, step: Step, notes: dict[str, Any]) -> None:
        directory = host.path(place)
        made = not directory.exists()
        directory.mkdir(parents=True, exist_ok=True)
        name = f"{host.root.name}{place.replace('/', '-')}"
        image, node = host.root.with_name(f"{name}.img"), NODES / name
        held = int(run(["du", "-sB1", str(directory)]).stdout.split()[0])
        with image.open("wb") as stream:
            stream.truncate(held * 5 // 4 + (64 << 20))
        run(["mkfs.ext4", "-q", "-F", "-m", "0", "-d", str(directory), str(image)], timeout=300)
        device = run(["losetup", "--find", "--show", str(image)]).stdout.strip()
        os.mknod(node, 0o60600, Path(device).stat().st_rdev)
        uuid = run(["blkid", "--probe", "-o", "value", "-s", "UUID", device]).stdout.strip()
        (host.root / "dev/disk/by-uuid" / uuid).symlink_to(node)
        run(["mount", "-t", "ext4", str(node), str(directory)])
        try:
            _fill(directory, left)
            attempt(host, step, notes)
            (directory / "filler").unlink()
            after = host.root.with_name(f"{name}.after")
            run(["cp", "-a", str(directory), str(after)], timeout=600)
        finally:
            run(["umount", str(directory)])
            run(["losetup", "--detach", device])
            node.unlink()
            image.unlink()
        # What became of it is put back to where the judgement looks for it.
        shutil.rmtree(directory)
        run(["cp", "-a", str(after), str(directory)], timeout=600)
        shutil.rmtree(after)
        shutil.rmtree(directory / "lost+found", ignore_errors=True)
        if made and not any(directory.iterdir()):
            directory.rmdir()

    return Fault(kind, f"{place}, {left} bytes left", strike)


def _fill(directory: Path, left: int) -> None:
    with (directory / "filler").open("wb", buffering=0) as stream:
        block = bytes(1 << 16)
        with contextlib.suppress(OSError):
            while True:
                stream.write(block)
        with contextlib.suppress(OSError):
            while True:
                stream.write(block[:4096])
        size = stream.seek(0, 2)
        stream.truncate(max(0, size - left))
        os.fsync(stream.fileno())


def killed(seed: int) -> Fault:
    """All that runs on the host is killed at a moment drawn from the time that the step takes."""

    def strike(host: Host, step: Step, notes: dict[str, Any]) -> None:
        share = random.Random(f"{seed} {step.name}").random()
        moment = share * float(notes.get("seconds", {}).get(step.name, 1.0))
        thread = threading.Thread(target=attempt, args=(host, step, notes), daemon=True)
        thread.start()
        time.sleep(moment)
        while thread.is_alive():
            kill_all_in(host.root)
            thread.join(timeout=0.01)

    return Fault("process_killed", f"seed {seed}", strike)


def stub(kind: str, variant: str, tool: str, script: str) -> Fault:
    """A tool is replaced by a script while the step runs; the real one is /srv/real/TOOL."""

    def strike(host: Host, step: Step, notes: dict[str, Any]) -> None:
        real = host.path("/srv/real") / tool
        real.parent.mkdir(exist_ok=True)
        found = host.run("sh", "-c", f"command -v {tool}", check=False).strip()
        if not found:
            attempt(host, step, notes)
            return
        shutil.copy2(host.path(found).resolve(), real)
        path = host.path("/usr/local/sbin") / tool
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)
        attempt(host, step, notes)
        path.unlink()

    return Fault(kind, variant, strike)


def read_only(seconds: float) -> Fault:
    """The root file system turns read-only, as ext4 does after an error of the disk."""

    def strike(host: Host, step: Step, notes: dict[str, Any]) -> None:
        thread = threading.Thread(target=attempt, args=(host, step, notes), daemon=True)
        if seconds:
            thread.start()
            time.sleep(seconds)
        # What is open for writing hinders a remount, but not the kernel when it aborts.
        words = ["mount", "-o", "remount,ro,abort", str(host.root)]
        subprocess.run(words, check=False, capture_output=True)
        if not seconds:
            thread.start()
        thread.join()

    return Fault("read_only_root", f"after {seconds} s", strike)


def two_at_once(delay: float) -> Fault:
    """Two controllers do the same step to one host, one a little later."""

    def strike(host: Host, step: Step, notes: dict[str, Any]) -> None:
        first = threading.Thread(target=attempt, args=(host, step, notes))
        first.start()
        time.sleep(delay)
        attempt(host, step, notes)
        first.join()

    return Fault("two_controllers", f"{delay} s apart", strike)


def damaged_archive(share: float) -> Fault:
    """The build that was copied to the host is cut short."""

    def strike(host: Host, step: Step, notes: dict[str, Any]) -> None:
        for archive in (ARCHIVE, OTHER_ARCHIVE):
            path = host.path(archive)
            with path.open("r+b") as stream:
                stream.truncate(int(path.stat().st_size * share))
        for module in host.path("/srv").glob("fork*/kernel-open/nvidia-uvm.ko"):
            with module.open("r+b") as stream:
                stream.truncate(int(module.stat().st_size * share))
        attempt(host, step, notes)

    return Fault("build_cut_short", f"to {share:.0%}", strike)


_COPIES_FAIL = """case "$*" in *{module}.ko*) exit 1;; esac
exec /srv/real/{tool} "$@"
"""
_COPIES_CUT = """/srv/real/{tool} "$@" || exit
target="${{@: -1}}"; [ -d "$target" ] && target="$target/{module}.ko"
case "$target" in *{module}.ko) : > "$target" ;; esac
"""


def catalogue() -> Iterator[Fault]:
    """Yield every fault that is injected into a step: one of each kind, then another of each."""
    kinds: dict[str, list[Fault]] = {}
    for fault in _all_faults():
        kinds.setdefault(fault.kind, []).append(fault)
    for round_ in itertools.zip_longest(*kinds.values()):
        yield from (fault for fault in round_ if fault is not None)


def _all_faults() -> Iterator[Fault]:
    rooms = (0, 8_192, 12_288, 24_576, 65_536, 2_097_152)
    for number, left in enumerate(rooms):
        yield full_root(left)
        yield full_directory("disk_full_boot", "/boot", left)
        yield full_directory("disk_full_var", "/var/lib", left)
        yield killed(2 * number)
        yield killed(2 * number + 1)
        yield read_only(0.2 * number)
        yield two_at_once(0.1 * number)
    for share in (0.0, 0.5, 0.9):
        yield damaged_archive(share)
    for module in ("nvidia", "nvidia-modeset", "nvidia-drm"):
        for tool in ("cp", "install"):
            words = {"module": module, "tool": tool}
            yield stub("copy_fails", f"{tool} of {module}", tool, _COPIES_FAIL.format(**words))
            yield stub("copy_cut_short", f"{tool} of {module}", tool, _COPIES_CUT.format(**words))
    yield stub("depmod_fails", "exit 1", "depmod", "exit 1")
    yield stub("depmod_fails", "killed", "depmod", "kill -KILL $$")
    for tool in ("grub-mkconfig", "grub-probe", "grub-mkrelpath", "sed", "cat"):
        yield stub("generator_fails", f"{tool} killed", tool, "kill -KILL $$")
