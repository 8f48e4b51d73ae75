# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dkms command: what its status says in each of its generations, and its actions by name.

DKMS may exit 0 with an unusable result (a partial install) and non-zero with a good one (an
archive loaded over a registered version), so the actions here return what DKMS said and leave the
judgement to callers, who look at the files.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass, field
from pathlib import Path

from .._host.commands import CommandMissing, CommandResult, run
from .._host.errors import GpufleetError

_ACTION_SECONDS = 600.0
_BUILD_SECONDS = 3 * 3600.0
_LAST_LINES = 25

#: What DKMS means by its exit status; from the script of releases 2.8.4 to 3.2.2. Statuses with
#: several meanings carry the words that fit all of them.
EXIT_MEANINGS = {
    1: "refused the arguments, or kernel headers are missing",
    2: "source tree or archive missing",
    3: "already added or already built",
    4: "dkms.conf missing",
    5: "already installed",
    6: "nothing could be installed or archived",
    7: "a module is missing after the build",
    8: "dkms.conf invalid, or the version is already added",
    9: "destination not writable",
    10: "compilation failed",
    11: "autoinstall failed",
    21: "kernel headers missing",
    77: "excluded by BUILD_EXCLUSIVE",
    101: "pre_install script failed",
}

# Up to 2.8.5 "module, version, kernel, arch: status", from 2.8.7 "module/version, kernel, arch:
# status"; 2.8.6 prints either. Weakly linked modules keep the commas in every release.
_STATUS_LINE = re.compile(
    r"^(?P<module>[^\s,/:]+)(?:/|, )(?P<version>[^\s,/:]+)"
    r"(?:, (?P<kernel>[^\s,:]+), (?P<arch>[^\s,:]+))?"
    r": (?P<status>[a-z-]+)(?P<remarks>.*)$"
)
_REMARK = re.compile(r"\(([^()]*)\)")


class DkmsFailed(GpufleetError):
    """DKMS did not do what it was asked to, by the evidence of the files."""


@dataclass(frozen=True)
class DkmsEntry:
    """One line of ``dkms status``; kernel and arch are None for a version only added."""

    module: str
    version: str
    kernel: str | None
    arch: str | None
    status: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class DkmsTrees:
    """Where DKMS keeps its state, the sources and the installed modules."""

    state: Path = Path("/var/lib/dkms")
    source: Path = Path("/usr/src")
    install: Path = Path("/lib/modules")

    @property
    def options(self) -> tuple[str, ...]:
        """The options that point dkms at these trees."""
        return (
            "--dkmstree",
            str(self.state),
            "--sourcetree",
            str(self.source),
            "--installtree",
            str(self.install),
        )


