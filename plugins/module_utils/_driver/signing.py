# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules signed by a key that the firmware knows, where unsigned ones would not be loaded.

DKMS does not insist: a failing sign-file leaves an unsigned module and exit status 0, and a missing
key is made anew, which the firmware does not know. So what counts is read from the module files.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .._host.certificates import Certificate, parse_certificate, serial_of
from .._host.commands import CommandFailed, CommandMissing, run
from .._host.errors import GpufleetError
from .._host.files import atomic_write, read_bytes, sha256_of
from .._host.secure_boot import demands_signatures, enrolled_certificates, read_secure_boot
from .dkms import DkmsPackage
from .identity import signer_of
from .manifest import FILE_NAME, Manifest

_HASH = "sha256"
_MAGIC = b"~Module signature appended~\n"
# algo, hash, id_type, signer_len, key_id_len, three bytes of padding; then sig_len, big-endian.
_TRAILER = struct.Struct(">8xI")
_SIGN_SECONDS = 120.0


class SigningRefused(GpufleetError):
    """The modules would not be loaded under Secure Boot, and cannot be signed so that they are."""


@dataclass(frozen=True)
class KeyPair:
    """A signing key and its certificate, as files of the host."""

    key: Path
    certificate: Path


#: Where Ubuntu's shim-signed and DKMS keep theirs.
HOST_KEYS = (
    KeyPair(Path("/var/lib/shim-signed/mok/MOK.priv"), Path("/var/lib/shim-signed/mok/MOK.der")),
    KeyPair(Path("/var/lib/dkms/mok.key"), Path("/var/lib/dkms/mok.pub")),
)


@dataclass(frozen=True)
class Trust:
    """What this host loads: anything (not demanded), or what an enrolled key signed."""

    demanded: bool
    enrolled: tuple[Certificate, ...]
    key_pair: KeyPair | None

    def accepts(self, path: Path) -> bool:
        """Whether the kernel would load the module file ``path``."""
        if not self.demanded:
            return True
        serial = serial_of(run(["modinfo", "-F", "sig_key", str(path)], check=False).stdout)
        signer = signer_of(path)
        return any(key.serial == serial and key.common_name == signer for key in self.enrolled)


def read_trust(root: Path = Path("/"), keys: Sequence[KeyPair] = HOST_KEYS) -> Trust:
    """Return what the host demands of modules, and the enrolled key pair that it has."""
    enrolled = enrolled_certificates(root)
    for pair in keys:
        key, certificate = (root / path.relative_to("/") for path in (pair.key, pair.certificate))
        if key.is_file() and parse_certificate(read_bytes(certificate) or b"") in enrolled:
            return Trust(demands_signatures(read_secure_boot(root)), enrolled, pair)
    return Trust(demands_signatures(read_secure_boot(root)), enrolled, None)


def require_signable(trust: Trust, manifest: Manifest) -> bool:
    """Return whether the build has to be signed here, before anything is changed.

    Raises:
        SigningRefused: its modules would not be loaded, and no enrolled key is here to sign them.
    """
    known = {certificate.common_name for certificate in trust.enrolled}
    foreign = [module.name for module in manifest.modules if module.signer not in known]
    if not trust.demanded or not foreign:
        return False
    if trust.key_pair is not None:
        return True
    signers = sorted({module.signer or "nobody" for module in manifest.modules})
    raise SigningRefused(
        "signing_key_not_enrolled",
        read=f"Secure Boot is on; the modules are signed by {', '.join(signers)}; enrolled:"
        f" {', '.join(sorted(known)) or 'no certificate that can be read'}",
        want="modules signed by a key that the firmware knows",
        remedy="stage the key with p2p_secure_boot_enrol: true, or mokutil --import"
        " /var/lib/dkms/mok.pub; then restart and choose 'Enroll MOK' on the console within ten"
        " seconds",
    )


def without_signature(module: bytes) -> bytes:
    """Return a module file's bytes without the signature behind it (linux/module_signature.h)."""
    end = len(module) - len(_MAGIC)
    if not module.endswith(_MAGIC) or end < _TRAILER.size:
        return module
    (size,) = _TRAILER.unpack_from(module, end - _TRAILER.size)
    start = end - _TRAILER.size - size
    return module[:start] if start > 0 else module


def sign(package: DkmsPackage, manifest: Manifest, trust: Trust) -> Manifest:
    """Sign the modules that DKMS holds with the host's enrolled key; return the new manifest.

    Build-ids stay; checksums and signers are those of the signed files.

    Raises:
        SigningRefused: sign-file is missing or failed, or signed with a key that is not enrolled.
    """
    pair = trust.key_pair
    if pair is None:
        raise ValueError("require_signable comes first")
    directory = package.build_directory(manifest.kernel)
    tool = _sign_file(package.trees.install / manifest.kernel)
    records = []
    for module in manifest.modules:
        path = directory / "module" / module.file
        # A second signature behind the first would be one more thing to explain.
        atomic_write(path, without_signature(path.read_bytes()))
        try:
            words = [*tool, _HASH, str(pair.key), str(pair.certificate), str(path)]
            run(words, timeout=_SIGN_SECONDS)
        except (CommandFailed, CommandMissing) as error:
            raise _not_signed(module.name, error.read) from error
        if not trust.accepts(path):
            raise _not_signed(module.name, f"signer {signer_of(path) or 'nobody'}")
        records.append(replace(module, sha256=sha256_of(path), signer=signer_of(path)))
    signed = replace(manifest, modules=tuple(records))
    atomic_write(directory / FILE_NAME, signed.as_json())
    return signed


def require_accepted(package: DkmsPackage, manifest: Manifest, trust: Trust) -> None:
    """Refuse a build of which the kernel would not load every module.

    Raises:
        SigningRefused: naming the first such module.
    """
    directory = package.build_directory(manifest.kernel) / "module"
    for module in manifest.modules:
        if not trust.accepts(directory / module.file):
            raise _not_signed(module.name, f"signer {module.signer or 'nobody'}")


def _sign_file(modules: Path) -> list[str]:
    """Return the words that begin a signing command: the kernel's own tool, or Ubuntu's."""
    places = [modules / "build/scripts/sign-file"]
    # Debian links build/scripts to linux-kbuild's, of whichever release.
    places += sorted(Path("/usr/lib").glob("linux-kbuild-*/scripts/sign-file"), reverse=True)
    for path in places:
        if path.is_file():
            return [str(path)]
    return ["kmodsign"]


def _not_signed(name: str, read: str) -> SigningRefused:
    return SigningRefused(
        "module_not_signed",
        read=f"{name}: {read}",
        want="every module signed by an enrolled key",
        remedy="install the kernel's headers (they bring sign-file) and see that the key fits its"
        " certificate; the modules that were installed are as they were",
    )
