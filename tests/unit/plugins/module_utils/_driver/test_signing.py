# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The signature behind a module, and which builds have to be signed anew."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.manifest import (
    Manifest,
    ModuleRecord,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.signing import (
    KeyPair,
    SigningRefused,
    Trust,
    require_signable,
    without_signature,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.certificates import Certificate
from hypothesis import given
from hypothesis import strategies as st

MAGIC = b"~Module signature appended~\n"
OURS = Certificate("ours", 1)
PAIR = KeyPair(Path("/key"), Path("/certificate"))


def manifest(*signers: str | None) -> Manifest:
    modules = tuple(
        ModuleRecord(f"m{number}", f"m{number}.ko", "ab", "cd", signer)
        for number, signer in enumerate(signers)
    )
    return Manifest("n", "v", "k", "a", "s", "kc", "c", modules)


@given(content=st.binary(min_size=1), signature=st.binary(max_size=600))
def test_a_signature_comes_off_again(content: bytes, signature: bytes) -> None:
    signed = content + signature + struct.pack(">8xI", len(signature)) + MAGIC
    assert without_signature(signed) == content


@given(st.binary() | st.binary().map(lambda data: data + MAGIC))
def test_anything_else_stays_or_gets_shorter(data: bytes) -> None:
    assert data.startswith(without_signature(data))
    if not data.endswith(MAGIC):
        assert without_signature(data) == data


@pytest.mark.parametrize(
    ("demanded", "pair", "signers", "expected"),
    [
        (False, None, (None, None), False),
        (True, None, ("ours", "ours"), False),
        (True, PAIR, ("ours", None), True),
        (True, PAIR, ("theirs", "theirs"), True),
    ],
)
def test_when_a_build_is_signed_here(
    demanded: bool, pair: KeyPair | None, signers: tuple[str | None, ...], expected: bool
) -> None:
    trust = Trust(demanded, (OURS,), pair)
    assert require_signable(trust, manifest(*signers)) is expected


@pytest.mark.parametrize("signers", [(None, "ours"), ("theirs", "ours")])
def test_one_foreign_module_without_a_key_refuses_all(signers: tuple[str | None, ...]) -> None:
    with pytest.raises(SigningRefused) as refusal:
        require_signable(Trust(True, (OURS,), None), manifest(*signers))
    assert refusal.value.code == "signing_key_not_enrolled"
