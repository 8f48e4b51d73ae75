# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: p2p_report
short_description: Write the report of a run on the controller
version_added: "0.1.0"
description:
  - Writes one JSON record for each host and one HTML page, and returns a summary for the terminal.
  - Runs on the controller in the name of one host, so give it C(run_once). Nothing is asked of the
    hosts, and what it writes is no change of theirs.
options:
  directory:
    description: Folder on the controller that receives C(report.html) and C(hosts/<host>.json).
    type: path
    required: true
  template:
    description: The page's Jinja2 template on the controller.
    type: path
    required: true
  hosts:
    description: Names of the hosts that the report is about.
    type: list
    elements: str
    required: true
  lost:
    description:
      - Of these, one without a record is shown as C(unreachable), any other as C(not_reached).
    type: list
    elements: str
    default: []
  records:
    description:
      - The hosts' records. By default each host's C(p2p_record), and where it has none, what the
        collection's own playbooks have registered for it.
    type: list
    elements: dict
  driver:
    description: The run's driver build, for the records.
    type: dict
    default: {}
  in_check_mode:
    description: Whether the files are written in check mode too.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode; writes nothing there unless asked to.
    support: full
  diff_mode:
    description: Returns details of what has changed, or would change.
    support: none
    details: A report differs at every run and is no part of any host.
author:
  - gpufleet authors (@gpufleet)
"""

EXAMPLES = r"""
- name: Report on all hosts of the play
  gpufleet.p2p.p2p_report:
    directory: "{{ playbook_dir }}/report"
    template: "{{ playbook_dir }}/report.html.j2"
    hosts: "{{ ansible_play_hosts_all }}"
  run_once: true
"""

RETURN = r"""
summary:
  description: One line for each host, then what needs attention.
  returned: success
  type: list
  elements: str
  sample:
    - "host   outcome   pairs ok/warn/fail  GB/s off  GB/s on  us on  groups  reboots"
    - "alpha  verified  2/0/0               22.9      27.9     0.48   [0,1]   1"
page:
  description: The page's path, null where none was written.
  returned: success
  type: str
  sample: /home/ada/gpufleet-report/report.html
"""
