#!/usr/bin/python
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: driver_build_progress
short_description: Tell how far a driver build is
version_added: "0.1.0"
description:
  - Counts the objects that a running build of M(gpufleet.p2p.dkms_module) has compiled, by its log.
  - Meant for the host that builds, while the build runs there asynchronously.
author:
  - gpufleet authors (@gpufleet)
attributes:
  check_mode:
    support: full
    description: Can run in check mode and return the same as otherwise.
  diff_mode:
    support: none
    description: Returns details of what has changed, or would change.
    details: The module changes nothing.
options:
  name:
    description: Name of the DKMS package.
    type: str
    default: gpufleet-nvidia
  version:
    description: The driver's version.
    type: str
    required: true
  build_directory:
    description: Where the builder keeps its builds.
    type: path
    default: /var/cache/gpufleet/driver
seealso:
  - module: gpufleet.p2p.dkms_module
"""

EXAMPLES = r"""
- name: Look how far the build is
  gpufleet.p2p.driver_build_progress:
    version: 595.58.03
  register: progress
"""

RETURN = r"""
objects:
  description: Objects compiled so far; null where no build is running.
  type: int
  returned: success
  sample: 512
expected:
  description: Objects that the source names, one or two percent too few; null where unknown.
  type: int
  returned: success
  sample: 1382
log:
  description: The build's log on this host; null where no build is running.
  type: str
  returned: success
  sample: /var/cache/gpufleet/driver/5f1d0c/dkms/gpufleet-nvidia/595.58.03/build/make.log
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.gpufleet.p2p.plugins.module_utils import _module
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.progress import running_build

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def _body(module: AnsibleModule) -> dict[str, Any]:
    arguments = module.params
    directory = Path(arguments["build_directory"])
    found = running_build(directory, arguments["name"], arguments["version"])
    if found is None:
        return {"changed": False, "objects": None, "expected": None, "log": None}
    return {
        "changed": False,
        "objects": found.objects,
        "expected": found.expected,
        "log": str(found.log),
    }


def main() -> None:
    _module.main(
        {
            "name": {"type": "str", "default": "gpufleet-nvidia"},
            "version": {"type": "str", "required": True},
            "build_directory": {"type": "path", "default": "/var/cache/gpufleet/driver"},
        },
        _body,
    )


if __name__ == "__main__":
    main()
