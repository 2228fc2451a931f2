"""PDF syntax (ISO 32000-1, clause 7), as much as our own documents use, read strictly and in bounded time.

A general reader repairs, guesses and follows what it finds; two of them can see two different files in the same bytes.
This one accepts only what typst writes and signing.py appends: numbered objects that lie side by side, a table of where
they are, and one update with a table of its own. Every byte belongs to exactly one of these.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from server.errors import ParseError

MAX_DOCUMENT_BYTES = 16_777_216
_MAX_SYNTAX_BYTES = 2_097_152  # all that is not inside a stream: what has to be parsed
_MAX_OBJECTS = 20_000
_MAX_DEPTH = 32

_HEADER = re.compile(rb"%PDF-1\.7\n%[\x80-\xff]{4}\n\n?")
_END = re.compile(rb"startxref\n(0|[1-9][0-9]{0,7})\n%%EOF\n?")
_OBJECT = re.compile(rb"([1-9][0-9]{0,6}) 0 obj\n")
_ENTRIES = re.compile(rb"(0|[1-9][0-9]{0,6}) ([1-9][0-9]{0,6}) ?\r?\n")
_ENTRY = re.compile(rb"([0-9]{10}) ([0-9]{5}) ([nf])(?: \n|\r\n)")
_STREAM_END = re.compile(rb"\n?endstream\nendobj\n+")
_OBJECT_END = re.compile(rb"\nendobj\n+")
_SPACE = re.compile(rb"[\t\n\r ]*")
_TOKEN = re.compile(
    rb"(?P<open><<)|(?P<close>>>)|(?P<list>\[)|(?P<end>\])"
    rb"|/(?P<name>[!-$&'*-.0-;=?-Z\\^-z|~]{0,127})"
    rb"|(?P<ref>[1-9][0-9]{0,6} 0 R\b)|(?P<number>[+-]?(?:[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15}))"
    rb"|<(?P<hex>(?:[0-9A-Fa-f]{2})*)>|(?P<text>\()|(?P<word>true|false|null)"
)
_PARENTHESIS = re.compile(rb"[()\\]")
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|[nrtbf()\\]|\n)")
_ESCAPED = {
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"b": b"\b",
    b"f": b"\f",
    b"(": b"(",
    b")": b")",
    b"\\": b"\\",
    b"\n": b"",
}
_NAME_ESCAPE = re.compile(rb"#([0-9A-Fa-f]{2})")
_WORDS = {b"true": True, b"false": False, b"null": None}


class Name(str):
    """A PDF name, without its slash. Strings are bytes."""

    __slots__ = ()


class Reference(NamedTuple):
    number: int


@dataclass(frozen=True)
class PdfObject:
    """An object, where it lies, and its stream as stored, if it has one."""

    number: int
    start: int
    end: int
    value: Any
    stream: bytes | None


@dataclass(frozen=True)
class Section:
    """What one writer wrote: objects by number, and the trailer."""

    objects: dict[int, PdfObject]
    trailer: dict[str, Any]


def parse_pdf(raw: bytes) -> list[Section]:
    """Return the sections of the file in ``raw``, oldest first; at most three. Safe to call with anything.

    Raises ParseError ``document_malformed``.
    """
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise malformed(f"a document has at most {MAX_DOCUMENT_BYTES} bytes")
    header = _HEADER.match(raw)
    end = _END.search(raw, max(0, len(raw) - 40))
    if header is None or end is None or end.end() != len(raw):
        raise malformed("not a PDF 1.7 such as the register writes")
    tables = [_parse_table(raw, int(end[1]), end.start())]
    while "Prev" in tables[0].trailer and len(tables) < 3:
        start = tables[0].trailer["Prev"]
        if type(start) is not int or not 0 < start < tables[0].start:
            raise malformed("the tables of the file do not lead back to each other")
        tables.insert(0, _parse_table(raw, start, None))
    if "Prev" in tables[0].trailer:
        raise malformed("more than three sections")
    parser = _Parser(raw)
    sections, at = [], header.end()
    for table in tables:
        sections.append(Section(parser.objects(table, at), table.trailer))
        at = table.end
    return sections


@dataclass(frozen=True)
class LastSection:
    """What an update needs to know of the newest section of a file. ``start``: where its table begins."""

    raw: bytes
    offsets: Mapping[int, int]
    start: int
    size: int
    root: Reference
    info: Reference
    identity: bytes

    def read(self, reference: object) -> PdfObject:
        """Return the object that ``reference`` leads to, and its dictionary. Raises ParseError."""
        if not isinstance(reference, Reference) or reference.number not in self.offsets:
            raise malformed("a part of the document leads nowhere")
        item = _Parser(self.raw).object(reference.number, self.offsets[reference.number])
        if not isinstance(item.value, dict):
            raise malformed("a part of the document leads to no dictionary")
        return item


def read_last_section(raw: bytes) -> LastSection:
    """Return what the newest table of the file in ``raw`` says. The file is our own: what lies before is not read.

    Raises ParseError ``document_malformed``.
    """
    end = _END.search(raw, max(0, len(raw) - 40))
    if end is None or end.end() != len(raw):
        raise malformed("not a PDF 1.7 such as the register writes")
    table = _parse_table(raw, int(end[1]), end.start())
    match table.trailer:
        case {"Size": int(size), "Root": Reference() as root, "Info": Reference() as info, "ID": [bytes(identity), *_]}:
            return LastSection(raw, table.offsets, table.start, size, root, info, identity)
    raise malformed("a trailer says more or less than it should")


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every dictionary in ``value``. The parser has bounded how deep it goes."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from walk(item)


def same_value(one: Any, other: Any) -> bool:
    """Tell whether two values are written alike: for Python ``true``, 1 and 1.0 are equal, for no PDF reader."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_value(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    return bool(one == other)


