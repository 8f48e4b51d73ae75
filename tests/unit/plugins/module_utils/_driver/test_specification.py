# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A driver build as data: every spelling that is right, and every fault by its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.faults import (
    SpecificationInvalid,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.registry import (
    module_parameters,
    p2p_types,
    version_order,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.specification import (
    DEFAULT_PACKAGE,
    DriverBuild,
    Patch,
    Source,
    parse,
)
from hypothesis import given
from hypothesis import strategies as st

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHA256 = "ab" * 32
URL = "https://example.org/fork.git"


def described(**changes: Any) -> dict[str, Any]:
    """Return a description without fault, with changes."""
    return {"version": "595.58.03", "source": {"git": URL, "commit": COMMIT}, **changes}


def problems(data: object) -> dict[str, tuple[str, str]]:
    """Return place to (read, want) of every fault."""
    with pytest.raises(SpecificationInvalid) as caught:
        parse(data)
    error = caught.value
    assert error.code == "driver_specification_invalid"
    for problem in error.problems:
        assert f"{problem.place}: {problem.read}" in error.read
        assert f"{problem.place}: {problem.want}" in error.want
    return {problem.place: (problem.read, problem.want) for problem in error.problems}


hexadecimal = st.text("0123456789abcdef", min_size=64, max_size=64)
locations = st.text(
    st.characters(categories=("L", "N"), include_characters="._/"), min_size=1, max_size=30
).filter(lambda text: not text.startswith("-") and text.isprintable())
versions = st.tuples(st.integers(500, 699), st.integers(0, 199), st.integers(0, 99)).map(
    lambda parts: f"{parts[0]}.{parts[1]}.{parts[2]:02}"
)
sources = st.one_of(
    st.builds(
        lambda path, commit: Source("git", f"https://example.org/{path}", commit=commit[:40]),
        locations,
        hexadecimal,
    ),
    st.builds(lambda path, sha: Source("archive", path, sha256=sha), locations, hexadecimal),
    st.builds(lambda path: Source("path", path), locations),
    st.builds(
        lambda sha: Source("distribution", DEFAULT_PACKAGE, sha256=sha),
        st.none() | hexadecimal,
    ),
)
patches = st.lists(
    st.one_of(
        st.builds(Patch, locations, st.none() | hexadecimal),
        st.builds(
            lambda path, sha: Patch(f"https://example.org/{path}", sha), locations, hexadecimal
        ),
    ),
    max_size=3,
).map(tuple)


@st.composite
def builds(draw: st.DrawFn) -> DriverBuild:
    version = draw(versions)
    numbers = st.dictionaries(
        st.sampled_from(["PeerMappingOverride", "RMForceStaticBar1", "RmFoo_1"]),
        st.integers(0, 0xFFFFFFFF),
    )
    registry: dict[str, int | str] = dict(draw(numbers))
    if draw(st.booleans()):
        registry["RMForceP2PType"] = draw(st.sampled_from(sorted(p2p_types(version))))
    return DriverBuild(
        version,
        draw(sources),
        draw(patches),
        tuple(sorted(registry.items())),
        draw(st.sampled_from(["keep", "packages", "runfile"])),
    )


@given(builds())
def test_what_is_written_out_is_read_back(build: DriverBuild) -> None:
    written = json.loads(json.dumps(build.as_dict()))
    assert parse(written) == build
    assert all(0 <= number <= 0xFFFFFFFF for number in build.registry_numbers().values())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=8,
)
field_names = st.sampled_from(
    [
        "version",
        "source",
        "patches",
        "registry",
        "userspace",
        "git",
        "commit",
        "sha256",
        "path",
        "url",
    ]
)


@given(
    json_values
    | st.dictionaries(field_names, json_values | st.dictionaries(field_names, json_values))
)
def test_anything_else_is_refused_by_name_and_on_one_line(data: object) -> None:
    try:
        build = parse(data)
    except SpecificationInvalid as error:
        assert error.problems
        assert error.read.isprintable()
    else:
        assert parse(build.as_dict()) == build


@given(st.text(max_size=80))
def test_a_text_is_a_version_only_in_the_form_of_a_release(text: str) -> None:
    try:
        build = parse(described(version=text))
    except SpecificationInvalid as error:
        assert [problem.place for problem in error.problems] == ["p2p_driver.version"]
    else:
        assert version_order(build.version) >= (100,)
        assert set(text) <= set("0123456789.")


