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
  - Reads nothing but its options and changes nothing, so it runs on the controller and costs no
    execution on the host. It does not fail for a gate that refuses, so that all answers can be
    shown before the play stops; look at RV(passed).
  - An unknown that could cost the host, its work or its way back refuses. An unknown that
    verification will find out passes with a C(note).
options:
  facts:
    description:
      - The C(p2p) facts of the host. By default those that M(gpufleet.p2p.p2p_facts) gathered; the
        action plugin takes them.
    type: dict
    required: true
  driver_version:
    description:
      - Release of the driver to install. Without it the gates that guard a driver installation
        pass as not needed.
    type: str
  driver:
    description:
      - The whole description of the build, C(p2p_driver); judged by its place in O(catalogue).
        O(driver_version) comes from it where it is left out.
    type: dict
  driver_source:
    description:
      - What M(gpufleet.p2p.driver_source) returned for it, or the failure that it ended with; the
        gate C(driver_source) then refuses by that error.
    type: dict
  catalogue:
    description:
      - The known builds, as C(files/catalogue.yml) of the role p2p_driver has them. By default that
        very file; the action plugin reads it.
    type: dict
  compiles:
    description: This host may have to compile the driver, since there is no build host.
    type: bool
    default: true
  install_headers:
    description: Missing headers that the host's archive has are going to be installed.
    type: bool
    default: false
  parameters:
    description: Kernel parameters that are to come into force.
    type: list
    elements: str
    default: []
  trial_boot:
    description:
      - Boot the parameters once before they become the default. V(false) passes hosts whose boot
        loader cannot; the way back is then what its remedy names, by hand.
    type: bool
    default: true
  allow_busy:
    description: Go on although processes use the GPUs; their work is lost.
    type: bool
    default: false
  drains:
    description: The host is drained before it is interrupted; processes on the GPUs end in order.
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

from typing import TYPE_CHECKING, Any

from ansible_collections.gpufleet.p2p.plugins.module_utils import _module
from ansible_collections.gpufleet.p2p.plugins.module_utils._preflight.judgement import (
    OPTIONS,
    judge,
)

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def _body(module: AnsibleModule) -> dict[str, Any]:
    return judge(module.params)


def main() -> None:
    _module.main(OPTIONS, _body)


if __name__ == "__main__":
    main()
