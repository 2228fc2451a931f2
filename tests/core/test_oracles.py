"""Readers written by others accept what we sign, and refuse it altered."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from jwcrypto.jwk import JWK
from jwcrypto.jws import InvalidJWSSignature
from sd_jwt.verifier import SDJWTVerifier

from server.core.jws import format_public_jwk
from server.core.notes import Checkpoint, format_checkpoint, parse_base64, sign_note
from server.core.presentations import sign_presentation
from tests.core.test_tokens import DISCLOSURES, HOLDER, KEY, SELF_ASSERTED, SLOTS, _token
from tests.fixtures.make_vectors import FOLDER

RECEIPT = HOLDER.objection(self_asserted=SELF_ASSERTED).receipt
REGISTRY = jws.JWSRegistry(algorithms=["ES256"])


def _altered(text: str, part: int) -> str:
    """Return ``text`` with one character in the middle of that part changed."""
    parts = text.split(".")
    middle = len(parts[part]) // 2
    other = "A" if parts[part][middle] != "A" else "B"
    parts[part] = parts[part][:middle] + other + parts[part][middle + 1 :]
    return ".".join(parts)


def _issuer_key() -> dict[str, Any]:
    return {**format_public_jwk(KEY.public_key())}


@pytest.mark.parametrize("what", ["receipt", "token"])
def test_joserfc_reads_and_verifies(what: str) -> None:
    text, jwk = (RECEIPT, {**HOLDER.jwk}) if what == "receipt" else (_token()[:-1], _issuer_key())
    key = ECKey.import_key(jwk)
    read = jws.deserialize_compact(text, key, registry=REGISTRY)
    assert json.loads(read.payload)["controller"] == "meta-platforms-ireland"
    assert read.headers()["typ"] == {"receipt": "objection-receipt+jwt", "token": "dc+sd-jwt"}[what]
    for part in (1, 2):
        with pytest.raises(JoseError):
            jws.deserialize_compact(_altered(text, part), key, registry=REGISTRY)
    with pytest.raises(JoseError):
        jws.deserialize_compact(text, ECKey.generate_key("P-256"), registry=REGISTRY)


def test_joserfc_verifies_every_valid_receipt_vector() -> None:
    """The vectors' signatures hold for a reader who never saw our code."""
    for path in sorted(FOLDER.glob("receipts/valid*.json")):
        receipt = json.loads(path.read_bytes())["receipt"]
        header = jws.extract_compact(receipt.encode()).headers()
        jws.deserialize_compact(receipt, ECKey.import_key(header["jwk"]), registry=REGISTRY)


def _read_sd_jwt(presentation: str) -> dict[str, Any]:
    verifier = SDJWTVerifier(presentation, lambda _issuer, _header: JWK(**_issuer_key()))
    claims: dict[str, Any] = verifier.get_verified_payload()
    return claims


def test_sd_jwt_reads_what_the_holder_discloses() -> None:
    assert _read_sd_jwt(_token())["self_asserted"] == {slot: {} for slot in SLOTS}
    for shown in (["person"], ["account", "contact"], list(SLOTS)):
        claims = _read_sd_jwt(_token() + "".join(f"{DISCLOSURES[slot]}~" for slot in shown))
        expected = {slot: {slot: f"my {slot} \u2014 \U0001f422"} if slot in shown else {} for slot in SLOTS}
        assert claims["self_asserted"] == expected


def test_sd_jwt_refuses_altered_tokens() -> None:
    presentation = f"{_token()}{DISCLOSURES['person']}~"
    jwt, _, rest = presentation.partition("~")
    with pytest.raises(InvalidJWSSignature):
        _read_sd_jwt(f"{_altered(jwt, 2)}~{rest}")
    repeated = SELF_ASSERTED | {"account": SELF_ASSERTED["person"]}
    with pytest.raises(ValueError, match="Duplicate hash"):
        _read_sd_jwt(f"{_token(self_asserted=repeated)}{DISCLOSURES['person']}~")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_verifies_a_checkpoint(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.from_private_bytes(b"1" * 32)
    note = sign_note(format_checkpoint(Checkpoint("log.example", 7, b"r" * 32)), "log.example", key)
    text, _, signature_line = note.partition("\n\n")
    signature = parse_base64(signature_line.split()[2], "note_malformed")[4:]
    public, signed, raw = tmp_path / "log.pem", tmp_path / "checkpoint", tmp_path / "signature"
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    raw.write_bytes(signature)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", signed, "-sigfile", raw]
    for content, verified in ((f"{text}\n", True), (f"{text}\n".replace("7", "8"), False), (text, False)):
        signed.write_text(content)
        assert (subprocess.run(command, capture_output=True, check=False).returncode == 0) is verified


def _read_presentation(
    presentation: str, audience: str = "https://asker.example", nonce: str = "n-1"
) -> dict[str, Any]:
    issuer = JWK(**_issuer_key())
    verifier = SDJWTVerifier(presentation, lambda _issuer, _header: issuer, audience, nonce)
    claims: dict[str, Any] = verifier.get_verified_payload()
    return claims


def _presentation(**changes: Any) -> str:
    asked = {"key": HOLDER.key, "audience": "https://asker.example", "nonce": "n-1", "now": 1_795_392_000}
    return sign_presentation(f"{_token()}{DISCLOSURES['person']}~", **(asked | changes))


def test_sd_jwt_verifies_who_presents() -> None:
    assert _read_presentation(_presentation())["self_asserted"]["account"] == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"audience": "https://other.example"}, "audience"),
        ({"nonce": "n-2"}, "nonce"),
        ({"key": KEY}, "Verification failed"),
    ],
)
def test_sd_jwt_refuses_presentations_to_others(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, InvalidJWSSignature), match=f"(?i){message}"):
        _read_presentation(_presentation(**changes))