def test_what_is_left_out_is_there_afterwards() -> None:
    assert parse(described()).as_dict() == {
        "version": "595.58.03",
        "source": {"git": URL, "commit": COMMIT},
        "patches": [],
        "registry": {},
        "userspace": "keep",
    }


def test_a_patch_may_be_its_path_alone() -> None:
    long = parse(described(patches=[{"path": "files/p2p.patch"}]))
    assert parse(described(patches=["files/p2p.patch"])) == long


def test_the_distributions_source_may_be_asked_for_by_true() -> None:
    build = parse(described(source={"distribution": True}))
    assert build.source == Source("distribution", "nvidia-open-kernel-dkms")


@pytest.mark.parametrize(
    ("changes", "place", "read", "want"),
    [
        ({"version": 565.77}, "version", "loses its zero", "in quotes"),
        ({"version": None}, "version", "missing", "in quotes"),
        ({"version": "595"}, "version", "'595'", "in quotes"),
        ({"version": "595.58.03-p2p"}, "version", "-p2p", "in quotes"),
        ({"source": {"git": URL}}, "source.commit", "missing", "the full commit"),
        ({"source": {"git": URL, "commit": "main"}}, "source.commit", "'main'", "the full commit"),
        (
            {"source": {"git": URL, "commit": COMMIT[:12]}},
            "source.commit",
            "0123456789ab",
            "the full commit",
        ),
        ({"source": {"git": "ext::sh -c id", "commit": COMMIT}}, "source.git", "ext::", "a URL"),
        ({"source": {"git": "--upload-pack=x", "commit": COMMIT}}, "source.git", "--", "a URL"),
        ({"source": {"git": URL, "commit": COMMIT, "sha256": SHA256}}, "source.sha256", "ab", "no"),
        ({"source": {"archive": "/srv/a.tar.gz"}}, "source.sha256", "missing", "a SHA-256"),
        ({"source": {"archive": "ftp://x/a", "sha256": SHA256}}, "source.archive", "ftp", "a path"),
        ({"source": {"path": ""}}, "source.path", "''", "a path"),
        ({"source": {"path": "/srv", "commit": COMMIT}}, "source.commit", "0123", "no commit"),
        ({"source": {}}, "source", "none of them", "exactly one of"),
        ({"source": {"path": "/a", "git": URL}}, "source", "git and path", "exactly one of"),
        ({"source": "/srv"}, "source", "'/srv'", "a mapping"),
        ({"source": {"path": "/a", "branch": "x"}}, "source.branch", "'x'", "no such field"),
        ({"source": {"distribution": "No Such"}}, "source.distribution", "No Such", "a package"),
        ({"patches": "p2p.patch"}, "patches", "p2p.patch", "a list"),
        ({"patches": ["a", 7]}, "patches[1]", "7", "a mapping"),
        ({"patches": [{"sha256": SHA256}]}, "patches[0]", "neither", "either path or url"),
        ({"patches": [{"path": "a", "url": URL}]}, "patches[0]", "both", "either path or url"),
        ({"patches": [{"url": URL}]}, "patches[0].sha256", "missing", "a SHA-256"),
        (
            {"patches": [{"path": "a", "sha256": "AB" * 32}]},
            "patches[0].sha256",
            "AB",
            "lower-case",
        ),
        ({"registry": {"RMFoo": "1"}}, "registry.RMFoo", "'1'", "a whole number"),
        ({"registry": {"RMFoo": True}}, "registry.RMFoo", "True", "a whole number"),
        ({"registry": {"RMFoo": 1 << 32}}, "registry.RMFoo", "4294967296", "0 to 4294967295"),
        ({"registry": {"RM;Foo": 1}}, "registry.RM;Foo", "RM;Foo", "a key of letters"),
        ({"registry": [1]}, "registry", "[1]", "a mapping"),
        ({"userspace": "debs"}, "userspace", "'debs'", "one of keep"),
        ({"patch": []}, "patch", "[]", "no such field"),
    ],
)
def test_a_fault_is_told_by_its_place(
    changes: dict[str, Any], place: str, read: str, want: str
) -> None:
    found = problems(described(**changes))
    assert list(found) == [f"p2p_driver.{place}"]
    told = found[f"p2p_driver.{place}"]
    assert read in told[0]
    assert want in told[1] or want in told[1].replace("the name of ", "")


