"""Policies name keys by what they are."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import ECKey

from server.core.jws import format_public_jwk, thumbprint
from server.core.log_policies import LogPolicy
from server.core.notes import VerifierKey, format_verifier_key
from server.core.policies import TimeAuthority, TrustPolicy, format_trust_policy, jwks, parse_trust_policy
from server.errors import ParseError

KEYS = [ec.derive_private_key(secret, ec.SECP256R1()).public_key() for secret in (1, 2, 3)]
LOG = VerifierKey("log.example", Ed25519PrivateKey.from_private_bytes(b"1" * 32).public_key())
POLICY = TrustPolicy(
    "https://register.example",
    {thumbprint(format_public_jwk(key)): key for key in KEYS},
    LogPolicy(LOG),
    (TimeAuthority("local", (b"certificate", b"root"), trusted=False),),
)
RAW = format_trust_policy(POLICY)


def test_policy_comes_back() -> None:
    policy = parse_trust_policy(RAW)
    assert format_trust_policy(policy) == RAW
    assert policy.issuer == POLICY.issuer
    assert policy.issuer_keys.keys() == POLICY.issuer_keys.keys()
    assert policy.log.key.raw == LOG.raw
    assert policy.time_authorities == POLICY.time_authorities
    assert all(
        key.public_numbers() == policy.issuer_keys[kid].public_numbers() for kid, key in POLICY.issuer_keys.items()
    )


def test_thumbprint_is_that_of_the_standard() -> None:
    """RFC 7638, as joserfc reads it."""
    for key in KEYS:
        jwk = format_public_jwk(key)
        assert thumbprint(jwk) == ECKey.import_key({**jwk}).thumbprint()


def _refusal(**changes: Any) -> str:
    with pytest.raises(ParseError) as caught:
        parse_trust_policy(json.dumps(json.loads(RAW) | changes).encode())
    return caught.value.code


def test_key_under_the_name_of_another_is_refused() -> None:
    one, other, *_ = jwks(POLICY)
    assert _refusal(issuer_keys=[one | {"kid": other["kid"]}]) == "policy_malformed"
    assert _refusal(issuer_keys=[one, other | {"kid": one["kid"]}]) == "policy_malformed"


def test_private_and_extended_keys_are_refused() -> None:
    key = jwks(POLICY)[0]
    assert _refusal(issuer_keys=[key | {"d": "A" * 43}]) == "field_invalid"
    assert _refusal(issuer_keys=[key | {"alg": "ES256"}]) == "field_invalid"


def test_policy_without_keys_is_refused() -> None:
    assert _refusal(issuer_keys=[]) == "field_invalid"
    assert _refusal(log="") == "field_invalid"
    assert _refusal(log="quorum none\n") == "policy_malformed"


def test_policy_of_another_version_is_refused() -> None:
    assert _refusal(v=2) == "field_invalid"
    assert _refusal(witnesses=[]) == "field_invalid"


def test_two_logs_are_refused() -> None:
    line = f"log {format_verifier_key(LOG)}\n"
    assert _refusal(log=f"{line}{line}quorum none\n") == "policy_malformed"


def test_duplicate_key_is_refused() -> None:
    with pytest.raises(ParseError) as caught:
        parse_trust_policy(RAW.replace(b'{"issuer"', b'{"issuer":"https://a.example","issuer"', 1))
    assert caught.value.code == "json_duplicate_key"
