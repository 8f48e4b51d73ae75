#!/usr/bin/python
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: driver_userspace
short_description: Keep NVIDIA's libraries at the release of the kernel modules
version_added: "0.1.0"
description:
  - Pins and holds the packages of NVIDIA's driver that are installed in the given release, and
    tells unattended-upgrades to leave the driver alone.
  - Where the libraries are of another release and NVIDIA's installer is given, runs it without its
    kernel modules first. Libraries that packages brought are never overwritten.
  - With O(packages=true), has apt bring the packages of the libraries to the release, all of them
    or none.
  - Undone exactly - holds that were there before stay, others are lifted.
options:
  state:
    description:
      - V(held) has the libraries of O(version), and keeps them.
      - V(released) takes back what V(held) did, libraries that it installed included.
    type: str
    choices: [held, released]
    default: held
  version:
    description: The driver's release. Required for V(held).
    type: str
  runfile:
    description: NVIDIA's installer (C(NVIDIA-Linux-x86_64-VERSION.run)) on the host.
    type: path
  sha256:
    description: Checksum of O(runfile), which is not run without it.
    type: str
  packages:
    description:
      - Have apt bring the installed packages of the libraries to O(version) where they are of
        another release, newer or older. Nothing is removed for it. V(released) brings them back.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode and tells what would be done.
    support: full
  diff_mode:
    description: Shows pin, drop-in and record before and after.
    support: full
notes:
  - Holds and pins are those of dpkg and apt; on other hosts the release is only compared.
author:
  - gpufleet authors (@gpufleet)
"""

EXAMPLES = r"""
- name: Keep the libraries that fit the modules
  gpufleet.p2p.driver_userspace:
    version: 595.58.03

- name: Bring the packages of the libraries to the release, and keep them there
  gpufleet.p2p.driver_userspace:
    version: 595.71.05
    packages: true

- name: Let them be upgraded again
  gpufleet.p2p.driver_userspace:
    state: released
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be, in words.
  returned: success
  type: list
  elements: str
  sample: ["write /etc/apt/preferences.d/gpufleet-nvidia.pref", "hold libcuda1:amd64"]
packages:
  description: The packages that are kept - name, version, and dpkg's selection as it was.
  returned: success
  type: list
  elements: dict
  sample: [{name: "libcuda1:amd64", version: 595.58.03-1, want: install}]
userspace_version:
  description: Release of the libraries; null where there are none.
  returned: success
  type: str
  sample: 595.58.03
error:
  description: Code, what was read, what was wanted, and the remedy.
  returned: failure
  type: dict
  sample:
    code: userspace_version_mismatch
    read: libraries of 595.71.05
    want: libraries of 595.58.03
    remedy: install NVIDIA's userspace 595.58.03, or give its installer (runfile, sha256)
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.gpufleet.p2p.plugins.module_utils import _module
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import userspace_hold
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.userspace_change import Means

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def _body(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    if given["state"] == "released":
        outcome = userspace_hold.release(check=module.check_mode)
    else:
        runfile = Path(given["runfile"]) if given["runfile"] else None
        means = Means(runfile, given["sha256"], given["packages"])
        outcome = userspace_hold.hold(given["version"], means, check=module.check_mode)
    return {
        "changed": bool(outcome.actions),
        "actions": list(outcome.actions),
        "packages": [asdict(package) for package in outcome.packages],
        "userspace_version": outcome.version,
        "diff": list(outcome.diff),
    }


def main() -> None:
    _module.main(
        {
            "state": {"type": "str", "choices": ["held", "released"], "default": "held"},
            "version": {"type": "str"},
            "runfile": {"type": "path"},
            "sha256": {"type": "str"},
            "packages": {"type": "bool", "default": False},
        },
        _body,
        required_if=[("state", "held", ("version",))],
        required_together=[("runfile", "sha256")],
        mutually_exclusive=[("runfile", "packages")],
    )


if __name__ == "__main__":
    main()
