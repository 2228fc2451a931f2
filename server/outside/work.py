"""Work proofs with ALTCHA: the register asks a browser to compute for a second or two, and stores nothing for it."""

import secrets

import altcha

from schemas.work import ALGORITHM, MAX_WORK_CHARACTERS, WorkProof
from server.core.encoding import JsonObject, parse_json
from server.errors import FieldError, ParseError, VerificationError

LIFE_S = 600
# The right try is one of these, drawn evenly: no unlucky browser computes for ever.
FIRST_TRY, TRIES = 1024, 2048
_PROOF = WorkProof()


def create_challenge(receipt_sha256: bytes, *, secret: bytes, cost: int, now: int) -> JsonObject:
    """Return a challenge (schemas/work.py) that only a proof about this receipt answers, for the next ten minutes.

    ``cost``: PBKDF2 iterations a try; there are 2,048 tries on average.
    """
    challenge = altcha.create_challenge(
        ALGORITHM,
        cost,
        counter=FIRST_TRY + secrets.randbelow(TRIES),
        expires_at=now + LIFE_S,
        data={"receipt_sha256": receipt_sha256.hex()},
        hmac_secret=secret,
        hmac_key_secret=secret,
    )
    described: JsonObject = challenge.to_dict()
    return described


def verify_work(text: str, receipt_sha256: bytes, *, secret: bytes) -> None:
    """Return when ``text`` (JSON, schemas/work.py) shows work done for this receipt.

    That it is spent once follows: a receipt is recorded once. Raises ParseError ``work_malformed``, VerificationError
    ``work_expired``, ``work_mismatch``.
    """
    proof = _parse(text)
    challenge, solution = proof["challenge"], proof["solution"]
    if challenge["parameters"]["data"]["receipt_sha256"] != receipt_sha256.hex():
        raise VerificationError("work_mismatch", "the work was done for another receipt")
    result = altcha.verify_solution(
        altcha.Payload(
            challenge=altcha.Challenge.from_dict(challenge),
            solution=altcha.Solution(counter=solution["counter"], derived_key=solution["derivedKey"]),
        ),
        secret,
        hmac_key_secret=secret,
    )
    if result.expired:
        raise VerificationError("work_expired", "the work was done for a challenge that has expired")
    if not result.verified:
        raise VerificationError("work_mismatch", "the solution does not fit, or the challenge is not this register's")


def _parse(text: str) -> JsonObject:
    if len(text) > MAX_WORK_CHARACTERS:
        raise ParseError("work_malformed", f"a work proof has at most {MAX_WORK_CHARACTERS} characters")
    try:
        proof = parse_json(text.encode())
        if problems := _PROOF.refusals(proof):
            raise FieldError.from_messages(problems)
    except (ParseError, UnicodeEncodeError) as error:
        raise ParseError("work_malformed", f"not a work proof: {error}") from error
    return proof
