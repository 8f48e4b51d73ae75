# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What GRUB would boot, from a real grub.cfg, whole and cut at every place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.boot_host import RECORDED

from faults.boot_choice import NotBooting, choose, environment

CONFIG = RECORDED.read_text(encoding="utf-8")
TRIAL = """
menuentry 'gpufleet trial' --class debian $menuentry_id_option gpufleet-trial-00ff {
\tlinux\t/boot/vmlinuz-6 root=UUID=x ro quiet iommu=pt
\tinitrd\t/boot/initrd.img-6
}
"""
SELECTED = "# GRUB Environment Block\nnext_entry=gpufleet-trial-00ff\n####"


def test_the_first_entry_is_the_default() -> None:
    choice = choose(CONFIG, None, "# GRUB Environment Block\n####")
    assert choice.identity.startswith("gnulinux-simple-")
    assert choice.linux.startswith("/boot/vmlinuz-")
    assert choice.initrd is not None and choice.initrd.startswith("/boot/initrd.img-")
    assert choice.root.startswith(("UUID=", "LABEL=", "/dev/"))


def test_a_selected_entry_is_taken_where_it_can_be_found() -> None:
    assert choose(CONFIG, TRIAL, SELECTED).identity == "gpufleet-trial-00ff"
    assert choose(CONFIG, TRIAL, "next_entry=\n") == choose(CONFIG, None, None)
    # GRUB takes the first one where there is none of that name.
    assert choose(CONFIG, None, SELECTED) == choose(CONFIG, None, None)
    assert choose(CONFIG, TRIAL[: TRIAL.index("initrd")], SELECTED) == choose(CONFIG, None, None)


@pytest.mark.parametrize("config", [None, "", "set timeout=1\n", "menuentry 'x' {\n"])
def test_nothing_to_boot_is_told(config: str | None) -> None:
    with pytest.raises(NotBooting):
        choose(config, None, None)


@given(st.integers(0, len(CONFIG)))
def test_a_file_that_is_cut_boots_the_whole_ones_default_or_nothing(end: int) -> None:
    try:
        assert choose(CONFIG[:end], None, None) == choose(CONFIG, None, None)
    except NotBooting:
        assert end < CONFIG.index("submenu")


@given(st.text())
def test_any_text_is_answered(text: str) -> None:
    environment(text)
    try:
        choose(text, text, text)
    except NotBooting as reason:
        assert str(reason)
