# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The system that every simulated host is a copy of: taken to peer-to-peer by site.yml itself.

It stands on the lab's image: the same Debian, kernel, headers and stock driver as the lab's virtual
machines. What is made here is kept in a cache; a host that site.yml has taken there once is brought
up to date by site.yml at the next use, as any other.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.fleet.controller import ROOT, play
from benchmarks.fleet.figures import BUILTIN, OURS
from benchmarks.fleet.hosts import Hosts, System, serve
from benchmarks.fleet.machine import DESCRIPTION, boot_machine, build_machine, read_description
from gpufleet.lab.chroot import enter_argv
from gpufleet.lab.content_key import content_key
from gpufleet.lab.image import Image, exclusive, installed_tree
from gpufleet.lab.paths import GUEST_FILES, cache_directory, lab_files
from gpufleet.lab.progress import Reporter
from gpufleet.lab.remote import make_key
from gpufleet.lab.sources import machine_sources

_HERE = Path(__file__).parent
#: What is compared.
PLAYBOOKS = {OURS: ROOT / "site.yml", BUILTIN: _HERE / "builtin/builtin.yml"}
_NAME = "seed"
_BOOT_MIB = 768
_TOOL = "opt/cuda-samples"
_PROGRAM = "usr/local/bin/p2pBandwidthLatencyTest"
# What of the tests' programs stands for p2pBandwidthLatencyTest.
_TOOL_FILES = ("cuda_library.py", "elf_objects.py", "other_tools")


class SeedFailed(Exception):
    """site.yml did not take the seed to peer-to-peer; the message says where its output is."""


@contextmanager
def converged_system(
    description: Path, logs: Path, reporter: Reporter, cache: Path | None = None
) -> Iterator[System]:
    """Give the system that converged hosts are made of; nobody else changes it meanwhile.

    Args:
        description: a host description of the lab: the GPUs of every host.
        logs: directory for the output of what is run.
        reporter: told of each step.
        cache: where systems are kept; beside the lab's images by default.

    Raises:
        SeedFailed: site.yml failed on the seed.
        GpufleetError: the lab's image cannot be made here; the error says what is missing.
    """
    image = Image(cache_directory(), lab_files() / "simulated_driver", reporter)
    image.ensure_base(machine_sources() for _ in range(1))
    driver_key = content_key(lab_files() / "simulated_driver", (str(image.root_file_system),))
    key = content_key(_HERE / "guest", (driver_key, description.read_text(encoding="utf-8")))
    home = (cache or cache_directory().parent / "fleet-benchmark") / key
    with exclusive(home.with_suffix(".lock")):
        if not home.exists():
            partial = home.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            with reporter.step("Simulated host: driver, kernel, boot files"):
                _install(image, partial, description, logs)
            partial.rename(home)
        with reporter.step("Simulated host: to peer-to-peer by both playbooks"):
            _converge(image, home, logs)
        layers = f"{home / 'seed/changes'}:{_layers(image, home)}"
        yield _system(image, home, layers)


def _layers(image: Image, home: Path) -> str:
    return f"{home / 'system/changes'}:{image.root_file_system}"


def _system(image: Image, home: Path, layers: str) -> System:
    return System(
        layers,
        home / "machine",
        home / "boot.img",
        image.kernel_release,
        home / "key",
        home / "builds",
    )


def _install(image: Image, home: Path, description: Path, logs: Path) -> None:
    """Make the host as its owner installed it, with the stock driver."""
    system = home / "system"
    changes = system / "changes"
    changes.mkdir(parents=True)
    kernel = image.kernel_release
    _build_stock_driver(image, changes, logs)
    described = build_machine(
        home / "machine", image.root_file_system, kernel, read_description(description)
    )
    _write(changes / DESCRIPTION, described)
    make_key(home / "key")
    _write(changes / "root/.ssh/authorized_keys", (home / "key.pub").read_text(), mode=0o600)
    host_key = changes / "etc/ssh/ssh_host_ed25519_key"
    host_key.parent.mkdir(parents=True, exist_ok=True)
    make_key(host_key)
    _write(changes / "usr/sbin/grub-probe", (_HERE / "guest/grub-probe").read_text(), mode=0o755)
    _install_other_tool(changes)
    _run(
        enter_argv(image.root_file_system, system, ["sh", "-c", f"depmod {kernel} && ldconfig"]),
        logs / "install.log",
    )
    if (system / "copied").exists():
        raise SeedFailed(
            f"{system} cannot be an overlay's upper directory: put the cache onto a plain disk"
        )
    _make_boot(image, home, logs)


