"""The register's keys: made on the first start, loaded on every other."""

import base64
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from server.core.jws import PrivateKey, format_public_jwk, thumbprint
from server.core.notes import VerifierKey
from server.core.policies import TimeAuthority, TrustPolicy
from server.core.rowmacs import RowMacs
from server.errors import OperatorError
from server.outside.certificates import make_leaf, make_root
from server.outside.timestamps import LocalAuthority, create_local_authority
from server.store.keys import KeyFolder
from server.usecases.anchors import LOCAL_AUTHORITY, Anchors, load_anchors

_KEK_SIZE = 32
_COUNTING_KEY_SIZE = 32
_CHECK_VALUE_SIZE = 16


@dataclass(frozen=True)
class IssuerKey:
    """A key that signs tokens; ``certificate`` is base64 DER for the ``x5c`` header, ``root`` DER."""

    key: PrivateKey
    certificate: str
    root: bytes


@dataclass(frozen=True)
class Keyring:
    """All keys in use. ``issuer_keys`` by key id; ``key_encryption_keys`` by version, the newest wraps.

    ``rate_limit_secret`` keys the hashes of callers' networks, ``work_secret`` signs the challenges of work proofs.
    Both are the same in every process and replica. ``check_values``: by file, what tells its key from any other, and
    leads to none.
    """

    issuer: str
    issuer_keys: Mapping[str, IssuerKey]
    issuer_kid: str
    log_name: str
    log_key: Ed25519PrivateKey
    key_encryption_keys: Mapping[int, bytes]
    rate_limit_secret: bytes
    work_secret: bytes
    counting_key: bytes
    time_authority: LocalAuthority
    anchors: Anchors
    check_values: Mapping[str, str]
    issuer_certificates: Mapping[str, x509.Certificate]

    @property
    def log_verifier(self) -> VerifierKey:
        return VerifierKey(self.log_name, self.log_key.public_key())

    @cached_property
    def row_macs(self) -> RowMacs:
        """What makes the check values of stored rows."""
        return RowMacs(self.log_key)

    def counting_mark(self, holder_jwk: Mapping[str, str], counted_for: str) -> bytes:
        """Return the 32 bytes by which a holder is counted once: they lead to no key without this register's own."""
        return hmac.digest(self.counting_key, f"{counted_for} {thumbprint(holder_jwk)}".encode(), "sha256")

    @cached_property
    def policy(self) -> TrustPolicy:
        """Whom to trust in order to trust this register. Made once: neither it nor the keys ever change."""
        keys = {kid: issuer.key.public_key() for kid, issuer in self.issuer_keys.items()}
        local = TimeAuthority(LOCAL_AUTHORITY, self.time_authority.certificates, trusted=False)
        authorities = (local, *(authority.listed for authority in self.anchors.authorities))
        return TrustPolicy(self.issuer, keys, self.anchors.log, authorities)


def create_keys(folder: KeyFolder, *, issuer: str, now: datetime) -> None:
    """Make the keys that ``folder`` does not have yet. Only for a register that has recorded nothing."""
    if folder.read("issuer-1.crt") is None:
        _create_issuer(folder, issuer=issuer, now=now)
    if folder.read("log-1.key") is None:
        folder.create("log-1.key", _private_pem(Ed25519PrivateKey.generate()))
    if folder.read("kek-1.key") is None:
        folder.create("kek-1.key", secrets.token_bytes(_KEK_SIZE))
    if folder.read("counts-1.key") is None:
        folder.create("counts-1.key", secrets.token_bytes(_COUNTING_KEY_SIZE))
    if folder.read("time-authority.pem") is None:
        folder.create("time-authority.pem", create_local_authority(now=now).to_pem())


def load_keys(folder: KeyFolder, *, issuer: str, log_name: str, anchors_file: Path | None = None) -> Keyring:
    """Raises OperatorError ``keys_missing`` (new ones would fork the log and orphan every record), ``keys_invalid``,
    ``anchors_invalid``."""
    try:
        return _load_keys(folder, issuer=issuer, log_name=log_name, anchors_file=anchors_file)
    except ValueError as error:
        raise OperatorError("keys_invalid", f"a file in the key folder is no key: {error}") from error


