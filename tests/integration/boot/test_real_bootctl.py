# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of the menu and its default, as systemd's own bootctl has them.

Needs root, and bootctl: the installed one, or that of the package, which is unpacked and not
installed, since its installation would put systemd-boot into this machine's EFI partition.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.boot_entry import read_entries
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.boot_entry_trial import identity_of
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.boot_menu import Menu, version_key
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import run
from hypothesis import given, settings
from hypothesis import strategies as st
from support.driver_hosts import cache_directory

# bootctl wants the root of a file system: a tmpfs, in a mount namespace of its own.
_LIST = """
mount -t tmpfs tmpfs /mnt
cp -r "$1/." /mnt
exec "$2" list --esp-path=/mnt --no-pager --json=short
"""
TRIAL = identity_of("0" * 16)
# bootctl passes over names with other characters.
WORDS = st.text("abz019.-_", min_size=1, max_size=6).filter(lambda name: name[0] != ".")
IDENTITIES = WORDS.map(lambda word: f"{word}.conf")
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "sort-key": st.sampled_from(["debian", "arch", "z"]),
        "version": st.sampled_from(["6.1.0-9", "6.1.0-10", "6.12~rc1", "6.12"]),
        "machine-id": st.sampled_from(["0" * 32, "6ab461ecafe444959a617cbbb11e722d"]),
    },
)


@pytest.fixture(scope="session")
def bootctl() -> Path:
    installed = shutil.which("bootctl")
    if installed is not None:
        return Path(installed)
    kept = cache_directory() / "systemd-boot"
    if not kept.is_dir():
        temporary = kept.with_name(f".{kept.name}.{os.getpid()}")
        temporary.mkdir()
        subprocess.run(["apt-get", "download", "systemd-boot"], cwd=temporary, check=True)
        (package,) = temporary.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", package.name, "."], cwd=temporary, check=True)
        temporary.rename(kept)
    return kept / "usr/bin/bootctl"


def are_told_apart(entries: dict[str, dict[str, str]]) -> bool:
    """Return whether no two names are the same version to systemd, as 0.conf and 00.conf are.

    Such entries stand in the order in which the directory happens to have them.
    """
    names = [*entries, TRIAL]
    return len({version_key(name) for name in names}) == len(names)


@settings(max_examples=40, deadline=None)
@given(entries=st.dictionaries(IDENTITIES, FIELDS, min_size=1, max_size=5).filter(are_told_apart))
def test_the_menu_has_bootctls_order(
    tmp_path_factory: pytest.TempPathFactory, bootctl: Path, entries: dict[str, dict[str, str]]
) -> None:
    partition = tmp_path_factory.mktemp("partition")
    (partition / "loader/entries").mkdir(parents=True)
    (partition / "kernel").write_text("kernel")
    for identity, fields in {**entries, TRIAL: {}}.items():
        lines = [f"{key} {value}\n" for key, value in fields.items()]
        text = "".join(["linux /kernel\n", "options quiet\n", *lines])
        (partition / "loader/entries" / identity).write_text(text)
    listed = run(
        ["unshare", "--mount", "/bin/sh", "-e", "-c", _LIST, "sh", str(partition), str(bootctl)],
        env={"SYSTEMD_RELAX_ESP_CHECKS": "1"},
    )
    theirs = [json.loads(line)["id"] for line in listed.stdout.splitlines()]
    menu = Menu(tuple(read_entries(partition)))
    assert [entry.identity for entry in menu.ordered()] == theirs
    assert menu.default().identity == theirs[0]
