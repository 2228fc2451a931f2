"""Supplements, withdrawal and erasure over HTTP, on both databases; with what they leave and what they must not."""

import base64
import io
import json
import socket
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import joserfc.jws
import pytest
from flask import Flask
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry
from sqlalchemy import text
from werkzeug.test import TestResponse

from server.core.acknowledgements import verify_acknowledgement
from server.core.encoding import format_base64url, parse_base64url
from server.core.merkle import leaf_hash, root_from_path
from server.core.notes import verify_checkpoint
from server.core.proofs import format_entry, parse_proof
from server.core.receipts import verify_receipt
from server.core.statuslists import ERASED, STANDS, WITHDRAWN, verify_status_list
from server.core.tokens import verify_token
from server.usecases.check_log import check_log
from server.usecases.register import Register
from server.usecases.verify_bundle import verify_file
from tests.fixtures.holders import Holder, Submission, new_share
from tests.fixtures.mails import DOMAIN, MAIL, NAME, SELECTOR, dns_server, key_record, sign_mail
from tests.fixtures.servers import PUBLIC_URL, footprint, make_settings, post, register_of, running, storage_of
from tests.usecases.test_record_objection import in_one_group

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


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


def sent(app: Flask, submission: Submission, status: int = 201) -> dict[str, Any]:
    response = post(app, submission)
    assert response.status_code == status, response.data
    answer: dict[str, Any] = json.loads(response.data)
    return answer


def refusal(app: Flask, submission: Submission) -> tuple[int, str]:
    before = footprint(register_of(app))
    response = post(app, submission)
    assert footprint(register_of(app)) == before, "something was stored"
    return response.status_code, json.loads(response.data)["code"]


def get(app: Flask, holder: Holder, objection: Submission, token: str, path: str = "") -> TestResponse:
    address = f"/v1/receipts/{objection.sha256}{path}"
    headers = {
        "Authorization": f"DPoP {token}",
        "DPoP": holder.dpop(token, "GET", PUBLIC_URL + address),
        "Objection-Holder-Share": objection.holder_share,
    }
    return app.test_client().get(address, headers=headers)


def expect_acknowledged(register: Register, answer: dict[str, Any], submission: Submission) -> None:
    """Check acknowledgement and proof of an answer to a later receipt."""
    policy = register.keyring.policy
    receipt = verify_receipt(submission.receipt.encode())
    claims = verify_acknowledgement(answer["token"], receipt, policy).claims
    proof = parse_proof(answer["proof"])
    entry = format_entry(
        kind=receipt.kind, salt=proof.salt, receipt_sha256=receipt.sha256, received_at=answer["received_at"]
    )
    checkpoint = verify_checkpoint(proof.checkpoint_note, trusted=policy.log.key)
    assert root_from_path(leaf_hash(entry), proof.index, checkpoint.size, proof.path) == checkpoint.root
    assert claims["log"] == {"origin": checkpoint.origin, "index": proof.index}
    assert claims["received_at"] == answer["received_at"]
    assert answer["receipt_sha256"] == submission.sha256


def expect_consistent(register: Register) -> None:
    storage = storage_of(register)
    assert check_log(storage, progress=lambda _done, _total: None).problems == []


def status_in_list(app: Flask, token: str) -> int:
    policy = register_of(app).keyring.policy
    reference = verify_token(token, policy).claims["status"]["status_list"]
    response = app.test_client().get(reference["uri"].removeprefix(PUBLIC_URL))
    assert response.mimetype == "application/statuslist+jwt"
    listed = verify_status_list(response.get_data(as_text=True), policy)
    assert listed.uri == reference["uri"]
    assert -5 < time.time() - listed.iat < 65, "dated back to the full minute"
    return listed.status(reference["idx"])


def test_a_supplement_is_acknowledged_and_travels_in_the_bundle(
    app: Flask, holder: Holder, objection: Submission
) -> None:
    token = sent(app, objection, 200)["token"]
    supplement = holder.later("supplement", objection, {"reply.txt": b"We honour it", "mail.eml": b"From: x\r\n\r\n"})
    answer = sent(app, supplement)
    assert (answer["kind"], answer["status"], answer["state"]) == ("supplement", "stands", "recorded")
    expect_acknowledged(register_of(app), answer, supplement)
    bundle = get(app, holder, objection, token, "/bundle").data
    report = verify_file(bundle, policy=register_of(app).keyring.policy, now=int(time.time()))
    assert report.valid, report.checks
    assert [each["kind"] for each in report.facts["later"]] == ["supplement"]
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        assert archive.read("later/01/reply.txt") == b"We honour it"
        assert archive.read("later/01-supplement.jws").decode() == supplement.receipt
    expect_consistent(register_of(app))


