"""Meta's own signature under a mail (DKIM, RFC 6376): looked at when a mail arrives, and again, offline, ever after.

dkimpy does the canonical forms and the RSA; what a signature must cover to mean anything is decided here. dkimpy works
in quadratic time on what nobody sends, so the shape of a mail is bounded first.
"""

import json
import re
import time
import unicodedata
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.errors import HeaderParseError, MessageError
from email.header import decode_header, make_header
from email.policy import compat32
from email.utils import getaddresses, parsedate_to_datetime
from functools import cache
from importlib.resources import files as resources

import dkim
import dns.exception
import dns.resolver
from dkim.util import InvalidTagValueList, parse_tag_value

from server.core.encoding import JsonObject, sha256
from server.errors import Unavailable, VerificationError

NOT_KNOWN = "none"
_MAX_BYTES = 1_048_576
_MAX_HEAD_BYTES = 131_072
_MAX_HEADER_LINES = 2_000
_MAX_SIGNATURES = 8
_MAX_SIGNATURE_BYTES = 4_096
_MAX_SUBJECT = 998
_MAX_TIME = 253402300799
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_LONG_SPACE = re.compile(rb"[ \t]{201}")
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})+")
_SELECTOR = re.compile(r"[A-Za-z0-9._-]{1,253}")
_DECIMAL = re.compile(rb"[0-9]{1,12}")
_SIGNED = {b"from", b"subject", b"date"}
_REQUIRED_TAGS = {b"v", b"a", b"b", b"bh", b"d", b"h", b"s"}
# What dkimpy and the standard library raise over hostile bytes, beside their own errors.
_UNREADABLE = (
    *(dkim.DKIMException, InvalidTagValueList, MessageError, HeaderParseError),
    *(ValueError, TypeError, KeyError, IndexError, LookupError, OverflowError, AttributeError, RecursionError),
)

FetchKey = Callable[[str, float], bytes | None]  # given a name, and how many seconds are left


@dataclass(frozen=True)
class MailFinding:
    """A mail whose signature by ``domain`` held. ``key_record``: the DNS TXT record; times in seconds, if told.

    ``known``: the id of a known mail of Meta's, or ``none``.
    """

    domain: str
    selector: str
    signed_at: int | None
    from_domain: str
    subject: str
    date: int | None
    key_record: bytes
    known: str

    def as_json(self) -> JsonObject:
        """Return the finding as an acknowledgement carries it (docs/formats.md)."""
        told = {"signed_at": self.signed_at, "date": self.date}
        return {
            "domain": self.domain,
            "selector": self.selector,
            "from": self.from_domain,
            "subject": self.subject,
            "key_sha256": sha256(self.key_record).hex(),
            "known": self.known,
        } | {name: value for name, value in told.items() if value is not None}


def check_mail(
    raw: bytes, *, domains: Collection[str], fetch_key: FetchKey, now: int, timeout_s: float
) -> MailFinding | None:
    """Return what a signature by one of ``domains`` under the mail says, or None where none holds now.

    Counts only a signature by the domain in From, or one above it. ``fetch_key`` returns a TXT record, or None where
    there is none. Raises Unavailable ``dns_unavailable``, as it does, when the DNS does not answer: no other signature
    is looked at then, and ``timeout_s`` is for all of them.
    """
    deadline = time.monotonic() + timeout_s
    try:
        mail = _parse(raw)
        candidates = list(_candidates(mail, domains, now))
    except (VerificationError, *_UNREADABLE):
        return None
    for signature in candidates:
        try:
            key_record = fetch_key(f"{signature.selector}._domainkey.{signature.domain}", deadline - time.monotonic())
            if key_record is None or _is_for_tests(key_record):
                continue
            recheck_mail(raw, key_record=key_record, domain=signature.domain, selector=signature.selector)
            return _finding(mail, signature, key_record)
        except (VerificationError, *_UNREADABLE):
            continue
    return None


