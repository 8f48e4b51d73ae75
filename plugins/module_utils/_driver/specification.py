# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A driver build as data: which version, from where, with which patches, registry and userspace.

Parsing is pure, tells every fault at once, each by its place, and gives back a form in which all
that was left out is there, so that two spellings of one build compare equal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from . import registry as keys
from .faults import Faults, Problem, SpecificationInvalid
from .registry import RegistryValue

_VERSION = re.compile(r"[1-9][0-9]{2}(\.[0-9]{1,3}){1,2}")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
# "user@host:path", git's short form of an SSH address.
_SSH_SHORT_FORM = re.compile(r"[\w.-]+@[\w.-]+:[^/].*")
_GIT_SCHEMES = ("https", "http", "ssh", "git", "file")
_DOWNLOAD_SCHEMES = ("https", "http", "file")

#: What a distribution names the package with its open kernel driver's source.
DEFAULT_PACKAGE = "nvidia-open-kernel-dkms"
USERSPACES = ("keep", "packages", "runfile")


@dataclass(frozen=True)
class Source:
    """Where the source comes from.

    Attributes:
        kind: git, archive, distribution or path.
        location: URL of the repository; URL or path of the archive; package; folder.
        commit: the full commit of a git source.
        sha256: of the archive, or of the distribution's package where it is pinned.
    """

    kind: str
    location: str
    commit: str | None = None
    sha256: str | None = None

    def as_dict(self) -> dict[str, str]:
        """Return the source as it is written in p2p_driver."""
        pins = {"commit": self.commit, "sha256": self.sha256}
        return {self.kind: self.location, **{k: v for k, v in pins.items() if v is not None}}


@dataclass(frozen=True)
class Patch:
    """A patch file on the controller, or one to download; ``sha256`` None: not pinned."""

    location: str
    sha256: str | None = None

    @property
    def remote(self) -> bool:
        """Whether it has to be downloaded."""
        return "://" in self.location

    def as_dict(self) -> dict[str, str]:
        """Return the patch as it is written in p2p_driver."""
        pin = {} if self.sha256 is None else {"sha256": self.sha256}
        return {"url" if self.remote else "path": self.location, **pin}


@dataclass(frozen=True)
class DriverBuild:
    """A driver build, complete and checked."""

    version: str
    source: Source
    patches: tuple[Patch, ...] = ()
    registry: tuple[tuple[str, RegistryValue], ...] = ()
    userspace: str = "keep"

    def as_dict(self) -> dict[str, Any]:
        """Return the build as it is written in p2p_driver, with nothing left out."""
        return {
            "version": self.version,
            "source": self.source.as_dict(),
            "patches": [patch.as_dict() for patch in self.patches],
            "registry": dict(self.registry),
            "userspace": self.userspace,
        }

    def registry_numbers(self) -> dict[str, int]:
        """Return the registry keys as numbers of this version's meaning."""
        return keys.resolved(dict(self.registry), self.version)


def parse(data: object, place: str = "p2p_driver") -> DriverBuild:
    """Return the build that ``data`` describes.

    Args:
        data: what YAML or JSON gave; ``place`` names it in the faults.

    Raises:
        SpecificationInvalid: with every fault, in the order of the fields.
    """
    faults = Faults()
    fields = faults.mapping(data, place, ("version", "source", "patches", "registry", "userspace"))
    version = faults.text(
        fields, "version", place, _VERSION, 'a release in quotes, such as "595.58.03"'
    )
    source = _source(faults, fields.get("source"), f"{place}.source")
    patches = _patches(faults, fields.get("patches"), f"{place}.patches")
    registry = keys.read(faults, fields.get("registry"), f"{place}.registry", version)
    userspace = fields.get("userspace")
    if userspace is not None and userspace not in USERSPACES:
        faults.add(f"{place}.userspace", userspace, f"one of {', '.join(USERSPACES)}")
    if faults.found or version is None or source is None:
        raise SpecificationInvalid(faults.found)
    return DriverBuild(version, source, patches, registry, str(userspace or "keep"))


_COMMIT_WANTED = "the full commit, 40 or 64 lower-case hexadecimal digits"
_SHA256_WANTED = "a SHA-256, 64 lower-case hexadecimal digits"
_SOURCE_KINDS = ("git", "archive", "distribution", "path")


