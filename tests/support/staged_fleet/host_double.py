# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host as the playbooks see it: a file of plain data, and what each module would do to it.

The double keeps what a restart keeps and loses what a restart loses: the default entry's parameters
and the installed driver stay; the running ones become what was chosen for that boot. Every change
of it goes into ``journal``, so that a test can tell what was done, how often and in which order.

Two things can be asked of it. ``fault`` names the change that fails; ``stock driver`` is a host
that loads its old driver after the restart, ``panic`` one whose trial boot ends in its old system
by itself, ``keys overlooked`` one whose driver comes up without its registry keys, ``verdict`` one
whose GPUs do not get the data, ``unplanned`` one whose files cannot be read for the plan.
``halt`` names a change, with ``before:`` or ``after:`` in front, at which the host stands still:
the task then never returns, as when the controller dies in the middle of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.gate_facts import RELEASE, facts, gpu

VERSION = "595.58.03"
STOCK, PATCHED = "5" * 40, "9" * 40
PACKAGE = "gpufleet-nvidia"
COMPILER = {"identity": "gcc12", "text": "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0"}
SOURCE_KEY = "c" * 64

Result = dict[str, Any]


def bare(name: str, **changes: Any) -> dict[str, Any]:
    """Return the state of a host with the stock driver and a translating IOMMU."""
    return {
        "name": name,
        "boot": 1,
        "default": [],
        "trial": None,
        "running": {"parameters": [], "build_id": STOCK, "trial": None, "keys": {}},
        "installed": STOCK,
        "keys": {},
        "driver_on_trial": False,
        "guarded": False,
        # Which GPUs reach each other, and what the guard has on record of it.
        "groups": [],
        "recorded_groups": [],
        "processes": [],
        "scheduler": {"drained": False, "reason": "", "jobs": 0},
        "journal": [],
        "fault": None,
        "halt": None,
        "reached": None,
        **changes,
    }