def recheck_mail(raw: bytes, *, key_record: bytes, domain: str, selector: str) -> None:
    """Raise VerificationError ``dkim_mismatch`` unless ``domain`` signed the mail with the key in ``key_record``.

    Offline, and at any time: whether the signature had expired, and whose domain it is, was asked on receipt.
    """
    try:
        mail = _parse(raw)
        signatures = [each for each in mail.signatures if (each.domain, each.selector) == (domain, selector)]
        if len(signatures) == 1 and _holds(mail, signatures[0], key_record):
            return
    except _UNREADABLE as error:
        raise VerificationError(
            "dkim_mismatch", "the signature under the mail does not hold, or cannot be read"
        ) from error
    raise VerificationError("dkim_mismatch", f"the signature of {domain} under the mail does not hold")


def resolver(servers: Collection[str]) -> FetchKey:
    """Return what asks the DNS for a TXT record: at ``servers`` (address or address:port), or the system's."""
    found = dns.resolver.Resolver(configure=not servers)
    if servers:
        found.nameservers = [_nameserver(server) for server in servers]

    def fetch(name: str, timeout_s: float) -> bytes | None:
        try:
            answer = found.resolve(f"{name}.", "TXT", search=False, lifetime=timeout_s)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return None
        except (dns.exception.DNSException, OSError) as error:
            raise Unavailable("dns_unavailable", "the DNS does not answer") from error
        records = [b"".join(record.strings) for record in answer]
        return records[0] if len(records) == 1 else None

    return fetch


def _nameserver(server: str) -> dns.nameserver.Do53Nameserver:
    address, _, port = server.partition(":")
    return dns.nameserver.Do53Nameserver(address, int(port or 53))


@dataclass(frozen=True)
class _Signature:
    tags: dict[bytes, bytes]
    header: tuple[bytes, bytes]
    domain: str
    selector: str


@dataclass(frozen=True)
class _Mail:
    raw: bytes
    reader: dkim.DKIM
    signatures: tuple[_Signature, ...]


def _parse(raw: bytes) -> _Mail:
    """Read what both we and every mail program read in one way only. Raises VerificationError ``dkim_mismatch``."""
    end = _HEAD_END.search(raw, 0, _MAX_HEAD_BYTES)
    if end is None or len(raw) > _MAX_BYTES or raw.count(b"\n", 0, end.start()) > _MAX_HEADER_LINES:
        raise _refused("the mail is too large, or has no end of its headers")
    if _LONG_SPACE.search(raw) or b"\r" in raw.replace(b"\r\n", b""):
        raise _refused("the mail has lines that no mail server writes")
    reader = dkim.DKIM(raw)
    names = [name.lower() for name, _ in reader.headers]
    if any(names.count(name) != 1 for name in _SIGNED):
        raise _refused("From, Subject and Date must each stand there once")
    headers = [(name, value) for name, value in reader.headers if name.lower() == b"dkim-signature"]
    if len(headers) > _MAX_SIGNATURES:
        raise _refused("too many signatures")
    return _Mail(raw, reader, tuple(filter(None, map(_parse_signature, headers))))


def _parse_signature(header: tuple[bytes, bytes]) -> _Signature | None:
    """Return a signature that covers the whole mail; None for one that means less, or cannot be read."""
    if len(header[1]) > _MAX_SIGNATURE_BYTES:  # dkimpy looks for b= in quadratic time
        return None
    try:
        tags = parse_tag_value(header[1])
        domain, selector = tags[b"d"].decode("ascii").lower(), tags[b"s"].decode("ascii")
    except (InvalidTagValueList, KeyError, UnicodeDecodeError):
        return None
    covers = {name.strip().lower() for name in tags.get(b"h", b"").split(b":")}
    identity = tags.get(b"i", b"@" + tags[b"d"]).lower().rpartition(b"@")[2].decode("ascii", "replace")
    fits = (
        tags.keys() >= _REQUIRED_TAGS
        and b"l" not in tags  # what stands behind the signed part of a body could be anything
        and (tags[b"v"], tags[b"a"]) == (b"1", b"rsa-sha256")
        and tags.get(b"q", b"dns/txt") == b"dns/txt"
        and covers >= _SIGNED
        and _DOMAIN.fullmatch(domain)
        and _SELECTOR.fullmatch(selector)
        and _is_under(identity, domain)
        and all(_is_base64(tags[name]) for name in (b"b", b"bh"))
    )
    return _Signature(tags, header, domain, selector) if fits else None


