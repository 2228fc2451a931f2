"""The fuzzer itself: it repeats, it reaches every layer, and it tells each kind of difference."""

import random
from itertools import islice
from pathlib import Path

import pytest

from tests.fuzz.__main__ import Spoiled, Tally, differences, spoiled_proofs
from tests.fuzz.mutations import MUTATIONS, Draft
from tests.fuzz.verifiers import Case, Found, NodeVerifier, verify_here
from tests.fuzz.world import World


@pytest.fixture(scope="module")
def proofs() -> list[Spoiled]:
    return list(islice(spoiled_proofs(7), 250))


def test_a_seed_gives_the_same_proofs(proofs: list[Spoiled]) -> None:
    assert list(islice(spoiled_proofs(7), 60)) == proofs[:60]


def test_another_seed_gives_other_proofs(proofs: list[Spoiled]) -> None:
    assert [each.case for each in islice(spoiled_proofs(8), 3)] != [each.case for each in proofs[:3]]


def test_every_kind_of_change_is_made(proofs: list[Spoiled]) -> None:
    assert {kind for each in proofs for kind in each.kinds} == {kind for _, kind, _ in MUTATIONS}


def test_changes_reach_every_check(proofs: list[Spoiled]) -> None:
    found = [verify_here(each.case) for each in proofs]
    failing = {check for each in found for check, outcome, _ in each.get("checks", ()) if outcome == "failed"}
    assert failing >= {"container", "files", "policy", "receipt", "token", "log", "anchor", "later", "mail", "status"}
    assert {"valid", "invalid", "withdrawn", "erased"} <= {each.get("verdict") for each in found}
    assert any("refused" in each for each in found)


def test_a_proof_can_lack_any_file() -> None:
    world = World("lacking", evidence={}, withdrawn=False)
    every = world.recorded_files
    for lacking in [{name} for name in every] + [set(every), {"receipt.jws", "policy.json"}]:
        files = {name: data for name, data in every.items() if name not in lacking}
        found = verify_here(Draft(world, random.Random(0), files).case())
        assert found.get("verdict") == "invalid" or found == {"refused": "file_unrecognised"}, lacking


_FOUND: Found = {"verdict": "valid", "checks": [["log", "passed", None]], "facts": {"log_index": 5}}


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (_FOUND, []),
        (_FOUND | {"verdict": "invalid"}, ["verdict: valid and invalid"]),
        (_FOUND | {"checks": [["log", "failed", "proof_mismatch"]]}, ["log: passed and proof_mismatch"]),
        (_FOUND | {"checks": []}, ["log: passed and nothing", "the order of the checks"]),
        (_FOUND | {"facts": {"log_index": 6}}, ["fact log_index"]),
        ({"refused": "file_unrecognised"}, ["refused: None and file_unrecognised"]),
        ({"crash": "TypeError: 17 is no list"}, ["TypeScript crash: TypeError: N is no list"]),
        ({"hang": "no answer"}, ["TypeScript hang: no answer"]),
    ],
    ids=["nothing", "verdict", "check", "missing check", "fact", "refusal", "crash", "hang"],
)
def test_each_kind_of_difference_is_told(other: Found, words: list[str]) -> None:
    assert differences(_FOUND, other) == words


def test_a_crash_of_both_is_no_agreement() -> None:
    assert len(differences({"crash": "x"}, {"crash": "x"})) == 2


@pytest.mark.skipif(not (Path(__file__).parents[2] / "extension/node_modules").exists(), reason="needs node_modules")
def test_what_differs_is_counted_and_kept(tmp_path: Path, proofs: list[Spoiled]) -> None:
    class OtherClock(NodeVerifier):
        """Stands for a verifier with a defect: it sees no policy."""

        def send(self, case: Case) -> None:
            super().send(Case(case.raw, None, case.status, case.now))

    tally = Tally(7, tmp_path)
    pinned = [each for each in proofs if each.case.policy is not None and not each.did[1:]]
    token = next(each for each in proofs if each.case.policy is not None and "pinned" in str(verify_here(each.case)))
    with OtherClock() as node:
        for each in [*pinned, token][:3]:
            tally.add(each, node)
    assert tally.differences == tally.cases > 0
    assert "make fuzz SEED=7 CASE=" in next(tmp_path.glob("*/found.json")).read_text()
    assert f"{tally.cases} cases, {tally.cases} differences, 0 crashes, 0 hangs" in tally.summary()
