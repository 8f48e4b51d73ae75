# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of the host that strike a step: no room, no writing, processes killed, builds damaged.

What fails then may fail; what counts is what the disk boots afterwards.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import run
from support.driver_hosts import ARCHIVE, Host

from .fault import (
    REAL,
    STRUCK,
    Fault,
    NothingStruck,
    attempt,
    beside,
    generating,
    installing,
    stub,
)
from .guest_disk import NODES, kill_all_in
from .subjects import OTHER_ARCHIVE, Step

_KEEP_BACK = "/var/tmp/gpufleet-filler"


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
        # A guest writes its ssh keys at its first start, which a host has long had.
        host.path(_KEEP_BACK).unlink()

    return Fault("disk_full_root", f"{left} bytes left", strike)


def full_directory(kind: str, place: str, left: int) -> Fault:
    """A directory that is a file system of its own has so many bytes left."""
    return _of_its_own(kind, place, f"{left} bytes left", lambda at: _use_up_bytes(at, left))


def no_inodes(place: str, left: int) -> Fault:
    """A directory that is a file system of its own has room, but for so many new files only."""
    return _of_its_own(
        "inodes_used_up", place, f"{left} inodes left", lambda at: _use_up_inodes(at, left)
    )


def _of_its_own(kind: str, place: str, words: str, fill: Callable[[Path], None]) -> Fault:
    """A directory is a file system of its own, which ``fill`` fills below ``filler``."""

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
            filler = directory / "filler"
            filler.mkdir()
            fill(filler)
            attempt(host, step, notes)
            shutil.rmtree(filler)
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

    return Fault(kind, f"{place}, {words}", strike)


def _use_up_bytes(filler: Path, left: int) -> None:
    with (filler / "bytes").open("wb", buffering=0) as stream:
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


def _use_up_inodes(filler: Path, left: int) -> None:
    made: list[Path] = []
    with contextlib.suppress(OSError):
        while True:
            path = filler / str(len(made))
            path.touch()
            made.append(path)
    for path in made[len(made) - left :]:
        path.unlink()


def killed(seed: int) -> Fault:
    """All that runs on the host is killed at a moment drawn from the time that the step takes."""

    def strike(host: Host, step: Step, notes: dict[str, Any]) -> None:
        kill_within(host, step, notes, seed)

    return Fault("process_killed", f"seed {seed}", strike)


def kill_within(host: Host, step: Step, notes: dict[str, Any], seed: int) -> None:
    """Begin a step, and kill all that runs on the host at a moment drawn from the time it takes.

    Raises:
        NothingStruck: the step had ended by then.
    """
    share = random.Random(f"{seed} {step.name}").random()
    moment = share * float(notes.get("seconds", {}).get(step.name, 1.0))
    thread = beside(host, step, notes)
    thread.start()
    time.sleep(moment)
    if not thread.is_alive():
        raise NothingStruck(f"the step took less than {moment:.2f} s this time")
    while thread.is_alive():
        kill_all_in(host.root)
        thread.join(timeout=0.01)


def read_only(seconds: float) -> Fault:
    """The root file system turns read-only, as ext4 does after an error of the disk."""

    def strike(host: Host, step: Step, notes: dict[str, Any]) -> None:
        thread = beside(host, step, notes)
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

    return Fault("build_cut_short", f"to {share:.0%}", strike, installing)


# A copy that has done what it is to do to the module that the words name.
_COPIES_FAIL = """case "$*" in *{module}.ko*) : > {struck}; exit 1;; esac
exec {real}/{tool} "$@"
"""
_COPIES_CUT = """{real}/{tool} "$@" || exit
target="${{@: -1}}"; [ -d "$target" ] && target="$target/{module}.ko"
case "$target" in *{module}.ko) : > {struck}; : > "$target" ;; esac
"""


def host_faults() -> Iterator[Fault]:
    """Yield every fault of this file."""
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
            words = {"module": module, "tool": tool, "real": REAL, "struck": STRUCK}
            name = f"{tool} of {module}"
            for kind, script in (("copy_fails", _COPIES_FAIL), ("copy_cut_short", _COPIES_CUT)):
                yield stub(kind, name, tool, script.format(**words), installing)
    for variant, end in (("exit 1", "exit 1"), ("killed", "kill -KILL $$")):
        yield stub("depmod_fails", variant, "depmod", f": > {STRUCK}\n{end}")
    for tool in ("grub-mkconfig", "grub-probe", "grub-mkrelpath", "sed", "cat"):
        script = f": > {STRUCK}\nkill -KILL $$"
        yield stub("generator_fails", f"{tool} killed", tool, script, generating)
    for left in (0, 1, 2):
        for place in ("/boot", "/var/lib"):
            yield no_inodes(place, left)
