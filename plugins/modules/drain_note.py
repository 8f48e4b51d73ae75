# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: drain_note
short_description: Note on a host that gpufleet drains it
version_added: "0.1.0"
description:
  - Writes, reads and removes C(/var/lib/gpufleet/drain.json), which says that gpufleet keeps work
    away from this host and how that is undone. Any later run restores the host by it, whatever
    became of the run that drained it.
  - Written before M(gpufleet.p2p.host_drain) drains the host, removed after it was restored.
options:
  state:
    description:
      - V(noted) writes the note, and leaves one that is there; V(interrupted) adds that what the
        host ran is ended now, where there is a note; V(forgotten) removes it; V(read) changes
        nothing.
    type: str
    choices: [noted, interrupted, forgotten, read]
    required: true
  hooks:
    description: How the host is drained; needed for V(noted).
    type: dict
  host:
    description: The node's name to Slurm or Kubernetes where O(hooks) has none.
    type: str
attributes:
  check_mode:
    description: Can run in check mode and returns the note that it would write; writes nothing.
    support: full
  diff_mode:
    description: Returns details of what has changed, or would change.
    support: full
author:
  - gpufleet authors (@gpufleet)
"""

EXAMPLES = r"""
- name: Note that this host is drained
  gpufleet.p2p.drain_note:
    state: noted
    hooks: {method: units, units: [inference.service]}
  register: noted

- name: Forget it
  gpufleet.p2p.drain_note:
    state: forgotten
"""

RETURN = r"""
note:
  description: The note that stands then; null where there is none.
  returned: success
  type: dict
  sample:
    schema: 1
    mark: 3f1c9a77d02b4e65
    since: "2026-11-23T09:30:00+00:00"
    hooks: {method: slurm, node: gpu01, timeout: 3600}
    units: []
    interrupted: false
known:
  description: Whether the note was there before.
  returned: success
  type: bool
  sample: false
error:
  description: C(code), C(read), C(want) and C(remedy) of the refusal.
  returned: failure
  type: dict
  sample:
    code: drain_invalid
    read: "in p2p_drain: method 'lsf'"
    want: one of slurm, kubernetes, units, command
    remedy: correct p2p_drain; docs/rolling.md describes it
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain import note as notes
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.hooks import parse
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.units import running_units
from ansible_collections.gpufleet.p2p.plugins.module_utils._module import main as run_module

ROOT = Path("/")


def body(module: AnsibleModule) -> dict[str, Any]:
    """Return the module's result after comparing and, outside of check mode, writing."""
    options, dry_run = module.params, module.check_mode
    before = notes.read_note(ROOT)
    after = before
    if options["state"] == "noted" and before is None:
        hooks = parse(options["hooks"], options["host"] or "")
        after = notes.new_note(hooks, running_units(hooks.units))
        if not dry_run:
            notes.write_note(ROOT, after)
    elif options["state"] == "interrupted" and before is not None:
        after = replace(before, interrupted=True) if dry_run else notes.interrupted(ROOT)
    elif options["state"] == "forgotten":
        after = None
        if not dry_run:
            notes.forget(ROOT)
    return {
        # Bookkeeping, as the lock is: what changes for the host is told by host_drain.
        "changed": False,
        "note": after.as_dict() if after else None,
        "known": before is not None,
        "diff": notes.as_diff(ROOT, before, after),
    }


def main() -> None:
    """Run the module."""
    run_module(
        {
            "state": {
                "type": "str",
                "choices": ["noted", "interrupted", "forgotten", "read"],
                "required": True,
            },
            "hooks": {"type": "dict"},
            "host": {"type": "str"},
        },
        body,
        required_if=[("state", "noted", ["hooks"])],
    )


if __name__ == "__main__":
    main()
