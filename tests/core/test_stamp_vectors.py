"""The vectors of time stamps and of a PDF's signature, which the TypeScript verifier reads too."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from server.bundles.documents import verify_document_signature
from server.core.timestamps import TrustedAuthority, verify_timestamp
from server.errors import ObjectionError
from tests.fixtures.make_stamp_vectors import make_stamp_vectors
from tests.fixtures.make_vectors import FOLDER

Vector = dict[str, Any]
PATHS = sorted(path for folder in ("timestamps", "document-signatures") for path in FOLDER.glob(f"{folder}/*.json"))


def _check(vector: Vector) -> None:
    if "cms" in vector:
        verify_document_signature(base64.b64decode(vector["cms"]), base64.b64decode(vector["covered"]))
        return
    trusted = TrustedAuthority.from_der([base64.b64decode(text) for text in vector["chain"]])
    stamp = verify_timestamp(base64.b64decode(vector["token"]), base64.b64decode(vector["data"]), trusted=trusted)
    assert (stamp.at, stamp.authority) == (vector["at"], vector["authority"])
    assert stamp.says_qualified is vector["qualified"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_outcome_is_the_expected_one(path: Path) -> None:
    vector = json.loads(path.read_bytes())
    try:
        _check(vector)
        outcome = "valid"
    except ObjectionError as error:
        outcome = error.code
    assert outcome == vector["expect"], vector["description"]
    assert path.stem.startswith("valid") == (outcome == "valid")


def test_generator_gives_the_files_that_are_there() -> None:
    made = make_stamp_vectors()
    there = {(path.parent.name, path.stem): path.read_bytes() for path in PATHS}
    assert sorted(made) == sorted(there)
    assert [name for name in made if made[name] != there[name]] == [], "run python -m tests.fixtures.make_stamp_vectors"
