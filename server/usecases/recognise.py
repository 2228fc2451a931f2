"""What a file is that the verifier cannot read: a damaged proof, a copy that a program changed, or something else.

Rules: docs/formats.md, "What is no proof"; ``extension/src/core/recognise.ts`` has the same. Looks for traces only: no
answer says that anything holds. The cost is bounded by the file's size, and by one ``_Budget`` for all that is inside.
"""

import base64
import re
import struct
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from server.errors import ParseError

ZIP_MAGIC, PDF_MAGIC = b"PK\x03\x04", b"%PDF-"
_GZIP_MAGIC = b"\x1f\x8b\x08"
# A proof of ours has at least one of them; no file of another kind has.
_OWN_NAMES = ("receipt.jws", "token.sd-jwt", "proof.tlog-proof")
_MARK = b"receipt.jws"
_PDF_HEADER = b"%PDF-1.7\n%\x80\x80\x80\x80\n"
_UNIX_TABLE = b" 65535 f\n"  # a certificate's table of objects begins so, with a carriage return before the line feed
# What every certificate prints in its fixed-width font, in each language.
_PRINTED = "objection verify"
_MAX_LOOKED_AT = 16_777_216
_MAX_STREAM = 1_048_576
_MAX_STREAMS = 4096
_MAX_FONTS = 262_144  # bytes of what fonts say about their letters
_MAX_ENTRIES = 1024
_MAX_DEPTH = 2
_MAX_ATTACHMENTS = 4
_MIN_LINES = 8
_MAX_NAME = 100
_NO_BREAK_SPACE = 0xA0

_DIRECTORY_END = struct.Struct("<4s4H2LH")
_ENTRY = struct.Struct("<4s6H3L5H2L")
# Each of these matches, or fails, without reading ahead twice: a hostile file must not cost its size squared.
_STREAM = re.compile(rb"(?<!end)stream\r?\n")
_BASE64 = re.compile(rb"(?:UEsDB|JVBERi0)[-A-Za-z0-9+/_> \t\r\n]*")
_BASE64_SPACE = b"> \t\r\n"
_STRINGS = re.compile(rb"<([0-9A-Fa-f \t\r\n]*)>|\(((?:[^()\\]|\\(?:.|\Z))*)", re.DOTALL)
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|.)", re.DOTALL)
_CODES = re.compile(rb"<([0-9A-Fa-f]*)>|[\[\]]")
# With what was noticed, and how many bytes a character has. Big-endian: its mark ends where the first low byte stands.
_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "wrapped", 1), (b"\xff\xfe", "recoded", 2), (b"\xfe\xff\0", "recoded", 2))
_QUOTED_HEADS = (b"PK=03=04", b"%=80=80=80=80")

# What was noticed → what to tell; {name} is the file inside.
_NOTICED = {
    "line-ends": "its line ends were converted",
    "recoded": "it was converted as if it were text",
    "zipped-again": "it was unpacked and zipped again",
    "saved-again": "a PDF program saved it anew",
    "added-to": "a PDF program added to it",
    "printed": "it is a print, which leaves out the files that prove",
    "base64": "it is in base64, as mail programs send files",
    "gzip": "it is compressed with gzip",
    "wrapped": "something stands before or around it",
}


@dataclass(frozen=True)
class _Look:
    """``noticed``: by what a copy of a proof differs; "" where nothing shows but damage. ``inner``: a proof inside."""

    noticed: str = ""
    inner: str = ""


@dataclass
class _Budget:
    """How many bytes may still be looked at, packed and unpacked: of a file and of all files inside it together.

    ``fonts``: of these, what fonts say about their letters.
    """

    left: int = _MAX_LOOKED_AT
    fonts: int = _MAX_FONTS

    def unpack(self, packed: bytes, form: int, limit: int) -> bytes:
        """Return what ``packed`` unpacks to; nothing where it does not whole, which costs as much as was allowed."""
        limit = max(0, min(limit, self.left))
        data = _inflate(packed, form, limit)
        self.left -= len(packed) + (len(data) or limit)
        return data


