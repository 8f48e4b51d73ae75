# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each gate on a driver's source, both ways, and what it says of an unknown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import catalogue
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.specification import parse
from ansible_collections.gpufleet.p2p.plugins.module_utils._preflight.evaluate import evaluate
from ansible_collections.gpufleet.p2p.plugins.module_utils._preflight.gate import Intent
from support.gate_facts import DRIVER, GCC, MIB, RELEASE, ask, facts, gpu, kernel

CATALOGUE = catalogue.parse(
    yaml.safe_load((Path(__file__).parents[5] / "roles/p2p_driver/files/catalogue.yml").read_text())
)
NEWER = "6.1.0-56-amd64"
FORK = "https://github.com/aikitoria/open-gpu-kernel-modules"


def intent(version: str = "595.58.03", *, calls: list[int] | None = None, **changes: Any) -> Intent:
    """Return the intent to install a fork whose source is at hand."""
    description = {
        "version": version,
        "prebuilt": False,
        "modules": ["nvidia"],
        "resize_arguments": [3, 4] if calls is None else calls,
    }
    build = parse({"version": version, "source": {"git": FORK, "commit": "0" * 40}})
    fields = {
        "driver_version": version,
        "build": build,
        "source": {"key": "ab" * 32, "description": description},
        "catalogue": CATALOGUE,
        **changes,
    }
    return replace(DRIVER, **fields)


def newer(**changes: Any) -> dict[str, Any]:
    """Return changes of facts that add a kernel with the new signature."""
    return {
        "kernel__installed": [RELEASE, NEWER],
        "kernel__with_headers": [RELEASE, NEWER],
        "toolchain__kernels": [
            kernel(RELEASE),
            kernel(NEWER, **{"version": "6.1.192", "resize_arguments": 4, **changes}),
        ],
    }


def test_a_known_source_passes_every_gate_without_a_remark() -> None:
    answers = evaluate(facts(), intent())
    assert all(answer.passed and not answer.note for answer in answers), answers


class TestSource:
    def test_it_is_named_by_the_catalogue_and_its_content(self) -> None:
        answer = ask("driver_source", intent())
        assert answer.read == "aikitoria-595.58.03, 595.58.03, full source, content abababababab"

    def test_the_error_of_the_fetch_is_the_gates(self) -> None:
        error = {"code": "driver_lock_mismatch", "read": "a", "want": "b", "remedy": "c"}
        answer = ask("driver_source", intent(source={"error": error}))
        assert (answer.read, answer.want, answer.remedy) == ("a", "b", "c")

    def test_the_other_gates_are_evaluated_all_the_same(self) -> None:
        error = {"code": "x", "read": "a", "want": "b", "remedy": "c"}
        answers = evaluate(facts(gpus=[]), intent(source={"error": error}))
        assert [a.name for a in answers if not a.passed] == ["gpu_count", "driver_source"]

    def test_a_source_that_was_not_fetched_is_left_to_the_build(self) -> None:
        for name in ("driver_source", "kernel_signature"):
            assert "the build" in ask(name, intent(source=None)).note


class TestKernelSignature:
    def test_the_running_and_every_newer_kernel_count(self) -> None:
        old = intent("570.86.16", calls=[3])
        assert ask("kernel_signature", old).passed
        answer = ask("kernel_signature", old, **newer())
        assert not answer.passed
        assert answer.read == f"{NEWER} declares 4 arguments; the source calls it with 3"
        assert ask("kernel_signature", intent("570.86.16", calls=[3, 4]), **newer()).passed

    def test_an_older_kernel_does_not(self) -> None:
        changes = newer()
        answer = ask("kernel_signature", intent(calls=[4]), **changes, kernel__release=NEWER)
        assert answer.passed

    def test_what_cannot_be_read_is_remarked(self) -> None:
        answer = ask("kernel_signature", intent(calls=[3]), **newer(resize_arguments=None))
        assert answer.passed
        assert NEWER in answer.note
        assert ask("kernel_signature", intent(calls=[]), **newer()).passed


class TestKnownBad:
    def test_a_pair_of_the_catalogue_is_refused_with_its_reason(self) -> None:
        answer = ask("kernel_known_bad", intent("570.86.16", calls=[3]), **newer())
        assert not answer.passed
        assert f"570.86.16 on {NEWER} (6.1.192)" in answer.read

    def test_it_is_refused_without_the_source_too(self) -> None:
        answer = ask("kernel_known_bad", intent("570.86.16", source=None), **newer())
        assert not answer.passed

    def test_a_source_that_was_adapted_is_no_such_pair(self) -> None:
        answer = ask("kernel_known_bad", intent("570.86.16", calls=[4]), **newer())
        assert answer.passed
        assert "adapted" in answer.note

    def test_another_distributions_kernel_of_that_version_is_none(self) -> None:
        answer = ask(
            "kernel_known_bad",
            intent("570.86.16", source=None),
            **newer(),
            toolchain__distribution="ubuntu",
        )
        assert answer.passed

    def test_a_kernel_of_unknown_version_is_remarked(self) -> None:
        answer = ask("kernel_known_bad", intent("570.86.16"), **newer(version=None))
        assert answer.passed
        assert NEWER in answer.note
        assert ask("kernel_known_bad", intent(catalogue=None)).note == "not judged"


