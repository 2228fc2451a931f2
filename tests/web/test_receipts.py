"""What only the holder may read: with token, proof of possession and share; and every way to be refused."""

import io
import json
import random
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from schemas.proofs import Problem
from server.core.encoding import format_base64url, sha256
from server.core.jws import sign_jws
from server.usecases.verify_bundle import verify_file
from tests.fixtures.anchoring import anchoring_of
from tests.fixtures.holders import Holder, Submission, new_share
from tests.fixtures.servers import PUBLIC_URL, footprint, make_settings, post, register_of, running


@dataclass(frozen=True)
class Recorded:
    """A holder with one record, and what they send to read it."""

    app: Flask
    holder: Holder
    submission: Submission
    answer: dict[str, Any]
    token: str
    share: str
    path: str

    @property
    def url(self) -> str:
        return PUBLIC_URL + self.path

    def dpop(self, **changes: Any) -> str:
        return self.holder.dpop(self.token, "GET", self.url, **changes)

    def get(self, *, drop: tuple[str, ...] = (), **headers: str) -> TestResponse:
        given = {
            "Authorization": f"DPoP {self.token}",
            "DPoP": headers.pop("proof", None) or self.dpop(),
            "Objection-Holder-Share": self.share,
        } | headers
        sent = {name: value for name, value in given.items() if name not in drop}
        return self.app.test_client().get(self.path, headers=sent)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    with running(make_settings(tmp_path_factory.mktemp("register"))) as app:
        yield app


def record(app: Flask) -> Recorded:
    holder = Holder()
    submission = holder.objection()
    response = post(app, submission)
    assert response.status_code == 201
    answer = json.loads(response.data)
    path = f"/v1/receipts/{submission.sha256}"
    return Recorded(app, holder, submission, answer, answer["token"], submission.holder_share, path)


@pytest.fixture(scope="module")
def mine(app: Flask) -> Recorded:
    return record(app)


@pytest.fixture(scope="module")
def theirs(app: Flask) -> Recorded:
    return record(app)


def test_the_answer_again(mine: Recorded) -> None:
    response = mine.get()
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert {**json.loads(response.data), "proof": ""} == {**mine.answer, "proof": "", "anchored_entries": 0}


def test_the_bundle_passes_the_offline_verifier(mine: Recorded) -> None:
    bundle = replace(mine, path=f"{mine.path}/bundle")
    response = bundle.get()
    assert response.status_code == 200
    assert response.content_type == "application/vnd.etsi.asic-e+zip"
    assert response.headers["Cache-Control"] == "no-store"
    report = verify_file(response.data, policy=None, now=int(time.time()))
    assert report.valid, report.checks
    report = verify_file(response.data, policy=register_of(mine.app).keyring.policy, now=int(time.time()))
    assert report.valid, report.checks
    assert report.facts["receipt_sha256"] == mine.submission.sha256
    with zipfile.ZipFile(io.BytesIO(response.data)) as files:
        assert files.read("receipt.jws") == mine.submission.receipt.encode()
        assert files.read("token.sd-jwt") == mine.token.encode()
        for name, data in mine.submission.evidence.items():
            assert files.read(f"evidence/{name}") == data


def test_the_proof_of_what_the_registers_own_clock_stamped_leads_there(tmp_path: Path) -> None:
    with running(make_settings(tmp_path)) as app:
        register, recorded = register_of(app), record(app)
        assert (recorded.answer["state"], json.loads(recorded.get().data)["state"]) == ("recorded", "recorded")
        anchored = anchoring_of(app).run_once()
        assert anchored is not None
        record(app)  # the newest checkpoint is now another than the anchored one
        answer = json.loads(recorded.get().data)
        assert answer["state"] == "recorded", "no independent clock"
        assert answer["proof"].endswith(f"\n\n{anchored.note}")
        assert answer["token"] == recorded.answer["token"]
        bundle = replace(recorded, path=f"{recorded.path}/bundle").get()
        report = verify_file(bundle.data, policy=register.keyring.policy, now=int(time.time()))
        assert report.valid, report.checks
        assert report.facts["log_size"] == 1


