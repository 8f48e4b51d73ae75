# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet of two kernels is built for on one builder: twice, once each, under one run's lock.

The role's own tasks run with the collection's plugins. Two modules are replaced: the compiling one
by one that notes what it was asked for, and the lock's root by a folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "lab/simulated_driver/kernel"
VERSION = "595.58.03"
RELEASE = "6.8.0-49-generic"
GCC12 = "x86_64-linux-gnu-gcc-12 (Ubuntu 12.3.0-1ubuntu1~22.04) 12.3.0"
GCC13 = "x86_64-linux-gnu-gcc-13 (Ubuntu 13.2.0-23ubuntu4) 13.2.0"
#: Hosts with the same kernel release, as two releases of a distribution have it.
COMPILERS = {"jammy": GCC12, "another_jammy": GCC12, "noble": GCC13}

GIVE_FACTS = """
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule({"facts": {"type": "dict"}})
module.exit_json(ansible_facts={"p2p": module.params["facts"]})
"""

COMPILE = """
import json
import time
from pathlib import Path
from ansible.module_utils import basic
names = [name for name in basic._load_params() if not name.startswith("_")]
module = basic.AnsibleModule({name: {"type": "raw"} for name in names})
asked = module.params
folder = Path(%(folder)r)
lock = json.loads((folder / "root/var/lib/gpufleet/lock.json").read_text())
with (folder / "compiled.jsonl").open("a") as calls:
    calls.write(json.dumps({**asked, "purposes": lock["purposes"]}) + "\\n")
time.sleep(%(seconds)s)
Path(asked["archive"]).write_text(asked["kernel_compiler"])
module.exit_json(changed=True, manifest={"kernel_compiler": asked["kernel_compiler"]})
"""


def stage(folder: Path, compile_seconds: float) -> Path:
    """Return a folder of collections that holds this one with the two modules replaced."""
    collection = folder / "collections/ansible_collections/gpufleet/p2p"
    modules = collection / "plugins/modules"
    modules.mkdir(parents=True)
    for name in ("galaxy.yml", "meta", "roles", "playbooks"):
        (collection / name).symlink_to(ROOT / name)
    for name in ("action", "filter", "module_utils", "plugin_utils"):
        (collection / "plugins" / name).symlink_to(ROOT / "plugins" / name)
    for name in ("driver_source.py", "driver_build_progress.py"):
        (modules / name).symlink_to(ROOT / "plugins/modules" / name)
    lock = (ROOT / "plugins/modules/host_lock.py").read_text()
    own_root = 'ROOT = Path("/")'
    assert own_root in lock
    (modules / "host_lock.py").write_text(
        lock.replace(own_root, f"ROOT = Path({str(folder)!r}, 'root')")
    )
    (modules / "dkms_module.py").write_text(
        COMPILE % {"folder": str(folder), "seconds": compile_seconds}
    )
    (modules / "give_facts.py").write_text(GIVE_FACTS)
    return folder / "collections"


class Fleet:
    """A controller that has drivers built for COMPILERS' hosts."""

    def __init__(self, folder: Path, compile_seconds: float = 0) -> None:
        self.folder = folder
        self.collections = stage(folder, compile_seconds)
        (folder / "root").mkdir()
        facts = {
            name: {
                "kernel": {
                    "release": RELEASE,
                    "architecture": "x86_64",
                    "compiler": {"identity": identity, "text": text},
                }
            }
            for name, text in COMPILERS.items()
            for identity in ["gcc12" if text == GCC12 else "gcc13"]
        }
        inventory = {
            "all": {
                "vars": {
                    "ansible_connection": "local",
                    "ansible_python_interpreter": sys.executable,
                    "p2p_cache_dir": str(folder / "cache"),
                    "p2p_driver": {"version": VERSION, "source": {"path": str(SOURCE)}},
                },
                "children": {
                    "p2p_hosts": {"hosts": {name: {"told": told} for name, told in facts.items()}},
                    "p2p_builders": {"hosts": {"builder": {}}},
                },
            }
        }
        play = {
            "name": "Build",
            "hosts": "p2p_hosts",
            "gather_facts": False,
            "tasks": [
                {"name": "Read", "gpufleet.p2p.give_facts": {"facts": "{{ told }}"}},
                {
                    "name": "Build",
                    "ansible.builtin.import_role": {
                        "name": "gpufleet.p2p.p2p_driver",
                        "tasks_from": "build",
                    },
                },
            ],
        }
        (folder / "inventory.json").write_text(json.dumps(inventory))
        (folder / "play.yml").write_text(json.dumps([play]))

    def build(self) -> list[dict[str, Any]]:
        """Run the build and return what compilers were asked for in it."""
        (self.folder / "compiled.jsonl").unlink(missing_ok=True)
        ended = self.run()
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return self.compiled()

    def run(self) -> subprocess.CompletedProcess[str]:
        """Run the build to its end."""
        program = Path(sys.executable).parent / "ansible-playbook"
        return subprocess.run(
            [program, "-i", self.folder / "inventory.json", self.folder / "play.yml"],
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(self.collections)},
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )

    def compiled(self) -> list[dict[str, Any]]:
        """Return what compilers were asked for."""
        calls = self.folder / "compiled.jsonl"
        return (
            [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []
        )


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def test_each_kernel_is_built_for_once_and_kept(fleet: Fleet) -> None:
    asked = fleet.build()
    assert sorted(call["kernel_compiler"] for call in asked) == sorted({GCC12, GCC13})
    assert {call["kernel"] for call in asked} == {RELEASE}

    kept = sorted(path.name for path in (fleet.folder / "cache/builds").glob("*.json"))
    assert [name.rpartition("-")[2] for name in kept] == ["gcc12.json", "gcc13.json"]
    for name, text in zip(kept, (GCC12, GCC13), strict=True):
        manifest = fleet.folder / "cache/builds" / name
        assert json.loads(manifest.read_text())["kernel_compiler"] == text
        assert manifest.with_suffix(".tar.gz").read_text() == text

    # The builder is held for both while either compiles, and let go after the last.
    builds = {f"build {name.removesuffix('.json')}" for name in kept}
    assert [set(call["purposes"]) for call in asked] == [builds, builds]
    assert not (fleet.folder / "root/var/lib/gpufleet").exists()

    assert fleet.build() == []


def test_two_plays_at_once_do_not_build_twice(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, compile_seconds=5)
    with ThreadPoolExecutor() as pool:
        plays = [pool.submit(fleet.run) for _ in range(2)]
        ended = [play.result() for play in plays]
    assert [play.returncode for play in ended] == [0, 0], [play.stdout for play in ended]
    # The control, without which the test shows nothing: one of them did have to wait.
    assert any("RETRYING: [" in play.stdout for play in ended), [play.stdout for play in ended]
    asked = fleet.compiled()
    assert sorted(call["kernel_compiler"] for call in asked) == sorted({GCC12, GCC13})
