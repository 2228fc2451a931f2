"""Whoever takes database, blobs and keys together, but no holder's share, opens not one byte of evidence."""

import base64
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from server.core.encoding import format_base64url, parse_base64url
from server.core.envelopes import derive_data_key, unwrap_share
from server.errors import VerificationError
from server.store import records
from server.store.records import Record
from server.usecases.open_record import open_record
from server.usecases.register import Register
from tests.fixtures.holders import Holder, Submission
from tests.fixtures.servers import PUBLIC_URL, make_settings, post, register_of, running

SECRET = b"Ada Lovelace, ada@example.org, has seen this notice on 12 March. " * 3
PICTURE = b"\xff\xd8\xff\xe0" + hashlib.sha512(b"screenshot").digest() * 20


@dataclass(frozen=True)
class Theft:
    """What a thief has: the files, and the register that they make."""

    folder: Path
    register: Register
    record: Record
    submission: Submission


@pytest.fixture(scope="module")
def theft(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theft]:
    original = tmp_path_factory.mktemp("register")
    submission = Holder().objection({"mail.txt": SECRET, "screen.jpg": PICTURE})
    with running(make_settings(original)) as app:
        for _ in range(2):  # the second time in another group, with other random values
            assert post(app, submission).status_code in {200, 201}
        assert post(app, Holder().objection()).status_code == 201
        stolen = tmp_path_factory.mktemp("thief") / "data"
        shutil.copytree(original, stolen)  # while it runs: with the write-ahead log, too
    with running(make_settings(stolen)) as app:
        register = register_of(app)
        with register.database.reading() as connection:
            record = records.find_record(connection, bytes.fromhex(submission.sha256))
        assert record is not None
        yield Theft(stolen, register, record, submission)


def forms_of(data: bytes) -> list[bytes]:
    """Return how ``data`` could stand in a file: as it is, hex, and base64 at each alignment."""
    shifted = [base64.b64encode(data[shift:])[4:-4] for shift in range(3)]
    urlsafe = [form.translate(bytes.maketrans(b"+/", b"-_")) for form in shifted]
    return [data, data.hex().encode(), data.hex().upper().encode(), *shifted, *urlsafe]


def stolen_bytes(theft: Theft) -> dict[str, bytes]:
    files = {str(path): path.read_bytes() for path in theft.folder.rglob("*") if path.is_file()}
    assert {"register.sqlite", "kek-1.key", "log-1.key", "issuer-1.key"} <= {Path(name).name for name in files}
    assert any("blobs" in name and len(data) > len(SECRET) + len(PICTURE) for name, data in files.items())
    return files


def test_no_stolen_file_holds_evidence_receipt_or_share(theft: Theft) -> None:
    payload = theft.submission.receipt.split(".")[1].encode()
    share = parse_base64url(theft.submission.holder_share)
    signature = theft.submission.receipt.rpartition(".")[2].encode()
    needles = [SECRET[5:65], SECRET[:20], PICTURE[4:44], share, payload[40:100], signature[:40]]
    forms = [form for needle in needles for form in forms_of(needle)]
    for name, data in stolen_bytes(theft).items():
        assert not [form for form in forms if form in data], name


def test_the_search_would_find_it(theft: Theft) -> None:
    """The needles do appear where evidence lies open."""
    for form in (SECRET, base64.b64encode(b"x" + SECRET), SECRET.hex().encode(), base64.b64encode(b"xy" + PICTURE)):
        assert any(found in form for needle in (SECRET[5:65], PICTURE[4:44]) for found in forms_of(needle))


def candidate_shares(theft: Theft) -> Iterator[bytes]:
    """Yield every 32 bytes that the loot suggests: all windows of small files and of the record, hashes of them, and
    the obvious."""
    record = theft.record
    server_share_and_more = [record.wrapped_share, record.salt, record.receipt_sha256, record.holder_jti]
    pieces = [*server_share_and_more, *(data for name, data in stolen_bytes(theft).items() if "/keys/" in name)]
    with theft.register.database.reading() as connection:
        for table in ("slot_digests", "log_entries", "log_tiles", "records"):
            for row in connection.execute(text(f"SELECT * FROM {table}")):
                pieces += [value for value in row if isinstance(value, bytes)]
    # What the loot gives after some work: the server share unwrapped, and the keys inside their files.
    keyring, record_id = theft.register.keyring, record.receipt_sha256
    server_share = unwrap_share(record.wrapped_share, keys=keyring.key_encryption_keys, record_id=record_id)
    pieces += [
        server_share,
        server_share[::-1],
        keyring.rate_limit_secret,
        keyring.work_secret,
        *keyring.key_encryption_keys.values(),
    ]
    pieces += [derive_data_key(server_share, b"", record_id), derive_data_key(server_share, bytes(32), record_id)]
    pieces.append(keyring.log_key.private_bytes_raw())
    for issuer in keyring.issuer_keys.values():
        pieces.append(issuer.key.private_numbers().private_value.to_bytes(32))
    pieces += [theft.register.blobs.get(record.blob)[:96], bytes(32), b"\xff" * 32]
    for piece in pieces:
        yield hashlib.sha256(piece).digest()
        for start in range(max(len(piece) - 31, 0)):
            yield piece[start : start + 32]


def test_nothing_stolen_serves_as_the_holders_share(theft: Theft) -> None:
    tried = set(candidate_shares(theft))
    assert len(tried) > 500
    assert parse_base64url(theft.submission.holder_share) not in tried
    for share in tried:
        with pytest.raises(VerificationError) as caught:
            open_record(theft.register, theft.record, share)
        assert caught.value.code == "holder_share_wrong"


