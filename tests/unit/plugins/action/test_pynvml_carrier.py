# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's pynvml is the one file of nvidia-ml-py, or there is a refusal that says so."""

from __future__ import annotations

import base64
import sys
import zlib
from pathlib import Path

import pytest
from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible_collections.gpufleet.p2p.plugins.action import p2p_facts, p2p_verify
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.pynvml_carrier import (
    PynvmlCarrier,
    controller_pynvml,
    packed_pynvml,
)


@pytest.fixture(autouse=True)
def _forget_pynvml(monkeypatch: pytest.MonkeyPatch) -> None:
    if "pynvml" in sys.modules:
        monkeypatch.delitem(sys.modules, "pynvml")


def test_nvidia_ml_py_is_one_file() -> None:
    path = Path(controller_pynvml())
    assert path.name == "pynvml.py"
    assert "nvmlDeviceGetP2PStatus" in path.read_text()


def test_it_is_packed_once_in_a_run_and_opened_on_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    packed = packed_pynvml()
    assert zlib.decompress(base64.b64decode(packed)) == Path(controller_pynvml()).read_bytes()
    (kept,) = tmp_path.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.write_text("kept")
    assert packed_pynvml() == "kept"


def test_it_imports_nothing_that_a_target_may_lack() -> None:
    source = Path(controller_pynvml()).read_text()
    imports = {
        line.split()[1] for line in source.splitlines() if line.startswith(("import ", "from "))
    }
    assert {name.rstrip(",").split(".")[0] for name in imports} <= set(sys.stdlib_module_names)


def test_the_package_of_that_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pynvml").mkdir()
    (tmp_path / "pynvml/__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(AnsibleActionFail, match="pip install nvidia-ml-py"):
        controller_pynvml()


@pytest.mark.parametrize("plugin", [p2p_facts, p2p_verify])
def test_each_plugin_runs_the_module_of_its_name(plugin: object) -> None:
    action = plugin.ActionModule  # type: ignore[attr-defined]  # a module object
    assert issubclass(action, PynvmlCarrier)
    assert plugin.__name__.endswith(action.MODULE.rsplit(".", 1)[1])  # type: ignore[attr-defined]
