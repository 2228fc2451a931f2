"""Whatever is wrong with a submission: its own stable code, a valid problem document, and nothing stored."""

import base64
import json
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from flask import Flask

from schemas.proofs import Problem, VerificationReport
from server.core.encoding import format_base64url
from tests.fixtures.holders import Holder, Submission, evidence_items, new_share
from tests.fixtures.records import make_record
from tests.fixtures.servers import (
    BOUNDARY,
    MULTIPART,
    PUBLIC_URL,
    Part,
    footprint,
    format_multipart,
    make_settings,
    parts_of,
    post,
    register_of,
    running,
)

DAY_S = 86_400


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    with running(make_settings(tmp_path_factory.mktemp("register"))) as app:
        yield app


@dataclass(frozen=True)
class Sent:
    """A request as it travels."""

    body: bytes
    content_type: str = MULTIPART
    method: str = "POST"
    path: str = "/v1/receipts"


def sent(parts: Sequence[Part]) -> Sent:
    return Sent(format_multipart(parts))


def with_receipt(receipt: str, submission: Submission | None = None) -> Sent:
    base = submission or Holder().objection({})
    return sent(parts_of(Submission(receipt, base.holder_share, base.evidence)))


def objection(**changes: Any) -> Sent:
    return sent(parts_of(Holder().objection({}, **changes)))


def payload_of(submission: Submission) -> dict[str, Any]:
    raw = submission.receipt.split(".")[1]
    payload: dict[str, Any] = json.loads(base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)))
    return payload


