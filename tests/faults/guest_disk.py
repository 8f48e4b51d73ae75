# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's root partition, mounted: to work in by chroot at full speed, or to look at.

The disk is the guest's own, with its kernel, GRUB, DKMS and initramfs-tools; what runs in it is
what would run there. The processor and the kernel are this machine's, so nothing is loaded.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import run
from support.driver_hosts import Host, make_devices

#: Where the lab's disks for a BIOS have their root partition.
ROOT_START = 1 << 20
#: A file system of memory in the run's own namespace, and the same in every guest's root.
NODES = Path("/mnt")
_DYING_SECONDS = 0.05
_TRIES = 100


@contextlib.contextmanager
def loop_device(disk: Path) -> Iterator[str]:
    """Give a loop device of a disk's root partition."""
    words = ["losetup", "--find", "--show", "--offset", str(ROOT_START), str(disk)]
    device = run(words).stdout.strip()
    try:
        yield device
    finally:
        run(["losetup", "--detach", device])


@contextlib.contextmanager
def mounted(device: str, point: Path, options: str) -> Iterator[Path]:
    """Mount a device at a directory, which is made, for as long as the block runs."""
    point.mkdir(parents=True, exist_ok=True)
    run(["mount", "-t", "ext4", "-o", options, device, str(point)])
    try:
        yield point
    finally:
        _unmount(point)


def _unmount(point: Path) -> None:
    """Unmount a directory and what lies below it, as soon as nothing is busy there any more."""
    for _ in range(_TRIES):
        if run(["umount", "--recursive", str(point)], check=False).rc == 0:
            return
        time.sleep(_DYING_SECONDS)
    run(["umount", "--recursive", str(point)])


@contextlib.contextmanager
def entered(disk: Path, point: Path, cmdline: str = "") -> Iterator[Host]:
    """Mount a disk's root partition and give the host in it; unmounted, all of it is on the disk.

    grub-probe has to find the device by the name that it is mounted by, and grub-mkconfig takes
    no loop device for the root: the node has another name, inside as outside.

    Args:
        disk: raw image, or the file that a logged disk is seen at.
        point: a directory to mount it at.
        cmdline: what /proc/cmdline is to say; a boot has an id of its own, too.
    """
    node = NODES / point.name
    with loop_device(disk) as device, contextlib.ExitStack() as mounts:
        os.mknod(node, stat.S_IFBLK | 0o600, Path(device).stat().st_rdev)
        mounts.callback(node.unlink)
        root = mounts.enter_context(mounted(str(node), point, "commit=1"))
        # What outlives a fault keeps the file system busy.
        mounts.callback(_end_all_in, root)
        run(["mount", "--bind", str(NODES), str(root / str(NODES).lstrip("/"))])
        run(["mount", "-t", "proc", "proc", str(root / "proc")])
        run(["mount", "-t", "sysfs", "-o", "ro", "sysfs", str(root / "sys")])
        run(["mount", "-t", "tmpfs", "-o", "mode=0755,size=1m", "tmpfs", str(root / "dev")])
        run(["mount", "-t", "tmpfs", "tmpfs", str(root / "run")])
        run(["mount", "-t", "tmpfs", "tmpfs", str(root / "tmp")])
        make_devices(root / "dev")
        by_uuid = root / "dev/disk/by-uuid"
        by_uuid.mkdir(parents=True)
        uuid = run(["blkid", "--probe", "-o", "value", "-s", "UUID", device]).stdout.strip()
        (by_uuid / uuid).symlink_to(node)
        facts = root / "run/faults"
        facts.mkdir()
        (facts / "cmdline").write_text(f"{cmdline}\n")
        (facts / "boot_id").write_text(f"{os.urandom(4).hex()}-0000-4000-8000-000000000000\n")
        for name, place in (("cmdline", "cmdline"), ("boot_id", "sys/kernel/random/boot_id")):
            run(["mount", "--bind", str(facts / name), str(root / "proc" / place)])
        yield Host(root, kernel_of(root))


def kill_all_in(root: Path) -> bool:
    """Kill every process that runs in a chroot; return whether there was any."""
    found = False
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "root").readlink() == root:
                    found = True
                    os.kill(int(entry.name), signal.SIGKILL)
    return found


def _end_all_in(root: Path) -> None:
    while kill_all_in(root):
        time.sleep(_DYING_SECONDS)


def kernel_of(root: Path) -> str:
    """Return the release of the guest's one kernel."""
    (image,) = (root / "boot").glob("vmlinuz-*")
    return image.name.removeprefix("vmlinuz-")
