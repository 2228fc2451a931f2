"""Record an objection: verify, seal, log, and answer with a token and a proof."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from server.core.encoding import parse_base64url
from server.core.envelopes import NONCE_SIZE, SHARE_SIZE, derive_data_key, seal, wrap_share
from server.core.jws import thumbprint
from server.core.proofs import SALT_SIZE
from server.core.receipts import VerifiedReceipt, verify_evidence, verify_freshness, verify_receipt
from server.core.tokens import Recorded, sign_token, token_claims
from server.errors import Conflict, VerificationError
from server.store.records import Record
from server.usecases.find_anchor import Anchor
from server.usecases.log_writer import Logged, SealedReceipt
from server.usecases.open_record import open_record
from server.usecases.register import Register, holder_scoped


@dataclass(frozen=True)
class RecordAnswer:
    """What the holder gets. ``token``: the same bytes at every repeat; ``proof``: against a current checkpoint, or the
    one of ``anchor``."""

    receipt_sha256: bytes
    received_at: int
    token: str
    proof: str
    repeated: bool
    anchor: Anchor | None = None

    @property
    def state(self) -> str:
        return "recorded" if self.anchor is None else "anchored"


def record_objection(
    register: Register, *, raw_receipt: bytes, holder_share: bytes, evidence: Mapping[str, bytes]
) -> RecordAnswer:
    """Return once the objection is durably recorded; the same receipt again returns the original record.

    Raises ParseError, FieldError, VerificationError and FreshnessError for what does not hold, Conflict for what
    contradicts an earlier record, Unavailable when the outcome is unknown. Nothing is kept of what is refused.
    """
    receipt = verify_receipt(raw_receipt)
    _refuse_other_kinds(receipt)
    _refuse_practice(register, receipt)
    verify_freshness(receipt, now=register.clock(), max_age_s=register.receipt_max_age_s)
    verify_evidence(receipt, evidence)

    logged = register.log_writer.append(_seal(register, receipt, holder_share, evidence))
    if logged.repeated:
        _refuse_other_share(register, logged.record, holder_share)
    return answer(register, receipt, logged)


def answer(register: Register, receipt: VerifiedReceipt, logged: Logged) -> RecordAnswer:
    """Issue the token for a logged receipt; for one receipt it is always the same."""
    record = logged.record
    status_index, status_uri = register.status_reference(record.status_index)
    recorded = Recorded(
        received_at=record.received_at,
        log_origin=register.keyring.log_name,
        log_index=record.log_index,
        status_index=status_index,
        status_uri=status_uri,
    )
    issuer = register.keyring.issuer_keys[record.issuer_kid]
    claims = token_claims(receipt, recorded, issuer=register.public_url)
    token = sign_token(claims, key=issuer.key, certificate=issuer.certificate)
    return RecordAnswer(receipt.sha256, record.received_at, token, logged.proof, logged.repeated, logged.anchor)


def _seal(
    register: Register, receipt: VerifiedReceipt, holder_share: bytes, evidence: Mapping[str, bytes]
) -> SealedReceipt:
    """Seal receipt and evidence. The server share leaves this function only wrapped."""
    record_id = receipt.sha256
    server_share, salt, nonce, wrapping_nonce = _random_bytes(SHARE_SIZE, SALT_SIZE, NONCE_SIZE, NONCE_SIZE)
    version, key_encryption_key = max(register.keyring.key_encryption_keys.items())
    data_key = derive_data_key(server_share, holder_share, record_id)
    parts = [receipt.raw, *(evidence[item.name] for item in receipt.evidence)]
    return SealedReceipt(
        receipt_sha256=record_id,
        holder_jti=holder_scoped(thumbprint(receipt.holder_jwk), receipt.jti),
        slot_digests=tuple(parse_base64url(digest) for digest in receipt.slot_digests),
        kind=receipt.kind,
        salt=salt,
        wrapped_share=wrap_share(
            server_share, version=version, key=key_encryption_key, nonce=wrapping_nonce, record_id=record_id
        ),
        sealed=seal(parts, data_key, nonce, record_id),
        issuer_kid=register.keyring.issuer_kid,
    )


def _random_bytes(*sizes: int) -> list[bytes]:
    """Return independent random values, drawn at once."""
    drawn = secrets.token_bytes(sum(sizes))
    return [drawn[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]


def _refuse_other_kinds(receipt: VerifiedReceipt) -> None:
    if receipt.kind != "objection":
        raise VerificationError("receipt_kind_refused", f"this register does not take {receipt.kind} receipts yet")


def _refuse_practice(register: Register, receipt: VerifiedReceipt) -> None:
    if not register.practice and receipt.payload["notice"].get("url", "https://").startswith("http://"):
        raise VerificationError("practice_refused", "a practice notice is no objection to Meta; nothing is recorded")


def _refuse_other_share(register: Register, record: Record, holder_share: bytes) -> None:
    # Else the holder would keep a share that opens nothing, and learn it only when it matters.
    try:
        open_record(register, record, holder_share)
    except VerificationError as error:
        raise Conflict(error.code, "this receipt was recorded with another holder share") from error
