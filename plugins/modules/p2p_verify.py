# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: p2p_verify
short_description: Prove that GPUs reach each other's memory, and measure how fast
version_added: "0.1.0"
description:
  - Moves data between every ordered pair of a host's NVIDIA GPUs with peer access enabled, by copy
    engine and by kernel, writing and reading, and lets the owner of the memory judge whether it
    arrived. Then measures bandwidth and latency with peer-to-peer on and off, written and read, by
    copy engines and by kernels, one way and both ways at once.
  - Each figure is judged against the slowest PCIe link on the pair's path. A copy that is fast and
    wrong fails; one that is faster than its link fails too.
  - Names the sets of GPUs that all reach each other, and the causes of what does not work.
  - Needs nothing on the target but the driver's own libraries; C(pynvml) travels with the module,
    CUDA is called through C(libcuda.so.1).
  - Ends a look of the guard (M(gpufleet.p2p.p2p_guard)) that is under way, because its copies would
    pass for a program that uses the GPUs; its timer makes them again.
  - Each pair is measured in a process of its own with a time limit, so that a transfer that hangs
    costs that pair and nothing else.
  - A bad verdict does not fail the module; it fails only where it cannot measure.
  - Lets two processes share memory by CUDA IPC as C(NCCL) does, where all else is right.
  - Uses at most three eighths of the GPUs' free memory and 24 MiB, and on the host 48 MiB of
    page-locked memory for one pair, 192 MiB for the four that are checked at once at most.
options:
  gpu_match:
    description:
      - Which PCI functions are GPUs, as C(vendor:device:class-prefix) in hexadecimal; C(*) stands
        for anything.
    type: list
    elements: str
    default: ["10de:*:03"]
  devices:
    description:
      - GPUs to look at, each by index, UUID or PCI address; all by default.
      - The index is the position by PCI address, as with C(CUDA_DEVICE_ORDER=PCI_BUS_ID).
    type: list
    elements: str
    default: []
  buffer_bytes:
    description:
      - Bytes that each check moves, and at most those that each copy of a measurement moves.
      - At least 1 MiB, and rounded down to whole MiB.
      - By default 256 MiB and 512 MiB, with O(quick=true) 32 MiB and 256 MiB; never more than an
        eighth of a GPU's free memory.
      - By default, without O(quick=true), a second round of checks moves what the link carries in
        0.06 seconds, 4 GiB at most.
    type: int
  child_timeout:
    description:
      - Seconds until the process that measures a pair is killed.
    type: int
    default: 120
  quick:
    description:
      - Move less and repeat less, for a check in passing. Bandwidth is measured for writes by copy
        engines alone, not for reads nor for kernels.
    type: bool
    default: false
  allow_busy:
    description:
      - Go on although programs use the GPUs. Their figures and those of the programs suffer.
    type: bool
    default: false
  expected_build_id:
    description:
      - Build-id of the C(nvidia.ko) that should be running, as M(gpufleet.p2p.loaded_module) tells
        it. Without it nothing is said on whether the running module is the patched one.
    type: str
  thresholds:
    description:
      - Fractions of the link's ceiling at which verdicts change. V(pass) and V(warn) are
        multiplied by 0.7 for paths between host bridges and NUMA nodes, and by 0.9 for NVLink.
    type: dict
    default: {}
    suboptions:
      pass:
        description: From here on a pair passes.
        type: float
        default: 0.85
      warn:
        description: From here on a pair that does not pass is warned about; below it fails.
        type: float
        default: 0.60
      too_fast:
        description: Above this the data cannot have crossed the link, and the pair fails.
        type: float
        default: 1.03
  progress_path:
    description:
      - File or pipe on the target that is given a line of JSON at first and whenever pairs were
        measured - C(done) and C(total), how many pairs are measured and how many there are to
        measure. For programs that show how far it is; nothing is written by default.
    type: path
  lock:
    description:
      - Hold the host's lock, as M(gpufleet.p2p.host_lock) does, while it is measured; an empty
        value takes every default. Without it no lock is taken.
    type: dict
    suboptions:
      run:
        description:
          - Identity of the run. The action plugin makes it.
        type: str
        required: true
      holder:
        description:
          - The run for people.
        type: str
        required: true
      lease_seconds:
        description:
          - After so long another run may take the lock over.
        type: int
        default: 3600
      supersedes:
        description:
          - A run that is known to be dead. The action plugin finds it out.
        type: str
      break_lock:
        description:
          - Take the lock of any run.
        type: bool
        default: false
  pynvml_source:
    description:
      - C(pynvml.py), compressed by zlib and in base64; the action plugin sets it.
      - Without it an installed C(pynvml) is used.
    type: str
attributes:
  check_mode:
    description: Can run in check mode and return the same as otherwise.
    support: full
    details: Measuring changes nothing on the host.
  diff_mode:
    description: Returns details of what has changed, or would change.
    support: none
    details: The module changes nothing.
author:
  - gpufleet authors (@gpufleet)
seealso:
  - module: gpufleet.p2p.p2p_facts
  - module: gpufleet.p2p.loaded_module
