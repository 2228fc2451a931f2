"""The container: what we write, and what we refuse to read."""

import base64
import hashlib
import io
import random
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import pytest

from schemas.vocabulary import MAX_BUNDLE_FILES
from server.bundles import asice
from server.bundles.asice import ASIC_MANIFEST, TIMESTAMP, unpack_container, verify_container
from server.bundles.contents import BundledFile
from server.core.encoding import format_json, parse_json
from server.core.timestamps import TrustedAuthority, verify_timestamp
from server.errors import ObjectionError, ParseError, VerificationError
from tests.fixtures.records import SIGNED_AT, Record, make_record
from tests.fixtures.zips import Member, deflate, members_of, rewrite, write_zip


def read_container(raw: bytes) -> dict[str, BundledFile]:
    return verify_container(unpack_container(raw))


Change = Callable[[list[Member]], Any]


@pytest.fixture(scope="module")
def record() -> Record:
    return make_record()


@pytest.fixture(scope="module")
def bundle(record: Record) -> bytes:
    return record.bundle()


def find(members: list[Member], name: str) -> Member:
    return next(member for member in members if member.name == name.encode())


def code_of(raw: bytes) -> str:
    with pytest.raises(ObjectionError) as caught:
        read_container(raw)
    return caught.value.code


def test_what_was_written_is_read_back(record: Record, bundle: bytes) -> None:
    assert read_container(bundle) == record.files()
    types = {name: file.media_type for name, file in record.files().items() if file.role == "evidence"}
    assert types == {"evidence/notice.txt": "text/plain", "evidence/screenshot.jpg": "image/jpeg"}


def test_the_same_record_gives_the_same_bytes(record: Record) -> None:
    assert record.bundle(stamp=lambda _: b"stamp") == record.bundle(stamp=lambda _: b"stamp")


def test_the_verifiers_page_is_packed_once_and_nothing_that_a_holder_sent_is_kept(record: Record) -> None:
    asice._deflate_again.cache_clear()
    files = record.files()
    notice = files["evidence/notice.txt"]

    def packed(page: bytes) -> bytes:
        with_page = files | {"verify.html": BundledFile(page, "text/html; charset=utf-8", "verifier")}
        return asice.write_container(with_page, recorded_at=SIGNED_AT, timestamp=lambda _: b"stamp")

    first, again, other = packed(b"<p>one</p>"), packed(b"<p>one</p>"), packed(b"<p>two</p>")
    assert first == again
    assert asice._deflate_again.cache_info()[:2] == (1, 2)  # taken once, made for two pages
    assert read_container(other)["verify.html"].data == b"<p>two</p>"
    assert read_container(other)["evidence/notice.txt"] == notice


