"""Every write of the recording path, failing before it happens and although it happened.

The client gets 503, nothing that was acknowledged is lost, the same receipt sent again has one record, and the log
derives anew without a fault.
"""

import contextlib
import gc
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from server.errors import Unavailable
from server.store.blobs import LocalBlobs
from server.usecases.check_log import check_log
from server.usecases.register import Register
from tests.fixtures.auditor import audit
from tests.fixtures.holders import Holder, Submission
from tests.fixtures.sealed import sealed_receipt
from tests.fixtures.servers import footprint, make_settings, post, register_of, running, storage_of

WRITES = [
    "segment put",
    "INSERT status_lists",
    "INSERT records",
    "INSERT slot_digests",
    "INSERT counted_holders",
    "INSERT contributions",
    "INSERT log_entries",
    "UPDATE log_tiles",
    "INSERT log_tiles",
    "UPDATE log_head",
    "COMMIT",
]
READS = [
    *("SELECT log_head", "SELECT records", "SELECT slot_digests", "SELECT erased_receipts", "SELECT status_lists"),
    *("SELECT log_tiles", "SELECT counting", "SELECT counted_holders"),
]


class DiskFull(OSError):
    pass


def operational() -> Exception:
    return OperationalError("statement", {}, Exception("disk I/O error"))


def name_of(statement: str) -> str:
    found = re.match(r'(?s)(INSERT|UPDATE|DELETE|SELECT)\b.*?\b(?:INTO |UPDATE |FROM |(?<=UPDATE ))"?(\w+)', statement)
    if statement.startswith("UPDATE"):
        return "UPDATE " + statement.removeprefix("UPDATE ").partition(" ")[0]
    return f"{found[1]} {found[2]}" if found else statement.partition(" ")[0]


@contextmanager
def failing(register: Register, target: str, when: str, make: Callable[[], Exception]) -> Iterator[list[str]]:
    """Let ``target`` fail once, ``before`` it happens or ``after``. Yields what failed."""
    failed: list[str] = []
    in_log: list[bool] = []  # of commits, that of the log is meant, not those of what is read before
    engine = register.database.engine

    def fail_if(name: str) -> None:
        if name == target and not failed:
            failed.append(name)
            raise make()

    def on_statement(_c: Any, _cursor: Any, statement: str, _p: Any, _x: Any, _many: bool) -> None:
        if name_of(statement) == "UPDATE log_head":
            in_log.append(True)
        fail_if(name_of(statement))

    moment = f"{when}_cursor_execute"
    commit, put_all = engine.dialect.do_commit, LocalBlobs.put_all

    def faulty_commit(connection: Any) -> None:
        if when == "before" and in_log:
            fail_if("COMMIT")
        commit(connection)
        if in_log:
            fail_if("COMMIT")

    def faulty_put(self: LocalBlobs, blobs: Any) -> list[str]:
        if when == "before":
            fail_if("segment put")
        names = put_all(self, blobs)
        fail_if("segment put")
        return names

    with pytest.MonkeyPatch.context() as monkeypatch:
        event.listen(engine, moment, on_statement)
        monkeypatch.setattr(engine.dialect, "do_commit", faulty_commit)
        monkeypatch.setattr(LocalBlobs, "put_all", faulty_put)
        try:
            yield failed
        finally:
            event.remove(engine, moment, on_statement)


def expect_recorded(app: Flask, submission: Submission, *statuses: int) -> str:
    response = post(app, submission)
    assert response.status_code in statuses, response.data
    token: str = json.loads(response.data)["token"]
    return token


def expect_consistent(register: Register, records: int) -> None:
    found = check_log(storage_of(register), progress=lambda _d, _t: None)
    assert found.problems == []
    assert found.records == found.entries == records
    assert len(audit(register).leaves) == records


FAULTS = [(target, when) for target in WRITES for when in ("before", "after")] + [
    (target, "before") for target in READS
]


