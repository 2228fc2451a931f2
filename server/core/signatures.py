"""The signatures of certificates and CMS: ECDSA on a NIST curve and RSA, with SHA-2.

Keys are built from numbers that our own reader found. No library parses a stranger's bytes here: the parsers in
``cryptography`` are native code, and a panic of theirs is no ``Exception``.
``extension/src/core/signatures.ts`` is the twin of this module: both accept the same.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from server.core.der import (
    BIT_STRING,
    INTEGER,
    NULL,
    OID,
    SEQUENCE,
    Der,
    Members,
    context,
    parse_bit_string,
    parse_der,
    parse_oid,
    parse_small_integer,
    parse_unsigned,
)
from server.errors import ParseError, VerificationError

Hash = Literal["SHA-256", "SHA-384", "SHA-512"]
Scheme = Literal["ECDSA", "RSASSA-PKCS1-v1_5", "RSA-PSS"]
Key = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_FUNCTIONS: dict[Hash, hashes.SHA256 | hashes.SHA384 | hashes.SHA512] = {
    "SHA-256": hashes.SHA256(),
    "SHA-384": hashes.SHA384(),
    "SHA-512": hashes.SHA512(),
}
HASH_IDS: dict[str, Hash] = {
    "2.16.840.1.101.3.4.2.1": "SHA-256",
    "2.16.840.1.101.3.4.2.2": "SHA-384",
    "2.16.840.1.101.3.4.2.3": "SHA-512",
}
_SCHEMES: dict[str, tuple[Scheme, Hash]] = {
    "1.2.840.10045.4.3.2": ("ECDSA", "SHA-256"),
    "1.2.840.10045.4.3.3": ("ECDSA", "SHA-384"),
    "1.2.840.10045.4.3.4": ("ECDSA", "SHA-512"),
    "1.2.840.113549.1.1.11": ("RSASSA-PKCS1-v1_5", "SHA-256"),
    "1.2.840.113549.1.1.12": ("RSASSA-PKCS1-v1_5", "SHA-384"),
    "1.2.840.113549.1.1.13": ("RSASSA-PKCS1-v1_5", "SHA-512"),
}
_RSA_KEY, _RSA_PSS, _MGF1, _EC_KEY = (
    "1.2.840.113549.1.1.1",
    "1.2.840.113549.1.1.10",
    "1.2.840.113549.1.1.8",
    "1.2.840.10045.2.1",
)
_CURVES: dict[str, ec.EllipticCurve] = {
    "1.2.840.10045.3.1.7": ec.SECP256R1(),
    "1.3.132.0.34": ec.SECP384R1(),
    "1.3.132.0.35": ec.SECP521R1(),
}
_RSA_BITS = range(2048, 8193)  # more would only cost the reader time
_MAX_EXPONENT_BYTES = 4  # what every browser takes


@dataclass(frozen=True)
class SignatureAlgorithm:
    scheme: Scheme
    hash: Hash


def digest(name: Hash, data: bytes) -> bytes:
    return hashlib.new(name.replace("-", "").lower(), data).digest()


def parse_hash(value: Der) -> Hash:
    """Read an AlgorithmIdentifier of a hash; its parameters mean nothing. Raises ParseError."""
    name = HASH_IDS.get(parse_oid(Members(value, SEQUENCE).take(OID)))
    if name is None:
        raise _refused("a hash other than SHA-2")
    return name


def parse_signature_algorithm(value: Der) -> SignatureAlgorithm:
    """Read a certificate's AlgorithmIdentifier. Raises ParseError, ``algorithm_refused`` among its codes."""
    fields = Members(value, SEQUENCE)
    identifier = parse_oid(fields.take(OID))
    if identifier == _RSA_PSS:
        return _parse_pss(fields.take(SEQUENCE))
    if identifier not in _SCHEMES:
        raise _refused(f"a signature other than ECDSA or RSA with SHA-2: {identifier}")
    return SignatureAlgorithm(*_SCHEMES[identifier])


def _parse_pss(parameters: Der) -> SignatureAlgorithm:
    fields = Members(parameters)
    name = parse_hash(_only(fields.take(context(0))))
    generator = Members(_only(fields.take(context(1))), SEQUENCE)
    same = parse_oid(generator.take(OID)) == _MGF1 and parse_hash(generator.take()) == name
    salt = parse_small_integer(_only(fields.take(context(2))))
    fields.end()
    if not same or salt != _FUNCTIONS[name].digest_size:
        raise _refused("RSA-PSS with two hashes, or a salt of another length than the hash")
    return SignatureAlgorithm("RSA-PSS", name)


