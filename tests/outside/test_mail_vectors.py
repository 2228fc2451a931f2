"""The mails that the TypeScript verifier reads too: each has exactly the finding it says."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from schemas.vocabulary import FINDINGS, KEYED_FINDINGS, MAIL_FINDINGS
from server.core.mails import recheck_finding
from server.errors import VerificationError
from tests.fixtures.make_mail_vectors import FOLDER, make_mail_vectors

PATHS = sorted(FOLDER.glob("*.json"))
# Of these only the register knows; the mail bears out that the signature stands there.
WORD_OF_THE_REGISTER = {"unchecked", "expired", "key-gone", "sender-mismatch", "domain-not-listed"}


def is_borne_out(vector: dict[str, Any], finding: str) -> bool:
    about = {} if finding in MAIL_FINDINGS else {name: vector[name] for name in ("domain", "selector")}
    key_record = base64.b64decode(vector["key_record"]) if finding in KEYED_FINDINGS else None
    try:
        recheck_finding(base64.b64decode(vector["mail"]), {"finding": finding} | about, key_record=key_record)
    except VerificationError:
        return False
    return True


@pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])
def test_finding_is_the_expected_one_and_no_other(path: Path) -> None:
    vector = json.loads(path.read_bytes())
    stands_there = vector["expect"] not in {*MAIL_FINDINGS, "other-signer"}
    expected = {vector["expect"]} & {*FINDINGS} | (WORD_OF_THE_REGISTER if stands_there else set())
    assert {finding for finding in FINDINGS if is_borne_out(vector, finding)} == expected, vector["description"]


def test_every_finding_that_a_mail_can_bear_out_has_a_mail() -> None:
    found = {json.loads(path.read_bytes())["expect"] for path in PATHS}
    assert found >= {*FINDINGS} - WORD_OF_THE_REGISTER


def test_generator_gives_the_files_that_are_there() -> None:
    there = {path.stem: path.read_bytes() for path in PATHS}
    assert make_mail_vectors() == there, "run python -m tests.fixtures.make_mail_vectors"
