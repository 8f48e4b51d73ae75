# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The distribution's own open NVIDIA driver, built natively with a patch of ours on top.

Everything is real: the package from the distribution's archive (fetched by the module, verified by
apt), its prebuilt resource manager, the kernel's headers, DKMS. The patch is made here from the
source as it is, so that no driver text lies in this repository.
"""

from __future__ import annotations

import difflib
import io
import json
import re
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.kernel_interface import (
    declared_in,
)
from support.driver_hosts import ARCHIVE, INSTALL, Host, give_archive

NewHost = Callable[[str], Host]
MODULES = {"nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm", "nvidia-peermem"}
TREES = ("etc", "boot", "lib/modules", "usr/src", "var/lib/dkms", "var/lib/gpufleet")
PACKAGE = "nvidia-open-kernel-dkms"
CACHE = "/srv/cache"
PATCH = "/srv/patches/ours.patch"
#: What the patch puts into nvidia.ko, for modinfo to show.
MARK = 'MODULE_INFO(gpufleet, "patched");\n'
COMPILERS = ("gcc", "cc", "make", "g++", "ld", "as")


@dataclass(frozen=True)
class Distribution:
    """A host that has the distribution's driver source, and its release."""

    host: Host
    version: str
    source: dict[str, Any]

    @property
    def compiles(self) -> bool:
        """Whether the source as it is calls pci_resize_resource() as the kernel declares it."""
        headers = self.host.path(f"/lib/modules/{self.host.kernel}/source").readlink()
        declared = declared_in(self.host.path(headers))
        return declared in self.source["description"]["resize_arguments"]


@pytest.fixture(scope="module")
def distribution(new_host: NewHost) -> Distribution:
    host = new_host("distribution")
    # Which release the archive has today is told by the refusal of one that it never had.
    unknown = describe(host, "999.99.99")
    assert unknown["error"]["code"] == "distribution_version_missing", unknown
    offered = re.search(rf"{PACKAGE}: (?:\d+:)?([0-9.]+)-", unknown["error"]["read"])
    assert offered is not None, unknown
    version = offered.group(1)
    before = host.tree("etc/apt")
    source = describe(host, version)
    assert source.get("changed") is True, source
    assert host.tree("etc/apt") == before
    return Distribution(host, version, source)


@pytest.fixture(scope="module")
def built(distribution: Distribution) -> dict[str, Any]:
    """Return what the patched build's export gave."""
    host = distribution.host
    host.path(PATCH).parent.mkdir()
    host.path(PATCH).write_text(patch_text(distribution))
    result = host.module("dkms_module", **export(distribution))
    assert result.get("changed") is True, result
    return result


def describe(host: Host, version: str, *patches: str) -> dict[str, Any]:
    build = {"version": version, "source": {"distribution": PACKAGE}, "patches": list(patches)}
    return host.module("driver_source", build=build, cache=CACHE)


def export(distribution: Distribution, **changes: Any) -> dict[str, Any]:
    return {
        "state": "exported",
        "version": distribution.version,
        "source": distribution.source["archive"],
        "patches": [PATCH],
        "archive": ARCHIVE,
        **changes,
    }


def patch_text(distribution: Distribution) -> str:
    """Return a patch that marks nvidia.ko and, where the kernel needs it, adapts one call."""
    changed = []
    packed = distribution.host.path(distribution.source["archive"]).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            if not re.fullmatch(r"kernel-open/nvidia/nv[^/]*\.c", member.name):
                continue
            stream = archive.extractfile(member)
            before = stream.read().decode() if stream else ""
            after = before
            if not distribution.compiles:
                after = re.sub(r"(pci_resize_resource\([^()]*)\)", r"\1, 0)", before)
            if "MODULE_LICENSE(" in before:
                after += MARK
            names = (f"a/{member.name}", f"b/{member.name}")
            lines = (before.splitlines(True), after.splitlines(True))
            changed += list(difflib.unified_diff(*lines, *names))
    return "".join(changed)


