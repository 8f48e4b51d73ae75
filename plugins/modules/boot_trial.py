#!/usr/bin/python
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: boot_trial
short_description: Arms, confirms or abandons a trial boot
version_added: "0.1.0"
description:
  - A trial is one boot with other kernel parameters, prepared by
    M(gpufleet.p2p.kernel_cmdline) with O(gpufleet.p2p.kernel_cmdline#module:trial=true). The
    default boot entry stays what it was until the trial is confirmed.
  - Confirming needs evidence, namely the trial's token in the running kernel's command line and its
    parameters in force. A host that fell back to the old entry passes a mere reboot, but not this.
  - Every state can be asked for again after a run that was killed half-way.
options:
  state:
    description:
      - V(armed) selects the recorded trial for the next boot, again if it fell back, and again if
        it runs but the host has to restart for another reason before it can be confirmed.
      - V(confirmed) makes the running trial's parameters the default and removes the trial entry.
      - V(abandoned) removes the trial; a host that runs it needs a reboot to be back.
    type: str
    choices: [armed, confirmed, abandoned]
    required: true
  token:
    description:
      - The trial that is meant, as M(gpufleet.p2p.kernel_cmdline) returned it. Another one on the
        host is refused; without it whichever is recorded is taken.
    type: str
  unchanged:
    description:
      - With O(state=armed), where no trial is recorded, arm one of the default entry with the
        parameters that it has, because something else is to be tried in it, such as a driver
        (M(gpufleet.p2p.driver_trial)).
    type: bool
    default: false
  panic_seconds:
    description:
      - Seconds after which a kernel that panics in a trial made by O(unchanged) restarts into the
        old entry.
    type: int
    default: 30
attributes:
  check_mode:
    description: Can run in check mode and tell what it would change without changing anything.
    support: full
  diff_mode:
    description: >-
      Shows the files that change. In check mode the new lines of grub.cfg are foreseen, not
      generated.
    support: full
seealso:
  - module: gpufleet.p2p.kernel_cmdline
author:
  - gpufleet authors (@gpufleet)
"""

EXAMPLES = r"""
- name: Make the parameters that were tried the default
  gpufleet.p2p.boot_trial:
    state: confirmed
    token: "{{ cmdline.token }}"

- name: Boot the default entry once, with a driver that is on trial
  gpufleet.p2p.boot_trial:
    state: armed
    unchanged: true

- name: Forget a trial that was not booted
  gpufleet.p2p.boot_trial:
    state: abandoned
"""

RETURN = r"""
token:
  description: The trial's token; null where there is none.
  returned: success
  type: str
  sample: 3f1c9a77d02b4e65
default_entry:
  description: Id of the entry that boots by default.
  returned: success
  type: str
  sample: gnulinux-simple-0f2a
fell_back:
  description: Whether the trial was booted or skipped and the host came back on the old entry.
  returned: success
  type: bool
  sample: false
reboot_required:
  description: Whether a reboot is needed to reach the state, or to leave an abandoned trial.
  returned: success
  type: bool
  sample: false
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.detect import detect
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import apply_in_order
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.plan import (
    Host,
    TrialPlan,
    observe,
    plan_abandoned,
    plan_armed,
    plan_confirmed,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._module import main as run_module

ARGUMENTS: dict[str, Any] = {
    "state": {"type": "str", "choices": ["armed", "confirmed", "abandoned"], "required": True},
    "token": {"type": "str", "no_log": False},
    "unchanged": {"type": "bool", "default": False},
    "panic_seconds": {"type": "int", "default": 30},
}


def _plan(host: Host, options: dict[str, Any]) -> TrialPlan:
    token = options["token"]
    if options["state"] == "armed":
        return plan_armed(
            host,
            token,
            unchanged=options["unchanged"],
            panic_seconds=options["panic_seconds"],
        )
    plan = plan_confirmed if options["state"] == "confirmed" else plan_abandoned
    return plan(host, token)


def body(module: AnsibleModule) -> dict[str, Any]:
    """Return the module's result after planning and, outside of check mode, applying."""
    loader = detect()
    plan = _plan(observe(loader), module.params)
    changed = bool(plan.steps)
    if not module.check_mode:
        changed = apply_in_order(plan.steps)
    return {
        "changed": changed,
        "token": plan.token,
        "default_entry": loader.default_entry(),
        "fell_back": plan.fell_back,
        "reboot_required": plan.reboot_required,
        "diff": [step.as_diff() for step in plan.steps],
    }


def main() -> None:
    """Run as an Ansible module."""
    run_module(ARGUMENTS, body)


if __name__ == "__main__":
    main()
