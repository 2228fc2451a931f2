"""Erasure when something comes between: a kill, a failing disk, a reader, another request; and what a thief finds."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from server.core.encoding import parse_base64url
from server.core.envelopes import SHARE_SIZE, derive_data_key, open_sealed, unwrap_share
from server.errors import ObjectionError, Unavailable
from server.store import blobs, records
from server.store.blobs import LocalBlobs
from server.store.records import Record
from server.usecases.check_log import check_log
from server.usecases.register import Register
from server.usecases.sweep_erased import sweep_erased
from tests.fixtures.holders import Holder, Submission
from tests.fixtures.servers import ROOT, bare_environment, make_settings, post, register_of, running, storage_of
from tests.test_worker import until, worker
from tests.usecases.test_record_objection import in_one_group


@pytest.fixture
def app(tmp_path: Path, storage_settings: dict[str, str]) -> Iterator[Flask]:
    with running(make_settings(tmp_path, **storage_settings)) as app:
        yield app


@pytest.fixture
def holder() -> Holder:
    return Holder()


@pytest.fixture
def objection(app: Flask, holder: Holder) -> Submission:
    submission = holder.objection()
    assert post(app, submission).status_code == 201
    return submission


def outcome(response: Any) -> tuple[int, str | None]:
    return response.status_code, json.loads(response.data).get("code")


def pending(register: Register) -> list[str]:
    with register.database.reading() as connection:
        return list(records.read_blobs_to_erase(connection))


def record_of(register: Register, submission: Submission) -> Record:
    with register.database.reading() as connection:
        record = records.find_record(connection, bytes.fromhex(submission.sha256))
    assert record is not None
    return record


def sweep(register: Register) -> int:
    return sweep_erased(register, now=int(time.time()))


def expect_consistent(register: Register) -> None:
    storage = storage_of(register)
    assert check_log(storage, progress=lambda _done, _total: None).problems == []


def files_with(folder: Path, secrets: list[bytes]) -> list[str]:
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and any(secret in path.read_bytes() for secret in secrets):
            found.append(path.name)
    return found


def secrets_of(register: Register, submission: Submission) -> list[bytes]:
    record = record_of(register, submission)
    assert record.blob is not None
    assert record.wrapped_share is not None
    assert record.holder_jti is not None
    sealed = register.blobs.get(record.blob)
    return [record.salt, record.wrapped_share, record.holder_jti, record.receipt_sha256, sealed[:64], sealed[-64:]]


KILLED = """
import os, signal, sys
from server.app import create_app
from server.settings import Settings
from server.store.blobs import LocalBlobs
from tests.fixtures.holders import Submission
from tests.fixtures.servers import post

def die(self, name):
    os.kill(os.getpid(), signal.SIGKILL)

