"""Whom a verifier trusts: the issuer's token keys, the log with its witnesses, and authorities for time."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from schemas.proofs import Policy as PolicySchema
from server.core.encoding import JsonObject, format_json, parse_json, sha256
from server.core.jws import (
    MAX_JWS_CHARACTERS,
    PrivateKey,
    PublicKey,
    format_header,
    format_public_jwk,
    parse_jws,
    parse_public_jwk,
    sign_under,
    thumbprint,
    verify_jws,
)
from server.core.log_policies import LogPolicy, format_log_policy, parse_log_policy
from server.core.notes import format_base64, parse_base64
from server.errors import FieldError, ParseError, VerificationError

_POLICY = PolicySchema()


@dataclass(frozen=True)
class TimeAuthority:
    """``certificates``: DER, the authority's own first, its root last; nobody has read them yet.

    ``trusted``: whether its stamps count as independent. Those of the register's own clock never do.
    """

    name: str
    certificates: tuple[bytes, ...]
    trusted: bool


@dataclass(frozen=True)
class TrustPolicy:
    """``issuer_keys`` by key id, which is the key's RFC 7638 thumbprint."""

    issuer: str
    issuer_keys: Mapping[str, PublicKey]
    log: LogPolicy
    time_authorities: tuple[TimeAuthority, ...] = ()


def parse_trust_policy(raw: bytes) -> TrustPolicy:
    """Raises ParseError: the codes of JSON, ``field_invalid``, ``policy_malformed``, ``key_refused``."""
    value = parse_json(raw)
    if problems := _POLICY.refusals(value):
        raise FieldError.from_messages(problems)
    keys = {}
    for jwk in value["issuer_keys"]:
        kid = jwk.pop("kid")
        key = parse_public_jwk(jwk)
        if thumbprint(jwk) != kid:
            raise ParseError("policy_malformed", "a key id is not its key's thumbprint")
        keys[kid] = key
    authorities = tuple(_parse_authority(each) for each in value["time_authorities"])
    if len({authority.name for authority in authorities}) != len(authorities):
        raise ParseError("policy_malformed", "two time authorities have one name")
    return TrustPolicy(value["issuer"], keys, parse_log_policy(value["log"]), authorities)


def format_trust_policy(policy: TrustPolicy) -> bytes:
    return format_json(
        {
            "v": 1,
            "issuer": policy.issuer,
            "issuer_keys": jwks(policy),
            "log": format_log_policy(policy.log),
            "time_authorities": [_format_authority(authority) for authority in policy.time_authorities],
        }
    )


def policy_fingerprint(policy: TrustPolicy) -> str:
    """Return what a register publishes for comparison: the SHA-256, in hex, of the policy in canonical form.

    It covers all keys. That of an issuer key alone would let a stranger name a log, witnesses and clocks of their own.
    """
    return sha256(format_trust_policy(policy)).hex()


def sign_issued(claims: JsonObject, *, typ: str, key: PrivateKey, certificate: str) -> str:
    """Return a statement of the issuer as a compact JWS. ``certificate``: base64 DER of the key's certificate."""
    return sign_under(_issuer_header(typ, key, certificate), claims, key)


@lru_cache(maxsize=64)
def _issuer_header(typ: str, key: PrivateKey, certificate: str) -> str:
    kid = thumbprint(format_public_jwk(key.public_key()))
    return format_header({"alg": "ES256", "kid": kid, "typ": typ, "x5c": [certificate]})


def verify_issued(
    text: str, policy: TrustPolicy, *, typ: str, max_characters: int = MAX_JWS_CHARACTERS
) -> tuple[JsonObject, str]:
    """Return claims and key id of a statement (compact JWS of type ``typ``) once the policy's issuer has signed it.

    Whether the claims have the form of their type is for the caller to check.
    Raises ParseError with the codes of JWS; VerificationError ``token_issuer_unknown``, ``signature_invalid``.
    """
    jws = parse_jws(text, typ=typ, members=frozenset({"kid", "x5c"}), max_characters=max_characters)
    kid = jws.header["kid"]
    key = policy.issuer_keys.get(kid) if isinstance(kid, str) else None
    if key is None:
        raise VerificationError("token_issuer_unknown", "signed with a key that the policy does not trust")
    return verify_jws(jws, key), str(kid)


def jwks(policy: TrustPolicy) -> list[JsonObject]:
    return [format_public_jwk(key) | {"kid": kid} for kid, key in sorted(policy.issuer_keys.items())]


def _parse_authority(value: JsonObject) -> TimeAuthority:
    certificates = tuple(parse_base64(text, "policy_malformed") for text in value["certificates"])
    return TimeAuthority(value["name"], certificates, value["trusted"])


def _format_authority(authority: TimeAuthority) -> JsonObject:
    certificates = [format_base64(der) for der in authority.certificates]
    return {"name": authority.name, "certificates": certificates, "trusted": authority.trusted}