"""

EXAMPLES = r"""
- name: Verify every pair
  gpufleet.p2p.p2p_verify:
  register: verification

- name: Stop where peer-to-peer does not work
  ansible.builtin.assert:
    that: verification.verdict != 'fail'
    fail_msg: "{{ verification.causes | map(attribute='evidence') | join('; ') }}"

- name: Check two GPUs in passing
  gpufleet.p2p.p2p_verify:
    devices: ["0", "0000:41:00.0"]
    quick: true
"""

RETURN = r"""
verdict:
  description:
    - V(pass), V(warn) or V(fail). V(fail) if a pair fails or none is applicable.
  type: str
  returned: success
  sample: pass
groups:
  description:
    - Largest sets of GPU indices in which every ordered pair passed or warned, for
      C(CUDA_VISIBLE_DEVICES).
  type: list
  elements: list
  returned: success
  sample: [[0, 1], [2, 3]]
lock:
  description:
    - How the host was held - C(action) as M(gpufleet.p2p.host_lock) tells it, its C(boot_id),
      and the controller's time (C(at)).
  type: dict
  returned: when O(lock) was given
  sample:
    action: acquired
    boot_id: 3c1f6f0e-5a53-4b0e-9a35-0d6c1f3f7f52
    at: "2026-11-23T09:30:00Z"
causes:
  description: Why pairs do not work or are slow.
  type: list
  elements: dict
  returned: success
  contains:
    code:
      description: Stable name of the cause, see docs/verification.md.
      type: str
      returned: success
    evidence:
      description: What was read on the host.
      type: str
      returned: success
    remedy:
      description: What to do about it.
      type: str
      returned: success
  sample:
    - code: iommu_translating
      evidence: GPU 0 0000:01:00.0 is in group 12 of type DMA-FQ
      remedy: boot with iommu=pt (role iommu_passthrough), so that the groups become identity
notes:
  description:
    - What is worth knowing and explains no failure, in the form of RV(causes), such as evidence
      that could not be read.
  type: list
  elements: dict
  returned: success
  sample:
    - code: kernel_log_unread
      evidence: "/dev/kmsg: permission denied"
      remedy: run as root, so that faults the kernel logs during the run are seen
p2p:
  description:
    - The whole result, schema version 1. Bandwidth is in GB/s (1e9 bytes per second), latency in
      microseconds, sizes in bytes.
  type: dict
  returned: success
  contains:
    schema:
      description: Version of this structure.
      type: int
      returned: success
      sample: 1
    host:
      description: The host's own name.
      type: str
      returned: success
      sample: gpu07
    driver:
      description:
        - C(version), C(build_id) of the running C(nvidia.ko), and C(patched), which is null where
          no build-id was expected.
      type: dict
      returned: success
    kernel:
      description: Running kernel release.
      type: str
      returned: success
      sample: 6.1.0-45-amd64
    cmdline:
      description: Running kernel's command line.
      type: str
      returned: success
    iommu:
      description: C(gpu_groups) maps a GPU's PCI address to the type of its IOMMU group.
      type: dict
      returned: success
      sample: {gpu_groups: {"0000:01:00.0": identity}}
    gpus:
      description:
        - The GPUs with their links as read under load, what they are set to (C(state)) and the
          errors they counted during the run (C(counters)).
      type: list
      elements: dict
      returned: success
    pairs:
      description:
        - For every ordered pair its path, hops, claimed capability, correctness, bandwidth,
          latency, verdict and reasons.
      type: list
      elements: dict
      returned: success
    groups:
      description: As above.
      type: list
      elements: list
      returned: success
    causes:
      description: As above.
      type: list
      elements: dict
      returned: success
    notes:
      description: As above.
      type: list
      elements: dict
      returned: success
    verdict:
      description: As above.
      type: str
      returned: success
    all_to_all:
      description:
        - What the largest groups move with every GPU writing to every other at the same time, by
          copy engines, in GB/s. For two GPUs the rate of their pair in both directions.
        - Larger groups are left out with O(quick=true).
      type: list
      elements: dict
      returned: success
      contains:
        gpus:
          description: Indices, as in a group.
          type: list
          elements: int
          returned: success
        unit:
          description: V(GB/s).
          type: str
          returned: success
        total:
          description: Of all together; null where it was not measured.
          type: float
          returned: success
        spread:
          description:
            - Half the width of the 95 % confidence interval of RV(p2p.all_to_all.total), as a share
              of it.
          type: float
          returned: success
        per_gpu:
          description: What each GPU wrote, by its index as a string.
          type: dict
          returned: success
        ceiling:
          description: What the links that the pairs share carry at most with this traffic.
          type: float
          returned: success
        fraction:
          description: RV(p2p.all_to_all.total) as a share of RV(p2p.all_to_all.ceiling).
          type: float
          returned: success
        bottleneck:
          description: The link that sets the ceiling, by the PCI address of its lower end.
          type: str
          returned: success
        sharing:
          description: How many ordered pairs cross it in that direction.
          type: int
          returned: success
        data:
          description:
            - Whether the owners found right what all had written at once. V(failed) fails the host.
          type: str
          returned: success
        detail:
          description: Why there are no figures.
          type: str
          returned: success
      sample:
        - {gpus: [0, 1], unit: GB/s, total: 783.6, spread: 0.002, per_gpu: {"0": 391.8, "1": 391.8},
           ceiling: 956.2, fraction: 0.82, bottleneck: "nvlink 0000:19:00.0 to 0000:3b:00.0",
           sharing: 1, data: not_run, detail: ""}
    buffer_bytes:
      description:
        - Bytes that each check moved in its first round; RV(p2p.pairs) has the length of the second
          as C(correctness.pattern_bytes).
      type: int
      returned: success
      sample: 268435456
    wall_seconds:
      description: Duration of the run in seconds.
      type: float
      returned: success
      sample: 4.1
