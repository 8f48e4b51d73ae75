# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking the firmware's owner to trust the signing key: staged here, approved at the console.

MokManager shows the request once, at the next start, for ten seconds; whatever the answer, it is
gone then. So it is staged only when asked for, and never with a menu that waits for ever.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .._host.certificates import parse_certificate
from .._host.commands import run
from .._host.errors import GpufleetError
from .._host.files import read_bytes
from .._host.secure_boot import enrolled_certificates, staged_certificates
from .signing import HOST_KEYS, KeyPair

ENROLLED, STAGED, ABSENT = "enrolled", "staged", "absent"


class EnrolmentRefused(GpufleetError):
    """The key cannot be put forward for enrolment."""


@dataclass(frozen=True)
class Enrolment:
    """A certificate's way into the firmware: state is enrolled, staged or absent."""

    certificate: Path
    common_name: str
    state: str


def observe(certificate: Path | None, keys: Sequence[KeyPair] = HOST_KEYS) -> Enrolment:
    """Return how the certificate stands; None looks for the host's own.

    Raises:
        EnrolmentRefused: there is none, or it is not a certificate.
    """
    candidates = [certificate] if certificate else [pair.certificate for pair in keys]
    for path in candidates:
        found = parse_certificate(read_bytes(path) or b"")
        if found is not None:
            if found in enrolled_certificates():
                state = ENROLLED
            else:
                state = STAGED if found in staged_certificates() else ABSENT
            return Enrolment(path, found.common_name, state)
    raise EnrolmentRefused(
        "signing_certificate_missing",
        read=f"no certificate in {', '.join(map(str, candidates))}",
        want="the certificate of the key that signs modules on this host",
        remedy="let DKMS make one (it does at its first build), or update-secureboot-policy"
        " --new-key on Ubuntu",
    )


def stage(enrolment: Enrolment, password_hash: str) -> None:
    """Put the certificate forward for enrolment at the next start.

    Args:
        password_hash: crypt(5) of the password that the console will ask for.

    Raises:
        CommandFailed, CommandMissing: mokutil.
    """
    with tempfile.TemporaryDirectory(prefix="gpufleet-") as directory:
        der = Path(directory) / "certificate.der"
        hashed = Path(directory) / "password"
        hashed.write_text(password_hash + "\n", encoding="ascii")
        hashed.chmod(0o600)
        words = ["openssl", "x509", "-in", str(enrolment.certificate), "-outform", "DER"]
        run([*words, "-out", str(der)])
        run(["mokutil", "--import", str(der), "--hash-file", str(hashed)])