def _build_stock_driver(image: Image, changes: Path, logs: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="build-", dir=changes.parent) as directory:
        build = Path(directory)
        for part in ("kernel", "userspace"):
            source = lab_files() / "simulated_driver" / part
            shutil.copytree(source, build / "changes/driver" / part)
        shutil.copy(GUEST_FILES / "build-driver.sh", build / "changes")
        command = ["sh", "/build-driver.sh", image.kernel_release]
        _run(enter_argv(image.root_file_system, build, command), logs / "stock-driver.log")
        shutil.copytree(installed_tree(build), changes, symlinks=True, dirs_exist_ok=True)


def _install_other_tool(changes: Path) -> None:
    """Put the program that the comparison's playbook proves peer-to-peer with onto the host."""
    support = changes / _TOOL / "support"
    for name in _TOOL_FILES:
        source = ROOT / "tests/support" / name
        target = support / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    _write(
        changes / _PROGRAM,
        f"#!/bin/sh\nPYTHONPATH=/{_TOOL} exec /usr/bin/python3"
        " -m support.other_tools.p2p_bandwidth_latency\n",
        mode=0o755,
    )


def _make_boot(image: Image, home: Path, logs: Path) -> None:
    """Make the file system of /boot: a trial boot asks what it is, and on what disk."""
    boot = image.root_file_system / "boot"
    words = ["mkfs.ext4", "-q", "-F", "-m", "0", "-d", str(boot), str(home / "boot.img")]
    _run([*words, f"{_BOOT_MIB}M"], logs / "boot.log")


def _converge(image: Image, home: Path, logs: Path) -> None:
    """Let site.yml take the seed to peer-to-peer, or bring it up to date."""
    system = _system(image, home, _layers(image, home))
    booted = home / "booted"
    with serve(system, {_NAME: home / "seed"}) as hosts:
        if not booted.exists():
            hosts.address(_NAME).run(
                [
                    "grub-editenv /boot/grub/grubenv create",
                    "&& grub-mkconfig -o /boot/grub/grub.cfg && mkdir -p /etc/modules-load.d",
                ],
                timeout=300.0,
            )
            _play(hosts, system, OURS, logs / "install", "--tags=driver,iommu")
            _boot(hosts, system, home / "seed/changes")
            booted.touch()
        for playbook, path in PLAYBOOKS.items():
            _play(hosts, system, playbook, logs / f"converge-{path.stem}")


def _play(hosts: Hosts, system: System, playbook: str, directory: Path, *options: str) -> None:
    # Without a trial: the one restart is between two runs here.
    inventory = hosts.inventory(
        host_kernel=system.kernel,
        p2p_trial_boot=False,
        p2p_quick=True,
        p2p_report_dir=str(directory / "report"),
    )
    run = play(PLAYBOOKS[playbook], inventory, directory, options)
    if run.status != 0:
        raise SeedFailed(f"{playbook} failed on the simulated host: {directory / 'output.log'}")


def _boot(hosts: Hosts, system: System, changes: Path) -> None:
    address = hosts.address(_NAME)
    grub_config = address.run(["cat", "/boot/grub/grub.cfg"]).stdout
    # /lib is a link.
    found = address.run([f"readlink -f $(modinfo -k {system.kernel} -n nvidia)"]).stdout.strip()
    boot_machine(system.machine, grub_config, changes / found.lstrip("/"))


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _run(command: list[str], log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        ended = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
    if ended.returncode != 0:
        raise SeedFailed(f"{command[0]} ended with {ended.returncode}: {log}")