def build_id(host: Host, path: Path) -> str:
    """Return a module file's build-id as the GNU tools read it."""
    notes = host.run("readelf", "--notes", f"/{path.relative_to(host.root)}")
    found = re.search(r"Build ID: ([0-9a-f]+)", notes)
    assert found is not None, notes
    return found.group(1)


class TestSource:
    def test_it_is_a_whole_tree_with_a_prebuilt_resource_manager(
        self, distribution: Distribution
    ) -> None:
        description = distribution.source["description"]
        assert description["prebuilt"] is True
        assert set(description["modules"]) == MODULES
        assert description["version"] == distribution.version

    def test_it_is_not_fetched_again(self, distribution: Distribution) -> None:
        again = describe(distribution.host, distribution.version)
        assert again["changed"] is False
        assert again["key"] == distribution.source["key"]

    def test_what_the_kernel_cannot_compile_is_refused_before_a_compile(
        self, distribution: Distribution
    ) -> None:
        host = distribution.host
        result = host.module("dkms_module", check_mode=True, **export(distribution, patches=[]))
        # The release that the archive has decides; 535.261.03 calls it in the old way.
        if distribution.compiles:
            assert result["changed"] is True, result
        else:
            assert result["error"]["code"] == "kernel_signature_mismatch", result
        assert not list(host.path("/var/cache/gpufleet/driver").glob("*/dkms"))


class TestBuild:
    def test_all_five_modules_are_built_with_the_patch(
        self, distribution: Distribution, built: dict[str, Any]
    ) -> None:
        manifest = built["manifest"]
        assert {module["name"] for module in manifest["modules"]} == MODULES
        assert manifest["version"] == distribution.version
        nvidia = next(module["path"] for module in built["modules"] if module["name"] == "nvidia")
        assert distribution.host.run("modinfo", "-F", "gpufleet", nvidia).strip() == "patched"

    def test_the_same_content_is_not_compiled_again(
        self, distribution: Distribution, built: dict[str, Any]
    ) -> None:
        host = distribution.host
        kept = {tool: host.path(f"/usr/bin/{tool}").readlink() for tool in ("gcc", "cc")}
        for tool in kept:
            host.path(f"/usr/bin/{tool}").unlink()
            shutil.copy2(host.path("/bin/false"), host.path(f"/usr/bin/{tool}"))
        result = host.module("dkms_module", **export(distribution))
        for tool, target in kept.items():
            host.path(f"/usr/bin/{tool}").unlink()
            host.path(f"/usr/bin/{tool}").symlink_to(target)
        assert result["changed"] is False
        assert result["manifest"] == built["manifest"]


class TestSecondHost:
    @pytest.fixture
    def target(self, new_host: NewHost, distribution: Distribution, built: object) -> Host:
        host = new_host("second")
        give_archive(distribution.host, host)
        for tool in COMPILERS:
            for path in host.path("/usr/bin").glob(f"*{tool}*"):
                if path.name in (tool, f"x86_64-linux-gnu-{tool}") or path.name == f"{tool}-12":
                    path.unlink()
        return host

    def test_it_installs_without_a_compiler_what_the_manifest_names_and_takes_it_off_again(
        self, target: Host, distribution: Distribution
    ) -> None:
        assert target.run("sh", "-c", "command -v gcc cc make", check=False) == ""
        before = target.tree(*TREES)
        manifest = json.loads(distribution.host.path(f"{ARCHIVE}.json").read_text())

        done = target.module("dkms_module", **{**INSTALL, "version": distribution.version})
        assert done.get("changed") is True, done
        wanted = {module["name"]: module["build_id"] for module in manifest["modules"]}
        found = {name: build_id(target, target.installed(name)) for name in MODULES}
        assert found == wanted
        assert len(set(wanted.values())) == len(MODULES)
        assert target.run("modinfo", "-k", target.kernel, "-F", "gpufleet", "nvidia") == "patched\n"
        assert [entry["status"] for entry in done["status"]] == ["installed"]

        gone = target.module("dkms_module", state="absent")
        assert gone["changed"] is True
        assert target.tree(*TREES) == before
