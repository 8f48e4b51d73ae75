# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates and key lists in the formats of openssl, sign-file and firmware."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.certificates import (
    Certificate,
    certificates_in,
    parse_certificate,
    serial_of,
)
from hypothesis import given
from hypothesis import strategies as st

X509 = bytes.fromhex("a159c0a5e494a74a87b5ab155c2bf072")
SHA256 = bytes.fromhex("2616c4c14c509240aca941f936934328")


def make(directory: Path, name: str, serial: int, form: str) -> bytes:
    path = directory / f"{serial}.{form}"
    words = ["openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "36500"]
    words += ["-subj", name, "-set_serial", str(serial), "-outform", form]
    words += ["-keyout", str(directory / "key"), "-out", str(path)]
    subprocess.run(words, check=True, capture_output=True)
    return path.read_bytes()


@pytest.fixture(scope="module")
def der(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    # DKMS's own subject.
    return make(tmp_path_factory.mktemp("keys"), "/CN=DKMS module signing key", 0xA1B2C3D4, "DER")


def signature_list(kind: bytes, entries: list[bytes]) -> bytes:
    size = len(entries[0]) + 16
    body = b"".join(b"o" * 16 + entry for entry in entries)
    return struct.pack("<16sIII", kind, 28 + len(body), 0, size) + body


KEY = Certificate("DKMS module signing key", 0xA1B2C3D4)


def test_name_and_serial_are_openssls(der: bytes, tmp_path: Path) -> None:
    assert parse_certificate(der) == KEY
    name = "/C=DE/O=Debian Project/OU=x/CN=Debian Secure Boot CA"
    pem = make(tmp_path, name, 1 << 150, "PEM")
    assert parse_certificate(pem) == Certificate("Debian Secure Boot CA", 1 << 150)


@given(cut=st.floats(0, 0.999))
def test_a_certificate_cut_short_is_none(der: bytes, cut: float) -> None:
    assert parse_certificate(der[: int(len(der) * cut)]) is None


@given(st.binary())
def test_other_bytes_are_no_certificate_and_no_list(data: bytes) -> None:
    assert parse_certificate(data) is None
    assert certificates_in(data) == ()


@given(position=st.integers(0), value=st.integers(0, 255))
def test_a_changed_byte_never_raises(der: bytes, position: int, value: int) -> None:
    changed = bytearray(der)
    changed[position % len(der)] = value
    parse_certificate(bytes(changed))


def test_certificates_are_found_among_hashes(der: bytes, tmp_path: Path) -> None:
    other = make(tmp_path, "/CN=other", 7, "DER")
    data = signature_list(SHA256, [b"h" * 32, b"i" * 32]) + signature_list(X509, [der])
    data += signature_list(X509, [other])
    assert certificates_in(data) == (KEY, Certificate("other", 7))
    assert certificates_in(data[:-1]) == (KEY,)


@pytest.mark.parametrize(
    ("text", "number"), [("A1:B2:C3:D4", 0xA1B2C3D4), ("01\n", 1), ("", None), ("xy", None)]
)
def test_modinfos_key_is_the_serial(text: str, number: int | None) -> None:
    assert serial_of(text) == number
