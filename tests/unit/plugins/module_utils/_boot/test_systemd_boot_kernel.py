# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holding a host with systemd-boot to a kernel, and letting it go."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import (
    BootConfigurationRefused,
    apply_in_order,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.systemd_boot_kernel import (
    SystemdBootKernel,
)
from support.systemd_boot_host import LOADER_CONF, MACHINE_ID, RELEASES, SystemdBootHost

OLD, NEW = RELEASES


@pytest.fixture
def host(tmp_path: Path) -> SystemdBootHost:
    return SystemdBootHost(tmp_path)


@pytest.fixture
def default(host: SystemdBootHost) -> SystemdBootKernel:
    return SystemdBootKernel(host.loader())


@pytest.mark.parametrize("conf", ["", "timeout 3", f"timeout 3\ndefault {MACHINE_ID}-*\n"])
def test_pinned_and_released_again_leaves_the_original_bytes(
    host: SystemdBootHost, default: SystemdBootKernel, conf: str
) -> None:
    host.write(LOADER_CONF, conf)
    assert (default.present(), default.unpinned(), default.pinned()) == (NEW, NEW, False)
    apply_in_order(default.steps_to_pin(OLD))
    assert (default.present(), default.unpinned(), default.pinned()) == (OLD, NEW, True)
    assert default.steps_to_pin(OLD) == []
    host.reboot()
    assert host.variable("LoaderEntrySelected") == f"{MACHINE_ID}-{OLD}.conf"
    apply_in_order(default.steps_to_unpin())
    assert host.read(LOADER_CONF) == conf
    assert default.steps_to_unpin() == []
    assert default.present() == NEW


def test_the_pin_moves_with_the_choice(host: SystemdBootHost, default: SystemdBootKernel) -> None:
    conf = host.read(LOADER_CONF)
    apply_in_order(default.steps_to_pin(OLD))
    apply_in_order(default.steps_to_pin(NEW))
    assert default.present() == NEW
    apply_in_order(default.steps_to_unpin())
    assert host.read(LOADER_CONF) == conf


def test_a_kernel_without_an_entry_is_refused(default: SystemdBootKernel) -> None:
    with pytest.raises(BootConfigurationRefused) as refusal:
        default.steps_to_pin("6.1.0-1-amd64")
    assert refusal.value.code == "kernel_without_entry"


def test_a_default_in_the_firmwares_variables_is_somebody_elses(
    host: SystemdBootHost, default: SystemdBootKernel
) -> None:
    host.set_variable("LoaderEntryDefault", f"{MACHINE_ID}-{NEW}.conf")
    with pytest.raises(BootConfigurationRefused) as refusal:
        default.steps_to_pin(OLD)
    assert refusal.value.code == "kernel_default_taken"