def malformed(message: str) -> ParseError:
    return ParseError("document_malformed", message)


@dataclass(frozen=True)
class _Table:
    """Where a section's objects begin, and where its own parts are: ``start`` of the table, ``end`` of the section."""

    offsets: dict[int, int]
    trailer: dict[str, Any]
    start: int
    end: int


def _parse_table(raw: bytes, start: int, end_mark: int | None) -> _Table:
    """Read the table at ``start``; ``end_mark`` is where its ``startxref`` must be, if that is known."""
    offsets: dict[int, int] = {}
    if raw[start : start + 5] != b"xref\n":
        raise malformed("no table of objects where one is announced")
    at = start + 5
    while (head := _ENTRIES.match(raw, at)) is not None:
        first, count, at = int(head[1]), int(head[2]), head.end()
        if len(offsets) + count > _MAX_OBJECTS:
            raise malformed(f"more than {_MAX_OBJECTS} objects")
        for number in range(first, first + count):
            entry = _ENTRY.match(raw, at)
            if entry is None or (entry[3] == b"f") != (number == 0) or (number and entry[2] != b"00000"):
                raise malformed("a line of the table of objects is not as it should be")
            if number in offsets:
                raise malformed("the table of objects lists one twice")
            if number:
                offsets[number] = int(entry[1])
            at = entry.end()
    if raw[at : at + 8] != b"trailer\n":
        raise malformed("the table of objects has no trailer")
    trailer, at = _Parser(raw).first_value(at + 8)
    end = _END.match(raw, _skip(raw, at))
    if not isinstance(trailer, dict) or end is None or int(end[1]) != start or end_mark not in {None, end.start()}:
        raise malformed("the trailer is not as it should be")
    return _Table(offsets, trailer, start, end.end())


def _skip(raw: bytes, at: int) -> int:
    space = _SPACE.match(raw, at)
    return at if space is None else space.end()


