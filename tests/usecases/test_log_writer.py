"""The log writer: groups and their bounds, proofs at every size, status indexes over list borders, the end."""

import json
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import text

from server.core.proofs import format_entry, parse_proof, verify_proof
from server.usecases import log_writer
from server.usecases.check_log import check_log
from server.usecases.log_writer import Logged, find_logged
from server.usecases.register import Register
from tests.core import naive_merkle
from tests.fixtures.auditor import audit, proof_text
from tests.fixtures.holders import Holder
from tests.fixtures.sealed import append_many, sealed_receipt, wait_for_queue
from tests.fixtures.servers import make_settings, post, register_of, running, storage_of


@pytest.fixture
def app(tmp_path: Path, storage_settings: dict[str, str]) -> Iterator[Flask]:
    with running(make_settings(tmp_path, **storage_settings)) as app:
        yield app


def expect_proven(register: Register, logged: Logged) -> int:
    record = logged.record
    entry = format_entry(
        kind=record.kind, salt=record.salt, receipt_sha256=record.receipt_sha256, received_at=record.received_at
    )
    proof = parse_proof(logged.proof)
    assert proof.index == record.log_index
    return verify_proof(proof, entry=entry, log=register.keyring.policy.log).size


def expect_consistent(register: Register, size: int) -> None:
    storage = storage_of(register)
    found = check_log(storage, progress=lambda _done, _total: None)
    assert (found.problems, found.entries) == ([], size)


def test_every_proof_holds_across_tile_borders(app: Flask) -> None:
    register = register_of(app)
    logged = [register.log_writer.append(sealed_receipt()) for _ in range(9)]
    assert [expect_proven(register, each) for each in logged] == list(range(1, 10))
    logged += append_many(register, 600)
    for each in logged:
        assert expect_proven(register, each) > each.record.log_index
    assert {each.record.log_index for each in logged} == set(range(609))
    assert len({each.record.status_index for each in logged}) == 609
    with register.database.reading() as connection:
        for each in logged[::50]:
            found = find_logged(connection, each.record.receipt_sha256)
            assert found is not None
            assert found.record == each.record
            assert expect_proven(register, found) == 609
        assert find_logged(connection, bytes(32)) is None
    expect_consistent(register, 609)


@pytest.mark.parametrize("start", [0, 254, 510])
def test_after_every_append_the_log_derives_anew(app: Flask, start: int) -> None:
    """By code that shares nothing with ours; and what was signed before remains a prefix of it."""
    register = register_of(app)
    append_many(register, start)
    signed: list[tuple[int, bytes]] = []
    for size in range(start + 1, start + (36 if start == 0 else 5)):
        logged = register.log_writer.append(sealed_receipt(kid=register.keyring.issuer_kid))
        found = audit(register)
        assert len(found.leaves) == size
        note = logged.proof.partition("\n\n")[2]
        assert logged.proof == proof_text(found, size - 1, salt=logged.record.salt, note=note)
        signed.append((size, found.root))
    for size, root in signed:
        assert naive_merkle.root(found.leaves[:size]) == root


def test_after_every_group_the_log_derives_anew(app: Flask) -> None:
    register = register_of(app)
    expected = 0
    for count in (1, 2, 31, 200, 22, 1, 300):
        logged = append_many(register, count)
        expected += count
        found = audit(register)
        assert len(found.leaves) == expected
        for each in logged:
            assert found.records[each.record.receipt_sha256] == each.record.log_index


def test_replicas_without_a_common_lock_are_fenced_by_the_head(tmp_path: Path, postgres: str) -> None:
    """Two machines: keys and blobs in common, but no file that both could lock."""
    first = make_settings(tmp_path / "first", database_url=postgres)
    second = make_settings(tmp_path / "second", database_url=postgres)
    with running(first) as one:
        second.data_dir.mkdir()
        for shared in ("keys", "blobs"):
            (second.data_dir / shared).symlink_to(first.data_dir / shared)
        with running(second) as other, ThreadPoolExecutor(12) as pool:
            submissions = [Holder().objection({}) for _ in range(60)]
            both = [(app, submission) for submission in submissions for app in (one, other)]
            answers = list(pool.map(lambda pair: post(*pair), both))
            assert sorted(answer.status_code for answer in answers) == [200] * 60 + [201] * 60
            for mine, theirs in zip(answers[::2], answers[1::2], strict=True):
                assert json.loads(mine.data)["token"] == json.loads(theirs.data)["token"]
            assert len(audit(register_of(other)).leaves) == 60


def test_what_waits_goes_into_one_group(app: Flask) -> None:
    register = register_of(app)
    with ThreadPoolExecutor(40) as pool:
        with register.database.starting():
            futures = [pool.submit(register.log_writer.append, sealed_receipt()) for _ in range(40)]
            wait_for_queue(register, 39)
        sizes = {expect_proven(register, future.result(timeout=60)) for future in futures}
    assert sizes == {40}
    assert len(register.blobs.segments()) == 1