def is_proof(names: Collection[str]) -> bool:
    """Tell whether files of these names are those of a proof, whole or not."""
    return any(name in names for name in _OWN_NAMES)


def unrecognised() -> ParseError:
    return ParseError(
        "file_unrecognised",
        "not a proof of objection: neither a certificate (.pdf), nor a bundle (.asice), nor a token",
    )


def refuse_other(raw: bytes, *, parsed: bool = False) -> None:
    """Return only if ``raw`` is a proof that is damaged or altered. ``parsed``: its form could be read.

    Raises ParseError ``file_resaved`` for a copy of a proof that a program changed or wrapped, and
    ``file_unrecognised`` for what was never one.
    """
    look = _look(raw, _Budget(), depth=0, parsed=parsed)
    if look is None:
        raise unrecognised()
    if look.inner:
        raise ParseError(
            "file_resaved", f"a ZIP around a proof: unpack it, and check {look.inner[:_MAX_NAME]!r} that lies in it"
        )
    if look.noticed:
        raise ParseError(
            "file_resaved",
            f"a copy of a proof that some program has changed ({_NOTICED[look.noticed]}); it proves nothing as it is: "
            "ask for the original file",
        )


def _look(raw: bytes, budget: _Budget, *, depth: int, parsed: bool = False) -> _Look | None:
    if raw.startswith(ZIP_MAGIC):
        return _look_at_zip(raw, budget, depth)
    if raw.startswith(PDF_MAGIC):
        return _look_at_pdf(raw, budget, parsed=parsed)
    if _MARK in raw and (noticed := _surroundings(raw)):
        return _Look(noticed)
    if raw.startswith(_GZIP_MAGIC):
        return _around("gzip", [budget.unpack(raw, zlib.MAX_WBITS | 16, _MAX_LOOKED_AT)], budget, depth)
    for mark, noticed, step in _BYTE_ORDER_MARKS:
        if raw.startswith(mark):
            return _around(noticed, [raw[len(mark) :: step]], budget, depth)
    return _around("base64", map(_decode, islice(_BASE64.finditer(raw), _MAX_ATTACHMENTS)), budget, depth)


def _surroundings(raw: bytes) -> str:
    """What was noticed of a file that is neither ZIP nor PDF, and has the mark."""
    if (ZIP_MAGIC in raw or PDF_MAGIC in raw) and not _is_text(raw):
        return "wrapped"
    return "recoded" if any(head in raw for head in _QUOTED_HEADS) else ""


def _around(noticed: str, insides: Iterable[bytes], budget: _Budget, depth: int) -> _Look | None:
    """Tell that ``noticed`` is around a proof, if one of ``insides`` is one, whole or not."""
    found = depth < _MAX_DEPTH and any(_look(data, budget, depth=depth + 1) for data in insides)
    return _Look(noticed) if found else None


