# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The distribution's own open kernel driver as a source: from /usr/src, or from its archive.

Distributions pack what NVIDIA's tree has in kernel-open, with the resource manager's object ready
made. It is put back into the form of that tree, so that everything else treats it like any source.
The package is fetched by a private apt configuration: Debian keeps it in contrib, which many hosts
do not list, and their list of sources is theirs.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .._host.commands import CommandFailed, CommandMissing, CommandTimedOut, run
from .._host.errors import GpufleetError
from .._host.files import read_text, sha256_of

_DOWNLOAD_SECONDS = 1200.0
_OBJECT = Path("nvidia/nv-kernel.o_binary")
_OPEN_LICENCE = re.compile(r'MODULE_LICENSE\("Dual MIT/GPL"\)')
_VERSION_MACRO = re.compile(r'NV_VERSION_STRING=\\*"([0-9.]+)\\*"')
# Where the distributions that are known here keep drivers.
_COMPONENTS = {
    "debian": ("main", "contrib", "non-free", "non-free-firmware"),
    "ubuntu": ("main", "restricted", "universe", "multiverse"),
}


class DistributionSourceMissing(GpufleetError):
    """The distribution has no such source, or this machine cannot fetch it."""


@dataclass(frozen=True)
class AptSource:
    """One archive of the machine's own: URI, suite, and the options its line has."""

    uri: str
    suite: str
    signed_by: str | None

    def line(self, components: tuple[str, ...]) -> str:
        """Return the one-line form with other components."""
        option = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {option}{self.uri} {self.suite} {' '.join(components)}"


def distribution_source(
    package: str, version: str, target: Path, *, sha256: str | None = None, root: Path = Path("/")
) -> Path:
    """Make ``target`` a driver source tree from the distribution's package; return it.

    An installed source of that version is taken first, unless a checksum of the package is given.

    Args:
        package: such as nvidia-open-kernel-dkms.
        version: the driver's release; the package of exactly this one is taken.
        target: folder to be made.
        sha256: of the package file, where it is pinned.
        root: where the machine's file system begins.

    Raises:
        DistributionSourceMissing.
    """
    installed = None if sha256 else _source_below(root / "usr/src", version)
    if installed is not None:
        return _as_tree(installed, version, target)
    with tempfile.TemporaryDirectory(prefix="gpufleet-package-") as directory:
        scratch = Path(directory)
        file = _download(package, version, scratch, root)
        found = sha256_of(file)
        if sha256 is not None and found != sha256:
            raise DistributionSourceMissing(
                "driver_checksum_mismatch",
                read=f"{file.name}: SHA-256 {found}",
                want=f"SHA-256 {sha256}",
                remedy="find out what changed the package; pin the new one if the change is wanted",
            )
        run(["dpkg-deb", "-x", str(file), str(scratch / "content")], timeout=_DOWNLOAD_SECONDS)
        unpacked = _source_below(scratch / "content/usr/src", version)
        if unpacked is None:
            raise DistributionSourceMissing(
                "distribution_source_unfit",
                read=f"{file.name}: no open driver {version} below /usr/src",
                want="a package with the source of the open kernel driver",
                remedy=f"name another package than {package} in p2p_driver.source.distribution",
            )
        return _as_tree(unpacked, version, target)


def apt_sources(root: Path = Path("/")) -> list[AptSource]:
    """Return the archives of the distribution itself that the machine's apt knows.

    Third parties' archives are left out: a driver of theirs is not the distribution's.
    """
    codename = _os_release(root).get("VERSION_CODENAME", "")
    files = [root / "etc/apt/sources.list", *sorted((root / "etc/apt/sources.list.d").glob("*"))]
    found: list[AptSource] = []
    for path in files:
        text = read_text(path) or ""
        if path.suffix == ".sources":
            found += _deb822_sources(text, codename)
        elif path.suffix == ".list":
            found += _one_line_sources(text, codename)
    return list(dict.fromkeys(found))


def _is_own(suite: str, components: list[str], codename: str) -> bool:
    return "main" in components and (suite == codename or suite.startswith(f"{codename}-"))


