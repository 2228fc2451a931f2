"""JWS compact with ES256 and nothing else (RFC 7515, RFC 7518).

joserfc would serve, but it offers no deterministic signatures (RFC 6979), which let a repeated request get the same
token byte for byte, and it accepts more than we may. Our tests read everything signed here with joserfc.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from server.core.encoding import JsonObject, format_base64url, format_json, parse_base64url, parse_json, sha256
from server.errors import ParseError, VerificationError

PublicKey = ec.EllipticCurvePublicKey
PrivateKey = ec.EllipticCurvePrivateKey

_PUBLIC_MEMBERS = frozenset({"crv", "kty", "x", "y"})
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
MAX_JWS_CHARACTERS = 65_536
_SIGN = ec.ECDSA(SHA256(), deterministic_signing=True)
_VERIFY = ec.ECDSA(SHA256())


@dataclass(frozen=True)
class UnverifiedJws:
    """A JWS whose shape and header were read; its signature was not checked and its payload not parsed."""

    header: JsonObject
    raw_payload: bytes
    signature: bytes
    signing_input: bytes


def parse_jws(
    text: str, *, typ: str, members: frozenset[str], max_characters: int = MAX_JWS_CHARACTERS
) -> UnverifiedJws:
    """Read a JWS of type ``typ`` whose header has ``members`` besides ``alg`` and ``typ``, all of them, none other.

    Raises ParseError: ``jws_malformed``, ``base64url_malformed``, the codes of JSON, ``algorithm_refused``,
    ``type_refused``, ``jws_header_refused``.
    """
    if len(text) > max_characters:
        raise ParseError("jws_malformed", f"a JWS has at most {max_characters} characters")
    parts = text.split(".", 3)
    if len(parts) != 3:
        raise ParseError("jws_malformed", "a JWS has three parts")
    raw_header, raw_payload, signature = (parse_base64url(part) for part in parts)
    header = parse_json(raw_header)
    if header.get("alg") != "ES256":
        raise ParseError("algorithm_refused", "the only algorithm accepted is ES256")
    if header.get("typ") != typ:
        raise ParseError("type_refused", f"the type must be {typ}")
    if header.keys() != members | {"alg", "typ"}:
        raise ParseError("jws_header_refused", f"the header must have exactly {sorted(members | {'alg', 'typ'})}")
    return UnverifiedJws(header, raw_payload, signature, text.rpartition(".")[0].encode("ascii"))


def verify_jws(jws: UnverifiedJws, key: PublicKey) -> JsonObject:
    """Return the payload once ``key`` is seen to have signed it.

    Raises VerificationError ``signature_invalid``, or ParseError when the payload is not strict JSON.
    """
    if len(jws.signature) != 64:
        raise VerificationError("signature_invalid", "an ES256 signature has 64 bytes")
    r, s = int.from_bytes(jws.signature[:32]), int.from_bytes(jws.signature[32:])
    try:
        key.verify(encode_dss_signature(r, s), jws.signing_input, _VERIFY)
    except InvalidSignature as error:
        raise VerificationError("signature_invalid", "the signature does not fit key and signed bytes") from error
    return parse_json(jws.raw_payload)


def sign_jws(header: Mapping[str, Any], payload: Mapping[str, Any], key: PrivateKey) -> str:
    """Return the JWS compact form; the same input gives the same bytes (RFC 6979)."""
    return sign_under(format_header(header), payload, key)


def format_header(header: Mapping[str, Any]) -> str:
    """Return ``header`` as it begins a JWS, for ``sign_under``."""
    return format_base64url(format_json(header))


def sign_under(formatted_header: str, payload: Mapping[str, Any], key: PrivateKey) -> str:
    """Return the JWS compact form, under a header that serves many."""
    signing_input = f"{formatted_header}.{format_base64url(format_json(payload))}"
    r, s = decode_dss_signature(key.sign(signing_input.encode("ascii"), _SIGN))
    return f"{signing_input}.{format_base64url(r.to_bytes(32) + s.to_bytes(32))}"


def parse_public_jwk(jwk: object) -> PublicKey:
    """Return the P-256 key of ``jwk``, which has exactly ``crv``, ``kty``, ``x`` and ``y``.

    Raises ParseError: ``private_key_present`` when the sender leaked a private member, ``key_refused`` otherwise.
    """
    if not isinstance(jwk, dict):
        raise ParseError("key_refused", "the key must be a JWK object")
    if jwk.keys() & _PRIVATE_MEMBERS:
        raise ParseError("private_key_present", "the key holds private material; it must never leave its owner")
    if jwk.keys() != _PUBLIC_MEMBERS or jwk["kty"] != "EC" or jwk["crv"] != "P-256":
        raise ParseError("key_refused", "the key must be a bare EC P-256 public key")
    if not isinstance(jwk["x"], str) or not isinstance(jwk["y"], str):
        raise ParseError("key_refused", "the coordinates must be base64url text")
    try:
        return _public_key(parse_base64url(jwk["x"], size=32), parse_base64url(jwk["y"], size=32))
    except ValueError as error:
        raise ParseError("key_refused", "the point is not on the curve") from error
    except ParseError as error:
        raise ParseError("key_refused", "each coordinate must be 32 bytes") from error


@lru_cache(maxsize=256)
def _public_key(x: bytes, y: bytes) -> PublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + x + y)


def format_public_jwk(key: PublicKey) -> dict[str, str]:
    numbers = key.public_numbers()
    return {
        "crv": "P-256",
        "kty": "EC",
        "x": format_base64url(numbers.x.to_bytes(32)),
        "y": format_base64url(numbers.y.to_bytes(32)),
    }


def thumbprint(jwk: Mapping[str, str]) -> str:
    """Return the JWK thumbprint of a P-256 public key, base64url (RFC 7638)."""
    return format_base64url(sha256(format_json({name: jwk[name] for name in _PUBLIC_MEMBERS})))