LocalBlobs.erase = die
post(create_app(Settings.from_env(os.environ)), Submission(*sys.argv[1:], {}))
"""


def killed_while_erasing(data_dir: Path, settings: dict[str, str], erasure: Submission) -> None:
    """Erase in a process that is killed after the commit, when it is about to overwrite the first blob."""
    named = {f"OBJECTION_{name.upper()}": value for name, value in settings.items()}
    environment = bare_environment() | {
        "OBJECTION_DATA_DIR": str(data_dir),
        "OBJECTION_PUBLIC_URL": "https://register.example",
        **named,
    }
    command = [sys.executable, "-c", KILLED, erasure.receipt, erasure.holder_share]
    killed = subprocess.run(command, cwd=ROOT, env=environment, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL


@pytest.mark.parametrize("who", ["worker", "start", "repeat"])
def test_killed_between_commit_and_overwriting(tmp_path: Path, storage_settings: dict[str, str], who: str) -> None:
    """Whoever comes next finishes it: the worker, the next start, or the holder who got no answer."""
    holder = Holder()
    objection, neighbour = holder.objection(), Holder().objection()
    erasure = holder.later("erasure", objection)
    settings = make_settings(tmp_path, **storage_settings)
    with running(settings) as app:
        in_one_group(app, Holder().objection({}), objection, neighbour)
        secrets = secrets_of(register_of(app), objection)
    killed_while_erasing(tmp_path, storage_settings, erasure)
    assert files_with(tmp_path / "blobs", secrets) != []
    if who == "worker":
        with worker(tmp_path, **storage_settings):
            until(lambda: not files_with(tmp_path, secrets))
    with running(settings) as app:
        if who == "repeat":
            assert post(app, erasure).status_code == 200
        assert pending(register_of(app)) == []
        assert files_with(tmp_path, secrets) == []
        assert outcome(post(app, objection)) == (410, "record_erased")
        assert post(app, neighbour).status_code == 200
        assert post(app, erasure).status_code == 200
        expect_consistent(register_of(app))


def test_a_blob_that_cannot_be_overwritten_keeps_nobody_from_erasing(
    app: Flask, holder: Holder, objection: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    register = register_of(app)
    other = Holder()
    others = other.objection()
    post(app, others)
    bad = record_of(register, objection).blob
    erase = LocalBlobs.erase

    def fail_on_one(self: LocalBlobs, name: str) -> None:
        if name == bad:
            raise Unavailable("storage_unavailable", "bad sector")
        erase(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(LocalBlobs, "erase", fail_on_one)
        assert post(app, holder.later("erasure", objection)).status_code == 201
        assert pending(register) == [bad]
        assert post(app, other.later("erasure", others)).status_code == 201
        assert pending(register) == [bad]
        with pytest.raises(Unavailable):
            sweep(register)
    assert sweep(register) == 1
    assert pending(register) == []
    assert register.blobs.segments() == set()
    expect_consistent(register)


def test_a_disk_that_refuses_is_said_to_be_unavailable(
    app: Flask, objection: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_file: int) -> None:
        raise OSError("I/O error")

    register = register_of(app)
    name = record_of(register, objection).blob
    monkeypatch.setattr(blobs.os, "fsync", broken)
    with pytest.raises(Unavailable):
        register.blobs.erase(str(name))


def test_what_a_reader_keeps_in_the_write_ahead_log_goes_when_the_reader_went(tmp_path: Path, holder: Holder) -> None:
    """SQLite cannot empty that log below a reader; until it could, the erasure does not count as finished."""
    with running(make_settings(tmp_path)) as app:
        register, objection = register_of(app), holder.objection()
        post(app, objection)
        secrets = secrets_of(register, objection)
        with register.database.reading() as connection:
            connection.execute(text("SELECT * FROM records")).all()
            started = time.monotonic()
            assert post(app, holder.later("erasure", objection)).status_code == 201
            assert time.monotonic() - started < 3, "nobody may wait for a reader, for all writers wait with them"
            assert len(pending(register)) == 1
            assert files_with(tmp_path, secrets) != []
            assert post(app, Holder().objection()).status_code == 201
        assert sweep(register) == 1
        assert pending(register) == []
        assert files_with(tmp_path, secrets) == []
        expect_consistent(register)


def test_a_guard_is_forgotten_when_the_receipt_is_stale_anyway(tmp_path: Path, holder: Holder) -> None:
    ahead = int(time.time()) + 250  # a clock as fast as is still believed
    with running(make_settings(tmp_path, receipt_max_age_s="600")) as app:
        register, objection = register_of(app), holder.objection(iat=ahead)
        post(app, objection)
        post(app, holder.later("erasure", objection))
        last_fresh = ahead + 600
        for now, remembered in ((last_fresh, True), (last_fresh + 1, False)):
            sweep_erased(register, now=now)
            with register.database.reading() as connection:
                count = connection.execute(text("SELECT count(*) FROM erased_receipts")).scalar_one()
                assert (count > 0) == remembered


def test_one_sent_again_just_before_its_erasure_is_kept_out_even_when_it_is_stale(
    tmp_path: Path, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(make_settings(tmp_path, receipt_max_age_s="600")) as app:
        objection = holder.objection()
        post(app, objection)
        late = int(time.time()) + 700
        monkeypatch.setattr(time, "time", lambda: late)
        post(app, holder.later("erasure", objection, iat=late))
        register = register_of(app)
        for now, remembered in ((late + 30, True), (late + 61, False)):
            sweep_erased(register, now=now)
            with register.database.reading() as connection:
                count = connection.execute(text("SELECT count(*) FROM erased_receipts")).scalar_one()
                assert (count > 0) == remembered


def interrupted(
    monkeypatch: pytest.MonkeyPatch, module: str, name: str, meanwhile: Callable[[], object]
) -> Callable[[], None]:
    """Let ``meanwhile`` happen once, just before ``module`` calls ``name`` the first time."""
    import importlib

    found = importlib.import_module(module)
    original = getattr(found, name)

    def first(*given: Any, **named: Any) -> Any:
        monkeypatch.setattr(found, name, original)
        meanwhile()
        return original(*given, **named)

    monkeypatch.setattr(found, name, first)
    return lambda: monkeypatch.setattr(found, name, original)


@pytest.mark.parametrize("kind", ["supplement", "withdrawal", "erasure", "objection"])
def test_erased_while_it_is_being_opened(
    app: Flask, holder: Holder, objection: Submission, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The bytes are zeros by then: that is no wrong share, and must not be called one."""
    erasure = holder.later("erasure", objection)
    second = objection if kind == "objection" else holder.later(kind, objection)
    interrupted(monkeypatch, "server.usecases.open_record", "open_record", lambda: post(app, erasure))
    assert outcome(post(app, second)) == (410, "record_erased")
    expect_consistent(register_of(app))


