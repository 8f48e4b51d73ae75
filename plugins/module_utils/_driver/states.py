# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The states a driver build can be brought to, each observed, planned, applied, observed again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .._host.files import read_text
from . import build as builds
from . import disabling, removal, rivals, signing
from . import initramfs as images
from . import install as installs
from .build import Build, BuildRequest
from .dkms import DkmsEntry, DkmsPackage, DkmsTrees, status
from .elf import ModuleUnreadable
from .identity import DRIVER_MODULES, InstalledModule, installed_module
from .initramfs import Initramfs
from .initramfs_generator import require_supported
from .install import Target
from .manifest import Manifest, module_file, recorded
from .progress import compiled_objects


@dataclass(frozen=True)
class Outcome:
    """What was done (or, in check mode, would be) and what is there now.

    Attributes:
        actions: the plan's steps in words; empty: nothing to do.
        modules: name, path, build_id and signer of each module, where the state puts them.
        status: DKMS's entries of the package.
        manifest: the build's manifest, None where there is no build yet, or no longer.
        before, after: the modules in words, for a diff.
        log: the log of the build, where there is one and it was made on this host.
        objects: how many objects the build compiled, by its log.
    """

    actions: tuple[str, ...]
    modules: tuple[InstalledModule, ...]
    status: tuple[DkmsEntry, ...]
    manifest: Manifest | None
    before: str
    after: str
    log: Path | None = None
    objects: int | None = None

    @property
    def changed(self) -> bool:
        """Whether there was anything to do."""
        return bool(self.actions)


def built(request: BuildRequest, *, archive: Path | None, check: bool) -> Outcome:
    """Build on a builder, and export to ``archive`` where one is given.

    Raises:
        SourceRefused, KernelSignatureMismatch, BuildFailed, BuildRefused, DkmsFailed.
    """
    planned = builds.plan(request)
    before = _built_modules(planned)
    actions = []
    if planned.manifest is None:
        actions.append(f"build {request.name}/{request.version} for {request.kernel}")
    if archive is not None and not builds.is_exported(planned, archive):
        actions.append(f"export to {archive}")
    made = planned
    if not check:
        made = builds.build(request) if planned.manifest is None else planned
        if archive is not None:
            builds.export(made, archive)
    package = made.package
    outcome = _outcome(
        actions,
        before,
        _built_modules(made),
        package=package,
        manifest=made.manifest,
        trees=package.trees,
        check=check,
    )
    log = package.build_directory(request.kernel) / "log/make.log"
    text = read_text(log)
    if text is None:
        return outcome
    return replace(outcome, log=log, objects=compiled_objects(text))


def imported(package: DkmsPackage, kernel: str, archive: Path, *, check: bool) -> Outcome:
    """Make DKMS hold the build in ``archive``, without compiling.

    Raises:
        BuildRefused, InstallRefused, DkmsFailed.
    """
    manifest = installs.manifest_of(package, archive, kernel)
    before = _modules_of(package, kernel, recorded(package, kernel))
    actions = []
    if not installs.is_imported(package, manifest):
        actions.append(f"import {package.name}/{package.version} for {kernel} from {archive}")
        if not check:
            installs.import_archive(package, archive, manifest)
    after = _modules_of(package, kernel, recorded(package, kernel))
    return _outcome(actions, before, after, package=package, manifest=manifest, check=check)


def installed(package: DkmsPackage, kernel: str, archive: Path | None, *, check: bool) -> Outcome:
    """Make the build what modprobe and the initramfs load under ``kernel``.

    Args:
        archive: import this first; None: DKMS has to hold the build already.

    Raises:
        BuildRefused, InstallRefused, SigningRefused, InitramfsRefused, DkmsFailed.
    """
    require_supported()
    target = Target(package, kernel)
    before = _resolved_modules(target)
    actions: list[str] = []
    trust = signing.read_trust()
    manifest = recorded(package, kernel)
    if archive is not None:
        wanted = installs.manifest_of(package, archive, kernel)
        if not wanted.same_build_as(manifest):
            signing.require_signable(trust, wanted)
        actions += imported(package, kernel, archive, check=check).actions
        held = recorded(package, kernel)
        manifest = held if wanted.same_build_as(held) else wanted
    if manifest is None:
        raise installs.not_imported(target)
    if signing.require_signable(trust, manifest):
        actions.append("sign the modules with the enrolled key")
        manifest = manifest if check else signing.sign(package, manifest, trust)
    if not check:
        signing.require_accepted(package, manifest, trust)
    found = installs.plan(target, manifest)
    actions += [f"install, because {line}" for line in found]
    if disabling.is_held_off(package.name):
        actions.append(f"let DKMS install {package.name} for new kernels")
    kept_off = rivals.are_kept_off()
    if not kept_off:
        actions.append(f"write {rivals.RIVALS_FILE}")
    image = Initramfs(kernel)
    stale = images.stale_parts(image, rivals_file=rivals.CONTENT)
    # The image holds driver modules that are right now and will not be after the installation.
    if stale or (found and image.image.is_file() and images.contents(image.image).builds):
        # Before a module is exchanged: the image would go on loading the former driver.
        images.require_space(image)
        actions.append(f"refresh {image.image}")
    if not check:
        if found:
            installs.install(target, manifest)
        rivals.keep_off()
        images.refresh(image)
        disabling.let_dkms_install(package.name)
    after = _resolved_modules(target)
    return _outcome(actions, before, after, package=package, manifest=manifest, check=check)


