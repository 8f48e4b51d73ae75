# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue: published driver builds with peer-to-peer, and which kernels they break on.

The data is the role's files/catalogue.yml; here is what its fields mean and how it is asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._host.errors import GpufleetError
from .._host.foreign_text import decimal
from .registry import version_order
from .specification import DriverBuild

SCHEMA = 1
KEPT, LOST, UNKNOWN = "kept", "lost", "unknown"
UPSTREAM = "upstream"

_KERNEL_VERSION = re.compile(r"([0-9]+)\.([0-9]+)(?:\.([0-9]+))?")


class CatalogueUnusable(GpufleetError):
    """The catalogue is of another schema, or an entry lacks a field."""


class ChoiceUnknown(GpufleetError):
    """The catalogue has no build of that name."""


@dataclass(frozen=True)
class CatalogueBuild:
    """A published build.

    Attributes:
        name: ``REPOSITORY-VERSION``, what an operator chooses it by.
        git: URL of the repository.
        branch: its branch; a tag for the upstream.
        commit: the head of the branch as it was read, None where only the name is known.
        generations: on which it works; empty: not told.
        nvlink: kept, lost or unknown.
    """

    name: str
    version: str
    git: str
    branch: str
    commit: str | None
    generations: tuple[str, ...]
    nvlink: str


@dataclass(frozen=True)
class BrokenKernels:
    """Kernels of one series from a release on; ``distribution`` None: whoever built them."""

    since: str
    distribution: str | None

    def __str__(self) -> str:
        of = f" ({self.distribution})" if self.distribution else ""
        return f"{self.since}+{of}"

    def includes(self, version: str, distribution: str | None) -> bool:
        """Return whether a kernel, by its version such as 6.1.192, is one of these."""
        found, first = kernel_order(version), kernel_order(self.since)
        if found is None or first is None or found[:2] != first[:2]:
            return False
        return found >= first and self.distribution in (None, distribution)


@dataclass(frozen=True)
class Breakage:
    """A reason for which drivers fail on kernels."""

    name: str
    reason: str
    adapted_from: str
    adapted_branches: tuple[str, ...]
    kernels: tuple[BrokenKernels, ...]

    def affects(self, version: str) -> bool:
        """Return whether a driver release has the fault."""
        found = version_order(version)
        if found >= version_order(self.adapted_from):
            return False
        return not any(
            found[0] == version_order(first)[0] and found >= version_order(first)
            for first in self.adapted_branches
        )


@dataclass(frozen=True)
class Catalogue:
    """All builds, in the order of the file, and the known breakages."""

    builds: tuple[CatalogueBuild, ...]
    breakages: tuple[Breakage, ...]
    repositories: Mapping[str, str]

    def choose(self, name: str) -> CatalogueBuild:
        """Return the build of that name; ``upstream-VERSION`` is any tag of the upstream.

        Raises:
            ChoiceUnknown.
        """
        for build in self.builds:
            if build.name == name:
                return build
        repository, _dash, version = name.partition("-")
        if repository == UPSTREAM and version_order(version) and UPSTREAM in self.repositories:
            url = self.repositories[UPSTREAM]
            return CatalogueBuild(name, version, url, version, None, (), UNKNOWN)
        raise ChoiceUnknown(
            "driver_choice_unknown",
            read=name,
            want=f"a name that gpufleet driver list shows, or {UPSTREAM}-VERSION",
            remedy="choose one of those, or name the source by --git and --ref, or --archive",
        )

    def find(self, build: DriverBuild) -> CatalogueBuild | None:
        """Return the published build that ``build`` is, by its repository and version."""
        source = build.source
        for entry in self.builds:
            same = source.kind == "git" and _repository(source.location) == _repository(entry.git)
            same = same or (entry.commit is not None and source.commit == entry.commit)
            if same and entry.version == build.version:
                return entry
        return None

    def broken_kernels(self, version: str) -> tuple[BrokenKernels, ...]:
        """Return the kernels on which a driver release is known to fail."""
        found = [breakage for breakage in self.breakages if breakage.affects(version)]
        return tuple(kernels for breakage in found for kernels in breakage.kernels)

    def breakages_of(
        self, version: str, kernel: str, distribution: str | None
    ) -> tuple[Breakage, ...]:
        """Return why a driver release fails on a kernel, by the kernel's version (6.1.192)."""
        return tuple(
            breakage
            for breakage in self.breakages
            if breakage.affects(version)
            and any(kernels.includes(kernel, distribution) for kernels in breakage.kernels)
        )


def parse(data: object) -> Catalogue:
    """Return the catalogue that the file's data describes.

    Raises:
        CatalogueUnusable.
    """
    schema = data.get("schema") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or schema != SCHEMA:
        raise _unusable(f"schema {schema!r}")
    try:
        repositories = {str(name): str(url) for name, url in data["repositories"].items()}
        return Catalogue(
            tuple(_build(entry, repositories) for entry in data["builds"]),
            tuple(_breakage(entry) for entry in data["breakages"]),
            repositories,
        )
    except KeyError as error:
        raise _unusable(f"an entry without {error}") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise _unusable(str(error)) from error


def kernel_order(version: str) -> tuple[int, int, int] | None:
    """Return a kernel's version as numbers; None for text that does not begin with one."""
    match = _KERNEL_VERSION.match(version)
    if match is None:
        return None
    major, minor, patch = (decimal(part) for part in match.groups(default="0"))
    return None if major is None or minor is None or patch is None else (major, minor, patch)


def _build(entry: Mapping[str, Any], repositories: Mapping[str, str]) -> CatalogueBuild:
    repository, version = entry["repository"], entry["version"]
    if not isinstance(version, str):
        raise TypeError(f"version {version!r} of {repository} is not in quotes")
    if entry["nvlink"] not in (KEPT, LOST, UNKNOWN):
        raise ValueError(f"nvlink {entry['nvlink']!r} of {repository}-{version}")
    return CatalogueBuild(
        name=f"{repository}-{version}",
        version=version,
        git=repositories[repository],
        branch=entry["branch"],
        commit=entry.get("commit"),
        generations=_texts(entry["generations"]),
        nvlink=entry["nvlink"],
    )


def _breakage(entry: Mapping[str, Any]) -> Breakage:
    adapted = entry["adapted"]
    return Breakage(
        name=entry["name"],
        reason=entry["reason"],
        adapted_from=adapted["from"],
        adapted_branches=_texts(adapted["branches"]),
        kernels=tuple(
            BrokenKernels(kernels["from"], kernels.get("distribution"))
            for kernels in entry["kernels"]
        ),
    )


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


def _repository(url: str) -> str:
    """Return a URL without what does not tell repositories apart."""
    return url.rstrip("/").removesuffix(".git").lower()


def _unusable(read: str) -> CatalogueUnusable:
    return CatalogueUnusable(
        "catalogue_unusable",
        read=read,
        want=f"a catalogue of schema {SCHEMA} with every field",
        remedy="use the catalogue of this release, roles/p2p_driver/files/catalogue.yml",
    )
