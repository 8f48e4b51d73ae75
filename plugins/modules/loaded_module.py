#!/usr/bin/python
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: loaded_module
short_description: Tell which build of a driver runs, and exchange it where nothing uses it
version_added: "0.1.0"
description:
  - Compares the GNU build-id of the running module with that of the file modprobe would load. A
    new build can be installed for months while the old one still runs.
  - With O(swap=true), unloads the running driver and loads the installed one without a reboot,
    where no process and nothing in the kernel uses it.
options:
  name:
    description: The module that is looked at.
    type: str
    default: nvidia
  kernel:
    description: Kernel release whose installed module is looked at. The running one by default.
    type: str
  expected_build_id:
    description: Build-id that the running module should have, such as a build's manifest states.
    type: str
  registry:
    description:
      - Registry keys, as numbers, that the running driver should have been loaded with, such as
        M(gpufleet.p2p.driver_registry) returns them in C(registry).
    type: dict
    default: {}
  swap:
    description:
      - Exchange the running driver for the installed one if they differ, or if it was loaded with
        other registry keys. Fails, with nothing
        unloaded, if the expected build is not installed or the driver is in use.
    type: bool
    default: false
  stop:
    description:
      - Units of systemd that O(swap=true) may stop, where they run, and starts again after it, such
        as V(nvidia-persistenced). Their processes do not count as users of the driver. None is
        stopped if somebody else uses it.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Can run in check mode; tells whether a swap is needed and possible.
    support: full
  diff_mode:
    description: Shows the running build-id before and after.
    support: full
author:
  - gpufleet authors (@gpufleet)
"""

EXAMPLES = r"""
- name: Does the driver that was installed run?
  gpufleet.p2p.loaded_module:
    expected_build_id: 07acb166ee119184e38cd06180048a86f22aadf2
  register: driver

- name: Exchange the driver without a reboot
  gpufleet.p2p.loaded_module:
    swap: true
    stop: [nvidia-persistenced]
"""

RETURN = r"""
build_id:
  description: Build-id of the running module; null where it is not loaded.
  returned: success
  type: str
  sample: 07acb166ee119184e38cd06180048a86f22aadf2
version:
  description: Version of the running module; null where it is not loaded.
  returned: success
  type: str
  sample: 595.58.03
path:
  description: The file that modprobe would load; null where there is none.
  returned: success
  type: str
  sample: /lib/modules/6.1.0-56-amd64/updates/dkms/nvidia.ko
installed_build_id:
  description: Build-id of that file.
  returned: success
  type: str
  sample: 07acb166ee119184e38cd06180048a86f22aadf2
registry_differences:
  description: Which keys of O(registry) the running driver has not, in words; empty if none loaded.
  returned: success
  type: list
  elements: str
  sample: ["RMForceP2PType is not set instead of 1"]
matches:
  description:
    - Whether the running build is the installed one, and the expected one where given, loaded with
      O(registry) where that is given.
  returned: success
  type: bool
  sample: true
stopped:
  description: The units that were stopped for the exchange and started again.
  returned: success
  type: list
  elements: str
  sample: [nvidia-persistenced.service]
error:
  description: Code, what was read, what was wanted, and the remedy.
  returned: failure
  type: dict
  sample:
    code: driver_in_use
    read: in use by nvidia-persistenc (812)
    want: no process, console or other kernel module that uses the driver
    remedy: "stop them (services of their own: p2p_swap_stop), or reboot instead"
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.gpufleet.p2p.plugins.module_utils import _module
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import loading
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.kernel import running_release
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.services import unit_name

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

_ROOT = Path("/")


def _body(module: AnsibleModule) -> dict[str, Any]:
    name, expected = module.params["name"], module.params["expected_build_id"]
    kernel = module.params["kernel"] or running_release()
    registry = _registry(module.params["registry"])
    stop = [unit_name(unit) for unit in module.params["stop"]]
    stopped: tuple[str, ...] = ()
    before = after = loading.identify(_ROOT, kernel, name, registry)
    changed = module.params["swap"] and not before.matches(expected)
    if changed and module.check_mode:
        loading.require_swappable(_ROOT, kernel, name, expected, stop)
    elif changed:
        stopped = loading.swap(_ROOT, kernel, name, expected, stop)
        after = loading.identify(_ROOT, kernel, name, registry)
    return {
        "changed": changed,
        "build_id": after.loaded.build_id if after.loaded else None,
        "version": after.loaded.version if after.loaded else None,
        "path": after.installed.path if after.installed else None,
        "installed_build_id": after.installed.build_id if after.installed else None,
        "registry_differences": list(after.differences),
        "matches": after.matches(expected),
        "stopped": list(stopped),
        "diff": {
            "before": _described(before),
            "after": _described(after, as_installed=changed and module.check_mode),
        },
    }


def _registry(given: dict[str, Any]) -> dict[str, int]:
    try:
        return {str(key): int(value) for key, value in given.items()}
    except (TypeError, ValueError) as error:
        raise GpufleetError(
            "registry_invalid",
            read=str(given),
            want="a number for each key",
            remedy="give what driver_registry returned in registry",
        ) from error


def _described(identity: loading.ModuleIdentity, *, as_installed: bool = False) -> str:
    shown = identity.installed if as_installed else identity.loaded
    return f"running: {shown.version} build-id {shown.build_id}\n" if shown else "not loaded\n"


def main() -> None:
    _module.main(
        {
            "name": {"type": "str", "default": "nvidia"},
            "kernel": {"type": "str"},
            "expected_build_id": {"type": "str"},
            "registry": {"type": "dict", "default": {}},
            "swap": {"type": "bool", "default": False},
            "stop": {"type": "list", "elements": "str", "default": []},
        },
        _body,
    )


if __name__ == "__main__":
    main()