def disabled(package: DkmsPackage, kernel: str, archive: Path | None, *, check: bool) -> Outcome:
    """Keep the build with DKMS and take its modules out of every kernel.

    Args:
        archive: import this first; None: whatever DKMS holds stays.

    Raises:
        BuildRefused, InstallRefused, InitramfsRefused, DkmsFailed.
    """
    target = Target(package, kernel)
    before = _resolved_modules(target)
    actions: list[str] = []
    if archive is not None:
        actions += imported(package, kernel, archive, check=check).actions
    versions = removal.present_versions(package.name, package.trees)
    taken = {
        version: disabling.installed_kernels(DkmsPackage(package.name, version, package.trees))
        for version in versions
    }
    for version, kernels in taken.items():
        actions += [f"take {package.name}/{version} out of {release}" for release in kernels]
    held_off = disabling.is_held_off(package.name)
    if not held_off:
        actions.append(f"keep DKMS from installing {package.name} for new kernels")
    actions += _rivals_let_on(check=check)
    if not check and (any(taken.values()) or not held_off):
        disabling.disable(package.name, versions, package.trees)
    after = _resolved_modules(target)
    manifest = recorded(package, kernel)
    outcome = _outcome(actions, before, after, package=package, manifest=manifest, check=check)
    # What stays is foreseen by no manifest: the distribution's modules, if it has any.
    return replace(outcome, after=_described(after)) if check else outcome


def absent(name: str, versions: Sequence[str], kernel: str, *, check: bool) -> Outcome:
    """Take versions of the package off the host; those in ``versions``, or all if that is empty.

    Raises:
        DkmsFailed, InitramfsRefused.
    """
    trees = DkmsTrees()
    present = removal.present_versions(name, trees)
    wanted = [version for version in present if not versions or version in versions]
    package = DkmsPackage(name, wanted[0] if wanted else "", trees)
    target = Target(package, kernel)
    before = _resolved_modules(target)
    actions = [f"remove {name}/{version}" for version in wanted]
    held_off = wanted == list(present) and disabling.is_held_off(name)
    if held_off:
        actions.append(f"remove {disabling.override_file(name)}")
    if wanted == list(present):
        actions += _rivals_let_on(check=check)
    for version in [] if check else wanted:
        removal.remove_version(name, version, trees)
    if held_off and not check:
        disabling.let_dkms_install(name)
    after = _resolved_modules(target)
    return _outcome(actions, before, after, package=package, manifest=None, check=check)


def _rivals_let_on(*, check: bool) -> list[str]:
    """Let the kernel's own drivers have the GPUs again, before images are made without ours."""
    if not rivals.is_there():
        return []
    if not check:
        rivals.let_on()
    return [f"remove {rivals.RIVALS_FILE}"]


def _built_modules(made: Build) -> tuple[InstalledModule, ...]:
    kernel = made.manifest.kernel if made.manifest else ""
    return _modules_of(made.package, kernel, made.manifest)


def _modules_of(
    package: DkmsPackage, kernel: str, manifest: Manifest | None
) -> tuple[InstalledModule, ...]:
    """Return the modules that lie in DKMS's directory of the build."""
    found = []
    for module in manifest.modules if manifest else ():
        path = module_file(package.build_directory(kernel) / "module", module.name)
        if path is not None:
            found.append(
                InstalledModule(
                    module.name, str(path), package.version, module.build_id, module.signer
                )
            )
    return tuple(found)


def _resolved_modules(target: Target) -> tuple[InstalledModule, ...]:
    """Return what modprobe would load; a damaged file appears without its identity."""
    found = []
    for name in DRIVER_MODULES:
        try:
            module = installed_module(target.root, target.kernel, name)
        except ModuleUnreadable as error:
            module = InstalledModule(name, error.read.partition(":")[0], None, None, None)
        if module is not None:
            found.append(module)
    return tuple(found)


def _outcome(
    actions: Sequence[str],
    before: Sequence[InstalledModule],
    after: Sequence[InstalledModule],
    *,
    package: DkmsPackage,
    manifest: Manifest | None,
    trees: DkmsTrees | None = None,
    check: bool,
) -> Outcome:
    """Return the outcome; in check mode ``after`` is what was read, and the diff what would be."""
    expected = _expected(manifest) if check and actions else _described(after)
    return Outcome(
        actions=tuple(actions),
        modules=tuple(after),
        status=tuple(entry for entry in _status(trees) if entry.module == package.name),
        manifest=manifest,
        before=_described(before),
        after=expected,
    )


def _status(trees: DkmsTrees | None) -> list[DkmsEntry]:
    # A builder's tree does not exist before its first build, and dkms would complain.
    return [] if trees is not None and not trees.state.is_dir() else status(trees)


def _described(modules: Sequence[InstalledModule]) -> str:
    return "".join(f"{m.name} {m.version} build-id {m.build_id}\n" for m in modules)


def _expected(manifest: Manifest | None) -> str:
    if manifest is None:
        return ""
    return "".join(f"{m.name} {manifest.version} build-id {m.build_id}\n" for m in manifest.modules)
