# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holding a host to one kernel: a real menu of two kernels, from Debian 12's grub-mkconfig."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import grub_defaults, grub_script
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.grub_debian import GrubDebian
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import (
    BootConfigurationRefused,
    apply_in_order,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.kernel_default import (
    DROP_IN,
    KernelDefault,
    selector_of,
)

RECORDED = Path(__file__).parent / "samples/debian12_two_kernels_grub.cfg"
OLD, NEW = "6.1.0-56-cloud-amd64", "6.12.117+deb12-cloud-amd64"


class Menu:
    """grub-mkconfig's part in this: 00_header writes GRUB_DEFAULT into the recorded menu."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.deaf = False

    def generate(self, like: bytes) -> bytes:
        """Return the menu with the host's default."""
        default = grub_defaults.default_entry(grub_defaults.files(self.root)) or "0"
        chosen = "0" if self.deaf else default
        return RECORDED.read_text().replace('set default="0"', f'set default="{chosen}"').encode()

    def check(self, script: bytes) -> None:
        """Parse it."""
        grub_script.parse(script.decode())


@pytest.fixture
def menu(tmp_path: Path) -> Menu:
    for release in (OLD, NEW):
        for kind in ("vmlinuz", "initrd.img"):
            path = tmp_path / "boot" / f"{kind}-{release}"
            path.parent.mkdir(exist_ok=True)
            path.write_text("image")
    (tmp_path / "boot/grub").mkdir()
    (tmp_path / "boot/grub/grub.cfg").write_text(RECORDED.read_text())
    (tmp_path / "etc/default/grub.d").mkdir(parents=True)
    (tmp_path / "etc/default/grub").write_text('GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX="quiet"\n')
    return Menu(tmp_path)


@pytest.fixture
def default(menu: Menu) -> KernelDefault:
    return KernelDefault(GrubDebian(menu.root, tools=menu))


def test_pinned_and_released_again_leaves_the_original_bytes(
    menu: Menu, default: KernelDefault
) -> None:
    assert (default.present(), default.unpinned(), default.pinned()) == (NEW, NEW, False)
    apply_in_order(default.steps_to_pin(OLD))
    assert (default.present(), default.unpinned(), default.pinned()) == (OLD, NEW, True)
    assert default.steps_to_pin(OLD) == []
    apply_in_order(default.steps_to_unpin())
    assert (menu.root / "boot/grub/grub.cfg").read_text() == RECORDED.read_text()
    assert not (menu.root / DROP_IN).exists()
    assert default.steps_to_unpin() == []


@pytest.mark.parametrize("applied", [1, 2])
def test_a_pinning_killed_after_any_step_is_completed(default: KernelDefault, applied: int) -> None:
    apply_in_order(default.steps_to_pin(OLD)[:applied])
    apply_in_order(default.steps_to_pin(OLD))
    assert default.present() == OLD


@pytest.mark.parametrize("applied", [1, 2])
def test_a_release_killed_after_any_step_is_completed(
    menu: Menu, default: KernelDefault, applied: int
) -> None:
    apply_in_order(default.steps_to_pin(OLD))
    apply_in_order(default.steps_to_unpin()[:applied])
    apply_in_order(default.steps_to_unpin())
    assert (menu.root / "boot/grub/grub.cfg").read_text() == RECORDED.read_text()


def test_a_menu_that_does_not_follow_is_refused_and_taken_back(
    menu: Menu, default: KernelDefault
) -> None:
    menu.deaf = True
    with pytest.raises(BootConfigurationRefused) as refusal:
        apply_in_order(default.steps_to_pin(OLD))
    assert refusal.value.code == "generated_grub_cfg_refused"
    assert not default.pinned()
    assert (menu.root / "boot/grub/grub.cfg").read_text() == RECORDED.read_text()


def test_a_kernel_without_an_entry_is_refused(default: KernelDefault) -> None:
    with pytest.raises(BootConfigurationRefused) as refusal:
        default.steps_to_pin("6.1.0-55-cloud-amd64")
    assert refusal.value.code == "kernel_without_entry"


def test_the_entry_is_named_by_release_and_is_no_recovery_entry() -> None:
    selector = selector_of(grub_script.parse(RECORDED.read_text()), OLD)
    assert selector is not None
    submenu, _, entry = selector.partition(">")
    assert submenu.startswith("gnulinux-advanced-")
    assert entry.startswith(f"gnulinux-{OLD}-advanced-")


def test_a_default_of_the_hosts_own_is_what_it_returns_to(
    menu: Menu, default: KernelDefault
) -> None:
    own = selector_of(grub_script.parse(RECORDED.read_text()), OLD)
    (menu.root / "etc/default/grub").write_text(f'GRUB_DEFAULT="{own}"\n')
    assert default.unpinned() == OLD
    apply_in_order(default.steps_to_pin(NEW))
    assert default.present() == NEW
    apply_in_order(default.steps_to_unpin())
    assert default.present() == OLD
    assert default.steps_to_unpin() == []
