#!/usr/bin/python
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: p2p_guard
short_description: Keep a host's peer-to-peer path through updates, and tell when it is lost
version_added: "0.1.0"
description:
  - Installs a kernel hook and a systemd timer, both of which run one program,
    C(/usr/lib/gpufleet/gpufleet-guard).
  - After a kernel was installed or removed, the hook sees whether every module of the driver's DKMS
    package is in place for the kernel that would boot by default. If not, the host is held to a
    kernel that has the driver, until the other has it too.
  - The timer compares driver, libraries, command line, IOMMU groups and BARs with the record of the
    last good verification, and tries copies where the GPUs are idle.
  - What is wrong is told in the journal, at login, in a Prometheus textfile, and to a command of
    the operator's.
options:
  state:
    description:
      - V(present) installs the guard and, with O(verified), records what it compares with.
      - V(absent) removes it with everything it wrote, and gives the default kernel back to the
        host's own configuration.
    type: str
    choices: [present, absent]
    default: present
  package:
    description: Name of the DKMS package that the host is to run.
    type: str
    default: gpufleet-nvidia
  gpu_match:
    description: What counts as a GPU, as C(vendor:device:class-prefix) with C(*) for anything.
    type: list
    elements: str
    default: ["10de:*:03"]
  quick_check:
    description: Whether the timer tries copies between the GPUs while no program uses any of them.
    type: bool
    default: true
  interval_minutes:
    description: Minutes between two looks of the timer.
    type: int
    default: 60
  metrics_directory:
    description:
      - Where the Prometheus node exporter reads textfiles; none is written where it does not exist.
    type: path
    default: /var/lib/prometheus/node-exporter
  alarm_command:
    description:
      - Program and arguments to run when the alarm is raised, changes, or is cleared. The alarm is
        its standard input, as JSON; C(GPUFLEET_ALARM) is C(raised) or C(cleared).
    type: list
    elements: str
    default: []
  verified:
    description:
      - What M(gpufleet.p2p.p2p_verify) returned as C(p2p). Recorded with the host's present state
        as what the guard compares with. Its verdict has to be V(pass) or V(warn).
    type: dict
  program:
    description: The program's file on the host. The action plugin sets it where it has to be sent.
    type: path
  program_sha256:
    description:
      - Checksum of the program. Where the installed one has it, O(program) is not needed; otherwise
        nothing is done and RV(program_wanted) returned. The action plugin sets it and answers that.
    type: str
requirements:
  - systemd and Python 3.9 on the host
notes:
  - The kernel hook is Debian's (C(/etc/kernel/postinst.d)); the default kernel is held with GRUB
    and systemd-boot. Elsewhere the guard tells and holds nothing.
attributes:
  check_mode:
    description: Can run in check mode and tells what would be changed.
    support: full
  diff_mode:
    description: Shows the files that change; the program itself by its checksum.
    support: full
author:
  - gpufleet authors (@gpufleet)
"""

EXAMPLES = r"""
- name: Guard the host, and remember this verification as what it has to stay
  gpufleet.p2p.p2p_guard:
    verified: "{{ p2p_verify_result.p2p }}"
    alarm_command: [/usr/local/bin/page, gpu-team]

- name: Take the guard off
  gpufleet.p2p.p2p_guard:
    state: absent
"""

RETURN = r"""
program_wanted:
  description: The program has to be sent first. Seen by the action plugin alone.
  returned: when the installed program is another one
  type: bool
  sample: true
actions:
  description: What was done, or in check mode would be, in words.
  returned: success
  type: list
  elements: str
  sample: ["write /usr/lib/gpufleet/gpufleet-guard", "keep booting 6.1.0-56-amd64"]
kernels:
  description: How each bootable kernel stands - release, driver version, and what it lacks.
  returned: success
  type: list
  elements: dict
  sample:
    - kernel: 6.12.117+deb12-amd64
      version: null
      faults: ["gpufleet-nvidia: not built by DKMS"]
pinned:
  description: The kernel that the host is held to; null where it boots its own default.
  returned: success
  type: str
  sample: 6.1.0-56-amd64
findings:
  description: What is wrong now - code, what was read, what was wanted, and the remedy of each.
  returned: success
  type: list
  elements: dict
  sample:
    - code: kernel_without_driver
      read: "kernel 6.12.117+deb12-amd64: gpufleet-nvidia: not built by DKMS"
      want: the driver built and installed for kernel 6.12.117+deb12-amd64
      remedy: install linux-headers-6.12.117+deb12-amd64
error:
  description: Code, what was read, what was wanted, and the remedy.
  returned: failure
  type: dict
  sample:
    code: verification_not_passed
    read: verdict fail
    want: one of pass, warn
    remedy: mend what the verification names, then record it
"""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.gpufleet.p2p.plugins.module_utils import _module
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard import service
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard.places import PROGRAM
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import read_bytes

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def _body(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    settings = service.Settings(
        package=given["package"],
        gpu_match=tuple(given["gpu_match"]),
        quick_check=given["quick_check"],
        metrics_directory=given["metrics_directory"],
        alarm_command=tuple(given["alarm_command"]),
    )
    if given["state"] == "absent":
        outcome = service.absent(check=module.check_mode)
    else:
        program = _program(given)
        if program is None:
            return {"program_wanted": True}
        wanted = service.Wanted(program, settings, given["interval_minutes"])
        outcome = service.present(wanted, given["verified"], check=module.check_mode)
    return {
        "changed": outcome.changed,
        "actions": list(outcome.actions),
        "kernels": [
            {"kernel": ready.kernel, "version": ready.version, "faults": list(ready.faults)}
            for ready in outcome.kernels
        ],
        "pinned": outcome.pinned,
        "findings": [asdict(finding) for finding in outcome.findings],
        "diff": list(outcome.diff),
    }


def _program(given: dict[str, Any]) -> bytes | None:
    """Return the program's bytes: the sent ones, or the installed ones if they are the same."""
    if given["program"]:
        return Path(given["program"]).read_bytes()
    installed = read_bytes(PROGRAM)
    if installed is None or hashlib.sha256(installed).hexdigest() != given["program_sha256"]:
        return None
    return installed


def main() -> None:
    _module.main(
        {
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "package": {"type": "str", "default": "gpufleet-nvidia"},
            "gpu_match": {"type": "list", "elements": "str", "default": ["10de:*:03"]},
            "quick_check": {"type": "bool", "default": True},
            "interval_minutes": {"type": "int", "default": 60},
            "metrics_directory": {"type": "path", "default": "/var/lib/prometheus/node-exporter"},
            "alarm_command": {"type": "list", "elements": "str", "default": []},
            "verified": {"type": "dict"},
            "program": {"type": "path"},
            "program_sha256": {"type": "str"},
        },
        _body,
        required_if=[("state", "present", ("program", "program_sha256"), True)],
    )


if __name__ == "__main__":
    main()
