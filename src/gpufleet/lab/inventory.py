# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Ansible inventory of a lab that is up."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

import yaml

from .ports import LOOPBACK
from .remote import SSH_OPTIONS, Address

# The lab's GPUs are QEMU's test devices; products match NVIDIA's vendor id by default.
GPU_MATCH = ("1b36:0005:*",)


def inventory(hosts: Sequence[Address], builder: Address) -> dict[str, Any]:
    """Return the inventory as Ansible's YAML plugin reads it.

    Groups: p2p_hosts are the virtual machines, p2p_builders is the build host.
    """
    return {
        "all": {
            "vars": {
                "ansible_host": LOOPBACK,
                "ansible_user": "root",
                "ansible_python_interpreter": "/usr/bin/python3",
                "ansible_ssh_common_args": shlex.join(SSH_OPTIONS),
            },
            "children": {
                "p2p_hosts": {
                    "hosts": {host.name: _connection(host) for host in hosts},
                    "vars": {"p2p_gpu_match": list(GPU_MATCH)},
                },
                "p2p_builders": {"hosts": {builder.name: _connection(builder)}},
            },
        }
    }


def inventory_text(hosts: Sequence[Address], builder: Address) -> bytes:
    """Return the inventory as a YAML file's content."""
    header = "# Written by `gpufleet lab up`; it is valid while the lab is up.\n"
    return (header + yaml.safe_dump(inventory(hosts, builder), sort_keys=False)).encode()


def script_text(hosts: Sequence[Address], builder: Address) -> bytes:
    """Return the same inventory as JSON in the form that inventory scripts print."""
    tree = inventory(hosts, builder)["all"]
    host_variables: dict[str, Any] = {}
    document: dict[str, Any] = {"_meta": {"hostvars": host_variables}}
    document["all"] = {"vars": tree["vars"], "children": list(tree["children"])}
    for name, group in tree["children"].items():
        host_variables.update(group["hosts"])
        document[name] = {"hosts": list(group["hosts"]), "vars": group.get("vars", {})}
    return (json.dumps(document, indent=2) + "\n").encode()


def _connection(address: Address) -> dict[str, Any]:
    return {
        "ansible_port": address.port,
        "ansible_ssh_private_key_file": str(address.key),
    }