@pytest.mark.parametrize(("target", "when"), FAULTS)
def test_a_fault_in_recording(tmp_path: Path, storage_settings: dict[str, str], target: str, when: str) -> None:
    """At the first record, and at the fourth, with which a subtree is complete that the writer remembers."""
    make = operational if target not in {"segment put", "COMMIT"} else lambda: DiskFull("no space left")
    tokens: dict[str, tuple[Submission, str]] = {}

    def keep(app: Flask, submission: Submission, *statuses: int) -> None:
        tokens[submission.sha256] = (submission, expect_recorded(app, submission, *statuses))

    settings = make_settings(tmp_path, **storage_settings)
    with running(settings) as app:
        register = register_of(app)
        for _ in range(2):
            faulty = Holder().objection({"a.txt": b"one"})
            with failing(register, target, when, make) as failed:
                response = post(app, faulty)
            if failed:
                problem = json.loads(response.data)
                assert response.status_code == 503, problem
                assert problem["code"] in {"database_unavailable", "log_unavailable", "storage_unavailable"}
                assert int(response.headers["Retry-After"]) > 0
            stored = target == "COMMIT" and when == "after"
            left = footprint(register)
            assert left["records"] == len(tokens) + (stored or not failed)
            if failed and target not in {"COMMIT", "segment put"}:
                assert len(left["segments"]) == len(tokens), "a failed group left its blobs"
            # Another receipt now stands where the faulty one would have stood.
            keep(app, Holder().objection({}), 201)
            keep(app, faulty, 200 if stored or not failed else 201)
            keep(app, Holder().objection({}), 201)
            expect_consistent(register, len(tokens))
        assert register.log_writer.alive()
    with running(settings) as app:
        for submission, token in tokens.values():
            assert expect_recorded(app, submission, 200) == token
        expect_consistent(register_of(app), 6)


LATER_WRITES = {
    "supplement": [
        "segment put",
        "INSERT records",
        "INSERT log_entries",
        "UPDATE log_tiles",
        "UPDATE log_head",
        "COMMIT",
    ],
    "withdrawal": ["INSERT statuses", "UPDATE statuses", "UPDATE contributions", "UPDATE log_head", "COMMIT"],
    "erasure": [
        *("INSERT records", "UPDATE statuses", "INSERT statuses", "INSERT erased_receipts"),
        *("INSERT blobs_to_erase", "DELETE slot_digests", "DELETE records", "UPDATE log_head", "COMMIT"),
        *("SELECT blobs_to_erase", "DELETE blobs_to_erase"),
    ],
}
LATER_FAULTS = [
    (kind, target, when) for kind, targets in LATER_WRITES.items() for target in targets for when in ("before", "after")
]


@pytest.mark.parametrize(("kind", "target", "when"), LATER_FAULTS)
def test_a_fault_in_a_later_receipt(
    tmp_path: Path, storage_settings: dict[str, str], kind: str, target: str, when: str
) -> None:
    """Whatever fails, the same receipt again is recorded once, and what was acknowledged stays so."""
    make = operational if target not in {"segment put", "COMMIT"} else lambda: DiskFull("no space left")
    holder = Holder()
    objection = holder.objection({"a.txt": b"one"})
    later = holder.later(kind, objection)
    settings = make_settings(tmp_path, **storage_settings)
    with running(settings) as app:
        register = register_of(app)
        expect_recorded(app, objection, 201)
        with failing(register, target, when, make) as failed:
            response = post(app, later)
        assert failed, "the table names a statement that is not made"
        if response.status_code == 201:  # what failed came after the acknowledged commit
            assert json.loads(response.data)["token"] == expect_recorded(app, later, 200)
        else:
            assert response.status_code == 503, response.data
            assert json.loads(response.data)["code"] in {
                "database_unavailable",
                "log_unavailable",
                "storage_unavailable",
            }
        token = expect_recorded(app, later, 200, 201)
        found = check_log(storage_of(register), progress=lambda _d, _t: None)
        assert found.problems == []
        assert found.entries == 2
    with running(settings) as app:
        register = register_of(app)
        assert expect_recorded(app, later, 200) == token
        if kind == "erasure":
            assert json.loads(post(app, objection).data)["code"] == "record_erased"
            assert register.blobs.segments() == set()
            assert footprint(register)["records"] == 1
        else:
            status = json.loads(post(app, objection).data)["status"]
            assert status == ("withdrawn" if kind == "withdrawal" else "stands")