def test_a_group_is_bounded_in_number_and_bytes(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    register = register_of(app)
    for bounds, groups in (({"_MAX_GROUP": 10}, 4), ({"_MAX_GROUP_BYTES": 1000}, 4)):
        before = len(register.blobs.segments())
        with monkeypatch.context() as patch, ThreadPoolExecutor(40) as pool:
            for name, value in bounds.items():
                patch.setattr(log_writer, name, value)
            with register.database.starting():
                futures = [pool.submit(register.log_writer.append, sealed_receipt(size=100)) for _ in range(40)]
                wait_for_queue(register, 39)
            for future in futures:
                expect_proven(register, future.result(timeout=60))
        assert len(register.blobs.segments()) - before == groups


def test_a_lone_receipt_waits_for_no_timer(app: Flask) -> None:
    append_many(register_of(app), 2)
    started = time.monotonic()
    for _ in range(5):
        register_of(app).log_writer.append(sealed_receipt())
    assert time.monotonic() - started < 2


def test_status_lists_have_a_border(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With lists of eight: each index once, each list in an order of its own."""
    monkeypatch.setattr(log_writer, "STATUS_LIST_SIZE", 8)
    with running(make_settings(tmp_path)) as app:
        indexes = [register_of(app).log_writer.append(sealed_receipt()).record.status_index for _ in range(24)]
    for number in range(3):
        assert {*indexes[8 * number : 8 * number + 8]} == set(range(8 * number, 8 * number + 8))
    orders = [[index % 8 for index in indexes[8 * n : 8 * n + 8]] for n in range(3)]
    assert orders != [sorted(order) for order in orders]


def test_the_time_is_the_registers_own(tmp_path: Path) -> None:
    with running(make_settings(tmp_path)) as app:
        before = int(time.time())
        record = register_of(app).log_writer.append(sealed_receipt()).record
        assert before <= record.received_at <= time.time()


def test_closing_finishes_what_was_begun(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    with running(settings) as app:
        register = register_of(app)
        with ThreadPoolExecutor(8) as pool:
            with register.database.starting():
                futures = [pool.submit(register.log_writer.append, sealed_receipt()) for _ in range(8)]
                wait_for_queue(register, 7)
                closing = threading.Thread(target=register.log_writer.close)
                closing.start()
            assert {expect_proven(register, future.result(timeout=60)) for future in futures} == {8}
            closing.join(timeout=60)
        assert not register.log_writer.alive()
        assert app.test_client().get("/readyz").status_code == 503
    with running(settings) as app:
        expect_consistent(register_of(app), 8)


def set_clock_back(app: Flask, seconds: int) -> int:
    """Have the newest entry lie so many seconds ahead of the clock; return its time."""
    newest_at = register_of(app).clock() + seconds
    with register_of(app).database.writing() as connection:
        connection.execute(text("UPDATE log_head SET newest_at = :at"), {"at": newest_at})
    return newest_at


def test_a_clock_that_is_a_little_behind_does_not_turn_back_the_logs_time(app: Flask) -> None:
    register = register_of(app)
    newest_at = set_clock_back(app, 250)
    for _ in range(2):
        assert register.log_writer.append(sealed_receipt()).record.received_at == newest_at
    assert app.test_client().get("/readyz").status_code == 200
    expect_consistent(register, 2)


def test_nothing_new_is_recorded_while_the_clock_is_far_behind_the_log(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    known = Holder().objection({})
    assert post(app, known).status_code == 201
    set_clock_back(app, 400)
    new = Holder().objection({})
    for _ in range(3):
        response = post(app, new)
        assert (response.status_code, json.loads(response.data)["code"]) == (503, "clock_behind")
        assert int(response.headers["Retry-After"]) > 0
    assert post(app, known).status_code == 200, "what was recorded before is answered at any time"
    ready = app.test_client().get("/readyz")
    assert (ready.status_code, json.loads(ready.data)["code"]) == (503, "clock_behind")
    said = [each.message for each in caplog.records if each.name == "objection.log"]
    assert len(said) == 1
    assert said[0].startswith(("the clock is 400 s behind", "the clock is 399 s behind"))
    set_clock_back(app, 0)
    assert post(app, new).status_code == 201
    expect_consistent(register_of(app), 2)


def test_subtrees_that_are_remembered_are_dropped_beyond_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_writer, "_MAX_SUBTREES", 3)
    with running(make_settings(tmp_path)) as app:
        register = register_of(app)
        for _ in range(40):
            expect_proven(register, register.log_writer.append(sealed_receipt()))
        expect_consistent(register, 40)


def test_a_second_writer_changes_the_log_behind_the_firsts_back(tmp_path: Path) -> None:
    """What one process remembers of the tree must stay true when another one writes in between."""
    settings = make_settings(tmp_path)
    with running(settings) as one, running(settings) as other:
        for turn in range(60):
            register = register_of(one if secrets.randbelow(2) else other)
            assert expect_proven(register, register.log_writer.append(sealed_receipt())) == turn + 1
        expect_consistent(register_of(one), 60)


def test_the_log_itself_tells_no_receipt(app: Flask) -> None:
    register = register_of(app)
    logged = append_many(register, 3)
    with register.database.reading() as connection:
        entries = b"".join(entry for (entry,) in connection.execute(text("SELECT entry FROM log_entries")))
    for each in logged:
        assert each.record.receipt_sha256.hex().encode() not in entries
        assert each.record.receipt_sha256 not in entries
