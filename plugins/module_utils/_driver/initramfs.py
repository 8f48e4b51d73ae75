# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The initial RAM disk's copy of the driver: a stale one is loaded before ours can be.

So is a rival such as nouveau, unless the file that keeps it off is in the image too.

An image needs attention only if it contains driver modules; then each must be the build that
depmod's order resolves to, and the options that the modules are loaded with must be there with
them: modprobe inside the image sees the image's modprobe.d alone. The tool is initramfs-tools
(Debian, Ubuntu, Proxmox); it writes IMAGE.new and renames it, so a hard link keeps the previous
image without the space for a copy.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._host.commands import run
from .._host.errors import GpufleetError
from .._host.files import atomic_write, read_bytes, remove, sha256_of, sync_directory
from .._host.state_file import read_state
from .elf import ModuleUnreadable, build_id_of, module_bytes
from .identity import installed_module
from .modprobe_options import OPTIONS_FILE
from .rivals import RIVALS, RIVALS_FILE

STATE_DIRECTORY = Path("/var/lib/gpufleet/driver")

_LIST_SECONDS = 300.0
_UPDATE_SECONDS = 1200.0
_DRIVER_MODULE = re.compile(r"(?:^|/)(nvidia(?:[-_](?:uvm|modeset|drm|peermem))?)\.ko(?:\.\w+)?$")
_RIVAL_MODULE = re.compile(
    rf"(?:^|/)({'|'.join(name.replace('_', '[-_]') for name in RIVALS)})\.ko(?:\.\w+)?$"
)


class InitramfsRefused(GpufleetError):
    """The image cannot be brought in line with the installed modules; it is as it was."""


@dataclass(frozen=True)
class Initramfs:
    """One kernel's image on a host; paths are the host's own."""

    kernel: str
    boot: Path = Path("/boot")
    state: Path = STATE_DIRECTORY
    root: Path = Path("/")

    @property
    def image(self) -> Path:
        """The image that the boot loader's default entry uses."""
        return self.boot / f"initrd.img-{self.kernel}"

    @property
    def previous(self) -> Path:
        """The image before our first refresh."""
        return self.boot / f"initrd.img-{self.kernel}.gpufleet-previous"

    @property
    def record(self) -> Path:
        """Checksums of the previous and of the refreshed image."""
        return self.state / f"initramfs-{self.kernel}.json"


def driver_paths(listing: str) -> tuple[str, ...]:
    """Return the driver modules' paths in the output of ``lsinitramfs``."""
    return tuple(line for line in listing.splitlines() if _DRIVER_MODULE.search(line))


def rival_paths(listing: str) -> tuple[str, ...]:
    """Return the paths of the driver's rivals in the output of ``lsinitramfs``."""
    return tuple(line for line in listing.splitlines() if _RIVAL_MODULE.search(line))


@dataclass(frozen=True)
class Contents:
    """What of the driver is inside an image.

    ``builds`` has name to build-id of its modules, None for a damaged one; ``options`` is our file
    of modprobe.d, None where it is not there or where there are no modules that it is for.
    ``has_rivals`` tells of nouveau or nova, and ``kept_off`` is the file that keeps them off.
    """

    builds: Mapping[str, str | None] = field(default_factory=dict)
    options: bytes | None = None
    has_rivals: bool = False
    kept_off: bytes | None = None


def contents(image: Path) -> Contents:
    """Return what of the driver is inside ``image``, unpacked only if it lists a driver or rival.

    Raises:
        CommandMissing, CommandFailed: initramfs-tools is missing or cannot read the image.
    """
    listing = run(["lsinitramfs", str(image)], timeout=_LIST_SECONDS).stdout
    has_rivals = bool(rival_paths(listing))
    if not driver_paths(listing) and not has_rivals:
        return Contents()
    with tempfile.TemporaryDirectory(prefix="gpufleet-") as directory:
        run(["unmkinitramfs", str(image), directory], timeout=_LIST_SECONDS)
        builds: dict[str, str | None] = {}
        for path in sorted(Path(directory).rglob("*.ko*")):
            match = _DRIVER_MODULE.search(path.as_posix())
            if match:
                builds[match.group(1).replace("_", "-")] = _build_id(path)
        return Contents(
            builds,
            _unpacked(directory, OPTIONS_FILE),
            has_rivals,
            _unpacked(directory, RIVALS_FILE),
        )


def _unpacked(directory: str, file: Path) -> bytes | None:
    # The image's root lies in "main" where microcode comes before it.
    path = next(Path(directory).rglob(file.name), None)
    return None if path is None else read_bytes(path)


def stale_parts(
    initramfs: Initramfs, image: Path | None = None, *, rivals_file: bytes | None = None
) -> tuple[str, ...]:
    """Return what in the image is not as on the host: driver modules by name, our files.

    An absent image has none: such a host boots without one.

    Args:
        image: another image than the host's own.
        rivals_file: what RIVALS_FILE is going to be; None: what it is.
    """
    image = image or initramfs.image
    if not image.is_file():
        return ()
    held = contents(image)
    stale = []
    for name, build_id in held.builds.items():
        wanted = installed_module(initramfs.root, initramfs.kernel, name)
        if wanted is None or wanted.build_id != build_id:
            stale.append(name)
    if held.builds and held.options != _on_host(initramfs, OPTIONS_FILE):
        stale.append(OPTIONS_FILE.name)
    if held.has_rivals and held.kept_off != (rivals_file or _on_host(initramfs, RIVALS_FILE)):
        stale.append(RIVALS_FILE.name)
    return tuple(stale)


