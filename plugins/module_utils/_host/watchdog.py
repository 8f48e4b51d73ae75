# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's watchdog, which resets a machine that hangs, and whether systemd can be told of it.

What it covers: from where systemd of the installed system has opened the device, a kernel that
hangs and a systemd that does. What it does not: the boot loader, the kernel before that and the
initramfs (no driver has been loaded and nothing has opened the device), and services that hang
while systemd goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .files import read_bytes, read_text

#: Seconds after which a system that hangs is reset; systemd answers the device twice in that time.
TIMEOUT_SECONDS = 60
#: The kernel parameter by which systemd takes a timeout for one boot (systemd(1)).
PARAMETER = "systemd.watchdog_sec"

# systemd opens the first one. CONFIG_WATCHDOG_SYSFS shows the files in it.
_DEVICE = Path("sys/class/watchdog/watchdog0")
_MANAGERS = (Path("usr/lib/systemd/systemd"), Path("lib/systemd/systemd"))


@dataclass(frozen=True)
class Watchdog:
    """A watchdog as the running system shows it.

    Attributes:
        identity: the driver's name for it, such as "iTCO_wdt"; "unknown" where it tells none.
        active: whether a program answers it now, which the same configuration will do in any boot.
        settable: whether this systemd knows PARAMETER: its own program has that word in it.
    """

    identity: str
    active: bool
    settable: bool

    @property
    def trial_seconds(self) -> int:
        """Seconds to give systemd for a trial boot; 0 to leave the watchdog as it is."""
        return TIMEOUT_SECONDS if self.settable and not self.active else 0

    @property
    def in_words(self) -> str:
        """What it does in a trial boot."""
        if self.active:
            return f"watchdog {self.identity} is in use and resets a hang"
        if self.settable:
            return (
                f"watchdog {self.identity} resets a kernel or systemd that hangs for"
                f" {TIMEOUT_SECONDS} s, from systemd's start on"
            )
        return f"watchdog {self.identity} is not used: this systemd takes no {PARAMETER}"


def read_watchdog(root: Path = Path("/")) -> Watchdog | None:
    """Return the host's first watchdog, None where no driver has one."""
    if not (root / _DEVICE).exists():
        return None
    programs = (read_bytes(root / path) or b"" for path in _MANAGERS)
    return Watchdog(
        identity=(read_text(root / _DEVICE / "identity") or "").strip() or "unknown",
        active=(read_text(root / _DEVICE / "state") or "").strip() == "active",
        settable=any(PARAMETER.encode() in program for program in programs),
    )
