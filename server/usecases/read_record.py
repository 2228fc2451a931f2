"""What a holder may read: the answer again, and everything that goes into the proof."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from server.core.dpop import verify_dpop
from server.core.jws import thumbprint
from server.core.tokens import verify_token
from server.errors import Forbidden, NotFound, ObjectionError, Unauthorised
from server.store import records
from server.usecases.answer_holder import Answer, acknowledge, answer_objection, status_of
from server.usecases.find_anchor import Anchor, find_anchor
from server.usecases.log_writer import find_logged
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
    """A supplement or withdrawal, opened, with the register's acknowledgement and the proof that it is in the log."""

    opened: OpenedRecord
    acknowledgement: str
    proof: str
    received_at: int


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
        anchor = _common_anchor(connection, [record.log_index for record in (objection, *added)], register)
        logged = find_logged(connection, receipt_sha256, anchor=anchor)
        later = [find_logged(connection, record.receipt_sha256, anchor=anchor) for record in added]
    if logged is None or objection.status_index is None:
        raise NotFound("record_not_found", "there is no such record here")
    opened = open_for_its_holder(register, objection, request.holder_share)
    held = []
    for each in filter(None, later):
        its = open_for_its_holder(register, each.record, request.holder_share)
        acknowledgement = acknowledge(register, its.receipt, each.record, its.findings)
        held.append(LaterRecord(its, acknowledgement, each.proof, each.record.received_at))
    answer = answer_objection(register, opened.receipt, logged, status=status)
    data_key = data_key_of(register, objection, request.holder_share)
    return HeldRecord(answer, opened, held, objection.status_index, objection.assurance, logged.anchor, data_key)


def _common_anchor(connection: Connection, indexes: Sequence[int], register: Register) -> Anchor | None:
    """Return an anchor for all places in the log, or at least for the first: the objection's own.

    What was added later must not cost the objection its independent stamp.
    """
    policy = register.keyring.policy
    common = find_anchor(connection, max(indexes), policy)
    if common is not None and common.independent:
        return common
    own = find_anchor(connection, indexes[0], policy)
    return own if common is None or (own is not None and own.independent) else common


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
