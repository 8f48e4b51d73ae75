# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates on what has to be of the driver's exact release: NVIDIA's libraries and its firmware.

Where the run itself brings them, by NVIDIA's installer or by apt, what counts is what will be there
afterwards; a change that cannot be made refuses.
"""

from __future__ import annotations

from dataclasses import dataclass

from .gate import Facts, Gate, Intent, not_needed

_OTHER_WAY = {"packages": "runfile", "runfile": "packages"}
# Debian's firmware-nvidia-gsp, Ubuntu's nvidia-firmware-595-595.58.03.
_FIRMWARE_PACKAGES = ("firmware-nvidia", "nvidia-firmware")


@dataclass(frozen=True)
class _Change:
    """What the run would do about the libraries.

    ``note`` tells it, ``obstacle`` what was read that stands against it, with ``remedy``;
    ``packages`` are those that apt would bring.
    """

    note: str = ""
    obstacle: str = ""
    remedy: str = ""
    packages: tuple[str, ...] = ()


def userspace_version_match(facts: Facts, intent: Intent) -> Gate:
    """The libraries are of exactly the release of the module to install, or are going to be."""
    wanted = intent.driver_version
    if wanted is None:
        return not_needed("userspace_version_match", "libraries of the driver's exact release")
    found = facts["driver"]["userspace_version"]
    origin = facts["driver"]["userspace_origin"]
    declared = _declared(intent)
    # Files of one way under those of the other end as a mixture at the next update.
    mixed = origin["by"] in _OTHER_WAY and _OTHER_WAY[origin["by"]] == declared
    change = _change(facts, intent) if found != wanted else _Change()
    remedies = [change.remedy] if change.remedy else []
    if mixed:
        remedies.append(
            f"remove what was installed by {origin['by']}, or set p2p_driver.userspace to"
            f" {origin['by']}"
        )
    by = f", by {origin['by']}" if origin["by"] else ""
    brought = f" ({', '.join(origin['packages'])})" if origin["packages"] else ""
    libraries = f"{found or 'no libcuda.so.1 and no libnvidia-ml.so.1'}{by}{brought}"
    passed = not remedies
    note = change.note
    if passed and not note and origin["by"] == "unknown":
        note = "how the libraries were installed is unknown: an update may replace them"
    return Gate(
        "userspace_version_match",
        passed,
        read=f"{libraries}; {change.obstacle}" if change.obstacle else libraries,
        want=wanted if declared == "keep" else f"{wanted}, by {declared}",
        remedy="; ".join(remedies),
        note=note if passed else "",
    )


def firmware_directory(facts: Facts, intent: Intent) -> Gate:
    """The GSP firmware of the release is there: no open module initialises a GPU without it."""
    version = intent.driver_version
    if version is None:
        return not_needed("firmware_directory", "the GSP firmware of the driver's release")
    found = facts["driver"]["firmware"]
    note = _firmware_note(facts, intent) if version not in found else ""
    passed = version in found or bool(note)
    return Gate(
        "firmware_directory",
        passed,
        read=", ".join(found) or "no /lib/firmware/nvidia/RELEASE/gsp_*.bin",
        want=f"/lib/firmware/nvidia/{version}/gsp_*.bin",
        remedy=""
        if passed
        else f"install the firmware of {version}: NVIDIA's installer brings it (also without kernel"
        " modules), Debian's package is firmware-nvidia-gsp",
        note=note,
    )


def _firmware_note(facts: Facts, intent: Intent) -> str:
    """Return what brings the firmware along with the libraries, empty where nothing does."""
    if facts["driver"]["userspace_version"] == intent.driver_version:
        # The libraries are there, so nothing is going to be installed.
        return ""
    change = _change(facts, intent)
    if change.obstacle:
        return ""
    if _declared(intent) == "runfile":
        return "NVIDIA's installer brings it with the libraries"
    brings = [name for name in change.packages if name.startswith(_FIRMWARE_PACKAGES)]
    return f"apt brings it with the libraries: {', '.join(brings)}" if brings else ""


def _declared(intent: Intent) -> str:
    return intent.build.userspace if intent.build else "keep"


def _change(facts: Facts, intent: Intent) -> _Change:
    """Return what the run would do about libraries of another release, or none."""
    ways = {"runfile": _by_installer, "packages": _by_packages}
    way = ways.get(_declared(intent))
    if way is not None:
        return way(facts, intent)
    return _Change(
        obstacle="to be kept as they are",
        remedy=f"install NVIDIA's userspace {intent.driver_version} (without kernel modules) and"
        " hold its packages, or choose the driver of the installed release, or have the run bring"
        " it (p2p_driver.userspace)",
    )


def _by_installer(_facts: Facts, intent: Intent) -> _Change:
    wanted = intent.driver_version
    if intent.source is None or "error" in intent.source:
        return _Change(note=f"NVIDIA's installer of {wanted} is verified before it is run")
    told = intent.source.get("runfile")
    if not told:
        return _Change(
            obstacle="no installer given",
            remedy=f"set p2p_driver_runfile to path and sha256 of NVIDIA's installer of {wanted}",
        )
    if told["sha256"] is None:
        return _Change(
            obstacle=f"{told['path']}: no such file on the controller",
            remedy="correct p2p_driver_runfile.path",
        )
    if told["sha256"] != told["expected"]:
        return _Change(
            obstacle=f"{told['path']}: sha256 {told['sha256']}",
            remedy="fetch the installer again, or correct p2p_driver_runfile.sha256 after comparing"
            " it with NVIDIA's",
        )
    if told["release"] not in (None, wanted):
        return _Change(
            obstacle=f"{told['path']} brings {told['release']}",
            remedy=f"give the installer of {wanted} in p2p_driver_runfile",
        )
    return _Change(note=f"to be installed by {told['path']}")


def _by_packages(facts: Facts, intent: Intent) -> _Change:
    wanted = intent.driver_version
    archive = facts["driver"]["userspace_archive"]
    packages = tuple(archive["releases"].get(wanted, ()))
    if archive["held"]:
        held = " ".join(archive["held"])
        return _Change(obstacle=f"on hold: {held}", remedy=f"apt-mark unhold {held}")
    if not packages:
        has = ", ".join(archive["releases"]) or "none"
        return _Change(
            obstacle=f"releases that apt has for all of their packages: {has}",
            remedy=f"apt-get update, or add the archive that has {wanted}; install the packages"
            " first where there are none",
        )
    return _Change(note=f"to be installed: {', '.join(packages)}", packages=packages)