class HostDouble:
    """One host; its state is read and written as a file, since each task is another process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "state.json"
        self.state: dict[str, Any] = json.loads(self.path.read_text())

    @property
    def boot_id(self) -> str:
        """The boot's identity, another after each restart."""
        return f"{self.state['name']}-boot-{self.state['boot']}"

    def save(self) -> None:
        """Write the state, whole, and what the real modules read of it in the host's root."""
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.state))
        new.replace(self.path)
        boot_id = self.folder / "root/proc/sys/kernel/random/boot_id"
        boot_id.parent.mkdir(parents=True, exist_ok=True)
        boot_id.write_text(self.boot_id + "\n")

    def change(self, name: str, apply: Callable[[], None], *, check: bool) -> bool:
        """Apply a change, note it, and do what was asked for at it; True is what it returns."""
        if check:
            return True
        self._halt(f"before:{name}")
        if self.state["fault"] == name:
            raise RuntimeError(f"{name.replace(' ', '_')}_failed: as the test asked for")
        apply()
        self.state["journal"].append(name)
        self.save()
        self._halt(f"after:{name}")
        return True

    def _halt(self, place: str) -> None:
        if self.state["halt"] == place:
            self.state["reached"] = place
            self.save()
            time.sleep(600)  # the test ends the process long before

    # --- the modules ------------------------------------------------------------------------

    def p2p_facts(self, _given: Result, _check: bool) -> Result:
        """Read the host."""
        state = self.state
        running, translating = state["running"], "iommu=pt" not in state["running"]["parameters"]
        note = self.folder / "root/var/lib/gpufleet/drain.json"
        kind = "DMA-FQ" if translating else "identity"
        read = facts(
            kernel__boot_id=self.boot_id,
            kernel__architecture="x86_64",
            kernel__compiler=COMPILER,
            gpus=[gpu(0, processes=state["processes"]), gpu(1)],
            drain=json.loads(note.read_text()) if note.exists() else None,
            driver__installed={"build_id": state["installed"]},
            driver__build_id=running["build_id"],
            driver__on_trial=state["driver_on_trial"],
            iommu={
                "default_domain": "translated" if translating else "identity",
                "gpu_groups": {"0000:01:00.0": {"id": 1, "type": kind}},
            },
        )
        if state["installed"] == PATCHED:
            read["dkms"]["modules"] = [
                {"module": PACKAGE, "version": VERSION, "kernel": RELEASE, "status": "installed"}
            ]
        return {"ansible_facts": {"p2p": read}}

    def p2p_preflight(self, given: Result, _check: bool) -> Result:
        """Let the host through unless it is busy: the one gate that the double has."""
        allowed = given["allow_busy"] or given["drains"]
        busy = bool(self.state["processes"]) and not allowed
        gate = {
            "name": "gpus_busy",
            "passed": not busy,
            "read": "a program" if busy else "no process",
            "want": "none",
            "remedy": "drain the host" if busy else "",
        }
        return {"passed": not busy, "gates": [gate]}

    def p2p_plan(self, given: Result, _check: bool) -> Result:
        """Tell which parts have something to do."""
        if self.state["fault"] == "unplanned":
            raise RuntimeError("file_unreadable: as the test asked for")
        state, running = self.state, self.state["running"]
        wanted, driver, guard = given["parameters"], given.get("driver"), given.get("guard")
        done = {
            "kernel_parameters": state["default"] == running["parameters"] == wanted
            and state["trial"] is None,
            "registry_keys": driver is None
            or state["keys"] == running["keys"] == driver["registry"],
            "running_driver": driver is None
            or running["build_id"] == state["installed"] == PATCHED,
            "guard": guard is None or state["guarded"],
        }
        left = [{"step": step, "reason": "as the double has it"} for step in done if not done[step]]
        return {
            "open": left,
            "verified_groups": state["recorded_groups"],
            "build_id": driver and PATCHED,
        }

    def dkms_module(self, given: Result, check: bool) -> Result:
        """Install or remove the driver."""
        wanted = PATCHED if given["state"] == "installed" else STOCK
        if self.state["installed"] == wanted:
            return {"modules": [{"name": "nvidia", "build_id": wanted}]}
        changed = self.change(
            f"driver {given['state']}", lambda: self.state.update(installed=wanted), check=check
        )
        return {"changed": changed, "modules": [{"name": "nvidia", "build_id": wanted}]}

    def driver_trial(self, given: Result, check: bool) -> Result:
        """Keep the driver to trial boots, or let it be loaded at every boot."""
        begun = given["state"] == "begun"
        changed = self.state["driver_on_trial"] != begun and self.change(
            f"driver trial {given['state']}",
            lambda: self.state.update(driver_on_trial=begun),
            check=check,
        )
        return {"changed": changed, "on_trial": begun}

    def driver_userspace(self, _given: Result, _check: bool) -> Result:
        """Hold the libraries, which are the right ones."""
        return {}

    def driver_registry(self, given: Result, check: bool) -> Result:
        """Write the registry keys or take them away; a restart brings them into force."""
        present = given.get("state", "present") == "present"
        wanted = dict(given.get("registry") or {}) if present else {}
        changed = self.state["keys"] != wanted and self.change(
            "keys set" if wanted else "keys taken away",
            lambda: self.state.update(keys=wanted),
            check=check,
        )
        reload = self.state["running"]["keys"] != wanted
        return {"changed": changed, "registry": wanted, "reload_required": reload}

    def loaded_module(self, given: Result, check: bool) -> Result:
        """Tell which driver runs; exchange it where that is asked for and no process is there."""
        wanted = given.get("expected_build_id") or self.state["installed"]
        asked = given.get("registry") or {}
        changed = False
        if given.get("swap") and not self._driver(wanted, asked)["matches"]:
            if wanted != self.state["installed"]:
                raise RuntimeError("new_build_not_in_place")
            if self.state["processes"]:
                raise RuntimeError("driver_in_use")
            loaded = {"build_id": wanted, "keys": dict(self.state["keys"])}
            changed = self.change(
                "exchanged", lambda: self.state["running"].update(loaded), check=check
            )
        return {"changed": changed, "stopped": [], **self._driver(wanted, asked)}

    def _driver(self, wanted: str, asked: Result) -> Result:
        running, keys = self.state["running"]["build_id"], self.state["running"]["keys"]
        differences = [key for key, value in asked.items() if keys.get(key) != value]
        return {
            "build_id": running,
            "installed_build_id": self.state["installed"],
            "registry_differences": differences,
            "matches": running == self.state["installed"] == wanted and not differences,
        }

    def kernel_cmdline(self, given: Result, check: bool) -> Result:
        """Stage the parameters for a trial, as plan_present has it, or remove them."""
        state = self.state
        if given.get("state") == "absent":
            changed = bool(state["default"] or state["trial"]) and self.change(
                "parameters absent", lambda: state.update(default=[], trial=None), check=check
            )
            return {"changed": changed, "reboot_required": bool(state["running"]["parameters"])}
        wanted = given["parameters"]
        running = state["running"]
        if running["trial"] and state["trial"]:
            return {"reboot_required": False, "token": running["trial"]}
        if state["default"] == wanted:
            changed = bool(state["trial"]) and self.change(
                "trial forgotten", lambda: state.update(trial=None), check=check
            )
            reboot = running["parameters"] != wanted
            return {"changed": changed, "reboot_required": reboot, "token": None}
        token = f"trial-of-boot-{state['boot']}"
        if state["trial"] == {"token": token, "parameters": wanted, "armed": True}:
            return {"reboot_required": True, "token": token}
        trial = {"token": token, "parameters": wanted, "armed": True}
        changed = self.change("trial staged", lambda: state.update(trial=trial), check=check)
        return {"changed": changed, "reboot_required": True, "token": token}

    def boot_trial(self, given: Result, check: bool) -> Result:
        """Arm, confirm or abandon the trial."""
        state, trial = self.state, self.state["trial"]
        if given["state"] == "armed":
            if trial is None:
                assert given["unchanged"], "there is no trial to arm"
                trial = {"token": f"trial-of-boot-{state['boot']}", "parameters": state["default"]}
            elif trial["armed"]:
                return {"token": trial["token"]}
            armed = {"trial": {**trial, "armed": True}}
            changed = self.change("trial armed", lambda: state.update(armed), check=check)
            return {"changed": changed, "token": trial["token"]}
        if given["state"] == "abandoned":
            fell_back = state["running"]["trial"] is None
            changed = self.change("trial abandoned", lambda: state.update(trial=None), check=check)
            return {"changed": changed, "fell_back": fell_back}
        if state["running"]["trial"] != given["token"]:
            raise RuntimeError("trial_fell_back")
        confirmed = {"default": trial["parameters"], "trial": None}
        return {
            "changed": self.change("trial confirmed", lambda: state.update(confirmed), check=check)
        }

    def restart(self, _given: Result, check: bool) -> Result:
        """Restart the host, as ansible.builtin.reboot does and returns when it is back."""
        state = self.state

        def boot() -> None:
            trial = state["trial"]
            tried = trial if trial and trial["armed"] else None
            if tried:
                trial["armed"] = False  # GRUB clears its selection before it starts the kernel
            if state["fault"] == "panic":
                tried = None
            if state["driver_on_trial"] and tried is None:
                state["installed"] = STOCK
            state["running"] = {
                "parameters": list(tried["parameters"] if tried else state["default"]),
                "build_id": STOCK if state["fault"] == "stock driver" else state["installed"],
                "trial": tried["token"] if tried else None,
                "keys": dict(state["keys"]) if state["fault"] != "keys overlooked" else {},
            }
            state["boot"] += 1
            state["ended"] = state["processes"]
            state["processes"] = []

        return {"changed": self.change("restarted", boot, check=check), "rebooted": True}

    # --- the scheduler that the host is a node of --------------------------------------------

    def show_node(self) -> str:
        """Return what scontrol show node prints of it, as far as it is read."""
        scheduler = self.state["scheduler"]
        words = ("MIXED" if scheduler["jobs"] else "IDLE") + (
            "+DRAIN" if scheduler["drained"] else ""
        )
        reason = f"   Reason={scheduler['reason']} [root@2026-11-23T09:30:00]\n"
        shown = f"NodeName={self.state['name']} Arch=x86_64\n   State={words} ThreadsPerCore=1\n"
        return shown + (reason if scheduler["reason"] else "")

    def update_node(self, changes: dict[str, str]) -> None:
        """Drain or resume the node; a job that runs ends at the second look."""
        drained = changes["State"] == "DRAIN"
        scheduler = {
            **self.state["scheduler"],
            "drained": drained,
            "reason": changes.get("Reason", ""),
        }
        self.change(
            "drained" if drained else "resumed",
            lambda: self.state.update(scheduler=scheduler),
            check=False,
        )

    def p2p_verify(self, given: Result, _check: bool) -> Result:
        """Judge the host by what it runs."""
        if self.state["processes"]:
            raise RuntimeError("gpus_busy")
        running = self.state["running"]
        good = running["build_id"] == PATCHED and "iommu=pt" in running["parameters"]
        self.change("verified", lambda: None, check=False)
        verdict = "pass" if good and self.state["fault"] != "verdict" else "fail"
        pair = {"from": 0, "to": 1, "verdict": verdict, "reasons": [] if good else ["data_dropped"]}
        result: Result = {"verdict": verdict, "pairs": [pair], "causes": [], "gpus": []}
        result["groups"] = self.state["groups"]
        held = {"action": "acquired", "boot_id": self.boot_id, "at": "2026-11-23T09:30:00Z"}
        return {**result, "p2p": result, **({"lock": held} if given.get("lock") else {})}

    def p2p_guard(self, given: Result, check: bool) -> Result:
        """Put the guard on, with the groups that were verified, or take it off."""
        wanted = given.get("state", "present") == "present"
        new = {"guarded": wanted, "recorded_groups": self.state["groups"] if wanted else []}
        if all(self.state[name] == value for name, value in new.items()):
            return {}
        return {
            "changed": self.change(
                f"guard {given['state']}", lambda: self.state.update(new), check=check
            )
        }

    def driver_source(self, given: Result, _check: bool) -> Result:
        """Tell of a source that is in the cache."""
        return {"key": SOURCE_KEY, "archive": f"{given['cache']}/source.tar.gz", "patches": []}
