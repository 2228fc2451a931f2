"""RFC 3161 time tokens: made by the embedded local authority, verified whoever made them.

The local authority exists so that a register works with nothing around it. It shares the register's machine and proves
nothing to a stranger: its name says so, and every output repeats it.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Self

from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID
from rfc3161_client import TimeStampResponse, VerifierBuilder, decode_timestamp_response
from rfc3161_client import VerificationError as Rfc3161Error

from server.core.encoding import sha256
from server.errors import OperatorError, ParseError, VerificationError
from server.outside.certificates import make_leaf, make_root

AUTHORITY_NAME = "Local time authority of the register, UNTRUSTED"
_POLICY = "1.3.6.1.4.1.4146.2.3.1.999"  # no published policy stands behind a local authority
# TypeError: of a name whose parts are no text, which cryptography does not expect.
_UNREADABLE = (
    ValueError,
    TypeError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
)
# What the page can check, too: a stamp must not hold here and fail there.
_SIGNATURES = {
    SignatureAlgorithmOID.ECDSA_WITH_SHA256,
    SignatureAlgorithmOID.ECDSA_WITH_SHA384,
    SignatureAlgorithmOID.ECDSA_WITH_SHA512,
    SignatureAlgorithmOID.RSA_WITH_SHA256,
    SignatureAlgorithmOID.RSA_WITH_SHA384,
    SignatureAlgorithmOID.RSA_WITH_SHA512,
    SignatureAlgorithmOID.RSASSA_PSS,
}
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_RSA_BITS = range(2048, 8193)
_QC_STATEMENTS = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.3")
_QC_COMPLIANCE = "0.4.0.1862.1.1"
_QC_TYPE = "0.4.0.1862.1.6"
_QC_ESEAL = "0.4.0.1862.1.6.2"
_QC_TIMESTAMP = "0.4.0.19422.1.1"
_GRANTED = bytes.fromhex("3003020100")  # PKIStatusInfo { status granted(0) }


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

    @property
    def certificates(self) -> tuple[bytes, bytes]:
        """DER, as a policy lists them: its own first, its root last."""
        return _der(self.certificate), _der(self.root)

    def timestamp(self, data: bytes, *, now: datetime, nonce: int | None = None) -> bytes:
        """Return a TimeStampToken (DER) that says: ``data`` existed at ``now``, by this machine's clock."""
        info = tsp.TSTInfo(
            {
                "version": "v1",
                "policy": _POLICY,
                "message_imprint": {"hash_algorithm": _sha256_algorithm(), "hashed_message": sha256(data)},
                "serial_number": secrets.randbits(63),
                "gen_time": now.astimezone(UTC).replace(microsecond=0),
                "nonce": secrets.randbits(63) if nonce is None else nonce,
            }
        ).dump()
        attributes = self._signed_attributes(info, now)
        # Signed as the SET that they are, stored under the context tag that CMS wants.
        signature = self.key.sign(attributes.untag().dump(), ec.ECDSA(SHA256()))
        certificate = asn1_x509.Certificate.load(_der(self.certificate))
        signer = {
            "version": "v1",
            "sid": cms.SignerIdentifier(
                "issuer_and_serial_number",
                cms.IssuerAndSerialNumber({"issuer": certificate.issuer, "serial_number": certificate.serial_number}),
            ),
            "digest_algorithm": _sha256_algorithm(),
            "signed_attrs": attributes,
            "signature_algorithm": {"algorithm": "sha256_ecdsa"},
            "signature": signature,
        }
        token = cms.ContentInfo(
            {
                "content_type": "signed_data",
                "content": cms.SignedData(
                    {
                        "version": "v3",
                        "digest_algorithms": [_sha256_algorithm()],
                        "encap_content_info": {
                            "content_type": "tst_info",
                            "content": core.ParsableOctetString(info),
                        },
                        "certificates": [certificate, asn1_x509.Certificate.load(_der(self.root))],
                        "signer_infos": [signer],
                    }
                ),
            }
        )
        raw: bytes = token.dump()
        return raw

    def _signed_attributes(self, info: bytes, now: datetime) -> cms.CMSAttributes:
        signing_certificate = tsp.SigningCertificateV2({"certs": [{"cert_hash": sha256(_der(self.certificate))}]})
        return cms.CMSAttributes(
            [
                {"type": "content_type", "values": ["tst_info"]},
                {"type": "message_digest", "values": [sha256(info)]},
                {"type": "signing_time", "values": [cms.Time("utc_time", now.astimezone(UTC).replace(microsecond=0))]},
                {"type": "signing_certificate_v2", "values": [signing_certificate]},
            ]
        )


