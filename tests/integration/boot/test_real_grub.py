# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same host with the real GRUB: grub-mkconfig, grub-script-check, grub-editenv, and /bin/sh.

Needs root and grub-common. grub-mkconfig has its paths built in, so it runs in a mount namespace
of its own in which the host's /etc/default and /boot lie over this machine's, which is never
written to.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import (
    grub_defaults,
    grub_environment,
    grub_script,
    plan,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.cmdline import (
    Parameter,
    from_arguments,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.grub_debian import drop_in_text
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.grub_tools import InstalledGrub
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import (
    BootConfigurationRefused,
    apply_in_order,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import run
from hypothesis import given, settings
from hypothesis import strategies as st
from support.bls_host import LAYOUTS, MENU, BlsHost
from support.boot_host import BootHost
from support.plain_grub_hosts import ArchHost

WANTED = ["intel_iommu=on", "iommu=pt", "pci=disable_acs_redir=0000:00:01.0;0000:00:02.0"]
# "$1" is the host's tree; the file names are arguments, never text of the script.
_GENERATE = """
mount --make-rprivate /
mount --bind "$1/boot" /boot
mount --bind "$1/etc/default" /etc/default
exec grub-mkconfig -o "$1/generated.cfg"
"""


class RealGrub(InstalledGrub):
    """grub-mkconfig over a host's tree; the checks are the product's own."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def generate(self, like: bytes) -> bytes:
        """Run grub-mkconfig in a mount namespace and return what it made."""
        run(
            ["unshare", "--mount", "/bin/sh", "-e", "-c", _GENERATE, "sh", str(self.root)],
            env={"LANG": "C"},
        )
        text = (self.root / "generated.cfg").read_text(encoding="utf-8")
        # grub-mkrelpath sees through the bind mount; GRUB on the host would find /boot.
        return re.sub(r"(?<=[\t ])/\S*/boot/(?=vmlinuz|init|[a-z]+-ucode)", "/boot/", text).encode()


@pytest.fixture(params=[BootHost, ArchHost])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> BootHost:
    """Return a host of each kind; Debian's generator reads them all, and names kernels alike."""
    made: BootHost = request.param(tmp_path, RealGrub(tmp_path))
    return made


def test_trial_confirmation_and_removal_with_the_real_generator(host: BootHost) -> None:
    pristine = host.tree()
    planned = plan.plan_present(host.observe(), WANTED, trial=True, panic_seconds=30)
    apply_in_order(planned.steps)
    listed = run(["grub-editenv", str(host.path(f"{host.directory}/grubenv")), "list"]).stdout
    assert listed == f"next_entry=gpufleet-trial-{planned.token}\n"
    host.reboot()
    apply_in_order(plan.plan_confirmed(host.observe(), planned.token).steps)
    menu = grub_script.parse(host.read(f"{host.directory}/grub.cfg"))
    for entry in menu.walk():
        if entry.linux is not None:
            texts = [word.text for word in entry.linux.words]
            assert (WANTED[-1] in texts) is ("-recovery-" not in entry.identity)
    host.reboot()
    assert host.command_line().endswith(" ".join(WANTED))
    apply_in_order(plan.plan_absent(host.observe(), []).steps)
    assert host.tree() == pristine


def test_check_mode_foresees_what_the_real_generator_makes(host: BootHost) -> None:
    steps = plan.plan_present(host.observe(), WANTED, trial=False, panic_seconds=30).steps
    foreseen = steps[-1].as_diff()
    apply_in_order(steps)
    assert steps[-1].as_diff() == foreseen


def test_a_broken_custom_cfg_is_found_before_it_is_extended(host: BootHost) -> None:
    host.write(f"{host.directory}/custom.cfg", "if true; then\n")
    with pytest.raises(BootConfigurationRefused) as refusal:
        plan.plan_present(host.observe(), WANTED, trial=True, panic_seconds=30)
    assert refusal.value.code == "grub_script_malformed"


@pytest.mark.parametrize("kind", LAYOUTS)
def test_boot_entries_and_their_environment_are_what_grub_takes(tmp_path: Path, kind: str) -> None:
    """blscfg pastes options behind ``linux`` in a script; its variables come from grubenv."""
    host = BlsHost(tmp_path, kind)
    environment = str(host.path(host.environment))
    InstalledGrub().check(MENU.format(fallback="ro").encode())

    def listed() -> dict[str, str]:
        lines = run(["grub-editenv", environment, "list"]).stdout.splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    before = listed()
    planned = plan.plan_present(host.observe(), WANTED, trial=True, panic_seconds=30)
    apply_in_order(planned.steps)
    assert listed() == {**before, "next_entry": f"~gpufleet-trial-{planned.token}"}
    (trial,) = host.path("boot/loader/entries").glob("~*.conf")
    (options,) = re.findall(r"^options (.*)$", trial.read_text(), re.MULTILINE)
    InstalledGrub().check(f"menuentry x {{\n\tlinux /vmlinuz {options}\n}}\n".encode())
    run(["grub-editenv", environment, "set", "next_entry="])
    host.reboot()
    apply_in_order(plan.plan_abandoned(host.observe(), planned.token).steps)
    assert listed() == before
    apply_in_order(plan.plan_present(host.observe(), WANTED, trial=False, panic_seconds=30).steps)
    shared = listed().pop("kernelopts", "")
    assert shared.endswith(f"'{WANTED[-1]}'" if host.layout.shared else "")


@settings(max_examples=60, deadline=None)
@given(
    value=st.text(
        alphabet=st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\"'\\"),
        min_size=1,
        max_size=24,
    )
)
def test_shell_and_grub_hand_every_parameter_on_unchanged(
    tmp_path_factory: pytest.TempPathFactory, value: str
) -> None:
    parameter = Parameter("dyndbg", value)
    drop_in = tmp_path_factory.mktemp("drop_in") / "zz-gpufleet.cfg"
    drop_in.write_text(drop_in_text([parameter]), encoding="utf-8")
    shells = grub_defaults.evaluate([drop_in])[0].default
    line = f"menuentry x {{\n\tlinux /vmlinuz ro {shells}\n}}\n"
    InstalledGrub().check(line.encode())
    linux = grub_script.parse(line).entries[0].linux
    assert linux is not None
    assert from_arguments(word.text for word in linux.words[3:]).parameters == (parameter,)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,10}", fullmatch=True),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=40, deadline=None)
def test_the_environment_block_is_the_one_grub_editenv_writes(
    tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str]
) -> None:
    path = tmp_path_factory.mktemp("grubenv") / "grubenv"
    run(["grub-editenv", str(path), "create"])
    empty = path.read_bytes()
    ours = empty
    for name, value in variables.items():
        ours = grub_environment.updated(ours, name, value)
        run(["grub-editenv", str(path), "set", f"{name}={value}"])
    assert ours == path.read_bytes()
    assert grub_environment.parse(ours) == variables
    first = next(iter(variables))
    run(["grub-editenv", str(path), "set", f"{first}=another value"])
    assert grub_environment.updated(ours, first, "another value") == path.read_bytes()
    for name in variables:
        ours = grub_environment.updated(ours, name, None)
    assert ours == empty
