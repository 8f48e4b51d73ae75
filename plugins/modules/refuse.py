# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: refuse
short_description: Fail a host by name, with what was read, what was wanted and what to do
version_added: "0.1.0"
description:
  - Fails as the collection's other modules do, with C(error) for programs beside C(msg) for people,
    so that the host's record and report name the reason. C(ansible.builtin.fail) has a text alone.
  - Runs on the controller and costs no execution on the host.
options:
  code:
    description: Name of the failure in snake_case, stable across releases.
    type: str
    required: true
  read:
    description: What was found, in words or figures with units.
    type: str
    required: true
  want:
    description: What was needed instead.
    type: str
    required: true
  remedy:
    description: The next thing to do, as an instruction.
    type: str
    required: true
  message:
    description:
      - What people are told, where that is more than the four parts put together.
    type: str
attributes:
  check_mode:
    description: Can run in check mode and fails there as otherwise.
    support: full
  diff_mode:
    description: Returns details of what has changed, or would change.
    support: none
    details: The module changes nothing.
author:
  - gpufleet authors (@gpufleet)
seealso:
  - plugin: gpufleet.p2p.p2p_failure
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Refuse a host without a battery-backed clock
  gpufleet.p2p.refuse:
    code: no_clock
    read: "{{ ansible_facts['p2p'].kernel.release }} without an RTC"
    want: a clock that goes on while the host is off
    remedy: leave the host out of p2p_hosts
  when: no_clock

- name: Hand a failure on after cleaning up
  gpufleet.p2p.refuse:
    code: "{{ failure.code }}"
    read: "{{ failure.read }}"
    want: "{{ failure.want }}"
    remedy: "{{ failure.remedy }}"
    message: "{{ failure.message }}"
  vars:
    failure: "{{ ansible_failed_result | gpufleet.p2p.p2p_failure }}"
"""

RETURN = r"""
error:
  description: The refusal for programs. It is returned by each module of the collection that fails.
  returned: always
  type: dict
  sample:
    code: no_clock
    read: 6.1.0-56-amd64 without an RTC
    want: a clock that goes on while the host is off
    remedy: leave the host out of p2p_hosts
"""
