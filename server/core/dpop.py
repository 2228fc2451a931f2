"""Proof that the caller holds the key a token is bound to (DPoP, RFC 9449)."""

from dataclasses import dataclass

from server.core.encoding import format_base64url, sha256
from server.core.jws import parse_jws, parse_public_jwk, verify_jws
from server.core.tokens import VerifiedToken
from server.errors import ObjectionError, Unauthorised

MAX_AGE_S = 300
_CLAIMS = {"jti": str, "htm": str, "htu": str, "iat": int, "ath": str}
_MAX_PROOF_CHARACTERS = 4_096


@dataclass(frozen=True)
class DpopProof:
    """A proof that holds. ``signed_at``: seconds, by the holder's clock."""

    jti: str
    signed_at: int


def verify_dpop(proof: str, token: VerifiedToken, raw_token: str, *, method: str, url: str, now: int) -> DpopProof:
    """Return the proof, whose ``jti`` the caller must refuse to see twice within twice ``MAX_AGE_S`` seconds.

    Raises Unauthorised ``dpop_refused``: malformed, signed by another key, for another request, or not fresh.
    """
    if len(proof) > _MAX_PROOF_CHARACTERS:
        raise Unauthorised("dpop_refused", "the DPoP proof is too long")
    try:
        jws = parse_jws(proof, typ="dpop+jwt", members=frozenset({"jwk"}))
        claims = verify_jws(jws, parse_public_jwk(jws.header["jwk"]))
    except ObjectionError as error:
        raise Unauthorised("dpop_refused", f"the DPoP proof does not hold: {error}") from error
    if {name: type(value) for name, value in claims.items()} != _CLAIMS:
        raise Unauthorised("dpop_refused", f"a DPoP proof has exactly {', '.join(_CLAIMS)}")
    expected = {"htm": method, "htu": url, "ath": format_base64url(sha256(raw_token.encode()))}
    if differing := [name for name, value in expected.items() if claims[name] != value]:
        raise Unauthorised("dpop_refused", f"the DPoP proof is for another request: {', '.join(differing)}")
    if abs(now - claims["iat"]) > MAX_AGE_S:
        raise Unauthorised("dpop_refused", "the DPoP proof is not fresh; check the computer's clock")
    if jws.header["jwk"] != token.holder_jwk:
        raise Unauthorised("dpop_refused", "the DPoP proof is signed by another key than the token's")
    return DpopProof(claims["jti"], claims["iat"])