@dataclass(frozen=True)
class DkmsPackage:
    """One DKMS package version in a set of trees, with the paths of its evidence."""

    name: str
    version: str
    trees: DkmsTrees = field(default_factory=DkmsTrees)
    arch: str = field(default_factory=platform.machine)

    @property
    def source_directory(self) -> Path:
        """The source tree, such as /usr/src/gpufleet-nvidia-595.58.03."""
        return self.trees.source / f"{self.name}-{self.version}"

    @property
    def state_directory(self) -> Path:
        """DKMS's own directory of this version."""
        return self.trees.state / self.name / self.version

    def build_directory(self, kernel: str) -> Path:
        """What DKMS keeps of the build for ``kernel``: module/ and log/."""
        return self.state_directory / kernel / self.arch

    def active_link(self, kernel: str) -> Path:
        """The link that marks which version DKMS holds to be installed under ``kernel``."""
        return self.trees.state / self.name / f"kernel-{kernel}-{self.arch}"

    def is_added(self) -> bool:
        """Whether DKMS knows this version's source."""
        return (self.state_directory / "source" / "dkms.conf").is_file()

    def is_active(self, kernel: str) -> bool:
        """Whether DKMS holds this version to be the installed one under ``kernel``."""
        link = self.active_link(kernel)
        return link.is_symlink() and link.resolve() == self.build_directory(kernel).resolve()

    def add(self) -> CommandResult:
        """Register the source directory."""
        return self._dkms("add")

    def build(self, kernel: str, *, jobs: int, kernel_source: Path | None = None) -> CommandResult:
        """Compile for ``kernel`` with at most ``jobs`` compilers at a time."""
        words = ["-k", kernel, "-a", self.arch, "-j", str(jobs)]
        if kernel_source is not None:
            words += ["--kernelsourcedir", str(kernel_source)]
        return self._dkms("build", *words, timeout=_BUILD_SECONDS)

    def mktarball(self, kernel: str, archive: Path) -> CommandResult:
        """Pack source and built modules of ``kernel`` into ``archive``."""
        return self._dkms("mktarball", "-k", kernel, "-a", self.arch, "--archive", str(archive))

    def ldtarball(self, archive: Path) -> CommandResult:
        """Unpack ``archive``, replacing the source directory and the build it holds."""
        # The package is named by the archive itself; naming it here too makes dkms refuse.
        words = ["dkms", "ldtarball", *self.trees.options, "--force", "--archive", str(archive)]
        return run(words, check=False, timeout=_ACTION_SECONDS)

    def install(self, kernel: str) -> CommandResult:
        """Copy the built modules into the kernel's module directory and run depmod.

        Forced: without it DKMS skips each module whose version equals that of a module already in
        the kernel's directory (the distribution's build of the same release) and reports success.
        """
        return self._dkms("install", "-k", kernel, "-a", self.arch, "--force")

    def uninstall(self, kernel: str) -> CommandResult:
        """Take the modules out of the kernel's module directory; keep the build."""
        return self._dkms("uninstall", "-k", kernel, "-a", self.arch)

    def remove_all(self) -> CommandResult:
        """Uninstall from every kernel, drop every build, unregister the version."""
        return self._dkms("remove", "--all")

    def _dkms(self, action: str, *words: str, timeout: float = _ACTION_SECONDS) -> CommandResult:
        argv = ["dkms", action, "-m", self.name, "-v", self.version, *self.trees.options, *words]
        return run(argv, check=False, timeout=timeout)


def parse_status(text: str) -> list[DkmsEntry]:
    """Return the entries of ``dkms status`` output; lines of other form (warnings) are skipped."""
    entries = []
    for line in text.splitlines():
        match = _STATUS_LINE.match(line.strip())
        if match:
            fields = match.groupdict()
            remarks = tuple(_REMARK.findall(fields.pop("remarks")))
            entries.append(DkmsEntry(**fields, remarks=remarks))
    return entries


def status(trees: DkmsTrees | None = None) -> list[DkmsEntry]:
    """Return what DKMS has registered, built and installed; empty where dkms is not installed.

    Raises:
        CommandFailed: dkms itself failed.
    """
    options = trees.options if trees else ()
    try:
        return parse_status(run(["dkms", "status", *options], timeout=_ACTION_SECONDS).stdout)
    except CommandMissing:
        return []


def parse_version(text: str) -> str | None:
    """Return "3.0.10" from "dkms-3.0.10" (up to 3.0) or "dkms 3.2.2"; None for other text."""
    match = re.search(r"dkms[ :-]*(\d+(?:\.\d+)+)", text)
    return match.group(1) if match else None


def version() -> str | None:
    """Return the installed release of DKMS, None where it is not installed."""
    try:
        return parse_version(run(["dkms", "--version"], check=False).stdout)
    except CommandMissing:
        return None


def failure(code: str, result: CommandResult, *, want: str, remedy: str) -> DkmsFailed:
    """Return the error that tells of a DKMS action: its status by meaning and its last lines."""
    meaning = EXIT_MEANINGS.get(result.rc, "no meaning documented")
    said = (result.stdout + "\n" + result.stderr).strip().splitlines()[-_LAST_LINES:]
    action = " ".join(result.argv[:2])
    return DkmsFailed(
        code,
        read=f"{action} returned {result.rc} ({meaning}): " + "\n".join(said),
        want=want,
        remedy=remedy,
    )
