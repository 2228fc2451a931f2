"""The fuzzer's proofs and vectors in real Chromium: WebCrypto and decompression there find what Python finds."""

import base64
import json
from typing import Any

import pytest

from server.core.policies import parse_trust_policy
from tests.e2e.test_verify_page import Verifier, browser, context, pytestmark, verifier
from tests.fixtures.make_verification_vectors import FOLDER
from tests.fixtures.make_verification_vectors import policy as policy_of_vectors
from tests.fuzz.__main__ import spoiled_proofs, worlds
from tests.fuzz.verifiers import verify_here

__all__ = ["browser", "context", "pytestmark", "verifier"]
SEED, PROOFS = 20_261_130, 60
VECTORS = {path.stem: json.loads(path.read_bytes()) for path in sorted(FOLDER.glob("*.json"))}


@pytest.mark.parametrize("pinned", [False, True], ids=["by its own policy", "by a given policy"])
def test_the_page_finds_what_python_finds(verifier: Verifier, pinned: bool) -> None:
    policy = worlds()[0].files["policy.json"] if pinned else None
    if policy is not None:
        verifier.trust(parse_trust_policy(policy))
    checked = 0
    for spoiled in spoiled_proofs(SEED):
        case = spoiled.case
        if case.policy != policy or case.status is not None:  # the page takes them by other ways
            continue
        found = verify_here(case)
        verdict = "unusable" if "refused" in found else found["verdict"]
        assert verifier.check(case.raw) == verdict, spoiled.did
        if "checks" in found:
            assert verifier.found == found["checks"], spoiled.did
        checked += 1
        if checked == PROOFS:
            break
    assert checked == PROOFS


def test_the_page_finds_what_the_vectors_say(verifier: Verifier) -> None:
    given = {name: vector for name, vector in VECTORS.items() if not {"policy", "status"} & vector.keys()}
    assert len(given) > 30
    for name, vector in given.items():
        assert verifier.check(base64.b64decode(vector["file"])) == vector["expect"], name
        assert failures(verifier) == vector["fails"], name


def test_the_same_white_space_may_stand_around_a_token_that_is_pasted(verifier: Verifier) -> None:
    verifier.trust(parse_trust_policy(policy_of_vectors()))
    pasted = 0
    for name, vector in VECTORS.items():
        raw = base64.b64decode(vector["file"])
        if not name.startswith("token-") or "long" in name or b"\x85" in raw:  # no text
            continue
        verifier.page.evaluate("document.querySelector('[data-verdict]')?.remove()")
        verifier.page.fill("#text", raw.decode())
        verifier.page.click("form button[type=submit]")
        expected = "unusable" if vector["expect"] == "file_unrecognised" else vector["expect"]
        assert verifier.verdict == expected, name
        pasted += 1
    assert pasted > 15


def failures(verifier: Verifier) -> dict[str, Any]:
    return {check: code for check, outcome, code in verifier.found if outcome == "failed" and code != "not_checked"}