def signed_by_us(holder: Holder, raw_payload: bytes) -> str:
    """Sign bytes that need not be JSON as our signer writes it."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    head = holder.sign({}).split(".")[0]
    signing_input = f"{head}.{format_base64url(raw_payload)}"
    r, s = decode_dss_signature(holder.key.sign(signing_input.encode(), ec.ECDSA(SHA256())))
    return f"{signing_input}.{format_base64url(r.to_bytes(32) + s.to_bytes(32))}"


def raw_payload(edit: Callable[[str], str]) -> Sent:
    holder = Holder()
    text = json.dumps(payload_of(holder.objection({})), separators=(",", ":"), sort_keys=True)
    assert edit(text) != text
    return with_receipt(signed_by_us(holder, edit(text).encode()))


def with_header(**members: Any) -> Sent:
    holder = Holder()
    return with_receipt(holder.sign(payload_of(holder.objection({})), **members))


def wrong_signature() -> Sent:
    receipt = Holder().objection({}).receipt
    other = Holder().objection({}).receipt
    return with_receipt(f"{receipt.rpartition('.')[0]}.{other.rpartition('.')[2]}")


def rsa_jwk() -> dict[str, str]:
    numbers = rsa.generate_private_key(65_537, 2048).public_key().public_numbers()
    return {"kty": "RSA", "n": format_base64url(numbers.n.to_bytes(256)), "e": "AQAB"}


def p384_jwk() -> dict[str, str]:
    numbers = ec.generate_private_key(ec.SECP384R1()).public_key().public_numbers()
    x, y = format_base64url(numbers.x.to_bytes(48)), format_base64url(numbers.y.to_bytes(48))
    return {"kty": "EC", "crv": "P-384", "x": x, "y": y}


def private_jwk() -> Sent:
    holder = Holder()
    d = format_base64url(holder.key.private_numbers().private_value.to_bytes(32))
    return with_receipt(holder.sign(payload_of(holder.objection({})), jwk=holder.jwk | {"d": d}))


def not_canonical(part: int) -> Sent:
    """Set bits that the last character of a part leaves unused, or pad it where there are none."""
    parts = Holder().objection({}).receipt.split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    text = parts[part]
    parts[part] = text + "=" if len(text) % 4 == 0 else text[:-1] + alphabet[alphabet.index(text[-1]) | 1]
    return with_receipt(".".join(parts))


def changed_evidence(edit: Callable[[dict[str, bytes]], dict[str, bytes]]) -> Sent:
    submission = Holder().objection({"a.txt": b"one", "b.txt": b"two"})
    return sent(parts_of(Submission(submission.receipt, submission.holder_share, edit(dict(submission.evidence)))))


def with_parts(edit: Callable[[list[Part]], list[Part]]) -> Sent:
    return sent(edit(parts_of(Holder().objection({"a.txt": b"one"}))))


def without_name(disposition: bytes) -> Sent:
    part = f"--{BOUNDARY}\r\nContent-Disposition: ".encode() + disposition + b"\r\n\r\nx\r\n"
    return Sent(part + objection().body)


def headed(*headers: bytes) -> Sent:
    """Give the first part more headers."""
    return Sent(objection().body.replace(b"\r\n\r\n", b"\r\n" + b"\r\n".join(headers) + b"\r\n\r\n", 1))


def with_share(share: str) -> Sent:
    submission = Holder().objection({})
    return sent(parts_of(Submission(submission.receipt, share, {})))


def later_kind(kind: str) -> Sent:
    extra: dict[str, Any] = {"evidence": evidence_items({"a.txt": b"one"})} if kind == "supplement" else {}
    holder = Holder()
    common = {key: payload_of(holder.objection({}))[key] for key in ("jti", "iat", "controller")}
    receipt = holder.sign(common | {"kind": kind, "objection_sha256": "0" * 64} | extra)
    files = {"a.txt": b"one"} if extra else {}
    return sent(parts_of(Submission(receipt, new_share(), files)))


def practice_url() -> Sent:
    notice = payload_of(Holder().objection({}))["notice"] | {"url": "http://127.0.0.1:8000/practice"}
    return objection(notice=notice)


def slots(digests: Sequence[str]) -> dict[str, Any]:
    return {slot: {"_sd": [digest]} for slot, digest in zip(("account", "contact", "person"), digests, strict=True)}


def item(name: str, size: int) -> dict[str, Any]:
    return {"name": name, "media_type": "text/plain", "size": size, "sha256": "0" * 64}


def naming(items: list[dict[str, Any]]) -> Sent:
    holder = Holder()
    return with_receipt(holder.sign(payload_of(holder.objection({})) | {"evidence": items}))


def big_items() -> list[dict[str, Any]]:
    return [item("a.txt", 4_194_304), item("b.txt", 4_194_304), item("c.txt", 1)]


def big_evidence() -> Sent:
    return sent(parts_of(Holder().objection({"a.txt": bytes(4_194_305)})))


CASES: list[tuple[str, Callable[[], Sent], int, str]] = [
    # What travels
    ("body over 10 MiB", lambda: Sent(bytes(10_485_761)), 413, "body_too_large"),
    ("evidence over 4 MiB", big_evidence, 413, "body_too_large"),
    ("JSON body", lambda: Sent(b"{}", "application/json"), 415, "media_type_refused"),
    ("no media type", lambda: Sent(b"x", ""), 415, "media_type_refused"),
    ("form, not multipart", lambda: Sent(b"receipt=x", "application/x-www-form-urlencoded"), 415, "media_type_refused"),
    ("no boundary", lambda: Sent(b"x", "multipart/form-data"), 400, "multipart_malformed"),
    ("no parts at all", lambda: Sent(b"hello"), 400, "multipart_malformed"),
    ("cut off", lambda: Sent(objection().body[:-40]), 400, "multipart_malformed"),
    ("empty body", lambda: Sent(b""), 400, "part_missing"),
    ("only the end mark", lambda: Sent(f"--{BOUNDARY}--\r\n".encode()), 400, "part_missing"),
    ("no receipt", lambda: with_parts(lambda parts: parts[1:]), 400, "part_missing"),
    ("no holder share", lambda: with_parts(lambda parts: [parts[0], *parts[2:]]), 400, "part_missing"),
    (
        "receipt as a file",
        lambda: with_parts(lambda parts: [("receipt", "r.jws", parts[0][2]), *parts[1:]]),
        400,
        "part_missing",
    ),
    ("a long field", lambda: with_share("A" * 65_537), 413, "body_too_large"),
    (
        "long bytes for a text",
        lambda: with_parts(lambda parts: [*parts, ("work", None, b"\xff" * 65_537)]),
        413,
        "body_too_large",
    ),
    ("fourteen parts", lambda: with_parts(lambda parts: [*parts[:2], *[parts[2]] * 12]), 413, "body_too_large"),
    ("two dispositions", lambda: headed(b'Content-Disposition: form-data; name="receipt"'), 400, "multipart_malformed"),
    ("nine headers", lambda: headed(*(b"X-%d: x" % number for number in range(8))), 400, "multipart_malformed"),
    ("receipt twice", lambda: with_parts(lambda parts: [parts[0], *parts]), 400, "part_unexpected"),
    ("share twice", lambda: with_parts(lambda parts: [parts[1], *parts]), 400, "part_unexpected"),
    ("evidence twice", lambda: with_parts(lambda parts: [*parts, parts[2]]), 400, "part_unexpected"),
    ("another field", lambda: with_parts(lambda parts: [*parts, ("name", None, b"x")]), 400, "part_unexpected"),
    ("another file", lambda: with_parts(lambda parts: [*parts, ("photo", "a.png", b"x")]), 400, "part_unexpected"),
    ("evidence as a field", lambda: with_parts(lambda p: [*p[:2], ("evidence", None, b"one")]), 400, "part_unexpected"),
    (
        "share as a file",
        lambda: with_parts(lambda p: [p[0], ("holder_share", "s", p[1][2]), p[2]]),
        400,
        "part_missing",
    ),
    ("field without a name", lambda: without_name(b"form-data"), 400, "part_unexpected"),
    ("file without a name", lambda: without_name(b'form-data; filename="a.txt"'), 400, "part_unexpected"),
    (
        "very many parts",
        lambda: with_parts(lambda parts: [*parts, *[("evidence", f"{n}.txt", b"x") for n in range(40)]]),
        413,
        "body_too_large",
    ),
    # The share
    ("share padded", lambda: with_share(new_share() + "="), 400, "base64url_malformed"),
    ("share of 31 bytes", lambda: with_share(format_base64url(bytes(31))), 400, "base64url_malformed"),
    ("share not canonical", lambda: with_share("A" * 42 + "B"), 400, "base64url_malformed"),
    ("share in standard base64", lambda: with_share("+" + "A" * 42), 400, "base64url_malformed"),
    ("share not ASCII", lambda: with_share("é" * 43), 400, "base64url_malformed"),
    ("share empty", lambda: with_share(""), 400, "base64url_malformed"),
    # The JWS
    ("receipt not ASCII", lambda: with_receipt(Holder().objection({}).receipt + "é"), 400, "jws_malformed"),
    ("receipt empty", lambda: with_receipt(""), 400, "jws_malformed"),
    ("two parts", lambda: with_receipt(Holder().objection({}).receipt.rpartition(".")[0]), 400, "jws_malformed"),
    ("line end after it", lambda: with_receipt(Holder().objection({}).receipt + "\n"), 400, "base64url_malformed"),
    ("receipt over 16 KiB", lambda: with_receipt("A" * 16_385), 413, "receipt_too_large"),
    ("header not canonical", lambda: not_canonical(0), 400, "base64url_malformed"),
    ("payload not canonical", lambda: not_canonical(1), 400, "base64url_malformed"),
    ("signature not canonical", lambda: not_canonical(2), 400, "base64url_malformed"),
    ("alg none", lambda: with_header(alg="none"), 400, "algorithm_refused"),
    ("alg HS256", lambda: with_header(alg="HS256"), 400, "algorithm_refused"),
    ("alg RS256", lambda: with_header(alg="RS256", jwk=rsa_jwk()), 400, "algorithm_refused"),
    ("another type", lambda: with_header(typ="JWT"), 400, "type_refused"),
    ("kid in the header", lambda: with_header(kid="x"), 400, "jws_header_refused"),
    ("crit in the header", lambda: with_header(crit=["exp"]), 400, "jws_header_refused"),
    ("RSA key", lambda: with_header(jwk=rsa_jwk()), 400, "key_refused"),
    ("P-384 key", lambda: with_header(jwk=p384_jwk()), 400, "key_refused"),
    (
        "point not on the curve",
        lambda: with_header(jwk=Holder().jwk | {"x": format_base64url(bytes(32))}),
        400,
        "key_refused",
    ),
    ("private d", private_jwk, 400, "private_key_present"),
    ("wrong signature", wrong_signature, 422, "signature_invalid"),
    ("another holder's key", lambda: with_header(jwk=Holder().jwk), 422, "signature_invalid"),
    # The payload
    ("duplicate key", lambda: raw_payload(lambda text: '{"iat":1,' + text[1:]), 400, "json_duplicate_key"),
    (
        "duplicate key, deep",
        lambda: raw_payload(lambda t: t.replace('"right":', '"right":"x","right":')),
        400,
        "json_duplicate_key",
    ),
    ("float", lambda: raw_payload(lambda text: text.replace('"iat":', '"iat":1.0,"i":')), 400, "json_number_refused"),
    (
        "exponent",
        lambda: raw_payload(lambda text: text.replace('"iat":', '"iat":1e3,"i":')),
        400,
        "json_number_refused",
    ),
    ("not JSON", lambda: raw_payload(lambda text: text[:-1]), 400, "json_malformed"),
    ("an array", lambda: raw_payload(lambda text: f"[{text}]"), 400, "json_malformed"),
    ("deep nesting", lambda: raw_payload(lambda text: '{"a":' * 900 + text + "}" * 900), 400, "json_malformed"),
    ("unknown field", lambda: objection(account_name="me"), 422, "field_invalid"),
    ("another controller", lambda: objection(controller="acme"), 422, "field_invalid"),
    ("unknown kind", lambda: objection(kind="complaint"), 422, "field_invalid"),
    ("kind is a number", lambda: objection(kind=1), 422, "field_invalid"),
    ("country unknown", lambda: objection(country="US"), 422, "field_invalid"),
    ("iat is text", lambda: objection(iat="now"), 422, "field_invalid"),
    ("iat is true", lambda: objection(iat=True), 422, "field_invalid"),
    ("evidence over 8 MiB in all", lambda: naming(big_items()), 422, "field_invalid"),
    ("evidence of nine files", lambda: naming([item(f"{n}.txt", 1) for n in range(9)]), 422, "field_invalid"),
    ("evidence named twice", lambda: naming([item("a.txt", 1)] * 2), 422, "field_invalid"),
    ("evidence named as a path", lambda: naming([item("../a.txt", 1)]), 422, "field_invalid"),
    ("one digest thrice", lambda: objection(self_asserted=slots([new_share()] * 3)), 422, "field_invalid"),
    ("stale", lambda: objection(iat=int(time.time()) - 31 * DAY_S), 422, "receipt_stale"),
    ("from the future", lambda: objection(iat=int(time.time()) + 400), 422, "receipt_from_future"),
    ("supplement of nothing recorded", lambda: later_kind("supplement"), 404, "record_not_found"),
    ("withdrawal of nothing recorded", lambda: later_kind("withdrawal"), 404, "record_not_found"),
    ("erasure of nothing recorded", lambda: later_kind("erasure"), 404, "record_not_found"),
    ("practice notice", practice_url, 422, "practice_refused"),
    # The evidence
    ("evidence missing", lambda: changed_evidence(lambda e: {"a.txt": e["a.txt"]}), 422, "evidence_missing"),
    ("evidence too much", lambda: changed_evidence(lambda e: e | {"c.txt": b"x"}), 422, "evidence_unexpected"),
    ("evidence differs", lambda: changed_evidence(lambda e: e | {"b.txt": b"twO"}), 422, "evidence_mismatch"),
    ("evidence longer", lambda: changed_evidence(lambda e: e | {"b.txt": b"two."}), 422, "evidence_mismatch"),
    (
        "names swapped",
        lambda: changed_evidence(lambda e: {"a.txt": e["b.txt"], "b.txt": e["a.txt"]}),
        422,
        "evidence_mismatch",
    ),
    ("no file name", lambda: changed_evidence(lambda e: {"": b"one", "b.txt": b"two"}), 422, "evidence_missing"),
    # The address
    ("GET", lambda: Sent(b"", "", "GET"), 405, "method_not_allowed"),
    ("DELETE", lambda: Sent(b"", "", "DELETE"), 405, "method_not_allowed"),
    ("POST to a record", lambda: Sent(b"", MULTIPART, "POST", f"/v1/receipts/{'0' * 64}"), 405, "method_not_allowed"),
    ("unknown path", lambda: Sent(b"", "", "GET", "/v1/nothing"), 404, "not_found"),
    ("trailing slash", lambda: Sent(b"", MULTIPART, "POST", "/v1/receipts/"), 404, "not_found"),
    ("practice page", lambda: Sent(b"", "", "GET", "/practice"), 404, "not_found"),
]


def expect_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """Check a problem document, and return it."""
    problem: dict[str, Any] = json.loads(response.get_data())
    assert (response.status_code, problem["code"]) == (status, code), problem
    assert response.content_type == "application/problem+json"
    assert not Problem().validate(problem)
    assert problem["status"] == status
    assert problem["type"] == f"{PUBLIC_URL}/errors#{code}"
    assert problem["request_id"] == response.headers["X-Request-Id"]
    assert ("errors" in problem) == (code == "field_invalid")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert not re.search(r"Traceback|File \"|\.py\b|site-packages", response.get_data(as_text=True))
    return problem


@pytest.mark.parametrize(("build", "status", "code"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_refused_and_nothing_stored(app: Flask, build: Callable[[], Sent], status: int, code: str) -> None:
    before = footprint(register_of(app))
    request = build()
    headers = {"Content-Type": request.content_type} if request.content_type else {}
    response = app.test_client().open(request.path, method=request.method, data=request.body, headers=headers)
    problem = expect_problem(response, status, code)
    assert footprint(register_of(app)) == before
    if status == 405:
        assert response.headers["Allow"]
    if code == "field_invalid":
        assert problem["errors"]


MANY: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "evidence": lambda receipt: {"evidence": [{}] * 3700},
    "categories": lambda receipt: {"objection": receipt["objection"] | {"data_categories": [1] * 5000}},
    "digests": lambda receipt: {"self_asserted": receipt["self_asserted"] | {"account": {"_sd": [""] * 3500}}},
    "unknown fields": lambda _: {str(number): number for number in range(1100)},
}


@pytest.mark.parametrize("case", MANY)
def test_a_refusal_is_no_longer_than_what_is_refused(app: Flask, case: str) -> None:
    holder = Holder()
    receipt = payload_of(holder.objection({}))
    request = with_receipt(holder.sign(receipt | MANY[case](receipt)))
    assert len(request.body) < 17_500
    response = app.test_client().post("/v1/receipts", data=request.body, content_type=MULTIPART)
    problem = expect_problem(response, 422, "field_invalid")
    assert len(response.data) < 3000
    assert 1 <= len(problem["errors"]) <= 20
    if case == "unknown fields":
        assert problem["detail"].endswith("has 1110 members")
    else:
        assert [error["problem"].partition(" be ")[0] for error in problem["errors"]] == ["Length must"]


def test_the_same_submission_unspoilt_is_recorded(app: Flask) -> None:
    before = footprint(register_of(app))
    response = post(app, Holder().objection({"a.txt": b"one"}))
    assert response.status_code == 201
    after = footprint(register_of(app))
    assert after["records"] == before["records"] + 1
    assert len(after["segments"]) == len(before["segments"]) + 1


DAMAGE = [
    *(b"\r\n", b"\0", b"--", b'"', b"\xff", b"; filename*=utf-8''%ff%ed%a0%80", b"; name*=utf-8''%ff"),
    *(b"\r\nContent-Type: text/plain; charset=utf-16\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n"),
    *(b"form-data", b"Content-Disposition: form-data\r\n", b"\r\n\r\n"),
]


def damaged(body: bytes, dice: random.Random) -> bytes:
    """Change a few bytes, most of them where the multipart form is."""
    result = bytearray(body)
    for _ in range(dice.choice([1, 1, 1, 4])):
        place = dice.choice([dice.randrange(160), dice.randrange(len(result) - 150, len(result))])
        what = dice.randrange(4)
        if what == 0:
            result[place] = dice.randrange(256)
        elif what == 1:
            result[place:place] = dice.choice(DAMAGE)
        elif what == 2:
            del result[place : place + dice.randrange(1, 20)]
        else:
            result[place:place] = result[place - 60 : place]
    return bytes(result)


def test_whatever_is_damaged_gets_a_code_of_its_own(app: Flask) -> None:
    """Never "internal"; and what is stored is what was acknowledged."""
    dice = random.Random(20_261_124)
    holder = Holder()
    before = footprint(register_of(app))
    acknowledged, codes = 0, set()
    for _ in range(400):
        body = damaged(format_multipart(parts_of(holder.objection({"a.txt": b"one"}))), dice)
        response = app.test_client().post("/v1/receipts", data=body, content_type=MULTIPART)
        if response.status_code == 201:  # the damage is where nothing counts, as after the end mark
            acknowledged += 1
        else:
            problem = json.loads(response.data)
            assert 400 <= response.status_code < 500, (body, problem)
            expect_problem(response, response.status_code, problem["code"])
            codes.add(problem["code"])
    assert len(codes) > 5
    assert footprint(register_of(app))["records"] == before["records"] + acknowledged


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"%PDF-1.4\nan invoice", "file_unrecognised"),
        (base64.b64encode(make_record().bundle()), "file_resaved"),
    ],
)
def test_what_is_no_proof_is_no_false_one(app: Flask, body: bytes, code: str) -> None:
    response = app.test_client().post("/v1/verifications", data=body)
    problem = json.loads(response.data)
    assert (response.status_code, problem["code"]) == (400, code)
    assert not Problem().validate(problem)


def test_a_damaged_proof_gets_its_report(app: Flask) -> None:
    response = app.test_client().post("/v1/verifications", data=make_record().bundle()[:-1])
    report = json.loads(response.data)
    assert (response.status_code, report["verdict"]) == (200, "invalid")
    assert not VerificationReport().validate(report)
    assert {check["outcome"] for check in report["checks"]} == {"failed", "not-checked", "not-present"}
