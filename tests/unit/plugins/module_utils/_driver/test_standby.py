# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The former modules are named by the index while the files change; depmod and modinfo are real."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import standby
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.identity import (
    DRIVER_MODULES,
    resolved_path,
)

KERNEL = "6.1.0-1+lab-amd64"
STOCK = "kernel/drivers/video"
OURS = "updates/dkms"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the root of a host with stock modules, which the code takes for /."""
    (tmp_path / "etc/depmod.d").mkdir(parents=True)
    configuration = tmp_path / "run/depmod.d/gpufleet-standby.conf"

    def depmod(kernel: str) -> None:
        words = ["depmod", "-b", str(tmp_path), "-C", str(tmp_path / "etc/depmod.d")]
        if configuration.exists():
            words += ["-C", str(configuration)]
        subprocess.run([*words, kernel], check=True, capture_output=True)

    def resolved(_root: Path, kernel: str, name: str) -> Path | None:
        return resolved_path(tmp_path, kernel, name)

    monkeypatch.setattr(standby, "CONFIGURATION", configuration)
    monkeypatch.setattr(standby, "run_depmod", depmod)
    monkeypatch.setattr(standby, "resolved_path", resolved)
    put(tmp_path, STOCK)
    depmod(KERNEL)
    yield tmp_path


def put(host: Path, place: str) -> None:
    directory = host / "lib/modules" / KERNEL / place
    directory.mkdir(parents=True)
    for name in DRIVER_MODULES:
        (directory / f"{name}.ko").write_bytes(ELF)


#: An ELF file of 64 bits without sections is a module to depmod and modinfo.
ELF = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + bytes.fromhex("01003e0001000000") + bytes(40)


def places(host: Path) -> set[str]:
    tree = host / "lib/modules" / KERNEL
    found = [resolved_path(host, KERNEL, name) for name in DRIVER_MODULES]
    assert all(path is not None and path.is_file() for path in found), found
    return {str(path.parent.relative_to(tree)) for path in found if path}


def test_the_former_modules_are_found_until_the_new_ones_are_there(host: Path) -> None:
    with standby.standby([KERNEL], host / "lib/modules"):
        assert places(host) == {standby.DIRECTORY}
        put(host, OURS)
        # As DKMS does, whenever it likes.
        standby.run_depmod(KERNEL)
        assert places(host) == {standby.DIRECTORY}
    assert places(host) == {OURS}
    assert not (host / "lib/modules" / KERNEL / standby.DIRECTORY).exists()
    assert not standby.CONFIGURATION.parent.exists()


def test_dkms_finds_no_copy_by_its_name_and_takes_none_away(host: Path) -> None:
    tree = host / "lib/modules" / KERNEL
    with standby.standby([KERNEL], host / "lib/modules"):
        for name in DRIVER_MODULES:
            # As dkms 3.2 looks for an original module, to move it out of the way (find_module).
            pattern = ["-name", f"{name}.ko", "-o", "-name", f"{name}.ko.xz", "-type", "f"]
            words = ["find", str(tree), *pattern]
            said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
            for path in said.splitlines():
                Path(path).unlink()
        assert places(host) == {standby.DIRECTORY}
        put(host, OURS)
    assert places(host) == {OURS}
    assert [path.name for path in (host / "lib/modules").iterdir()] == [KERNEL]


def test_an_end_that_was_interrupted_is_taken_up(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        monkeypatch.context() as patches,
        standby.standby([KERNEL], host / "lib/modules"),
    ):
        patches.setattr(Path, "unlink", killed)
    assert standby.kernels_on_standby(host / "lib/modules") == {KERNEL}
    with standby.standby([], host / "lib/modules"):
        pass
    assert places(host) == {STOCK}
    assert [path.name for path in (host / "lib/modules").iterdir()] == [KERNEL]


def killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_after_a_removal_the_stock_modules_are_found_and_not_the_copies(host: Path) -> None:
    put(host, OURS)
    standby.run_depmod(KERNEL)
    with standby.standby([KERNEL], host / "lib/modules"):
        shutil.rmtree(host / "lib/modules" / KERNEL / OURS)
    assert places(host) == {STOCK}


def test_an_interrupted_exchange_keeps_its_copies_for_the_next(host: Path) -> None:
    exchange = standby.standby([KERNEL], host / "lib/modules")
    exchange.__enter__()
    kept = host / "lib/modules" / KERNEL / standby.DIRECTORY
    shutil.rmtree(host / "lib/modules" / KERNEL / STOCK)
    # The host restarts: /run is empty, and the index is what it was.
    standby.CONFIGURATION.unlink()
    assert standby.kernels_on_standby(host / "lib/modules") == {KERNEL}
    inode = (kept / "nvidia.ko").stat().st_ino
    with standby.standby([], host / "lib/modules"):
        assert (kept / "nvidia.ko").stat().st_ino == inode
        put(host, OURS)
    assert places(host) == {OURS}
    assert not kept.exists()


def test_without_a_driver_there_is_nothing_to_keep(host: Path) -> None:
    shutil.rmtree(host / "lib/modules" / KERNEL / STOCK)
    standby.run_depmod(KERNEL)
    with standby.standby([KERNEL], host / "lib/modules"):
        assert not (host / "lib/modules" / KERNEL / standby.DIRECTORY).exists()
        put(host, OURS)
    assert places(host) == {OURS}


def test_no_room_for_the_copies_changes_nothing(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", full)
    with (
        pytest.raises(OSError, match="No space"),
        standby.standby([KERNEL], host / "lib/modules"),
    ):
        pytest.fail("the exchange began")
    assert places(host) == {STOCK}
    assert not (host / "lib/modules" / KERNEL / standby.DIRECTORY).exists()
