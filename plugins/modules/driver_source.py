#!/usr/bin/python
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: driver_source
short_description: Pack a driver source into an archive named by its content
version_added: "0.1.0"
description:
  - Packs a driver source tree, or a tar archive of one, into a cache folder.
  - The archive and its key are the same for the same content, so that a build is made once for it.
  - Meant to be delegated to the controller.
author:
  - gpufleet authors (@gpufleet)
attributes:
  check_mode:
    support: full
    description: Can run in check mode and return changed status without modifying the target.
  diff_mode:
    support: none
    description: Will return details on what has changed when in diff mode.
options:
  source:
    description: A driver source tree, or a tar archive of one.
    type: path
    required: true
  patches:
    description: Patch files in the order of their application; they count for the key only.
    type: list
    elements: path
    default: []
  version:
    description: The version that the C(version.mk) of the source has to state.
    type: str
    required: true
  cache:
    description: Folder that keeps the archives.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Pack a fork that is checked out on the controller
  gpufleet.p2p.driver_source:
    source: /srv/open-gpu-kernel-modules
    version: 595.58.03
    cache: /srv/gpufleet/sources
  delegate_to: localhost
  register: bundle
"""

RETURN = r"""
archive:
  description: Path of the gzip-compressed tar archive.
  type: str
  returned: success
  sample: /srv/gpufleet/sources/5f1d0c….tar.gz
key:
  description: SHA-256 over the files' names, types, execute bits and content and the patches.
  type: str
  returned: success
  sample: 5f1d0c3a…
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.gpufleet.p2p.plugins.module_utils import _module
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.bundle import bundle, plan

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def _body(module: AnsibleModule) -> dict[str, Any]:
    arguments = module.params
    pack = plan if module.check_mode else bundle
    packed = pack(
        Path(arguments["source"]),
        [Path(patch) for patch in arguments["patches"]],
        version=arguments["version"],
        cache=Path(arguments["cache"]),
    )
    return {"changed": packed.changed, "archive": str(packed.archive), "key": packed.key}


def main() -> None:
    _module.main(
        {
            "source": {"type": "path", "required": True},
            "patches": {"type": "list", "elements": "path", "default": []},
            "version": {"type": "str", "required": True},
            "cache": {"type": "path", "required": True},
        },
        _body,
    )


if __name__ == "__main__":
    main()
