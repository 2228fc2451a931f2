"""ASiC-E containers (ETSI EN 319 162-1) with a time assertion: a ZIP that standard tools can open and check.

Written and read by our own few lines. To read, ``zipfile`` looks past what lies between, behind and inside the parts it
was asked for, and a proof must not carry bytes that nothing covers. To write, it would pack the verifier's page, the
largest part of most proofs, anew for each of them.
"""

import base64
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from html import escape

from schemas.vocabulary import MAX_BUNDLE_FILES, MAX_EVIDENCE_BYTES, MAX_EVIDENCE_TOTAL_BYTES
from server.bundles.contents import MANIFEST, BundledFile, format_manifest, verify_manifest, with_manifest
from server.core.encoding import sha256
from server.errors import ParseError, VerificationError

MIME_TYPE = "application/vnd.etsi.asic-e+zip"
ASIC_MANIFEST = "META-INF/ASiCManifest.xml"
TIMESTAMP = "META-INF/timestamp.tst"
MAX_BUNDLE_BYTES = 16_777_216
_MIME_FILE = "mimetype"
_FORM_FILES = (_MIME_FILE, ASIC_MANIFEST, TIMESTAMP)
_MAX_ENTRIES = MAX_BUNDLE_FILES + 8
# What may unpack is bounded as a whole: however well something compresses, no ZIP bomb fits.
_MAX_UNPACKED_BYTES = MAX_EVIDENCE_TOTAL_BYTES + 4_194_304

_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_DIRECTORY_ENTRY = struct.Struct("<4sH24s4H2L")
_SHARED_FIELDS = struct.Struct("<5H3LH")  # the 24 bytes that a file's two headers have in common
_END_OF_DIRECTORY = struct.Struct("<4s4H2LH")
_REGULAR_FILE = (0, 0o10)  # the file type in a Unix mode: none told, or regular; never a link
_STORED, _DEFLATED = 0, 8
_VERSION = 20  # of the ZIP format that it takes to unpack: with deflate, without encryption or ZIP64
_MADE_ON_UNIX = 3 << 8 | _VERSION  # on every machine: the same inputs give the same bytes
_MODE = 0o644 << 16
_PACKED_ALREADY = {"image/jpeg", "image/png", "image/webp"}  # deflate makes them no smaller, in a third of the time


def write_container(
    files: Mapping[str, BundledFile], *, recorded_at: int, timestamp: Callable[[bytes], bytes]
) -> bytes:
    """Return the container. ``timestamp`` stamps the ASiC manifest; all dates inside are ``recorded_at``.

    The same arguments and the same stamp give the same bytes.
    """
    listed = with_manifest(files, format_manifest(files))
    asic_manifest = _format_asic_manifest(listed)
    parts = [
        _pack(_MIME_FILE, MIME_TYPE.encode(), None),
        *(_pack(name, file.data, _packing_of(file)) for name, file in listed.items()),
        _pack(ASIC_MANIFEST, asic_manifest, _deflate),
        _pack(TIMESTAMP, timestamp(asic_manifest), _deflate),
    ]
    return _format_zip(parts, datetime.fromtimestamp(recorded_at, UTC))


def unpack_container(raw: bytes) -> dict[str, bytes]:
    """Return the files of the ZIP in ``raw`` by name, still unchecked against any list. Safe to call with anything.

    Raises ParseError ``bundle_malformed`` unless every byte belongs to exactly one file or header, and the ZIP is as
    plain as those we write: no links, encryption, extra fields, comments, ZIP64 or streamed sizes.
    """
    if len(raw) > MAX_BUNDLE_BYTES:
        raise ParseError("bundle_malformed", f"a bundle has at most {MAX_BUNDLE_BYTES} bytes")
    try:
        entries = _parse_directory(raw)
    except struct.error as error:
        raise ParseError("bundle_malformed", "the ZIP ends too early") from error
    names = [entry.name for entry in entries]
    if len(set(names)) != len(names):
        raise ParseError("bundle_malformed", "the ZIP names one file twice")
    if names[:1] != [_MIME_FILE] or entries[0].method != _STORED:
        raise ParseError("bundle_malformed", "the container must begin with its stored mimetype")
    if sum(entry.size for entry in entries) > _MAX_UNPACKED_BYTES:
        raise ParseError("bundle_malformed", f"a bundle unpacks to at most {_MAX_UNPACKED_BYTES} bytes")
    files = {entry.name: _inflate(entry) for entry in entries}
    if files[_MIME_FILE] != MIME_TYPE.encode():
        raise ParseError("bundle_malformed", "the container is of another type")
    return files


def verify_container(files: Mapping[str, bytes]) -> dict[str, BundledFile]:
    """Return the files of the proof once the container's are exactly what its two manifests list.

    Raises what ``verify_manifest`` raises, and VerificationError ``bundle_file_missing`` or ``bundle_file_mismatch``
    for the ASiC manifest.
    """
    if missing := [name for name in _FORM_FILES if name not in files]:
        raise VerificationError("bundle_file_missing", f"the container lacks {', '.join(missing)}")
    found = verify_manifest({name: data for name, data in files.items() if name not in _FORM_FILES})
    # Written anew and compared: an XML parser would be one more thing to trust.
    if files[ASIC_MANIFEST] != _format_asic_manifest(with_manifest(found, files[MANIFEST])):
        raise VerificationError("bundle_file_mismatch", f"{ASIC_MANIFEST} does not list the files of this container")
    return found


