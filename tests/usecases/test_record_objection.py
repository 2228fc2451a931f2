"""Recording over HTTP, on both databases: once, whatever is repeated, and never twice what contradicts itself."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text
from werkzeug.test import TestResponse

from server.core.encoding import format_base64url
from server.core.proofs import format_entry, parse_proof, verify_proof
from server.core.tokens import verify_token
from server.usecases.check_log import check_log
from server.usecases.log_writer import Logged, SealedReceipt
from server.usecases.register import Register
from tests.fixtures.holders import Holder, Submission, new_share
from tests.fixtures.sealed import wait_for_queue
from tests.fixtures.servers import footprint, make_settings, post, register_of, running, storage_of


@pytest.fixture
def app(tmp_path: Path, storage_settings: dict[str, str]) -> Iterator[Flask]:
    with running(make_settings(tmp_path, **storage_settings)) as app:
        yield app


def answer_of(response: TestResponse, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.data
    answer: dict[str, Any] = json.loads(response.data)
    return answer


def code_of(response: TestResponse) -> tuple[int, str]:
    return response.status_code, json.loads(response.data)["code"]


def expect_proven(register: Register, answer: dict[str, Any]) -> int:
    """Check token and proof of an answer; return the log's size under its checkpoint."""
    claims = verify_token(answer["token"], register.keyring.policy).claims
    proof = parse_proof(answer["proof"])
    receipt_sha256 = bytes.fromhex(answer["receipt_sha256"])
    entry = format_entry(
        kind="objection", salt=proof.salt, receipt_sha256=receipt_sha256, received_at=answer["received_at"]
    )
    assert claims["receipt_sha256"] == answer["receipt_sha256"]
    assert claims["received_at"] == claims["iat"] == answer["received_at"]
    assert claims["log"] == {"origin": register.keyring.log_name, "index": proof.index}
    return verify_proof(proof, entry=entry, log=register.keyring.policy.log).size


def expect_consistent(register: Register, records: int) -> None:
    storage = storage_of(register)
    found = check_log(storage, progress=lambda _done, _total: None)
    assert found.problems == []
    assert found.records == found.entries == records


def in_one_group(app: Flask, *submissions: Submission) -> list[TestResponse]:
    """Record ``submissions`` while the log is held, so that the writer finds them all waiting; in that order."""
    register = register_of(app)
    arrived: list[None] = []
    append = type(register.log_writer).append

    def counted(receipt: SealedReceipt) -> Logged:
        arrived.append(None)
        return append(register.log_writer, receipt)

    register.log_writer.append = counted  # type: ignore[method-assign]
    with ThreadPoolExecutor(len(submissions)) as pool:
        futures: list[Future[TestResponse]] = []
        with register.database.starting():
            for number, submission in enumerate(submissions):
                futures.append(pool.submit(post, app, submission))
                deadline = time.monotonic() + 60
                while len(arrived) <= number:
                    assert time.monotonic() < deadline
                    time.sleep(0.001)
                time.sleep(0.05 if number == 0 else 0)
                # The writer has taken the first and waits for the log; the others queue behind it.
                wait_for_queue(register, number)
        return [future.result(timeout=60) for future in futures]


def test_answer_of_a_first_recording(app: Flask) -> None:
    register = register_of(app)
    submission = Holder().objection()
    before = int(time.time())
    answer = answer_of(post(app, submission), 201)
    assert answer.keys() == {"receipt_sha256", "kind", "received_at", "state", "status", "token", "proof"}
    assert answer["receipt_sha256"] == submission.sha256
    assert answer["state"] == "recorded"
    assert before <= answer["received_at"] <= time.time()
    assert expect_proven(register, answer) == 1
    expect_consistent(register, 1)


def test_a_repeat_gets_the_same_token_and_a_fresh_proof(app: Flask) -> None:
    register = register_of(app)
    holder = Holder()
    submission = holder.objection()
    first = answer_of(post(app, submission), 201)
    for _ in range(3):
        answer_of(post(app, holder.objection()), 201)
    before = footprint(register)
    again = answer_of(post(app, submission), 200)
    assert footprint(register) == before
    assert {**again, "proof": ""} == {**first, "proof": ""}
    assert expect_proven(register, first) == 1
    assert expect_proven(register, again) == 4
    expect_consistent(register, 4)


@pytest.mark.parametrize("kind", ["objection", "supplement", "withdrawal"])
def test_a_repeat_long_after_gets_the_answer_that_never_came(
    app: Flask, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = Holder()
    objection = holder.objection()
    first = answer_of(post(app, objection), 201)
    submission = objection
    if kind != "objection":
        submission = holder.later(kind, objection)
        first = answer_of(post(app, submission), 201)
    late = int(time.time()) + 40 * 86_400
    monkeypatch.setattr(time, "time", lambda: late)
    again = answer_of(post(app, submission), 200)
    assert {**again, "proof": ""} == {**first, "proof": ""}
    response = post(app, holder.objection(iat=late - 40 * 86_400))
    assert (response.status_code, json.loads(response.data)["code"]) == (422, "receipt_stale")


def test_sixteen_threads_with_one_receipt(app: Flask) -> None:
    submission = Holder().objection()
    with ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(lambda _: post(app, submission), range(16)))
    assert sorted(response.status_code for response in responses) == [200] * 15 + [201]
    assert len({json.loads(response.data)["token"] for response in responses}) == 1
    expect_consistent(register_of(app), 1)


