"""Whole files of which two verifiers might think differently: each gives exactly what its vector says."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from server.core.policies import parse_trust_policy
from server.errors import ObjectionError
from server.usecases.verification_report import FAILED
from server.usecases.verify_bundle import verify_file
from tests.fixtures.make_verification_vectors import FOLDER, make_verification_vectors

PATHS = sorted(FOLDER.glob("*.json"))
NOT_CHECKED = "not_checked"


def verdict_of(vector: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Return verdict, and each check that failed by itself with its code; or the code of the refusal."""
    given = {name: base64.b64decode(vector[name]) for name in ("file", "policy", "status") if name in vector}
    try:
        policy = parse_trust_policy(given["policy"]) if "policy" in given else None
        report = verify_file(given["file"], policy=policy, now=vector["now"], status=given.get("status"))
    except ObjectionError as error:
        return error.code, {}
    failed = {check.id: check.code or "" for check in report.checks if check.outcome == FAILED}
    return report.verdict, {check: code for check, code in failed.items() if code != NOT_CHECKED}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_findings_are_the_expected_ones(path: Path) -> None:
    vector = json.loads(path.read_bytes())
    assert verdict_of(vector) == (vector["expect"], vector["fails"]), vector["description"]


def test_generator_gives_the_files_that_are_there() -> None:
    made = make_verification_vectors()
    there = {path.stem: path.read_bytes() for path in PATHS}
    assert sorted(made) == sorted(there)
    changed = [name for name in made if made[name] != there[name]]
    assert changed == [], "run python -m tests.fixtures.make_verification_vectors"
