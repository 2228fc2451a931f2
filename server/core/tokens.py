"""The proof-of-objection token: an SD-JWT VC with three holder-committed slots (RFC 9901, our profile).

RFC 9901 has the issuer make disclosures. Here the holder makes them and the issuer signs only their digests, so a
verifier must hold the holder to one value: each disclosure belongs to the slot of its name and opens to a string. Else
one digest could hide a nested ``{"_sd": [a, b]}``, and the holder could still choose what to have declared.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.proofs import TokenClaims
from schemas.vocabulary import SLOTS
from server.core.encoding import JsonObject, format_base64url, parse_base64url, parse_json_array, sha256
from server.core.jws import PrivateKey, parse_public_jwk
from server.core.policies import TrustPolicy, sign_issued, verify_issued
from server.core.receipts import VerifiedReceipt
from server.errors import FieldError, ParseError, VerificationError

TYPE_PATH = "/vct/proof-of-objection/1"
TOKEN_TYPE = "dc+sd-jwt"  # noqa: S105 (a media type, not a secret)
_CLAIMS = TokenClaims()
_MAX_TOKEN_CHARACTERS = 65_536
_MAX_VALUE_CHARACTERS = 320


@dataclass(frozen=True)
class Recorded:
    """What the register adds to a receipt when it records it. Times in seconds. ``assurance``: device, or work."""

    received_at: int
    log_origin: str
    log_index: int
    status_index: int
    status_uri: str
    assurance: str


def token_claims(receipt: VerifiedReceipt, recorded: Recorded, *, issuer: str) -> JsonObject:
    """Return the claims: a function of receipt and record alone, so that a repeat gives the same token."""
    payload = receipt.payload
    objection = payload["objection"]
    return {
        "_sd_alg": "sha-256",
        "iss": issuer,
        "vct": issuer + TYPE_PATH,
        "iat": recorded.received_at,
        "cnf": {"jwk": dict(receipt.holder_jwk)},
        "status": {"status_list": {"idx": recorded.status_index, "uri": recorded.status_uri}},
        "controller": payload["controller"],
        "platform": payload["platform"],
        "right": objection["right"],
        "contested_basis": objection["contested_basis"],
        "data_categories": objection["data_categories"],
        "objected_at": receipt.iat,
        "received_at": recorded.received_at,
        "receipt_sha256": receipt.sha256.hex(),
        "log": {"origin": recorded.log_origin, "index": recorded.log_index},
        "evidence": [
            {"name": item.name, "media_type": item.media_type, "sha256": item.sha256} for item in receipt.evidence
        ],
        "assurance": recorded.assurance,
        "self_asserted": payload["self_asserted"],
    }


def sign_token(claims: JsonObject, *, key: PrivateKey, certificate: str) -> str:
    """Return the token, trailing ``~`` included. ``certificate``: base64 DER of the key's certificate."""
    return sign_issued(claims, typ=TOKEN_TYPE, key=key, certificate=certificate) + "~"


@dataclass(frozen=True)
class VerifiedToken:
    """``claims`` hold; ``disclosed`` has what the presenter chose to open, by slot name."""

    claims: JsonObject
    disclosed: Mapping[str, str]
    kid: str

    @property
    def holder_jwk(self) -> JsonObject:
        jwk: JsonObject = self.claims["cnf"]["jwk"]
        return jwk

    @property
    def receipt_sha256(self) -> str:
        return str(self.claims["receipt_sha256"])


def verify_token(text: str, policy: TrustPolicy) -> VerifiedToken:
    """Return the claims once an issuer key of ``policy`` has signed them, and each disclosure fits its slot.

    Raises ParseError, VerificationError or FieldError with the codes of docs/formats.md.
    """
    if len(text) > _MAX_TOKEN_CHARACTERS:
        raise ParseError("jws_malformed", "the token is too long")
    signed, *disclosures, last = text.split("~") if "~" in text else (text, text)
    if last:
        raise ParseError("jws_malformed", "a token without key binding ends in ~")
    claims, kid = verify_issued(signed, policy, typ=TOKEN_TYPE)
    if problems := _CLAIMS.refusals(claims):
        raise FieldError.from_messages(problems)
    if claims["iss"] != policy.issuer:
        raise VerificationError("token_issuer_unknown", "issued under another name than the policy's")
    if claims["vct"] != claims["iss"] + TYPE_PATH or claims["iat"] != claims["received_at"]:
        raise FieldError([("vct, iat", "not those of a proof of objection")])
    parse_public_jwk(claims["cnf"]["jwk"])
    return VerifiedToken(claims, _open_slots(claims["self_asserted"], disclosures), kid)


def verify_token_of_receipt(token: VerifiedToken, receipt: VerifiedReceipt) -> None:
    """Raise VerificationError ``token_receipt_mismatch`` unless the token says what the receipt says, and no more."""
    if receipt.kind != "objection":
        raise VerificationError("token_receipt_mismatch", "only an objection has a token")
    claims = token.claims
    log, status = claims["log"], claims["status"]["status_list"]
    recorded = Recorded(
        claims["received_at"], log["origin"], log["index"], status["idx"], status["uri"], claims["assurance"]
    )
    expected = token_claims(receipt, recorded, issuer=claims["iss"])
    if differing := sorted(name for name in expected if claims[name] != expected[name]):
        raise VerificationError("token_receipt_mismatch", f"token and receipt differ in: {', '.join(differing)}")


def format_disclosure(salt: bytes, name: str, value: str) -> str:
    """Return the disclosure of a self-asserted value; the holder makes it, the register never sees it."""
    return format_base64url(json.dumps([format_base64url(salt), name, value], ensure_ascii=False).encode())


def disclosure_digest(disclosure: str) -> str:
    return format_base64url(sha256(disclosure.encode("ascii")))


def _open_slots(slots: JsonObject, disclosures: list[str]) -> dict[str, str]:
    if len(set(disclosures)) != len(disclosures):
        raise VerificationError("disclosure_duplicate", "a disclosure is given twice")
    owner = {slots[slot]["_sd"][0]: slot for slot in SLOTS}
    opened: dict[str, str] = {}
    for disclosure in disclosures:
        name, value = _parse_disclosure(disclosure)
        slot = owner.get(disclosure_digest(disclosure))
        if slot is None:
            raise VerificationError("disclosure_unreferenced", "a disclosure belongs to no slot of this token")
        if name != slot:
            raise VerificationError("disclosure_slot_mismatch", f"a disclosure named {name!r} stands in slot {slot!r}")
        opened[slot] = value
    return opened


def _parse_disclosure(disclosure: str) -> tuple[str, str]:
    fields = parse_json_array(parse_base64url(disclosure))
    if len(fields) != 3 or not all(isinstance(field, str) for field in fields[:2]):
        raise ParseError("disclosure_malformed", "a disclosure is [salt, name, value]")
    salt, name, value = fields
    if len(parse_base64url(salt)) < 16:
        raise ParseError("disclosure_malformed", "the salt has less than 128 bits")
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_VALUE_CHARACTERS:
        raise VerificationError("disclosure_value_refused", "a self-asserted value is a string of 1 to 320 characters")
    return name, value
