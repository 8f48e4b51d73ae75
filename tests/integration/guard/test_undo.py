# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything site.yml puts on a host, taken off in rollback.yml's order: the tree as before."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import yaml
from support.driver_hosts import INSTALL, REPOSITORY, VERSION, Host, give_archive
from support.guarded_hosts import GUARD, NewHost

TREES = ("etc", "boot", "lib/modules", "usr/src", "usr/lib/gpufleet", "var/lib", "run")
#: apt's and dpkg's own caches and backups are rewritten by any of their commands.
NOT_OURS = ("var/lib/dpkg/status-old", "var/lib/apt/", "var/lib/dpkg/lock")
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
PARAMETERS = ["iommu=pt"]
KEYS = {"RMForceP2PType": "bar1"}
#: What p2p_plan asks.
PARTS = {"kernel_parameters", "libraries", "registry_keys", "running_driver", "guard"}
#: What rollback calls, beside what it reads.
UNDOING = [
    "dkms_module",
    "driver_registry",
    "driver_trial",
    "driver_userspace",
    "kernel_cmdline",
    "p2p_guard",
]
#: The state in which a module leaves nothing, where it is not "absent".
GONE = {"driver_trial": "ended", "driver_userspace": "released"}


def tree(host: Host) -> dict[str, Any]:
    return {
        name: entry for name, entry in host.tree(*TREES).items() if not name.startswith(NOT_OURS)
    }


def begin_trial(host: Host) -> dict[str, Any]:
    """Put the driver on trial, which is done only where systemd starts the host.

    What says so is there meanwhile alone: other modules would call systemctl, which is missing.
    """
    booted = Path(host.path("/run/systemd/system"))
    booted.mkdir(parents=True)
    try:
        return host.module("driver_trial", state="begun", version=VERSION, kernel=host.kernel)
    finally:
        booted.rmdir()
        booted.parent.rmdir()


def put_on(host: Host) -> list[dict[str, Any]]:
    """Apply what changes files on a host, in the order of site.yml."""
    return [
        host.module("driver_userspace", version=VERSION),
        begin_trial(host),
        host.module("dkms_module", **INSTALL),
        host.module("driver_registry", kernel=host.kernel, version=VERSION, registry=KEYS),
        host.module("kernel_cmdline", parameters=PARAMETERS),
        host.module("p2p_guard", **GUARD),
    ]


def left_to_do(host: Host) -> set[tuple[str, str]]:
    """Return the steps that p2p_plan calls open, with their reasons."""
    program = Path(host.path(GUARD["program"])).read_bytes()
    result = host.module(
        "p2p_plan",
        parameters=PARAMETERS,
        driver={"version": VERSION, "build_id": "9" * 40, "registry": KEYS},
        guard={"program_sha256": hashlib.sha256(program).hexdigest()},
    )
    assert result.get("changed") is False, result
    return {(step["step"], step["reason"]) for step in result["open"]}


def rolled_back_modules() -> list[str]:
    """Return the modules that the role rollback calls with a state, in its order."""
    path = REPOSITORY / "roles/rollback/tasks/main.yml"
    found = []
    for task in yaml.safe_load(path.read_text()):
        for name, options in task.items():
            if name.startswith("gpufleet.p2p.") and (options or {}).get("state"):
                found.append(name.rpartition(".")[2])
    return found


def test_installed_twice_then_undone_leaves_no_trace(
    new_host: NewHost, boot_host: Host, builder: Host
) -> None:
    host = new_host("undo", like=boot_host)
    give_archive(builder, host)
    Path(host.path(LIBRARIES)).mkdir(parents=True, exist_ok=True)
    library = host.path(f"{LIBRARIES}/libcuda.so.{VERSION}")
    library.write_text("library")
    host.path(f"{LIBRARIES}/libcuda.so.1").symlink_to(library.name)
    before, dkms = tree(host), host.run("dkms", "status")

    assert {step for step, _reason in left_to_do(host)} == PARTS
    first = put_on(host)
    assert [r for r in first if not r.get("changed")] == []
    assert tree(host) != before
    again = put_on(host)
    assert not any(result["changed"] for result in again), again
    # What is installed is in force after a restart, and is then to be verified.
    assert left_to_do(host) == {
        ("kernel_parameters", "they are not in force before a restart"),
        ("running_driver", f"nvidia of build-id {'9' * 40} is to be installed and running"),
        ("guard", "this state is to be verified and recorded"),
    }

    order = rolled_back_modules()
    assert sorted(order) == UNDOING
    for name in order:
        result = host.module(name, state=GONE.get(name, "absent"))
        assert result.get("changed"), (name, result)
    after = tree(host)
    assert {n for n in {*before, *after} if before.get(n) != after.get(n)} == set()
    assert host.run("dkms", "status") == dkms