class TestCompiler:
    missing = newer(compiler=GCC, compiler_found=None)

    def test_each_kernels_own_is_needed_where_this_host_compiles(self) -> None:
        answer = ask("compiler", intent(), **self.missing)
        assert not answer.passed
        assert f"{GCC} of {NEWER}" in answer.read
        assert not ask("compiler", intent(), toolchain__missing=["make"]).passed

    def test_with_a_build_host_it_is_remarked(self) -> None:
        answer = ask("compiler", intent(compiles=False), **self.missing)
        assert answer.passed
        assert "next kernel" in answer.note

    def test_an_unknown_one_is_remarked(self) -> None:
        answer = ask("compiler", intent(), **newer(compiler=None, compiler_found=None))
        assert answer.passed
        assert NEWER in answer.note


class TestHeaders:
    def test_those_that_the_archive_has_are_named_and_may_be_installed(self) -> None:
        package = f"linux-headers-{RELEASE}"
        without = {
            "kernel__with_headers": [],
            "toolchain__kernels": [kernel(RELEASE, headers_package=package)],
        }
        answer = ask("kernel_headers", intent(), **without)
        assert answer.remedy == f"apt-get install {package}, or set p2p_install_headers=true"
        allowed = ask("kernel_headers", intent(install_headers=True), **without)
        assert allowed.passed
        assert package in allowed.note

    def test_those_that_nobody_has_are_refused_whatever_is_allowed(self) -> None:
        answer = ask("kernel_headers", intent(install_headers=True), kernel__with_headers=[])
        assert not answer.passed


class TestGenerations:
    def test_those_of_the_build_count(self) -> None:
        blackwell = {"gpus": [gpu(0, generation="blackwell"), gpu(1, generation="blackwell")]}
        assert ask("generation_supported", intent("570.86.16"), **blackwell).passed
        answer = ask("generation_supported", intent("565.77"), **blackwell)
        assert not answer.passed
        assert answer.want == "ampere, ada for aikitoria-565.77"
        assert "choose a driver" in answer.remedy


@pytest.mark.parametrize(
    ("version", "passed"), [("570.86.16", False), ("590.48.01", False), ("595.58.03", True)]
)
def test_nvlink_is_lost_by_what_the_catalogue_says(version: str, passed: bool) -> None:
    linked = {"gpus": [gpu(0, nvlinks_active=4), gpu(1, nvlinks_active=4)]}
    assert ask("nvlink_lost", intent(version), **linked).passed is passed


class TestDistributionModule:
    def test_one_where_ours_goes_is_refused(self) -> None:
        for name in ("updates/dkms/nvidia.ko", "updates/nvidia.ko.zst", "extra/nvidia.ko.xz"):
            answer = ask("distribution_module", intent(), driver__module_files=[name])
            assert not answer.passed
            assert name in answer.read

    def test_our_own_is_none(self) -> None:
        own = {"module": "gpufleet-nvidia", "version": "1", "kernel": RELEASE}
        answer = ask(
            "distribution_module",
            intent(),
            driver__module_files=["updates/dkms/nvidia.ko"],
            dkms__modules=[{**own, "status": "installed"}],
        )
        assert answer.passed
        assert answer.note == ""

    def test_one_that_ours_outranks_is_remarked(self) -> None:
        name = "kernel/drivers/video/nvidia.ko"
        answer = ask("distribution_module", intent(), driver__module_files=[name])
        assert answer.passed
        assert name in answer.note

    def test_one_of_another_name_is_in_nobodys_way(self) -> None:
        name = "updates/dkms/nvidia-current.ko"
        assert ask("distribution_module", intent(), driver__module_files=[name]).passed


def test_a_whole_tree_needs_room_where_it_is_compiled() -> None:
    little = {"/boot": 400 * MIB, "/usr": 9000 * MIB, "/var": 800 * MIB}
    assert not ask("disk_space", intent(), disk=little).passed
    assert ask("disk_space", intent(compiles=False), disk=little).passed
    assert ask("disk_space", DRIVER, disk=little).passed