def test_the_table_above_names_every_statement(tmp_path: Path, storage_settings: dict[str, str]) -> None:
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, _p: Any, _x: Any, _many: bool) -> None:
        seen.append(name_of(statement))

    with running(make_settings(tmp_path, **storage_settings)) as app:
        event.listen(register_of(app).database.engine, "before_cursor_execute", note)
        for _ in range(2):
            assert post(app, Holder().objection()).status_code == 201
    assert set(seen) - {"BEGIN"} == {*WRITES, *READS} - {"segment put", "COMMIT"}


def test_a_fault_in_a_group_is_told_to_everyone_in_it(tmp_path: Path, storage_settings: dict[str, str]) -> None:
    from tests.usecases.test_record_objection import in_one_group

    submissions = [Holder().objection({}) for _ in range(5)]
    with running(make_settings(tmp_path, **storage_settings)) as app:
        register = register_of(app)
        with failing(register, "UPDATE log_head", "after", operational) as failed:
            responses = in_one_group(app, *submissions)
        assert failed
        assert [response.status_code for response in responses] == [503] * 5
        assert footprint(register)["records"] == 0
        for submission in submissions:
            expect_recorded(app, submission, 201)
        expect_consistent(register, 5)


def test_an_unknown_error_is_no_acknowledgement_either(tmp_path: Path) -> None:
    with running(make_settings(tmp_path)) as app:
        submission = Holder().objection({})
        with failing(register_of(app), "INSERT records", "after", lambda: RuntimeError("what?")):
            response = post(app, submission)
        assert (response.status_code, json.loads(response.data)["code"]) == (503, "log_unavailable")
        assert b"what?" not in response.data
        expect_recorded(app, submission, 201)


def test_a_full_disk_leaves_no_half_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    from server.store import blobs

    def full(file: int, data: Any) -> int:
        os.write(file, bytes(data[:10]))
        raise DiskFull("no space left")

    with running(make_settings(tmp_path)) as app:
        submission = Holder().objection()
        with monkeypatch.context() as patch:
            patch.setattr(blobs, "_write_whole", full)
            response = post(app, submission)
        assert (response.status_code, json.loads(response.data)["code"]) == (503, "storage_unavailable")
        assert register_of(app).blobs.segments() == set()
        expect_recorded(app, submission, 201)


def test_what_nobody_waits_for_any_more_leaves_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from server.usecases import log_writer

    def living() -> list[Any]:
        gc.collect()
        return [each for each in gc.get_objects() if isinstance(each, log_writer.SealedReceipt)]

    monkeypatch.setattr(log_writer, "_WAIT_S", 0.1)
    with running(make_settings(tmp_path)) as app:
        with register_of(app).database.starting():
            for _ in range(4):
                with contextlib.suppress(Unavailable):
                    register_of(app).log_writer.append(sealed_receipt(size=100_000))
            assert living() == []
        monkeypatch.setattr(log_writer, "_WAIT_S", 10)
        expect_recorded(app, Holder().objection({}), 201)
        expect_consistent(register_of(app), 1)


def test_a_nearly_full_disk_takes_objections_without_much_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.store import blobs

    with running(make_settings(tmp_path)) as app:
        much, little = Holder().objection({"a.txt": bytes(100_000)}), Holder().objection({"a.txt": bytes(1_000)})
        with monkeypatch.context() as patch:
            patch.setattr(blobs, "_KEPT_FREE_BYTES", 1 << 60)
            response = post(app, much)
            assert (response.status_code, json.loads(response.data)["code"]) == (503, "storage_full")
            expect_recorded(app, little, 201)
        expect_recorded(app, much, 201)
        with monkeypatch.context() as patch:
            patch.setattr(blobs, "_KEPT_FREE_BYTES", 1 << 60)
            expect_recorded(app, much, 200)  # a repeat needs no room
        expect_consistent(register_of(app), 2)


def test_a_writer_that_is_too_slow_is_said_to_be_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from server.usecases import log_writer

    monkeypatch.setattr(log_writer, "_WAIT_S", 0.2)
    with running(make_settings(tmp_path)) as app:
        submission = Holder().objection({})
        with register_of(app).database.starting():
            response = post(app, submission)
        assert (response.status_code, json.loads(response.data)["code"]) == (503, "log_busy")
        monkeypatch.setattr(log_writer, "_WAIT_S", 10)
        expect_recorded(app, submission, 201)  # what nobody waited for any more was not recorded
        expect_consistent(register_of(app), 1)
