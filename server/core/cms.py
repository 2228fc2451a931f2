"""CMS SignedData with one signer (RFC 5652), as RFC 3161 and PAdES use it.

Nothing that no signature covers decides: versions, digest and signature algorithms beside the signature, certificates
and revocation lists are skipped unread. The hash is the one whose length the signed digest has; the scheme is the
pinned key's. ``extension/src/core/cms.ts`` is the twin of this module.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.core.certificates import Certificate
from server.core.der import (
    INTEGER,
    OCTET_STRING,
    OID,
    SEQUENCE,
    SET,
    Der,
    Members,
    context,
    expect_tag,
    format_der,
    malformed,
    parse_der,
    parse_oid,
)
from server.core.signatures import Hash, Key, SignatureAlgorithm, digest, parse_hash, scheme_of, verify_signature
from server.errors import ParseError, VerificationError

SIGNED_DATA = "1.2.840.113549.1.7.2"
CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
_SIGNING_CERTIFICATE = "1.2.840.113549.1.9.16.2.12"
SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47"
_HASH_OF_SIZE: dict[int, Hash] = {32: "SHA-256", 48: "SHA-384", 64: "SHA-512"}


@dataclass(frozen=True)
class UnverifiedCms:
    """What was read; nothing is checked.

    ``content``: None when it is kept elsewhere, as in a PDF. ``certificates``, ``revocations``, ``unsigned``: under
    their tags, unread. ``identifier``: who the signer says they are, unread, and not signed. ``signed_attributes``: as
    they were signed, under the tag of a SET. ``attributes``: the same, values by id.
    """

    content_type: str
    content: bytes | None
    certificates: Der | None
    revocations: Der | None
    identifier: Der
    signed_attributes: bytes
    attributes: Mapping[str, Sequence[Der]]
    signature: bytes
    unsigned: Der | None


def parse_cms(raw: bytes) -> UnverifiedCms:
    """Read a ContentInfo. Raises ParseError ``der_malformed``."""
    info = Members(parse_der(raw, SEQUENCE))
    if parse_oid(info.take(OID)) != SIGNED_DATA:
        raise malformed("not signed data")
    explicit = Members(info.take(context(0)))
    info.end()
    fields = Members(explicit.take(SEQUENCE))
    explicit.end()
    fields.take(INTEGER)
    fields.take(SET)
    encapsulated = Members(fields.take(SEQUENCE))
    content_type = parse_oid(encapsulated.take(OID))
    wrapped = encapsulated.take_if(context(0))
    encapsulated.end()
    certificates, revocations = fields.take_if(context(0)), fields.take_if(context(1))
    signers = Members(fields.take(SET)).rest()
    fields.end()
    if len(signers) != 1:
        raise malformed("there must be exactly one signer")
    signer = Members(signers[0], SEQUENCE)
    signer.take(INTEGER)
    identifier = signer.take()
    signer.take(SEQUENCE)
    signed = signer.take(context(0))
    signer.take(SEQUENCE)
    signature = signer.take(OCTET_STRING).content
    unsigned = signer.take_if(context(1))
    signer.end()
    return UnverifiedCms(
        content_type=content_type,
        content=None if wrapped is None else _content(wrapped),
        certificates=certificates,
        revocations=revocations,
        identifier=identifier,
        signed_attributes=bytes([SET]) + signed.raw[1:],
        attributes=read_attributes(signed),
        signature=signature,
        unsigned=unsigned,
    )


def _content(explicit: Der) -> bytes:
    fields = Members(explicit)
    content = fields.take(OCTET_STRING).content
    fields.end()
    return content


def read_attributes(attributes: Der) -> Mapping[str, Sequence[Der]]:
    """Return the values of attributes by id. Raises ParseError ``der_malformed``."""
    found: dict[str, Sequence[Der]] = {}
    for item in Members(attributes).rest():
        name, values = read_attribute(item)
        if name in found:
            raise malformed("an attribute stands there twice")
        found[name] = values
    return found


def read_attribute(attribute: Der) -> tuple[str, Sequence[Der]]:
    """Return an attribute's id and its values. Raises ParseError ``der_malformed``."""
    fields = Members(attribute, SEQUENCE)
    name, values = parse_oid(fields.take(OID)), Members(fields.take(SET)).rest()
    fields.end()
    return name, values


def verify_cms(
    cms: UnverifiedCms, certificate: Certificate, key: Key, content: bytes, *, code: str, other: str
) -> None:
    """Raise VerificationError ``code`` unless ``certificate``, whose key is ``key``, signed ``content``.

    The signature must name that very certificate (RFC 5035). ``other``: the code when all else holds, and the signature
    is over other bytes. Whether the certificate is trusted is for the caller. Raises ParseError for signed attributes
    that have no form.
    """
    kind = _single(cms, CONTENT_TYPE)
    if kind is None or parse_oid(kind) != cms.content_type:
        raise VerificationError(code, "signed as content of another type")
    if not names_certificate(cms, certificate.raw):
        raise VerificationError(code, f"the signature names another certificate than {certificate.name}")
    signed = _single(cms, MESSAGE_DIGEST)
    if signed is None:
        raise VerificationError(code, "no digest is signed")
    name = hash_of_size(len(expect_tag(signed, OCTET_STRING).content))
    algorithm = SignatureAlgorithm(scheme_of(key), name)
    verify_signature(key, algorithm, cms.signature, cms.signed_attributes, code)
    if signed.content != digest(name, content):
        raise VerificationError(other, "signed over other bytes")


