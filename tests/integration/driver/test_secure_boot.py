# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Under Secure Boot: signed by an enrolled key, or not installed at all.

Firmware's variables are files here; keys, sign-file, DKMS and the signatures are real.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable

import pytest
from support.driver_hosts import ARCHIVE, INSTALL, VERSION, Host, give_archive

NewHost = Callable[[str], Host]
TREES = ("etc", "boot", "lib/modules", "usr/src", "var/lib/dkms", "var/lib/gpufleet")
X509 = bytes.fromhex("a159c0a5e494a74a87b5ab155c2bf072")
VARIABLES = "/sys/firmware/efi/efivars"
MOK = "605dab50-e046-4300-abb6-3dd810dd8b23"
NAME = "the enrolled key"


@pytest.fixture
def host(new_host: NewHost, builder: Host) -> Host:
    """Return a host with Secure Boot on, and a signing key of its own that nobody enrolled."""
    host = new_host("secure")
    give_archive(builder, host)
    host.path(VARIABLES).mkdir(parents=True)
    on = host.path(f"{VARIABLES}/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")
    on.write_bytes(b"\x06\0\0\0\x01")
    host.path("/var/lib/dkms").mkdir(exist_ok=True)
    words = ["openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-outform", "DER"]
    words += ["-days", "36500", "-subj", f"/CN={NAME}/", "-keyout", "/var/lib/dkms/mok.key"]
    host.run(*words, "-out", "/var/lib/dkms/mok.pub")
    return host


def enrol(host: Host, variable: str = "MokListRT") -> None:
    der = host.path("/var/lib/dkms/mok.pub").read_bytes()
    header = struct.pack("<16sIII", X509, 28 + 16 + len(der), 0, 16 + len(der))
    path = host.path(f"{VARIABLES}/{variable}-{MOK}")
    path.write_bytes(b"\x06\0\0\0" + header + b"o" * 16 + der)


def signers(host: Host) -> set[str]:
    names = ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm", "nvidia-peermem")
    return {
        host.run("modinfo", "-k", host.kernel, "-F", "signer", name, check=False).strip()
        for name in names
    }


def test_without_an_enrolled_key_nothing_is_changed(host: Host) -> None:
    before = host.tree(*TREES)
    result = host.module("dkms_module", **INSTALL)
    assert result["error"]["code"] == "signing_key_not_enrolled", result
    assert "console" in result["error"]["remedy"]
    assert host.tree(*TREES) == before

    # The control: DKMS installs what the kernel will refuse, and reports success.
    host.run("dkms", "ldtarball", "--archive", ARCHIVE, "--force")
    host.run("dkms", "install", "-m", "gpufleet-nvidia", "-v", VERSION, "-k", host.kernel)
    assert NAME not in signers(host)


def test_signed_by_the_enrolled_key_and_taken_off_again(host: Host) -> None:
    enrol(host)
    before = host.tree(*TREES)
    planned = host.module("dkms_module", check_mode=True, **INSTALL)
    assert "sign the modules with the enrolled key" in planned["actions"], planned
    done = host.module("dkms_module", **INSTALL)
    assert "failed" not in done, done
    assert signers(host) == {NAME}
    shipped = json.loads(host.run("tar", "-xOf", ARCHIVE, "--wildcards", "*/gpufleet.json"))
    assert [m["build_id"] for m in done["manifest"]["modules"]] == [
        module["build_id"] for module in shipped["modules"]
    ]
    assert not host.module("dkms_module", **INSTALL)["changed"]
    host.module("dkms_module", state="absent")
    assert host.tree(*TREES) == before


@pytest.mark.parametrize("fault", ["sign_file_fails", "key_deleted", "other_key"])
def test_a_fault_in_signing_never_ends_in_success(host: Host, fault: str) -> None:
    enrol(host)
    before = host.tree("lib/modules")
    if fault == "sign_file_fails":
        (tool,) = host.path("/usr/lib").glob("linux-kbuild-*/scripts/sign-file")
        tool.write_text("#!/bin/sh\nexit 1\n")
    elif fault == "key_deleted":
        host.path("/var/lib/dkms/mok.key").unlink()
    else:
        words = ["openssl", "genrsa", "-out", "/var/lib/dkms/mok.key", "2048"]
        host.run(*words)
    result = host.module("dkms_module", **INSTALL)
    code = "signing_key_not_enrolled" if fault == "key_deleted" else "module_not_signed"
    assert result["error"]["code"] == code, result
    assert host.tree("lib/modules") == before


def test_enrolment_is_staged_once_and_only_when_asked(host: Host) -> None:
    stub = host.path("/usr/local/sbin/mokutil")
    stub.write_text('#!/bin/sh\necho "$@" >> /srv/mokutil\ncat "$4" >> /srv/mokutil\n')
    stub.chmod(0o755)
    options = {"password_hash": "$6$salt$hash"}
    assert host.module("mok_enrolment", check_mode=True, **options)["changed"]
    assert not host.path("/srv/mokutil").exists()
    staged = host.module("mok_enrolment", **options)
    assert (staged["enrolment"], staged["common_name"]) == ("staged", NAME), staged
    words, hashed = host.path("/srv/mokutil").read_text().splitlines()
    assert words.startswith("--import ") and hashed == options["password_hash"]
    enrol(host, "MokNew")
    assert not host.module("mok_enrolment", **options)["changed"]
    enrol(host)
    assert host.module("mok_enrolment", **options)["enrolment"] == "enrolled"