def test_all_faults_are_told_at_once() -> None:
    found = problems({"version": 595, "source": {"git": URL}, "userspace": 1, "more": 2})
    assert list(found) == [
        f"p2p_driver.{place}" for place in ("more", "version", "source.commit", "userspace")
    ]


@pytest.mark.parametrize("data", [None, "595.58.03", [], 595.58])
def test_other_than_a_mapping_is_no_build(data: object) -> None:
    assert "p2p_driver" in problems(data)


class TestRegistry:
    """RMForceP2PType: 2 was BAR1 up to 570 and is NVLink from 575 on."""

    @pytest.mark.parametrize(
        ("version", "name", "numbers"),
        [
            ("570.86.16", "bar1", {"RMForceP2PType": 2}),
            ("570.86.16", "nvlink", {"RMForceP2PType": 3}),
            ("575.51.02", "bar1", {"RMForceP2PType": 1, "RMPcieP2PType": 1}),
            ("595.58.03", "nvlink", {"RMForceP2PType": 2}),
            ("595.58.03", "mailbox", {"RMForceP2PType": 1, "RMPcieP2PType": 0}),
        ],
    )
    def test_the_number_follows_the_version(
        self, version: str, name: str, numbers: dict[str, int]
    ) -> None:
        build = parse(described(version=version, registry={"RMForceP2PType": name}))
        assert build.registry_numbers() == numbers

    def test_a_bare_number_is_refused_since_it_means_two_things(self) -> None:
        read, want = problems(described(registry={"RMForceP2PType": 2}))[
            "p2p_driver.registry.RMForceP2PType"
        ]
        assert read == "2"
        assert "changed in 575" in want

    def test_a_name_of_the_other_meaning_is_refused(self) -> None:
        found = problems(described(version="565.77", registry={"RMForceP2PType": "pcie"}))
        assert "as 565.77 has them" in found["p2p_driver.registry.RMForceP2PType"][1]

    def test_a_key_that_the_version_does_not_have_is_refused(self) -> None:
        found = problems(described(version="570.86.16", registry={"RMPcieP2PType": 1}))
        assert "no such key before 575" in found["p2p_driver.registry.RMPcieP2PType"][1]

    def test_one_key_is_not_set_twice(self) -> None:
        found = problems(described(registry={"RMForceP2PType": "bar1", "RMPcieP2PType": 0}))
        assert list(found) == ["p2p_driver.registry.RMPcieP2PType"]

    def test_one_key_in_two_spellings_is_not_set_twice(self) -> None:
        found = problems(described(registry={"EnableMSI": 1, "NVreg_EnableMSI": 0}))
        assert list(found) == ["p2p_driver.registry.NVreg_EnableMSI"]
        found = problems(described(registry={"rmforcep2ptype": 2}))
        assert "changed in 575" in found["p2p_driver.registry.rmforcep2ptype"][1]

    @pytest.mark.parametrize(
        ("key", "want"),
        [
            ("NVreg_RegistryDwords", "each key by its own name"),
            ("NVreg_RmMsg", "takes a number"),
            ("nvreg_EnableMSI", "NVreg_ spelled so"),
        ],
    )
    def test_a_parameter_that_cannot_be_set_is_refused(self, key: str, want: str) -> None:
        found = problems(described(registry={key: 1}))
        assert want in found[f"p2p_driver.registry.{key}"][1]

    def test_the_parameters_of_the_module(self) -> None:
        keys = {"RMForceStaticBar1": 1, "NVreg_EnableMSI": 0, "PeerMappingOverride": 1}
        build = parse(described(registry=keys))
        assert module_parameters(build.registry_numbers()) == {
            "NVreg_EnableMSI": "0",
            "NVreg_RegistryDwords": "PeerMappingOverride=1;RMForceStaticBar1=1",
        }
        assert module_parameters({}) == {}
        assert module_parameters({"NVreg_EnableMSI": 0}) == {"NVreg_EnableMSI": "0"}
