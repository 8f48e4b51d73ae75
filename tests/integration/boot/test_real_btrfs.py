# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose /boot is on a real btrfs: a trial is refused and not a byte is written.

Needs root, a loop device and btrfs in the kernel. /boot and /etc/default of this machine are laid
over in a mount namespace and are never written to. molecule/boot_loaders has the same for a
device-mapper volume, which not every machine that runs these tests can make.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import run
from support.boot_host import BootHost

_COLLECTION = Path(__file__).parents[3] / "collection"
_MANIFEST = Path(__file__).parents[3] / "molecule/shared/tree_manifest.py"
_IMAGE_BYTES = 256 << 20
# "$1" is the host's tree, "$2" the interpreter, "$3" the program, "$4" the manifest's.
_IN_NAMESPACE = """
mount --make-rprivate /
mount -o loop "$1/boot.img" /boot
cp -r "$1/boot/." /boot/
mount --bind "$1/etc/default" /etc/default
"$2" "$4" /boot /etc/default /var/lib/gpufleet > "$1/before"
"$2" -c "$3"
"$2" "$4" /boot /etc/default /var/lib/gpufleet > "$1/after"
umount /boot
"""
_PROGRAM = """
import json
from pathlib import Path
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import plan
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.grub_debian import GrubDebian
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import TrialRefused
loader = GrubDebian(Path("/"))
host = plan.observe(loader)
try:
    plan.plan_present(host, ["iommu=pt"], trial=True, panic_seconds=30)
    print(json.dumps({"code": None}))
except TrialRefused as refusal:
    support = loader.trial_support()
    print(json.dumps({"code": refusal.code, "read": refusal.read, "support": support.possible}))
"""


def test_a_trial_on_btrfs_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    BootHost(tmp_path)
    image = tmp_path / "boot.img"
    with image.open("wb") as stream:
        stream.truncate(_IMAGE_BYTES)
    run(["mkfs.btrfs", "--quiet", str(image)])
    words = [str(tmp_path), sys.executable, _PROGRAM, str(_MANIFEST)]
    result = run(
        ["unshare", "--mount", "/bin/sh", "-e", "-c", _IN_NAMESPACE, "sh", *words],
        env={"PYTHONPATH": str(_COLLECTION)},
    )
    told = json.loads(result.stdout)
    assert told["code"] == "trial_impossible", told
    assert told["read"] == "/boot/grub is on btrfs, to which GRUB cannot write"
    assert not told["support"]
    before = (tmp_path / "before").read_text()
    assert "/boot/grub/grub.cfg" in before
    assert (tmp_path / "after").read_text() == before
