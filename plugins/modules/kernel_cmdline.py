#!/usr/bin/python
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: kernel_cmdline
short_description: Kernel parameters through the host's boot loader, tried before they are kept
version_added: "0.1.0"
description:
  - Makes kernel parameters part of the default boot entry, or takes away what it added.
  - With O(trial=true) it leaves the default entry alone and prepares one boot with the parameters.
    M(gpufleet.p2p.boot_trial) makes them the default after that boot went well. If it does not,
    the next power cycle or panic boots the old entry.
  - Reports what is configured and what the running kernel really has, apart from each other.
  - Parameters are read as the kernel reads them. Those which a later one overrides are resolved by
    coming last; those which nothing can undo, such as V(iommu=off), are refused with the name of
    the file that they come from.
  - The module never reboots.
options:
  parameters:
    description:
      - One kernel parameter per item, as it would be written on the command line.
      - With O(state=present) the whole of what gpufleet is to add; what it added before and is not
        listed goes away.
      - With O(state=absent) those to take away again; without any, all that gpufleet added.
      - Printable ASCII, without quotes or backslashes inside the value, because boot loaders do not
        hand those to the kernel unchanged. A value with spaces is written V(name="a b").
    type: list
    elements: str
    default: []
  state:
    description:
      - V(present) adds, V(absent) takes away, together with a trial that may be prepared.
    type: str
    choices: [present, absent]
    default: present
  trial:
    description:
      - Prepare a single boot with the parameters instead of changing the default entry.
      - Refused where the boot loader could not forget the trial entry by itself, because
        C(/boot/grub) is on LVM, MD RAID, btrfs, ZFS or an encrypted volume, because EFI variables
        are not writable, or because C(proxmox-boot-tool) fills the boot partitions.
      - Has no effect with O(state=absent).
    type: bool
    default: false
  panic_seconds:
    description:
      - Seconds after which a kernel that panics during the trial restarts into the old entry.
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
notes:
  - Supports GRUB as Debian and Ubuntu install it, with BLS entries (Fedora, RHEL and its rebuilds),
    and with C(grub-mkconfig) alone (Arch, openSUSE); systemd-boot with entries of kernel-install or
    kernelstub; and C(proxmox-boot-tool). Other boot loaders are refused by name.
  - Neither C(grubby), which removes other values of the same parameter, nor C(kernel-install) and
    C(kernelstub), which copy kernels over those that boot, is called. What they would write into
    the entries is written, each file replaced as a whole.
  - C(update-grub) is never called, because it copies over C(grub.cfg) in a way that a crash or a
    full disk interrupts half-way. The file is generated elsewhere, checked and renamed into place.
seealso:
  - module: gpufleet.p2p.boot_trial
author:
  - gpufleet authors (@gpufleet)
"""

EXAMPLES = r"""
- name: Try IOMMU passthrough once
  gpufleet.p2p.kernel_cmdline:
    parameters:
      - intel_iommu=on
      - iommu=pt
    trial: true
  register: cmdline

- name: Reboot into the trial
  ansible.builtin.reboot:
  when: cmdline.reboot_required

- name: Keep it
  gpufleet.p2p.boot_trial:
    state: confirmed
    token: "{{ cmdline.token }}"
  when: cmdline.token is truthy

- name: Take back everything that gpufleet added
  gpufleet.p2p.kernel_cmdline:
    state: absent
"""

RETURN = r"""
boot_loader:
  description: The boot loader that was found.
  returned: success
  type: str
  sample: grub_debian
before:
  description: The default entry's command line before, without what the loader adds while booting.
  returned: success
  type: str
  sample: root=UUID=0f2a ro quiet
after:
  description:
    - The default entry's command line afterwards. With O(trial=true) what confirming will make of
      it.
  returned: success
  type: str
  sample: root=UUID=0f2a ro quiet intel_iommu=on iommu=pt
in_force:
  description:
    - Whether the running kernel has the parameters in effect, by their meaning. With
      O(state=absent) the parameters being taken away.
  returned: success
  type: bool
  sample: false
reboot_required:
  description: Whether the running kernel differs from what was asked for.
  returned: success
  type: bool
  sample: true
conflicts:
  description:
    - Configured parameters of others that contradict the wanted ones, which come later and win.
  returned: success
  type: list
  elements: dict
  contains:
    parameter:
      description: What is configured.
      type: str
      sample: iommu=nopt
    wanted:
      description: The wanted parameter that it contradicts.
      type: str
      sample: iommu=pt
    source:
      description: The file that it comes from.
      type: str
      sample: /etc/default/grub.d/50-cloudimg-settings.cfg
    resolved:
      description: Whether coming later makes the wanted one win.
      type: bool
      sample: true
token:
  description:
    - Identifies the trial, in the tried kernel's command line as C(gpufleet.trial); null where
      there is nothing to confirm.
  returned: success
  type: str
  sample: 3f1c9a77d02b4e65
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.detect import detect
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import apply_in_order
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.plan import (
    observe,
    plan_absent,
    plan_present,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._module import main as run_module

ARGUMENTS: dict[str, Any] = {
    "parameters": {"type": "list", "elements": "str", "default": []},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "trial": {"type": "bool", "default": False},
    "panic_seconds": {"type": "int", "default": 30},
}


def body(module: AnsibleModule) -> dict[str, Any]:
    """Return the module's result after planning and, outside of check mode, applying."""
    options = module.params
    if options["state"] == "present" and not options["parameters"]:
        module.fail_json(msg="state is present but all of the following are missing: parameters")
    loader = detect()
    host = observe(loader)
    if options["state"] == "absent":
        plan = plan_absent(host, options["parameters"])
    else:
        plan = plan_present(
            host,
            options["parameters"],
            trial=options["trial"],
            panic_seconds=options["panic_seconds"],
        )
    changed = bool(plan.steps)
    if not module.check_mode:
        changed = apply_in_order(plan.steps)
    return {
        "changed": changed,
        "boot_loader": loader.name,
        **plan.as_result(),
        "diff": [step.as_diff() for step in plan.steps],
    }


def main() -> None:
    """Run as an Ansible module."""
    run_module(ARGUMENTS, body)


if __name__ == "__main__":
    main()
