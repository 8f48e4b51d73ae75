# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue that ships, and the rules it is read by."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import catalogue
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.catalogue import (
    BrokenKernels,
    CatalogueUnusable,
    ChoiceUnknown,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.specification import parse
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu.generation import SUPPORTED
from hypothesis import given
from hypothesis import strategies as st

FILE = Path(__file__).parents[5] / "roles/p2p_driver/files/catalogue.yml"


def shipped() -> dict[str, Any]:
    return dict(yaml.safe_load(FILE.read_text()))


KNOWN = catalogue.parse(shipped())


def test_every_entry_can_be_locked_and_judged_by() -> None:
    assert len({build.name for build in KNOWN.builds}) == len(KNOWN.builds)
    for build in KNOWN.builds:
        assert build.branch == f"{build.version}-p2p"
        assert set(build.generations) <= set(SUPPORTED)
        source = {"git": build.git, "commit": build.commit or "0" * 40}
        assert KNOWN.find(parse({"version": build.version, "source": source})) == build


@pytest.mark.parametrize(
    ("driver", "affected"),
    [
        ("535.261.03", True),
        ("575.64.05", True),
        ("580.119.02", True),
        ("580.126.09", False),
        ("580.142", False),
        ("590.44.01", True),
        ("590.48.01", False),
        ("595.45.04", False),
        ("610.43.02", False),
    ],
)
def test_drivers_that_were_not_adapted(driver: str, affected: bool) -> None:
    assert bool(KNOWN.broken_kernels(driver)) is affected


@pytest.mark.parametrize(
    ("kernel", "distribution", "broken"),
    [
        ("6.1.192", "debian", True),
        ("6.1.190", "debian", False),
        ("6.1.192", "ubuntu", False),
        ("6.12.96", None, False),
        ("6.12.97", None, True),
        ("6.12.107-1", "debian", True),
        ("6.17.99", None, False),
        ("6.18.40", "fedora", True),
        ("custom", None, False),
    ],
)
def test_kernels_that_broke_them(kernel: str, distribution: str | None, broken: bool) -> None:
    found = KNOWN.breakages_of("570.86.16", kernel, distribution)
    assert [breakage.name for breakage in found] == ["pci_resize_resource"] * broken
    assert KNOWN.breakages_of("595.58.03", kernel, distribution) == ()


def test_a_choice_by_name_and_any_release_of_the_upstream() -> None:
    assert KNOWN.choose("aikitoria-565.77").commit == "b032e06c099478d527eaa578488fd6debf7b08a0"
    upstream = KNOWN.choose("upstream-580.126.09")
    assert (upstream.version, upstream.branch) == ("580.126.09", "580.126.09")
    for name in ("aikitoria-1", "upstream", "upstream-", "595.58.03"):
        with pytest.raises(ChoiceUnknown, match="gpufleet driver list"):
            KNOWN.choose(name)


def test_a_mirror_is_recognised_by_its_commit() -> None:
    source = {"git": "/srv/mirror.git", "commit": "b032e06c099478d527eaa578488fd6debf7b08a0"}
    found = KNOWN.find(parse({"version": "565.77", "source": source}))
    assert found is not None
    assert found.name == "aikitoria-565.77"
    assert KNOWN.find(parse({"version": "565.78", "source": source})) is None


def test_another_commit_of_no_known_repository_is_not_in_it() -> None:
    build = parse({"version": "595.58.03", "source": {"git": "/srv/x.git", "commit": "0" * 40}})
    assert KNOWN.find(build) is None
    assert KNOWN.find(parse({"version": "595.58.03", "source": {"path": "/srv/x"}})) is None


@given(st.tuples(st.integers(5, 7), st.integers(0, 20), st.integers(0, 300)))
def test_a_broken_kernel_stays_broken_within_its_series(parts: tuple[int, int, int]) -> None:
    version = ".".join(map(str, parts))
    later = f"{parts[0]}.{parts[1]}.{parts[2] + 1}"
    kernels = BrokenKernels("6.12.97", None)
    assert not kernels.includes(version, None) or kernels.includes(later, None)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: data.update(schema=2), "schema 2"),
        (lambda data: data["builds"][0].pop("branch"), "branch"),
        (lambda data: data["builds"][0].update(version=565.77), "quotes"),
        (lambda data: data["builds"][0].update(repository="nobody"), "nobody"),
        (lambda data: data["builds"][0].update(nvlink="yes"), "yes"),
        (lambda data: data.update(builds=[3]), "subscriptable"),
    ],
)
def test_a_damaged_catalogue_is_told(change: Any, told: str) -> None:
    data = copy.deepcopy(shipped())
    change(data)
    with pytest.raises(CatalogueUnusable, match=told):
        catalogue.parse(data)


@pytest.mark.parametrize("data", [None, [], "text"])
def test_something_else_is_no_catalogue(data: object) -> None:
    with pytest.raises(CatalogueUnusable):
        catalogue.parse(data)


@pytest.mark.parametrize("version", ["9" * 5000 + ".1", "6." + "9" * 5000, "\u0663.1"])
def test_a_kernel_of_no_sensible_number_has_no_order(version: str) -> None:
    # int() refuses beyond 4300 digits; found by the fuzzer.
    assert catalogue.kernel_order(version) is None