def _load_keys(folder: KeyFolder, *, issuer: str, log_name: str, anchors_file: Path | None) -> Keyring:
    issuer_keys = {}
    certificates = {}
    issuer_kid = ""
    root = x509.load_pem_x509_certificate(_required(folder, "issuer-root.crt")).public_bytes(serialization.Encoding.DER)
    secrets_by_file = {"issuer-root.crt": root}
    if (root_key := folder.read("issuer-root.key")) is not None:
        secrets_by_file["issuer-root.key"] = _private_der(serialization.load_pem_private_key(root_key, None))
    for version in folder.versions("issuer"):
        key = serialization.load_pem_private_key(_required(folder, f"issuer-{version}.key"), None)
        certificate = x509.load_pem_x509_certificate(_required(folder, f"issuer-{version}.crt"))
        if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != key.public_key():
            raise OperatorError("keys_invalid", f"issuer-{version}.key and its certificate do not belong together")
        issuer_kid = thumbprint(format_public_jwk(key.public_key()))
        issuer_keys[issuer_kid] = IssuerKey(key, _der_base64(certificate), root)
        certificates[f"issuer-{version}.crt"] = certificate
        secrets_by_file[f"issuer-{version}.key"] = _private_der(key)
        secrets_by_file[f"issuer-{version}.crt"] = certificate.public_bytes(serialization.Encoding.DER)
    if not issuer_keys:
        raise OperatorError("keys_missing", "the issuer's key is missing from the key folder")
    log_key = serialization.load_pem_private_key(_required(folder, "log-1.key"), None)
    if not isinstance(log_key, Ed25519PrivateKey):
        raise OperatorError("keys_invalid", "log-1.key is not an Ed25519 key")
    keks = {version: _required(folder, f"kek-{version}.key") for version in folder.versions("kek")}
    if not keks:
        raise OperatorError("keys_missing", "the key-encryption key is missing from the key folder")
    if damaged := [version for version, key in keks.items() if len(key) != _KEK_SIZE]:
        raise OperatorError("keys_invalid", f"kek-{damaged[0]}.key has not {_KEK_SIZE} bytes")
    counting_key = _required(folder, "counts-1.key")
    if len(counting_key) != _COUNTING_KEY_SIZE:
        raise OperatorError("keys_invalid", f"counts-1.key has not {_COUNTING_KEY_SIZE} bytes")
    time_authority = LocalAuthority.from_pem(_required(folder, "time-authority.pem"))
    secrets_by_file |= {"log-1.key": _private_der(log_key), "counts-1.key": counting_key}
    secrets_by_file |= {f"kek-{version}.key": key for version, key in keks.items()}
    secrets_by_file["time-authority.pem"] = _private_der(time_authority.key) + b"".join(time_authority.certificates)
    return Keyring(
        issuer=issuer,
        issuer_keys=issuer_keys,
        issuer_kid=issuer_kid,
        log_name=log_name,
        log_key=log_key,
        key_encryption_keys={version: derive_key(secret, "wrap server shares") for version, secret in keks.items()},
        rate_limit_secret=derive_key(keks[max(keks)], "hash networks"),
        work_secret=derive_key(keks[max(keks)], "sign work challenges"),
        counting_key=counting_key,
        time_authority=time_authority,
        anchors=load_anchors(anchors_file, log=VerifierKey(log_name, log_key.public_key())),
        check_values={file: _check_value(file, secret) for file, secret in secrets_by_file.items()},
        issuer_certificates=certificates,
    )


def derive_key(secret: bytes, purpose: str) -> bytes:
    """Return the 32 bytes that serve ``purpose`` alone: no key is used by two algorithms. (RFC 5869.)"""
    return HKDF(SHA256(), 32, salt=None, info=b"objection register: " + purpose.encode()).derive(secret)


def _check_value(file: str, secret: bytes) -> str:
    """Return 32 hex digits that another key in ``file`` would not have. All keys are random: nobody can try them."""
    return derive_key(secret, f"check value of {file}")[:_CHECK_VALUE_SIZE].hex()


def _create_issuer(folder: KeyFolder, *, issuer: str, now: datetime) -> None:
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = make_root("Proof of Objection register, root", root_key, now=now)
    issuer_name = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(issuer)])
    leaf = make_leaf(
        "Proof of Objection register", key, root=root, root_key=root_key, now=now, extensions=[(issuer_name, False)]
    )
    # A crash between these leaves files that the next start replaces: the certificate is written last.
    for name in ("issuer-root.key", "issuer-root.crt", "issuer-1.key"):
        folder.discard(name)
    folder.create("issuer-root.key", _private_pem(root_key))
    folder.create("issuer-root.crt", root.public_bytes(serialization.Encoding.PEM))
    folder.create("issuer-1.key", _private_pem(key))
    folder.create("issuer-1.crt", leaf.public_bytes(serialization.Encoding.PEM))


def _required(folder: KeyFolder, name: str) -> bytes:
    data = folder.read(name)
    if data is None:
        raise OperatorError("keys_missing", f"{name} is missing from the key folder")
    return data


def _private_pem(key: PrivateKey | Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _private_der(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _der_base64(certificate: x509.Certificate) -> str:
    return base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode("ascii")
