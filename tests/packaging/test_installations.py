# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every way to install gpufleet ends with a collection that is complete and works anywhere."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

from support.installation import Installation, execute

PLAYBOOKS = ("site", "preflight", "verify", "rollback")
# The directories of the repository that are the collection.
COLLECTION = ("meta", "playbooks", "plugins", "roles")


def tracked(clone: Path) -> set[str]:
    """Return the paths of the collection's files that git knows, relative to the root."""
    return set(execute(["git", "ls-files", *COLLECTION], cwd=clone).splitlines())


def present(root: Path) -> set[str]:
    """Return the paths of the files in an installed collection's directories."""
    return {
        str(path.relative_to(root))
        for part in COLLECTION
        for path in (root / part).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def assert_usable(installation: Installation, clone: Path, root: Path) -> None:
    """Assert that Ansible finds every module and playbook of the clone, and finds it in `root`."""
    modules = sorted(path.stem for path in (clone / "plugins/modules").glob("*.py"))
    names = [f"gpufleet.p2p.{module}" for module in modules]
    documented = json.loads(installation.run("ansible-doc", "--json", *names))
    assert sorted(documented) == names
    for entry in documented.values():
        assert Path(entry["doc"]["filename"]).resolve().is_relative_to(root.resolve())
    for playbook in PLAYBOOKS:
        installation.run(
            "ansible-playbook", "--syntax-check", "-i", "localhost,", f"gpufleet.p2p.{playbook}"
        )


def test_wheel_in_an_empty_environment(
    pip_install: Callable[..., Installation], wheel: Path, clone: Path
) -> None:
    installation = pip_install("--constraint", str(clone / "constraints.txt"), str(wheel))
    root = installation.collection_root
    assert present(root) == tracked(clone)
    assert_usable(installation, clone, root)
    installation.run("gpufleet", "--help")
    # The lab is part of the product: what its machines are made of travels inside the package.
    lab = root.parents[2] / "gpufleet/lab/files"
    files = {str(path.relative_to(lab)) for path in lab.rglob("*") if path.is_file()}
    assert files == {
        path.removeprefix("lab/") for path in execute(["git", "ls-files", "lab"], cwd=clone).split()
    }


def test_wheel_with_the_oldest_dependencies(
    pip_install: Callable[..., Installation], wheel: Path, clone: Path
) -> None:
    """The lower bounds in pyproject.toml are claims: take them at their word."""
    project = tomllib.loads((clone / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = [requirement.replace(">=", "==") for requirement in project["dependencies"]]
    installation = pip_install(str(wheel), *oldest)
    assert_usable(installation, clone, installation.collection_root)
    installation.run("gpufleet", "--help")
    installation.run("python", "-c", "from gpufleet import Fleet")


def test_editable_install_uses_the_checkout(
    pip_install: Callable[..., Installation], clone: Path
) -> None:
    constraints = str(clone / "constraints.txt")
    installation = pip_install("--constraint", constraints, "--editable", str(clone))
    # A copy in site-packages would hide the checkout.
    assert not list(installation.programs.parent.glob("lib/*/site-packages/ansible_collections"))
    assert_usable(installation, clone, clone)
    installation.run("gpufleet", "--help")


def test_galaxy_tarball(
    galaxy_install: Callable[[str], Installation], tarball: Path, clone: Path
) -> None:
    installation = galaxy_install(str(tarball))
    assert present(installation.collection_root) == tracked(clone)
    assert_usable(installation, clone, installation.collection_root)


def test_galaxy_tarball_holds_nothing_but_the_collection(
    galaxy_install: Callable[[str], Installation], tarball: Path
) -> None:
    root = galaxy_install(str(tarball)).collection_root
    documents = {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "docs"}
    manifests = {"FILES.json", "MANIFEST.json"}
    assert {path.name for path in root.iterdir()} - {"tests"} <= {
        *COLLECTION,
        *documents,
        *manifests,
    }
    # ansible-test looks for its exceptions in tests/sanity of an installed collection.
    assert {path.name for path in root.glob("tests/*")} <= {"sanity"}


def test_git_url(galaxy_install: Callable[[str], Installation], clone: Path) -> None:
    installation = galaxy_install(f"git+file://{clone}")
    assert present(installation.collection_root) == tracked(clone)
    assert_usable(installation, clone, installation.collection_root)
