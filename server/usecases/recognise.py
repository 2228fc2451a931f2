"""What a file is that the verifier cannot read: a damaged proof, a copy that a program changed, or something else.

Rules: docs/formats.md, "What is no proof"; ``extension/src/core/recognise.ts`` has the same. Looks for traces only: no
answer says that anything holds. The cost is bounded by the file's size, and by ``_MAX_LOOKED_AT``.
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

_DIRECTORY_END = struct.Struct("<4s4H2LH")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_STREAM = re.compile(rb"(?<!end)stream\r?\n")
_BASE64 = re.compile(rb"(?:UEsDB|JVBERi0)[A-Za-z0-9+/\r\n]*")
_STRINGS = re.compile(rb"<([0-9A-Fa-f\s]*)>|\(((?:[^()\\]|\\.)*)\)", re.DOTALL)
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|.)", re.DOTALL)
_CHARACTER_LISTS = re.compile(rb"beginbfchar(.*?)endbfchar", re.DOTALL)
_CHARACTER = re.compile(rb"<([0-9A-Fa-f]{2}|[0-9A-Fa-f]{4})>\s*<([0-9A-Fa-f]+)>")
_RANGE_LISTS = re.compile(rb"beginbfrange(.*?)endbfrange", re.DOTALL)
_RANGE = re.compile(rb"<([0-9A-Fa-f]{2}|[0-9A-Fa-f]{4})>\s*<([0-9A-Fa-f]+)>\s*(?:<([0-9A-Fa-f]+)>|\[[^\]]*\])")

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
    look = _look(raw, parsed=parsed, depth=0)
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


def _look(raw: bytes, *, parsed: bool, depth: int) -> _Look | None:
    if raw.startswith(ZIP_MAGIC):
        return _look_at_zip(raw, depth)
    if raw.startswith(PDF_MAGIC):
        return _look_at_pdf(raw, parsed=parsed)
    if raw.startswith(_GZIP_MAGIC):
        return _around("gzip", [_inflate(raw, zlib.MAX_WBITS | 16, _MAX_LOOKED_AT)], depth)
    if (ZIP_MAGIC in raw or PDF_MAGIC in raw) and _MARK in raw and not _is_text(raw):
        return _Look("wrapped")
    return _around("base64", map(_decode, islice(_BASE64.finditer(raw), _MAX_ATTACHMENTS)), depth)


def _around(noticed: str, insides: Iterable[bytes], depth: int) -> _Look | None:
    """Tell that ``noticed`` is around a proof, if one of ``insides`` is one, whole or not."""
    found = depth < _MAX_DEPTH and any(_look(data, parsed=False, depth=depth + 1) for data in insides)
    return _Look(noticed) if found else None


def _decode(text: re.Match[bytes]) -> bytes:
    digits = text[0].replace(b"\r", b"").replace(b"\n", b"")
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
    extra: int
    offset: int


def _look_at_zip(raw: bytes, depth: int) -> _Look | None:
    if _MARK in raw and (noticed := _conversion(raw)):
        return _Look(noticed)
    entries = _directory(raw)
    if entries is None:
        return _Look() if _MARK in raw else None
    if is_proof([entry.name.rpartition("/")[2] for entry in entries]):
        return _Look("zipped-again" if _is_zipped_again(entries) else "")
    left = _MAX_LOOKED_AT
    for entry in entries:
        data = _unpack(raw, entry, left)
        left -= len(data) + entry.packed_size
        if data.startswith((ZIP_MAGIC, PDF_MAGIC)) and _around("", [data], depth):
            return _Look(inner=entry.name)
        if left <= 0:
            break
    return None


def _is_zipped_again(entries: Sequence[_Entry]) -> bool:
    """What programs do to each file that they pack: one that differs alone was damaged."""
    first = entries[0]
    if first.name != "mimetype" or first.method or any(entry.name.endswith("/") for entry in entries):
        return True
    return all(entry.extra or entry.flags for entry in entries)


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
        signature, _by, _needs, flags, method, _time, _date, _crc, packed, _unpacked, name, extra, comment = fields[:13]
        if signature != b"PK\x01\x02":
            return None
        at += _ENTRY.size
        entries.append(_Entry(raw[at : at + name].decode("latin-1"), flags, method, packed, extra, fields[-1]))
        at += name + extra + comment
    return entries or None


def _unpack(raw: bytes, entry: _Entry, limit: int) -> bytes:
    """Return a file in a ZIP, of at most ``limit`` bytes; nothing where it cannot be had whole."""
    header = raw[entry.offset : entry.offset + 30]
    if len(header) < 30:
        return b""
    start = entry.offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    packed = raw[start : start + entry.packed_size]
    if entry.method == 0:
        return packed if len(packed) <= limit else b""
    return _inflate(packed, -zlib.MAX_WBITS, limit)


def _inflate(packed: bytes, form: int, limit: int) -> bytes:
    """Return what ``packed`` unpacks to; nothing for more than ``limit`` bytes, or if anything is missing or behind."""
    inflater = zlib.decompressobj(form)
    try:
        data = inflater.decompress(packed, limit + 1)
    except zlib.error:
        return b""
    return data if inflater.eof and not inflater.unused_data and len(data) <= limit else b""


def _look_at_pdf(raw: bytes, *, parsed: bool) -> _Look | None:
    streams = list(_streams(raw))
    if _MARK in raw or any(_MARK in stream for stream in streams):
        if noticed := _conversion(raw):
            return _Look(noticed)
        if not raw.startswith(_PDF_HEADER):
            return _Look("saved-again")
        # The page, and its signature. What can be read of a third section is for the strict reader to name.
        return _Look("added-to") if raw.count(b"startxref") > 2 and not parsed else _Look()
    return _Look("printed") if _prints(streams) else None


def _streams(raw: bytes) -> Iterator[bytes]:
    """Yield what the streams of a PDF hold, but for pictures, however its objects are kept."""
    at, left = 0, _MAX_LOOKED_AT
    for _ in range(_MAX_STREAMS):
        found = _STREAM.search(raw, at)
        end = -1 if found is None else raw.find(b"endstream", found.end())
        if found is None or end < 0 or left <= 0:
            return
        about, data = raw[max(at, found.start() - 512) : found.start()], raw[found.end() : end]
        at = end
        if b"/Image" not in about:
            shown = _inflate_line(data, min(_MAX_STREAM, left)) if b"/FlateDecode" in about else data[:_MAX_STREAM]
            left -= len(data) + len(shown)
            yield shown


def _inflate_line(data: bytes, limit: int) -> bytes:
    """Return what a stream unpacks to; a line end before ``endstream`` is no part of it."""
    size = 2 if data.endswith(b"\r\n") else 1 if data.endswith((b"\r", b"\n")) else 0
    shown = _inflate(data[: len(data) - size], zlib.MAX_WBITS, limit)
    return shown if shown or not size else _inflate(data, zlib.MAX_WBITS, limit)


def _prints(streams: list[bytes]) -> bool:
    """Tell whether the pages show what every certificate shows. A print keeps which letter each glyph is."""
    text = b"".join(_shown(stream) for stream in streams if b"Tj" in stream or b"TJ" in stream)
    needles = {_PRINTED.encode()}
    left = _MAX_FONTS
    for font in streams:
        if b"beginbfchar" not in font and b"beginbfrange" not in font:
            continue
        left -= len(font)
        if left < 0:
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
    found = [
        (code, code, letter) for part in _CHARACTER_LISTS.findall(font) for code, letter in _CHARACTER.findall(part)
    ]
    found += [each for part in _RANGE_LISTS.findall(font) for each in _RANGE.findall(part)]
    for first, last, letter in found:
        if not 0 < len(letter) <= 4:
            continue  # several letters, or a list of them
        start, size = int(first, 16), len(first) // 2
        for wanted in _PRINTED:
            step = ord(wanted) - int(letter, 16)
            if 0 <= step <= int(last[-4:], 16) - start:
                codes.setdefault(wanted, (start + step).to_bytes(4)[-size:])
    return codes
