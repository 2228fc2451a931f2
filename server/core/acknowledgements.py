"""The register's signed word that it recorded a later receipt: a supplement, a withdrawal, an erasure."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.proofs import AcknowledgementClaims
from server.core.encoding import JsonObject
from server.core.jws import PrivateKey, parse_public_jwk
from server.core.mails import MAIL_TYPE
from server.core.policies import TrustPolicy, sign_issued, verify_issued
from server.core.receipts import CLOCK_SKEW_S, VerifiedReceipt
from server.errors import FieldError, VerificationError

ACKNOWLEDGEMENT_TYPE = "objection-acknowledgement+jwt"
_CLAIMS = AcknowledgementClaims()


def acknowledgement_claims(
    receipt: VerifiedReceipt,
    *,
    issuer: str,
    received_at: int,
    log_origin: str,
    log_index: int,
    dkim: Mapping[str, JsonObject],
) -> JsonObject:
    """Return the claims: a function of receipt and record alone, so that a repeat gives the same bytes.

    ``dkim``: what the register found of each mail, by evidence name.
    """
    return {
        "iss": issuer,
        "iat": received_at,
        "cnf": {"jwk": dict(receipt.holder_jwk)},
        "kind": receipt.kind,
        "objection_sha256": receipt.payload["objection_sha256"],
        "receipt_sha256": receipt.sha256.hex(),
        "signed_at": receipt.iat,
        "received_at": received_at,
        "log": {"origin": log_origin, "index": log_index},
        "evidence": [
            {"name": item.name, "media_type": item.media_type, "sha256": item.sha256}
            | ({"dkim": dkim[item.name]} if item.media_type == MAIL_TYPE else {})
            for item in receipt.evidence
        ],
    }


def sign_acknowledgement(claims: JsonObject, *, key: PrivateKey, certificate: str) -> str:
    """Return the acknowledgement as a compact JWS. ``certificate``: base64 DER of the key's certificate."""
    return sign_issued(claims, typ=ACKNOWLEDGEMENT_TYPE, key=key, certificate=certificate)


@dataclass(frozen=True)
class VerifiedAcknowledgement:
    """``claims`` hold. ``dkim``: what the register found of each mail, by evidence name."""

    claims: JsonObject

    @property
    def received_at(self) -> int:
        return int(self.claims["received_at"])

    @property
    def dkim(self) -> dict[str, JsonObject]:
        return {item["name"]: item["dkim"] for item in self.claims["evidence"] if "dkim" in item}


def verify_acknowledgement(text: str, receipt: VerifiedReceipt, policy: TrustPolicy) -> VerifiedAcknowledgement:
    """Return the acknowledgement once an issuer key of ``policy`` signed it, and it is about ``receipt`` and no other.

    Raises ParseError, FieldError or VerificationError: the codes of a token, with ``token_receipt_mismatch``.
    """
    claims, _ = verify_issued(text, policy, typ=ACKNOWLEDGEMENT_TYPE)
    if problems := _CLAIMS.refusals(claims):
        raise FieldError.from_messages(problems)
    if claims["iss"] != policy.issuer:
        raise VerificationError("token_issuer_unknown", "issued under another name than the policy's")
    parse_public_jwk(claims["cnf"]["jwk"])
    if receipt.kind == "objection":
        raise VerificationError("token_receipt_mismatch", "an objection has a token, and no acknowledgement")
    found = VerifiedAcknowledgement(claims)
    if any(item.media_type == MAIL_TYPE and item.name not in found.dkim for item in receipt.evidence):
        raise VerificationError("token_receipt_mismatch", "the acknowledgement does not say what was found of a mail")
    log = claims["log"]
    expected = acknowledgement_claims(
        receipt,
        issuer=policy.issuer,
        received_at=found.received_at,
        log_origin=log["origin"],
        log_index=log["index"],
        dkim=found.dkim,
    )
    if differing := sorted(name for name in expected if claims[name] != expected[name]):
        raise VerificationError(
            "token_receipt_mismatch", f"acknowledgement and receipt differ in: {', '.join(differing)}"
        )
    if receipt.iat > found.received_at + CLOCK_SKEW_S:
        raise VerificationError("token_receipt_mismatch", "received before it was signed")
    return found
