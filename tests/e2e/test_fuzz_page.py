"""A slice of the fuzzer's proofs in real Chromium: its WebCrypto and decompression find what Python finds."""

import pytest

from server.core.policies import parse_trust_policy
from tests.e2e.test_verify_page import browser, context, pytestmark, verifier
from tests.e2e.test_verify_page import Verifier
from tests.fuzz.__main__ import spoiled_proofs, worlds
from tests.fuzz.verifiers import verify_here

__all__ = ["browser", "context", "pytestmark", "verifier"]
SEED, PROOFS = 20_261_130, 60


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
