"""What a holder may read: the answer again, and everything that goes into the proof."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from sqlalchemy import Connection

from server.core.dpop import verify_dpop
from server.core.jws import thumbprint
from server.core.tokens import verify_token
from server.errors import Forbidden, NotFound, ObjectionError, Unauthorised
from server.store import records
from server.store.records import Record
from server.usecases.answer_holder import Answer, acknowledge, answer_objection, status_of
from server.usecases.find_anchor import Anchor, find_anchor
from server.usecases.log_writer import Logged, consistency_of, find_logged
from server.usecases.open_record import OpenedRecord, data_key_of, find_objection, open_for_its_holder
from server.usecases.register import Register, holder_scoped


@dataclass(frozen=True)
class HolderRequest:
    """A request as it came: the token and the DPoP proof from its headers, the method and URL that were asked."""

    raw_token: str
    dpop_proof: str
    holder_share: bytes
    method: str
    url: str


@dataclass(frozen=True)
class LaterRecord:
    """A supplement or withdrawal, opened, with the register's acknowledgement and the proof that it is in the log.

    ``consistency``: that the log of this proof goes on where that of the proof before it ends; None where both lead to
    one checkpoint.
    """

    opened: OpenedRecord
    acknowledgement: str
    proof: str
    consistency: str | None
    received_at: int
    anchor: Anchor | None


@dataclass(frozen=True)
class HeldRecord:
    """All that the register has of an objection, opened for its holder; ``later`` in the order of the log.

    ``assurance``: what stands behind it. ``data_key``: the key under which the record is sealed.
    """

    answer: Answer
    opened: OpenedRecord
    later: Sequence[LaterRecord]
    status_index: int
    assurance: str
    anchor: Anchor | None
    data_key: bytes


def read_record(register: Register, receipt_sha256: bytes, request: HolderRequest) -> HeldRecord:
    """Return an objection as it stands now, opened.

    Raises Unauthorised unless the caller holds the key of the token; Forbidden when the token is of another record, or
    the share does not open this one; NotFound when there is none, Gone when its holder had it erased.
    """
    verify_holder(register, receipt_sha256, request)
    with register.database.reading() as connection:
        objection = find_objection(connection, receipt_sha256)
        status = status_of(connection, objection)
        added = records.find_later(connection, receipt_sha256)
        logged, *later = _find_all(connection, [objection, *added], register)
        sizes = [each.size for each in (logged, *later)]
        consistency = [
            None if old_size == size else consistency_of(connection, old_size, size)
            for old_size, size in pairwise(sizes)
        ]
    if objection.status_index is None:
        raise NotFound("record_not_found", "there is no such record here")
    opened = open_for_its_holder(register, objection, request.holder_share)
    held = []
    for each, consistent in zip(later, consistency, strict=True):
        its = open_for_its_holder(register, each.record, request.holder_share)
        acknowledgement = acknowledge(register, its.receipt, each.record, its.findings)
        held.append(LaterRecord(its, acknowledgement, each.proof, consistent, each.record.received_at, each.anchor))
    anchored = sum(each.anchor is not None and each.anchor.independent for each in (logged, *later))
    answer = answer_objection(register, opened.receipt, logged, status=status, anchored_entries=anchored)
    data_key = data_key_of(register, objection, request.holder_share)
    return HeldRecord(answer, opened, held, objection.status_index, objection.assurance, logged.anchor, data_key)


def _find_all(connection: Connection, found: Sequence[Record], register: Register) -> list[Logged]:
    """Return where an objection and what was added to it stand, each under the earliest anchor that covers it."""
    policy = register.keyring.policy
    logged: list[Logged] = []
    anchor: Anchor | None = None
    for record in found:
        # The smallest independent one that covers an earlier place is the smallest for every other place it covers.
        if anchor is None or not anchor.independent or anchor.size <= record.log_index:
            anchor = find_anchor(connection, record.log_index, policy)
        each = find_logged(connection, record.receipt_sha256, anchor=anchor)
        if each is None:
            raise NotFound("record_not_found", "there is no such record here")
        logged.append(each)
    return logged


def verify_holder(register: Register, receipt_sha256: bytes, request: HolderRequest) -> None:
    """Spend the caller's DPoP proof. Raises Unauthorised, Forbidden: only the holder of this record gets past here."""
    now = register.clock()
    try:
        token = verify_token(request.raw_token, register.keyring.policy)
    except ObjectionError as error:
        raise Unauthorised("token_refused", f"the token does not hold: {error}") from error
    proof = verify_dpop(request.dpop_proof, token, request.raw_token, method=request.method, url=request.url, now=now)
    # Looked at before the proof is remembered: a stranger must not fill that memory.
    if token.receipt_sha256 != receipt_sha256.hex():
        raise Forbidden("not_the_holder", "this token is of another record")
    proof_id = holder_scoped(thumbprint(token.holder_jwk), proof.jti)
    if not register.spent_proofs.spend(proof_id, signed_at=proof.signed_at, now=now):
        raise Unauthorised("dpop_replayed", "this DPoP proof was used before, or may have been; sign a new one")
