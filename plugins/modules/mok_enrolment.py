#!/usr/bin/python
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mok_enrolment
short_description: Put the module signing key forward for enrolment under Secure Boot
version_added: "0.1.0"
description:
  - Stages the certificate with C(mokutil --import). Somebody has to approve it at the console, at
    the next start, within ten seconds, with the password; otherwise the request is gone.
  - Does nothing where the certificate is enrolled or staged already. Never switches validation off.
options:
  certificate:
    description:
      - Certificate of the signing key, DER or PEM, on the host.
      - By default C(/var/lib/shim-signed/mok/MOK.der), then C(/var/lib/dkms/mok.pub).
    type: path
  password_hash:
    description:
      - Hash (crypt) of the password that the console will ask for, such as the filter
        C(password_hash) makes it.
    type: str
    required: true
requirements:
  - mokutil and openssl on the host
attributes:
  check_mode:
    description: Can run in check mode and tells whether the key would be staged.
    support: full
  diff_mode:
    description: Shows the state before and after.
    support: full
author:
  - gpufleet authors (@gpufleet)
"""

EXAMPLES = r"""
- name: Ask for the enrolment of the key that DKMS signs with
  gpufleet.p2p.mok_enrolment:
    password_hash: "{{ vault_mok_password | ansible.builtin.password_hash('sha512') }}"
"""

RETURN = r"""
certificate:
  description: The certificate's file.
  returned: success
  type: str
  sample: /var/lib/dkms/mok.pub
common_name:
  description: Who it is of.
  returned: success
  type: str
  sample: DKMS module signing key
enrolment:
  description: V(enrolled), or V(staged) - approve it at the console at the next start.
  returned: success
  type: str
  sample: staged
error:
  description: Code, what was read, what was wanted, and the remedy.
  returned: failure
  type: dict
  sample:
    code: signing_certificate_missing
    read: no certificate in /var/lib/dkms/mok.pub
    want: the certificate of the key that signs modules on this host
    remedy: let DKMS make one (it does at its first build)
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.gpufleet.p2p.plugins.module_utils import _module
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import enrolment

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def _body(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    certificate = Path(given["certificate"]) if given["certificate"] else None
    before = enrolment.observe(certificate)
    changed = before.state == enrolment.ABSENT
    if changed and not module.check_mode:
        enrolment.stage(before, given["password_hash"])
    after = enrolment.STAGED if changed else before.state
    return {
        "changed": changed,
        "certificate": str(before.certificate),
        "common_name": before.common_name,
        "enrolment": after,
        "diff": {
            "before": f"{before.common_name}: {before.state}\n",
            "after": f"{before.common_name}: {after}\n",
        },
    }


def main() -> None:
    _module.main(
        {
            "certificate": {"type": "path"},
            "password_hash": {"type": "str", "required": True, "no_log": True},
        },
        _body,
    )


if __name__ == "__main__":
    main()
