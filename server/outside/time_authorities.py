"""Time authorities, asked over HTTP (RFC 3161, section 3.4). The verifier needs none of this.

Authorities differ in what nobody signs: BER lengths, order and choice of certificates, revocation lists. That is read
here liberally and not kept. What is stored has the profile of docs/formats.md: the signed bytes as they were sent, in
an envelope of our own that carries the pinned certificates.
"""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from server.core.cms import (
    MESSAGE_DIGEST,
    SIGNED_DATA,
    format_cms,
    format_oid,
    hash_of_size,
    read_attributes,
)
from server.core.der import INTEGER, OCTET_STRING, SEQUENCE, SET, context, format_der, parse_der
from server.core.encoding import sha256
from server.core.signatures import scheme_of
from server.core.timestamps import TST_INFO, TrustedAuthority, verify_timestamp
from server.errors import ObjectionError, ParseError, Unavailable, VerificationError
from server.outside.http import post

_SHA256 = bytes.fromhex("300d06096086480165030402010500")  # AlgorithmIdentifier, NULL parameters
_MAX_DEPTH = 8  # of what is read: response, ContentInfo, SignedData, signers, signer, its parts
_STATUS = ("granted", "granted with changes", "rejected", "waiting", "revocation warning", "revocation notice")
_FAILURES = {
    0: "it does not know the hash",
    2: "it did not understand the question",
    5: "it could not read the data",
    14: "its clock is not available",
    15: "it does not know that policy",
    16: "it does not know that extension",
    17: "it does not give what was asked for",
    25: "a failure of its system",
}


def request_timestamp(url: str, data: bytes, *, trusted: TrustedAuthority, timeout_s: float) -> tuple[bytes, int]:
    """Return a verified TimeStampToken (DER) over ``data`` from the authority at ``url``, and the time it states.

    The time is in seconds. Raises Unavailable ``timestamp_unavailable`` when the authority does not answer or does not
    stamp; ParseError ``timestamp_malformed`` when it answers with something else; what ``verify_timestamp`` raises when
    the answer is not to this question, or not by ``trusted``. The message names the cause.
    """
    nonce = secrets.randbits(63) | 1 << 62
    answer = post(
        url,
        _format_request(data, nonce),
        media_type="application/timestamp-query",
        accept="application/timestamp-reply",
        timeout_s=timeout_s,
        code="timestamp_unavailable",
    )
    if answer.status != HTTPStatus.OK:
        raise Unavailable("timestamp_unavailable", f"{url} answers {answer.status}")
    try:
        token = parse_response(answer.body, trusted)
        return token, verify_timestamp(token, data, trusted=trusted, nonce=nonce).at
    except Unavailable as error:
        raise Unavailable(error.code, f"{url} {error}") from error
    except ParseError as error:
        raise ParseError(error.code, f"{url} answers with something else than a time token: {error}") from error
    except VerificationError as error:
        raise VerificationError(error.code, f"the stamp of {url} does not hold: {error}") from error


def _format_request(data: bytes, nonce: int) -> bytes:
    imprint = format_der(SEQUENCE, _SHA256, format_der(OCTET_STRING, sha256(data)))
    return format_der(SEQUENCE, b"\x02\x01\x01", imprint, format_der(INTEGER, nonce.to_bytes(8)), b"\x01\x01\xff")


def parse_response(raw: bytes, trusted: TrustedAuthority) -> bytes:
    """Return the token of a TimeStampResp in the form in which it is stored; nothing is checked.

    Raises Unavailable ``timestamp_unavailable`` when it grants none, ParseError ``timestamp_malformed``.
    """
    try:
        response = _Ber.whole(raw).children()
        _refuse_ungranted(response[0].children())
        if len(response) != 2:
            raise _malformed("it grants a stamp and sends none")
        return store_token(response[1], trusted)
    except IndexError as error:
        raise _malformed("a part is missing") from error


def _refuse_ungranted(info: Sequence["_Ber"]) -> None:
    """Raise Unavailable unless the PKIStatusInfo says that a stamp was granted."""
    status = int.from_bytes(info[0].expect(INTEGER).content[:4])
    if status <= 1:
        return
    reasons = [_STATUS[status] if status < len(_STATUS) else f"status {status}"]
    for part in info[1:]:
        if part.tag == SEQUENCE:
            reasons += [repr(text.content[:200].decode("utf-8", "replace")) for text in part.children()[:3]]
        else:
            reasons += [_FAILURES.get(bit, f"failure {bit}") for bit in _bits(part.content[1:5])]
    raise Unavailable("timestamp_unavailable", f"does not stamp: {', '.join(reasons)}")


