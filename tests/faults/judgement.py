# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a host with this disk at its next power cycle, told without booting it.

In the order of a boot: GRUB reads the disk without replaying the journal; the initramfs lets
e2fsck repair the root file system; init and the network's driver have to be whole; modprobe loads
the driver. Every tool that reads is the real one, but nothing runs: a record says so.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import (
    CommandFailed,
    CommandTimedOut,
    run,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import sha256_of

from .boot_choice import Choice, NotBooting, choose
from .boot_view import DIRECTORY, PARTITION, grub
from .guest_disk import kernel_of, loop_device, mounted
from .tracing import MODULES, Known

# What GRUB loads before it can read its configuration.
_GRUB_FILES = ("i386-pc/normal.mod", "i386-pc/linux.mod", "i386-pc/ext2.mod")
# e2fsck(8): 1 is repaired, 2 is repaired and restart; Debian's initramfs goes on with both.
_REPAIRED = 3
_REPAIR_SECONDS = 300.0
# What has to load besides the driver for a login to work: the guests' network.
_NETWORK = "virtio_net"
# What the guests' initramfs needs to come to the root file system, names without suffixes.
_IN_INITRAMFS = ("init", "virtio_blk", "ext4")
_NEEDED = ("sbin/init", "usr/sbin/sshd", "etc/passwd", "etc/shadow", "etc/fstab", "bin/sh")


class Lost(Exception):
    """The host does not come back; the text says where the boot ends."""


@dataclass(frozen=True)
class Judgement:
    """Whether a login would work, with which driver, and what was seen on the way."""

    reached: bool
    driver: str
    detail: str
    entry: str = ""


def judge(disk: Path, point: Path, known: Known) -> Judgement:
    """Return what becomes of a host with this raw disk, which e2fsck may change."""
    entry = ""
    try:
        choice, unknown = grub_boots(disk, known)
        entry = choice.identity
        with loop_device(disk) as device:
            repaired = _repair(device)
            with mounted(device, point, "ro") as root:
                if unknown:
                    require_initramfs(root, *unknown)
                _userspace(root)
                driver, seen = _driver(root, known)
    except (NotBooting, Lost) as lost:
        return Judgement(False, "", str(lost), entry)
    return Judgement(True, driver, "; ".join(word for word in (repaired, seen) if word), entry)


def grub_boots(disk: Path, known: Known) -> tuple[Choice, tuple[str, str] | None]:
    """Return the entry that GRUB boots from a disk, all of whose files it reads whole.

    With it an initramfs that no whole state had, as a program makes it that is none of the
    subject's: its path, and the CRC-32 of what GRUB reads.

    Raises:
        NotBooting: it does not.
        Lost: it loads something that is damaged.
    """
    for name in _GRUB_FILES:
        if grub(disk, "crc", f"{PARTITION}{DIRECTORY}/{name}") is None:
            raise Lost(f"GRUB cannot read its {name}")
    config, custom, block = (
        grub(disk, "cat", f"{PARTITION}{DIRECTORY}/{name}")
        for name in ("grub.cfg", "custom.cfg", "grubenv")
    )
    choice = choose(config, custom, block)
    unknown = None
    for path in (choice.linux, choice.initrd):
        if path is None:
            continue
        # What was generated for a /boot of its own names its files from there.
        place = path if path.startswith("/boot/") else f"/boot{path}"
        crc = grub(disk, "crc", PARTITION + place)
        if crc in known.boot.get(place, ()):
            continue
        if crc is None or path != choice.initrd:
            raise Lost(f"GRUB reads {path} damaged or not at all")
        unknown = place, crc
    if choice.root != known.root:
        raise Lost(f"the kernel is given root={choice.root}")
    return choice, unknown


def require_initramfs(root: Path, place: str, crc: str) -> None:
    """Raise Lost unless GRUB reads a whole initramfs at this place, by the guest's own tool."""
    content = (root / place.lstrip("/")).read_bytes()
    if f"{zlib.crc32(content):08x}" != crc:
        raise Lost(f"GRUB reads another {place} than the kernel will")
    listed = run(["chroot", str(root), "lsinitramfs", place], check=False)
    names = {Path(name).name.partition(".")[0] for name in listed.stdout.splitlines()}
    missing = sorted(set(_IN_INITRAMFS) - names)
    if listed.rc or missing:
        raise Lost(f"{place} is damaged: lsinitramfs returned {listed.rc}, without {missing}")


def _repair(device: str) -> str:
    try:
        # Not the image with an offset: e2fsck forgets that once it has replayed the journal.
        result = run(["e2fsck", "-p", device], check=False, timeout=_REPAIR_SECONDS)
    except CommandTimedOut as error:
        raise Lost("e2fsck does not end") from error
    if result.rc > _REPAIRED:
        raise Lost("e2fsck asks for a hand: " + " ".join(result.stdout.split())[:200])
    return "e2fsck repaired" if result.rc else ""


def _userspace(root: Path) -> None:
    for name in _NEEDED:
        path = (root / name).resolve() if not (root / name).is_symlink() else root / name
        if not (path.is_symlink() or (path.is_file() and path.stat().st_size)):
            raise Lost(f"/{name} is empty or gone")
    if not resolved(root, _NETWORK):
        raise Lost(f"modprobe finds no {_NETWORK}: no network")


def _driver(root: Path, known: Known) -> tuple[str, str]:
    found, wrong = {}, []
    for name in MODULES:
        path = resolved(root, name)
        is_there = path is not None and path.is_file()
        found[name] = sha256_of(path) if path is not None and is_there else ""
        if all(found[name] != driver[name] for driver in known.drivers):
            size = path.stat().st_size if path is not None and is_there else "no such file"
            wrong.append(f"{name}: {path and path.relative_to(root)}: {size}")
    return compared(found, known), "; ".join(wrong)


def compared(found: Mapping[str, str], known: Known) -> str:
    """Return which driver the modules with these checksums are: old, new, mixed or none."""
    for number, whole in enumerate(known.drivers):
        if found == whole:
            return "new" if number else "old"
    files = {name: {driver[name] for driver in known.drivers} for name in MODULES}
    return "mixed" if all(found[name] in files[name] for name in MODULES) else "none"


def resolved(root: Path, module: str) -> Path | None:
    """Return the file that modprobe would load a module from, by the guest's own index."""
    words = ["modprobe", "--dirname", str(root), "--set-version", kernel_of(root)]
    try:
        shown = run([*words, "--show-depends", module]).stdout
    except CommandFailed:
        return None
    lines = [line.split() for line in shown.splitlines() if line.startswith("insmod ")]
    return Path(lines[-1][1]) if lines else None
