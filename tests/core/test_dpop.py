"""Each way in which a DPoP proof is not one for this token, this request, this moment."""

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from server.core.dpop import MAX_AGE_S, DpopProof, verify_dpop
from server.core.encoding import parse_base64url, parse_json
from server.core.jws import sign_jws
from server.core.tokens import VerifiedToken
from server.errors import Unauthorised
from tests.fixtures.holders import Holder

NOW = 1_795_392_000
METHOD, URL = "GET", "https://register.example/v1/receipts/00"
TOKEN = "header.claims.signature~"
HOLDER, STRANGER = Holder(), Holder()
VERIFIED = VerifiedToken({"cnf": {"jwk": HOLDER.jwk}}, {}, "kid")


def _check(proof: str, *, method: str = METHOD, url: str = URL, token: str = TOKEN, now: int = NOW) -> DpopProof:
    return verify_dpop(proof, VERIFIED, token, method=method, url=url, now=now)


def _proof(holder: Holder = HOLDER, **changes: Any) -> str:
    return holder.dpop(TOKEN, METHOD, URL, **({"iat": NOW} | changes))


def _with_header(**changes: Any) -> str:
    header = {"alg": "ES256", "jwk": HOLDER.jwk, "typ": "dpop+jwt"} | changes
    return sign_jws({k: v for k, v in header.items() if v is not None}, _claims(), HOLDER.key)


def _with_claims(claims: dict[str, Any]) -> str:
    return sign_jws({"alg": "ES256", "jwk": HOLDER.jwk, "typ": "dpop+jwt"}, claims, HOLDER.key)


def _claims() -> dict[str, Any]:
    return parse_json(parse_base64url(_proof(jti="the-jti").split(".")[1]))


def test_proof_gives_its_jti() -> None:
    assert _check(_proof(jti="the-jti")) == DpopProof("the-jti", NOW)


@pytest.mark.parametrize("age", [0, MAX_AGE_S, -MAX_AGE_S])
def test_proof_within_the_window(age: int) -> None:
    _check(_proof(iat=NOW - age))


def _without(claim: str) -> str:
    return _with_claims({name: value for name, value in _claims().items() if name != claim})


REFUSED: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "not a JWS": lambda: "proof",
    "too long": lambda: _proof(jti="j" * 4096),
    "typ": lambda: _with_header(typ="JWT"),
    "alg": lambda: _with_header(alg="none"),
    "no key": lambda: _with_header(jwk=None),
    "two keys": lambda: _with_header(kid="1"),
    "private key": lambda: _with_header(jwk=HOLDER.jwk | {"d": "AA"}),
    "key of another kind": lambda: _with_header(jwk={"kty": "oct"}),
    "receipt in place of a proof": lambda: HOLDER.objection().receipt,
    "stranger's key": lambda: _proof(STRANGER),
    "stranger's signature": lambda: sign_jws(
        {"alg": "ES256", "jwk": HOLDER.jwk, "typ": "dpop+jwt"}, _claims(), STRANGER.key
    ),
    "signature altered": lambda: _proof()[:-4] + "AAAA",
    "no jti": lambda: _without("jti"),
    "no htm": lambda: _without("htm"),
    "no htu": lambda: _without("htu"),
    "no iat": lambda: _without("iat"),
    "no ath": lambda: _without("ath"),
    "nonce": lambda: _proof(nonce="n"),
    "jti a number": lambda: _proof(jti=1),
    "iat a text": lambda: _proof(iat=str(NOW)),
    "iat true": lambda: _proof(iat=True),
    "method": lambda: _proof(htm="POST"),
    "method in lower case": lambda: _proof(htm="get"),
    "address of another record": lambda: _proof(htu=URL[:-1] + "1"),
    "address with query": lambda: _proof(htu=URL + "?a"),
    "address of another register": lambda: _proof(htu=URL.replace("register", "other")),
    "another token": lambda: HOLDER.dpop(TOKEN + "~", METHOD, URL, iat=NOW),
    "ath of nothing": lambda: _proof(ath=""),
    "too old": lambda: _proof(iat=NOW - MAX_AGE_S - 1),
    "too new": lambda: _proof(iat=NOW + MAX_AGE_S + 1),
}


@pytest.mark.parametrize("what", REFUSED)
def test_proof_is_refused(what: str) -> None:
    with pytest.raises(Unauthorised) as caught:
        _check(REFUSED[what]())
    assert caught.value.code == "dpop_refused"


@pytest.mark.parametrize(
    "request_parts",
    [{"method": "DELETE"}, {"url": URL + "/bundle"}, {"token": TOKEN + "disclosure~"}, {"now": NOW + MAX_AGE_S + 1}],
)
def test_good_proof_is_refused_for_another_request(request_parts: dict[str, Any]) -> None:
    with pytest.raises(Unauthorised):
        _check(_proof(), **request_parts)


def test_other_key_of_the_same_x_is_another_key() -> None:
    """The point's mirror image has the same x."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    secret = HOLDER.key.private_numbers().private_value
    mirrored = Holder(ec.derive_private_key(order - secret, ec.SECP256R1()))
    assert mirrored.jwk["x"] == HOLDER.jwk["x"]
    with pytest.raises(Unauthorised):
        _check(_proof(mirrored))
