# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The libraries through upgrades by the host's own apt, and the way back.

The packages are made here, with NVIDIA's names and versions; apt, dpkg and their rules are real.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable

import pytest
from support.driver_hosts import VERSION, Host

NewHost = Callable[[str], Host]
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
PACKAGES = ("libcuda1", "libnvidia-ml1")
FIRMWARE = "firmware-nvidia-gsp"
#: As dpkg names them.
ALL = {FIRMWARE, *(f"{name}:amd64" for name in PACKAGES)}
TREES = ("etc", "var/lib/gpufleet")
NEWER = "595.71.05"
_APT = (
    "-o",
    "Dir::Etc::sourceparts=/dev/null",
    "-o",
    "Dir::Etc::sourcelist=/srv/repository/sources.list",
)
# What NVIDIA's installer does as far as the host can tell: it is a shell script that takes options.
_RUNFILE = f"""\
#!/bin/sh
echo "$@" > /srv/options
for name in libcuda libnvidia-ml; do
  echo library > {LIBRARIES}/$name.so.{VERSION}
  ln -sf $name.so.{VERSION} {LIBRARIES}/$name.so.1
done
mkdir -p /usr/lib/firmware/nvidia/{VERSION}
echo firmware > /usr/lib/firmware/nvidia/{VERSION}/gsp_ga10x.bin
cat > /usr/bin/nvidia-uninstall <<'END'
#!/bin/sh
rm -f {LIBRARIES}/libcuda.so.* {LIBRARIES}/libnvidia-ml.so.* /usr/bin/nvidia-uninstall
rm -rf /usr/lib/firmware/nvidia/{VERSION}
END
chmod 755 /usr/bin/nvidia-uninstall
"""


def make_package(host: Host, name: str, release: str) -> str:
    """Build a package with one library, or the firmware; return its index entry."""
    tree = host.path(f"/srv/make/{name}-{release}")
    if name == FIRMWARE:
        folder = tree / "usr/lib/firmware/nvidia" / release
        folder.mkdir(parents=True)
        (folder / "gsp_ga10x.bin").write_text("firmware")
    else:
        library = name.rstrip("1") + ".so"
        folder = tree / LIBRARIES.lstrip("/")
        folder.mkdir(parents=True)
        (folder / f"{library}.{release}").write_text("library")
        (folder / f"{library}.1").symlink_to(f"{library}.{release}")
    (tree / "DEBIAN").mkdir()
    control = (
        f"Package: {name}\nVersion: {release}-1\nArchitecture: amd64\n"
        + ("" if name == FIRMWARE else "Multi-Arch: same\n")
        + (f"Depends: libnvidia-ml1 (= {release}-1)\n" if name == "libcuda1" else "")
        + "Source: nvidia-graphics-drivers\nMaintainer: nobody <nobody@example.org>\n"
        "Description: a library\n"
    )
    (tree / "DEBIAN/control").write_text(control)
    file = f"{name}_{release}-1_amd64.deb"
    host.run("dpkg-deb", "-b", f"/srv/make/{tree.name}", f"/srv/repository/{file}")
    data = host.path(f"/srv/repository/{file}").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return f"{control}Filename: ./{file}\nSize: {len(data)}\nSHA256: {digest}\n\n"


@pytest.fixture
def host(new_host: NewHost) -> Host:
    """Return a host with the libraries of VERSION, whose archive has a newer release."""
    host = new_host("libraries")
    host.path("/srv/repository").mkdir()
    everything = (*PACKAGES, FIRMWARE)
    entries = [make_package(host, name, r) for name in everything for r in (VERSION, NEWER)]
    host.path("/srv/repository/Packages").write_text("".join(entries))
    sources = "deb [trusted=yes] file:/srv/repository ./\n"
    host.path("/srv/repository/sources.list").write_text(sources)
    host.run("apt-get", *_APT, "update")
    host.run("apt-get", *_APT, "install", "-y", *(f"{name}={VERSION}-1" for name in everything))
    return host


def versions(host: Host) -> set[str]:
    told = host.run("dpkg-query", "-W", "-f", "${Version}\n", *PACKAGES)
    return set(told.split())


def selections(host: Host) -> str:
    return host.run("dpkg", "--get-selections")