def test_pictures_are_stored_as_they_are_and_texts_deflated(bundle: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        methods = {entry.filename: entry.compress_type for entry in archive.infolist()}
    assert methods["evidence/screenshot.jpg"] == zipfile.ZIP_STORED
    assert methods["evidence/notice.txt"] == methods["policy.json"] == zipfile.ZIP_DEFLATED


def test_the_form_is_that_of_asic_e(record: Record, bundle: bytes) -> None:
    assert bundle[30:38] == b"mimetype"
    assert bundle[38:].startswith(b"application/vnd.etsi.asic-e+zip")
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        assert archive.testzip() is None
        assert archive.infolist()[0].compress_type == zipfile.ZIP_STORED
        assert {entry.date_time for entry in archive.infolist()} == {
            datetime.fromtimestamp(SIGNED_AT, UTC).timetuple()[:6]
        }
        files = {name: archive.read(name) for name in archive.namelist()}
    root = ElementTree.fromstring(files[ASIC_MANIFEST])
    asic, ds = "{http://uri.etsi.org/02918/v1.2.1#}", "{http://www.w3.org/2000/09/xmldsig#}"
    assert root.tag == f"{asic}ASiCManifest"
    assert root[0].tag == f"{asic}SigReference"
    assert root[0].attrib == {"URI": TIMESTAMP, "MimeType": "application/vnd.etsi.timestamp-token"}
    listed = {item.attrib["URI"]: item for item in root[1:]}
    assert listed.keys() == files.keys() - {"mimetype", ASIC_MANIFEST, TIMESTAMP}
    for name, item in listed.items():
        assert item.tag == f"{asic}DataObjectReference"
        assert item.find(f"{ds}DigestMethod").attrib == {"Algorithm": "http://www.w3.org/2001/04/xmlenc#sha256"}  # type: ignore[union-attr]
        assert base64.b64decode(item.findtext(f"{ds}DigestValue") or "") == hashlib.sha256(files[name]).digest()
    assert listed["evidence/screenshot.jpg"].attrib["MimeType"] == "image/jpeg"
    assert listed["manifest.json"].attrib["MimeType"] == "application/json"


def test_the_bytes_are_those_that_zipfile_writes(bundle: bytes) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive, zipfile.ZipFile(buffer, "w") as again:
        for there in archive.infolist():
            entry = zipfile.ZipInfo(there.filename, there.date_time)
            entry.compress_type, entry.create_system, entry.external_attr = there.compress_type, 3, 0o644 << 16
            again.writestr(entry, archive.read(there))
    assert buffer.getvalue() == bundle


def test_the_time_stamp_is_over_the_asic_manifest(record: Record, bundle: bytes) -> None:
    clock, files = record.register.clock, unpack_container(bundle)
    trusted = TrustedAuthority.from_der(clock.certificates)
    stamp = verify_timestamp(files[TIMESTAMP], files[ASIC_MANIFEST], trusted=trusted)
    assert stamp.at == SIGNED_AT + 60


def test_a_record_without_evidence_has_a_bundle() -> None:
    record = make_record(evidence={})
    assert not [name for name in read_container(record.bundle()) if name.startswith("evidence/")]
    readme = record.readme().decode()
    assert "sha256sum receipt.jws\n" in readme


def test_the_read_me_tells_the_facts_of_this_record(record: Record) -> None:
    readme = record.readme().decode("ascii")  # any editor shows it
    assert max(map(len, readme.splitlines())) <= 100
    for fact in (
        "Facebook",
        "18 November 2026, 11:06:40 UTC",
        "18 November 2026, 11:06:42 UTC",
        record.receipt.sha256.hex(),
        "register.example/log, entry 5",
        "sha256sum policy.json",
        "objection verify FILE",
        "sha256sum receipt.jws evidence/*",
        "That Meta received the objection",
        "Who holds the key",
    ):
        assert fact in readme
    for name in record.files().keys() - {"README.txt"}:
        assert name in readme


# ZIPs that are not plain: two readers may see two different things in one file.
def _gap(members: list[Member]) -> None:
    members[3].gap = b"between"


def _behind_deflate(members: list[Member]) -> None:
    members[2].packed = deflate(members[2].data) + b"hidden"


def _endless(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH)


NOT_PLAIN: dict[str, Change] = {
    "bytes between files": _gap,
    "bytes before the first file": lambda m: setattr(m[0], "gap", b"#!/bin/sh\n"),
    "bytes behind a deflate stream": _behind_deflate,
    "local header with another size": lambda m: setattr(m[2], "local_size", 1),
    "local header with another name": lambda m: setattr(m[2], "local_name", b"taken.sd-jwt"),
    "local extra field": lambda m: setattr(m[2], "local_extra", b"UT\x01\x00x"),
    "extra field": lambda m: setattr(m[2], "extra", b"UT\x01\x00x"),
    "comment of a file": lambda m: setattr(m[2], "comment", b"hello"),
    "encrypted": lambda m: setattr(m[2], "flags", 1),
    "streamed sizes": lambda m: setattr(m[2], "flags", 8),
    "link": lambda m: setattr(m[7], "attributes", 0o120777 << 16),
    "one name twice": lambda m: m.append(m[2]),
    "mimetype not first": lambda m: m.insert(1, m.pop(0)),
    "mimetype compressed": lambda m: setattr(m[0], "stored", False),
    "mimetype of another container": lambda m: setattr(m[0], "data", b"application/vnd.etsi.asic-s+zip"),
    "name with a NUL": lambda m: setattr(m[2], "name", b"token.sd-jwt\0.txt"),
    "name that is not ASCII": lambda m: setattr(m[2], "name", "tokén".encode()),
    "no name": lambda m: setattr(m[2], "name", b""),
    "damaged": lambda m: setattr(m[2], "packed", deflate(b"other bytes")),
    "deflate stream without an end": lambda m: setattr(m[2], "packed", _endless(m[2].data)),
    "another checksum": lambda m: setattr(m[2], "crc", 1),
    "directory pointing elsewhere": lambda m: setattr(m[2], "offset", 0),
    "no deflate stream": lambda m: setattr(m[2], "packed", b"\xff\xff\xff\xff"),
    "longer than it says": lambda m: setattr(m[2], "size", 3),
    "shorter than it says": lambda m: setattr(m[2], "size", len(m[2].data) + 1),
    "too many files": lambda m: m.extend(
        Member(f"evidence/{n}.txt".encode(), b"x") for n in range(MAX_BUNDLE_FILES + 8)
    ),
}


def test_as_many_files_as_an_objection_can_come_to(record: Record) -> None:
    """16 supplements of 8 mails each, every one with a key record of its own."""
    more = {f"later/{number:02}/mail-{mail}.eml": b"x" for number in range(1, 17) for mail in range(8)}
    more |= {f"dkim/{number:064x}.txt": b"x" for number in range(128)}
    raw = record.bundle(more=more)
    assert more.keys() < verify_container(unpack_container(raw)).keys()


@pytest.mark.parametrize("defect", NOT_PLAIN)
def test_a_zip_that_is_not_plain_is_refused(defect: str, bundle: bytes) -> None:
    read_container(rewrite(bundle, lambda members: None))
    assert code_of(rewrite(bundle, NOT_PLAIN[defect])) == "bundle_malformed"


SLACK: list[dict[str, Any]] = [
    {"comment": b"bye"},
    {"before_end": b"slack"},
    {"count": 14},
    {"count": 16},
    {"after_files": b"slack"},
    {"in_directory": b"slack"},
    {"size_error": 1},
    {"comment_error": 1},
]


@pytest.mark.parametrize("how", SLACK, ids=str)
def test_slack_around_the_directory_is_refused(how: dict[str, Any], bundle: bytes) -> None:
    members = members_of(bundle)
    assert len(members) == 14
    if how == {"count": 14}:
        members.append(Member(b"evidence/hidden.txt", b"x"))
    assert code_of(write_zip(members, **how)) == "bundle_malformed"


@pytest.mark.parametrize("raw", [b"", b"PK", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"%PDF-1.7\n" * 20])
def test_what_is_no_container_is_refused(raw: bytes) -> None:
    assert code_of(raw) == "bundle_malformed"


def test_bytes_around_the_zip_are_refused(bundle: bytes) -> None:
    assert code_of(b"x" + bundle) == "bundle_malformed"
    assert code_of(bundle + b"x") == "bundle_malformed"
    assert code_of(bundle + bundle) == "bundle_malformed"


def test_a_zip_bomb_is_refused_before_it_unpacks(bundle: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    big = Member(b"evidence/big.txt", bytes(4_194_305))
    assert code_of(rewrite(bundle, lambda members: members.append(big))) == "bundle_malformed"
    three = [Member(f"evidence/{n}.txt".encode(), bytes(4_000_000)) for n in range(4)]
    raw = rewrite(bundle, lambda members: members.extend(three))
    assert len(raw) < 100_000
    unpacked: list[str] = []
    monkeypatch.setattr(zlib, "decompressobj", lambda *_: unpacked.append("something"))
    assert code_of(raw) == "bundle_malformed"
    assert unpacked == []


def test_a_file_that_claims_to_be_small_is_not_unpacked_further(bundle: bytes) -> None:
    liar = Member(b"evidence/big.txt", b"", packed=deflate(bytes(50_000_000)), size=10)
    raw = rewrite(bundle, lambda members: members.append(liar))
    tracemalloc.start()
    assert code_of(raw) == "bundle_malformed"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def test_a_huge_file_is_refused() -> None:
    with pytest.raises(ParseError, match="at most 16777216 bytes"):
        read_container(b"PK\x03\x04" + bytes(asice.MAX_BUNDLE_BYTES))


@pytest.mark.parametrize(
    "name", ["evidence/more.txt", "extra.txt", "META-INF/signatures.xml", "evidence/", "../outside.txt", "/etc/passwd"]
)
def test_a_file_that_is_not_listed_is_refused(name: str, bundle: bytes) -> None:
    stranger = Member(name.encode(), b"x")
    assert code_of(rewrite(bundle, lambda members: members.append(stranger))) == "bundle_unlisted_file"


@pytest.mark.parametrize("name", list(make_record().files()))
def test_each_listed_file_must_be_there_as_it_was(name: str, bundle: bytes) -> None:
    def drop(members: list[Member]) -> None:
        members.remove(find(members, name))

    def flip(members: list[Member]) -> None:
        member = find(members, name)
        member.data = bytes([member.data[0] ^ 1]) + member.data[1:]

    def grow(members: list[Member]) -> None:
        find(members, name).data += b"\n"

    assert code_of(rewrite(bundle, drop)) == "bundle_file_missing"
    assert code_of(rewrite(bundle, flip)) == "bundle_file_mismatch"
    assert code_of(rewrite(bundle, grow)) == "bundle_file_mismatch"


@pytest.mark.parametrize("name", ["manifest.json", ASIC_MANIFEST, TIMESTAMP])
def test_each_file_of_the_container_form_must_be_there(name: str, bundle: bytes) -> None:
    assert code_of(rewrite(bundle, lambda members: members.remove(find(members, name)))) == "bundle_file_missing"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'<?xml version="1.0" encoding="UTF-8"?>', b'<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE a>'),
        (b"evidence/notice.txt", b"evidence/notica.txt"),
        (b"</asic:ASiCManifest>", b"<!-- or not --></asic:ASiCManifest>"),
        (b'MimeType="image/jpeg"', b'MimeType="text/html"'),
        (b"</asic:ASiCManifest>", b"</asic:ASiCManifest>\n"),
    ],
)
def test_an_asic_manifest_that_we_would_not_write_is_refused(old: bytes, new: bytes, bundle: bytes) -> None:
    def change(members: list[Member]) -> None:
        member = find(members, ASIC_MANIFEST)
        assert member.data.count(old) == 1
        member.data = member.data.replace(old, new)

    assert code_of(rewrite(bundle, change)) == "bundle_file_mismatch"


