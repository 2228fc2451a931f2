"""ASiC-E containers (ETSI EN 319 162-1) with a time assertion: a ZIP that standard tools can open and check."""

import base64
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from xml.sax.saxutils import quoteattr

from schemas.vocabulary import MAX_EVIDENCE_BYTES, MAX_EVIDENCE_ITEMS
from server.bundles.contents import MANIFEST, BundleContents, format_manifest, parse_manifest, verify_manifest
from server.core.encoding import sha256
from server.errors import ParseError, VerificationError

MIME_TYPE = "application/vnd.etsi.asic-e+zip"
MAX_BUNDLE_BYTES = 16_777_216
_MIME_FILE = "mimetype"
_ASIC_MANIFEST = "META-INF/ASiCManifest.xml"
_TIMESTAMP = "META-INF/timestamp.tst"
_CONTAINER_FILES = (_MIME_FILE, MANIFEST, _ASIC_MANIFEST, _TIMESTAMP)
_MAX_ENTRIES = MAX_EVIDENCE_ITEMS + 16
_END_OF_DIRECTORY = struct.Struct("<4s4H2LH")


class Container:
    """An ASiC-E container that was read: its contents hold together; who made it is not decided here."""

    def __init__(self, contents: BundleContents, asic_manifest: bytes, timestamp: bytes) -> None:
        self.contents = contents
        self.asic_manifest = asic_manifest
        self.timestamp = timestamp


def write_container(
    contents: BundleContents,
    *,
    evidence_types: Mapping[str, str],
    recorded_at: int,
    timestamp: Callable[[bytes], bytes],
) -> bytes:
    """Return the container. ``timestamp`` stamps the ASiC manifest; all dates inside are ``recorded_at``."""
    files = contents.files | {MANIFEST: format_manifest(contents, evidence_types=evidence_types)}
    asic_manifest = _format_asic_manifest(files)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        _write(archive, _MIME_FILE, MIME_TYPE.encode(), recorded_at, stored=True)
        for name, data in files.items():
            _write(archive, name, data, recorded_at)
        _write(archive, _ASIC_MANIFEST, asic_manifest, recorded_at)
        _write(archive, _TIMESTAMP, timestamp(asic_manifest), recorded_at)
    return buffer.getvalue()


def read_container(raw: bytes) -> Container:
    """Return the container in ``raw`` once it holds exactly what its two manifests list.

    Raises ParseError ``bundle_malformed``, VerificationError ``bundle_unlisted_file``, ``bundle_file_missing``,
    ``bundle_file_mismatch``. Safe to call with anything: sizes are bounded before anything is unpacked.
    """
    files = _unpack(raw)
    if missing := [name for name in _CONTAINER_FILES if name not in files]:
        raise VerificationError("bundle_file_missing", f"the container lacks {', '.join(missing)}")
    if files[_MIME_FILE] != MIME_TYPE.encode():
        raise ParseError("bundle_malformed", "the container is of another type")
    listed = {name: data for name, data in files.items() if name not in (_MIME_FILE, _ASIC_MANIFEST, _TIMESTAMP)}
    manifest = parse_manifest(files[MANIFEST])
    contents = verify_manifest(manifest, {name: data for name, data in listed.items() if name != MANIFEST})
    # Written anew and compared: an XML parser would be one more thing to trust.
    in_order = {item["name"]: listed[item["name"]] for item in manifest["files"]} | {MANIFEST: listed[MANIFEST]}
    if files[_ASIC_MANIFEST] != _format_asic_manifest(in_order):
        raise VerificationError("bundle_file_mismatch", f"{_ASIC_MANIFEST} does not list the files of this container")
    return Container(contents, files[_ASIC_MANIFEST], files[_TIMESTAMP])


def _format_asic_manifest(files: Mapping[str, bytes]) -> bytes:
    references = "".join(
        f"<asic:DataObjectReference URI={quoteattr(name)}>"
        '<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>'
        f"<ds:DigestValue>{base64.b64encode(sha256(data)).decode()}</ds:DigestValue>"
        "</asic:DataObjectReference>"
        for name, data in files.items()
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<asic:ASiCManifest xmlns:asic="http://uri.etsi.org/02918/v1.2.1#" xmlns:ds="http://www.w3.org/2000/09/xmldsig#">'
        f'<asic:SigReference URI="{_TIMESTAMP}" MimeType="application/vnd.etsi.timestamp-token"/>'
        f"{references}</asic:ASiCManifest>"
    ).encode()


def _write(archive: zipfile.ZipFile, name: str, data: bytes, at: int, *, stored: bool = False) -> None:
    moment = datetime.fromtimestamp(at, UTC)
    entry = zipfile.ZipInfo(name, (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second))
    entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, data)


def _unpack(raw: bytes) -> dict[str, bytes]:
    if len(raw) > MAX_BUNDLE_BYTES:
        raise ParseError("bundle_malformed", f"a bundle has at most {MAX_BUNDLE_BYTES} bytes")
    _refuse_slack(raw)
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            entries = archive.infolist()
            _refuse_odd_entries(entries, directory_offset=archive.start_dir)
            files = {entry.filename: _read(archive, entry) for entry in entries}
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError, struct.error) as error:
        raise ParseError("bundle_malformed", "not a readable ZIP") from error
    return files


def _refuse_slack(raw: bytes) -> None:
    """Bytes before the first or after the last part would be carried along without being covered by anything."""
    end = raw[-_END_OF_DIRECTORY.size :]
    if len(end) < _END_OF_DIRECTORY.size or not raw.startswith(b"PK\x03\x04"):
        raise ParseError("bundle_malformed", "not a ZIP")
    signature, _, _, _, _, size, offset, comment = _END_OF_DIRECTORY.unpack(end)
    if signature != b"PK\x05\x06" or comment or offset + size + _END_OF_DIRECTORY.size != len(raw):
        raise ParseError("bundle_malformed", "the ZIP has bytes that belong to no file")


def _refuse_odd_entries(entries: list[zipfile.ZipInfo], *, directory_offset: int) -> None:
    names = [entry.filename for entry in entries]
    if len(names) > _MAX_ENTRIES or len(set(names)) != len(names):
        raise ParseError("bundle_malformed", "too many files, or one name twice")
    if names[:1] != [_MIME_FILE] or entries[0].compress_type != zipfile.ZIP_STORED:
        raise ParseError("bundle_malformed", "the container must begin with its stored mimetype")
    for entry in entries:
        if entry.flag_bits & 0x1 or entry.extra or entry.comment:
            raise ParseError("bundle_malformed", f"{entry.filename} is encrypted or has extra fields")
        if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise ParseError("bundle_malformed", f"{entry.filename} is compressed in another way than deflate")
    position = 0
    for entry in entries:
        if entry.header_offset != position:
            break
        position += 30 + len(entry.filename.encode()) + entry.compress_size
    if position != directory_offset:
        raise ParseError("bundle_malformed", "the ZIP has bytes that belong to no file")


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    # The size in the directory is a claim; reading stops at the limit whatever it says.
    with archive.open(entry) as stream:
        data = stream.read(MAX_EVIDENCE_BYTES + 1)
    if len(data) > MAX_EVIDENCE_BYTES:
        raise ParseError("bundle_malformed", f"{entry.filename} is too large")
    return data
