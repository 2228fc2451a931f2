"""The mails that a register knows: those it comes with, and an operator's file, which is read strictly."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.vocabulary import MAIL_KINDS
from server.app import create_app
from server.errors import OperatorError
from server.outside.known_mails import find_known, load_known_mails
from tests.fixtures.servers import make_settings

GOOD = """
[[mails]]
id = "confirmation-en"
kind = "confirmation"
subjects = ["We honour your objection", "We’ve received   your objection"]
from = 2025-04-14
until = 2025-12-31
source = "my own mailbox"
confidence = "Q"
"""
SECOND = GOOD.replace("confirmation-en", "another").replace("We honour", "We refuse").replace("We’ve", "They")


def seconds(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())


def test_what_comes_with_the_register_is_no_confirmation() -> None:
    known = load_known_mails(None)
    assert {mail.kind for mail in known} == {"notice"}
    assert find_known(known, subject="We received your objection", date=seconds("2025-05-23")) is None


def test_an_operators_mails_are_known_by_subject_and_day(tmp_path: Path) -> None:
    path = tmp_path / "known.toml"
    path.write_text(GOOD + SECOND)
    known = load_known_mails(path)
    for subject in ("We honour your objection", " WE HONOUR\tyour  objection ", "We've received your objection"):
        for day in ("2025-04-14", "2025-12-31T23:59:59"):
            mail = find_known(known, subject=subject, date=seconds(day))
            assert mail is not None
            assert (mail.id, mail.kind) == ("confirmation-en", "confirmation")
    for day in ("2025-04-13T23:59:59", "2026-01-01"):
        assert find_known(known, subject="We honour your objection", date=seconds(day)) is None
    assert find_known(known, subject="We honour your objection", date=None) is None
    assert find_known(known, subject="Re: We honour your objection", date=seconds("2025-05-01")) is None
    notice = "Learn how we'll use your information as we improve AI at Meta"
    assert find_known(known, subject=notice, date=seconds("2025-05-01")), "what comes with the register stays"


BAD = {
    "": "mails",
    "mails = []": "mails",
    "mails = 3": "mails",
    "not TOML": "not TOML",
    "\xff": "not TOML",
    GOOD + "x = 1": "Unknown field",
    "x = 1\n" + GOOD: "x",
    GOOD.replace('"confirmation-en"', '"A b"'): "id",
    GOOD.replace('"confirmation-en"', '"none"'): "none",
    GOOD.replace('"confirmation"', '"praise"'): ", ".join(MAIL_KINDS)[:6],
    GOOD.replace("2025-04-14", '"2025-04-14"'): "from",
    GOOD.replace("2025-04-14", "2025-04-14T10:00:00"): "from",
    GOOD.replace("2025-04-14", "2026-04-14"): "until is before from",
    GOOD.replace('["We honour your objection", "We’ve received   your objection"]', "[]"): "subjects",
    GOOD.replace('"We honour your objection"', '"   "'): "a subject is empty",
    GOOD.replace('"We honour your objection"', f'"{"x" * 999}"'): "subjects",
    GOOD.replace('"Q"', '"certain"'): "confidence",
    GOOD.replace('source = "my own mailbox"', ""): "source",
    GOOD + GOOD: "two mails have the id confirmation-en",
    GOOD + GOOD.replace("confirmation-en", "other"): "have a subject and days in common",
    GOOD.replace(
        "We honour your objection", "Learn how we’ll use your information as we improve AI at Meta"
    ): "notice-2025-en",
    GOOD * 2000: "at most",
    "mails = " + "[" * 100_000: "not TOML",
}


@pytest.mark.parametrize(("text", "named"), BAD.items(), ids=range(len(BAD)))
def test_a_bad_file_stops_the_start_in_one_line(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "known.toml"
    path.write_bytes(text.encode("latin-1", "ignore") if text == "\xff" else text.encode())
    with pytest.raises(OperatorError) as caught:
        create_app(make_settings(tmp_path / "data", known_mails=str(path)))
    assert caught.value.code == "known_mails_invalid"
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2_000
    assert not (tmp_path / "data").exists(), "nothing was made before"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(OperatorError) as caught:
            load_known_mails(path)
        assert caught.value.code == "known_mails_invalid"
        assert str(path) in str(caught.value)
