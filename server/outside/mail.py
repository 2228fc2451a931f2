"""Whether a mail is Meta's: its signature (DKIM), by a key that the DNS has now, of a domain that the operator lists.

``server/core/mails.py`` reads signatures; here is what only a register can tell, and only when a mail arrives.
"""

import re
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email import message_from_bytes
from email.errors import HeaderParseError, MessageError
from email.header import decode_header, make_header
from email.policy import compat32
from email.utils import getaddresses, parsedate_to_datetime

import dns.exception
import dns.resolver

from schemas.vocabulary import UNKNOWN_MAIL
from server.core.encoding import JsonObject, sha256
from server.core.mails import MailSignature, judge_signature, read_mail
from server.errors import Unavailable
from server.outside.known_mails import KnownMail, find_known

NOT_KNOWN = "none"
_MAX_SUBJECT = 998
_MAX_TIME = 253402300799
_MAX_CACHED = 256
_MAX_RECORDS = 8  # under one name: there should be one
_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})+")
# The most telling first: of several signatures, a mail has the finding that says the most about Meta.
_BY_WORTH = (
    *("signed", "unchecked", "body-changed", "signature-mismatch", "expired", "test-key", "key-unusable", "key-gone"),
    *("not-covered", "sender-mismatch", "domain-not-listed"),
)
# What the standard library raises over hostile headers, beside its own errors.
_UNREADABLE: tuple[type[Exception], ...] = (
    *(MessageError, HeaderParseError, ValueError, TypeError, KeyError, IndexError, LookupError, OverflowError),
    *(AttributeError, RecursionError),
)

FetchKeys = Callable[[str, float], Sequence[bytes]]  # given a name, and how many seconds are left: its TXT records


@dataclass(frozen=True)
class MailFinding:
    """What a register found of a mail. ``claims``: as an acknowledgement carries it (docs/formats.md).

    ``key_record``: the DNS TXT record by which a signature was judged.
    """

    claims: JsonObject
    key_record: bytes | None = None

    @property
    def finding(self) -> str:
        return str(self.claims["finding"])

    @property
    def domain(self) -> str:
        """The domain of the signature that the finding is about; empty where there is none."""
        return str(self.claims.get("domain", ""))


def check_mails(
    mails: Sequence[bytes],
    *,
    domains: Collection[str],
    known: Sequence[KnownMail],
    fetch_keys: FetchKeys,
    now: int,
    timeout_s: float,
) -> list[MailFinding]:
    """Return the finding about each mail. Only a signature by the domain in From, or one above it, counts.

    ``fetch_keys`` raises Unavailable when the DNS does not answer; each name is asked once. ``timeout_s`` is for all
    mails together. The finding is ``unchecked`` where a signature might hold, and nobody could look.
    """
    asked = _Asked(fetch_keys, time.monotonic() + timeout_s)
    return [_check(raw, domains, known, asked, now) for raw in mails]


def resolver(servers: Collection[str]) -> FetchKeys:
    """Return what asks the DNS for TXT records: at ``servers`` (address or address:port), or the system's."""
    found = dns.resolver.Resolver(configure=not servers)
    if servers:
        found.nameservers = [_nameserver(server) for server in servers]
    # A slow DNS gets further with each try of the same supplement.
    found.cache = _FoundKeys(_MAX_CACHED)

    def fetch(name: str, timeout_s: float) -> Sequence[bytes]:
        try:
            answer = found.resolve(f"{name}.", "TXT", search=False, lifetime=timeout_s)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise Unavailable("dns_unavailable", "the DNS does not answer") from error
        return [b"".join(record.strings) for record in answer]

    return fetch


class _FoundKeys(dns.resolver.LRUCache):
    """Keeps keys for as long as the DNS says; that a key is missing, it does not keep."""

    def put(self, key: dns.resolver.CacheKey, value: dns.resolver.Answer) -> None:
        if value.rrset is not None:
            super().put(key, value)


def _nameserver(server: str) -> dns.nameserver.Do53Nameserver:
    address, _, port = server.partition(":")
    return dns.nameserver.Do53Nameserver(address, int(port or 53))


