#!/usr/bin/python
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dkms_module
short_description: Build a GPU driver once, and install it on hosts through DKMS
version_added: "0.1.0"
description:
  - On a builder, compiles a driver source (with patches) for one kernel and packs the result.
  - On a host, imports the packed build into DKMS without compiling, and installs it - all of its
    modules or none. DKMS owns it from then on and can rebuild it for the next kernel.
  - Success is judged by the files - build-ids and checksums against the build's manifest, and what
    modprobe would load - not by the exit status of DKMS.
  - The distribution's own modules stay where they are; the package's outrank them.
  - An initramfs that contains driver modules is brought in line with the installed ones.
options:
  name:
    description: Name of the DKMS package; of its own, so that no other package is touched.
    type: str
    default: gpufleet-nvidia
  version:
    description:
      - The driver's version. The C(version.mk) of the source has to state exactly this.
      - Required unless O(state=absent), where leaving it out means every version of the package.
    type: str
  kernel:
    description: Kernel release to build or install for. The running one by default.
    type: str
  state:
    description:
      - V(built) compiles O(source) with O(patches) in the builder's cache O(build_directory).
      - V(exported) is V(built), and packed into O(archive).
      - V(imported) loads O(archive) into DKMS.
      - V(installed) makes the build the one that modprobe and the initramfs load, and keeps nouveau
        and nova off the GPUs; loads O(archive) first where it is given.
      - V(disabled) keeps the build with DKMS, after loading O(archive) where it is given, and takes
        its modules out of every kernel, so that the distribution's are loaded; DKMS does not
        install it for new kernels until it is V(installed) again.
      - V(absent) removes the package's modules, DKMS entries and sources for all kernels.
    type: str
    choices: [built, exported, imported, installed, disabled, absent]
    required: true
  source:
    description: A driver source tree, or a tar archive of one, on the host that builds.
    type: path
  patches:
    description: Patch files on the host that builds, applied in order with C(patch -p1), no fuzz.
    type: list
    elements: path
    default: []
  archive:
    description: The packed build. A manifest is inside it, and beside it as C(ARCHIVE.json).
    type: path
  kernel_compiler:
    description:
      - What the kernel of the hosts was built with, as C(kernel.compiler.text) of
        M(gpufleet.p2p.p2p_facts) has it. V(built) and V(exported) refuse headers of a kernel of the
        same release that was built with another compiler; distributions share release names.
      - Family and major version are compared. Without it, any headers of the release are taken.
    type: str
  jobs:
    description:
      - Compilers to run at once. By default one for each processor core.
      - Capped in either case at one for each GiB of memory that is available.
    type: int
  build_directory:
    description:
      - Where the builder keeps its builds, by the content of source and patches. It is no part of
        the builder's own DKMS, which would install the driver into the builder's next kernel.
    type: path
    default: /var/cache/gpufleet/driver
requirements:
  - dkms, patch, tar, a compiler and the kernel's headers on the host that builds
  - dkms, kmod and initramfs-tools on the host that installs
notes:
  - With more than one kernel, run the module for each of them; O(state=absent) covers all at once.
attributes:
  check_mode:
    description: Can run in check mode and tells what would be done; applies patches to a copy only.
    support: full
  diff_mode:
    description: Shows the modules' versions and build-ids before and after.
    support: full
author:
  - gpufleet authors (@gpufleet)
"""

EXAMPLES = r"""
- name: Build the patched driver once, on the builder
  gpufleet.p2p.dkms_module:
    version: 595.58.03
    kernel: 6.1.0-56-amd64
    source: /srv/gpufleet/open-gpu-kernel-modules.tar.gz
    patches: [/srv/gpufleet/peer-to-peer.patch]
    archive: /srv/gpufleet/builds/6.1.0-56-amd64.dkms.tar.gz
    state: exported

- name: Install it on a host
  gpufleet.p2p.dkms_module:
    version: 595.58.03
    archive: /var/tmp/6.1.0-56-amd64.dkms.tar.gz
    state: installed

- name: Run the distribution's driver for a while, and keep the build
  gpufleet.p2p.dkms_module:
    version: 595.58.03
    state: disabled

- name: Take every version of it off the host
  gpufleet.p2p.dkms_module:
    state: absent
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be, in words.
  returned: success
  type: list
  elements: str
  sample: ["install, because nvidia: not installed"]
status:
  description: DKMS's entries of the package; kernel and arch are null for a version only added.
  returned: success
  type: list
  elements: dict
  sample:
    - {module: gpufleet-nvidia, version: 595.58.03, kernel: 6.1.0-56-amd64, arch: x86_64,
       status: installed, remarks: []}
modules:
  description:
    - The driver's modules - the built ones for V(built), V(exported) and V(imported), what modprobe
      would load for V(installed), V(disabled) and V(absent).
  returned: success
  type: list
  elements: dict
  sample:
    - {name: nvidia, path: /lib/modules/6.1.0-56-amd64/updates/dkms/nvidia.ko, version: 595.58.03,
       build_id: 07acb166ee119184e38cd06180048a86f22aadf2, signer: DKMS module signing key}
