"""X.509 certificates, as far as a pinned chain and the signer of a PDF need them (RFC 5280).

``docs/formats.md`` says which certificates are accepted; ``extension/src/core/certificates.ts`` is the twin of this
module. Revocation is not checked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.core.der import (
    BIT_STRING,
    BOOLEAN,
    INTEGER,
    OCTET_STRING,
    OID,
    SEQUENCE,
    SET,
    Der,
    Members,
    context,
    parse_bit_string,
    parse_boolean,
    parse_der,
    parse_oid,
    parse_small_integer,
    parse_time,
    readable_string,
)
from server.core.signatures import Key, parse_key, parse_signature_algorithm, verify_signature
from server.errors import ObjectionError, ParseError, VerificationError


@dataclass(frozen=True)
class Extension:
    critical: bool
    value: bytes


@dataclass(frozen=True)
class Certificate:
    """A certificate that was read; nobody has checked who signed it. ``raw``, ``issuer``, ``serial``: DER.

    ``name``: the subject's common name, for people. Times in seconds. ``algorithm``: read by whoever checks the
    signature.
    """

    raw: bytes
    signed: bytes
    signature: bytes
    algorithm: Der
    serial: bytes
    issuer: bytes
    subject: bytes
    name: str
    not_before: int
    not_after: int
    public_key_info: bytes
    extensions: Mapping[str, Extension]


_COMMON_NAME = "2.5.4.3"
_BASIC_CONSTRAINTS = "2.5.29.19"
_KEY_USAGE = "2.5.29.15"
_EXTENDED_KEY_USAGE = "2.5.29.37"
_QC_STATEMENTS = "1.3.6.1.5.5.7.1.3"
_TIME_STAMPING = "1.3.6.1.5.5.7.3.8"
# Extensions that are weighed here, or that cannot make a chain weaker whose every certificate is pinned: other names,
# policies and their constraints, addresses of revocation lists.
_UNDERSTOOD = {
    *(_BASIC_CONSTRAINTS, _KEY_USAGE, _EXTENDED_KEY_USAGE, _QC_STATEMENTS),
    *("2.5.29.17", "2.5.29.32", "2.5.29.36", "2.5.29.54", "2.5.29.31"),
}
_MAX_BYTES = 16_384
_KEY_CERT_SIGN, _DIGITAL_SIGNATURE, _NON_REPUDIATION = 0x04, 0x80, 0x40
_QC_COMPLIANCE, _QC_TYPE, _QC_ESEAL = "0.4.0.1862.1.1", "0.4.0.1862.1.6", "0.4.0.1862.1.6.2"


def parse_certificate(raw: bytes) -> Certificate:
    """Return what the DER in ``raw`` says. Raises ParseError ``certificate_malformed``."""
    if len(raw) > _MAX_BYTES:
        raise _malformed("the certificate is too large")
    try:
        return _read(raw)
    except ParseError as error:
        raise _malformed(str(error)) from error


def _read(raw: bytes) -> Certificate:
    whole = Members(parse_der(raw, SEQUENCE))
    signed, algorithm = whole.take(SEQUENCE), whole.take(SEQUENCE)
    signature = parse_bit_string(whole.take(BIT_STRING))
    whole.end()
    body = Members(signed)
    version = body.take_if(context(0))
    if version is not None and parse_small_integer(Members(version).take(INTEGER)) != 2:
        raise _malformed("not of version 3")
    serial = body.take(INTEGER)
    if body.take(SEQUENCE).raw != algorithm.raw:
        raise _malformed("it names two signature algorithms")
    issuer = body.take(SEQUENCE)
    validity = Members(body.take(SEQUENCE))
    not_before, not_after = parse_time(validity.take()), parse_time(validity.take())
    validity.end()
    subject, public_key_info = body.take(SEQUENCE), body.take(SEQUENCE)
    for number in (1, 2):
        body.take_if(context(number, primitive=True))
    extensions = body.take_if(context(3))
    body.end()
    return Certificate(
        raw=raw,
        signed=signed.raw,
        signature=signature,
        algorithm=algorithm,
        serial=serial.raw,
        issuer=issuer.raw,
        subject=subject.raw,
        name=_common_name(subject),
        not_before=not_before,
        not_after=not_after,
        public_key_info=public_key_info.raw,
        extensions={} if extensions is None else parse_extensions(extensions),
    )


def parse_extensions(explicit: Der) -> Mapping[str, Extension]:
    """Return what stands under the explicit tag: extensions by id. Raises ParseError."""
    outer = Members(explicit)
    extensions = read_extensions(outer.take(SEQUENCE))
    outer.end()
    return extensions


def read_extensions(listed: Der) -> Mapping[str, Extension]:
    """Return the extensions of a SEQUENCE by id, under whatever tag it stands. Raises ParseError."""
    found: dict[str, Extension] = {}
    for item in Members(listed).rest():
        fields = Members(item, SEQUENCE)
        name = parse_oid(fields.take(OID))
        flag = fields.take_if(BOOLEAN)
        value = fields.take(OCTET_STRING)
        fields.end()
        if name in found:
            raise _malformed("an extension stands there twice")
        found[name] = Extension(flag is not None and parse_boolean(flag), value.content)
    return found


def _common_name(whole: Der) -> str:
    """Return a name's last common name, or its last readable part, or a question mark."""
    name = other = ""
    for part in Members(whole).rest():
        for pair in Members(part, SET).rest():
            fields = Members(pair, SEQUENCE)
            identifier, text = parse_oid(fields.take(OID)), readable_string(fields.take()) or ""
            if identifier == _COMMON_NAME:
                name = text
            other = text
    return name or other or "?"


