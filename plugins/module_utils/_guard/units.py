# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd units of the guard: a look at boot, then at an interval, with few rights."""

from __future__ import annotations

from .places import MOTD, PROGRAM, STATE_DIRECTORY, Settings

SERVICE = "gpufleet-guard.service"
TIMER = "gpufleet-guard.timer"

# The quick check opens the GPUs, and NVIDIA's library may have to load nvidia-uvm and make its
# device file first. Extended configuration space takes CAP_SYS_ADMIN, /proc/PID/fd of others
# CAP_SYS_PTRACE, and the files of other users CAP_DAC_READ_SEARCH.
_CAPABILITIES = ("CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_KILL", "CAP_SYS_PTRACE")
_CAPABILITIES_OF_QUICK_CHECK = ("CAP_MKNOD", "CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_CHOWN")


def service_text(settings: Settings) -> str:
    """Return the service's unit file.

    No MemoryDenyWriteExecute (CUDA compiles), no PrivateDevices and no ProtectClock (both close
    /dev/nvidia*), no ProtectKernelModules (it hides /lib/modules, which is compared).
    """
    capabilities = _CAPABILITIES + (_CAPABILITIES_OF_QUICK_CHECK if settings.quick_check else ())
    return f"""\
# Written by gpufleet.
[Unit]
Description=Compare the GPUs' peer-to-peer path with its last good verification
Documentation=man:journalctl(1)
After=systemd-modules-load.service nvidia-persistenced.service
ConditionPathExists={PROGRAM}

[Service]
Type=oneshot
ExecStartPre=+/bin/mkdir -p {MOTD.parent}
ExecStart={PROGRAM} check
TimeoutStartSec=15min
Nice=10
IOSchedulingClass=idle
UMask=0022
ProtectSystem=strict
StateDirectory={STATE_DIRECTORY.name}
ReadWritePaths=-{MOTD.parent} -{settings.metrics_directory}
ProtectHome=yes
PrivateTmp=yes
NoNewPrivileges=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
CapabilityBoundingSet={" ".join(capabilities)}
"""


def timer_text(interval_minutes: int) -> str:
    """Return the timer's unit file."""
    return f"""\
# Written by gpufleet.
[Unit]
Description=Look at the GPUs' peer-to-peer path at boot and every {interval_minutes} minutes

[Timer]
OnBootSec=2min
OnUnitActiveSec={interval_minutes}min
RandomizedDelaySec=1min

[Install]
WantedBy=timers.target
"""