def _on_host(initramfs: Initramfs, file: Path) -> bytes | None:
    return read_bytes(initramfs.root / str(file).lstrip("/"))


def refresh(initramfs: Initramfs) -> bool:
    """Bring the image in line with the installed modules and their options; tell if it was changed.

    The image before the first refresh is kept beside it. Afterwards the new one is read back.

    Raises:
        InitramfsRefused: too little space in /boot, or the new image is still stale; the previous
            image is back in place.
    """
    if not stale_parts(initramfs):
        return False
    require_space(initramfs)
    kept = _keep_previous(initramfs)
    _update(initramfs, kept)
    refreshed = {"previous": sha256_of(kept), "refreshed": sha256_of(initramfs.image)}
    atomic_write(initramfs.record, json.dumps(refreshed).encode())
    return True


def restore(initramfs: Initramfs) -> bool:
    """Undo refresh after the modules were removed; return whether the image was changed.

    The previous image's own bytes come back if nothing else rebuilt the image meanwhile and they
    fit the modules installed now; otherwise a new image is generated.

    Raises:
        InitramfsRefused: as refresh.
    """
    changed = True
    if _can_return(initramfs):
        initramfs.previous.replace(initramfs.image)
        sync_directory(initramfs.boot)
    elif stale_parts(initramfs):
        require_space(initramfs)
        _update(initramfs, _link(initramfs.image, initramfs.previous))
    else:
        changed = False
    remove(initramfs.previous)
    remove(initramfs.record)
    return changed


def _can_return(initramfs: Initramfs) -> bool:
    """Whether the image is still the one we generated, and the one before it fits what is left."""
    ours = _recorded(initramfs).get("refreshed")
    return (
        ours is not None
        and initramfs.image.is_file()
        and initramfs.previous.is_file()
        and sha256_of(initramfs.image) == ours
        and not stale_parts(initramfs, initramfs.previous)
    )


def _update(initramfs: Initramfs, previous: Path) -> None:
    words = ["update-initramfs", "-u", "-k", initramfs.kernel]
    result = run(words, check=False, timeout=_UPDATE_SECONDS)
    stale = stale_parts(initramfs)
    if result.rc == 0 and not stale:
        return
    _link(previous, initramfs.image)
    said = (result.stderr.strip() or result.stdout.strip()).splitlines()[-1:]
    raise InitramfsRefused(
        "initramfs_stale",
        read=f"update-initramfs returned {result.rc} {' '.join(said)}; "
        f"stale in {initramfs.image}: {', '.join(stale) or 'none'}",
        want="an image whose driver modules and their options are the installed ones",
        remedy="mend what update-initramfs names; the previous image is back in place",
    )


def _keep_previous(initramfs: Initramfs) -> Path:
    record = _recorded(initramfs)
    current = sha256_of(initramfs.image)
    if initramfs.previous.is_file() and record.get("refreshed") == current:
        # A second refresh of ours: the state before the first is the one to go back to.
        return initramfs.previous
    return _link(initramfs.image, initramfs.previous)


def _link(source: Path, target: Path) -> Path:
    """Make ``target`` the same file as ``source``, by rename; a copy where links are impossible."""
    temporary = target.with_name(target.name + ".tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        # vfat has no hard links.
        shutil.copy2(source, temporary)
    temporary.replace(target)
    # rename() of two links to one file does nothing and leaves both.
    temporary.unlink(missing_ok=True)
    sync_directory(target.parent)
    return target


def require_space(initramfs: Initramfs) -> None:
    """Refuse where /boot has no room for a new image beside the old one.

    Raises:
        InitramfsRefused: it has not; nothing was changed.
    """
    needed = initramfs.image.stat().st_size * 5 // 4
    free = shutil.disk_usage(initramfs.boot).free
    if free < needed:
        raise InitramfsRefused(
            "boot_space_low",
            read=f"{initramfs.boot}: {free >> 20} MiB free",
            want=f"{needed >> 20} MiB to write the new image beside the old one",
            remedy="remove kernels that are no longer used, then run again",
        )


def _recorded(initramfs: Initramfs) -> dict[str, str]:
    found = read_state(
        initramfs.record,
        parse_record,
        want="checksums of the image before and after it was refreshed",
        remedy="remove that file; the image is then generated anew instead of getting its former"
        " bytes",
    )
    return found or {}


def parse_record(fields: Any) -> dict[str, str]:
    """Return the checksums of the previous and of the refreshed image in a file's JSON.

    Raises:
        ValueError, KeyError, TypeError: it has none.
    """
    sums = {name: fields[name] for name in ("previous", "refreshed")}
    if not all(isinstance(value, str) for value in sums.values()):
        raise ValueError("no checksums")
    return sums


def _build_id(path: Path) -> str | None:
    try:
        return build_id_of(module_bytes(path), str(path))
    except ModuleUnreadable:
        return None
