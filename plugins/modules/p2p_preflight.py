# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: p2p_preflight
short_description: Evaluate every gate before a host is changed
version_added: "0.1.0"
description:
  - Judges the facts of M(gpufleet.p2p.p2p_facts) against what is about to be done, and returns
    the answer of each gate - what it read, what it wanted, and the remedy.
  - Reads nothing but its options and changes nothing. It does not fail for a gate that refuses, so
    that all answers can be shown before the play stops; look at RV(passed).
  - An unknown that could cost the host, its work or its way back refuses. An unknown that
    verification will find out passes with a C(note).
options:
  facts:
    description: The C(p2p) facts of the host.
    type: dict
    required: true
  driver_version:
    description:
      - Release of the driver to install. Without it the gates that guard a driver installation
        pass as not needed.
    type: str
  parameters:
    description: Kernel parameters that are to come into force.
    type: list
    elements: str
    default: []
  allow_busy:
    description: Go on although processes use the GPUs; their work is lost.
    type: bool
    default: false
  allow_nvlink_loss:
    description: Install a driver of an older patched branch although it gives up NVLinks in use.
    type: bool
    default: false
  minimum_gpus:
    description: How many GPUs must be matched.
    type: int
    default: 2
  bar1_headroom_mib:
    description:
      - By how many MiB BAR1 must exceed a GPU's memory. A console that lives in BAR1 takes up to
        512.
    type: int
    default: 0
  minimum_free_mib:
    description: Space that must be free, in MiB by path (C(/boot), C(/usr), C(/var)).
    type: dict
    default: {/boot: 256, /usr: 512, /var: 512}
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
"""

EXAMPLES = r"""
- name: Gather the facts
  gpufleet.p2p.p2p_facts:

- name: Evaluate the gates
  gpufleet.p2p.p2p_preflight:
    facts: "{{ ansible_facts['p2p'] }}"
    driver_version: 595.58.03
    parameters: [iommu=pt]
  register: preflight

- name: Stop before any change
  ansible.builtin.fail:
    msg: "{{ preflight.gates | rejectattr('passed') }}"
  when: not preflight.passed
"""

RETURN = r"""
passed:
  description: Whether every gate passed.
  returned: success
  type: bool
  sample: false
gates:
  description: Every gate's answer, in a fixed order.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the gate, stable across releases.
      type: str
      returned: success
      sample: rebar_too_small
    passed:
      description: Whether the host may go on as far as this gate is concerned.
      type: bool
      returned: success
      sample: false
    read:
      description: What was found.
      type: str
      returned: success
      sample: 0000:01:00.0 BAR1 256 MiB
    want:
      description: What was needed.
      type: str
      returned: success
      sample: 0000:01:00.0 at least 32607 MiB
    remedy:
      description: What to do; empty where the gate passed.
      type: str
      returned: success
      sample: switch on Above 4G Decoding and Resizable BAR in the host's firmware
    note:
      description: What deserves a look although it does not stop the host; often empty.
      type: str
      returned: success
      sample: ""
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from ansible_collections.gpufleet.p2p.plugins.module_utils._module import main as run_module
from ansible_collections.gpufleet.p2p.plugins.module_utils._preflight.evaluate import evaluate
from ansible_collections.gpufleet.p2p.plugins.module_utils._preflight.gate import (
    DEFAULT_FREE_MIB,
    Intent,
)


def judge(module: AnsibleModule) -> dict[str, Any]:
    """Return the module's result: every gate's answer and whether all passed."""
    options = module.params
    gates = evaluate(
        options["facts"],
        Intent(
            driver_version=options["driver_version"],
            parameters=tuple(options["parameters"]),
            allow_busy=options["allow_busy"],
            allow_nvlink_loss=options["allow_nvlink_loss"],
            minimum_gpus=options["minimum_gpus"],
            bar1_headroom_mib=options["bar1_headroom_mib"],
            minimum_free_mib=_figures(options["minimum_free_mib"]),
        ),
    )
    return {"gates": [asdict(gate) for gate in gates], "passed": all(g.passed for g in gates)}


def _figures(figures: dict[str, Any]) -> dict[str, int]:
    try:
        return {str(path): int(figure) for path, figure in figures.items()}
    except (TypeError, ValueError) as error:
        raise GpufleetError(
            "minimum_free_invalid",
            read=str(figures),
            want="a whole number of MiB for each path",
            remedy="correct p2p_minimum_free_mib",
        ) from error


def main() -> None:
    """Run the module."""
    run_module(
        {
            "facts": {"type": "dict", "required": True},
            "driver_version": {"type": "str"},
            "parameters": {"type": "list", "elements": "str", "default": []},
            "allow_busy": {"type": "bool", "default": False},
            "allow_nvlink_loss": {"type": "bool", "default": False},
            "minimum_gpus": {"type": "int", "default": 2},
            "bar1_headroom_mib": {"type": "int", "default": 0},
            "minimum_free_mib": {"type": "dict", "default": DEFAULT_FREE_MIB},
        },
        judge,
    )


if __name__ == "__main__":
    main()
