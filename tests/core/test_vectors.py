"""The vectors that the TypeScript verifier reads too: each gives exactly the outcome it says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.core.acknowledgements import verify_acknowledgement
from server.core.encoding import format_base64url, format_json, parse_base64url, parse_json
from server.core.log_policies import format_log_policy, quorum_met, verify_witnesses
from server.core.notes import Checkpoint, format_checkpoint, verify_checkpoint
from server.core.policies import TrustPolicy, format_trust_policy, parse_trust_policy
from server.core.presentations import Challenge, split_presentation, verify_binding, verify_challenge
from server.core.proofs import (
    format_consistency,
    format_entry,
    format_proof,
    parse_consistency,
    parse_proof,
    verify_growth,
    verify_proof,
)
from server.core.receipts import verify_freshness, verify_receipt
from server.core.statuslists import ERASED, STANDS, WITHDRAWN, verify_status_list
from server.core.tokens import verify_token
from server.errors import ObjectionError
from tests.fixtures.make_vectors import FOLDER, MAX_AGE_S, make_vectors

Vector = dict[str, Any]


def _policy(vector: Vector) -> TrustPolicy:
    return parse_trust_policy(json.dumps(vector["policy"]).encode())


def _check_receipt(vector: Vector) -> None:
    receipt = verify_receipt(vector["receipt"].encode())
    verify_freshness(receipt, now=vector["now"], max_age_s=MAX_AGE_S)


def _check_token(vector: Vector) -> None:
    verify_token(vector["token"], _policy(vector))


def _check_proof(vector: Vector) -> Checkpoint:
    policy = _policy(vector)
    proof = parse_proof(vector["proof"])
    entry = format_entry(
        kind=vector["kind"],
        salt=proof.salt,
        receipt_sha256=bytes.fromhex(vector["receipt_sha256"]),
        received_at=vector["received_at"],
    )
    checkpoint = verify_proof(proof, entry=entry, log=policy.log)
    if "cosigned" in vector:
        cosigned = verify_witnesses(proof.checkpoint_note, policy.log)
        assert [list(each) for each in cosigned] == vector["cosigned"]
        assert quorum_met(policy.log, [name for name, _ in cosigned]) == vector["quorum_met"]
    return checkpoint


def _check_presentation(vector: Vector) -> None:
    challenge = Challenge(vector["audience"], vector["nonce"], vector["now"])
    presented, raw_binding = split_presentation(vector["presentation"])
    token = verify_token(presented, _policy(vector))
    verify_challenge(verify_binding(raw_binding, token, presented), challenge)


def _check_acknowledgement(vector: Vector) -> None:
    receipt = verify_receipt(vector["about"].encode())
    verify_acknowledgement(vector["acknowledgement"], receipt, _policy(vector))


def _check_status_list(vector: Vector) -> None:
    listed = verify_status_list(vector["status_list"], _policy(vector))
    names = {STANDS: "stands", ERASED: "erased", WITHDRAWN: "withdrawn"}
    for index, said in vector.get("statuses", {}).items():
        assert names[listed.status(int(index))] == said
    if "index" in vector:
        listed.status(vector["index"])


def _check_consistency(vector: Vector) -> None:
    before, after = (
        Checkpoint("log.example", int(vector[name]["size"]), bytes.fromhex(vector[name]["root"]))
        for name in ("before", "after")
    )
    verify_growth(vector["consistency"], before=before, after=after)


CHECKS: dict[str, Callable[[Vector], object]] = {
    "receipts": _check_receipt,
    "tokens": _check_token,
    "presentations": _check_presentation,
    "proofs": _check_proof,
    "consistency": _check_consistency,
    "acknowledgements": _check_acknowledgement,
    "statuslists": _check_status_list,
}
# Others: tests/core/test_stamp_vectors.py; mails, which dkimpy reads, in tests/outside/test_mail_vectors.py.
PATHS = sorted(path for path in FOLDER.glob("*/*.json") if path.parent.name in CHECKS)
VALID = [path for path in PATHS if path.name.startswith("valid")]
# The others are read as they were signed; we would write the same content otherwise.
CANONICAL = [path for path in VALID if json.loads(path.read_bytes()).get("canonical", True)]


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", PATHS, ids=_name)
def test_outcome_is_the_expected_one(path: Path) -> None:
    vector = json.loads(path.read_bytes())
    try:
        CHECKS[path.parent.name](vector)
        outcome = "valid"
    except ObjectionError as error:
        outcome = error.code
    assert outcome == vector["expect"], vector["description"]


def test_valid_vectors_are_named_so() -> None:
    expected_valid = {path for path in PATHS if json.loads(path.read_bytes())["expect"] == "valid"}
    assert expected_valid == set(VALID)


@pytest.mark.parametrize("path", CANONICAL, ids=_name)
def test_valid_ones_encode_to_the_same_bytes(path: Path) -> None:
    vector = json.loads(path.read_bytes())
    whole = [vector[name] for name in ("receipt", "acknowledgement", "status_list") if name in vector]
    if whole:
        _assert_canonical_jws(*whole)
    elif "presentation" in vector:
        token, _, binding = vector["presentation"].rpartition("~")
        _assert_canonical_jws(binding)
        _assert_canonical_jws(token.partition("~")[0])
    elif "consistency" in vector:
        consistency = parse_consistency(vector["consistency"])
        assert format_consistency(consistency.old_size, consistency.path) == vector["consistency"]
    elif "token" in vector:
        _assert_canonical_jws(vector["token"].partition("~")[0])
        policy = _policy(vector)
        keys = sorted(vector["policy"]["issuer_keys"], key=lambda key: str(key["kid"]))
        assert json.loads(format_trust_policy(policy)) == vector["policy"] | {"issuer_keys": keys}
    else:
        proof = parse_proof(vector["proof"])
        again = format_proof(salt=proof.salt, index=proof.index, path=proof.path, checkpoint_note=proof.checkpoint_note)
        assert again == vector["proof"]
        log = _policy(vector).log
        checkpoint = verify_checkpoint(proof.checkpoint_note, trusted=log.key)
        assert format_checkpoint(checkpoint) == proof.checkpoint_note.partition("\n\n")[0] + "\n"
        if "comment" not in path.stem:
            assert format_log_policy(log) == vector["policy"]["log"]


def test_generator_gives_the_files_that_are_there() -> None:
    made = make_vectors()
    there = {(path.parent.name, path.stem): path.read_bytes() for path in PATHS}
    assert sorted(made) == sorted(there)
    assert [name for name in made if made[name] != there[name]] == [], "run python -m tests.fixtures.make_vectors"


def _assert_canonical_jws(jws: str) -> None:
    for part in jws.split(".")[:2]:
        assert format_base64url(format_json(parse_json(parse_base64url(part)))) == part
