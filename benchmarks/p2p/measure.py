# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs p2p_verify's own measurement once and prints its result as one line of JSON.

Needs this checkout and nvidia-ml-py; neither Ansible nor anything installed. Options are those of
the module: see --help.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "collection"))

from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.identity import loaded_module
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu.nvml import open_nvml
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.pci import DEFAULT_GPU_MATCH
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.options import Options
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Driver
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.runner import verify


def main() -> int:
    """Measure, print the result, and return 0; 1 where nothing could be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", default="", help="comma separated; all by default")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--allow-busy", action="store_true")
    parser.add_argument("--gpu-match", action="append", help="default: NVIDIA's")
    parsed = parser.parse_args()
    options = Options(
        gpu_match=tuple(parsed.gpu_match or DEFAULT_GPU_MATCH),
        devices=tuple(word for word in parsed.devices.split(",") if word),
        quick=parsed.quick,
        allow_busy=parsed.allow_busy,
    )
    try:
        module = loaded_module(Path("/"), "nvidia")
        with open_nvml(None) as nvml:
            build_id = None if module is None else module.build_id
            result = verify(nvml, Driver(nvml.driver_version(), build_id, None), options)
    except GpufleetError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(result.to_dict()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
