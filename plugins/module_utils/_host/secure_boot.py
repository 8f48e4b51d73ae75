# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this host loads unsigned modules: Secure Boot, lockdown, and the enrolled keys.

Everything is read from files, so that neither mokutil nor a subprocess is needed:
EFI variables as efivarfs shows them (four attribute bytes, then the value; UEFI 2.10, chapter
8.2), securityfs, and the module loader's parameter.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .certificates import Certificate, certificates_in
from .files import read_bytes, read_text

ENABLED = "enabled"
DISABLED = "disabled"
UNSUPPORTED = "unsupported"
UNKNOWN = "unknown"

_EFI_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
_EFI_IMAGE_SECURITY = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
_SHIM_LOCK = "605dab50-e046-4300-abb6-3dd810dd8b23"
_ATTRIBUTE_BYTES = 4
_LOCKDOWN_LEVELS = ("none", "integrity", "confidentiality")
# Where DKMS and the distributions keep the certificate of the key they sign modules with.
CERTIFICATE_PATHS = ("var/lib/shim-signed/mok/MOK.der", "var/lib/dkms/mok.pub")
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class SecureBoot:
    """What guards the loading of modules.

    ``state`` is enabled, disabled, unsupported (no EFI, or firmware without it) or unknown;
    ``lockdown`` is none, integrity, confidentiality or unknown; ``signature_enforced`` is the
    module loader's own switch, None where unreadable; ``key_enrolled`` tells whether firmware
    or shim knows the certificate of a key that signs modules here, None where unreadable.
    """

    state: str
    lockdown: str
    signature_enforced: bool | None
    key_enrolled: bool | None


def parse_state(secure_boot: bytes | None, shim_validation_off: bytes | None) -> str:
    """Return the state that the SecureBoot and MokSBStateRT variables tell of.

    The kernel counts a host whose owner switched validation off in shim as disabled, and so
    does this.
    """
    if secure_boot is None or len(secure_boot) != _ATTRIBUTE_BYTES + 1:
        return UNKNOWN
    if shim_validation_off is not None and shim_validation_off[_ATTRIBUTE_BYTES:] == b"\x01":
        return DISABLED
    return {0: DISABLED, 1: ENABLED}.get(secure_boot[_ATTRIBUTE_BYTES], UNKNOWN)


def parse_lockdown(text: str | None) -> str:
    """Return the level in brackets of securityfs' ``none [integrity] confidentiality``."""
    match = re.search(r"\[(\w+)\]", text or "")
    level = match.group(1) if match else UNKNOWN
    return level if level in _LOCKDOWN_LEVELS else UNKNOWN


def certificate_in(key_lists: Iterable[bytes], certificate: bytes) -> bool:
    """Return whether a certificate (DER or PEM) lies in any EFI signature list.

    A signature list holds each certificate's DER bytes unchanged (UEFI 2.10, 32.4.1), so
    containment is membership.
    """
    encoded = _PEM.search(certificate)
    try:
        der = base64.b64decode(encoded.group(1)) if encoded else certificate
    except binascii.Error:
        return False
    return bool(der) and any(der in key_list for key_list in key_lists)


def read_secure_boot(root: Path = Path("/")) -> SecureBoot:
    """Return the host's state; what cannot be read is unknown or None."""
    enforced = read_text(root / "sys/module/module/parameters/sig_enforce")
    return SecureBoot(
        state=_read_state(root),
        lockdown=parse_lockdown(read_text(root / "sys/kernel/security/lockdown")),
        signature_enforced=None if enforced is None else enforced.strip() == "Y",
        key_enrolled=_read_key_enrolled(root),
    )


def demands_signatures(found: SecureBoot) -> bool:
    """Return whether the kernel refuses modules without a known signature, as far as can be told.

    Not knowing is as good as knowing that it does, unless the kernel is not locked down.
    """
    return (
        found.state == ENABLED
        or found.lockdown in ("integrity", "confidentiality")
        or bool(found.signature_enforced)
        or (found.state == UNKNOWN and found.lockdown != "none")
    )


def enrolled_certificates(root: Path = Path("/")) -> tuple[Certificate, ...]:
    """Return the certificates that firmware (db) and shim (MokListRT) know."""
    lists = [(read_bytes(path) or b"")[_ATTRIBUTE_BYTES:] for path in _variable_lists(root)]
    lists += [read_bytes(path) or b"" for path in _mok_lists(root)]
    return tuple(dict.fromkeys(found for data in lists for found in certificates_in(data)))


def staged_certificates(root: Path = Path("/")) -> tuple[Certificate, ...]:
    """Return the certificates that wait for approval at the console (MokNew)."""
    data = read_bytes(root / "sys/firmware/efi/efivars" / f"MokNew-{_SHIM_LOCK}") or b""
    return certificates_in(data[_ATTRIBUTE_BYTES:])


def _variable_lists(root: Path) -> list[Path]:
    """Return the variables that hold key lists, behind their attributes.

    Long lists are cut into MokListRT, MokListRT1, ...; newer kernels show the whole beside.
    """
    variables = root / "sys/firmware/efi/efivars"
    return [path for path in _entries(variables) if _is_key_list(path.name)]


def _mok_lists(root: Path) -> list[Path]:
    directory = root / "sys/firmware/efi/mok-variables"
    return [path for path in _entries(directory) if path.name.startswith("MokListRT")]


def _read_state(root: Path) -> str:
    if not (root / "sys/firmware/efi").is_dir():
        return UNSUPPORTED
    variables = root / "sys/firmware/efi/efivars"
    if not _entries(variables):
        return UNKNOWN  # efivarfs is not mounted
    path = variables / f"SecureBoot-{_EFI_GLOBAL}"
    if not path.exists():
        return UNSUPPORTED
    return parse_state(read_bytes(path), read_bytes(variables / f"MokSBStateRT-{_SHIM_LOCK}"))


def _read_key_enrolled(root: Path) -> bool | None:
    certificates = [read_bytes(root / path) for path in CERTIFICATE_PATHS]
    found = [certificate for certificate in certificates if certificate]
    variables = root / "sys/firmware/efi/efivars"
    key_lists = [read_bytes(path) for path in (*_variable_lists(root), *_mok_lists(root))]
    if any(key_list is None for key_list in key_lists) or not _entries(variables):
        return None
    known = [key_list for key_list in key_lists if key_list]
    return any(certificate_in(known, certificate) for certificate in found)


def _is_key_list(name: str) -> bool:
    return name == f"db-{_EFI_IMAGE_SECURITY}" or (
        name.startswith("MokListRT") and name.endswith(_SHIM_LOCK)
    )


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []
