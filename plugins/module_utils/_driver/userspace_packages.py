# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NVIDIA's libraries as packages of dpkg: which are here, and what apt could make of them.

A driver's packages depend on each other in exactly one version, so they move together or not at
all: to a release that the archive has for every one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .._host.commands import CommandFailed, CommandMissing, CommandTimedOut, run

HOLD = "hold"

_QUERY_SECONDS = 60.0
_INSTALL_SECONDS = 1800.0
# Nothing is asked, nothing is removed, no configuration file of the host's is replaced.
_INSTALL = (
    "apt-get",
    "install",
    "--yes",
    "--quiet",
    "--no-remove",
    "--no-install-recommends",
    "--allow-downgrades",
    "--allow-change-held-packages",
    "-o",
    "Dpkg::Options::=--force-confold",
)


@dataclass(frozen=True)
class Package:
    """An installed package: dpkg's name (with :arch where it has one), version, and what is wanted.

    ``want`` is dpkg's selection: install or hold, rarely deinstall or purge.
    """

    name: str
    version: str
    want: str

    @property
    def plain_name(self) -> str:
        """The name without the architecture, as apt's preferences have it."""
        return self.name.partition(":")[0]


def upstream_version(version: str) -> str:
    """Return a Debian version without epoch and revision (deb-version(7)).

    >>> upstream_version("1:595.58.03-0ubuntu0.24.04.1")
    '595.58.03'
    """
    after_epoch = version.rpartition(":")[2] if version.partition(":")[0].isdigit() else version
    return after_epoch.rpartition("-")[0] if "-" in after_epoch else after_epoch


def parse_packages(text: str, release: str) -> tuple[Package, ...]:
    """Return the installed packages of NVIDIA's driver ``release`` in dpkg-query's output.

    Each line has name, version, selection, status and source package between tabs.
    """
    found = []
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) != 5:
            continue
        name, version, want, status, source = fields
        of_nvidia = re.search(r"nvidia|cuda", f"{name} {source}") is not None
        if status == "installed" and of_nvidia and upstream_version(version) == release:
            found.append(Package(name, version, want))
    return tuple(sorted(found, key=lambda package: package.name))


def installed_packages(release: str) -> tuple[Package, ...]:
    """Return this host's packages of the driver release; none where there is no dpkg."""
    fields = ("binary:Package", "Version", "db:Status-Want", "db:Status-Status", "source:Package")
    wanted = "\t".join(f"${{{name}}}" for name in fields) + "\n"
    try:
        return parse_packages(run(["dpkg-query", "-W", "-f", wanted]).stdout, release)
    except CommandMissing:
        return ()


def parse_madison(text: str) -> dict[str, tuple[str, ...]]:
    """Return the versions of each package in the output of ``apt-cache madison``, newest first.

    Each line has name, version and where it comes from between bars.
    """
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if len(fields) == 3 and all(fields) and not fields[2].endswith(" Sources"):
            found.setdefault(fields[0], []).append(fields[1])
    return {name: tuple(dict.fromkeys(versions)) for name, versions in found.items()}


def obtainable(packages: Sequence[Package]) -> dict[str, dict[str, str]]:
    """Return the releases that apt has for every one of the packages.

    The value is the version to install of each, by its name. Asks apt's lists as they are.
    """
    return common_releases(available_versions([package.name for package in packages]))


def available_versions(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the versions that apt's lists have of each package, by dpkg's name, newest first."""
    if not names:
        return {}
    try:
        native = run(["dpkg", "--print-architecture"]).stdout.strip()
        told = run(["apt-cache", "madison", *names], timeout=_QUERY_SECONDS).stdout
    except (CommandMissing, CommandFailed, CommandTimedOut):
        return dict.fromkeys(names, ())
    found = parse_madison(told)
    # apt leaves the host's own architecture out of a name.
    return {name: found.get(_without(name, native), ()) for name in names}


def common_releases(available: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """Return the upstream releases that are there for all packages, with the version of each.

    Args:
        available: versions by package, newest first.
    """
    by_release = {
        name: {upstream_version(version): version for version in reversed(versions)}
        for name, versions in available.items()
    }
    releases = [set(versions) for versions in by_release.values()]
    return {
        release: {name: versions[release] for name, versions in by_release.items()}
        for release in sorted(set.intersection(*releases) if releases else ())
    }


def installed_versions(names: Sequence[str]) -> dict[str, str]:
    """Return the version of each of the packages that is installed, by dpkg's name."""
    if not names:
        return {}
    wanted = "${binary:Package}\t${Version}\t${db:Status-Status}\n"
    text = run(["dpkg-query", "-W", "-f", wanted, *names], check=False).stdout
    lines = [line.split("\t") for line in text.splitlines()]
    return {line[0]: line[1] for line in lines if len(line) == 3 and line[2] == "installed"}


def install(versions: Mapping[str, str]) -> None:
    """Have apt install exactly these versions, whether newer or older than what is there.

    Raises:
        CommandFailed: apt refused, such as when it would have to remove a package.
    """
    words = [f"{name}={version}" for name, version in sorted(versions.items())]
    run(
        [*_INSTALL, *words],
        timeout=_INSTALL_SECONDS,
        env={"DEBIAN_FRONTEND": "noninteractive"},
    )


def held_by_host(packages: Iterable[Package], ours: Iterable[str]) -> tuple[str, ...]:
    """Return the packages that are on hold, and not because of us."""
    own = set(ours)
    return tuple(p.name for p in packages if p.want == HOLD and p.name not in own)


def _without(name: str, architecture: str) -> str:
    suffix = f":{architecture}"
    return name[: -len(suffix)] if name.endswith(suffix) else name