@dataclass(frozen=True)
class Chain:
    """Certificates as a policy lists them: the signer's own first, each followed by its issuer, the trust anchor last.

    ``keys``: theirs, in the same order.
    """

    certificates: Sequence[Certificate]
    keys: Sequence[Key]

    @property
    def own(self) -> Certificate:
        return self.certificates[0]


def parse_chain(raw_certificates: Sequence[bytes]) -> Chain:
    """Read a chain (DER). The last certificate is trusted because it is listed: nobody looks at its own signature.

    Raises ParseError or VerificationError for a certificate that cannot be read, is alone, is out of order, or has a
    key or a signature of a kind that is not accepted. The message names the certificate, and which part of it.
    """
    if len(raw_certificates) < 2:
        raise _invalid("no certificate stands above the authority's own")
    certificates: list[Certificate] = []
    keys: list[Key] = []
    for number, raw in enumerate(raw_certificates, 1):
        named, part = f"certificate {number}", ""
        try:
            certificates.append(certificate := parse_certificate(raw))
            named += f" ({certificate.name})"
            part = ", its key"
            keys.append(parse_key(certificate.public_key_info))
            part = ", its signature"
            if number < len(raw_certificates):
                parse_signature_algorithm(certificate.algorithm)
        except ObjectionError as error:
            raise VerificationError(error.code, f"{named}{part}: {error}") from error
        if number > 1 and certificates[-2].issuer != certificate.subject:
            raise _invalid(f"certificate {number - 1} ({certificates[-2].name}) is not followed by its issuer")
    return Chain(certificates, keys)


def verify_chain(chain: Chain, at: int) -> None:
    """Raise VerificationError or ParseError unless ``chain`` holds at ``at`` (seconds).

    Each certificate is in its time and signed by the next, those above may sign certificates, and no critical extension
    is left unread.
    """
    for number, certificate in enumerate(chain.certificates):
        if not certificate.not_before <= at <= certificate.not_after:
            raise _invalid(f"{certificate.name} was not in force")
        for name, extension in certificate.extensions.items():
            if extension.critical and name not in _UNDERSTOOD:
                raise _invalid(f"{certificate.name} has a critical extension that is not understood: {name}")
        if number > 0:
            _require_authority(certificate, number - 1)
        if number + 1 < len(chain.certificates):
            algorithm = parse_signature_algorithm(certificate.algorithm)
            try:
                verify_signature(
                    chain.keys[number + 1], algorithm, certificate.signature, certificate.signed, "certificate_invalid"
                )
            except ObjectionError as error:
                raise _invalid(f"{certificate.name} was not signed by the certificate behind it: {error}") from error