class _Parser:
    """Reads values; ``budget`` bounds how many bytes outside streams all of them may have together."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.budget = _MAX_SYNTAX_BYTES
        self.limit = 0  # where the value that is read now must have ended

    def objects(self, table: _Table, start: int) -> dict[int, PdfObject]:
        """Return the objects of ``table``, which must fill the file from ``start`` to the table without a gap."""
        objects: dict[int, PdfObject] = {}
        at = start
        for number, offset in sorted(table.offsets.items(), key=lambda item: item[1]):
            if offset != at:
                raise malformed("the file has bytes that belong to no object")
            objects[number] = self.object(number, at)
            at = objects[number].end
        if at != table.start:
            raise malformed("the file has bytes that belong to no object")
        return objects

    def object(self, number: int, start: int) -> PdfObject:
        head = _OBJECT.match(self.raw, start)
        if head is None or int(head[1]) != number:
            raise malformed("an object is not where the table says")
        value, at = self.first_value(head.end())
        if end := _OBJECT_END.match(self.raw, at):
            self._spend(end.end() - start)
            return PdfObject(number, start, end.end(), value, None)
        at = _skip(self.raw, at)
        if self.raw[at : at + 7] != b"stream\n" or not isinstance(value, dict):
            raise malformed("an object does not end as it should")
        data, length = at + 7, value.get("Length")
        if type(length) is not int or length < 0:
            raise malformed("a stream does not say how long it is")
        end = _STREAM_END.match(self.raw, data + length)
        if end is None:
            raise malformed("a stream is not as long as it says")
        self._spend(end.end() - start - length)
        return PdfObject(number, start, end.end(), value, self.raw[data : data + length])

    def first_value(self, at: int) -> tuple[Any, int]:
        self.limit = at + self.budget
        return self.value(at, 0)

    def value(self, at: int, depth: int) -> tuple[Any, int]:  # noqa: PLR0911 (one for each kind of token)
        """Return the value at ``at``, and where it ends."""
        token = _TOKEN.match(self.raw, _skip(self.raw, at))
        if token is None or depth > _MAX_DEPTH or token.end() > self.limit:
            raise malformed("the file contains what the register does not write")
        kind, at = token.lastgroup, token.end()
        match kind:
            case "open":
                return self._dictionary(at, depth + 1)
            case "list":
                return self._list(at, depth + 1)
            case "name":
                return Name(_unescape_name(token["name"])), at
            case "ref":
                return Reference(int(token["ref"][:-4])), at
            case "number":
                number = token["number"]
                return (float(number) if b"." in number else int(number)), at
            case "hex":
                return bytes.fromhex(token["hex"].decode()), at
            case "text":
                return self._text(at)
            case "word":
                return _WORDS[token["word"]], at
            case _:
                raise malformed("brackets do not pair")

    def _dictionary(self, at: int, depth: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        while self.raw[(at := _skip(self.raw, at)) : at + 2] != b">>":
            key, at = self.value(at, depth)
            if not isinstance(key, Name) or key in found:
                raise malformed("a dictionary has a key twice, or one that is no name")
            found[str(key)], at = self.value(at, depth)
        return found, at + 2

    def _list(self, at: int, depth: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        while self.raw[(at := _skip(self.raw, at)) : at + 1] != b"]":
            item, at = self.value(at, depth)
            found.append(item)
        return found, at + 1

    def _text(self, start: int) -> tuple[bytes, int]:
        """Read a string in parentheses; inner ones pair or are escaped."""
        at, open_ones = start, 1
        while open_ones:
            mark = _PARENTHESIS.search(self.raw, at, self.limit)
            if mark is None:
                raise malformed("a string does not end")
            open_ones += {b"(": 1, b")": -1, b"\\": 0}[mark[0]]
            at = mark.end() + (mark[0] == b"\\")
        return _ESCAPE.sub(_unescape, self.raw[start : at - 1]), at

    def _spend(self, octets: int) -> None:
        self.budget -= octets
        if self.budget < 0:
            raise malformed(f"more than {_MAX_SYNTAX_BYTES} bytes outside streams")


def _unescape(escape: re.Match[bytes]) -> bytes:
    return _ESCAPED[escape[1]] if escape[1] in _ESCAPED else bytes([int(escape[1], 8) & 0xFF])


def _unescape_name(name: bytes) -> str:
    return _NAME_ESCAPE.sub(lambda escape: bytes.fromhex(escape[1].decode()), name).decode("latin-1")