def _one_line_sources(text: str, codename: str) -> Iterator[AptSource]:
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+(.+?)\s*(?:#.*)?$", line)
        if match is None:
            continue
        options, uri, suite, components = match.groups()
        key = re.search(r"signed-by=(\S+)", options or "")
        if _is_own(suite, components.split(), codename):
            yield AptSource(uri, suite, key.group(1) if key else None)


def _deb822_sources(text: str, codename: str) -> Iterator[AptSource]:
    for paragraph in re.split(r"\n\s*\n", text):
        lines = [line for line in paragraph.splitlines() if not line.startswith("#")]
        fields = {
            name.strip().lower(): value.strip()
            for name, colon, value in (line.partition(":") for line in lines)
            if colon
        }
        if "deb" not in fields.get("types", "").split() or fields.get("enabled") == "no":
            continue
        key = fields.get("signed-by", "")
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                if _is_own(suite, fields.get("components", "").split(), codename):
                    # A key that is written into the file itself has no path to name here.
                    yield AptSource(uri, suite, key if key.startswith("/") else None)


def _download(package: str, version: str, scratch: Path, root: Path) -> Path:
    distribution = _os_release(root).get("ID", "")
    sources = apt_sources(root)
    if distribution not in _COMPONENTS or not sources:
        raise DistributionSourceMissing(
            "distribution_source_unsupported",
            read=f"{distribution or 'an unknown distribution'} with {len(sources)} archives",
            want=f"one of {', '.join(_COMPONENTS)} with its own archive in apt's sources",
            remedy="build on such a host, or take the source from git, an archive or a path",
        )
    lines = [source.line(_COMPONENTS[distribution]) for source in sources]
    listed = scratch / "sources.list"
    listed.write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = _apt_options(scratch, listed)
    try:
        run(["apt-get", *options, "update"], timeout=_DOWNLOAD_SECONDS)
        offered = _offered(run(["apt-cache", *options, "madison", package]).stdout)
        exact = next((v for v in offered if upstream_version(v) == version), None)
        if exact is None:
            raise DistributionSourceMissing(
                "distribution_version_missing",
                read=f"{package}: {', '.join(offered) or 'no such package'}",
                want=f"{package} {version}",
                remedy="set p2p_driver.version to what there is, or name another package",
            )
        run(
            ["apt-get", *options, "download", f"{package}={exact}"],
            cwd=scratch,
            timeout=_DOWNLOAD_SECONDS,
        )
    except (CommandFailed, CommandMissing, CommandTimedOut) as error:
        raise DistributionSourceMissing(
            "distribution_source_unavailable",
            read=error.read,
            want=f"{package} {version} from the distribution's archive",
            remedy="check the network and apt's sources; without a network, install the package or"
            " take the source from a path",
        ) from error
    return next(scratch.glob("*.deb"))


def _apt_options(scratch: Path, listed: Path) -> list[str]:
    for part in ("state/lists/partial", "cache/archives/partial", "parts"):
        (scratch / part).mkdir(parents=True)
    settings = {
        "Dir::State": scratch / "state",
        "Dir::Cache": scratch / "cache",
        "Dir::Etc::sourcelist": listed,
        "Dir::Etc::sourceparts": scratch / "parts",
        "Acquire::Languages": "none",
        # apt's own user cannot write into a private folder.
        "APT::Sandbox::User": "root",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _offered(madison: str) -> list[str]:
    rows = [line.split("|") for line in madison.splitlines()]
    return list(dict.fromkeys(row[1].strip() for row in rows if len(row) > 1))


def upstream_version(package_version: str) -> str:
    """Return a package version without epoch and revision: 535.261.03 of 535.261.03-1~deb12u1."""
    return package_version.rpartition(":")[2].rpartition("-")[0] or package_version


def _source_below(directory: Path, version: str) -> Path | None:
    """Return the folder with an open driver of exactly this version, if there is one."""
    for folder in sorted(directory.glob(f"nvidia*-{version}")):
        text = "".join(read_text(path) or "" for path in sorted(folder.glob("nvidia/nv*.c")))
        if (folder / _OBJECT).is_file() and _OPEN_LICENCE.search(text):
            return folder
    return None


def _as_tree(folder: Path, version: str, target: Path) -> Path:
    """Copy a packed kernel-open into the form of the whole tree."""
    stated = _VERSION_MACRO.search(read_text(folder / "Kbuild") or "")
    if stated is not None and stated.group(1) != version:
        raise DistributionSourceMissing(
            "distribution_source_unfit",
            read=f"{folder}/Kbuild: {stated.group(1)}",
            want=version,
            remedy="install the package again: its folder and its content disagree",
        )
    shutil.copytree(folder, target / "kernel-open", symlinks=True)
    # The package's own: ours takes its place.
    (target / "kernel-open/dkms.conf").unlink(missing_ok=True)
    (target / "version.mk").write_text(f"NVIDIA_VERSION = {version}\n", encoding="utf-8")
    return target


def _os_release(root: Path) -> dict[str, str]:
    lines = (read_text(root / "etc/os-release") or "").splitlines()
    pairs = (line.partition("=") for line in lines)
    return {name.strip(): value.strip().strip("\"'") for name, equals, value in pairs if equals}