def _format_asic_manifest(files: Mapping[str, BundledFile]) -> bytes:
    references = "".join(
        f'<asic:DataObjectReference URI="{escape(name)}" MimeType="{escape(file.media_type)}">'
        '<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>'
        f"<ds:DigestValue>{base64.b64encode(sha256(file.data)).decode()}</ds:DigestValue>"
        "</asic:DataObjectReference>"
        for name, file in files.items()
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<asic:ASiCManifest xmlns:asic="http://uri.etsi.org/02918/v1.2.1#" xmlns:ds="http://www.w3.org/2000/09/xmldsig#">'
        f'<asic:SigReference URI="{TIMESTAMP}" MimeType="application/vnd.etsi.timestamp-token"/>'
        f"{references}</asic:ASiCManifest>"
    ).encode()


@dataclass(frozen=True)
class _Entry:
    name: str
    method: int
    crc: int
    size: int
    packed: bytes


def _pack(name: str, data: bytes, packing: Callable[[bytes], bytes] | None) -> _Entry:
    packed = data if packing is None else packing(data)
    return _Entry(name, _STORED if packing is None else _DEFLATED, zlib.crc32(data), len(data), packed)


def _packing_of(file: BundledFile) -> Callable[[bytes], bytes] | None:
    if file.media_type in _PACKED_ALREADY:
        return None
    return _deflate_again if file.role == "verifier" else _deflate


def _deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


# For the verifier's page, which is the same in all bundles of a process. Never for what a holder sent.
_deflate_again = lru_cache(maxsize=2)(_deflate)


def _format_zip(entries: Sequence[_Entry], at: datetime) -> bytes:
    date = (at.year - 1980) << 9 | at.month << 5 | at.day
    time = at.hour << 11 | at.minute << 5 | at.second // 2
    files, directory, offset = [], [], 0
    for entry in entries:
        name = entry.name.encode("ascii")
        shared = _SHARED_FIELDS.pack(
            _VERSION, 0, entry.method, time, date, entry.crc, len(entry.packed), entry.size, len(name)
        )
        files += [_LOCAL, shared, b"\0\0", name, entry.packed]
        directory += [_DIRECTORY_ENTRY.pack(_CENTRAL, _MADE_ON_UNIX, shared, 0, 0, 0, 0, _MODE, offset), name]
        offset += len(_LOCAL) + len(shared) + 2 + len(name) + len(entry.packed)
    listed = b"".join(directory)
    end = _END_OF_DIRECTORY.pack(_END, 0, 0, len(entries), len(entries), len(listed), offset, 0)
    return b"".join([*files, listed, end])


def _parse_directory(raw: bytes) -> list[_Entry]:
    """Walk directory and files in step: each file starts where the one before ends, the directory after the last."""
    end = len(raw) - _END_OF_DIRECTORY.size
    signature, disk, first_disk, count_here, count, size, directory, comment = _END_OF_DIRECTORY.unpack_from(raw, end)
    if signature != _END or disk or first_disk or comment or count_here != count or directory + size != end:
        raise ParseError("bundle_malformed", "the ZIP has bytes that belong to no file")
    if count > _MAX_ENTRIES:
        raise ParseError("bundle_malformed", f"a bundle has at most {_MAX_ENTRIES} files")
    entries: list[_Entry] = []
    at, file_at = directory, 0
    for _ in range(count):
        entry, file_end = _parse_entry(raw, at, file_at)
        entries.append(entry)
        at, file_at = at + _DIRECTORY_ENTRY.size + len(entry.name), file_end
    if at != end or file_at != directory:
        raise ParseError("bundle_malformed", "the ZIP has bytes that belong to no file")
    return entries


def _parse_entry(raw: bytes, at: int, file_at: int) -> tuple[_Entry, int]:
    """Return the entry whose directory header is at ``at``, and where its file ends, if it begins at ``file_at``."""
    fields = _DIRECTORY_ENTRY.unpack_from(raw, at)
    signature, _made_by, shared, extra, comment, disk, _internal, attributes, offset = fields
    _version, flags, method, _time, _date, crc, packed_size, size, name_length = _SHARED_FIELDS.unpack(shared)
    raw_name = raw[at + _DIRECTORY_ENTRY.size :][:name_length]
    if signature != _CENTRAL or extra or comment or disk or flags or attributes >> 28 not in _REGULAR_FILE:
        raise ParseError("bundle_malformed", "the ZIP has more than plain files: links, encryption or extra fields")
    if not raw_name.isascii() or not raw_name.decode("ascii").isprintable() or not raw_name:
        raise ParseError("bundle_malformed", "a file's name is not plain ASCII")
    if method not in {_STORED, _DEFLATED} or size > MAX_EVIDENCE_BYTES:
        raise ParseError("bundle_malformed", "a file is too large, or compressed in another way than deflate")
    # The header before the file itself must say the same: readers that stream see only that one.
    header = _LOCAL + shared + b"\0\0" + raw_name
    start = file_at + len(header)
    if offset != file_at or raw[file_at:start] != header:
        raise ParseError("bundle_malformed", "the ZIP's directory and its files do not agree")
    packed = raw[start : start + packed_size]
    return _Entry(raw_name.decode("ascii"), method, crc, size, packed), start + packed_size


def _inflate(entry: _Entry) -> bytes:
    data = entry.packed
    if entry.method == _DEFLATED:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = inflater.decompress(entry.packed, entry.size + 1)
        except zlib.error as error:
            raise ParseError("bundle_malformed", f"{entry.name} does not unpack") from error
        if not inflater.eof or inflater.unused_data:
            raise ParseError("bundle_malformed", f"{entry.name} is longer than the ZIP says")
    if len(data) != entry.size or zlib.crc32(data) != entry.crc:
        raise ParseError("bundle_malformed", f"{entry.name} is damaged")
    return data
