#!/usr/bin/python
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: driver_source
short_description: Fetch a driver build's source, verify it, and pack it by its content
version_added: "0.1.0"
description:
  - Fetches what O(build) names - a commit of a git repository, an archive, the distribution's own
    package, or a folder - and its patch files, into a cache, and verifies commits and checksums.
  - Packs the source into an archive named by its content, so that a build is made once for it.
  - Applies the patches to a copy, and tells what the result is, so that hosts can be judged by it
    before anything is built.
  - Meant to be delegated to the controller; for a distribution's package, to a host that runs the
    distribution.
author:
  - gpufleet authors (@gpufleet)
attributes:
  check_mode:
    support: full
    description: Can run in check mode; fetches into a temporary folder then.
  diff_mode:
    support: none
    description: Will return details on what has changed when in diff mode.
options:
  build:
    description:
      - The driver build.
      - C(version), the release, in quotes.
      - C(source), one of C(git) with the full C(commit), C(archive) (path or URL) with C(sha256),
        C(distribution) (a package, or true for C(nvidia-open-kernel-dkms)) and C(path).
      - C(patches), a list of C({path}) or C({url, sha256}), applied in order.
      - C(registry), keys of the resource manager. C(RMForceP2PType) takes a name (C(bar1),
        C(mailbox), C(nvlink), C(c2c); C(pcie) from 575 on), because its number changed its meaning.
      - C(userspace), one of C(keep), C(packages), C(runfile).
    type: dict
    required: true
  lock:
    description: The C(p2p_driver_lock) of a lock file; what differs from it is refused.
    type: dict
  source:
    description: The source where it is on this machine already, in place of C(build.source).
    type: path
  runfile:
    description:
      - C(path) and C(sha256) of NVIDIA's installer on this machine, for a build with
        C(userspace=runfile); what it is is told, so that hosts can be judged by it.
    type: dict
    default: {}
  cache:
    description: Folder that keeps downloads, checkouts and packed sources.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Fetch the commit of a fork and pack it
  gpufleet.p2p.driver_source:
    build:
      version: 595.58.03
      source:
        git: https://example.org/open-gpu-kernel-modules
        commit: 0123456789abcdef0123456789abcdef01234567
    cache: /srv/gpufleet/sources
  delegate_to: localhost
  register: bundle
"""

RETURN = r"""
archive:
  description: Path of the gzip-compressed tar archive of the source, without the patches.
  type: str
  returned: success
  sample: /srv/gpufleet/sources/5f1d0c….tar.gz
key:
  description: SHA-256 over the files' names, types, execute bits and content and the patches.
  type: str
  returned: success
  sample: 5f1d0c3a…
patches:
  description: Paths of the patch files on this machine, in the order of their application.
  type: list
  elements: str
  returned: success
  sample: [/srv/peer-to-peer.patch]
build:
  description: The build with nothing left out.
  type: dict
  returned: success
  sample: {version: 595.58.03, source: {path: /srv/source}, patches: [], registry: {}}
description:
  description:
    - The patched source - its version, its modules, whether the resource manager comes prebuilt,
      and with how many arguments it calls C(pci_resize_resource()).
  type: dict
  returned: success
  sample: {version: 595.58.03, prebuilt: false, modules: [nvidia], resize_arguments: [3, 4]}
runfile:
  description:
    - O(runfile) as it was given and as it is - C(path), C(expected) and C(sha256) (null where there
      is no such file), and the C(release) that it brings (null where it does not tell). Null where
      none was given.
  type: dict
  returned: success
  sample:
    path: /srv/NVIDIA-Linux-x86_64-595.58.03.run
    expected: 9f86d081884c7d65
    sha256: 9f86d081884c7d65
    release: 595.58.03
module_parameters:
  description: The parameters of the nvidia module that stand for the build's C(registry).
  type: dict
  returned: success
  sample: {NVreg_RegistryDwords: "RMForceP2PType=1;RMPcieP2PType=1"}
"""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.gpufleet.p2p.plugins.module_utils import _module
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import runfile
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.locked_source import (
    locked_source,
)

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def _body(module: AnsibleModule) -> dict[str, Any]:
    arguments = module.params
    source = Path(arguments["source"]) if arguments["source"] else None
    cache = Path(arguments["cache"])
    told = {"runfile": _runfile(arguments["runfile"])}
    if not module.check_mode:
        result = locked_source(arguments["build"], arguments["lock"], cache, source=source)
        return {**result, **told}
    with tempfile.TemporaryDirectory(prefix="gpufleet-source-") as directory:
        result = locked_source(
            arguments["build"], arguments["lock"], Path(directory), source=source
        )
        archive = cache / Path(result["archive"]).name
        changed = not archive.is_file()
        return {**result, **told, "archive": str(archive), "changed": changed}


def _runfile(given: dict[str, Any]) -> dict[str, Any] | None:
    if not given:
        return None
    return asdict(runfile.inspect(str(given.get("path", "")), str(given.get("sha256", ""))))


def main() -> None:
    _module.main(
        {
            "build": {"type": "dict", "required": True},
            "lock": {"type": "dict"},
            "source": {"type": "path"},
            "runfile": {"type": "dict", "default": {}},
            "cache": {"type": "path", "required": True},
        },
        _body,
    )


if __name__ == "__main__":
    main()
