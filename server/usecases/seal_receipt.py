"""Seal a verified receipt with its evidence, so that only register and holder together can open it."""

import secrets
from collections.abc import Mapping
from itertools import accumulate

from server.core.encoding import JsonObject, format_json, parse_base64url, sha256
from server.core.envelopes import NONCE_SIZE, SHARE_SIZE, derive_data_key, seal, wrap_share
from server.core.jws import thumbprint
from server.core.proofs import SALT_SIZE
from server.core.receipts import VerifiedReceipt
from server.usecases.log_writer import SealedReceipt
from server.usecases.register import Register, holder_scoped
from server.usecases.tally import Countable

_QUEUE_S = 60  # more than a receipt waits for the log (log_writer.py)


def seal_receipt(
    register: Register,
    receipt: VerifiedReceipt,
    holder_share: bytes,
    evidence: Mapping[str, bytes],
    *,
    findings: JsonObject | None = None,
    objection_sha256: bytes | None = None,
    outcome: str | None = None,
    assurance: str = "device",
    countable: Countable | None = None,
) -> SealedReceipt:
    """Return what the log writer takes. The server share leaves this function only wrapped.

    ``findings``: what the register itself saw in the evidence; it is sealed with it. ``outcome``: what a
    supplement makes of its objection in the counts. ``countable``: what it counts for, if it does.
    """
    record_id = receipt.sha256
    server_share, salt, nonce, wrapping_nonce = _random_bytes(SHARE_SIZE, SALT_SIZE, NONCE_SIZE, NONCE_SIZE)
    version, key_encryption_key = max(register.keyring.key_encryption_keys.items())
    data_key = derive_data_key(server_share, holder_share, record_id)
    parts = [receipt.raw, format_json(findings or {}), *(evidence[item.name] for item in receipt.evidence)]
    sealed = seal(parts, data_key, nonce, record_id)
    return SealedReceipt(
        receipt_sha256=record_id,
        holder_jti=holder_scoped(thumbprint(receipt.holder_jwk), receipt.jti),
        slot_digests=_slot_digests(receipt),
        kind=receipt.kind,
        salt=salt,
        wrapped_share=wrap_share(
            server_share, version=version, key=key_encryption_key, nonce=wrapping_nonce, record_id=record_id
        ),
        sealed=sealed,
        sealed_sha256=sha256(sealed),
        issuer_kid=register.keyring.issuer_kid,
        evidence_bytes=sum(item.size for item in receipt.evidence),
        objection_sha256=objection_sha256,
        assurance=assurance,
        countable=countable,
        outcome=outcome,
    )


def unsealed_erasure(register: Register, receipt: VerifiedReceipt, *, objection: VerifiedReceipt) -> SealedReceipt:
    """Return what the log writer takes of an erasure: nothing that could be opened, or linked with its holder."""
    return SealedReceipt(
        receipt_sha256=receipt.sha256,
        holder_jti=None,
        slot_digests=(),
        kind=receipt.kind,
        salt=secrets.token_bytes(SALT_SIZE),
        wrapped_share=None,
        sealed=b"",
        sealed_sha256=None,
        issuer_kid=register.keyring.issuer_kid,
        objection_sha256=objection.sha256,
        erased_digests=_slot_digests(objection),
        # From then on it is stale; and not before one that was sent again just now is through the log writer's queue.
        guarded_until=max(objection.iat + register.receipt_max_age_s, register.clock() + _QUEUE_S),
    )


def _slot_digests(receipt: VerifiedReceipt) -> tuple[bytes, ...]:
    return tuple(parse_base64url(digest) for digest in receipt.slot_digests)


def _random_bytes(*sizes: int) -> list[bytes]:
    """Return independent random values, drawn at once."""
    drawn = secrets.token_bytes(sum(sizes))
    return [drawn[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]
