"""The embedded time authority: RFC 3161 time tokens by the register's own clock.

The local authority exists so that a register works with nothing around it. It shares the register's machine and proves
nothing to a stranger: its name says so, and every output repeats it.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID

from server.core.certificates import Certificate, parse_certificate
from server.core.cms import CONTENT_TYPE, MESSAGE_DIGEST, SIGNING_CERTIFICATE_V2, format_cms, format_oid
from server.core.der import GENERALIZED_TIME, INTEGER, OCTET_STRING, SEQUENCE, SET, UTC_TIME, format_der
from server.core.encoding import sha256
from server.core.timestamps import TST_INFO
from server.errors import OperatorError
from server.outside.certificates import make_leaf, make_root

AUTHORITY_NAME = "Local time authority of the register, UNTRUSTED"
_POLICY = format_oid("1.3.6.1.4.1.4146.2.3.1.999")  # no published policy stands behind a local authority
_SHA256 = bytes.fromhex("300d06096086480165030402010500")  # AlgorithmIdentifier, NULL parameters
_SIGNING_TIME = "1.2.840.113549.1.9.5"


@dataclass(frozen=True)
class LocalAuthority:
    """A key, its certificate, and the self-signed root above it."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    root: x509.Certificate

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Undo ``to_pem``. Raises OperatorError ``keys_invalid``."""
        try:
            key = serialization.load_pem_private_key(pem, None)
            certificate, root = x509.load_pem_x509_certificates(pem)
        except ValueError as error:
            raise OperatorError("keys_invalid", "the local time authority's key file is damaged") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != key.public_key():
            raise OperatorError("keys_invalid", "the local time authority's key and certificate do not fit")
        return cls(key, certificate, root)

    def to_pem(self) -> bytes:
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return pem + b"".join(
            certificate.public_bytes(serialization.Encoding.PEM) for certificate in (self.certificate, self.root)
        )

    @cached_property
    def certificates(self) -> tuple[bytes, bytes]:
        """DER, as a policy lists them: its own first, its root last."""
        return _der(self.certificate), _der(self.root)

    @cached_property
    def _chain(self) -> Sequence[Certificate]:
        return [parse_certificate(raw) for raw in self.certificates]

    @cached_property
    def _names_itself(self) -> bytes:
        """The signed attribute that names the authority's certificate, ESSCertIDv2 with SHA-256."""
        named = format_der(SEQUENCE, format_der(OCTET_STRING, sha256(self.certificates[0])))
        return _attribute(SIGNING_CERTIFICATE_V2, format_der(SEQUENCE, format_der(SEQUENCE, named)))

    def timestamp(self, data: bytes, *, now: datetime, nonce: int | None = None) -> bytes:
        """Return a TimeStampToken (DER) that says: ``data`` existed at ``now``, by this machine's clock."""
        return self.timestamp_digest(sha256(data), now=now, nonce=nonce)

    def timestamp_digest(self, hashed: bytes, *, now: datetime, nonce: int | None = None) -> bytes:
        """As ``timestamp``, for data of which only the SHA-256 is known."""
        at = now.astimezone(UTC)
        info = format_der(
            SEQUENCE,
            b"\x02\x01\x01",
            _POLICY,
            format_der(SEQUENCE, _SHA256, format_der(OCTET_STRING, hashed)),
            _format_integer(secrets.randbits(63)),
            format_der(GENERALIZED_TIME, f"{at:%Y%m%d%H%M%SZ}".encode()),
            _format_integer(secrets.randbits(63) if nonce is None else nonce),
        )
        attributes = [
            _attribute(CONTENT_TYPE, format_oid(TST_INFO)),
            _attribute(_SIGNING_TIME, format_der(UTC_TIME, f"{at:%y%m%d%H%M%SZ}".encode())),
            _attribute(MESSAGE_DIGEST, format_der(OCTET_STRING, sha256(info))),
            self._names_itself,
        ]
        signed = format_der(SET, *sorted(attributes))
        return format_cms(
            content_type=TST_INFO,
            content=info,
            certificates=self._chain,
            signed_attributes=signed,
            hash_name="SHA-256",
            scheme="ECDSA",
            signature=self.key.sign(signed, ec.ECDSA(SHA256())),
        )


def create_local_authority(*, now: datetime) -> LocalAuthority:
    """Make a new authority: a root of its own, and a key under it that may do nothing but stamp."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = make_root(f"{AUTHORITY_NAME} (root)", root_key, now=now)
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
    certificate = make_leaf(AUTHORITY_NAME, key, root=root, root_key=root_key, now=now, extensions=[(purpose, True)])
    return LocalAuthority(key, certificate, root)


def _attribute(name: str, value: bytes) -> bytes:
    return format_der(SEQUENCE, format_oid(name), format_der(SET, value))


def _format_integer(number: int) -> bytes:
    return format_der(INTEGER, number.to_bytes(number.bit_length() // 8 + 1))


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)