def _manifest(edit: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], bytes]:
    def changed(manifest: dict[str, Any]) -> bytes:
        edit(manifest)
        return format_json(manifest)

    return changed


MANIFESTS: dict[str, tuple[Callable[[dict[str, Any]], bytes], str]] = {
    "another receipt": (_manifest(lambda m: m.update(receipt_sha256="0" * 64)), "bundle_file_mismatch"),
    "another size": (_manifest(lambda m: m["files"][0].update(size=1)), "bundle_file_mismatch"),
    "another hash": (_manifest(lambda m: m["files"][0].update(sha256="0" * 64)), "bundle_file_mismatch"),
    "another type": (_manifest(lambda m: m["files"][0].update(media_type="text/html")), "bundle_malformed"),
    "another role": (_manifest(lambda m: m["files"][0].update(role="evidence")), "bundle_malformed"),
    "one file twice": (_manifest(lambda m: m["files"].append(m["files"][0])), "bundle_malformed"),
    "unknown member": (_manifest(lambda m: m.update(note="x")), "bundle_malformed"),
    "other version": (_manifest(lambda m: m.update(v=2)), "bundle_malformed"),
    "other state": (_manifest(lambda m: m.update(state="anchored")), "bundle_malformed"),
    "path outside": (_manifest(lambda m: m["files"][0].update(name="../receipt.jws")), "bundle_malformed"),
    "key twice": (lambda m: format_json(m).replace(b'"v":1', b'"v":1,"v":1'), "bundle_malformed"),
    "no JSON": (lambda m: b"{", "bundle_malformed"),
}


@pytest.mark.parametrize("defect", MANIFESTS)
def test_a_manifest_that_lies_is_refused(defect: str, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """The liar wrote the whole container: its ASiC manifest and its stamp agree with the lie."""
    edit, code = MANIFESTS[defect]
    honest = asice.format_manifest
    monkeypatch.setattr(asice, "format_manifest", lambda *a, **k: edit(parse_json(honest(*a, **k))))
    raw = record.bundle()
    monkeypatch.undo()
    assert code_of(raw) == code


def test_altered_containers_raise_nothing_but_our_errors(bundle: bytes) -> None:
    chance = random.Random(319162)
    for round_number in range(3000):
        altered = bytearray(bundle)
        for _ in range(chance.choice((1, 1, 3))):
            altered[chance.randrange(len(altered))] ^= chance.randrange(1, 256)
        if round_number % 7 == 0:
            del altered[chance.randrange(len(altered)) :]
        try:
            found = read_container(bytes(altered))
        except (ParseError, VerificationError):
            continue
        # Only dates, versions, permissions and the stamp (checked elsewhere) are not covered by a hash.
        assert found == read_container(bundle)