def _only(explicit: Der) -> Der:
    fields = Members(explicit)
    value = fields.take()
    fields.end()
    return value


def parse_key(public_key_info: bytes) -> Key:
    """Return the key of a SubjectPublicKeyInfo: an uncompressed point on a NIST curve, or an RSA key.

    Raises ParseError, ``key_refused`` among its codes.
    """
    whole = Members(parse_der(public_key_info, SEQUENCE))
    identifier = Members(whole.take(SEQUENCE))
    bits = parse_bit_string(whole.take(BIT_STRING))
    whole.end()
    kind = parse_oid(identifier.take(OID))
    if kind == _EC_KEY:
        curve = _CURVES.get(parse_oid(identifier.take(OID)))
        identifier.end()
        return _point(curve, bits)
    if kind != _RSA_KEY:
        raise _key_refused("neither EC nor RSA")
    if identifier.take(NULL).content:
        raise _key_refused("RSA with parameters")
    identifier.end()
    return _rsa_key(bits)


def _point(curve: ec.EllipticCurve | None, bits: bytes) -> ec.EllipticCurvePublicKey:
    if curve is None:
        raise _key_refused("a curve other than P-256, P-384 and P-521")
    if bits[:1] != b"\x04" or len(bits) != 1 + 2 * coordinate_size(curve):
        raise _key_refused("not an uncompressed point")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, bits)
    except ValueError as error:
        raise _key_refused("a point that is not on the curve") from error


def _rsa_key(bits: bytes) -> rsa.RSAPublicKey:
    numbers = Members(parse_der(bits, SEQUENCE))
    modulus, exponent = parse_unsigned(numbers.take(INTEGER)), parse_unsigned(numbers.take(INTEGER))
    numbers.end()
    n, e = int.from_bytes(modulus), int.from_bytes(exponent)
    if n.bit_length() not in _RSA_BITS:
        raise _key_refused("an RSA key of other than 2048 to 8192 bits")
    if n % 2 == 0 or len(exponent) > _MAX_EXPONENT_BYTES or e < 3 or e % 2 == 0:
        raise _key_refused("an RSA key with an unusual exponent or modulus")
    return rsa.RSAPublicNumbers(e, n).public_key()


def scheme_of(key: Key) -> Scheme:
    """Return the scheme in which ``key`` signs messages; no identifier beside a signature is asked."""
    return "ECDSA" if isinstance(key, ec.EllipticCurvePublicKey) else "RSASSA-PKCS1-v1_5"


def verify_signature(key: Key, algorithm: SignatureAlgorithm, signature: bytes, data: bytes, code: str) -> None:
    """Raise VerificationError ``code`` unless ``signature`` is by ``key`` over ``data``.

    ECDSA: SEQUENCE { r, s }. RSA: as long as the modulus. Raises ParseError for a signature without that form.
    """
    function = _FUNCTIONS[algorithm.hash]
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            if algorithm.scheme != "ECDSA":
                raise _key_refused("the key is of another kind than the signature")
            key.verify(encode_dss_signature(*_pair(signature)), data, ec.ECDSA(function))
        else:
            if algorithm.scheme == "ECDSA":
                raise _key_refused("the key is of another kind than the signature")
            how = padding.PKCS1v15() if algorithm.scheme == "RSASSA-PKCS1-v1_5" else _pss(function)
            key.verify(signature, data, how, function)
    except InvalidSignature as error:
        raise VerificationError(code, "a signature does not hold") from error


def _pss(function: hashes.SHA256 | hashes.SHA384 | hashes.SHA512) -> padding.PSS:
    return padding.PSS(padding.MGF1(function), function.digest_size)


def _pair(signature: bytes) -> tuple[int, int]:
    fields = Members(parse_der(signature, SEQUENCE))
    r, s = parse_unsigned(fields.take(INTEGER)), parse_unsigned(fields.take(INTEGER))
    fields.end()
    return int.from_bytes(r), int.from_bytes(s)


def coordinate_size(curve: ec.EllipticCurve) -> int:
    return (curve.key_size + 7) // 8


def _refused(message: str) -> ParseError:
    return ParseError("algorithm_refused", message)


def _key_refused(message: str) -> ParseError:
    return ParseError("key_refused", message)
