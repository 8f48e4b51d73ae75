# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's files: all of them there after the first run, none of them after the removal."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard import installation
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard.installation import Wanted
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard.places import (
    PROGRAM,
    SETTINGS,
    Settings,
    SettingsUnreadable,
    below,
    read_settings,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard.units import (
    SERVICE,
    TIMER,
    service_text,
    timer_text,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.state_file import StateUnreadable

WANTED = Wanted(b"#!/bin/true\n", Settings(alarm_command=("page", "team")), 30)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "host/var/lib").mkdir(parents=True)
    return tmp_path / "host"


def tree(root: Path) -> dict[str, object]:
    return {
        str(path.relative_to(root)): (path.lstat().st_mode, path.read_bytes())
        if path.is_file()
        else path.lstat().st_mode
        for path in sorted(root.rglob("*"))
    }


def install(root: Path, wanted: Wanted = WANTED) -> None:
    installation.apply_present(installation.plan_present(wanted, root), root)


def remove(root: Path) -> None:
    changes = installation.plan_absent(read_settings(root), root)
    installation.apply_absent(changes, root)


@pytest.mark.parametrize("made", [(), ("etc/kernel/postinst.d", "etc/systemd/system", "usr/lib")])
def test_installed_once_then_gone_without_a_trace(root: Path, made: tuple[str, ...]) -> None:
    for name in made:
        (root / name).mkdir(parents=True)
    before = tree(root)
    install(root)
    assert installation.plan_present(WANTED, root) == []
    assert below(root, PROGRAM).stat().st_mode & 0o7777 == 0o755
    assert below(root, installation.ENABLEMENT).is_symlink()
    assert read_settings(root) == WANTED.settings
    remove(root)
    assert tree(root) == before
    assert installation.plan_absent(Settings(), root) == []


def test_a_changed_or_writable_file_is_put_right(root: Path) -> None:
    install(root)
    hook = below(root, installation.HOOK_DIRECTORIES[0] / installation.HOOK_NAME)
    hook.write_text("exit 1\n")
    below(root, PROGRAM).chmod(0o777)
    changed = {change.path for change in installation.plan_present(WANTED, root)}
    assert changed == {hook, below(root, PROGRAM)}
    install(root)
    assert installation.plan_present(WANTED, root) == []


@pytest.mark.parametrize("killed_after", range(8))
def test_an_installation_that_was_killed_is_completed_or_removed(
    root: Path, killed_after: int
) -> None:
    before = tree(root)
    changes = installation.plan_present(WANTED, root)
    installation._note_directories([change.path.parent for change in changes], root)
    installation.apply_present(changes[:killed_after], root)
    remove(root)
    assert tree(root) == before


def test_a_users_file_in_a_directory_of_ours_stays(root: Path) -> None:
    install(root)
    mine = below(root, SETTINGS).parent / "mine"
    mine.write_text("mine")
    remove(root)
    assert mine.read_text() == "mine"


def test_a_hook_never_fails_a_kernels_installation(tmp_path: Path) -> None:
    program = tmp_path / "program"
    text = installation._HOOK.replace(str(PROGRAM), str(program))
    for content in (None, "#!/bin/sh\nexit 1\n", "not a program"):
        if content is not None:
            program.write_text(content)
            program.chmod(0o755)
        done = subprocess.run(["/bin/sh", "-c", text], capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (0, b"")


def test_settings_that_cannot_be_understood_are_named(root: Path) -> None:
    path = below(root, SETTINGS)
    path.parent.mkdir(parents=True)
    for text in ("{}", "[]", "{", json.dumps({"schema": 2})):
        path.write_text(text)
        with pytest.raises(SettingsUnreadable):
            read_settings(root)


@pytest.mark.parametrize("quick", [True, False])
def test_systemd_understands_the_units(tmp_path: Path, quick: bool) -> None:
    program = tmp_path / "program"
    shutil.copy2("/bin/true", program)
    service = service_text(Settings(quick_check=quick)).replace(str(PROGRAM), str(program))
    (tmp_path / SERVICE).write_text(service.replace("Documentation=man:journalctl(1)\n", ""))
    (tmp_path / TIMER).write_text(timer_text(60))
    paths = [str(tmp_path / name) for name in (SERVICE, TIMER)]
    done = subprocess.run(
        ["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in done.stderr


@pytest.mark.parametrize("text", ["", "[", "{}", "7", '["relative"]', '["/var/../etc"]', "[1]"])
def test_a_damaged_list_of_directories_is_told_and_nothing_goes(root: Path, text: str) -> None:
    install(root)
    below(root, installation.MADE).write_text(text)
    before = tree(root)
    with pytest.raises(StateUnreadable, match=r"directories\.json"):
        remove(root)
    assert tree(root) == before
    below(root, installation.MADE).unlink()
    remove(root)
    assert not below(root, PROGRAM).exists()
