# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab needs of the machine that it runs on, told at once and with the apt line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError

# Debian's and Ubuntu's package of each command.
COMMANDS: dict[str, str] = {
    "mmdebstrap": "mmdebstrap",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mkfs.ext4": "e2fsprogs",
    "sfdisk": "fdisk",
    "mount": "mount",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}


class RequirementMissing(GpufleetError):
    """The lab cannot run here until something is installed or allowed."""


def check_requirements(
    which: Callable[[str], str | None] = shutil.which, user: int | None = None
) -> None:
    """Raise the one error that names everything this machine lacks.

    Args:
        which: finds a command on PATH.
        user: the user id that runs the lab; this process's own unless given.

    Raises:
        RequirementMissing: commands are not installed, or the user is not root.
    """
    missing = [command for command in COMMANDS if which(command) is None]
    if missing:
        packages = sorted({COMMANDS[command] for command in missing})
        raise RequirementMissing(
            "lab_commands_missing",
            read=f"not found on PATH: {', '.join(missing)}",
            want="the tools that build and run the lab's virtual machines",
            remedy=f"apt-get install --no-install-recommends {' '.join(packages)}",
        )
    check_root(user)


def check_root(user: int | None = None) -> None:
    """Raise unless this runs as root.

    Raises:
        RequirementMissing: with the reasons that root is needed for.
    """
    identity = os.geteuid() if user is None else user
    if identity != 0:
        raise RequirementMissing(
            "lab_needs_root",
            read=f"user id {identity}",
            want=(
                "root: the image's files belong to root and are installed by dpkg in a chroot, "
                "the disk is mounted to install the simulated driver, and the build host is a "
                "chroot with mounts of its own"
            ),
            remedy="run the same command as root, for example with sudo",
        )
