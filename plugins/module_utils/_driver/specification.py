# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A driver build as data: which version, from where, with which patches, registry and userspace.

Parsing is pure, tells every fault at once, each by its place, and gives back a form in which all
that was left out is there, so that two spellings of one build compare equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .._host.errors import GpufleetError
from . import registry as keys
from .registry import RegistryValue

_VERSION = re.compile(r"[1-9][0-9]{2}(\.[0-9]{1,3}){1,2}")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_REGISTRY_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# "user@host:path", git's short form of an SSH address.
_SSH_SHORT_FORM = re.compile(r"[\w.-]+@[\w.-]+:[^/].*")
_GIT_SCHEMES = ("https", "http", "ssh", "git", "file")
_DOWNLOAD_SCHEMES = ("https", "http", "file")
_LARGEST_DWORD = 0xFFFFFFFF
_SHOWN_CHARACTERS = 120

#: What a distribution names the package with its open kernel driver's source.
DEFAULT_PACKAGE = "nvidia-open-kernel-dkms"
USERSPACES = ("keep", "packages", "runfile")


class SpecificationInvalid(GpufleetError):
    """The description of a driver build has faults; ``problems`` lists them in order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(
            "driver_specification_invalid",
            read="; ".join(f"{problem.place}: {problem.read}" for problem in problems),
            want="; ".join(f"{problem.place}: {problem.want}" for problem in problems),
            remedy="correct these in p2p_driver",
        )
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Problem:
    """One fault: where it is, such as ``p2p_driver.source.commit``, what was read and wanted."""

    place: str
    read: str
    want: str


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
    faults = _Faults()
    fields = faults.mapping(data, place, ("version", "source", "patches", "registry", "userspace"))
    version = faults.text(
        fields, "version", place, _VERSION, 'a release in quotes, such as "595.58.03"'
    )
    source = _source(faults, fields.get("source"), f"{place}.source")
    patches = _patches(faults, fields.get("patches"), f"{place}.patches")
    registry = _registry(faults, fields.get("registry"), f"{place}.registry", version)
    userspace = fields.get("userspace")
    if userspace is not None and userspace not in USERSPACES:
        faults.add(f"{place}.userspace", userspace, f"one of {', '.join(USERSPACES)}")
    if faults.found or version is None or source is None:
        raise SpecificationInvalid(faults.found)
    return DriverBuild(version, source, patches, registry, str(userspace or "keep"))


class _Faults:
    """Collects what is wrong while the rest is still looked at."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, place: str, value: object, want: str) -> None:
        self.found.append(Problem(_one_line(place), _shown(value), want))

    def mapping(self, value: object, place: str, known: Sequence[str]) -> Mapping[str, Any]:
        """Return a mapping with known keys only; an empty one after a fault."""
        if not isinstance(value, Mapping):
            self.add(place, value, f"a mapping with {', '.join(known)}")
            return {}
        for name in value:
            if name not in known:
                self.add(
                    f"{place}.{name}", value[name], f"no such field; known: {', '.join(known)}"
                )
        return {str(name): value[name] for name in value if name in known}

    def text(
        self, fields: Mapping[str, Any], name: str, place: str, form: re.Pattern[str], want: str
    ) -> str | None:
        """Return a required text of a form, None after a fault."""
        return self._text(fields.get(name), f"{place}.{name}", form, want)

    def optional_text(
        self, fields: Mapping[str, Any], name: str, place: str, form: re.Pattern[str], want: str
    ) -> str | None:
        """Return a text of a form, None where it is left out or after a fault."""
        value = fields.get(name)
        return None if value is None else self._text(value, f"{place}.{name}", form, want)

    def _text(self, value: object, place: str, form: re.Pattern[str], want: str) -> str | None:
        if isinstance(value, str) and form.fullmatch(value):
            return value
        self.add(place, value, want)
        return None


_COMMIT_WANTED = "the full commit, 40 or 64 lower-case hexadecimal digits"
_SHA256_WANTED = "a SHA-256, 64 lower-case hexadecimal digits"
_SOURCE_KINDS = ("git", "archive", "distribution", "path")


def _source(faults: _Faults, value: object, place: str) -> Source | None:
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


def _location(faults: _Faults, kind: str, value: object, place: str) -> str | None:
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


def _patches(faults: _Faults, value: object, place: str) -> tuple[Patch, ...]:
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        faults.add(place, value, "a list of patch files")
        return ()
    found = [_patch(faults, entry, f"{place}[{index}]") for index, entry in enumerate(value)]
    return tuple(patch for patch in found if patch is not None)


def _patch(faults: _Faults, value: object, place: str) -> Patch | None:
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


def _registry(
    faults: _Faults, value: object, place: str, version: str | None
) -> tuple[tuple[str, RegistryValue], ...]:
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        faults.add(place, value, "a mapping of registry keys to numbers")
        return ()
    found: list[tuple[str, RegistryValue]] = []
    for key in sorted(value, key=str):
        number = value[key]
        here = f"{place}.{key}"
        if not isinstance(key, str) or not _REGISTRY_KEY.fullmatch(key):
            faults.add(here, key, "a key of letters, digits and _")
        elif key == keys.FORCE_P2P_TYPE:
            if version is not None:
                _check_p2p_type(faults, here, number, version)
            found.append((key, str(number)))
        elif isinstance(number, bool) or not isinstance(number, int):
            faults.add(here, number, "a whole number")
        elif not 0 <= number <= _LARGEST_DWORD:
            faults.add(here, number, f"0 to {_LARGEST_DWORD}")
        else:
            _check_pcie_type(faults, place, value, key, version)
            found.append((key, number))
    return tuple(found)


def _check_p2p_type(faults: _Faults, place: str, value: object, version: str) -> None:
    names = keys.p2p_types(version)
    if isinstance(value, str) and value in names:
        return
    want = f"one of {', '.join(names)}, as {version} has them"
    if isinstance(value, int) and not isinstance(value, bool):
        want += "; the number's meaning changed in 575, so it is chosen by the name"
    faults.add(place, value, want)


def _check_pcie_type(
    faults: _Faults, place: str, registry: Mapping[Any, Any], key: str, version: str | None
) -> None:
    if key != keys.PCIE_P2P_TYPE or version is None:
        return
    if not keys.has_pcie_p2p_type(version):
        faults.add(f"{place}.{key}", registry[key], f"no such key before 575; {version} has none")
    elif keys.FORCE_P2P_TYPE in registry:
        faults.add(
            f"{place}.{key}", registry[key], f"left out: {keys.FORCE_P2P_TYPE} by name sets it"
        )


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


def _shown(value: object) -> str:
    """Return a value as an operator recognises it, one line and not too long."""
    if value is None:
        return "missing"
    if isinstance(value, float):
        return f"{value} (a number: a release such as 570.10 loses its zero without quotes)"
    text = repr(value) if isinstance(value, str) else str(value)
    text = _one_line(text)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