def _is_base64(text: bytes) -> bool:
    """Tell whether ``text`` is base64 but for white space. dkimpy skips what is not, and so reads two texts as one."""
    return _BASE64.fullmatch(b"".join(text.split())) is not None


def _holds(mail: _Mail, signature: _Signature, key_record: bytes) -> bool:
    included = [name.strip().lower() for name in signature.tags[b"h"].split(b":")]
    if not _is_base64(parse_tag_value(key_record).get(b"p", b"")):
        return False
    # Not ``verify``: it asks this machine's clock whether the signature has expired.
    return bool(mail.reader.verify_sig(signature.tags, included, signature.header, lambda _name, timeout=5: key_record))


def _candidates(mail: _Mail, domains: Collection[str], now: int) -> Iterator[_Signature]:
    sender = _from_domain(mail)
    if not any(_is_under(sender, domain) for domain in domains):
        return
    for signature in mail.signatures:
        expired = (_seconds(signature.tags.get(b"x")) or now) < now
        if _is_under(sender, signature.domain) and not expired and _is_listed(signature.domain, domains):
            yield signature


def _is_listed(domain: str, domains: Collection[str]) -> bool:
    return any(_is_under(domain, listed) for listed in domains)


def _is_under(domain: str, other: str) -> bool:
    return domain == other or domain.endswith(f".{other}")


def _is_for_tests(key_record: bytes) -> bool:
    flags = parse_tag_value(key_record).get(b"t", b"")
    return b"y" in [flag.strip() for flag in flags.split(b":")]


def _finding(mail: _Mail, signature: _Signature, key_record: bytes) -> MailFinding:
    subject, date = _subject(mail), _date(mail)
    return MailFinding(
        domain=signature.domain,
        selector=signature.selector,
        signed_at=_seconds(signature.tags.get(b"t")),
        from_domain=_from_domain(mail),
        subject=subject,
        date=date,
        key_record=key_record,
        known=_known_as(subject, date),
    )


def _header(mail: _Mail, name: str) -> str:
    return str(message_from_bytes(mail.raw, policy=compat32)[name])


def _from_domain(mail: _Mail) -> str:
    """Return the domain of the one address in From. Raises VerificationError when there is not exactly one."""
    addresses = getaddresses([_header(mail, "From")])
    domain = addresses[0][1].rpartition("@")[2].lower() if len(addresses) == 1 else ""
    if not _DOMAIN.fullmatch(domain):
        raise _refused("From does not name exactly one address")
    return domain


def _subject(mail: _Mail) -> str:
    text = str(make_header(decode_header(_header(mail, "Subject"))))
    return "".join(char if char.isprintable() else " " for char in text)[:_MAX_SUBJECT].strip()


def _date(mail: _Mail) -> int | None:
    try:
        seconds = int(parsedate_to_datetime(_header(mail, "Date")).timestamp())
    except _UNREADABLE:
        return None
    return seconds if 0 <= seconds <= _MAX_TIME else None


def _seconds(tag: bytes | None) -> int | None:
    if tag is None or not _DECIMAL.fullmatch(tag):
        return None
    return min(int(tag), _MAX_TIME)


@cache
def _known_mails() -> list[JsonObject]:
    listed: list[JsonObject] = json.loads((resources("server.outside") / "known-mails.json").read_text("utf-8"))
    return listed


def _known_as(subject: str, date: int | None) -> str:
    day = "" if date is None else datetime.fromtimestamp(date, UTC).date().isoformat()
    for known in _known_mails():
        if known["from"] <= day <= known["until"] and _plain(subject) in map(_plain, known["subjects"]):
            return str(known["id"])
    return NOT_KNOWN


def _plain(text: str) -> str:
    """Return ``text`` without what mail programs change: case, spaces, kinds of apostrophe."""
    return " ".join(unicodedata.normalize("NFKC", text).replace("’", "'").casefold().split())


def _refused(why: str) -> VerificationError:
    return VerificationError("dkim_mismatch", why)
