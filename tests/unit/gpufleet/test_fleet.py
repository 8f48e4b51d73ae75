# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fleet with a playbook of a few lines, run by the real ansible-runner on this machine."""

from __future__ import annotations

import os
import signal
import stat
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from gpufleet import Event, Fleet, FleetError, FleetResult, Interrupted

PLAYBOOK = """
- name: Tiny
  hosts: p2p_hosts
  gather_facts: false
  tasks:
    - name: Look at the run
      ansible.builtin.copy:
        dest: "{{ seen }}"
        content: "{{ secret }} {{ lookup('ansible.builtin.env', 'ANSIBLE_HOST_KEY_CHECKING') }}"
        mode: "0600"
      run_once: true
      when: seen is defined
    - name: Sleep
      ansible.builtin.command: sleep {{ nap }}
      changed_when: false
      when: nap is defined
    - name: Break one host
      ansible.builtin.fail:
        msg: broken on purpose
      when: inventory_hostname == broken | default('')
    - name: Lose one host
      ansible.builtin.ping:
      when: inventory_hostname == lost | default('')
      vars:
        ansible_connection: ssh
        ansible_host: 127.0.0.1
        ansible_port: 1
    - name: Change
      ansible.builtin.debug:
      changed_when: true
    - name: Note
      ansible.builtin.set_fact:
        p2p_record: {schema: 1, host: "{{ inventory_hostname }}", outcome: verified}
    - name: Report
      ansible.builtin.import_role:
        name: gpufleet.p2p.report
"""


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An inventory of two local hosts and the playbook, in a current directory of their own."""
    (tmp_path / "tiny.yml").write_text(PLAYBOOK, encoding="utf-8")
    (tmp_path / "inventory.yml").write_text(
        "p2p_hosts:\n"
        f"  vars: {{ansible_connection: local, ansible_python_interpreter: '{sys.executable}'}}\n"
        "  hosts: {alpha: , beta: }\n",
        encoding="utf-8",
    )
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fleet(scene: Path, **options: object) -> Fleet:
    playbooks = {"verify": str(scene / "tiny.yml")}
    return Fleet(scene / "inventory.yml", playbooks=playbooks, **options)  # type: ignore[arg-type]  # options differ by test


def test_records_counts_and_report(scene: Path) -> None:
    events: list[Event] = []
    result = fleet(scene, observer=events.append).verify()
    assert isinstance(result, FleetResult)
    assert result.verified
    assert [host.host for host in result.hosts] == ["alpha", "beta"]
    assert result["beta"].tasks.changed == 1
    assert result.changed == 2
    assert result.report == scene / "gpufleet-report/report.html"
    assert result.report.is_file()
    assert {event.kind for event in events} >= {"play", "task", "started", "ok", "stats"}
    assert not list((scene / "scratch").iterdir())


def test_failed_host_is_told_with_its_words(scene: Path) -> None:
    result = fleet(scene, extra_vars={"broken": "beta"}).verify()
    assert not result.verified
    assert result["alpha"].outcome == "verified"
    # The role knows that the host left the play; Ansible's recap knows why.
    assert result["beta"].messages == ("broken on purpose",)
    assert result["beta"].outcome == "failed"
    failure = result["beta"].record.failure
    assert failure is not None
    assert "broken on purpose" in failure.read


def test_lost_host_is_unreachable(scene: Path) -> None:
    result = fleet(scene, extra_vars={"lost": "alpha"}).verify()
    assert result["alpha"].outcome == "unreachable"
    assert result["beta"].outcome == "verified"


def test_check_run_keeps_no_report(scene: Path) -> None:
    result = fleet(scene, check=True).verify()
    assert result.check
    assert result.report is None
    assert not (scene / "gpufleet-report").exists()


def test_limit_narrows_and_nothing_left_is_an_error(scene: Path) -> None:
    assert [host.host for host in fleet(scene, limit="beta").verify().hosts] == ["beta"]
    with pytest.raises(FleetError) as refusal:
        fleet(scene, limit="nobody").verify()
    assert refusal.value.code in ("no_hosts", "run_failed")
    assert not list((scene / "scratch").iterdir())


def test_secrets_are_in_no_command_line_and_host_keys_are_checked(scene: Path) -> None:
    seen = scene / "seen"
    result = fleet(
        scene,
        extra_vars={"seen": str(seen), "secret": "hunter2", "broken": "beta"},
        keep_on_failure=True,
    ).verify()
    assert seen.read_text(encoding="utf-8") == "hunter2 True"
    assert result.kept is not None
    assert stat.S_IMODE(result.kept.stat().st_mode) == 0o700
    assert stat.S_IMODE((result.kept / "extra_vars.json").stat().st_mode) == 0o600
    commands = [path.read_text(encoding="utf-8") for path in result.kept.rglob("command")]
    assert commands
    assert not any("hunter2" in command for command in commands)
    assert not (result.kept / "env").exists()


def test_interrupt_ends_ansible_and_leaves_nothing(scene: Path) -> None:
    naps = threading.Event()

    def interrupt(event: Event) -> None:
        if event.kind == "started" and event.task == "Sleep" and not naps.is_set():
            naps.set()
            os.kill(os.getpid(), signal.SIGINT)

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(Interrupted):
            fleet(scene, extra_vars={"nap": "61.5"}, observer=interrupt).verify()
    finally:
        signal.signal(signal.SIGINT, previous)
    assert not list((scene / "scratch").iterdir())
    assert not _running("sleep 61.5")


def test_an_observers_error_ends_the_run_and_is_raised(scene: Path) -> None:
    def fall_over(event: Event) -> None:
        if event.kind == "started" and event.task == "Sleep":
            raise RuntimeError("observer")

    with pytest.raises(RuntimeError, match="observer"):
        fleet(scene, extra_vars={"nap": "61.7"}, observer=fall_over).verify()
    assert not _running("sleep 61.7")


def test_missing_inventory_is_named(scene: Path) -> None:
    with pytest.raises(FleetError) as refusal:
        Fleet(scene / "nowhere.yml")
    assert refusal.value.code == "inventory_missing"
    assert "nowhere.yml" in refusal.value.read
    with pytest.raises(FleetError):
        Fleet([])


def _running(command: str) -> bool:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if entry.read_bytes().replace(b"\0", b" ").decode().strip() == command:
                return True
        except (FileNotFoundError, ProcessLookupError):
            continue
    return False