def names_certificate(cms: UnverifiedCms, certificate: bytes) -> bool:
    """Tell whether the signed attributes name ``certificate`` (DER) by its hash, as the first they name.

    Raises ParseError ``der_malformed``, ``algorithm_refused``.
    """
    second = _single(cms, SIGNING_CERTIFICATE_V2)
    if second is not None:
        fields = _first_certificate_id(second)
        algorithm = fields.take_if(SEQUENCE)
        expected = digest("SHA-256" if algorithm is None else parse_hash(algorithm), certificate)
        return fields.take(OCTET_STRING).content == expected
    # RFC 3161 as of 2001, by authorities that still name themselves so. The certificate is pinned besides.
    first = _single(cms, _SIGNING_CERTIFICATE)
    if first is None:
        return False
    expected = hashlib.sha1(certificate, usedforsecurity=False).digest()
    return _first_certificate_id(first).take(OCTET_STRING).content == expected


def hash_of_size(size: int) -> Hash:
    """Return the hash whose digests have ``size`` bytes. Raises ParseError ``algorithm_refused``."""
    if size not in _HASH_OF_SIZE:
        raise ParseError("algorithm_refused", "a digest other than by SHA-2")
    return _HASH_OF_SIZE[size]


def _first_certificate_id(value: Der) -> Members:
    return Members(Members(Members(value, SEQUENCE).take(SEQUENCE)).take(SEQUENCE))


def _single(cms: UnverifiedCms, name: str) -> Der | None:
    values = cms.attributes.get(name, ())
    return values[0] if len(values) == 1 else None


def format_cms(
    *,
    content_type: str,
    content: bytes,
    certificates: Sequence[Certificate],
    signed_attributes: bytes,
    hash_name: Hash,
    scheme: str,
    signature: bytes,
) -> bytes:
    """Return a ContentInfo whose every unsigned part is written by us.

    ``certificates``: the signer's own first. ``signed_attributes``: a SET OF, as it was signed.
    """
    own = certificates[0]
    hash_id = _HASH_IDS[hash_name]
    signer = format_der(
        SEQUENCE,
        b"\x02\x01\x01",
        format_der(SEQUENCE, own.issuer, own.serial),
        hash_id,
        bytes([context(0)]) + signed_attributes[1:],
        _SIGNATURE_IDS[scheme, hash_name],
        format_der(OCTET_STRING, signature),
    )
    signed_data = format_der(
        SEQUENCE,
        b"\x02\x01\x03",
        format_der(SET, hash_id),
        format_der(SEQUENCE, format_oid(content_type), format_der(context(0), format_der(OCTET_STRING, content))),
        format_der(context(0), *sorted(certificate.raw for certificate in certificates)),
        format_der(SET, signer),
    )
    return format_der(SEQUENCE, format_oid(SIGNED_DATA), format_der(context(0), signed_data))


def format_oid(dotted: str) -> bytes:
    """Return an OBJECT IDENTIFIER in DER."""
    first, second, *rest = map(int, dotted.split("."))
    content = b""
    for arc in (first * 40 + second, *rest):
        digits = [arc & 0x7F]
        while arc := arc >> 7:
            digits.append(0x80 | arc & 0x7F)
        content += bytes(reversed(digits))
    return format_der(OID, content)


def _identifier(dotted: str, *parameters: bytes) -> bytes:
    return format_der(SEQUENCE, format_oid(dotted), *parameters)


_NULL = b"\x05\x00"
_HASH_IDS: dict[Hash, bytes] = {
    "SHA-256": _identifier("2.16.840.1.101.3.4.2.1", _NULL),
    "SHA-384": _identifier("2.16.840.1.101.3.4.2.2", _NULL),
    "SHA-512": _identifier("2.16.840.1.101.3.4.2.3", _NULL),
}
_SIGNATURE_IDS: dict[tuple[str, Hash], bytes] = {
    **{("RSASSA-PKCS1-v1_5", name): _identifier("1.2.840.113549.1.1.1", _NULL) for name in _HASH_IDS},
    ("ECDSA", "SHA-256"): _identifier("1.2.840.10045.4.3.2"),
    ("ECDSA", "SHA-384"): _identifier("1.2.840.10045.4.3.3"),
    ("ECDSA", "SHA-512"): _identifier("1.2.840.10045.4.3.4"),
}
