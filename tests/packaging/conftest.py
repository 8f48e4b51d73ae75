# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A clean clone of HEAD, and functions that install it one way or another.

The clone matters: the checkout has files that git does not know, and an installation that needs one
of them works here and nowhere else. So these tests see what is committed, and nothing besides.
Packages come from wherever pip is configured to look; nothing else is fetched.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.installation import Installation, execute

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of HEAD, without the files git does not know."""
    parent = tmp_path_factory.mktemp("clone")
    execute(["git", "clone", "--quiet", "--no-local", str(REPOSITORY), "gpufleet"], cwd=parent)
    return parent / "gpufleet"


@pytest.fixture(scope="session")
def wheel(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sdist, which was built from the clone."""
    target = tmp_path_factory.mktemp("dist")
    execute([sys.executable, "-m", "build", "--outdir", str(target), str(clone)], cwd=target)
    (found,) = target.glob("gpufleet-*.whl")
    return found


@pytest.fixture(scope="session")
def tarball(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `ansible-galaxy collection build` makes of the clone."""
    target = tmp_path_factory.mktemp("tarball")
    Installation(Path(sys.executable).parent, target).run(
        "ansible-galaxy", "collection", "build", str(clone), "--output-path", str(target)
    )
    (found,) = target.glob("gpufleet-p2p-*.tar.gz")
    return found


@pytest.fixture
def pip_install(tmp_path: Path) -> Callable[..., Installation]:
    """A function that gives pip's arguments to a new and empty virtual environment."""

    def install(*arguments: str) -> Installation:
        venv, elsewhere = tmp_path / "venv", tmp_path / "elsewhere"
        elsewhere.mkdir()
        execute([sys.executable, "-m", "venv", str(venv)], cwd=tmp_path)
        execute([str(venv / "bin/pip"), "install", "--quiet", *arguments], cwd=elsewhere)
        return Installation(venv / "bin", elsewhere)

    return install


@pytest.fixture
def galaxy_install(tmp_path: Path) -> Callable[[str], Installation]:
    """A function that installs a tarball or a URL into an empty directory of collections."""

    def install(source: str) -> Installation:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        installation = Installation(
            Path(sys.executable).parent, elsewhere, collections_path=tmp_path / "collections"
        )
        installation.run(
            # An editable install of the checkout counts as an installed collection: without force
            # there would be "nothing to do".
            "ansible-galaxy", "collection", "install", source, "--force",
            "--collections-path", str(installation.collections_path),
        )  # fmt: skip
        return installation

    return install
