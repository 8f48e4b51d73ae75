# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's own apt sources, as far as they name a mirror of what the lab is built from.

A mirror of one Debian release has the others too, under the same address and signed by keys of the
same package: where the machine's sources name another release, the one wanted takes its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError

from .kind import RELEASES, GuestKind

# Each release has these suites; backports and proposed updates are not what its machines run.
_SUITE_ENDINGS = ("", "-updates", "-security")
# Releases whose sources name a mirror; vendors' repositories use "stable" and the like too.
_KNOWN_RELEASES = (*RELEASES, "forky", "sid")
_DEFAULT_RELEASE = GuestKind().release
# What apt prints of a suite that the mirror does not have, and of a signature by an unknown key.
_NO_RELEASE = re.compile(
    r"The repository '(?P<repository>[^']+)' (does not have|no longer has) a Release file"
)
_NO_KEY = re.compile(r"NO_PUBKEY|Missing key [0-9A-F]{16,}")
_ONE_LINE = re.compile(r"^deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<rest>\S.*)$")


class SourcesMissing(GpufleetError):
    """No apt source of this machine offers the release that the lab is to be built from."""


def machine_sources(root: Path = Path("/"), release: str = _DEFAULT_RELEASE) -> str:
    """Return, in deb822 form, a Debian release's sources by this machine's own, component main.

    Raises:
        SourcesMissing: none of its sources names a Debian mirror.
    """
    directory = root / "etc/apt"
    files = [directory / "sources.list", *sorted((directory / "sources.list.d").glob("*"))]
    texts = [path.read_text(encoding="utf-8") for path in files if _is_source(path)]
    return require(select(texts, release), f"the sources under {directory}", release)


def given_sources(path: Path, release: str = _DEFAULT_RELEASE) -> str:
    """Return, in deb822 form, a Debian release's sources by a file that the user names.

    Raises:
        SourcesMissing: the file cannot be read or names no Debian mirror.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        return require("", f"{path}: {error.strerror}", release)
    return require(select([text], release), str(path), release)


def require(sources: str, where: str, release: str) -> str:
    """Return the sources, if there are any.

    Raises:
        SourcesMissing: with what to do about it.
    """
    if sources:
        return sources
    raise SourcesMissing(
        "lab_sources_missing",
        read=f"{where}: no entry for a Debian release with component main",
        want=f"a mirror of Debian {release}, which the lab's machines run",
        remedy=(
            "write an apt source for it into a file (on Ubuntu install debian-archive-keyring "
            "too) and pass it: gpufleet lab up --apt-sources FILE"
        ),
    )


def select(texts: Iterable[str], release: str = _DEFAULT_RELEASE) -> str:
    """Return the deb822 stanzas of a Debian release, made from texts in either apt format.

    They are those that name the release; without any, those of the first other release that is
    named, oldest first, with the wanted one's suites in its place.
    """
    entries = [fields for text in texts for fields in _entries(text)]
    for named in (release, *(other for other in _KNOWN_RELEASES if other != release)):
        stanzas = [stanza for one in entries if (stanza := _stanza(one, named, release))]
        if stanzas:
            return "\n".join(dict.fromkeys(stanzas))
    return ""


def refuse_missing_release(log: str, release: str) -> None:
    """Raise where what apt printed says that a mirror does not have the release.

    Raises:
        SourcesMissing: naming the repository that apt asked.
    """
    found = _NO_RELEASE.search(log)
    if found:
        raise SourcesMissing(
            "lab_release_not_on_mirror",
            read=f"the repository {found.group('repository')} has no Release file",
            want=f"a mirror of Debian {release}, with its updates and security suites",
            remedy=(
                "write apt sources of a mirror that has them into a file (archive.debian.org has "
                "releases that others dropped) and pass it: gpufleet lab up --apt-sources FILE"
            ),
        )
    if _NO_KEY.search(log):
        raise SourcesMissing(
            "lab_release_key_missing",
            read=f"apt does not know the key that Debian {release} is signed by",
            want="a debian-archive-keyring as new as the release",
            remedy="apt-get install --no-install-recommends debian-archive-keyring",
        )


def _is_source(path: Path) -> bool:
    # apt itself reads no other names, such as those of disabled sources.
    return path.suffix in {".list", ".sources"} and path.is_file()


def _entries(text: str) -> list[dict[str, str]]:
    if re.search(r"^Types:", text, re.MULTILINE | re.IGNORECASE):
        return [_fields(paragraph) for paragraph in re.split(r"\n\s*\n", text)]
    return [found for line in text.splitlines() if (found := _one_line(line))]


def _fields(paragraph: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    key = ""
    for line in paragraph.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace() and key:
            fields[key] += "\n" + line
        elif ":" in line:
            key, _, value = line.partition(":")
            key = key.strip().lower()
            fields[key] = value.strip()
    return fields


def _one_line(line: str) -> dict[str, str]:
    found = _ONE_LINE.match(line.strip())
    words = found.group("rest").split() if found else []
    if found is None or len(words) < 3:
        return {}
    fields = {"types": "deb", "uris": words[0], "suites": words[1]}
    fields["components"] = " ".join(words[2:])
    for option in (found.group("options") or "").split():
        key, _, value = option.partition("=")
        fields[key.lower()] = value.replace(",", " ")
    return fields


def _stanza(fields: dict[str, str], named: str, release: str) -> str:
    """Return a stanza for the release's suites where an entry names those of ``named``."""
    there = fields.get("suites", "").split()
    suites = [f"{release}{ending}" for ending in _SUITE_ENDINGS if f"{named}{ending}" in there]
    if (
        not suites
        or "main" not in fields.get("components", "").split()
        or "deb" not in fields.get("types", "").split()
        or fields.get("enabled", "yes").lower() in {"no", "false"}
        # Vendors' repositories also use Debian's suite names; they are signed by another key.
        or "debian-archive" not in fields.get("signed-by", "debian-archive")
    ):
        return ""
    lines = ["Types: deb", f"URIs: {fields['uris']}", f"Suites: {' '.join(suites)}"]
    lines.append("Components: main")
    if "signed-by" in fields:
        lines.append(f"Signed-By: {fields['signed-by']}")
    return "\n".join(lines) + "\n"
