# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A few faults of each kind on one release; `make faults` injects all of them. Needs root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
HOME = Path("~/.cache/gpufleet/faults").expanduser()


def test_the_product_loses_no_host_where_the_controls_do(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    words = [sys.executable, "-m", "faults", "--fast", "--releases", "bookworm"]
    words += ["--seconds", "240", "--record", str(record), "--home", str(HOME)]
    path = os.pathsep.join(str(REPOSITORY / name) for name in ("tests", "src", "collection"))
    run = subprocess.run(
        words,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    summary = json.loads(record.read_text())["summary"]
    assert summary["faults"] >= 20 and summary["kinds"] >= 10, summary
    assert summary["hosts_lost"] == 0, run.stdout + run.stderr
    # Faults that the usual ways survive would prove nothing.
    assert summary["controls_lost"] > 0, summary
