"""The signature under a mail (DKIM, RFC 6376), read with the key record alone: offline, and at any time.

docs/formats.md has the profile. ``extension/src/core/mail.ts`` reads the same mails in the same way.
"""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from schemas.vocabulary import KEYED_FINDINGS, SIGNATURE_FINDINGS
from server.core.encoding import JsonObject
from server.errors import VerificationError

MAIL_TYPE = "message/rfc822"
_MAX_BYTES = 1_048_576
_MAX_HEAD_BYTES = 131_072
_MAX_HEADER_LINES = 2_000
_MAX_SIGNATURES = 8
_MAX_SIGNATURE_BYTES = 4_096
_MAX_RECORD_BYTES = 65_535
_MAX_NAME = 253 - len("._domainkey.")
_KEY_BITS = range(1_024, 8_193)
_MAX_TIME = 253402300799
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_LINE_END = re.compile(rb"\r?\n")
_SPACES = re.compile(rb"[\t ]+")
_LONG_SPACE = re.compile(rb"[ \t]{201}")
_HEADER = re.compile(rb"([\x21-\x39\x3b-\x7e]+):")
_TAG = re.compile(rb"[a-zA-Z]")
_DECIMAL = re.compile(rb"[0-9]{1,12}")
_DOMAIN = re.compile(rb"[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})+")
_SELECTOR = re.compile(rb"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*")
_FORMS = {b"simple", b"relaxed"}
_SIGNED = {b"from", b"subject", b"date"}
_REQUIRED_TAGS = {b"v", b"a", b"b", b"bh", b"d", b"h", b"s"}

Header = tuple[bytes, bytes]  # name and value as they stand, without the colon; the value ends in CRLF


@dataclass(frozen=True)
class MailSignature:
    """A signature that can be read. ``finding``: what is wrong with it whatever its key; None where the key decides.

    ``identity``: the domain of ``i=``. Times in seconds, where the signature tells them.
    """

    domain: str
    selector: str
    identity: str
    signed_at: int | None
    expires_at: int | None
    finding: str | None
    signed: bytes
    value: bytes


@dataclass(frozen=True)
class ReadMail:
    """``signatures``: those that can be read, in the order of the mail. ``has_signature``: even one that cannot."""

    signatures: tuple[MailSignature, ...]
    has_signature: bool


def read_mail(raw: bytes) -> ReadMail | None:
    """Return what signatures a mail has; None for what mail programs might read in more than one way."""
    parsed = _parse(raw)
    if parsed is None:
        return None
    headers, body = parsed
    own = [header for header in headers if header[0].lower() == b"dkim-signature"]
    if len(own) > _MAX_SIGNATURES:
        return None
    bodies = {form: hashlib.sha256(_canonical_body(body, form)).digest() for form in _FORMS} if own else {}
    return ReadMail(tuple(_signatures(headers, own, bodies)), has_signature=bool(own))


