"""The work proof: bound to one receipt, spent once, and never a condition for a proof."""

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import altcha
import pytest
from flask import Flask
from werkzeug.test import TestResponse

from server.outside.work import FIRST_TRY, LIFE_S, TRIES, create_challenge
from tests.fixtures.holders import Holder, Submission
from tests.fixtures.servers import MULTIPART, footprint, format_multipart, make_settings, parts_of, register_of, running


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with running(make_settings(tmp_path, work="2")) as app:
        yield app


def challenge_of(app: Flask, submission: Submission) -> dict[str, Any]:
    response = app.test_client().get(f"/v1/work/{submission.sha256}")
    assert response.status_code == 200, response.data
    assert response.headers["Cache-Control"] == "no-store"
    challenge: dict[str, Any] = json.loads(response.data)
    return challenge


def solve(challenge: dict[str, Any]) -> dict[str, Any]:
    """Solve with ALTCHA's own solver."""
    solution = altcha.solve_challenge(altcha.Challenge.from_dict(challenge))
    assert solution is not None
    solved = {"counter": solution.counter, "derivedKey": solution.derived_key}
    return {"challenge": challenge, "solution": solved}


def post_with(app: Flask, submission: Submission, *works: str) -> TestResponse:
    parts = parts_of(submission)
    body = format_multipart([*parts[:2], *(("work", None, work.encode()) for work in works), *parts[2:]])
    return app.test_client().post("/v1/receipts", data=body, content_type=MULTIPART)


def assurance_of(response: TestResponse) -> str:
    assert response.status_code in {200, 201}, response.data
    payload = json.loads(response.data)["token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assurance: str = claims["assurance"]
    return assurance


def code_of(response: TestResponse) -> tuple[int, str]:
    return response.status_code, json.loads(response.data)["code"]


def test_work_is_told_in_the_token_and_counted(app: Flask) -> None:
    objection, lazy = Holder().objection(), Holder().objection()
    proof = solve(challenge_of(app, objection))
    assert FIRST_TRY <= proof["solution"]["counter"] < FIRST_TRY + TRIES
    assert assurance_of(post_with(app, objection, json.dumps(proof))) == "work"
    assert assurance_of(post_with(app, lazy)) == "device", "nobody is refused a proof"
    assert footprint(register_of(app))["contributions"] == 1, "only what work went into is counted"


def test_where_no_work_is_asked_for_all_count(tmp_path: Path) -> None:
    with running(make_settings(tmp_path, work="0")) as app:
        assert code_of(app.test_client().get(f"/v1/work/{'0' * 64}")) == (404, "work_off")
        assert assurance_of(post_with(app, Holder().objection())) == "device"
        assert footprint(register_of(app))["contributions"] == 1


def changed(proof: dict[str, Any], *path: str, to: object) -> str:
    copy = json.loads(json.dumps(proof))
    place = copy
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = to
    return json.dumps(copy)


def test_what_does_not_hold_is_refused_and_nothing_is_kept(app: Flask) -> None:
    objection = Holder().objection()
    proof = solve(challenge_of(app, objection))
    before = footprint(register_of(app))
    counter = proof["solution"]["counter"]
    mismatches = [
        changed(proof, "solution", "derivedKey", to="0" * 64),
        changed(proof, "challenge", "signature", to="0" * 64),
        changed(proof, "challenge", "parameters", "cost", to=1),
        changed(proof, "challenge", "parameters", "keyPrefix", to="0" * 32),
        changed(proof, "challenge", "parameters", "expiresAt", to=int(time.time()) + 9_999),
        changed(proof, "challenge", "parameters", "data", "receipt_sha256", to="0" * 64),
    ]
    for work in mismatches:
        assert code_of(post_with(app, objection, work)) == (422, "work_mismatch"), work
    malformed = [
        "",
        "null",
        "[]",
        "{}",
        "{",
        "é",
        json.dumps(proof) + " " * 3000,
        changed(proof, "solution", "counter", to=-1),
        changed(proof, "solution", "counter", to=str(counter)),
        changed(proof, "solution", "took", to=5),
        changed(proof, "challenge", to="text"),
        changed(proof, "challenge", "parameters", "algorithm", to="ARGON2ID"),
        changed(proof, "challenge", "parameters", "cost", to=10**9),
    ]
    for work in malformed:
        assert code_of(post_with(app, objection, work)) == (400, "work_malformed"), work
    assert code_of(post_with(app, objection, json.dumps(proof), json.dumps(proof))) == (400, "part_unexpected")
    assert footprint(register_of(app)) == before
    assert assurance_of(post_with(app, objection, json.dumps(proof))) == "work"


def test_work_is_for_one_receipt_only(app: Flask) -> None:
    first, second = Holder().objection(), Holder().objection()
    work = json.dumps(solve(challenge_of(app, first)))
    assert code_of(post_with(app, second, work)) == (422, "work_mismatch")
    assert assurance_of(post_with(app, first, work)) == "work"
    assert code_of(post_with(app, second, work)) == (422, "work_mismatch")


def expired(app: Flask, submission: Submission) -> str:
    secret = register_of(app).keyring.work_secret
    past = int(time.time()) - LIFE_S - 1
    return json.dumps(solve(create_challenge(bytes.fromhex(submission.sha256), secret=secret, cost=2, now=past)))


def test_old_work_is_refused_but_for_a_receipt_that_is_recorded(app: Flask) -> None:
    objection = Holder().objection()
    old = expired(app, objection)
    assert code_of(post_with(app, objection, old)) == (422, "work_expired")
    first = post_with(app, objection, json.dumps(solve(challenge_of(app, objection))))
    for works in ((old,), (), ("{}",)):
        again = post_with(app, objection, *works)
        assert again.status_code == 200
        assert json.loads(again.data)["token"] == json.loads(first.data)["token"]


def test_a_lazy_receipt_stays_what_it_is(app: Flask) -> None:
    objection = Holder().objection()
    assert assurance_of(post_with(app, objection)) == "device"
    work = json.dumps(solve(challenge_of(app, objection)))
    assert assurance_of(post_with(app, objection, work)) == "device", "the same receipt has the same token, always"


def test_another_registers_challenge_is_worth_nothing(app: Flask, tmp_path: Path) -> None:
    objection = Holder().objection()
    other = replace(register_of(app).keyring, work_secret=bytes(32))
    challenge = create_challenge(
        bytes.fromhex(objection.sha256), secret=other.work_secret, cost=1, now=int(time.time())
    )
    assert code_of(post_with(app, objection, json.dumps(solve(challenge)))) == (422, "work_mismatch")


def test_only_an_objection_takes_work(app: Flask) -> None:
    holder = Holder()
    objection = holder.objection()
    post_with(app, objection)
    withdrawal = holder.later("withdrawal", objection)
    work = json.dumps(solve(challenge_of(app, withdrawal)))
    assert code_of(post_with(app, withdrawal, work)) == (400, "part_unexpected")


@pytest.mark.parametrize("name", ["x", "A" * 64, "0" * 63])
def test_a_challenge_is_for_a_receipts_hash(app: Flask, name: str) -> None:
    assert code_of(app.test_client().get(f"/v1/work/{name}")) == (404, "not_found")
