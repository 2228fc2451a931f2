"""Whom a verifier trusts: the issuer's token keys and the log's key."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.proofs import Policy as PolicySchema
from server.core.encoding import JsonObject, format_json, parse_json
from server.core.jws import PublicKey, format_public_jwk, parse_public_jwk, thumbprint
from server.core.notes import VerifierKey, format_policy, parse_policy
from server.errors import FieldError, ParseError


@dataclass(frozen=True)
class TrustPolicy:
    """``issuer_keys`` by key id, which is the key's RFC 7638 thumbprint."""

    issuer: str
    issuer_keys: Mapping[str, PublicKey]
    log: VerifierKey


def parse_trust_policy(raw: bytes) -> TrustPolicy:
    """Raises ParseError: the codes of JSON, ``field_invalid``, ``policy_malformed``, ``key_refused``."""
    value = parse_json(raw)
    if problems := PolicySchema().validate(value):
        raise FieldError.from_messages(problems)
    keys = {}
    for jwk in value["issuer_keys"]:
        kid = jwk.pop("kid")
        key = parse_public_jwk(jwk)
        if thumbprint(jwk) != kid:
            raise ParseError("policy_malformed", "a key id is not its key's thumbprint")
        keys[kid] = key
    return TrustPolicy(value["issuer"], keys, parse_policy(value["log"]))


def format_trust_policy(policy: TrustPolicy) -> bytes:
    return format_json(
        {
            "v": 1,
            "issuer": policy.issuer,
            "issuer_keys": jwks(policy),
            "log": format_policy(policy.log),
        }
    )


def jwks(policy: TrustPolicy) -> list[JsonObject]:
    return [format_public_jwk(key) | {"kid": kid} for kid, key in sorted(policy.issuer_keys.items())]
