"""The check ``holder``: only an answer to the verifier's own nonce shows who holds the key now."""

import pytest

from server.core.policies import TrustPolicy
from server.core.presentations import Challenge, sign_presentation
from server.usecases.verification_report import Check
from server.usecases.verify_bundle import verify_file
from tests.fixtures.holders import Holder
from tests.fixtures.records import Record, make_record

NOW = 1_795_392_000
ASKED = Challenge("https://authority.example", "n-1", NOW)


@pytest.fixture(scope="module")
def record() -> Record:
    return make_record()


@pytest.fixture(scope="module")
def policy(record: Record) -> TrustPolicy:
    return record.register.policy


def presentation(record: Record, *, holder: Holder | None = None, asked: Challenge = ASKED) -> str:
    return sign_presentation(
        record.presentation("person"),
        key=(holder or record.holder).key,
        audience=asked.audience,
        nonce=asked.nonce,
        now=asked.now,
    )


def holder_check(text: str, policy: TrustPolicy | None, asked: Challenge | None) -> Check:
    report = verify_file(text.encode(), policy=policy, now=NOW, asked=asked)
    (check,) = [check for check in report.checks if check.id == "holder"]
    assert report.valid is all(check.outcome != "failed" for check in report.checks)
    return check


def test_an_answer_to_the_nonce(record: Record, policy: TrustPolicy) -> None:
    check = holder_check(presentation(record) + "\n", policy, ASKED)
    assert check.outcome == "passed"
    assert "'https://authority.example', 23 November 2026" in check.reason


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (Challenge("https://other.example", "n-1", NOW), "binding_mismatch"),
        (Challenge("https://authority.example", "n-2", NOW), "binding_mismatch"),
        (Challenge("https://authority.example", "n-1", NOW + 301), "binding_stale"),
    ],
)
def test_an_answer_to_another_question(record: Record, policy: TrustPolicy, asked: Challenge, code: str) -> None:
    check = holder_check(presentation(record), policy, asked)
    assert (check.outcome, check.code) == ("failed", code)


def test_a_copied_token_answers_no_nonce(record: Record, policy: TrustPolicy) -> None:
    check = holder_check(record.presentation("person"), policy, ASKED)
    assert (check.outcome, check.code) == ("failed", "binding_missing")


def test_a_stranger_cannot_answer(record: Record, policy: TrustPolicy) -> None:
    for asked in (ASKED, None):
        check = holder_check(presentation(record, holder=Holder()), policy, asked)
        assert (check.outcome, check.code) == ("failed", "binding_mismatch")


def test_an_answer_that_nobody_asked_for_shows_nothing(record: Record, policy: TrustPolicy) -> None:
    check = holder_check(presentation(record), policy, None)
    assert check.outcome == "not-present"
    assert "nobody asked for it with a nonce" in check.reason


def test_without_a_binding_and_unasked(record: Record, policy: TrustPolicy) -> None:
    assert holder_check(record.presentation(), policy, None).outcome == "not-present"


def test_without_the_issuers_keys_the_holder_is_unknown(record: Record) -> None:
    check = holder_check(presentation(record), None, ASKED)
    assert (check.outcome, check.code) == ("not-checked", None)


def test_a_bundle_answers_no_nonce(record: Record, policy: TrustPolicy) -> None:
    report = verify_file(record.bundle(), policy=policy, now=NOW, asked=ASKED)
    assert [(check.id, check.code) for check in report.checks if check.outcome == "failed"] == [
        ("holder", "binding_missing")
    ]
