# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gates asked with plain options: what the module takes, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .._driver.catalogue import parse as parse_catalogue
from .._driver.faults import SpecificationInvalid
from .._driver.specification import DriverBuild
from .._driver.specification import parse as parse_build
from .._host.errors import GpufleetError
from .evaluate import evaluate
from .gate import DEFAULT_FREE_MIB, Intent

#: The options as Ansible's argument_spec has them; p2p_preflight documents them.
OPTIONS: dict[str, Any] = {
    "facts": {"type": "dict", "required": True},
    "driver_version": {"type": "str"},
    "driver": {"type": "dict"},
    "driver_source": {"type": "dict"},
    "catalogue": {"type": "dict"},
    "compiles": {"type": "bool", "default": True},
    "install_headers": {"type": "bool", "default": False},
    "parameters": {"type": "list", "elements": "str", "default": []},
    "trial_boot": {"type": "bool", "default": True},
    "allow_busy": {"type": "bool", "default": False},
    "drains": {"type": "bool", "default": False},
    "allow_nvlink_loss": {"type": "bool", "default": False},
    "minimum_gpus": {"type": "int", "default": 2},
    "bar1_headroom_mib": {"type": "int", "default": 0},
    "minimum_free_mib": {"type": "dict", "default": DEFAULT_FREE_MIB},
}


def judge(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return every gate's answer and whether all passed, given a value for each of OPTIONS.

    Raises:
        GpufleetError: the facts, the catalogue or a figure among the options cannot be used.
    """
    source = options["driver_source"] or {}
    told = "error" in source or "description" in source
    build, refusal = _build(options["driver"])
    gates = evaluate(
        options["facts"],
        Intent(
            driver_version=build.version if build else options["driver_version"],
            build=build,
            source=refusal or (source if told else None),
            catalogue=parse_catalogue(options["catalogue"]) if options["catalogue"] else None,
            compiles=options["compiles"],
            install_headers=options["install_headers"],
            parameters=tuple(options["parameters"]),
            trial_boot=options["trial_boot"],
            allow_busy=options["allow_busy"],
            drains=options["drains"],
            allow_nvlink_loss=options["allow_nvlink_loss"],
            minimum_gpus=options["minimum_gpus"],
            bar1_headroom_mib=options["bar1_headroom_mib"],
            minimum_free_mib=_figures(options["minimum_free_mib"]),
        ),
    )
    return {"gates": [asdict(gate) for gate in gates], "passed": all(g.passed for g in gates)}


def _build(
    description: dict[str, Any] | None,
) -> tuple[DriverBuild | None, dict[str, Any] | None]:
    """Return the build, or what a failed driver_source would have told of its description."""
    if not description:
        return None, None
    try:
        return parse_build(description), None
    except SpecificationInvalid as error:
        return None, {"error": error.as_dict()}


def _figures(figures: dict[str, Any]) -> dict[str, int]:
    try:
        return {str(path): int(figure) for path, figure in figures.items()}
    except (TypeError, ValueError) as error:
        raise GpufleetError(
            "minimum_free_invalid",
            read=str(figures),
            want="a whole number of MiB for each path",
            remedy="correct p2p_minimum_free_mib",
        ) from error