def test_held_through_a_full_upgrade_and_let_go_again(host: Host) -> None:
    host.run("apt-mark", "hold", "libnvidia-ml1")
    before, chosen = host.tree(*TREES), selections(host)

    planned = host.module("driver_userspace", check_mode=True, version=VERSION)
    assert planned["changed"] and host.tree(*TREES) == before and selections(host) == chosen
    done = host.module("driver_userspace", version=VERSION)
    assert done["actions"] == planned["actions"]
    assert {package["name"] for package in done["packages"]} == ALL
    assert not host.module("driver_userspace", version=VERSION)["changed"]

    host.run("apt-get", *_APT, "dist-upgrade", "-y")
    assert versions(host) == {f"{VERSION}-1"}
    # Each layer by itself: the pin where somebody lifts the hold.
    host.run("apt-mark", "unhold", *PACKAGES)
    host.run("apt-get", *_APT, "dist-upgrade", "-y")
    assert versions(host) == {f"{VERSION}-1"}
    assert host.module("driver_userspace", version=VERSION)["changed"]

    gone = host.module("driver_userspace", state="released")
    assert gone["changed"]
    assert host.tree(*TREES) == before
    assert not host.module("driver_userspace", state="released")["changed"]


def test_a_hold_of_the_hosts_own_outlasts_ours(host: Host) -> None:
    host.run("apt-mark", "hold", "libnvidia-ml1")
    chosen = selections(host)
    host.module("driver_userspace", version=VERSION)
    host.module("driver_userspace", state="released")
    assert selections(host) == chosen


def test_the_control_without_a_hold_is_upgraded_away_from_its_modules(host: Host) -> None:
    host.run("apt-get", *_APT, "dist-upgrade", "-y")
    assert versions(host) == {f"{NEWER}-1"}
    refused = host.module("driver_userspace", version=VERSION)
    assert refused["error"]["code"] == "userspace_version_mismatch"


def test_unattended_upgrades_is_told_of_every_package_that_matters(host: Host) -> None:
    host.module("driver_userspace", version=VERSION)
    told = host.run("apt-config", "dump", "Unattended-Upgrade::Package-Blacklist")
    patterns = re.findall(r'Package-Blacklist:: "(.*)";', told)
    # unattended-upgrades matches a package's name from its beginning with each of these.
    for name in (*PACKAGES, "nvidia-driver-595-open", "linux-modules-nvidia-595-open-generic"):
        assert any(re.match(pattern, name) for pattern in patterns), name
    assert not any(re.match(pattern, "openssl") for pattern in patterns)


class TestPackages:
    """The archive has the release: apt brings all of them to it, and back."""

    @pytest.fixture
    def archived(self, host: Host) -> Host:
        """Return a host whose own apt knows the archive and nothing else."""
        for path in host.path("/etc/apt/sources.list.d").glob("*"):
            path.unlink()
        shutil.copy2(host.path("/srv/repository/sources.list"), host.path("/etc/apt/sources.list"))
        return host

    def test_brought_to_the_release_held_there_and_brought_back(self, archived: Host) -> None:
        before, chosen = archived.tree(*TREES), selections(archived)
        facts = archived.module("p2p_facts")["ansible_facts"]["p2p"]["driver"]
        assert set(facts["userspace_archive"]["releases"][NEWER]) == ALL

        options = {"version": NEWER, "packages": True}
        planned = archived.module("driver_userspace", check_mode=True, **options)
        assert planned["changed"] and versions(archived) == {f"{VERSION}-1"}
        assert archived.tree(*TREES) == before
        done = archived.module("driver_userspace", **options)
        assert done["userspace_version"] == NEWER, done
        assert done["actions"] == planned["actions"]
        assert versions(archived) == {f"{NEWER}-1"}
        assert not archived.module("driver_userspace", **options)["changed"]

        gone = archived.module("driver_userspace", state="released")
        assert f"bring {FIRMWARE} back to {VERSION}-1" in gone["actions"]
        assert versions(archived) == {f"{VERSION}-1"}
        assert (archived.tree(*TREES), selections(archived)) == (before, chosen)
        assert not archived.module("driver_userspace", state="released")["changed"]

    def test_through_other_releases_it_goes_back_to_the_first(self, archived: Host) -> None:
        for release in (NEWER, VERSION, NEWER):
            archived.module("driver_userspace", version=release, packages=True)
            assert versions(archived) == {f"{release}-1"}
            # An upgrade of everything leaves them where they are, older or not.
            archived.run("apt-get", "dist-upgrade", "-y")
            assert versions(archived) == {f"{release}-1"}
        archived.module("driver_userspace", state="released")
        assert versions(archived) == {f"{VERSION}-1"}

    def test_what_apt_cannot_bring_as_a_whole_changes_nothing(self, archived: Host) -> None:
        before = archived.tree(*TREES)
        refused = archived.module("driver_userspace", version="610.43.02", packages=True)
        assert refused["error"]["code"] == "userspace_not_in_archive"
        archived.run("apt-mark", "hold", "libcuda1")
        refused = archived.module("driver_userspace", version=NEWER, packages=True)
        assert refused["error"]["code"] == "userspace_held"
        archived.run("apt-mark", "unhold", "libcuda1")
        # All but one of them is not enough: they would be of two releases.
        forget(archived, f"Package: {FIRMWARE}\nVersion: {NEWER}-1")
        refused = archived.module("driver_userspace", version=NEWER, packages=True)
        assert refused["error"]["code"] == "userspace_not_in_archive"
        assert archived.tree(*TREES) == before

    def test_what_the_archive_has_no_more_is_told_before_anything_is_let_go(
        self, archived: Host
    ) -> None:
        archived.module("driver_userspace", version=NEWER, packages=True)
        before = archived.tree(*TREES)
        forget(archived, f"Version: {VERSION}-1")
        refused = archived.module("driver_userspace", state="released")
        assert refused["error"]["code"] == "userspace_not_restorable"
        assert archived.tree(*TREES) == before


