# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The context of an execution environment has this collection, and it says what it needs there.

ansible-builder makes the context; its own introspection, which runs while an image is built, is run
on the collection that the context carries. No image is built.
"""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from support.installation import Installation, execute

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def context(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the context that `make execution-environment` makes of the clone."""
    folder = tmp_path_factory.mktemp("execution-environment")
    tools = Installation(Path(sys.executable).parent, folder)
    tools.run(str(clone / "scripts/make-execution-environment"), str(folder / "context"))
    return folder / "context"


@pytest.fixture(scope="module")
def collections(context: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of collections with the one that the context has installed into it."""
    folder = tmp_path_factory.mktemp("collections")
    (wanted,) = yaml.safe_load((context / "_build/requirements.yml").read_text())["collections"]
    tools = Installation(Path(sys.executable).parent, folder)
    packed = context / "_build" / wanted["name"]
    # Forced: the checkout that runs the tests counts as an installed copy.
    tools.run(
        "ansible-galaxy", "collection", "install", str(packed), "--force", "--offline",
        "--collections-path", str(folder),
    )  # fmt: skip
    return folder


def test_the_context_carries_this_version_of_the_collection(context: Path) -> None:
    (wanted,) = yaml.safe_load((context / "_build/requirements.yml").read_text())["collections"]
    assert wanted["type"] == "file"
    with tarfile.open(context / "_build" / wanted["name"]) as packed:
        manifest = packed.extractfile("MANIFEST.json")
        assert manifest is not None
        told = json.load(manifest)["collection_info"]
    version = yaml.safe_load((REPOSITORY / "galaxy.yml").read_text())["version"]
    assert (told["namespace"], told["name"], told["version"]) == ("gpufleet", "p2p", version)


def test_the_image_gets_what_the_wheel_asks_for(context: Path, collections: Path) -> None:
    """An execution environment has no wheel: the collection names its own requirements."""
    script = context / "_build/scripts/introspect.py"
    pip, system = collections / "pip.txt", collections / "bindep.txt"
    execute(
        [sys.executable, str(script), "introspect", f"--write-pip={pip}",
         f"--write-bindep={system}", str(collections)],
        cwd=collections,
    )  # fmt: skip
    # Behind each stands which collection asked for it.
    lines = [line.partition("#")[0].strip() for line in pip.read_text().splitlines()]
    found = [Requirement(line) for line in lines if line]
    assert {requirement.name for requirement in found} == {"nvidia-ml-py", "jinja2"}
    wheel = (REPOSITORY / "pyproject.toml").read_text()
    assert all(f'"{bound}"' in wheel for bound in found)
    assert {line.split()[0] for line in system.read_text().splitlines() if line} >= {"git"}


def test_ansible_and_runner_are_as_new_as_the_wheel_asks(context: Path) -> None:
    text = next(context.glob("*file")).read_text()
    wheel = (REPOSITORY / "pyproject.toml").read_text()
    for name in ("ansible-core", "ansible-runner"):
        (bound,) = [line.strip(' ",') for line in wheel.splitlines() if f'"{name}>=' in line]
        assert bound in text