def _source(faults: Faults, value: object, place: str) -> Source | None:
    before = len(faults.found)
    fields = faults.mapping(value, place, (*_SOURCE_KINDS, "commit", "sha256"))
    if len(faults.found) > before:
        return None
    kinds = [kind for kind in _SOURCE_KINDS if fields.get(kind) is not None]
    if len(kinds) != 1:
        read = " and ".join(kinds) if kinds else "none of them"
        faults.found.append(Problem(place, read, f"exactly one of {', '.join(_SOURCE_KINDS)}"))
        return None
    kind = kinds[0]
    location = _location(faults, kind, fields[kind], f"{place}.{kind}")
    commit = sha256 = None
    if kind == "git":
        commit = faults.text(fields, "commit", place, _COMMIT, _COMMIT_WANTED)
    elif fields.get("commit") is not None:
        faults.add(f"{place}.commit", fields["commit"], f"no commit beside {kind}")
    if kind == "archive":
        sha256 = faults.text(fields, "sha256", place, _SHA256, _SHA256_WANTED)
    elif kind == "distribution":
        sha256 = faults.optional_text(fields, "sha256", place, _SHA256, _SHA256_WANTED)
    elif fields.get("sha256") is not None:
        faults.add(f"{place}.sha256", fields["sha256"], f"no sha256 beside {kind}")
    if len(faults.found) > before or location is None:
        return None
    return Source(kind, location, commit, sha256)


def _location(faults: Faults, kind: str, value: object, place: str) -> str | None:
    if kind == "distribution" and value is True:
        return DEFAULT_PACKAGE
    wanted = {
        "git": f"a URL ({', '.join(_GIT_SCHEMES)}), or the absolute path of a repository",
        "archive": f"a path, or a URL ({', '.join(_DOWNLOAD_SCHEMES)})",
        "distribution": f"the name of a package, or true for {DEFAULT_PACKAGE}",
        "path": "a path on the controller",
    }[kind]
    good = isinstance(value, str) and {
        "git": _is_git_location,
        "archive": _is_downloadable,
        "distribution": lambda text: bool(_PACKAGE.fullmatch(text)),
        "path": _is_path,
    }[kind](value)
    if not good:
        faults.add(place, value, wanted)
        return None
    return str(value)


def _patches(faults: Faults, value: object, place: str) -> tuple[Patch, ...]:
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        faults.add(place, value, "a list of patch files")
        return ()
    found = [_patch(faults, entry, f"{place}[{index}]") for index, entry in enumerate(value)]
    return tuple(patch for patch in found if patch is not None)


def _patch(faults: Faults, value: object, place: str) -> Patch | None:
    if isinstance(value, str):
        # The short form: a path alone.
        value = {"path": value}
    before = len(faults.found)
    fields = faults.mapping(value, place, ("path", "url", "sha256"))
    if len(faults.found) > before:
        return None
    path, url = fields.get("path"), fields.get("url")
    if (path is None) is (url is None):
        read = "neither" if path is None else "both"
        faults.found.append(Problem(place, read, "either path or url"))
        return None
    if url is not None:
        if not (isinstance(url, str) and "://" in url and _is_downloadable(url)):
            faults.add(f"{place}.url", url, f"a URL ({', '.join(_DOWNLOAD_SCHEMES)})")
        # What comes over a network is run as root in the kernel.
        pin = faults.text(fields, "sha256", place, _SHA256, _SHA256_WANTED)
    else:
        if not (isinstance(path, str) and _is_path(path)):
            faults.add(f"{place}.path", path, "a path on the controller")
        pin = faults.optional_text(fields, "sha256", place, _SHA256, _SHA256_WANTED)
    return None if len(faults.found) > before else Patch(str(url or path), pin)


def _is_git_location(text: str) -> bool:
    if text.startswith("/") or _SSH_SHORT_FORM.fullmatch(text):
        return _is_path(text)
    return _is_url(text, _GIT_SCHEMES)


def _is_downloadable(text: str) -> bool:
    return _is_url(text, _DOWNLOAD_SCHEMES) if "://" in text else _is_path(text)


def _is_url(text: str, schemes: Sequence[str]) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    named = bool(parts.path) if parts.scheme == "file" else bool(parts.hostname)
    return parts.scheme in schemes and named and _is_path(text)


def _is_path(text: str) -> bool:
    # A leading dash would be read as an option by git, tar and patch.
    return bool(text) and not text.startswith("-") and text.isprintable() and text == text.strip()