def _bits(content: bytes) -> Iterator[int]:
    return (at for at in range(8 * len(content)) if content[at // 8] & 0x80 >> at % 8)


def store_token(received: "_Ber", trusted: TrustedAuthority) -> bytes:
    """Return a received TimeStampToken in the profile of docs/formats.md, with the certificates of ``trusted``.

    TSTInfo, signed attributes and signature stay as they were sent; every other part is written anew.
    """
    content_info = received.children()
    if content_info[0].raw != format_oid(SIGNED_DATA):
        raise _malformed("not signed data")
    fields = content_info[1].children()[0].expect(SEQUENCE).children()
    encapsulated = fields[2].expect(SEQUENCE).children()
    if encapsulated[0].raw != format_oid(TST_INFO):
        raise _malformed("it carries no time")
    info = encapsulated[1].children()[0].octets()
    signers = fields[-1].expect(SET).children()
    if len(signers) != 1:
        raise _malformed("there must be exactly one signer")
    signer = signers[0].children()
    attributes = signer[3].expect(context(0))
    signed_attributes = format_der(SET, attributes.content)
    try:
        digests = read_attributes(parse_der(signed_attributes, SET)).get(MESSAGE_DIGEST, ())
        hash_name = hash_of_size(len(digests[0].content))
    except (ObjectionError, IndexError) as error:
        raise _malformed(f"its signed attributes are not in DER, or sign no digest: {error}") from error
    return format_cms(
        content_type=TST_INFO,
        content=info,
        certificates=trusted.chain.certificates,
        signed_attributes=signed_attributes,
        hash_name=hash_name,
        scheme=scheme_of(trusted.chain.keys[0]),
        signature=signer[5].octets(),
    )


@dataclass(frozen=True)
class _Ber:
    """One value in BER. ``content``: without an end mark. ``end``: where the value behind it begins."""

    tag: int
    content: bytes
    raw: bytes
    end: int
    depth: int

    @classmethod
    def whole(cls, raw: bytes) -> "_Ber":
        value = cls.at(raw, 0, 0)
        if value.end != len(raw):
            raise _malformed("something follows the answer")
        return value

    @classmethod
    def at(cls, data: bytes, start: int, depth: int) -> "_Ber":
        if depth > _MAX_DEPTH:
            raise _malformed("nested too deeply")
        tag, length, at = data[start], data[start + 1], start + 2
        if tag & 0x1F == 0x1F:
            raise _malformed("a tag number beyond 30")
        if length == 0x80 and tag & 0x20:
            end = _end_of_indefinite(data, at)
            return cls(tag, data[at : end - 2], data[start:end], end, depth)
        if length & 0x80:
            size = length & 0x7F
            if not 1 <= size <= 8 or at + size > len(data):
                raise _malformed("a bad length")
            length, at = int.from_bytes(data[at : at + size]), at + size
        if at + length > len(data):
            raise _malformed("it ends too early")
        return cls(tag, data[at : at + length], data[start : at + length], at + length, depth)

    def children(self) -> Sequence["_Ber"]:
        if not self.tag & 0x20:
            raise _malformed("a constructed value is missing")
        found: list[_Ber] = []
        at = 0
        while at < len(self.content):
            found.append(_Ber.at(self.content, at, self.depth + 1))
            at = found[-1].end
        return found

    def octets(self) -> bytes:
        """Return the bytes of an OCTET STRING, which BER may send in pieces."""
        if self.tag == OCTET_STRING:
            return self.content
        return b"".join(piece.octets() for piece in self.expect(OCTET_STRING | 0x20).children())

    def expect(self, tag: int) -> "_Ber":
        if self.tag != tag:
            raise _malformed(f"expected tag {tag:x}, found {self.tag:x}")
        return self


def _end_of_indefinite(data: bytes, at: int) -> int:
    """Return where a value of indefinite length ends whose content begins at ``at``, its end mark included."""
    open_values = 1
    while open_values:
        tag, length = data[at], data[at + 1]
        at += 2
        if (tag, length) == (0, 0):
            open_values -= 1
        elif tag & 0x1F == 0x1F:
            raise _malformed("a tag number beyond 30")
        elif length == 0x80 and tag & 0x20:
            open_values += 1
        elif length & 0x80:
            size = length & 0x7F
            at += size + int.from_bytes(data[at : at + size])
        else:
            at += length
    return at


def _malformed(message: str) -> ParseError:
    return ParseError("timestamp_malformed", message)
