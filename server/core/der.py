"""ASN.1 in DER (X.690), strictly: one value has one encoding.

This module reads the structures of time tokens, certificates and CMS signatures one level at a time. The caller says
what must come next, so hostile nesting leads nowhere. ``extension/src/core/der.ts`` is its twin: both refuse the same.
All functions that read raise ParseError ``der_malformed``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from server.errors import ParseError

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
UTC_TIME, GENERALIZED_TIME, SEQUENCE, SET = 0x17, 0x18, 0x30, 0x31
_PRINTED = {0x0C, 0x13, 0x14, 0x16}  # UTF8String, PrintableString, TeletexString, IA5String
_MAX_ITEMS = 1000
_MAX_OID_BYTES = 64
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_TIME = re.compile(rb"([0-9]{4})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})(?:\.[0-9]{1,9})?Z")
_SHORT_TIME = re.compile(rb"[0-9]{12}Z")
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class Der:
    """One value. ``raw``: with its tag and length, as hashes and signatures cover it."""

    tag: int
    content: bytes
    raw: bytes


def context(number: int, *, primitive: bool = False) -> int:
    """Return the context-specific tag ``[number]``, constructed unless said otherwise."""
    return (0x80 if primitive else 0xA0) | number


def parse_der(raw: bytes, tag: int | None = None) -> Der:
    """Return the one value that ``raw`` is."""
    value = _value_at(raw, 0)
    if len(value.raw) != len(raw):
        raise malformed("something follows the value")
    return value if tag is None else expect_tag(value, tag)


class Members:
    """The members of a constructed value, at most 1000; each is taken in its turn. Nobody has read what they hold."""

    def __init__(self, parent: Der, tag: int | None = None) -> None:
        if tag is not None:
            expect_tag(parent, tag)
        if not parent.tag & 0x20:
            raise malformed("a constructed value is missing")
        self._items: list[Der] = []
        self._next = at = 0
        while at < len(parent.content):
            item = _value_at(parent.content, at)
            self._items.append(item)
            if len(self._items) > _MAX_ITEMS:
                raise malformed("too many members")
            at += len(item.raw)

    def take(self, tag: int | None = None) -> Der:
        if self._next == len(self._items):
            raise malformed("a member is missing")
        item = self._items[self._next]
        self._next += 1
        return item if tag is None else expect_tag(item, tag)

    def take_if(self, tag: int) -> Der | None:
        if self._next == len(self._items) or self._items[self._next].tag != tag:
            return None
        self._next += 1
        return self._items[self._next - 1]

    def rest(self) -> Sequence[Der]:
        items, self._next = self._items[self._next :], len(self._items)
        return items

    def end(self) -> None:
        if self._next < len(self._items):
            raise malformed("a member too many")


def expect_tag(value: Der, tag: int) -> Der:
    if value.tag != tag:
        raise malformed(f"expected tag {tag:x}, found {value.tag:x}")
    return value


def parse_oid(value: Der) -> str:
    """Return an object identifier in dots."""
    content = expect_tag(value, OID).content
    if not 0 < len(content) <= _MAX_OID_BYTES or content[-1] & 0x80:
        raise malformed("a bad identifier")
    arcs: list[int] = []
    arc, fresh = 0, True
    for byte in content:
        if fresh and byte == 0x80:
            raise malformed("an identifier is padded")
        arc, fresh = arc << 7 | byte & 0x7F, not byte & 0x80
        if not fresh:
            continue
        if arcs:
            arcs.append(arc)
        else:
            first = arc // 40 if arc < 80 else 2
            arcs += [first, arc - first * 40]
        arc = 0
    return ".".join(map(str, arcs))


def parse_unsigned(value: Der) -> bytes:
    """Return a non-negative integer's bytes without a leading zero."""
    content = expect_tag(value, INTEGER).content
    if not content or content[0] & 0x80:
        raise malformed("not a non-negative integer")
    if len(content) > 1 and content[0] == 0 and not content[1] & 0x80:
        raise malformed("an integer is padded")
    return content[1:] if content[0] == 0 else content


def parse_small_integer(value: Der) -> int:
    raw = parse_unsigned(value)
    if len(raw) > 4:
        raise malformed("an integer is too large")
    return int.from_bytes(raw)


def parse_boolean(value: Der) -> bool:
    content = expect_tag(value, BOOLEAN).content
    if content not in (b"\x00", b"\xff"):
        raise malformed("a bad boolean")
    return content == b"\xff"


def parse_bit_string(value: Der) -> bytes:
    """Return the bytes of a BIT STRING that has whole bytes."""
    content = expect_tag(value, BIT_STRING).content
    if content[:1] != b"\x00":
        raise malformed("a bit string has loose bits")
    return content[1:]


def parse_time(value: Der) -> int:
    """Return a UTCTime or GeneralizedTime in UTC as seconds since 1970; fractions are cut off."""
    text = value.content
    if value.tag == UTC_TIME and _SHORT_TIME.fullmatch(text):
        text = (b"20" if text < b"50" else b"19") + text  # RFC 5280: two digits mean 1950 to 2049
    elif value.tag != GENERALIZED_TIME:
        raise malformed("not a time in UTC")
    found = _TIME.fullmatch(text)
    if not found:
        raise malformed("not a time in UTC")
    year, month, day, hour, minute, second = map(int, found.groups())
    if not 1 <= month <= 12 or not 1 <= day <= _days_in(year, month) or hour > 23 or minute > 59 or second > 59:
        raise malformed("no such time")
    return ((_days_before(year, month) + day - 1) * 24 + hour) * 3600 + minute * 60 + second


def readable_string(value: Der) -> str | None:
    """Return a string of one of the common types, for people to read. Never compare with it."""
    if value.tag not in _PRINTED:
        return None
    return _CONTROL.sub("\ufffd", value.content.decode("utf-8", "replace"))


def format_der(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def malformed(message: str) -> ParseError:
    return ParseError("der_malformed", message)


def _value_at(raw: bytes, at: int) -> Der:
    if at + 2 > len(raw):
        raise malformed("it ends too early")
    tag, length, start = raw[at], raw[at + 1], at + 2
    if tag & 0x1F == 0x1F:
        raise malformed("a tag number beyond 30")
    if length & 0x80:
        size = length & 0x7F
        digits = raw[start : start + size]
        # No indefinite lengths, no padded ones.
        if not 1 <= size <= 4 or len(digits) != size or digits[0] == 0:
            raise malformed("a bad length")
        length = int.from_bytes(digits)
        if length < 0x80:
            raise malformed("a length is padded")
        start += size
    end = start + length
    if end > len(raw):
        raise malformed("it ends too early")
    return Der(tag, raw[start:end], raw[at:end])


def _days_in(year: int, month: int) -> int:
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 29 if leap and month == 2 else _DAYS[month - 1]


def _days_before(year: int, month: int) -> int:
    """Return the days from 1970 to the first of the month, by the Gregorian calendar at all times."""
    before = year - 1
    leap_days = before // 4 - before // 100 + before // 400
    return before * 365 + leap_days - 719_162 + sum(_days_in(year, earlier) for earlier in range(1, month))