manifest:
  description:
    - The build's record - name, version, kernel, arch, source_key (SHA-256 over the patched
      source), kernel_compiler (what the kernel was built with), compiler (what the modules were),
      and for each module name, file, build_id, sha256 and signer. Null for a build that is only
      planned, and for V(absent).
  returned: success
  type: dict
  sample: {schema: 1, name: gpufleet-nvidia, version: 595.58.03, kernel: 6.1.0-56-amd64}
archive:
  description: The archive's path, SHA-256 and size in bytes. Null where there is none.
  returned: success
  type: dict
  sample: {path: /srv/gpufleet/builds/a.dkms.tar.gz, sha256: 9f86d081884c7d65, size: 51212288}
log:
  description: The log of the build on the host that built, kept with it; null for other states.
  returned: success
  type: str
  sample: /var/cache/gpufleet/driver/5f1d/dkms/gpufleet-nvidia/595.58.03/K/x86_64/log/make.log
objects:
  description: How many objects the build compiled, by its log; null where there is none.
  returned: success
  type: int
  sample: 1400
error:
  description: Code, what was read, what was wanted, and the remedy.
  returned: failure
  type: dict
  sample:
    code: patch_does_not_apply
    read: "peer-to-peer.patch: Hunk #1 FAILED at 29."
    want: every hunk to apply to the source as it is
    remedy: use the patch made for this very driver version; none if the source has it
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.gpufleet.p2p.plugins.module_utils import _module
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import states
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.build import BuildRequest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.dkms import DkmsPackage
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.compiler import KernelCompiler
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import sha256_of
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.kernel import running_release

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def _outcome(arguments: dict[str, Any], *, check: bool) -> states.Outcome:
    name, version, state = arguments["name"], arguments["version"], arguments["state"]
    kernel = arguments["kernel"] or running_release()
    archive = Path(arguments["archive"]) if arguments["archive"] else None
    if state == "absent":
        return states.absent(name, [version] if version else [], kernel, check=check)
    if state == "installed":
        return states.installed(DkmsPackage(name, version), kernel, archive, check=check)
    if state == "disabled":
        return states.disabled(DkmsPackage(name, version), kernel, archive, check=check)
    if state == "imported" and archive is not None:
        return states.imported(DkmsPackage(name, version), kernel, archive, check=check)
    compiler = arguments["kernel_compiler"]
    request = BuildRequest(
        name=name,
        version=version,
        kernel=kernel,
        source=Path(arguments["source"]),
        patches=tuple(Path(patch) for patch in arguments["patches"]),
        kernel_compiler=KernelCompiler(compiler) if compiler else None,
        jobs=arguments["jobs"],
        directory=Path(arguments["build_directory"]),
    )
    return states.built(request, archive=archive if state == "exported" else None, check=check)


def _archive(path: str | None) -> dict[str, Any] | None:
    archive = Path(path) if path else None
    if archive is None or not archive.is_file():
        return None
    return {
        "path": str(archive),
        "sha256": sha256_of(archive),
        "size": archive.stat().st_size,
    }


def _body(module: AnsibleModule) -> dict[str, Any]:
    outcome = _outcome(module.params, check=module.check_mode)
    return {
        "changed": outcome.changed,
        "actions": list(outcome.actions),
        "status": [{**asdict(e), "remarks": list(e.remarks)} for e in outcome.status],
        "modules": [installed.as_dict() for installed in outcome.modules],
        "manifest": outcome.manifest.as_dict() if outcome.manifest else None,
        "archive": _archive(module.params["archive"]),
        "log": str(outcome.log) if outcome.log else None,
        "objects": outcome.objects,
        "diff": {"before": outcome.before, "after": outcome.after},
    }


def main() -> None:
    _module.main(
        {
            "name": {"type": "str", "default": "gpufleet-nvidia"},
            "version": {"type": "str"},
            "kernel": {"type": "str"},
            "state": {
                "type": "str",
                "choices": ["built", "exported", "imported", "installed", "disabled", "absent"],
                "required": True,
            },
            "source": {"type": "path"},
            "patches": {"type": "list", "elements": "path", "default": []},
            "archive": {"type": "path"},
            "kernel_compiler": {"type": "str"},
            "jobs": {"type": "int"},
            "build_directory": {"type": "path", "default": "/var/cache/gpufleet/driver"},
        },
        _body,
        required_if=[
            ("state", "built", ("version", "source")),
            ("state", "exported", ("version", "source", "archive")),
            ("state", "imported", ("version", "archive")),
            ("state", "installed", ("version",)),
            ("state", "disabled", ("version",)),
        ],
    )


if __name__ == "__main__":
    main()
