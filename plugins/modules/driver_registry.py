#!/usr/bin/python
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: driver_registry
short_description: Set registry keys of the NVIDIA driver on a host
version_added: "0.1.0"
description:
  - Writes the keys into a modprobe.d file of its own, C(/etc/modprobe.d/zz-gpufleet-nvidia.conf),
    and tells what of them the running driver has.
  - Keys that other files set in C(NVreg_RegistryDwords) are taken over into that line, which would
    override them otherwise. A file, or the kernel command line, that sets one of the keys to
    another number is named and nothing is changed.
  - What C(modprobe) would pass is read back. An initramfs that contains the driver's modules gets
    the file too.
  - Keys come into force when the driver is loaded next; V(reload_required) tells.
options:
  state:
    description:
      - V(present) has the driver loaded with O(registry) from now on.
      - V(absent) removes the file, so that others' lines count again as they did.
    type: str
    choices: [present, absent]
    default: present
  registry:
    description:
      - The keys and their numbers, as C(p2p_driver.registry) has them. A key C(NVreg_NAME) is a
        parameter of the kernel module, any other a key of the resource manager.
      - C(RMForceP2PType) takes a name (V(bar1), V(mailbox), V(nvlink), V(c2c), and V(pcie) from
        release 575 on), because its numbers changed.
      - Without any key, O(state=present) is O(state=absent).
    type: dict
    default: {}
  version:
    description: The driver's release, which decides about names and numbers. Required with keys.
    type: str
  name:
    description: Name of the driver's DKMS package, whose kernels' initramfs images are kept right.
    type: str
    default: gpufleet-nvidia
  kernel:
    description:
      - Kernel release whose installed module is asked for its parameters, if it is of O(version).
        The running one by default.
    type: str
attributes:
  check_mode:
    description: Can run in check mode and tells what would be done, conflicts included.
    support: full
  diff_mode:
    description: Shows the file before and after.
    support: full
seealso:
  - module: gpufleet.p2p.loaded_module
author:
  - gpufleet authors (@gpufleet)
"""

EXAMPLES = r"""
- name: Have peer-to-peer over BAR1 whatever the driver would choose
  gpufleet.p2p.driver_registry:
    version: 595.58.03
    registry:
      RMForceP2PType: bar1
      NVreg_EnableResizableBar: 1
  register: registry

- name: Load the driver anew, where nothing uses it
  gpufleet.p2p.loaded_module:
    registry: "{{ registry.registry }}"
    swap: true

- name: Let the driver choose again
  gpufleet.p2p.driver_registry:
    state: absent
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be, in words.
  returned: success
  type: list
  elements: str
  sample: ["write /etc/modprobe.d/zz-gpufleet-nvidia.conf"]
registry:
  description: The keys as numbers of this release.
  returned: success
  type: dict
  sample: {NVreg_EnableResizableBar: 1, RMForceP2PType: 1, RMPcieP2PType: 1}
module_parameters:
  description: The module's parameters as the file sets them, with the keys of others that it keeps.
  returned: success
  type: dict
  sample:
    NVreg_EnableResizableBar: "1"
    NVreg_RegistryDwords: PeerMappingOverride=1;RMForceP2PType=1;RMPcieP2PType=1
in_force:
  description: Whether the running driver has all of the keys; null where none is loaded.
  returned: success
  type: bool
  sample: false
differences:
  description: Which keys the running driver has not, or has with another number, in words.
  returned: success
  type: list
  elements: str
  sample: ["RMForceP2PType is not set instead of 1"]
reload_required:
  description:
    - Whether the running driver has to be loaded anew, for keys that it has not or for keys that
      were taken away just now.
  returned: success
  type: bool
  sample: true
error:
  description: Code, what was read, what was wanted, and the remedy.
  returned: failure
  type: dict
  sample:
    code: registry_conflict
    read: "/etc/modprobe.d/nvidia.conf:3: RMForceP2PType=2"
    want: RMForceP2PType=1, or nothing said
    remedy: correct it in /etc/modprobe.d/nvidia.conf:3, or in p2p_driver.registry
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.gpufleet.p2p.plugins.module_utils import _module
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import registry, registry_file
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.kernel import running_release

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def _numbers(arguments: dict[str, Any]) -> dict[str, int]:
    asked = arguments["registry"] if arguments["state"] == "present" else {}
    if asked and not arguments["version"]:
        raise GpufleetError(
            "driver_version_missing",
            read=f"registry with {', '.join(map(str, asked))} and no version",
            want="the release of the driver that the keys are for",
            remedy="give the driver's version",
        )
    return registry.parse(asked, arguments["version"]) if asked else {}


def _body(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    numbers = _numbers(given)
    kernel = given["kernel"] or running_release()
    place = registry_file.Place(kernel, given["name"], given["version"])
    outcome = registry_file.set_keys(place, numbers, check=module.check_mode)
    differences = outcome.differences
    return {
        "changed": bool(outcome.actions),
        "actions": list(outcome.actions),
        "registry": numbers,
        "module_parameters": dict(outcome.parameters),
        "in_force": None if differences is None else not differences,
        "differences": list(differences or ()),
        "reload_required": outcome.reload_required,
        "diff": list(outcome.diff),
    }


def main() -> None:
    _module.main(
        {
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "registry": {"type": "dict", "default": {}},
            "version": {"type": "str"},
            "name": {"type": "str", "default": "gpufleet-nvidia"},
            "kernel": {"type": "str"},
        },
        _body,
    )


if __name__ == "__main__":
    main()
