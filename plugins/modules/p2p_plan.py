#!/usr/bin/python
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: p2p_plan
short_description: Tell in one execution what a host still needs
version_added: "0.1.0"
description:
  - Asks M(gpufleet.p2p.kernel_cmdline), M(gpufleet.p2p.driver_userspace),
    M(gpufleet.p2p.driver_registry), M(gpufleet.p2p.loaded_module) and M(gpufleet.p2p.p2p_guard)
    what they would change, by their own code and in one process.
  - Changes nothing. A host with no open steps needs no more than to be verified, so a fleet that
    is as it should be costs the controller two executions for each host.
  - A part that would refuse counts as open, with its refusal as the reason.
options:
  parameters:
    description:
      - The kernel parameters, as M(gpufleet.p2p.kernel_cmdline) takes them.
    type: list
    elements: str
    required: true
  trial:
    description:
      - Whether they are booted once before they become the default.
    type: bool
    default: false
  panic_seconds:
    description:
      - As M(gpufleet.p2p.kernel_cmdline) takes it.
    type: int
    default: 30
  driver:
    description:
      - The driver that is to run; without it no driver is asked for.
    type: dict
    suboptions:
      version:
        description:
          - Its release.
        type: str
        required: true
      package:
        description:
          - The DKMS package.
        type: str
        default: gpufleet-nvidia
      build_id:
        description:
          - Build-id of its nvidia module. The action plugin takes it from O(driver.manifest).
        type: str
      manifest:
        description:
          - The build's manifest on the controller. Not a file of the host.
        type: path
      registry:
        description:
          - Its registry keys, as M(gpufleet.p2p.driver_registry) takes them.
        type: dict
        default: {}
      packages:
        description:
          - Whether apt brings the packages of the libraries to the release.
        type: bool
        default: false
  guard:
    description:
      - The guard that is to watch the host, by the options of M(gpufleet.p2p.p2p_guard); without it
        no guard is asked for.
    type: dict
    suboptions:
      package:
        description:
          - The DKMS package that the host is to run.
        type: str
        default: gpufleet-nvidia
      gpu_match:
        description:
          - What counts as a GPU.
        type: list
        elements: str
        default: ["10de:*:03"]
      quick_check:
        description:
          - Whether copies between idle GPUs are tried at each look.
        type: bool
        default: true
      interval_minutes:
        description:
          - Minutes between two looks.
        type: int
        default: 60
      metrics_directory:
        description:
          - Where the Prometheus node exporter reads textfiles.
        type: path
        default: /var/lib/prometheus/node-exporter
      alarm_command:
        description:
          - Program and arguments to run when the alarm is raised or cleared.
        type: list
        elements: str
        default: []
      program_sha256:
        description:
          - Checksum of the guard's program. The action plugin sets it.
        type: str
attributes:
  check_mode:
    description: Can run in check mode and return the same as otherwise.
    support: full
  diff_mode:
    description: Returns details of what has changed, or would change.
    support: none
    details: The module changes nothing.
author:
  - gpufleet authors (@gpufleet)
seealso:
  - module: gpufleet.p2p.p2p_facts
  - module: gpufleet.p2p.p2p_verify
"""

EXAMPLES = r"""
- name: Ask what is left to do
  gpufleet.p2p.p2p_plan:
    parameters: [iommu=pt]
    driver:
      version: 595.58.03
      manifest: /srv/builds/gpufleet-nvidia-595.58.03-6.1.0-32-amd64.json
    guard: {}
  register: plan

- name: Show it
  ansible.builtin.debug:
    msg: "{{ plan.open | map(attribute='reason') | join(', ') or 'nothing' }}"
"""

RETURN = r"""
open:
  description: What is left to do - the part, and what it says. Empty where nothing is.
  returned: success
  type: list
  elements: dict
  sample: [{step: kernel_parameters, reason: write /etc/default/grub.d/zz-gpufleet.cfg}]
verified_groups:
  description: The groups of GPUs of the verification that the guard keeps to, by the indices that
    M(gpufleet.p2p.p2p_verify) gives them; empty without a guard.
  returned: success
  type: list
  elements: list
  sample: [[0, 1]]
manifest:
  description: What the file O(driver.manifest) holds; null where none was given.
  returned: success
  type: dict
  sample: {modules: [{name: nvidia, build_id: 2f6a1b}]}
build_id:
  description: The build-id that was asked for; null without a driver.
  returned: success
  type: str
  sample: 2f6a1b
error:
  description: Code, what was read, what was wanted, and the remedy.
  returned: failure
  type: dict
  sample:
    code: build_id_missing
    read: no build-id and no manifest
    want: the build-id of the nvidia module that is to run
    remedy: give driver.manifest, the file beside the build's archive
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ansible_collections.gpufleet.p2p.plugins.module_utils import _module
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard.places import Settings
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from ansible_collections.gpufleet.p2p.plugins.module_utils._plan import open_steps as plan

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def _body(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    parameters = plan.WantedParameters(
        tuple(given["parameters"]), given["trial"], given["panic_seconds"]
    )
    driver = _driver(given["driver"]) if given["driver"] is not None else None
    guard = _guard(given["guard"]) if given["guard"] is not None else None
    return {
        "open": [asdict(step) for step in plan.open_steps(parameters, driver, guard)],
        "verified_groups": plan.verified_groups(),
        "manifest": None,
        "build_id": driver and driver.build_id,
    }


def _driver(given: dict[str, Any]) -> plan.WantedDriver:
    if not given["build_id"]:
        raise GpufleetError(
            "build_id_missing",
            read="no build-id and no manifest",
            want="the build-id of the nvidia module that is to run",
            remedy="give driver.manifest, the file beside the build's archive",
        )
    return plan.WantedDriver(
        version=given["version"],
        build_id=given["build_id"],
        package=given["package"],
        registry=given["registry"] or {},
        packages=given["packages"],
    )


def _guard(given: dict[str, Any]) -> plan.WantedGuard:
    settings = Settings(
        package=given["package"],
        gpu_match=tuple(given["gpu_match"]),
        quick_check=given["quick_check"],
        metrics_directory=given["metrics_directory"],
        alarm_command=tuple(given["alarm_command"]),
    )
    return plan.WantedGuard(settings, given["interval_minutes"], given["program_sha256"] or "")


def main() -> None:
    _module.main(
        {
            "parameters": {"type": "list", "elements": "str", "required": True},
            "trial": {"type": "bool", "default": False},
            "panic_seconds": {"type": "int", "default": 30},
            "driver": {
                "type": "dict",
                "options": {
                    "version": {"type": "str", "required": True},
                    "package": {"type": "str", "default": "gpufleet-nvidia"},
                    "build_id": {"type": "str"},
                    "manifest": {"type": "path"},
                    "registry": {"type": "dict", "default": {}},
                    "packages": {"type": "bool", "default": False},
                },
            },
            "guard": {
                "type": "dict",
                "options": {
                    "package": {"type": "str", "default": "gpufleet-nvidia"},
                    "gpu_match": {"type": "list", "elements": "str", "default": ["10de:*:03"]},
                    "quick_check": {"type": "bool", "default": True},
                    "interval_minutes": {"type": "int", "default": 60},
                    "metrics_directory": {
                        "type": "path",
                        "default": "/var/lib/prometheus/node-exporter",
                    },
                    "alarm_command": {"type": "list", "elements": "str", "default": []},
                    "program_sha256": {"type": "str"},
                },
            },
        },
        _body,
    )


if __name__ == "__main__":
    main()