def forget(host: Host, lines: str) -> None:
    """Take the packages whose entries have these lines out of the archive."""
    index = host.path("/srv/repository/Packages")
    entries = index.read_text().split("\n\n")
    index.write_text("\n\n".join(entry for entry in entries if lines not in entry))
    host.run("apt-get", "update")


class TestRunfile:
    @pytest.fixture
    def bare(self, new_host: NewHost) -> Host:
        host = new_host("bare")
        host.path(LIBRARIES).mkdir(parents=True, exist_ok=True)
        host.path("/srv/installer.run").write_text(_RUNFILE)
        return host

    def test_installed_without_kernel_modules_and_uninstalled(self, bare: Host) -> None:
        bare.path("/usr/lib/firmware/nvidia").mkdir(parents=True)
        trees = (*TREES, "usr/bin", LIBRARIES.lstrip("/"), "usr/lib/firmware")
        before = bare.tree(*trees)
        digest = hashlib.sha256(bare.path("/srv/installer.run").read_bytes()).hexdigest()
        options = {"version": VERSION, "runfile": "/srv/installer.run", "sha256": digest}
        done = bare.module("driver_userspace", **options)
        assert done["userspace_version"] == VERSION, done
        assert "--no-kernel-modules" in bare.path("/srv/options").read_text().split()
        assert not bare.module("driver_userspace", **options)["changed"]
        bare.module("driver_userspace", state="released")
        assert bare.tree(*trees) == before

    def test_libraries_without_their_firmware_are_not_enough(self, bare: Host) -> None:
        installer = bare.path("/srv/installer.run")
        installer.write_text(_RUNFILE.replace("gsp_ga10x.bin", "LICENSE"))
        digest = hashlib.sha256(installer.read_bytes()).hexdigest()
        options = {"version": VERSION, "runfile": "/srv/installer.run", "sha256": digest}
        refused = bare.module("driver_userspace", **options)
        assert refused["error"]["code"] == "firmware_missing"
        # What was installed is known, and goes again.
        bare.module("driver_userspace", state="released")
        assert not list(bare.path(LIBRARIES).glob("libcuda*"))

    def test_another_file_than_the_one_meant_is_not_run(self, bare: Host) -> None:
        options = {"version": VERSION, "runfile": "/srv/installer.run", "sha256": "0" * 64}
        refused = bare.module("driver_userspace", **options)
        assert refused["error"]["code"] == "runfile_checksum_mismatch"
        assert not bare.path("/srv/options").exists()

    def test_libraries_of_packages_are_never_overwritten(self, host: Host) -> None:
        host.path("/srv/installer.run").write_text(_RUNFILE)
        options = {"version": "610.43.02", "runfile": "/srv/installer.run", "sha256": "0" * 64}
        refused = host.module("driver_userspace", **options)
        assert refused["error"]["code"] == "userspace_of_packages"
