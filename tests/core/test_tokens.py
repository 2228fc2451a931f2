"""Tokens: a function of receipt and record, bound to both, open only where the holder opens them."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from server.core.encoding import format_base64url, sha256
from server.core.jws import format_public_jwk, sign_jws, thumbprint
from server.core.log_policies import LogPolicy
from server.core.notes import VerifierKey
from server.core.policies import TrustPolicy
from server.core.receipts import VerifiedReceipt, verify_receipt
from server.core.tokens import (
    Recorded,
    VerifiedToken,
    disclosure_digest,
    format_disclosure,
    sign_token,
    token_claims,
    verify_token,
    verify_token_of_receipt,
)
from server.errors import ObjectionError, VerificationError
from tests.fixtures.holders import Holder

ISSUER = "https://register.example"
KEY = ec.derive_private_key(7, ec.SECP256R1())
KID = thumbprint(format_public_jwk(KEY.public_key()))
LOG = VerifierKey("log.example", Ed25519PrivateKey.from_private_bytes(b"1" * 32).public_key())
POLICY = TrustPolicy(ISSUER, {KID: KEY.public_key()}, LogPolicy(LOG))
RECORDED = Recorded(1_795_392_000, "log.example", 41, 42, f"{ISSUER}/status/1", "device")
SALT = b"s" * 16
SLOTS = ("account", "contact", "person")

HOLDER = Holder()
DISCLOSURES = {slot: format_disclosure(SALT, slot, f"my {slot} \u2014 \U0001f422") for slot in SLOTS}
SELF_ASSERTED = {slot: {"_sd": [disclosure_digest(DISCLOSURES[slot])]} for slot in SLOTS}


def _receipt(holder: Holder = HOLDER, **changes: Any) -> VerifiedReceipt:
    changes = {"self_asserted": SELF_ASSERTED} | changes
    return verify_receipt(holder.objection(**changes).receipt.encode())


RECEIPT = _receipt()


def _token(receipt: VerifiedReceipt = RECEIPT, **changes: Any) -> str:
    return sign_token(token_claims(receipt, RECORDED, issuer=ISSUER) | changes, key=KEY, certificate="AA==")


def _verified(receipt: VerifiedReceipt = RECEIPT, **changes: Any) -> VerifiedToken:
    return verify_token(_token(receipt, **changes), POLICY)


def test_repeat_gives_the_same_bytes() -> None:
    assert _token() == _token()


def test_token_says_what_receipt_and_record_say() -> None:
    token = _verified()
    verify_token_of_receipt(token, RECEIPT)
    payload = RECEIPT.payload
    assert token.claims == {
        "_sd_alg": "sha-256",
        "iss": ISSUER,
        "vct": f"{ISSUER}/vct/proof-of-objection/1",
        "iat": RECORDED.received_at,
        "cnf": {"jwk": HOLDER.jwk},
        "status": {"status_list": {"idx": 42, "uri": f"{ISSUER}/status/1"}},
        "controller": "meta-platforms-ireland",
        "platform": "facebook",
        "right": "eu-gdpr:A21",
        "contested_basis": "eu-gdpr:A6-1-f",
        "data_categories": payload["objection"]["data_categories"],
        "objected_at": payload["iat"],
        "received_at": RECORDED.received_at,
        "receipt_sha256": sha256(RECEIPT.raw).hex(),
        "log": {"origin": "log.example", "index": 41},
        "evidence": [{k: item[k] for k in ("name", "media_type", "sha256")} for item in payload["evidence"]],
        "assurance": "device",
        "self_asserted": SELF_ASSERTED,
    }
    assert (token.kid, token.disclosed, token.holder_jwk) == (KID, {}, HOLDER.jwk)


MISMATCHES: dict[str, Any] = {
    "cnf": {"jwk": Holder().jwk},
    "platform": "instagram",
    "data_categories": ["posts"],
    "objected_at": 0,
    "receipt_sha256": "0" * 64,
    "evidence": [],
    "self_asserted": {slot: {"_sd": [format_base64url(sha256(slot.encode()))]} for slot in SLOTS},
}


@pytest.mark.parametrize("claim", MISMATCHES)
def test_token_that_differs_from_the_receipt(claim: str) -> None:
    token = _verified(**{claim: MISMATCHES[claim]})
    with pytest.raises(VerificationError, match=claim) as caught:
        verify_token_of_receipt(token, RECEIPT)
    assert caught.value.code == "token_receipt_mismatch"


def test_every_claim_that_could_differ_was_tried() -> None:
    """The others have one value only (vct and iat follow from iss and received_at), or are the record's own word."""
    one_value = {"_sd_alg", "vct", "iat", "controller", "right", "contested_basis"}
    records_word = {"iss", "received_at", "log", "status", "assurance"}
    assert set(MISMATCHES) | one_value | records_word == set(_verified().claims)


