"""Objection receipts: what the holder signed, checked and typed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.receipts import RECEIPTS
from schemas.vocabulary import MAX_RECEIPT_BYTES
from server.core.encoding import JsonObject, parse_json, sha256
from server.core.jws import parse_jws, parse_public_jwk, verify_jws
from server.errors import FieldError, FreshnessError, LogInconsistent, ParseError, VerificationError

RECEIPT_TYPE = "objection-receipt+jwt"
CLOCK_SKEW_S = 300
_SCHEMAS = {kind: schema() for kind, schema in RECEIPTS.items()}


@dataclass(frozen=True)
class EvidenceItem:
    name: str
    media_type: str
    size: int
    sha256: str


@dataclass(frozen=True)
class VerifiedReceipt:
    """A receipt whose form, signature and fields hold. Its freshness and evidence files are checked apart."""

    raw: bytes
    sha256: bytes
    holder_jwk: Mapping[str, str]
    payload: JsonObject

    @property
    def kind(self) -> str:
        return str(self.payload["kind"])

    @property
    def jti(self) -> str:
        return str(self.payload["jti"])

    @property
    def iat(self) -> int:
        return int(self.payload["iat"])

    @property
    def evidence(self) -> list[EvidenceItem]:
        return [EvidenceItem(**item) for item in self.payload.get("evidence", [])]

    @property
    def slot_digests(self) -> list[str]:
        """The digests of account, contact and person, in the payload's order; empty but for objections."""
        slots: Mapping[str, Any] = self.payload.get("self_asserted", {})
        return [slot["_sd"][0] for slot in slots.values()]


def verify_receipt(raw: bytes) -> VerifiedReceipt:
    """Return the receipt in ``raw`` once its form and its holder's signature hold.

    The caller must still check freshness, and the evidence files against it.
    Raises ParseError, VerificationError or FieldError with the codes and in the order of docs/formats.md.
    """
    if len(raw) > MAX_RECEIPT_BYTES:
        raise ParseError("receipt_too_large", f"a receipt has at most {MAX_RECEIPT_BYTES} bytes")
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError as error:
        raise ParseError("jws_malformed", "a JWS is ASCII") from error
    jws = parse_jws(text, typ=RECEIPT_TYPE, members=frozenset({"jwk"}))
    holder_jwk = jws.header["jwk"]
    payload = verify_jws(jws, parse_public_jwk(holder_jwk))
    return VerifiedReceipt(raw, sha256(raw), holder_jwk, _check_fields(payload))


def reread_receipt(raw: bytes, recorded_sha256: bytes) -> VerifiedReceipt:
    """Return the receipt in ``raw``, which was verified when it was recorded under ``recorded_sha256``.

    The hash shows that these are the bytes of then; signature and fields are not checked a second time.
    Raises LogInconsistent when they are others.
    """
    if sha256(raw) != recorded_sha256:
        raise LogInconsistent("log_inconsistent", "a sealed receipt is not the one that its record names")
    jws = parse_jws(raw.decode("ascii"), typ=RECEIPT_TYPE, members=frozenset({"jwk"}))
    return VerifiedReceipt(raw, recorded_sha256, jws.header["jwk"], parse_json(jws.raw_payload))


def verify_freshness(receipt: VerifiedReceipt, *, now: int, max_age_s: int) -> None:
    """Raise FreshnessError ``receipt_stale`` or ``receipt_from_future`` unless it was signed lately."""
    if receipt.iat > now + CLOCK_SKEW_S:
        raise FreshnessError("receipt_from_future", "the receipt is dated in the future; check the computer's clock")
    if receipt.iat < now - max_age_s:
        raise FreshnessError("receipt_stale", "the receipt was signed too long ago; record the objection again")


def verify_evidence(receipt: VerifiedReceipt, files: Mapping[str, bytes]) -> None:
    """Raise VerificationError unless ``files`` are exactly the evidence that the receipt names, byte for byte."""
    items = {item.name: item for item in receipt.evidence}
    if missing := items.keys() - files.keys():
        raise VerificationError("evidence_missing", f"evidence missing: {', '.join(sorted(missing))}")
    if unexpected := files.keys() - items.keys():
        raise VerificationError("evidence_unexpected", f"not named in the receipt: {', '.join(sorted(unexpected))}")
    for name, item in items.items():
        if len(files[name]) != item.size or sha256(files[name]).hex() != item.sha256:
            raise VerificationError("evidence_mismatch", f"{name} is not the file that the receipt names")


def _check_fields(payload: JsonObject) -> JsonObject:
    kind = payload.get("kind")
    schema = _SCHEMAS.get(kind) if isinstance(kind, str) else None
    if schema is None:
        raise FieldError([("kind", f"must be one of: {', '.join(_SCHEMAS)}")])
    if problems := schema.refusals(payload):
        raise FieldError.from_messages(problems)
    return payload
