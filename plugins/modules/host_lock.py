# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_lock
short_description: Let one controller run at a time change a host
version_added: "0.1.0"
description:
  - Takes, renews or gives back the host's lock, a lease in C(/var/lib/gpufleet/lock.json), so that
    two runs on the same fleet do not work on one host at once. The second fails with the code
    C(host_locked) and is told who holds the host.
  - The same run takes the lock again and so renews it, across plays and batches of one
    C(ansible-playbook) process and across a reboot of the host.
  - A lease that ran out is taken over. So is the lock of a run that was started on the same
    controller and whose process is gone; the action plugin finds that out.
  - Leases are measured by the host's own wall clock. Setting it forward ends a lease early,
    setting it back prolongs it by as much.
options:
  state:
    description:
      - V(held) takes or renews the lock; V(released) gives it back, and leaves another run's alone.
    type: str
    choices: [held, released]
    default: held
  run:
    description:
      - Identity of the run. The action plugin makes it of the controller's boot and the
        C(ansible-playbook) process, so it is rarely given.
    type: str
  holder:
    description:
      - Who the run is, for people. The action plugin says user, controller and process.
    type: str
  purpose:
    description:
      - What the run holds the host for. A run may hold it for several purposes at once, such as
        builds for two kernels; V(released) gives up this one, and the last gives the lock back.
    type: str
    default: change
  lease_seconds:
    description: How long the lock stands without being renewed.
    type: int
    default: 3600
  supersedes:
    description:
      - Identity of a run that is known to be dead; its lock, and no other's, is taken over. The
        action plugin sets it.
    type: str
  break_lock:
    description: Take or remove the lock whoever holds it.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode and tells who would hold the host; writes nothing.
    support: full
  diff_mode:
    description: Returns details of what has changed, or would change.
    support: none
    details: The lock is bookkeeping of the run and not part of the host's configuration.
author:
  - gpufleet authors (@gpufleet)
"""

EXAMPLES = r"""
- name: Keep other runs off this host
  gpufleet.p2p.host_lock:
    lease_seconds: 7200

- name: Take the host from a run that is known to be dead
  gpufleet.p2p.host_lock:
    break_lock: true

- name: Hold the builder for one of several builds
  gpufleet.p2p.host_lock:
    purpose: build for 6.1.0-56-amd64
  delegate_to: builder.example.org

- name: Let other runs have the host
  gpufleet.p2p.host_lock:
    state: released
"""

RETURN = r"""
changed:
  description:
    - Whether a lock was broken. Taking, renewing and releasing one's own, and succeeding a dead
      run, is bookkeeping and no change.
  returned: always
  type: bool
  sample: false
action:
  description:
    - What was done - V(acquired), V(renewed), V(taken_over) from a run whose lease was over or
      whose process is gone, V(broken), V(released), V(kept) (the run still holds it for another
      purpose), V(free) (there was nothing to release) or V(held_by_other) (nothing was released).
  returned: success
  type: str
  sample: acquired
holder:
  description: Who holds the host now, in check mode who would; V(null) if nobody.
  returned: success
  type: str
  sample: ada@controller pid 4711
since:
  description: Since when (UTC, ISO 8601); V(null) if nobody holds it.
  returned: success
  type: str
  sample: "2026-11-23T09:30:00+00:00"
expires:
  description: When the lease ends unless renewed (UTC, ISO 8601); V(null) if nobody holds it.
  returned: success
  type: str
  sample: "2026-11-23T10:30:00+00:00"
run:
  description: Identity of the run that holds the host; V(null) if nobody.
  returned: success
  type: str
  sample: 6a6e1d2f-4f0e-4b43-a0c1-8d1b9f5f6a0d/4026531836/4711/81920
purposes:
  description: What that run holds the host for; empty if nobody holds it.
  returned: success
  type: list
  elements: str
  sample: [change]
boot_id:
  description:
    - The host's boot, which is another after every restart. Taking and giving back the lock so tell
      whether the host restarted in between.
  returned: success
  type: str
  sample: 3c1f6f0e-5a53-4b0e-9a35-0d6c1f3f7f52
at:
  description: When the host answered, in UTC by the controller's clock. The action plugin adds it.
  returned: success
  type: str
  sample: "2026-11-23T09:30:00Z"
previous_holder:
  description: Who held the lock before; V(null) if nobody.
  returned: success
  type: str
  sample: null
error:
  description:
    - C(code), C(read), C(want) and C(remedy) of the refusal; for C(host_locked) also the holder's
      C(run), C(holder) and C(since).
  returned: failure
  type: dict
  sample:
    code: host_locked
    read: held by ada@controller pid 4711 since 2026-11-23T09:30:00+00:00, for another 3400 s
    want: no other run on this host
    remedy: wait for that run to end, or set p2p_break_lock=true if it is known to be dead
    run: 6a6e1d2f-4f0e-4b43-a0c1-8d1b9f5f6a0d/4026531836/4711/81920
    holder: ada@controller pid 4711
    since: "2026-11-23T09:30:00+00:00"
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.kernel import read_boot_id
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.lock import (
    LockOutcome,
    LockRequest,
    hold,
    release,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._module import main as run_module

ROOT = Path("/")


def lock(module: AnsibleModule) -> dict[str, Any]:
    """Return the module's result after taking or giving back the lock."""
    options = module.params
    if not options["run"]:
        raise GpufleetError(
            "run_unknown",
            read="no option run",
            want="an identity of the run, which the action plugin host_lock makes",
            remedy="call the module by its full name gpufleet.p2p.host_lock, or give run",
        )
    if options["lease_seconds"] < 1:
        raise GpufleetError(
            "lease_invalid",
            read=f"lease_seconds {options['lease_seconds']}",
            want="at least 1 second",
            remedy="give a lease longer than the longest step, such as 3600",
        )
    request = LockRequest(
        run=options["run"],
        holder=options["holder"] or options["run"],
        lease_seconds=options["lease_seconds"],
        purpose=options["purpose"],
        supersedes=options["supersedes"],
        break_lock=options["break_lock"],
    )
    act = hold if options["state"] == "held" else release
    outcome = act(ROOT, request, dry_run=module.check_mode)
    return {**result_of(outcome), "boot_id": read_boot_id(ROOT)}


def result_of(outcome: LockOutcome) -> dict[str, Any]:
    """Return an outcome as the module's result."""
    record, previous = outcome.record, outcome.previous
    return {
        "changed": outcome.action == "broken",
        "action": outcome.action,
        "holder": record.holder if record else None,
        "since": record.since.isoformat() if record else None,
        "expires": record.expires.isoformat() if record else None,
        "run": record.run if record else None,
        "purposes": list(record.purposes) if record else [],
        "previous_holder": previous.holder if previous else None,
    }


def main() -> None:
    """Run the module."""
    run_module(
        {
            "state": {"type": "str", "choices": ["held", "released"], "default": "held"},
            "run": {"type": "str"},
            "holder": {"type": "str"},
            "purpose": {"type": "str", "default": "change"},
            "lease_seconds": {"type": "int", "default": 3600},
            "supersedes": {"type": "str"},
            "break_lock": {"type": "bool", "default": False},
        },
        lock,
    )


if __name__ == "__main__":
    main()
