# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""X.509 certificates as far as module signatures name them, and the lists firmware keeps them in.

A module's signature names its key by the issuer and the serial number of the certificate (PKCS #7,
RFC 2315, 9.2); DKMS's and the distributions' signing keys are self-signed, so the issuer is the
subject. DER: ITU-T X.690; EFI signature lists: UEFI 2.10, 32.4.1.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_SEQUENCE, _SET, _INTEGER, _OBJECT_IDENTIFIER, _VERSION = 0x30, 0x31, 0x02, 0x06, 0xA0
_COMMON_NAME = bytes.fromhex("550403")  # 2.5.4.3
_LIST_HEADER = struct.Struct("<16sIII")
_OWNER_BYTES = 16
# a5c059a1-94e4-4aa7-87b5-ab155c2bf072: EFI_CERT_X509_GUID, its first three parts little-endian.
_X509 = bytes.fromhex("a159c0a5e494a74a87b5ab155c2bf072")
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class Certificate:
    """Who a certificate is of (common name, "" without one) and its serial number."""

    common_name: str
    serial: int


class _Malformed(ValueError):
    pass


def parse_certificate(data: bytes) -> Certificate | None:
    """Return the certificate in DER or PEM data, None where it is not one."""
    encoded = _PEM.search(data)
    try:
        der = base64.b64decode(encoded.group(1)) if encoded else data
        return _certificate(der)
    except (binascii.Error, _Malformed):
        return None


def certificates_in(signature_lists: bytes) -> tuple[Certificate, ...]:
    """Return the certificates in a row of EFI signature lists; what is none is skipped."""
    found = []
    position = 0
    while position + _LIST_HEADER.size <= len(signature_lists):
        kind, size, header, entry = _LIST_HEADER.unpack_from(signature_lists, position)
        if size < _LIST_HEADER.size or position + size > len(signature_lists):
            break
        if kind == _X509 and entry > _OWNER_BYTES:
            start = position + _LIST_HEADER.size + header
            for at in range(start, position + size - entry + 1, entry):
                one = parse_certificate(signature_lists[at + _OWNER_BYTES : at + entry])
                found += [one] if one is not None else []
        position += size
    return tuple(found)


def serial_of(text: str) -> int | None:
    """Return the number that modinfo's ``sig_key`` (colon-separated hexadecimal) stands for.

    >>> serial_of("01:A0")
    416
    """
    digits = text.strip().replace(":", "")
    return int(digits, 16) if re.fullmatch(r"[0-9A-Fa-f]+", digits) else None


def _certificate(der: bytes) -> Certificate:
    outer = next(_elements(der), None)
    if outer is None or outer[0] != _SEQUENCE:
        raise _Malformed
    signed = next(_elements(outer[1]), None)
    if signed is None or signed[0] != _SEQUENCE:
        raise _Malformed
    fields = [field for field in _elements(signed[1]) if field[0] != _VERSION]
    # serialNumber, signature, issuer, validity, subject
    if len(fields) < 5 or fields[0][0] != _INTEGER or not fields[0][1]:
        raise _Malformed
    return Certificate(_common_name(fields[4][1]), int.from_bytes(fields[0][1], "big"))


def _common_name(name: bytes) -> str:
    for _kind, relative in _elements(name):
        for _sequence, attribute in _elements(relative):
            parts = list(_elements(attribute))
            if len(parts) == 2 and parts[0] == (_OBJECT_IDENTIFIER, _COMMON_NAME):
                return parts[1][1].decode("utf-8", "replace")
    return ""


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each element, definite lengths only (DER has no others)."""
    position = 0
    while position < len(data):
        if position + 2 > len(data):
            raise _Malformed
        tag, length = data[position], data[position + 1]
        position += 2
        if length & 0x80:
            count = length & 0x7F
            if not 1 <= count <= 4 or position + count > len(data):
                raise _Malformed
            length = int.from_bytes(data[position : position + count], "big")
            position += count
        if position + length > len(data):
            raise _Malformed
        yield tag, data[position : position + length]
        position += length