def _decode(text: re.Match[bytes]) -> bytes:
    digits = text[0].translate(bytes.maketrans(b"-_", b"+/"), _BASE64_SPACE)
    return base64.b64decode(digits[: len(digits) // 4 * 4])


def _conversion(raw: bytes) -> str:
    """What a program does to a file that it takes for text. Bytes that are compressed look like no text."""
    lines, returns = raw.count(b"\n"), raw.count(b"\r")
    windows = lines == raw.count(b"\r\n") >= _MIN_LINES
    macs = lines == 0 and returns >= _MIN_LINES
    if windows or macs or _UNIX_TABLE in raw:
        return "line-ends"
    return "recoded" if _is_text(raw) else ""


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


@dataclass(frozen=True)
class _Entry:
    name: str
    flags: int
    method: int
    packed_size: int
    size: int
    extra: int
    offset: int


def _look_at_zip(raw: bytes, budget: _Budget, depth: int) -> _Look | None:
    if _MARK in raw and (noticed := _conversion(raw)):
        return _Look(noticed)
    entries = _directory(raw)
    if entries is None:
        return _Look() if _MARK in raw else None
    if is_proof([re.split(r"[/\\]", entry.name)[-1] for entry in entries]):
        return _Look("zipped-again" if _is_zipped_again(entries) else "")
    for entry in entries:
        if budget.left <= 0:
            break
        data = _unpack(raw, entry, budget)
        if data.startswith((ZIP_MAGIC, PDF_MAGIC)) and _around("", [data], budget, depth):
            return _Look(inner=entry.name)
    return None


def _is_zipped_again(entries: Sequence[_Entry]) -> bool:
    """What programs do to each file that they pack: one that differs alone was damaged. EPUB's way spares the first."""
    first, *others = entries
    if first.name != "mimetype" or first.method or any(entry.name.endswith("/") for entry in entries):
        return True
    return all(entry.extra or entry.flags for entry in others)


def _directory(raw: bytes) -> list[_Entry] | None:
    """Return what the ZIP's directory lists, read as leniently as programs do; None where it cannot be read."""
    end = raw.rfind(b"PK\x05\x06", max(0, len(raw) - _DIRECTORY_END.size - 0xFFFF))
    if end < 0 or end + _DIRECTORY_END.size > len(raw):
        return None
    *_, count, _size, at, _comment = _DIRECTORY_END.unpack_from(raw, end)
    entries: list[_Entry] = []
    for _ in range(min(count, _MAX_ENTRIES)):
        if at + _ENTRY.size > len(raw):
            return None
        fields = _ENTRY.unpack_from(raw, at)
        signature, _by, _needs, flags, method, _time, _date, _crc, packed, size, name, extra, comment = fields[:13]
        if signature != b"PK\x01\x02":
            return None
        at += _ENTRY.size
        entries.append(_Entry(raw[at : at + name].decode("latin-1"), flags, method, packed, size, extra, fields[-1]))
        at += name + extra + comment
    return entries or None


def _unpack(raw: bytes, entry: _Entry, budget: _Budget) -> bytes:
    """Return a file in a ZIP; nothing where it cannot be had whole, or is larger than the directory says."""
    header = raw[entry.offset : entry.offset + 30]
    if len(header) < 30 or entry.method not in (0, 8):
        return b""
    start = entry.offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    packed = raw[start : start + entry.packed_size]
    if entry.method:
        return budget.unpack(packed, -zlib.MAX_WBITS, entry.size)
    budget.left -= len(packed)
    return packed


def _inflate(packed: bytes, form: int, limit: int) -> bytes:
    """Return what ``packed`` unpacks to; nothing for more than ``limit`` bytes, or if anything is missing or behind."""
    inflater = zlib.decompressobj(form)
    try:
        data = inflater.decompress(packed, limit + 1)
    except zlib.error:
        return b""
    return data if inflater.eof and not inflater.unused_data and len(data) <= limit else b""


def _look_at_pdf(raw: bytes, budget: _Budget, *, parsed: bool) -> _Look | None:
    streams = list(_streams(raw, budget))
    if _MARK in raw or any(_MARK in stream for stream in streams):
        if noticed := _conversion(raw):
            return _Look(noticed)
        if not raw.startswith(_PDF_HEADER):
            return _Look("saved-again")
        # The page, and its signature. What can be read of a third section is for the strict reader to name.
        return _Look("added-to") if raw.count(b"startxref") > 2 and not parsed else _Look()
    return _Look("printed") if _prints(streams, budget) else None


def _streams(raw: bytes, budget: _Budget) -> Iterator[bytes]:
    """Yield what the streams of a PDF hold, but for pictures, however its objects are kept."""
    at = 0
    for _ in range(_MAX_STREAMS):
        found = _STREAM.search(raw, at)
        end = -1 if found is None else raw.find(b"endstream", found.end())
        if found is None or end < 0 or budget.left <= 0:
            return
        about = raw[max(at, found.start() - 512) : found.start()].rpartition(b"0 obj")[2]
        data = raw[found.end() : end]
        at = end
        if b"/Image" in about:
            continue
        if b"/FlateDecode" in about:
            yield _inflate_line(data, budget)
        else:
            budget.left -= len(data)
            yield data[:_MAX_STREAM]


def _inflate_line(data: bytes, budget: _Budget) -> bytes:
    """Return what a stream unpacks to; a line end before ``endstream`` is no part of it."""
    size = 2 if data.endswith(b"\r\n") else 1 if data.endswith((b"\r", b"\n")) else 0
    shown = budget.unpack(data[: len(data) - size], zlib.MAX_WBITS, _MAX_STREAM)
    return shown if shown or not size else budget.unpack(data, zlib.MAX_WBITS, _MAX_STREAM)


def _prints(streams: list[bytes], budget: _Budget) -> bool:
    """Tell whether the pages show what every certificate shows. A print keeps which letter each glyph is."""
    text = b"".join(_shown(stream) for stream in streams if b"Tj" in stream or b"TJ" in stream)
    needles = {_PRINTED.encode()}
    for font in streams:
        if b"beginbfchar" not in font and b"beginbfrange" not in font:
            continue
        budget.fonts -= len(font)
        if budget.fonts < 0:
            break
        codes = _codes(font)
        for phrase in (_PRINTED, _PRINTED.replace(" ", "")):
            if all(letter in codes for letter in phrase):
                needles.add(b"".join(codes[letter] for letter in phrase))
    return any(needle in text for needle in needles)


def _shown(page: bytes) -> bytes:
    """Return the strings of a page, one after the other."""
    parts = []
    for coded, literal in _STRINGS.findall(page):
        digits = b"".join(coded.split()).decode()
        parts.append(bytes.fromhex(digits[: len(digits) // 2 * 2]) + _ESCAPE.sub(_unescape, literal))
    return b"".join(parts)


def _unescape(escape: re.Match[bytes]) -> bytes:
    found = escape[1]
    if found.isdigit():
        return bytes([int(found, 8) & 0xFF]) if found[0] < 0x38 else found
    return {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b"\n": b""}.get(found, found)


def _codes(font: bytes) -> dict[str, bytes]:
    """Return by which bytes a font shows each letter of what is looked for. (ISO 32000-1, 9.10.3.)"""
    codes: dict[str, bytes] = {}
    characters = _listed(font, b"bfchar")
    found = list(zip(characters[::2], characters[::2], characters[1::2], strict=False))
    ranges = _listed(font, b"bfrange")
    found += zip(ranges[::3], ranges[1::3], ranges[2::3], strict=False)
    for first, last, letter in found:
        if len(first) not in (2, 4) or not last or not 0 < len(letter) <= 4:
            continue  # several letters, or a list of them
        start, size = int(first, 16), len(first) // 2
        shows = int(letter, 16)
        for wanted in _PRINTED:
            # Some say of the space's glyph that it is a no-break space.
            step = ord(wanted) - (ord(" ") if shows == _NO_BREAK_SPACE else shows)
            if 0 <= step <= int(last[-4:], 16) - start:
                codes.setdefault(wanted, (start + step).to_bytes(4)[-size:])
    return codes


def _listed(font: bytes, kind: bytes) -> list[bytes]:
    """Return what stands in a font's lists of a ``kind``, in hex digits; "" for a list within a list."""
    found: list[bytes] = []
    start = font.find(b"begin" + kind)
    while start >= 0 and (end := font.find(b"end" + kind, start)) >= 0:
        inside = False
        for each in _CODES.finditer(font, start, end):
            if each[0] == b"[":
                inside = True
                found.append(b"")
            elif each[0] == b"]":
                inside = False
            elif not inside:
                found.append(each[1])
        start = font.find(b"begin" + kind, end)
    return found