@contextmanager
def silent_dns() -> Iterator[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unanswered:
        unanswered.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{unanswered.getsockname()[1]}"


def with_mails(holder: Holder, objection: Submission, mails: Mapping[str, bytes]) -> Submission:
    return holder.later("supplement", objection, mails)


def findings(app: Flask, answer: dict[str, Any], supplement: Submission) -> dict[str, Any]:
    receipt = verify_receipt(supplement.receipt.encode())
    return verify_acknowledgement(answer["token"], receipt, register_of(app).keyring.policy).dkim


def post_unchecked(app: Flask, submission: Submission, value: str = "unchecked") -> TestResponse:
    return post(app, submission, ("mails", None, value.encode()))


def test_while_the_dns_is_silent_nothing_is_recorded_and_a_second_try_gets_everything(
    tmp_path: Path, storage_settings: dict[str, str], holder: Holder, caplog: pytest.LogCaptureFixture
) -> None:
    objection = holder.objection({})
    supplement = with_mails(holder, objection, {f"{number}.eml": sign_mail() for number in range(8)})
    with silent_dns() as dns, running(make_settings(tmp_path, dns_servers=dns, **storage_settings)) as app:
        sent(app, objection)
        started = time.monotonic()
        caplog.clear()
        before = footprint(register_of(app))
        response = post(app, supplement)
        assert footprint(register_of(app)) == before
        assert (response.status_code, json.loads(response.data)["code"]) == (503, "dns_unavailable")
        assert int(response.headers["Retry-After"]) > 0
        assert time.monotonic() - started < 9, "waited for once, whatever number of mails there is"
        lines = [record.getMessage() for record in caplog.records if record.name == "objection.mail"]
        assert lines == ["mail facebookmail.com unchecked"] * 8
    with (
        dns_server({NAME: [key_record()]}) as address,
        running(make_settings(tmp_path, dns_servers=address, **storage_settings)) as app,
    ):
        found = findings(app, sent(app, supplement), supplement)
        assert [each["finding"] for each in found.values()] == ["signed"] * 8
        expect_consistent(register_of(app))


def test_what_nobody_could_look_at_is_kept_if_the_holder_says_so_and_stays_what_it_is(
    tmp_path: Path, holder: Holder
) -> None:
    objection = holder.objection({})
    supplement = with_mails(holder, objection, {"mail.eml": sign_mail(), "plain.eml": MAIL, "reply.txt": b"x"})
    with silent_dns() as dns, running(make_settings(tmp_path, dns_servers=dns)) as app:
        token = sent(app, objection)["token"]
        response = post_unchecked(app, supplement)
        assert response.status_code == 201
        answer = json.loads(response.data)
    with (
        dns_server({NAME: [key_record()]}) as address,
        running(make_settings(tmp_path, dns_servers=address)) as app,
    ):
        assert sent(app, supplement, 200)["token"] == answer["token"]
        assert json.loads(post_unchecked(app, supplement).data)["token"] == answer["token"]
        assert findings(app, answer, supplement) == {
            "mail.eml": {"finding": "unchecked", "domain": DOMAIN, "selector": SELECTOR},
            "plain.eml": {"finding": "unsigned"},
        }
        report = verify_file(
            get(app, holder, objection, token, "/bundle").data,
            policy=register_of(app).keyring.policy,
            now=int(time.time()),
        )
        assert report.valid, report.checks
        assert {check.id: check.outcome for check in report.checks}["mail"] == "not-present"
        again = with_mails(holder, objection, {"mail.eml": sign_mail()})
        assert findings(app, sent(app, again), again)["mail.eml"]["finding"] == "signed", "as often as one likes"


def test_mails_are_checked_though_the_holder_would_do_without(tmp_path: Path, holder: Holder) -> None:
    with (
        dns_server({NAME: [key_record()]}) as address,
        running(make_settings(tmp_path, dns_servers=address)) as app,
    ):
        objection = holder.objection({})
        sent(app, objection)
        supplement = with_mails(holder, objection, {"mail.eml": sign_mail()})
        answer = json.loads(post_unchecked(app, supplement).data)
        assert findings(app, answer, supplement)["mail.eml"]["finding"] == "signed"


def test_only_a_supplement_says_what_becomes_of_its_mails(app: Flask, holder: Holder, objection: Submission) -> None:
    before = footprint(register_of(app))
    supplement = holder.later("supplement", objection)
    for response in (
        post_unchecked(app, supplement, "yes"),
        post_unchecked(app, supplement, ""),
        post_unchecked(app, holder.later("withdrawal", objection)),
        post_unchecked(app, Holder().objection()),
        post(app, supplement, *[("mails", None, b"unchecked")] * 2),
    ):
        assert (response.status_code, json.loads(response.data)["code"]) == (400, "part_unexpected")
    assert footprint(register_of(app)) == before


def test_a_mail_that_cannot_be_metas_waits_for_no_dns(tmp_path: Path, holder: Holder) -> None:
    with silent_dns() as dns, running(make_settings(tmp_path, dns_servers=dns)) as app:
        objection = holder.objection({})
        sent(app, objection)
        mails = {
            "plain.eml": MAIL,
            "footer.eml": sign_mail() + b"-- \r\nfooter\r\n",
            "list.eml": sign_mail(domain=b"list.example"),
        }
        supplement = with_mails(holder, objection, mails)
        found = findings(app, sent(app, supplement), supplement)
        assert [each["finding"] for each in found.values()] == ["unsigned", "body-changed", "domain-not-listed"]
        assert found["list.eml"]["domain"] == "list.example"


def test_a_slow_dns_is_not_asked_for_ever(tmp_path: Path, holder: Holder) -> None:
    zone = {f"s{number}._domainkey.{DOMAIN}": [key_record()] for number in range(8)}
    with dns_server(zone, delay_s=1.2) as address, running(make_settings(tmp_path, dns_servers=address)) as app:
        objection = holder.objection({})
        sent(app, objection)
        mails = {f"{number}.eml": sign_mail(selector=b"s%d" % number) for number in range(8)}
        supplement = with_mails(holder, objection, mails)
        started = time.monotonic()
        assert post(app, supplement).status_code == 503
        assert time.monotonic() - started < 9
        for _ in range(3):  # what was found is kept meanwhile: each try gets further
            response = post(app, supplement)
            if response.status_code == 201:
                break
        assert response.status_code == 201
        found = findings(app, json.loads(response.data), supplement)
        assert [each["finding"] for each in found.values()] == ["signed"] * 8


def test_a_mail_that_meta_signed_is_acknowledged_as_such(
    tmp_path: Path, holder: Holder, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        dns_server({NAME: [key_record()]}) as address,
        running(make_settings(tmp_path, dns_servers=address)) as app,
    ):
        policy = register_of(app).keyring.policy
        objection = holder.objection()
        token = sent(app, objection)["token"]
        mails = {
            "mail.eml": sign_mail(),
            "forged.eml": sign_mail().replace(b"legitimate", b"vital"),
            "subject.eml": sign_mail().replace(b"Learn", b"[EXTERNAL] Learn"),
            "gone.eml": sign_mail(selector=b"gone"),
        }
        supplement = with_mails(holder, objection, mails)
        caplog.clear()
        answer = sent(app, supplement)
        lines = [record.getMessage() for record in caplog.records if record.name == "objection.mail"]
        assert lines == [
            f"mail {DOMAIN} {finding}" for finding in ("signed", "body-changed", "signature-mismatch", "key-gone")
        ]
        found = findings(app, answer, supplement)
        assert found.keys() == mails.keys()
        assert (found["mail.eml"]["known"], found["mail.eml"]["kind"]) == ("notice-2025-en", "notice")
        assert sent(app, supplement, 200)["token"] == answer["token"]
        bundle = get(app, holder, objection, token, "/bundle").data
        report = verify_file(bundle, policy=policy, now=int(time.time()))
        assert report.valid, report.checks
        told = [(mail["finding"], mail["domain"]) for mail in report.facts["mails"]]
        assert told == [(found[name]["finding"], DOMAIN) for name in mails]
        with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
            (record,) = [name for name in archive.namelist() if name.startswith("dkim/")]
            assert archive.read(record) == key_record()


def test_a_withdrawal_is_told_everywhere(app: Flask, holder: Holder, objection: Submission) -> None:
    token = sent(app, objection, 200)["token"]
    assert status_in_list(app, token) == STANDS
    withdrawal = holder.later("withdrawal", objection)
    answer = sent(app, withdrawal)
    assert (answer["kind"], answer["status"]) == ("withdrawal", "withdrawn")
    expect_acknowledged(register_of(app), answer, withdrawal)
    assert status_in_list(app, token) == WITHDRAWN
    assert sent(app, objection, 200)["status"] == "withdrawn"
    assert json.loads(get(app, holder, objection, token).data)["status"] == "withdrawn"
    report = verify_file(
        get(app, holder, objection, token, "/bundle").data,
        policy=register_of(app).keyring.policy,
        now=int(time.time()),
    )
    assert (report.verdict, report.facts["status"]) == ("withdrawn", "withdrawn")
    expect_consistent(register_of(app))


def test_an_erasure_leaves_nothing_that_opens_or_leads_anywhere(
    app: Flask, holder: Holder, objection: Submission
) -> None:
    register = register_of(app)
    token = sent(app, objection, 200)["token"]
    other = Holder().objection()
    sent(app, other)
    sent(app, holder.later("supplement", objection))
    sent(app, holder.later("withdrawal", objection))
    erasure = holder.later("erasure", objection)
    answer = sent(app, erasure)
    assert (answer["kind"], answer["status"]) == ("erasure", "erased")
    assert answer["remains"] == ["log-commitment", "published-counts", "counting-mark", "status-bit", "replay-guard"]
    expect_acknowledged(register, answer, erasure)
    assert status_in_list(app, token) == ERASED
    response = get(app, holder, objection, token)
    assert (response.status_code, json.loads(response.data)["code"]) == (410, "record_erased")
    with register.database.reading() as connection:
        rows = connection.execute(text("SELECT kind, objection_sha256, holder_jti, blob FROM records")).all()
        assert sorted(row[0] for row in rows) == ["erasure", "objection"]
        assert [tuple(row[1:]) for row in rows if row[0] == "erasure"] == [(None, None, None)]
        assert connection.execute(text("SELECT count(*) FROM slot_digests")).scalar_one() == 3
        assert connection.execute(text("SELECT count(*) FROM blobs_to_erase")).scalar_one() == 0
    expect_consistent(register)
    sent(app, other, 200)  # its neighbour, perhaps in the same segment, is as it was


def test_each_repeat_gets_the_same_acknowledgement(app: Flask, holder: Holder, objection: Submission) -> None:
    for kind in ("supplement", "withdrawal", "erasure"):
        submission = holder.later(kind, objection)
        first, again = sent(app, submission), sent(app, submission, 200)
        assert first["token"] == again["token"]
        assert first["received_at"] == again["received_at"]
    expect_consistent(register_of(app))


def test_after_erasure_nothing_of_it_comes_back(app: Flask, holder: Holder, objection: Submission) -> None:
    supplement, withdrawal = holder.later("supplement", objection), holder.later("withdrawal", objection)
    sent(app, supplement)
    sent(app, holder.later("erasure", objection))
    gone = (410, "record_erased")
    assert refusal(app, objection) == gone
    assert refusal(app, replace(objection, holder_share=new_share())) == gone
    for late in (supplement, withdrawal, holder.later("erasure", objection)):
        assert refusal(app, late) == gone


def test_an_erased_receipt_does_not_come_back_under_the_signature_that_anybody_can_make_of_its_own(
    app: Flask, holder: Holder, objection: Submission
) -> None:
    sent(app, holder.later("erasure", objection))
    assert refusal(app, replace(objection, receipt=with_other_signature(objection.receipt))) == (410, "record_erased")


def with_other_signature(receipt: str) -> str:
    """Return ``receipt`` with (r, n - s) in place of (r, s), which holds as well."""
    signed, _, encoded = receipt.rpartition(".")
    signature = parse_base64url(encoded)
    other = P256_ORDER - int.from_bytes(signature[32:])
    changed = f"{signed}.{format_base64url(signature[:32] + other.to_bytes(32))}"
    assert verify_receipt(changed.encode()).jti == verify_receipt(receipt.encode()).jti
    return changed


REFUSED: dict[str, tuple[Any, tuple[int, str]]] = {
    "signed by another key": (lambda h, o: Holder().later("withdrawal", o), (403, "not_the_holder")),
    "another share": (
        lambda h, o: replace(h.later("erasure", o), holder_share=new_share()),
        (403, "holder_share_wrong"),
    ),
    "an unknown objection": (
        lambda h, o: h.later("withdrawal", o, objection_sha256="0" * 64),
        (404, "record_not_found"),
    ),
    "evidence in a withdrawal": (
        lambda h, o: replace(h.later("withdrawal", o), evidence={"a.txt": b"x"}),
        (422, "evidence_unexpected"),
    ),
    "evidence in an erasure": (
        lambda h, o: replace(h.later("erasure", o), evidence={"a.txt": b"x"}),
        (422, "evidence_unexpected"),
    ),
    "evidence that is missing": (
        lambda h, o: replace(h.later("supplement", o), evidence={}),
        (422, "evidence_missing"),
    ),
    "a supplement of nothing": (lambda h, o: h.later("supplement", o, {}), (422, "field_invalid")),
    "long ago": (lambda h, o: h.later("withdrawal", o, iat=1_000_000_000), (422, "receipt_stale")),
    "an erasure of long ago": (lambda h, o: h.later("erasure", o, iat=1_000_000_000), (422, "receipt_stale")),
    "in the future": (lambda h, o: h.later("supplement", o, iat=int(time.time()) + 999), (422, "receipt_from_future")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_has_its_code_and_leaves_nothing(
    case: str, app: Flask, holder: Holder, objection: Submission
) -> None:
    make, expected = REFUSED[case]
    assert refusal(app, make(holder, objection)) == expected


def test_a_supplement_is_no_objection_to_add_to(app: Flask, holder: Holder, objection: Submission) -> None:
    supplement = holder.later("supplement", objection)
    sent(app, supplement)
    assert refusal(app, holder.later("withdrawal", supplement)) == (404, "record_not_found")


def test_an_objection_is_withdrawn_once(app: Flask, holder: Holder, objection: Submission) -> None:
    sent(app, holder.later("withdrawal", objection))
    assert refusal(app, holder.later("withdrawal", objection))[1] == "already_withdrawn"
    sent(app, holder.later("supplement", objection))


def test_sixteen_supplements_and_no_more(app: Flask, holder: Holder, objection: Submission) -> None:
    for number in range(16):
        sent(app, holder.later("supplement", objection, {"a.txt": str(number).encode()}))
    assert refusal(app, holder.later("supplement", objection)) == (409, "too_many_supplements")
    token = sent(app, objection, 200)["token"]
    bundle = get(app, holder, objection, token, "/bundle").data
    assert verify_file(bundle, policy=register_of(app).keyring.policy, now=int(time.time())).valid


def test_eight_mebibytes_of_evidence_and_no_more(app: Flask, holder: Holder, objection: Submission) -> None:
    half = bytes(4_000_000)
    sent(app, holder.later("supplement", objection, {"a.txt": half}))
    sent(app, holder.later("supplement", objection, {"a.txt": half}))
    assert refusal(app, holder.later("supplement", objection, {"a.txt": half})) == (413, "evidence_too_large")


def test_two_withdrawals_and_an_erasure_in_one_group(app: Flask, holder: Holder, objection: Submission) -> None:
    first, second = holder.later("withdrawal", objection), holder.later("withdrawal", objection)
    erasure, late = holder.later("erasure", objection), holder.later("supplement", objection)
    other = Holder().objection()
    responses = in_one_group(app, other, first, second, erasure, late, holder.later("erasure", objection))
    codes = [(response.status_code, json.loads(response.data).get("code")) for response in responses]
    gone = (410, "record_erased")
    assert codes == [(201, None), (201, None), (409, "already_withdrawn"), (201, None), gone, gone]
    assert json.loads(responses[3].data)["status"] == "erased"
    expect_consistent(register_of(app))


def test_many_at_once_leave_one_consistent_end(app: Flask, holder: Holder, objection: Submission) -> None:
    everything = [holder.later("supplement", objection) for _ in range(6)]
    everything += [holder.later(kind, objection) for kind in ("withdrawal", "erasure") for _ in range(3)]
    with ThreadPoolExecutor(12) as pool:
        statuses = [response.status_code for response in pool.map(lambda each: post(app, each), everything)]
    assert set(statuses) <= {201, 404, 409, 410}
    with register_of(app).database.reading() as connection:
        kinds = connection.execute(text("SELECT kind FROM records")).scalars().all()
    assert kinds == ["erasure"]
    expect_consistent(register_of(app))


def test_no_byte_of_an_erased_record_stays_in_the_files(tmp_path: Path, holder: Holder) -> None:
    with running(make_settings(tmp_path)) as app:
        register = register_of(app)
        objection, neighbour = holder.objection(), Holder().objection()
        in_one_group(app, Holder().objection(), objection, neighbour)  # one segment for both
        with register.database.reading() as connection:
            row = connection.execute(
                text(
                    "SELECT salt, wrapped_share, blob, receipt_sha256, holder_jti "
                    "FROM records WHERE receipt_sha256 = :r"
                ),
                {"r": bytes.fromhex(objection.sha256)},
            ).one()
        sealed = register.blobs.get(row.blob)
        secrets = [row.salt, row.wrapped_share, row.receipt_sha256, row.holder_jti, sealed[:64]]
        assert any(row.salt in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        sent(app, holder.later("erasure", objection))
        for path in tmp_path.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert not [secret for secret in secrets if secret in data], path
        sent(app, neighbour, 200)
        expect_consistent(register)


def read_independently(jws: str, jwk: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any], list[int]]:
    """Return header, claims and all entries of a list, read by joserfc and by the letter of the draft (6.1, 8.3)."""
    registry = JWSRegistry(algorithms=["ES256"], strict_check_header=False)
    registry.max_header_length = 4096  # the certificate is longer than joserfc expects
    found = joserfc.jws.deserialize_compact(jws, ECKey.import_key(jwk), registry=registry)
    claims = json.loads(found.payload)
    lst = claims["status_list"]["lst"]
    bits = "".join(
        f"{byte:08b}"[::-1] for byte in zlib.decompress(base64.urlsafe_b64decode(lst + "=" * (-len(lst) % 4)))
    )
    return found.headers(), claims, [int(bits[at + 1] + bits[at], 2) for at in range(0, len(bits), 2)]


def test_another_reader_finds_the_same_in_the_list(app: Flask) -> None:
    """Each holder's entry, and nobody else's."""
    expected = {}
    for kind, value in ((None, 0), ("withdrawal", 2), ("erasure", 1)):
        mine = Holder()
        submission = mine.objection({})
        token = sent(app, submission)["token"]
        if kind is not None:
            sent(app, mine.later(kind, submission))
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        expected[claims["status"]["status_list"]["idx"]] = value
        address = claims["status"]["status_list"]["uri"]
    client = app.test_client()
    (jwk,) = json.loads(client.get("/.well-known/jwt-vc-issuer").data)["jwks"]["keys"]
    response = client.get(address.removeprefix(PUBLIC_URL))
    header, claims, entries = read_independently(response.get_data(as_text=True), jwk)
    assert (header["typ"], header["kid"], len(header["x5c"])) == ("statuslist+jwt", jwk["kid"], 1)
    assert (claims["sub"], claims["status_list"]["bits"], len(entries)) == (address, 2, 65_536)
    assert claims["exp"] > time.time() > claims["iat"] - 1
    assert claims["ttl"] >= 60
    assert {index: entries[index] for index in expected} == expected
    assert sum(map(bool, entries)) == 2


def test_a_list_is_sent_again_only_when_it_is_another(app: Flask, holder: Holder, objection: Submission) -> None:
    client = app.test_client()
    while time.time() % 60 > 55:  # the date of a list changes with the minute
        time.sleep(0.5)
    first = client.get("/v1/status-lists/0")
    assert first.headers["Cache-Control"] == "public, max-age=60"
    known = {"If-None-Match": first.headers["ETag"]}
    again = client.get("/v1/status-lists/0", headers=known)
    assert (again.status_code, again.data) == (304, b"")
    sent(app, holder.later("withdrawal", objection))
    changed = client.get("/v1/status-lists/0", headers=known)
    assert changed.status_code == 200
    assert changed.data != first.data


def test_status_lists_that_do_not_exist(app: Flask, objection: Submission) -> None:
    for number in ("1", "99999999999999999999", "-1", "x"):
        assert app.test_client().get(f"/v1/status-lists/{number}").status_code == 404
    assert app.test_client().get("/v1/status-lists/0").status_code == 200