def _require_authority(certificate: Certificate, below: int) -> None:
    constraints = certificate.extensions.get(_BASIC_CONSTRAINTS)
    if constraints is None:
        raise _invalid(f"{certificate.name} is not an authority")
    fields = Members(parse_der(constraints.value, SEQUENCE))
    flag = fields.take_if(BOOLEAN)
    path_length = fields.take_if(INTEGER)
    fields.end()
    if flag is None or not parse_boolean(flag):
        raise _invalid(f"{certificate.name} is not an authority")
    if path_length is not None and parse_small_integer(path_length) < below:
        raise _invalid(f"{certificate.name} allows no such chain")
    if not _allows_use(certificate, _KEY_CERT_SIGN):
        raise _invalid(f"{certificate.name} may not sign certificates")


def require_time_stamping(certificate: Certificate) -> None:
    """Raise unless the certificate is for time stamping alone, and says so critically. (RFC 3161, 2.3.)"""
    usage = certificate.extensions.get(_EXTENDED_KEY_USAGE)
    purposes = [] if usage is None else [parse_oid(each) for each in Members(parse_der(usage.value, SEQUENCE)).rest()]
    if usage is None or not usage.critical or purposes != [_TIME_STAMPING]:
        raise _invalid(f"{certificate.name} is not a certificate for time stamping alone")
    if not _allows_use(certificate, _DIGITAL_SIGNATURE | _NON_REPUDIATION):
        raise _invalid(f"{certificate.name} may not sign")


def _allows_use(certificate: Certificate, bits: int) -> bool:
    usage = certificate.extensions.get(_KEY_USAGE)
    if usage is None:
        return True
    content = parse_der(usage.value, BIT_STRING).content
    return len(content) > 1 and content[1] & bits != 0


def says_qualified(certificate: Certificate) -> bool:
    """Tell whether the certificate calls itself eIDAS-qualified for seals: QcStatements of EN 319 412-5."""
    extension = certificate.extensions.get(_QC_STATEMENTS)
    statements = {} if extension is None else qc_statements(extension.value)
    return _QC_COMPLIANCE in statements and _QC_ESEAL in statements.get(_QC_TYPE, ())


def qc_statements(value: bytes) -> Mapping[str, Sequence[str]]:
    """Return the ids in QcStatements (RFC 3739), that of the type with the types it lists; none when unreadable."""
    try:
        return dict(_read_statement(each) for each in Members(parse_der(value, SEQUENCE)).rest())
    except ParseError:
        return {}


def _read_statement(statement: Der) -> tuple[str, Sequence[str]]:
    fields = Members(statement, SEQUENCE)
    name = parse_oid(fields.take(OID))
    infos = fields.rest()
    if len(infos) > 1:
        raise _malformed("a statement says more than one thing")
    types = [parse_oid(each) for info in infos if name == _QC_TYPE for each in Members(info, SEQUENCE).rest()]
    return name, types


def is_named_by(certificate: Certificate, identifier: Der) -> bool:
    """Tell whether an IssuerAndSerialNumber names this certificate. Raises ParseError."""
    fields = Members(identifier, SEQUENCE)
    issuer, serial = fields.take(SEQUENCE), fields.take(INTEGER)
    fields.end()
    return (issuer.raw, serial.raw) == (certificate.issuer, certificate.serial)


def _malformed(message: str) -> ParseError:
    return ParseError("certificate_malformed", message)


def _invalid(message: str) -> VerificationError:
    return VerificationError("certificate_invalid", message)