def test_erased_while_the_holder_reads(
    app: Flask, holder: Holder, objection: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.usecases.test_later_receipts import get

    token = json.loads(post(app, objection).data)["token"]
    post(app, holder.later("supplement", objection))
    erasure = holder.later("erasure", objection)
    interrupted(monkeypatch, "server.usecases.open_record", "open_record", lambda: post(app, erasure))
    assert outcome(get(app, holder, objection, token, "/bundle")) == (410, "record_erased")


def test_the_same_erasure_twice_at_once(
    app: Flask, holder: Holder, objection: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that tried again because no answer came: both get the same one."""
    erasure = holder.later("erasure", objection)
    first: list[Any] = []
    interrupted(monkeypatch, "server.usecases.erase", "open_objection", lambda: first.append(post(app, erasure)))
    again = post(app, erasure)
    assert (first[0].status_code, again.status_code) == (201, 200)
    assert json.loads(first[0].data)["token"] == json.loads(again.data)["token"]


def test_a_repeat_behind_the_erasure_in_its_group(app: Flask, holder: Holder, objection: Submission) -> None:
    """What is sent again after the erasure finds it erased, also when one commit takes both."""
    supplement, erasure = holder.later("supplement", objection), holder.later("erasure", objection)
    post(app, supplement)
    responses = in_one_group(
        app, Holder().objection({}), objection, supplement, erasure, objection, supplement, erasure
    )
    gone = (410, "record_erased")
    assert [outcome(response) for response in responses[3:]] == [(201, None), gone, gone, (200, None)]
    assert {outcome(response) for response in responses[1:3]} <= {(200, None), gone}
    expect_consistent(register_of(app))


def test_supplements_at_once_stay_within_the_bound(app: Flask, holder: Holder) -> None:
    """Each fits alone; together they would make a bundle that no verifier reads."""
    objection = holder.objection({})
    post(app, objection)
    supplements = [holder.later("supplement", objection, {"a.txt": os.urandom(3_000_000)}) for _ in range(4)]
    responses = in_one_group(app, Holder().objection({}), *supplements)[1:]
    assert sorted(map(outcome, responses), key=str) == [(201, None)] * 2 + [(413, "evidence_too_large")] * 2
    expect_consistent(register_of(app))


def test_the_holders_share_opens_nothing_that_was_erased(
    tmp_path: Path, storage_settings: dict[str, str], holder: Holder
) -> None:
    """With the files, the database, the register's keys, and the holder's share and receipt: nothing opens."""
    data = tmp_path / "data"
    with running(make_settings(data, **storage_settings)) as app:
        register = register_of(app)
        objection, neighbour = holder.objection(), Holder().objection()
        supplement = holder.later("supplement", objection, {"mail.eml": b"From: Meta\r\n\r\nno"})
        in_one_group(app, Holder().objection({}), objection, neighbour)
        post(app, supplement)
        share = parse_base64url(objection.holder_share)
        before = {each.sha256: secrets_of(register, each) for each in (objection, supplement)}
        kept = [register.blobs.get(str(record_of(register, each).blob)) for each in (objection, supplement)]
        keys = register.keyring.key_encryption_keys
        # The attempt works as long as nothing is erased.
        assert opened_with(everything_in(data, register, storage_settings), kept, keys, share, objection)
        assert post(app, holder.later("erasure", objection)).status_code == 201
        loot = everything_in(data, register, storage_settings)
        # Even with a copy of the sealed bytes from before: the register's half of the key is gone.
        assert not opened_with(loot, kept, keys, share, objection)
        assert not opened_with(loot, kept, keys, share, supplement)
        for secrets in before.values():
            # PostgreSQL keeps dead rows in its own files until it vacuums (docs/operating.md); no query returns them.
            assert not [secret for secret in secrets if any(secret in piece for piece in loot)]
        assert post(app, neighbour).status_code == 200


def everything_in(data: Path, register: Register, settings: dict[str, str]) -> list[bytes]:
    """Return all that a thief finds: each file, and on PostgreSQL each value of each row."""
    pieces = [path.read_bytes() for path in data.rglob("*") if path.is_file()]
    if settings:
        with register.database.reading() as connection:
            names = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars()
            for name in names.all():
                for row in connection.execute(text(f"SELECT * FROM {name}")):
                    pieces += [
                        bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode() for value in row
                    ]
    return pieces


def opened_with(
    loot: list[bytes], sealed: list[bytes], keys: Any, share: bytes, submission: Submission
) -> list[bytes] | None:
    """Try every place of the loot as the wrapped server share, and every sealed copy with what it gives."""
    record_id = bytes.fromhex(submission.sha256)
    size = 4 + 12 + SHARE_SIZE + 16
    for piece in loot:
        start = piece.find(b"\0\0\0\1")  # the version of the only key, with which each wrapped share begins
        while start != -1:
            try:
                server_share = unwrap_share(piece[start : start + size], keys=keys, record_id=record_id)
            except ObjectionError:
                start = piece.find(b"\0\0\0\1", start + 1)
                continue
            for each in sealed:
                try:
                    return open_sealed(each, derive_data_key(server_share, share, record_id), record_id)
                except ObjectionError:
                    continue
            return None
    return None


def test_many_erasures_at_once_leave_the_neighbours_alone(app: Flask) -> None:
    holders = [Holder() for _ in range(12)]
    submissions = [holder.objection({"a.txt": os.urandom(2000)}) for holder in holders]
    in_one_group(app, Holder().objection({}), *submissions)
    segments = register_of(app).blobs.segments()
    erasures = [holder.later("erasure", each) for holder, each in zip(holders, submissions, strict=True)][::2]
    with ThreadPoolExecutor(6) as pool:
        assert [response.status_code for response in pool.map(lambda each: post(app, each), erasures)] == [201] * 6
    assert pending(register_of(app)) == []
    assert register_of(app).blobs.segments() == segments
    for each in submissions[1::2]:
        assert post(app, each).status_code == 200
    assert [outcome(post(app, each))[0] for each in submissions[::2]] == [410] * 6
    expect_consistent(register_of(app))


def test_a_wrong_share_is_still_called_one(app: Flask, holder: Holder, objection: Submission) -> None:
    from tests.fixtures.holders import new_share

    wrong = replace(holder.later("erasure", objection), holder_share=new_share())
    assert outcome(post(app, wrong)) == (403, "holder_share_wrong")
    assert outcome(post(app, replace(objection, holder_share=new_share()))) == (409, "holder_share_wrong")
