"""The mails that the TypeScript verifier reads too: each gives exactly the outcome it says."""

import base64
import json
from pathlib import Path

import pytest

from server.errors import ObjectionError
from server.outside.mail import recheck_mail
from tests.fixtures.make_mail_vectors import FOLDER, make_mail_vectors

PATHS = sorted(FOLDER.glob("*.json"))


@pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])
def test_outcome_is_the_expected_one(path: Path) -> None:
    vector = json.loads(path.read_bytes())
    try:
        recheck_mail(
            base64.b64decode(vector["mail"]),
            key_record=base64.b64decode(vector["key_record"]),
            domain=vector["domain"],
            selector=vector["selector"],
        )
        outcome = "valid"
    except ObjectionError as error:
        outcome = error.code
    assert outcome == vector["expect"], vector["description"]


def test_generator_gives_the_files_that_are_there() -> None:
    there = {path.stem: path.read_bytes() for path in PATHS}
    assert make_mail_vectors() == there, "run python -m tests.fixtures.make_mail_vectors"