def create_local_authority(*, now: datetime) -> LocalAuthority:
    """Make a new authority: a root of its own, and a key under it that may do nothing but stamp."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = make_root(f"{AUTHORITY_NAME} (root)", root_key, now=now)
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
    certificate = make_leaf(AUTHORITY_NAME, key, root=root, root_key=root_key, now=now, extensions=[(purpose, True)])
    return LocalAuthority(key, certificate, root)


@dataclass(frozen=True)
class TrustedAuthority:
    """An authority whose time is believed: its own certificate, pinned, the root above it, and what is between."""

    certificate: x509.Certificate
    root: x509.Certificate
    intermediates: tuple[x509.Certificate, ...] = ()

    @classmethod
    def from_der(cls, certificates: Sequence[bytes]) -> Self:
        """Read a policy's list: its own first, each followed by its issuer, its root last.

        Raises VerificationError ``timestamp_invalid`` for one that cannot be read, is alone, is out of order, or is of
        a kind that the verifiers cannot check: other than ECDSA on a NIST curve or RSA, with SHA-2. The root's own
        signature is nobody's business: it is trusted because it is listed.
        """
        try:
            chain = [x509.load_der_x509_certificate(der) for der in certificates]
            _refuse_unusual(chain)
        except _UNREADABLE as error:
            raise VerificationError("timestamp_invalid", f"a time authority's certificates: {error}") from error
        return cls(chain[0], chain[-1], tuple(chain[1:-1]))


def _refuse_unusual(chain: Sequence[x509.Certificate]) -> None:
    """Raise ValueError and its kind for a chain that the page could not check as it is."""
    names = [certificate.subject.rfc4514_string() for certificate in chain]
    if len(chain) < 2:
        raise ValueError("there is none above the authority's own")
    for name, (certificate, issuer) in zip(names, pairwise(chain), strict=False):
        if certificate.issuer.public_bytes() != issuer.subject.public_bytes():
            raise ValueError(f"{name} is not followed by its issuer")
        if certificate.signature_algorithm_oid not in _SIGNATURES:
            raise ValueError(f"{name} is not signed with ECDSA or RSA, and SHA-2")
    for name, certificate in zip(names, chain, strict=True):
        key = certificate.public_key()
        known = (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES)) or (
            isinstance(key, rsa.RSAPublicKey) and key.key_size in _RSA_BITS
        )
        if not known:
            raise ValueError(f"{name} has a key of a kind that is not accepted")


def verify_timestamp(token: bytes, data: bytes, *, trusted: TrustedAuthority, nonce: int | None = None) -> datetime:
    """Return the time at which ``trusted`` saw ``data``; its certificate must have been valid then.

    Revocation is not checked. Raises ParseError ``timestamp_malformed``, VerificationError ``timestamp_invalid`` when
    the token is for other bytes, by another authority, with another nonce, or its signature does not hold.
    """
    response = _as_response(token)
    verifier = VerifierBuilder(
        tsa_certificate=trusted.certificate,
        intermediates=list(trusted.intermediates),
        roots=[trusted.root],
        nonce=nonce,
    ).build()
    try:
        verifier.verify_message(response, data)
        return response.tst_info.gen_time
    except (Rfc3161Error, *_UNREADABLE) as error:
        raise VerificationError("timestamp_invalid", "the time token does not hold for these bytes") from error


def embedded_authority(token: bytes) -> TrustedAuthority:
    """Return the authority that a token itself names. To trust it is the caller's decision, and seldom a good one.

    Raises ParseError ``timestamp_malformed`` when the token does not carry one authority and its root, and what
    ``TrustedAuthority.from_der`` raises.
    """
    response = _as_response(token)
    try:
        certificates = [x509.load_der_x509_certificate(raw) for raw in response.signed_data.certificates]
        roots = [certificate for certificate in certificates if certificate.issuer == certificate.subject]
        others = [certificate for certificate in certificates if certificate.issuer != certificate.subject]
        if len(roots) == len(others) == 1:
            return TrustedAuthority.from_der([_der(others[0]), _der(roots[0])])
    except _UNREADABLE as error:
        raise ParseError("timestamp_malformed", "the time token carries a certificate that cannot be read") from error
    raise ParseError("timestamp_malformed", "the time token does not carry its authority's certificate and root")


def is_qualified(certificate: x509.Certificate, token: bytes) -> bool:
    """Tell whether certificate or token *say* that this is a qualified electronic time stamp (eIDAS Art. 42).

    Either the certificate's QcStatements name a qualified certificate for electronic seals (EN 319 412-5), or the token
    carries the qualified time-stamp statement (EN 319 422). Ask it only of a token that ``verify_timestamp`` accepted.
    Whether the authority was on its country's trusted list then, nobody here has looked.
    """
    try:
        extension = certificate.extensions.get_extension_for_oid(_QC_STATEMENTS).value
        statements = _parse_statements(extension.public_bytes())
    except (x509.ExtensionNotFound, *_UNREADABLE):
        statements = {}
    if _QC_COMPLIANCE in statements and _QC_ESEAL in statements.get(_QC_TYPE, frozenset()):
        return True
    return _QC_TIMESTAMP in _token_statements(token)


def _token_statements(token: bytes) -> dict[str, frozenset[str]]:
    try:
        content = cms.ContentInfo.load(token)["content"]["encap_content_info"]["content"].parsed
        extensions = content["extensions"]
        if not extensions:
            return {}
        for extension in extensions:
            if extension["extn_id"].dotted == _QC_STATEMENTS.dotted_string:
                return _parse_statements(bytes(extension["extn_value"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
    return {}


def _parse_statements(raw: bytes) -> dict[str, frozenset[str]]:
    """Return the ids of QCStatements (RFC 3739); that of the type with the types it lists. Raises ValueError."""
    statements: dict[str, frozenset[str]] = {}
    for statement in core.SequenceOf.load(raw, spec=_QcStatement, strict=True):
        name, types = statement["id"].dotted, []
        if name == _QC_TYPE and isinstance(statement["info"], core.Any):
            types = core.SequenceOf.load(statement["info"].dump(), spec=core.ObjectIdentifier, strict=True)
        statements[name] = frozenset(each.dotted for each in types)
    return statements


class _QcStatement(core.Sequence):  # type: ignore[misc]
    _fields = [("id", core.ObjectIdentifier), ("info", core.Any, {"optional": True})]  # noqa: RUF012 (asn1crypto's way)


def authority_name(authority: TrustedAuthority) -> str:
    return authority.certificate.subject.rfc4514_string()


def _as_response(token: bytes) -> TimeStampResponse:
    body = _GRANTED + token
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8)
    try:
        return decode_timestamp_response(b"\x30" + bytes([0x80 | len(length)]) + length + body)
    except ValueError as error:
        raise ParseError("timestamp_malformed", "not an RFC 3161 time token") from error


def _sha256_algorithm() -> algos.DigestAlgorithm:
    return algos.DigestAlgorithm({"algorithm": "sha256"})


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)
