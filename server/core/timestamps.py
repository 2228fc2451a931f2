"""RFC 3161 time tokens: who saw these bytes, and when.

``docs/formats.md`` has the profile of a token; ``extension/src/core/timestamps.ts`` is the twin of this module.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from server.core.certificates import (
    Chain,
    parse_chain,
    qc_statements,
    read_extensions,
    require_time_stamping,
    says_qualified,
    verify_chain,
)
from server.core.cms import UnverifiedCms, names_certificate, parse_cms, verify_cms
from server.core.der import (
    BOOLEAN,
    GENERALIZED_TIME,
    INTEGER,
    OCTET_STRING,
    OID,
    SEQUENCE,
    Members,
    context,
    malformed,
    parse_boolean,
    parse_der,
    parse_small_integer,
    parse_time,
)
from server.core.signatures import Hash, digest, parse_hash
from server.errors import ObjectionError, ParseError, VerificationError

TST_INFO = "1.2.840.113549.1.9.16.1.4"
MAX_TOKEN_BYTES = 65_536
_QC_STATEMENTS = "1.3.6.1.5.5.7.1.3"
_QUALIFIED_TIMESTAMP = "0.4.0.19422.1.1"


@dataclass(frozen=True)
class Timestamp:
    """``at``: seconds. ``authority``: the common name in its certificate.

    ``says_qualified``: whether certificate or token *say* that this is a qualified electronic time stamp (eIDAS Art.
    42). Nobody here has looked whether the authority stood on its country's trusted list then.
    """

    at: int
    authority: str
    says_qualified: bool


@dataclass(frozen=True)
class TrustedAuthority:
    """An authority whose time is believed: its own certificate, pinned, and those above it, the trust anchor last."""

    chain: Chain

    @classmethod
    def from_der(cls, certificates: Sequence[bytes]) -> "TrustedAuthority":
        """Read a policy's list: its own first, each followed by its issuer. The last one need not be self-signed.

        Raises VerificationError ``timestamp_invalid``, which names the certificate, for one that cannot be read, is
        alone, is out of order, or is of a kind that the verifiers do not check.
        """
        with _translated(VerificationError, "timestamp_invalid"):
            return cls(_parse_chain(tuple(certificates)))

    @property
    def name(self) -> str:
        return self.chain.own.name


def verify_timestamp(token: bytes, data: bytes, *, trusted: TrustedAuthority, nonce: int | None = None) -> Timestamp:
    """Return the time at which ``trusted`` saw ``data``; its certificates must have been in force then.

    Revocation is not checked. Raises ParseError ``timestamp_malformed``, VerificationError ``timestamp_invalid`` when
    the token is for other bytes, by another authority, with another nonce, or its signature or chain does not hold.
    """
    cms = _parse_token(token)
    with _translated(VerificationError, "timestamp_invalid"):
        return _verify_by(cms, data, trusted.chain, nonce)


def embedded_authority(token: bytes) -> TrustedAuthority:
    """Return the authority that a token itself names. To trust it is the caller's decision, and seldom a good one.

    The token must carry two certificates, as we write it: the one that its signature names, and that one's issuer.
    Raises ParseError ``timestamp_malformed``.
    """
    cms = _parse_token(token)
    with _translated(ParseError, "timestamp_malformed"):
        carried = [] if cms.certificates is None else [each.raw for each in Members(cms.certificates).rest()]
        if len(carried) != 2:
            raise malformed("the token does not carry its authority and its root alone")
        own = [raw for raw in carried if names_certificate(cms, raw)]
        if len(own) != 1:
            raise malformed("the token does not carry the one certificate that its signature names")
        return TrustedAuthority(parse_chain([*own, *(raw for raw in carried if raw != own[0])]))


def _parse_token(token: bytes) -> UnverifiedCms:
    with _translated(ParseError, "timestamp_malformed"):
        if len(token) > MAX_TOKEN_BYTES:
            raise malformed("the token is too large")
        cms = parse_cms(token)
        if cms.content_type != TST_INFO or cms.content is None:
            raise malformed("it carries no time")
        return cms


def _verify_by(cms: UnverifiedCms, data: bytes, chain: Chain, nonce: int | None) -> Timestamp:
    content = cms.content or b""
    info = _read_info(content)
    if digest(info.hash, data) != info.imprint:
        raise VerificationError("timestamp_invalid", "the token is for other bytes")
    if nonce is not None and info.nonce != nonce:
        raise VerificationError("timestamp_invalid", "the token answers another question: its nonce differs")
    own = chain.own
    verify_cms(cms, own, chain.keys[0], content, code="timestamp_invalid", other="timestamp_invalid")
    require_time_stamping(own)
    verify_chain(chain, info.at)
    return Timestamp(info.at, own.name, info.says_qualified or says_qualified(own))


@dataclass(frozen=True)
class _Info:
    at: int
    hash: Hash
    imprint: bytes
    nonce: int | None
    says_qualified: bool


def _read_info(raw: bytes) -> _Info:
    fields = Members(parse_der(raw, SEQUENCE))
    if parse_small_integer(fields.take(INTEGER)) != 1:
        raise malformed("a time token of a version other than 1")
    fields.take(OID)  # the authority's policy
    imprint = Members(fields.take(SEQUENCE))
    name, hashed = parse_hash(imprint.take(SEQUENCE)), imprint.take(OCTET_STRING).content
    imprint.end()
    fields.take(INTEGER)  # the token's serial number
    at = parse_time(fields.take(GENERALIZED_TIME))
    if at < 0:
        raise malformed("a time before 1970")
    fields.take_if(SEQUENCE)  # accuracy
    ordering = fields.take_if(BOOLEAN)
    if ordering is not None:
        parse_boolean(ordering)
    nonce = fields.take_if(INTEGER)
    fields.take_if(context(0))  # the authority's name for itself: the certificate says it better
    extensions = fields.take_if(context(1))
    fields.end()
    listed = {} if extensions is None else read_extensions(extensions)
    if unknown := [each for each, extension in listed.items() if extension.critical and each != _QC_STATEMENTS]:
        raise malformed(f"the token has a critical extension that is not understood: {unknown[0]}")
    statements = listed.get(_QC_STATEMENTS)
    return _Info(
        at=at,
        hash=name,
        imprint=hashed,
        nonce=None if nonce is None else int.from_bytes(nonce.content, signed=True),
        says_qualified=statements is not None and _QUALIFIED_TIMESTAMP in qc_statements(statements.value),
    )


# A policy's few chains are read again for each of its stamps.
_parse_chain = lru_cache(maxsize=32)(parse_chain)


@contextmanager
def _translated(kind: type[ObjectionError], code: str) -> Iterator[None]:
    try:
        yield
    except ObjectionError as error:
        if error.code.startswith("timestamp_"):
            raise
        raise kind(code, str(error)) from error
