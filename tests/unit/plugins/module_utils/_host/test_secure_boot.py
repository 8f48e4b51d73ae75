# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secure Boot's state and the enrolled keys are read from variables as efivarfs shows them."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.secure_boot import (
    certificate_in,
    parse_lockdown,
    parse_state,
    read_secure_boot,
)

ATTRIBUTES = b"\x06\x00\x00\x00"
SECURE_BOOT = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
SHIM = "605dab50-e046-4300-abb6-3dd810dd8b23"
DER = b"\x30\x82\x03\x21" + bytes(range(200))


def signature_list(*certificates: bytes) -> bytes:
    """Return EFI_SIGNATURE_LISTs of type EFI_CERT_X509_GUID, one certificate each."""
    x509 = bytes.fromhex("a159c0a5e494a74a87b5ab155c2bf072")
    return b"".join(
        x509 + struct.pack("<III", 28 + 16 + len(der), 0, 16 + len(der)) + bytes(16) + der
        for der in certificates
    )


def efi_host(root: Path, value: int, **others: bytes) -> Path:
    """Write efivars with SecureBoot set to ``value`` and return their directory."""
    variables = root / "sys/firmware/efi/efivars"
    variables.mkdir(parents=True)
    (variables / SECURE_BOOT).write_bytes(ATTRIBUTES + bytes([value]))
    for name, content in others.items():
        (variables / f"{name}-{SHIM}").write_bytes(ATTRIBUTES + content)
    return variables


@pytest.mark.parametrize(
    ("variable", "shim", "state"),
    [
        (ATTRIBUTES + b"\x01", None, "enabled"),
        (ATTRIBUTES + b"\x00", None, "disabled"),
        (ATTRIBUTES + b"\x01", ATTRIBUTES + b"\x01", "disabled"),
        (ATTRIBUTES + b"\x01", ATTRIBUTES + b"\x00", "enabled"),
        (ATTRIBUTES + b"\x07", None, "unknown"),
        (ATTRIBUTES, None, "unknown"),
        (b"", None, "unknown"),
        (None, None, "unknown"),
    ],
)
def test_state(variable: bytes | None, shim: bytes | None, state: str) -> None:
    assert parse_state(variable, shim) == state


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("[none] integrity confidentiality\n", "none"),
        ("none [integrity] confidentiality\n", "integrity"),
        ("none integrity [confidentiality]\n", "confidentiality"),
        ("none [paranoia]\n", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_lockdown(text: str | None, level: str) -> None:
    assert parse_lockdown(text) == level


def test_bios_host_has_no_secure_boot(tmp_path: Path) -> None:
    found = read_secure_boot(tmp_path)
    assert (found.state, found.lockdown) == ("unsupported", "unknown")
    assert found.key_enrolled is None
    assert found.signature_enforced is None


def test_unmounted_efivars_are_unknown(tmp_path: Path) -> None:
    (tmp_path / "sys/firmware/efi/efivars").mkdir(parents=True)
    assert read_secure_boot(tmp_path).state == "unknown"


def test_firmware_without_the_variable_does_not_support_it(tmp_path: Path) -> None:
    efi_host(tmp_path, 1)
    (tmp_path / "sys/firmware/efi/efivars/BootOrder-x").touch()
    (tmp_path / "sys/firmware/efi/efivars" / SECURE_BOOT).unlink()
    assert read_secure_boot(tmp_path).state == "unsupported"


@pytest.mark.parametrize("enrolled", [True, False])
@pytest.mark.parametrize("path", ["var/lib/shim-signed/mok/MOK.der", "var/lib/dkms/mok.pub"])
def test_enrolled_key_is_found_in_shims_list(tmp_path: Path, path: str, enrolled: bool) -> None:
    listed = signature_list(b"another certificate", *([DER] if enrolled else []))
    efi_host(tmp_path, 1, MokListRT=listed)
    certificate = tmp_path / path
    certificate.parent.mkdir(parents=True)
    certificate.write_bytes(DER)
    found = read_secure_boot(tmp_path)
    assert found.state == "enabled"
    assert found.key_enrolled is enrolled


def test_continued_list_is_searched_too(tmp_path: Path) -> None:
    efi_host(tmp_path, 1, MokListRT=signature_list(b"first"), MokListRT1=signature_list(DER))
    (tmp_path / "var/lib/dkms").mkdir(parents=True)
    (tmp_path / "var/lib/dkms/mok.pub").write_bytes(DER)
    assert read_secure_boot(tmp_path).key_enrolled is True


def test_no_key_on_the_host_is_not_enrolled(tmp_path: Path) -> None:
    efi_host(tmp_path, 1, MokListRT=signature_list(DER))
    assert read_secure_boot(tmp_path).key_enrolled is False


def test_module_loaders_switch(tmp_path: Path) -> None:
    path = tmp_path / "sys/module/module/parameters/sig_enforce"
    path.parent.mkdir(parents=True)
    path.write_text("Y\n")
    assert read_secure_boot(tmp_path).signature_enforced is True


def test_pem_certificate_is_the_same_certificate() -> None:
    encoded = base64.encodebytes(DER)
    pem = b"-----BEGIN CERTIFICATE-----\n" + encoded + b"-----END CERTIFICATE-----\n"
    assert certificate_in([signature_list(DER)], pem)
    assert not certificate_in([signature_list(b"x")], pem)


def test_empty_certificate_is_in_no_list() -> None:
    assert not certificate_in([signature_list(DER)], b"")