class _Asked:
    """The keys that were asked for, each name once; None where the DNS did not answer in time."""

    def __init__(self, fetch_keys: FetchKeys, deadline: float) -> None:
        self._fetch_keys = fetch_keys
        self._deadline = deadline
        self._answers: dict[str, Sequence[bytes] | None] = {}

    def keys(self, signature: MailSignature) -> Sequence[bytes] | None:
        name = f"{signature.selector}._domainkey.{signature.domain}"
        if name not in self._answers:
            self._answers[name] = self._ask(name)
        return self._answers[name]

    def _ask(self, name: str) -> Sequence[bytes] | None:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            return None
        try:
            return self._fetch_keys(name, left_s)
        except Unavailable:
            return None


def _check(raw: bytes, domains: Collection[str], known: Sequence[KnownMail], asked: _Asked, now: int) -> MailFinding:
    mail = read_mail(raw)
    if mail is None:
        return MailFinding({"finding": "unreadable"})
    if not mail.signatures:
        return MailFinding({"finding": "signature-refused" if mail.has_signature else "unsigned"})
    sender = _from_domain(raw)
    found: dict[str, MailFinding] = {}
    for signature in mail.signatures:
        finding, key_record = _judge(signature, sender, domains, asked, now)
        claims = {"finding": finding, "domain": signature.domain, "selector": signature.selector}
        if key_record is not None:
            claims |= {"key_sha256": sha256(key_record).hex()}
        if finding == "signed":
            claims |= _told(raw, signature, sender, known)
        found.setdefault(finding, MailFinding(claims, key_record))
    return next(found[finding] for finding in _BY_WORTH if finding in found)


def _judge(
    signature: MailSignature, sender: str, domains: Collection[str], asked: _Asked, now: int
) -> tuple[str, bytes | None]:
    """Return the finding about one signature, with the key record that it was made by."""
    if not any(_is_under(signature.domain, listed) for listed in domains):
        return "domain-not-listed", None
    if not _is_under(sender, signature.domain):
        return "sender-mismatch", None
    if signature.finding is not None:
        return signature.finding, None
    if signature.expires_at is not None and signature.expires_at < now:
        return "expired", None
    records = asked.keys(signature)
    if records is None:
        return "unchecked", None
    judged = {judge_signature(signature, record): record for record in reversed(records[:_MAX_RECORDS]) if record}
    finding = next((finding for finding in _BY_WORTH if finding in judged), "key-gone")
    return finding, None if finding == "key-gone" else judged[finding]


def _is_under(domain: str, other: str) -> bool:
    return domain == other or domain.endswith(f".{other}")


def _told(raw: bytes, signature: MailSignature, sender: str, known: Sequence[KnownMail]) -> JsonObject:
    """Return what a mail says that Meta signed, and which of the known mails it is."""
    subject, date = _subject(raw), _date(raw)
    times = {"signed_at": signature.signed_at, "date": date}
    mail = find_known(known, subject=subject, date=date)
    return {
        "from": sender,
        "subject": subject,
        "known": NOT_KNOWN if mail is None else mail.id,
        "kind": UNKNOWN_MAIL if mail is None else mail.kind,
    } | {name: value for name, value in times.items() if value is not None}


def _header(raw: bytes, name: str) -> str:
    return str(message_from_bytes(raw, policy=compat32)[name])


def _from_domain(raw: bytes) -> str:
    """Return the domain of the one address in From; empty when there is not exactly one."""
    try:
        addresses = getaddresses([_header(raw, "From")])
    except _UNREADABLE:
        return ""
    domain = addresses[0][1].rpartition("@")[2].lower() if len(addresses) == 1 else ""
    return domain if _DOMAIN.fullmatch(domain) else ""


def _subject(raw: bytes) -> str:
    text = _header(raw, "Subject")
    with suppress(*_UNREADABLE):  # else as it stands there
        text = str(make_header(decode_header(text)))
    return "".join(char if char.isprintable() else " " for char in text)[:_MAX_SUBJECT].strip()


def _date(raw: bytes) -> int | None:
    try:
        seconds = int(parsedate_to_datetime(_header(raw, "Date")).timestamp())
    except _UNREADABLE:
        return None
    return seconds if 0 <= seconds <= _MAX_TIME else None