"""

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from ansible_collections.gpufleet.p2p.plugins.module_utils import _module
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.identity import loaded_module
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu.nvml import open_nvml
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard.own_look import end_own_look
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.kernel import read_boot_id
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.lock import LockRequest, held
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.pci import DEFAULT_GPU_MATCH
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.options import Options
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Driver
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.runner import verify
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.verdict import Thresholds

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

_ROOT = Path("/")
_ARGUMENTS: dict[str, Any] = {
    "gpu_match": {"type": "list", "elements": "str", "default": list(DEFAULT_GPU_MATCH)},
    "devices": {"type": "list", "elements": "str", "default": []},
    "buffer_bytes": {"type": "int"},
    "child_timeout": {"type": "int", "default": 120},
    "quick": {"type": "bool", "default": False},
    "allow_busy": {"type": "bool", "default": False},
    "expected_build_id": {"type": "str"},
    "thresholds": {
        "type": "dict",
        "default": {},
        "options": {
            # Not a secret, whatever its name suggests.
            "pass": {"type": "float", "default": 0.85, "no_log": False},
            "warn": {"type": "float", "default": 0.60},
            "too_fast": {"type": "float", "default": 1.03},
        },
    },
    "progress_path": {"type": "path"},
    "lock": {
        "type": "dict",
        "options": {
            "run": {"type": "str", "required": True},
            "holder": {"type": "str", "required": True},
            "lease_seconds": {"type": "int", "default": 3600},
            "supersedes": {"type": "str"},
            "break_lock": {"type": "bool", "default": False},
        },
    },
    # Not a secret, but too long for every log that an argument gets into.
    "pynvml_source": {"type": "str", "no_log": True},
}


def verify_host(module: AnsibleModule) -> dict[str, Any]:
    """Return the module's result; raises GpufleetError where nothing can be measured."""
    lock = module.params["lock"]
    if lock is None or module.check_mode:
        return _verify(module.params)
    with held(_ROOT, LockRequest(**lock, purpose="verify")) as outcome:
        told = {"action": outcome.action, "boot_id": read_boot_id(_ROOT)}
        return {**_verify(module.params), "lock": told}


def _verify(given: dict[str, Any]) -> dict[str, Any]:
    expected = given["expected_build_id"]
    options = Options(
        gpu_match=tuple(given["gpu_match"]),
        devices=tuple(given["devices"]),
        buffer_bytes=given["buffer_bytes"],
        child_timeout=given["child_timeout"],
        quick=given["quick"],
        allow_busy=given["allow_busy"],
        expected_build_id=expected,
        thresholds=_thresholds(given["thresholds"]),
    )
    end_own_look(_ROOT)
    loaded = loaded_module(_ROOT, "nvidia")
    build_id = None if loaded is None else loaded.build_id
    with open_nvml(given["pynvml_source"]) as nvml:
        driver = Driver(
            version=nvml.driver_version(),
            build_id=build_id,
            patched=None if expected is None else build_id == expected,
        )
        progress = _progress_to(given["progress_path"])
        result = verify(nvml, driver, options, on_progress=progress).to_dict()
    return {
        "verdict": result["verdict"],
        "groups": result["groups"],
        "causes": result["causes"],
        "notes": result["notes"],
        "p2p": result,
    }


def _progress_to(path: str | None) -> Callable[[int, int], None] | None:
    """Return what writes progress to ``path``; a reader that has gone stops nothing."""
    if path is None:
        return None

    def write(done: int, total: int) -> None:
        line = json.dumps({"done": done, "total": total}) + "\n"
        with contextlib.suppress(OSError):
            # A pipe without a reader would otherwise hold the run.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
            descriptor = os.open(path, flags, 0o644)
            try:
                os.write(descriptor, line.encode("ascii"))
            finally:
                os.close(descriptor)

    return write


def _thresholds(given: dict[str, float]) -> Thresholds:
    # An option left out altogether has no suboptions and so none of their defaults.
    usual = Thresholds()
    return Thresholds(
        pass_from=given.get("pass", usual.pass_from),
        warn_from=given.get("warn", usual.warn_from),
        too_fast=given.get("too_fast", usual.too_fast),
    )


if __name__ == "__main__":
    _module.main(_ARGUMENTS, verify_host)
