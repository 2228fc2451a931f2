"""Presentations: a token with disclosures, bound by its holder to one asker and one moment (RFC 9901, section 4.3).

``<token>~<D>~…<KB-JWT>``. Only who asked with a nonce of their own learns that the presenter holds the key now: for
anybody else the same bytes may have been copied.
"""

from dataclasses import dataclass

from server.core.encoding import format_base64url, sha256
from server.core.jws import PrivateKey, parse_jws, parse_public_jwk, sign_jws, verify_jws
from server.core.notes import MAX_TIME_S
from server.core.tokens import VerifiedToken
from server.errors import FreshnessError, ObjectionError, VerificationError

BINDING_TYPE = "kb+jwt"
MAX_AGE_S = 300
_CLAIMS = {"iat": int, "aud": str, "nonce": str, "sd_hash": str}
_MAX_BINDING_CHARACTERS = 4_096


@dataclass(frozen=True)
class Challenge:
    """What a verifier asked for: a presentation to ``audience`` with its ``nonce``; ``now`` in seconds."""

    audience: str
    nonce: str
    now: int


@dataclass(frozen=True)
class Binding:
    """What the holder of the token's key signed: ``presented_at`` by their clock, to whom, with which nonce."""

    audience: str
    nonce: str
    presented_at: int


def sign_presentation(presented: str, *, key: PrivateKey, audience: str, nonce: str, now: int) -> str:
    """Return the presentation of ``presented``, a token with the disclosures to show, trailing ``~`` included."""
    claims = {"iat": now, "aud": audience, "nonce": nonce, "sd_hash": _sd_hash(presented)}
    return presented + sign_jws({"alg": "ES256", "typ": BINDING_TYPE}, claims, key)


def split_presentation(text: str) -> tuple[str, str]:
    """Return the token with its disclosures, trailing ``~`` included, and the key binding: empty where none is."""
    presented, tilde, binding = text.rpartition("~")
    return (presented + tilde, binding) if tilde else (text, "")


def verify_binding(raw_binding: str, token: VerifiedToken, presented: str) -> Binding:
    """Return what the holder of ``token`` signed over ``presented``. Means nothing alone: ``verify_challenge`` next.

    Raises VerificationError: ``binding_missing``; ``binding_mismatch`` when it is malformed, signed by another key, or
    over other bytes.
    """
    if not raw_binding:
        raise VerificationError("binding_missing", "the presenter did not sign: anybody may hand on this token")
    if len(raw_binding) > _MAX_BINDING_CHARACTERS:
        raise VerificationError("binding_mismatch", "the key binding is too long")
    try:
        jws = parse_jws(raw_binding, typ=BINDING_TYPE, members=frozenset())
        claims = verify_jws(jws, parse_public_jwk(token.holder_jwk))
    except ObjectionError as error:
        raise VerificationError("binding_mismatch", f"the key binding does not hold: {error}") from error
    if {name: type(value) for name, value in claims.items()} != _CLAIMS:
        raise VerificationError("binding_mismatch", f"a key binding has exactly {', '.join(_CLAIMS)}")
    if not 0 <= claims["iat"] <= MAX_TIME_S:
        raise VerificationError("binding_mismatch", "the key binding's time is one that no calendar can write")
    if claims["sd_hash"] != _sd_hash(presented):
        raise VerificationError("binding_mismatch", "the key binding is over another token, or other disclosures")
    return Binding(claims["aud"], claims["nonce"], claims["iat"])


def verify_challenge(binding: Binding, challenge: Challenge) -> None:
    """Make sure that ``binding`` answers ``challenge``.

    Raises VerificationError ``binding_mismatch`` for another audience or nonce, FreshnessError ``binding_stale`` unless
    it was signed within ``MAX_AGE_S`` of now, either side.
    """
    if binding.audience != challenge.audience:
        raise VerificationError("binding_mismatch", "presented to another audience")
    if binding.nonce != challenge.nonce:
        raise VerificationError("binding_mismatch", "presented with another nonce")
    if abs(challenge.now - binding.presented_at) > MAX_AGE_S:
        raise FreshnessError("binding_stale", f"not presented within {MAX_AGE_S} seconds of now")


def _sd_hash(presented: str) -> str:
    return format_base64url(sha256(presented.encode()))
