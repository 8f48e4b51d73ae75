#!/usr/bin/python
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: driver_trial
short_description: Keeps a new GPU driver to its trial boot
version_added: "0.1.0"
description:
  - While a driver is on trial, its modules are loaded in a boot that has C(gpufleet.trial) on its
    command line, as M(gpufleet.p2p.boot_trial) arms it. Any other boot bars them, has DKMS take the
    build out and put back what it replaced, and loads that. So a driver that stops the machine does
    so once.
  - Begin the trial before the driver is installed, and end it when the driver was seen to run well,
    or after it was removed.
  - It consists of three units of systemd, a list of modules to bar, and a hook that keeps driver
    modules out of the initramfs meanwhile. All of them are gone when the trial has ended.
options:
  state:
    description:
      - V(begun) puts the driver on trial, V(ended) lets it be loaded at every boot.
    type: str
    choices: [begun, ended]
    required: true
  name:
    description:
      - The DKMS package.
    type: str
    default: gpufleet-nvidia
  version:
    description:
      - The version of the package that is on trial.
    type: str
  kernel:
    description:
      - The kernel whose installed version a fall-back returns to; the running one by default.
    type: str
attributes:
  check_mode:
    description: Can run in check mode and tell what it would change without changing anything.
    support: full
  diff_mode:
    description: Shows the files that change.
    support: full
notes:
  - Needs a host that systemd starts.
  - A fall-back brings back the version of the package that was installed before, or else the
    distribution's modules. NVIDIA's libraries are not exchanged by it.
seealso:
  - module: gpufleet.p2p.boot_trial
  - module: gpufleet.p2p.dkms_module
author:
  - gpufleet authors (@gpufleet)
"""

EXAMPLES = r"""
- name: Let the driver be loaded in its trial boot alone
  gpufleet.p2p.driver_trial:
    state: begun
    version: 595.58.03

- name: Install it
  gpufleet.p2p.dkms_module:
    state: installed
    version: 595.58.03
    archive: /var/tmp/build.tar.gz

- name: Let it be loaded at every boot, now that it was seen to run well
  gpufleet.p2p.driver_trial:
    state: ended
"""

RETURN = r"""
on_trial:
  description: Whether a driver is on trial now; in check mode, whether it would be.
  returned: success
  type: bool
  sample: true
previous:
  description: The version of the package that a fall-back returns to; null for the distribution's
    modules, and where no driver is on trial.
  returned: success
  type: str
  sample: 580.105.08
error:
  description: Code, what was read, what was wanted, and the remedy.
  returned: failure
  type: dict
  sample:
    code: driver_trial_impossible
    read: no /run/systemd/system
    want: a host started by systemd, whose units keep the driver to its trial boot
    remedy: "set p2p_trial_boot: false to install without a trial and a way back"
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.gpufleet.p2p.plugins.module_utils import _module
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import trial
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.kernel import running_release

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def _body(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    begun = given["state"] == "begun"
    subject = None
    if begun:
        name, kernel = given["name"], given["kernel"] or running_release()
        subject = trial.with_way_back(
            trial.Subject(name, given["version"], trial.installed_version(name, kernel))
        )
    changes = trial.plan_ended() if subject is None else trial.plan_begun(subject)
    diff = [change.as_diff() for change in changes]
    if not module.check_mode:
        trial.apply(changes)
    return {
        "changed": bool(changes),
        "on_trial": begun,
        "previous": subject and subject.previous,
        "diff": diff,
    }


def main() -> None:
    _module.main(
        {
            "state": {"type": "str", "choices": ["begun", "ended"], "required": True},
            "name": {"type": "str", "default": "gpufleet-nvidia"},
            "version": {"type": "str"},
            "kernel": {"type": "str"},
        },
        _body,
        required_if=[("state", "begun", ("version",))],
    )


if __name__ == "__main__":
    main()