def test_the_bundle_of_one_record_is_not_for_another(mine: Recorded, theirs: Recorded) -> None:
    refused = replace(mine, path=f"{theirs.path}/bundle").get()
    assert (refused.status_code, json.loads(refused.data)["code"]) == (403, "not_the_holder")


def token_of_another_register(recorded: Recorded) -> str:
    header = {"alg": "ES256", "kid": register_of(recorded.app).keyring.issuer_kid, "typ": "dc+sd-jwt", "x5c": ["AA=="]}
    return sign_jws(header, {"receipt_sha256": recorded.submission.sha256}, Holder().key) + "~"


def unsigned(recorded: Recorded) -> str:
    head, payload, _ = recorded.token.split(".")
    return f"{head}.{payload}.{format_base64url(bytes(64))}~"


def bare_dpop(recorded: Recorded, header: dict[str, Any], claims: dict[str, Any]) -> str:
    fixed = {
        "jti": new_share(),
        "htm": "GET",
        "htu": recorded.url,
        "iat": int(time.time()),
        "ath": format_base64url(sha256(recorded.token.encode())),
    }
    shown = {"alg": "ES256", "jwk": recorded.holder.jwk, "typ": "dpop+jwt"} | header
    kept = {name: value for name, value in (fixed | claims).items() if value is not None}
    return sign_jws(shown, kept, recorded.holder.key)


def header(name: str, value: Callable[[Recorded], str]) -> Callable[[Recorded], TestResponse]:
    return lambda mine: mine.get(**{name: value(mine)})


def dpop(**changes: Any) -> Callable[[Recorded], TestResponse]:
    return lambda mine: mine.get(proof=mine.dpop(**changes))


def proof(header: dict[str, Any] | None = None, **claims: Any) -> Callable[[Recorded], TestResponse]:
    return lambda mine: mine.get(proof=bare_dpop(mine, header or {}, claims))


CASES: list[tuple[str, Callable[[Recorded], TestResponse], str]] = [
    ("no authorization", lambda mine: mine.get(drop=("Authorization",)), "token_missing"),
    ("bearer", header("Authorization", lambda mine: f"Bearer {mine.token}"), "token_missing"),
    ("no scheme", header("Authorization", lambda mine: mine.token), "token_missing"),
    ("no space", header("Authorization", lambda mine: f"DPoP{mine.token}"), "token_missing"),
    ("no token", header("Authorization", lambda _: "DPoP "), "token_refused"),
    ("two tokens", header("Authorization", lambda mine: f"DPoP {mine.token} {mine.token}"), "token_refused"),
    ("nonsense", header("Authorization", lambda _: "DPoP x.y.z~"), "token_refused"),
    ("token cut", header("Authorization", lambda mine: f"DPoP {mine.token[:-10]}~"), "token_refused"),
    ("token unsigned", header("Authorization", lambda mine: f"DPoP {unsigned(mine)}"), "token_refused"),
    ("token forged", header("Authorization", lambda mine: f"DPoP {token_of_another_register(mine)}"), "token_refused"),
    ("receipt as a token", header("Authorization", lambda m: f"DPoP {m.submission.receipt}~"), "token_refused"),
    ("a disclosure", header("Authorization", lambda mine: f"DPoP {mine.token}{new_share()}~"), "token_refused"),
    ("no proof", lambda mine: mine.get(drop=("DPoP",)), "dpop_refused"),
    ("two proofs", lambda mine: mine.get(proof=f"{mine.dpop()}, {mine.dpop()}"), "dpop_refused"),
    ("proof nonsense", lambda mine: mine.get(proof="x"), "dpop_refused"),
    ("proof too long", lambda mine: mine.get(proof="x" * 5000), "dpop_refused"),
    ("another method", dpop(htm="POST"), "dpop_refused"),
    ("another host", dpop(htu="https://other.example/v1/receipts"), "dpop_refused"),
    ("another path", dpop(htu=f"{PUBLIC_URL}/v1/receipts"), "dpop_refused"),
    ("another token", dpop(ath=format_base64url(sha256(b"other"))), "dpop_refused"),
    ("too old", dpop(iat=int(time.time()) - 310), "dpop_refused"),
    ("too early", dpop(iat=int(time.time()) + 86_400), "dpop_refused"),
    ("one claim more", dpop(exp=1), "dpop_refused"),
    ("iat is text", dpop(iat="now"), "dpop_refused"),
    ("iat is true", dpop(iat=True), "dpop_refused"),
    ("no jti", proof(jti=None), "dpop_refused"),
    ("no ath", proof(ath=None), "dpop_refused"),
    ("another type", proof({"typ": "JWT"}), "dpop_refused"),
    ("alg none", proof({"alg": "none"}), "dpop_refused"),
    ("another key shown", proof({"jwk": Holder().jwk}), "dpop_refused"),
    ("header too much", proof({"kid": "1"}), "dpop_refused"),
    ("another key", lambda m: m.get(proof=Holder().dpop(m.token, "GET", m.url)), "dpop_refused"),
]