def test_every_bit_of_the_share_counts(theft: Theft) -> None:
    share = parse_base64url(theft.submission.holder_share)
    for bit in range(256):
        wrong = (int.from_bytes(share) ^ (1 << bit)).to_bytes(32)
        with pytest.raises(VerificationError):
            open_record(theft.register, theft.record, wrong)
    for wrong in (b"", share[:31], share + b"\0"):
        with pytest.raises(VerificationError):
            open_record(theft.register, theft.record, wrong)


def test_with_the_holders_share_it_opens(theft: Theft) -> None:
    opened = open_record(theft.register, theft.record, parse_base64url(theft.submission.holder_share))
    assert opened.evidence == {"mail.txt": SECRET, "screen.jpg": PICTURE}
    assert opened.receipt.raw == theft.submission.receipt.encode()


def test_the_share_alone_opens_nothing_without_the_key_folder(theft: Theft) -> None:
    """Blobs and database with the holder's share, but no key-encryption key: the server share stays wrapped."""
    from server.core.envelopes import derive_data_key, open_sealed

    sealed = theft.register.blobs.get(theft.record.blob)
    share = parse_base64url(theft.submission.holder_share)
    for guess in (theft.record.wrapped_share[16:48], theft.record.wrapped_share[:32], bytes(32), theft.record.salt):
        with pytest.raises(VerificationError):
            open_sealed(sealed, derive_data_key(guess, share, theft.record.receipt_sha256), theft.record.receipt_sha256)


def test_an_answer_gives_no_share_away(tmp_path: Path) -> None:
    submission = Holder().objection()
    with running(make_settings(tmp_path)) as app:
        answer = post(app, submission).data
        with register_of(app).database.reading() as connection:
            record = records.find_record(connection, bytes.fromhex(submission.sha256))
    assert record is not None
    assert submission.holder_share.encode() not in answer
    assert format_base64url(record.wrapped_share) not in json.dumps(json.loads(answer))


WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_watchers: list[list[str]] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watchers and event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
        for opened in _watchers:
            opened.append(str(arguments[0]))


sys.addaudithook(_watch)  # for the whole process, for there is no way to take it back; idle without a watcher


@contextmanager
def files_opened_for_writing() -> Iterator[list[str]]:
    opened: list[str] = []
    _watchers.append(opened)
    try:
        yield opened
    finally:
        _watchers.remove(opened)


def test_evidence_touches_the_disk_only_sealed(tmp_path: Path) -> None:
    """No temporary file, whatever the size: what is deleted from a disk can be read for a long time."""
    with running(make_settings(tmp_path)) as app:
        register = register_of(app)
        submission = Holder().objection({"a.png": os.urandom(4_194_304), "b.txt": b"x" * 1_000_000})
        with files_opened_for_writing() as opened:
            assert post(app, submission).status_code == 201
        kept = {str(tmp_path / f"newest-checkpoint.{ending}") for ending in ("lock", "new")}  # a checkpoint is public
        assert set(opened) - {"/dev/null"} - kept == register.blobs.segments()


def test_the_watch_sees_temporary_files() -> None:
    with files_opened_for_writing() as opened, tempfile.SpooledTemporaryFile(max_size=1) as file:
        file.write(b"more than one byte")
    assert opened


REFUSING = {
    "sqlite": ["CREATE TRIGGER t BEFORE INSERT ON records BEGIN SELECT RAISE(ABORT, 'cannot insert'); END"],
    "postgresql": [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'cannot insert'; END$$",
        "CREATE TRIGGER t BEFORE INSERT ON records EXECUTE FUNCTION refuse()",
    ],
}


def test_logs_keep_nothing_that_erasure_must_delete(
    tmp_path: Path, storage_settings: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Not even when a statement fails that holds it: record ids, salts, shares, where the sealed bytes are."""
    caplog.set_level(logging.DEBUG)
    with running(make_settings(tmp_path, log_requests="on", **storage_settings)) as app:
        register = register_of(app)
        holder = Holder()
        submission = holder.objection()
        kept = json.loads(post(app, submission).data)
        with register.database.writing() as connection:
            record = records.find_record(connection, bytes.fromhex(submission.sha256))
            for statement in REFUSING[connection.dialect.name]:
                connection.execute(text(statement))
        assert record is not None
        failed = Holder().objection()
        assert post(app, failed).status_code == 503
        with register.database.writing() as connection:
            connection.execute(text("ALTER TABLE records RENAME COLUMN salt TO salty"))
        path = f"/v1/receipts/{submission.sha256}"
        headers = {
            "Authorization": f"DPoP {kept['token']}",
            "DPoP": holder.dpop(kept["token"], "GET", PUBLIC_URL + path),
            "Objection-Holder-Share": submission.holder_share,
        }
        assert app.test_client().get(path, headers=headers).status_code >= 500
        assert post(app, failed).status_code == 503
        segments = register.blobs.segments()
    logged = caplog.text
    assert "cannot insert" in logged
    assert "no such column" in logged or "does not exist" in logged
    ids = [bytes.fromhex(each.sha256) for each in (submission, failed)]
    for secret in [*ids, record.salt, record.wrapped_share, record.holder_jti]:
        for form in (repr(secret)[2:-1], secret.hex(), format_base64url(secret)):
            assert form[:24] not in logged
    assert segments
    assert not [segment for segment in segments if segment in logged]
    for each in (submission, failed):
        assert each.holder_share not in logged
        assert each.receipt.split(".")[1][:40] not in logged
    assert "127.0.0" not in logged