def test_twice_within_one_group_commit(app: Flask) -> None:
    register = register_of(app)
    submission, other = Holder().objection(), Holder().objection()
    first, second, third = in_one_group(app, submission, other, submission)
    assert [response.status_code for response in (first, second, third)] == [201, 201, 200]
    assert len(register.blobs.segments()) == 1, "not one group"
    assert json.loads(first.data)["token"] == json.loads(third.data)["token"]
    assert {expect_proven(register, json.loads(r.data)) for r in (first, second, third)} == {2}
    expect_consistent(register, 2)


def test_another_share_for_the_same_receipt(app: Flask) -> None:
    submission = Holder().objection()
    answer_of(post(app, submission), 201)
    before = footprint(register_of(app))
    assert code_of(post(app, replace(submission, holder_share=new_share()))) == (409, "holder_share_wrong")
    assert footprint(register_of(app)) == before
    answer_of(post(app, submission), 200)


def test_another_share_within_one_group(app: Flask) -> None:
    submission = Holder().objection()
    other = replace(submission, holder_share=new_share())
    first, second = in_one_group(app, submission, other)
    assert first.status_code == 201
    assert code_of(second) == (409, "holder_share_wrong")


def conflicting(kind: str) -> tuple[Submission, Submission]:
    holder = Holder()
    if kind == "jti_reused":
        jti = format_base64url(bytes(16))
        return holder.objection(jti=jti), holder.objection(jti=jti)
    digest = new_share()

    def slots() -> dict[str, Any]:
        return {"account": {"_sd": [new_share()]}, "contact": {"_sd": [digest]}, "person": {"_sd": [new_share()]}}

    return holder.objection(self_asserted=slots()), Holder().objection(self_asserted=slots())


@pytest.mark.parametrize("kind", ["jti_reused", "digest_reused"])
def test_what_contradicts_a_record(app: Flask, kind: str) -> None:
    first, second = conflicting(kind)
    answer_of(post(app, first), 201)
    before = footprint(register_of(app))
    assert code_of(post(app, second)) == (409, kind)
    assert footprint(register_of(app)) == before
    expect_consistent(register_of(app), 1)


@pytest.mark.parametrize("kind", ["jti_reused", "digest_reused"])
def test_what_contradicts_another_in_the_same_group(app: Flask, kind: str) -> None:
    first, second = conflicting(kind)
    responses = in_one_group(app, first, second, Holder().objection())
    assert [response.status_code for response in responses] == [201, 409, 201]
    assert code_of(responses[1]) == (409, kind)
    expect_consistent(register_of(app), 2)


def test_another_holder_may_use_the_same_jti(app: Flask) -> None:
    """Else one holder could block another's receipt by guessing it."""
    jti = format_base64url(bytes(16))
    answer_of(post(app, Holder().objection(jti=jti)), 201)
    answer_of(post(app, Holder().objection(jti=jti)), 201)


def test_status_indexes_are_unique_and_tell_no_order(app: Flask) -> None:
    holder = Holder()
    indexes = []
    for _ in range(12):
        token = answer_of(post(app, holder.objection({})), 201)["token"]
        status = verify_token(token, register_of(app).keyring.policy).claims["status"]["status_list"]
        assert status["uri"].endswith("/v1/status-lists/0")
        indexes.append(status["idx"])
    assert len(set(indexes)) == 12
    assert indexes != sorted(indexes)
    assert max(indexes) > 1000


def test_a_restart_continues_the_log(tmp_path: Path, storage_settings: dict[str, str]) -> None:
    settings = make_settings(tmp_path, **storage_settings)
    submission = Holder().objection()
    with running(settings) as app:
        first = answer_of(post(app, submission), 201)
    with running(settings) as app:
        again = answer_of(post(app, submission), 200)
        assert again["token"] == first["token"]
        assert expect_proven(register_of(app), answer_of(post(app, Holder().objection()), 201)) == 2
        expect_consistent(register_of(app), 2)


def test_two_registers_on_the_same_data_take_turns(tmp_path: Path, storage_settings: dict[str, str]) -> None:
    settings = make_settings(tmp_path, **storage_settings)
    with running(settings) as one, running(settings) as other, ThreadPoolExecutor(8) as pool:
        submissions = [Holder().objection({}) for _ in range(24)]
        both = [(app, submission) for submission in submissions for app in (one, other)]
        statuses = list(pool.map(lambda pair: post(*pair).status_code, both))
        assert sorted(statuses) == [200] * 24 + [201] * 24
        expect_consistent(register_of(one), 24)


def test_no_address_and_no_holder_key_is_stored(app: Flask, storage_settings: dict[str, str]) -> None:
    """What leads from a record to its holder stands only in the sealed bytes."""
    holder = Holder()
    answer_of(post(app, holder.objection()), 201)
    with register_of(app).database.reading() as connection:
        tables = ("records", "log_entries", "log_tiles", "log_head", "slot_digests")
        stored = repr([list(connection.execute(text(f"SELECT * FROM {table}"))) for table in tables])
    assert holder.jwk["x"] not in stored
    assert "127.0.0" not in stored