def test_token_of_another_receipt() -> None:
    with pytest.raises(VerificationError) as caught:
        verify_token_of_receipt(_verified(), _receipt())
    assert caught.value.code == "token_receipt_mismatch"


def test_withdrawal_has_no_token() -> None:
    objection = RECEIPT.payload
    payload = {name: objection[name] for name in ("jti", "iat", "controller")}
    payload |= {"kind": "withdrawal", "objection_sha256": RECEIPT.sha256.hex()}
    with pytest.raises(VerificationError) as caught:
        verify_token_of_receipt(_verified(), verify_receipt(HOLDER.sign(payload).encode()))
    assert caught.value.code == "token_receipt_mismatch"


@given(st.lists(st.sampled_from(SLOTS), unique=True))
def test_holder_chooses_what_to_open(shown: list[str]) -> None:
    presented = _token() + "".join(f"{DISCLOSURES[slot]}~" for slot in shown)
    assert verify_token(presented, POLICY).disclosed == {slot: f"my {slot} \u2014 \U0001f422" for slot in shown}


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=320))
def test_any_text_can_be_declared(value: str) -> None:
    disclosure = format_disclosure(SALT, "person", value)
    slots = SELF_ASSERTED | {"person": {"_sd": [disclosure_digest(disclosure)]}}
    presented = f"{_token(self_asserted=slots)}{disclosure}~"
    assert verify_token(presented, POLICY).disclosed == {"person": value}


@given(
    st.recursive(st.none() | st.booleans() | st.integers(-9, 9), lambda v: st.lists(v) | st.dictionaries(st.text(), v))
)
def test_nothing_but_text_can_be_declared(value: Any) -> None:
    disclosure = format_base64url(json.dumps([format_base64url(SALT), "person", value]).encode())
    slots = SELF_ASSERTED | {"person": {"_sd": [disclosure_digest(disclosure)]}}
    with pytest.raises(ObjectionError) as caught:
        verify_token(f"{_token(self_asserted=slots)}{disclosure}~", POLICY)
    assert caught.value.code in {"disclosure_value_refused", "json_malformed"}


@given(st.data())
def test_disclosure_with_any_character_altered_is_refused(data: st.DataObject) -> None:
    good = DISCLOSURES["person"]
    at = data.draw(st.integers(0, len(good) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda c: c != good[at]))
    with pytest.raises(ObjectionError):
        verify_token(f"{_token()}{good[:at]}{other}{good[at + 1 :]}~", POLICY)


@given(st.data())
def test_token_with_any_character_altered_is_refused(data: st.DataObject) -> None:
    token = _token()
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda c: c != token[at]))
    with pytest.raises(ObjectionError):
        verify_token(token[:at] + other + token[at + 1 :], POLICY)


def test_token_of_a_stranger_is_refused() -> None:
    stranger = ec.derive_private_key(8, ec.SECP256R1())
    claims = token_claims(RECEIPT, RECORDED, issuer=ISSUER)
    as_itself = sign_token(claims, key=stranger, certificate="AA==")
    as_us = sign_jws({"alg": "ES256", "kid": KID, "typ": "dc+sd-jwt", "x5c": ["AA=="]}, claims, stranger) + "~"
    for token, code in ((as_itself, "token_issuer_unknown"), (as_us, "signature_invalid")):
        with pytest.raises(VerificationError) as caught:
            verify_token(token, POLICY)
        assert caught.value.code == code