CHALLENGES = {  # RFC 9449, section 7.1; without credentials there is no error to name (RFC 6750, section 3.1)
    "token_missing": 'DPoP algs="ES256"',
    "token_refused": 'DPoP error="invalid_token", algs="ES256"',
    "dpop_refused": 'DPoP error="invalid_dpop_proof", algs="ES256"',
    "dpop_replayed": 'DPoP error="invalid_dpop_proof", algs="ES256"',
}


def refused(response: TestResponse, status: int, code: str) -> None:
    problem = json.loads(response.data)
    assert (response.status_code, problem["code"]) == (status, code), problem
    assert response.content_type == "application/problem+json"
    assert not Problem().validate(problem)
    assert response.headers.get("WWW-Authenticate") == CHALLENGES.get(code)


@pytest.mark.parametrize(("ask", "code"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_not_authorised(mine: Recorded, ask: Callable[[Recorded], TestResponse], code: str) -> None:
    before = footprint(register_of(mine.app))
    refused(ask(mine), 401, code)
    assert footprint(register_of(mine.app)) == before, "a stranger fills the replay cache"


@pytest.mark.parametrize("scheme", ["DPoP ", "dpop ", "DPOP ", "dPoP   "])
def test_the_scheme_is_read_without_its_case(mine: Recorded, scheme: str) -> None:
    """RFC 9110, section 11.1; one or more spaces stand behind it (section 11.4)."""
    assert mine.get(Authorization=f"{scheme}{mine.token}").status_code == 200


def test_a_share_that_was_not_sent_is_not_said_to_be_a_bad_proof(mine: Recorded) -> None:
    refused(mine.get(drop=("Objection-Holder-Share",)), 400, "holder_share_missing")


def test_a_proof_of_possession_serves_once(mine: Recorded) -> None:
    proof = mine.dpop()
    assert mine.get(proof=proof).status_code == 200
    refused(mine.get(proof=proof), 401, "dpop_replayed")
    refused(replace(mine, share=new_share()).get(proof=proof), 401, "dpop_replayed")


def test_a_holder_waits_for_no_writer(mine: Recorded) -> None:
    with register_of(mine.app).database.writing():  # the log's turn; who waits for it gives up after 20 s
        assert mine.get().status_code == 200


def test_another_jti_spelling_is_another_proof_but_one_jti_is_not(mine: Recorded) -> None:
    """A new signature over the same jti is still the same proof."""
    jti = new_share()
    assert mine.get(proof=mine.dpop(jti=jti)).status_code == 200
    refused(mine.get(proof=mine.dpop(jti=jti, iat=int(time.time()) - 3)), 401, "dpop_replayed")


def test_two_holders_may_use_one_jti(mine: Recorded, theirs: Recorded) -> None:
    jti = new_share()
    assert mine.get(proof=mine.dpop(jti=jti)).status_code == 200
    assert theirs.get(proof=theirs.dpop(jti=jti)).status_code == 200


def test_somebody_elses_record(mine: Recorded, theirs: Recorded) -> None:
    before = footprint(register_of(mine.app))
    refused(replace(mine, path=theirs.path).get(), 403, "not_the_holder")
    refused(replace(mine, path=theirs.path, share=theirs.share).get(), 403, "not_the_holder")
    assert footprint(register_of(mine.app)) == before
    # A stolen token without its key is worth nothing either.
    refused(replace(theirs, holder=mine.holder).get(), 401, "dpop_refused")


def test_another_share(mine: Recorded, theirs: Recorded) -> None:
    for share in (new_share(), theirs.share):
        refused(replace(mine, share=share).get(), 403, "holder_share_wrong")
        refused(replace(mine, share=share, path=f"{mine.path}/bundle").get(), 403, "holder_share_wrong")
    refused(replace(mine, share="x").get(), 400, "base64url_malformed")


@pytest.mark.parametrize("name", ["0" * 63, "0" * 65, "x" * 64, "A" * 64, "a" * 63 + "%0a"])
def test_no_id(mine: Recorded, name: str) -> None:
    refused(replace(mine, path=f"/v1/receipts/{name}").get(), 404, "record_not_found")


def test_a_record_that_is_not_there(mine: Recorded, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The token is of this register, the record of another database: the holder's data was erased."""
    from sqlalchemy import text

    other = record(mine.app)
    with register_of(mine.app).database.writing() as connection:
        connection.execute(
            text("DELETE FROM records WHERE receipt_sha256 = :id"), {"id": bytes.fromhex(other.submission.sha256)}
        )
    refused(other.get(), 404, "record_not_found")
    refused(replace(other, path=f"{other.path}/bundle").get(), 404, "record_not_found")


def test_evidence_that_is_gone(app: Flask) -> None:
    from pathlib import Path

    other = record(app)
    before = register_of(app).blobs.segments()
    lost = record(app)
    (segment,) = register_of(app).blobs.segments() - before
    (Path(register_of(app).blobs._path) / segment).unlink()
    refused(lost.get(), 404, "blob_missing")
    assert other.get().status_code == 200


def test_any_page_may_ask_with_these_headers(mine: Recorded) -> None:
    response = mine.app.test_client().options(mine.path)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "DPoP" in response.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in response.headers


def test_one_proof_of_possession_in_many_threads_serves_one(mine: Recorded) -> None:
    proof = mine.dpop()
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: mine.get(proof=proof).status_code, range(8)))
    assert sorted(statuses) == [200] + [401] * 7


def test_whatever_is_damaged_in_the_headers_is_refused_with_a_code(mine: Recorded) -> None:
    dice = random.Random(20_261_124)
    for _ in range(300):
        given = {
            "Authorization": f"DPoP {mine.token}",
            "DPoP": mine.dpop(),
            "Objection-Holder-Share": mine.share,
        }
        name = dice.choice(list(given))
        place = dice.randrange(len(given[name]))
        put = dice.choice(["~", ".", "é", "=", "WyJhIl0", "\xff", "~é~", " ", "\t", ""])
        spoilt = given[name][:place] + put + given[name][place + 1 :]
        if spoilt == given[name]:
            continue
        response = mine.app.test_client().get(mine.path, headers=given | {name: spoilt})
        assert response.status_code in {400, 401, 403}, (name, spoilt, response.data)
        refused(response, response.status_code, json.loads(response.data)["code"])
