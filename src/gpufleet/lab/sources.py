# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's own apt sources, as far as they name the suite that the lab is built from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError

SUITE = "bookworm"
_SUITES = (SUITE, f"{SUITE}-updates", f"{SUITE}-security")
_ONE_LINE = re.compile(r"^deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<rest>\S.*)$")


class SourcesMissing(GpufleetError):
    """No apt source of this machine offers the lab's suite."""


def machine_sources(root: Path = Path("/")) -> str:
    """Return, in deb822 form, this machine's sources of the lab's suite, component main.

    Raises:
        SourcesMissing: none of its sources names the suite.
    """
    directory = root / "etc/apt"
    files = [directory / "sources.list", *sorted((directory / "sources.list.d").glob("*"))]
    texts = [path.read_text(encoding="utf-8") for path in files if _is_source(path)]
    return require(select(texts), f"the sources under {directory}")


def given_sources(path: Path) -> str:
    """Return, in deb822 form, the sources of the lab's suite in a file that the user names.

    Raises:
        SourcesMissing: the file cannot be read or does not name the suite.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        return require("", f"{path}: {error.strerror}")
    return require(select([text]), str(path))


def require(sources: str, where: str) -> str:
    """Return the sources, if there are any.

    Raises:
        SourcesMissing: with what to do about it.
    """
    if sources:
        return sources
    raise SourcesMissing(
        "lab_sources_missing",
        read=f"{where}: no entry for Debian {SUITE} with component main",
        want=f"a mirror of Debian {SUITE}, which the lab's machines run",
        remedy=(
            "write an apt source for it into a file (on Ubuntu install debian-archive-keyring "
            "too) and pass it: gpufleet lab up --apt-sources FILE"
        ),
    )


def select(texts: Iterable[str]) -> str:
    """Return the deb822 stanzas for the lab's suite that the texts hold in either apt format."""
    stanzas = [stanza for text in texts for stanza in _stanzas(text)]
    return "\n".join(dict.fromkeys(stanzas))


def _is_source(path: Path) -> bool:
    # apt itself reads no other names, such as those of disabled sources.
    return path.suffix in {".list", ".sources"} and path.is_file()


def _stanzas(text: str) -> list[str]:
    if re.search(r"^Types:", text, re.MULTILINE | re.IGNORECASE):
        fields = [_fields(paragraph) for paragraph in re.split(r"\n\s*\n", text)]
    else:
        fields = [found for line in text.splitlines() if (found := _one_line(line))]
    return [stanza for one in fields if (stanza := _stanza(one))]


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


def _stanza(fields: dict[str, str]) -> str:
    suites = [suite for suite in _SUITES if suite in fields.get("suites", "").split()]
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
