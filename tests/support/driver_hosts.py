# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Throw-away Debian hosts for the driver's tests: a cached chroot below an overlay for each host.

The modules run there as Ansible would run them, with the host's own dkms, kmod and initramfs-tools;
nothing of this machine's /lib/modules, /usr/src or /var/lib/dkms is touched. Needs root for chroot
and overlay mounts, and mmdebstrap (once) for the base system.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ansible
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SIMULATED = REPOSITORY / "lab/simulated_driver"
VERSION = "595.58.03"
PACKAGES = (
    "dkms,gcc,g++,make,patch,kmod,xz-utils,zstd,initramfs-tools,python3,mokutil,openssl,"
    "linux-headers-cloud-amd64,linux-image-cloud-amd64"
)
SUITE = "bookworm"
# Debian's, for root (/etc/login.defs). The scripts that stand for tools lie in its first directory.
_LOGIN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# A driver's build on a machine that does much else; what hangs is ended all the same.
_RUN_SECONDS = 3600

_RUN_MODULE = """
import importlib, json, sys
sys.path.insert(0, "/opt/gpufleet")
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
importlib.import_module(f"ansible_collections.gpufleet.p2p.plugins.modules.{sys.argv[1]}").main()
"""


@dataclass(frozen=True)
class Host:
    """A Debian system at ``root`` that commands and modules run in by chroot."""

    root: Path
    kernel: str
    #: What a copy of this host lies over: overlayfs' lowerdir.
    layers: str = ""

    def run(self, *words: str, stdin: str | None = None, check: bool = True) -> str:
        """Run a command inside; return what it printed."""
        result = subprocess.run(
            ["chroot", str(self.root), *words],
            env=_host_environment(),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=_RUN_SECONDS,
        )
        if check and result.returncode != 0:
            raise AssertionError(f"{words}: {result.returncode}\n{result.stdout}{result.stderr}")
        return result.stdout

    def module(self, module: str, *, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        """Run a module of the collection inside; return its result, failed or not."""
        if module == "dkms_module":
            arguments.setdefault("kernel", self.kernel)
        payload = {**arguments, "_ansible_check_mode": check_mode, "_ansible_diff": True}
        said = self.run(
            "python3",
            "-c",
            _RUN_MODULE,
            module,
            stdin=json.dumps({"ANSIBLE_MODULE_ARGS": payload}),
            check=False,
        )
        return dict(json.loads(said.splitlines()[-1]))

    def path(self, path: str | Path) -> Path:
        """Return the file that the host calls ``path``."""
        return self.root / str(path).lstrip("/")

    def tree(self, *directories: str) -> dict[str, tuple[str, int, int, int, str]]:
        """Return path to kind, mode, owner, group and hash of everything below the directories."""
        found = {}
        for directory in directories:
            base = self.path(directory)
            for path in [base, *sorted(base.rglob("*"))] if base.exists() else []:
                status = path.lstat()
                if path.is_symlink():
                    kind, content = "link", str(path.readlink())
                elif path.is_file():
                    kind, content = "file", hashlib.sha256(path.read_bytes()).hexdigest()
                else:
                    kind, content = "directory", ""
                name = str(path.relative_to(self.root))
                found[name] = (kind, status.st_mode, status.st_uid, status.st_gid, content)
        return found

    def installed(self, name: str) -> Path:
        """Return the file that modprobe would load, below the host's root."""
        return self.path(self.run("modinfo", "-k", self.kernel, "-n", name).strip())


def _host_environment() -> dict[str, str]:
    """Return what a command on a host has: the path of root's login, nothing of a make of ours."""
    ours = ("MAKELEVEL", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, "PATH": _LOGIN_PATH}


def cache_directory() -> Path:
    """Return where the base system is kept between runs."""
    home = os.environ.get("GPUFLEET_TEST_CACHE", "~/.cache/gpufleet/driver-tests")
    return Path(home).expanduser()


@pytest.fixture(scope="session")
def base_system() -> Path:
    """Return an unpacked Debian with dkms, a compiler, a kernel and its headers."""
    if os.geteuid() != 0:
        pytest.fail("these tests need root: they build drivers in a chroot (sudo make test)")
    key = hashlib.sha256(f"{SUITE} {PACKAGES}".encode()).hexdigest()[:12]
    directory = cache_directory() / f"{SUITE}-{key}"
    if directory.is_dir():
        return directory
    temporary = directory.with_name(f".{directory.name}.{os.getpid()}")
    temporary.parent.mkdir(parents=True, exist_ok=True)
    archive = temporary.with_suffix(".tar")
    words = ["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(archive)]
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    subprocess.run([*words, *([str(sources)] if sources.exists() else [])], check=True)
    subprocess.run(["mkdir", "-p", str(temporary)], check=True)
    subprocess.run(["tar", "-xf", str(archive), "-C", str(temporary)], check=True)
    archive.unlink()
    temporary.rename(directory)
    return directory


@pytest.fixture(scope="session")
def new_host(
    base_system: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Host]]:
    """Return a function that makes a fresh host; all are unmounted at the end.

    With ``like``, it begins as a copy of that host, which must not be changed any more.
    """
    mounted: list[Path] = []

    def mount(*words: str, on: Path) -> None:
        subprocess.run(["mount", *words, str(on)], check=True)
        mounted.append(on)

    def make(name: str, like: Host | None = None) -> Host:
        home = tmp_path_factory.mktemp(name)
        for part in ("upper", "work", "root"):
            (home / part).mkdir()
        lower = like.layers if like else str(base_system)
        layers = f"{home / 'upper'}:{lower}"
        options = f"lowerdir={lower},upperdir={home / 'upper'},workdir={home / 'work'}"
        mount("-t", "overlay", "overlay", "-o", options, on=home / "root")
        root = home / "root"
        mount("-t", "proc", "proc", on=root / "proc")
        mount("-t", "tmpfs", "-o", "mode=0755,size=1m", "tmpfs", on=root / "dev")
        make_devices(root / "dev")
        if like is not None:
            return Host(root, like.kernel, layers)
        bring_collection(root)
        kernel = next((root / "lib/modules").iterdir()).name
        return Host(root, kernel, layers)

    yield make
    for path in reversed(mounted):
        # Lazily: a process that outlived its test must not keep the others mounted, for pytest
        # removes what it finds in old directories.
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture(scope="session")
def builder(new_host: Callable[[str], Host]) -> Host:
    """Return a host with the simulated driver's source that has exported the patched build."""
    host = new_host("builder")
    copy_source(host)
    result = host.module("dkms_module", **EXPORT)
    assert "failed" not in result, result
    return host


#: The archive, on the builder and on the hosts that it is copied to.
ARCHIVE = "/srv/driver.dkms.tar.gz"
EXPORT: dict[str, Any] = {
    "state": "exported",
    "version": VERSION,
    "source": "/srv/source",
    "patches": ["/srv/patches/peer-to-peer.patch"],
    "archive": ARCHIVE,
}
INSTALL: dict[str, Any] = {"state": "installed", "version": VERSION, "archive": ARCHIVE}


def copy_source(host: Host) -> None:
    """Put the simulated driver's source and patch where EXPORT expects them."""
    shutil.copytree(SIMULATED / "kernel", host.path("/srv/source"), symlinks=True)
    shutil.copytree(SIMULATED / "patches", host.path("/srv/patches"))


def give_archive(builder: Host, host: Host) -> None:
    """Copy the builder's archive to a host, as a role does."""
    shutil.copy2(builder.path(ARCHIVE), host.path(ARCHIVE))


def give_stock_module(builder: Host, host: Host) -> None:
    """Give a host a stock module, as a distribution's package brings one."""
    stock = host.path(f"/lib/modules/{host.kernel}/kernel/drivers/video/nvidia.ko")
    stock.parent.mkdir(parents=True, exist_ok=True)
    built = builder.module("dkms_module", **{**EXPORT, "state": "built", "patches": []})
    stock.write_bytes(builder.path(built["modules"][0]["path"]).read_bytes())
    host.run("depmod", "-a", host.kernel)


def damage_archive(host: Host) -> None:
    """Cut the archive short."""
    path = host.path(ARCHIVE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def stub(host: Host, tool: str, script: str) -> None:
    """Put a script before the real tool."""
    path = host.path(f"/usr/local/sbin/{tool}")
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


def dying_copy(target: str, above: str) -> str:
    """Return a script for ``cp`` that kills who copies to ``target`` (a pattern of the shell).

    Killed are the script and the processes above it whose names match ``above``, outermost first.
    """
    return f"""
case "$*" in
  {target})
    process=$PPID line=
    while [[ $(< /proc/$process/comm) =~ ^({above})$ ]]; do
      line="$process $line"
      process=$(awk '/^PPid:/ {{print $2}}' /proc/$process/status)
    done
    kill -KILL $line $$ ;;
esac
exec /bin/cp "$@"
"""


def run_until_killed(host: Host, **arguments: Any) -> None:
    """Run dkms_module under a fault that its process does not outlive."""
    try:
        host.module("dkms_module", **arguments)
    except IndexError:
        # Nothing was printed: the module's process died, as it was meant to.
        return
    pytest.fail("the module outlived the fault")


def archived_modules(host: Host) -> set[str]:
    """Return the names of the module files in the archive."""
    with tarfile.open(host.path(ARCHIVE)) as archive:
        return {Path(name).name for name in archive.getnames() if "/module/" in name}


def make_devices(directory: Path) -> None:
    """Make the devices that every program expects; this machine's /dev is kept out of reach."""
    for name, minor in (("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)):
        os.mknod(directory / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        (directory / name).chmod(0o666)
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        (directory / name).symlink_to(f"/proc/self/{target}")
    (directory / "shm").mkdir()


def bring_collection(root: Path) -> None:
    """Put the collection and Ansible's module_utils where the modules' Python finds them."""
    target = root / "opt/gpufleet"
    plugins = target / "ansible_collections/gpufleet/p2p/plugins"
    skip = shutil.ignore_patterns("__pycache__")
    for part in ("modules", "module_utils"):
        shutil.copytree(REPOSITORY / "plugins" / part, plugins / part, ignore=skip)
    package = Path(ansible.__file__).parent
    shutil.copytree(package / "module_utils", target / "ansible/module_utils", ignore=skip)
    (target / "ansible/__init__.py").touch()
