# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_drain
short_description: Keep a host's work away while it is restarted, and give it back
version_added: "0.1.0"
description:
  - Drains a host by Slurm, by Kubernetes, by stopping systemd units or by a command, and restores
    it. Runs where the tool is, by C(delegate_to) where that is not the host.
  - Only what gpufleet drained is restored. Whether it did is noted on the host by
    M(gpufleet.p2p.drain_note), whose mark Slurm has in the node's reason and Kubernetes in an
    annotation. A host that somebody else drained stays so.
  - One call asks once whether the host's work has ended. Repeat it with C(until) as long as
    RV(idle) is false.
options:
  state:
    description:
      - V(checked) tells whether the host could be drained, and changes nothing; V(drained) keeps
        new work away; V(restored) lets it have work again.
    type: str
    choices: [checked, drained, restored]
    required: true
  hooks:
    description: How, as C(p2p_drain) of the role P(gpufleet.p2p.drain#role).
    type: dict
    required: true
  host:
    description: The node's name to Slurm or Kubernetes where O(hooks) has none.
    type: str
  mark:
    description: The mark that M(gpufleet.p2p.drain_note) returned.
    type: str
  noted:
    description:
      - Whether the note was there before this run. It is how a drain by units or by a command is
        known to be one's own.
    type: bool
    default: false
  units:
    description: Units to start again, which M(gpufleet.p2p.drain_note) returned.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Can run in check mode and tells what it would do; it then waits for nothing.
    support: full
  diff_mode:
    description: Returns details of what has changed, or would change.
    support: none
    details: Who takes work is no file of the host.
author:
  - gpufleet authors (@gpufleet)
"""

EXAMPLES = r"""
- name: Drain the host, and wait until its jobs have ended
  gpufleet.p2p.host_drain:
    state: drained
    hooks: {method: slurm, timeout: 7200}
    host: "{{ inventory_hostname_short }}"
    mark: "{{ noted.note.mark }}"
  register: drained
  until: drained.idle
  retries: 720
  delay: 10

- name: Give it its work back
  gpufleet.p2p.host_drain:
    state: restored
    hooks: "{{ noted.note.hooks }}"
    mark: "{{ noted.note.mark }}"
    noted: true
"""

RETURN = r"""
standing:
  description:
    - Who keeps work away from the host - V(ours) is gpufleet, V(other) somebody else, V(free)
      nobody. In check mode what was found.
  returned: success
  type: str
  sample: ours
idle:
  description: Whether the host's work has ended; true in check mode, which does not wait.
  returned: success
  type: bool
  sample: true
read:
  description: The same in words.
  returned: success
  type: str
  sample: gpu01 is DRAIN+IDLE
error:
  description: C(code), C(read), C(want) and C(remedy) of the refusal.
  returned: failure
  type: dict
  sample:
    code: drain_node_unknown
    read: Node gpu01 not found
    want: the state of Slurm's node gpu01
    remedy: set p2p_drain.node to the host's NodeName in slurm.conf
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.hooks import parse
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.steps import (
    Outcome,
    drain,
    method_of,
    restore,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._module import main as run_module


def body(module: AnsibleModule) -> dict[str, Any]:
    """Return the module's result."""
    options = module.params
    method = method_of(
        parse(options["hooks"], options["host"] or ""),
        mark=options["mark"] or "",
        noted=options["noted"],
        started=options["units"],
    )
    if options["state"] == "checked":
        seen = method.look()
        outcome = Outcome(False, seen.standing, True, seen.read)
    else:
        act = drain if options["state"] == "drained" else restore
        outcome = act(method, dry_run=module.check_mode)
    return {
        "changed": outcome.changed,
        "standing": outcome.standing.value,
        "idle": outcome.idle,
        "read": outcome.read,
    }


def main() -> None:
    """Run the module."""
    run_module(
        {
            "state": {
                "type": "str",
                "choices": ["checked", "drained", "restored"],
                "required": True,
            },
            "hooks": {"type": "dict", "required": True},
            "host": {"type": "str"},
            "mark": {"type": "str"},
            "noted": {"type": "bool", "default": False},
            "units": {"type": "list", "elements": "str", "default": []},
        },
        body,
    )


if __name__ == "__main__":
    main()