def judge_signature(signature: MailSignature, key_record: bytes) -> str:  # noqa: PLR0911 (one a finding)
    """Return the finding about ``signature`` by the TXT record ``key_record``. What has expired since may hold."""
    if signature.finding is not None:
        return signature.finding
    tags = _read_tags(key_record) if len(key_record) <= _MAX_RECORD_BYTES else None
    if tags is None:
        return "key-unusable"
    if tags.get(b"p") == b"":
        return "key-gone"  # revoked: RFC 6376, section 3.6.1
    flags = _listed(tags, b"t", b"")
    key = _public_key(tags)
    if key is None or (b"s" in flags and signature.identity != signature.domain):
        return "key-unusable"
    if b"y" in flags:
        return "test-key"
    try:
        key.verify(signature.value, signature.signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        return "signature-mismatch"
    return "signed"


def recheck_finding(raw: bytes, finding: JsonObject, *, key_record: bytes | None) -> None:
    """Raise VerificationError ``dkim_mismatch`` when the mail itself contradicts an acknowledged ``finding``.

    ``key_record``: for findings that name one. What only the register could see (the DNS, its list, its clock, who
    stands in From) is its word: then the signature must at least stand there. (docs/formats.md.)
    """
    if finding["finding"] not in findings_about(raw, finding, key_record=key_record):
        raise VerificationError("dkim_mismatch", f"the mail is not as the register says: {finding['finding']}")


def findings_about(raw: bytes, finding: JsonObject, *, key_record: bytes | None) -> set[str]:
    """Return every finding that the mail bears out, by what ``finding`` names: domain and selector, if any."""
    mail = read_mail(raw)
    if mail is None:
        return {"unreadable"}
    if not mail.has_signature:
        return {"unsigned"}
    if not mail.signatures:
        return {"signature-refused"}
    wanted = (finding.get("domain"), finding.get("selector"))
    borne_out: set[str] = set()
    for signature in mail.signatures:
        if (signature.domain, signature.selector) != wanted:
            continue
        if finding["finding"] in KEYED_FINDINGS:
            borne_out.add(judge_signature(signature, key_record or b""))
        elif finding["finding"] in {"body-changed", "not-covered"}:
            borne_out.add(signature.finding or "")
        elif finding["finding"] in SIGNATURE_FINDINGS:
            borne_out.add(finding["finding"])
    return borne_out if "signed" not in borne_out else {"signed"}


def _parse(raw: bytes) -> tuple[list[Header], bytes] | None:
    end = _HEAD_END.search(raw, 0, _MAX_HEAD_BYTES)
    if end is None or len(raw) > _MAX_BYTES or raw.count(b"\n", 0, end.start()) > _MAX_HEADER_LINES:
        return None
    if _LONG_SPACE.search(raw) or b"\r" in raw.replace(b"\r\n", b""):
        return None
    lines = _LINE_END.split(raw)
    blank = lines.index(b"")
    headers: list[Header] = []
    for line in lines[:blank]:
        found = _HEADER.match(line)
        if line[:1] in {b" ", b"\t"}:
            if not headers:
                return None
            name, value = headers[-1]
            headers[-1] = (name, value + line + b"\r\n")
        elif found:
            headers.append((found[1], line[found.end() :] + b"\r\n"))
        elif not line.startswith(b"From "):  # a mailbox file has such a line before each mail
            return None
    names = [name.lower() for name, _ in headers]
    if any(names.count(name) != 1 for name in _SIGNED):
        return None
    return headers, b"\r\n".join(lines[blank + 1 :])


def _signatures(headers: list[Header], own: list[Header], bodies: Mapping[bytes, bytes]) -> Iterator[MailSignature]:
    for header in own:
        tags = _read_tags(header[1]) if len(header[1]) <= _MAX_SIGNATURE_BYTES else None
        if tags is None or not tags.keys() >= _REQUIRED_TAGS:
            continue
        domain, selector = tags[b"d"].lower(), tags[b"s"]
        identity = tags.get(b"i", b"@" + domain).lower().rpartition(b"@")[2]
        forms = tags.get(b"c", b"simple").split(b"/")
        header_form, body_form = (*forms, b"simple")[:2]
        value, body_hash = _base64(tags[b"b"]), _base64(tags[b"bh"])
        if (
            (tags[b"v"], tags[b"a"]) != (b"1", b"rsa-sha256")
            or tags.get(b"q", b"dns/txt") != b"dns/txt"
            or not (_DOMAIN.fullmatch(domain) and _SELECTOR.fullmatch(selector))
            or len(domain) + len(selector) > _MAX_NAME
            or not (identity == domain or (identity.endswith(b"." + domain) and _DOMAIN.fullmatch(identity)))
            or len(forms) > 2
            or not {header_form, body_form} <= _FORMS
            or not value
            or len(body_hash or b"") != SHA256.digest_size
        ):
            continue
        finding = None
        # What stands behind the signed part of a body could be anything: no l=.
        if not set(_listed(tags, b"h", b"")) >= _SIGNED or b"l" in tags:
            finding = "not-covered"
        elif body_hash != bodies[body_form]:
            finding = "body-changed"
        yield MailSignature(
            domain=domain.decode("ascii"),
            selector=selector.decode("ascii"),
            identity=identity.decode("ascii"),
            signed_at=_seconds(tags.get(b"t")),
            expires_at=_seconds(tags.get(b"x")),
            finding=finding,
            signed=_signed_headers(headers, header, tags, relaxed=header_form == b"relaxed"),
            value=value,
        )


def _read_tags(text: bytes) -> dict[bytes, bytes] | None:
    """Read ``tag=value; …``. None when a tag stands twice, or what is there is no list of tags."""
    specs = text.strip().split(b";")
    if not specs[-1]:
        specs.pop()
    tags: dict[bytes, bytes] = {}
    for spec in specs:
        name, equals, value = spec.partition(b"=")
        name = name.strip()
        if not equals or not _TAG.match(name) or name in tags:
            return None
        tags[name] = value.strip()
    return tags


def _listed(tags: Mapping[bytes, bytes], tag: bytes, default: bytes) -> list[bytes]:
    return [name.strip().lower() for name in tags.get(tag, default).split(b":")]


def _signed_headers(headers: list[Header], own: Header, tags: Mapping[bytes, bytes], *, relaxed: bool) -> bytes:
    """Return the bytes under the signature: the headers it names, each from the bottom up, then itself without b=."""
    left: dict[bytes, list[Header]] = {}
    for header in headers:
        left.setdefault(header[0].lower(), []).append(header)
    signed = []
    for name in _listed(tags, b"h", b""):
        if left.get(name):
            signed.append(b":".join(_canonical_header(left[name].pop(), relaxed=relaxed)))
    specs = b";".join(map(_without_signature, own[1].split(b";")))
    name, value = _canonical_header((own[0], specs), relaxed=relaxed)
    return b"".join(signed) + name + b":" + value.rstrip()


def _without_signature(spec: bytes) -> bytes:
    """Return a tag as it stood before signing: ``b=`` was empty."""
    name, equals, _ = spec.partition(b"=")
    return name + equals if equals and name.strip() == b"b" else spec


def _canonical_header(header: Header, *, relaxed: bool) -> Header:
    name, value = header
    if not relaxed:
        return header
    return name.lower(), _SPACES.sub(b" ", value.replace(b"\r\n", b"")).strip() + b"\r\n"


def _canonical_body(body: bytes, form: bytes) -> bytes:
    lines = body.split(b"\r\n")
    if form == b"relaxed":
        lines = [_SPACES.sub(b" ", line) for line in lines]
        # The last line has no end, so that space before it is no space at the end of a line.
        lines = [line.removesuffix(b" ") for line in lines[:-1]] + lines[-1:]
    end = len(lines)
    while end and not lines[end - 1]:
        end -= 1
    if not end:
        return b"" if form == b"relaxed" else b"\r\n"
    return b"\r\n".join(lines[:end]) + b"\r\n"


def _public_key(tags: Mapping[bytes, bytes]) -> RSAPublicKey | None:
    """Return the key of a TXT record if it is for mail, and written as only one key can be."""
    if (tags.get(b"v", b"DKIM1"), tags.get(b"k", b"rsa")) != (b"DKIM1", b"rsa"):
        return None
    if not {b"*", b"email"} & set(_listed(tags, b"s", b"*")) or b"sha256" not in _listed(tags, b"h", b"sha256"):
        return None
    der = _base64(tags.get(b"p", b""))
    try:
        key = load_der_public_key(der or b"")
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    if not isinstance(key, RSAPublicKey):
        return None
    forms = (PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1)
    numbers = key.public_numbers()
    if (
        key.key_size not in _KEY_BITS
        or not numbers.n % 2
        or not numbers.e % 2
        or not 3 <= numbers.e < 2**32
        or der not in [key.public_bytes(Encoding.DER, form) for form in forms]
    ):
        return None
    return key


def _base64(text: bytes) -> bytes | None:
    """Return what ``text`` is the only base64 of, white space apart; None for anything else."""
    digits = b"".join(text.split())
    try:
        data = base64.b64decode(digits, validate=True)
    except ValueError:
        return None
    return data if base64.b64encode(data) == digits else None


def _seconds(tag: bytes | None) -> int | None:
    if tag is None or not _DECIMAL.fullmatch(tag):
        return None
    return min(int(tag), _MAX_TIME)
