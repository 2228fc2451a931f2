"""What the holder of a record is told about it."""

from dataclasses import dataclass

from sqlalchemy import Connection

from schemas.vocabulary import REMAINS
from server.core.acknowledgements import acknowledgement_claims, sign_acknowledgement
from server.core.encoding import JsonObject
from server.core.receipts import VerifiedReceipt
from server.core.statuslists import ERASED, STANDS, WITHDRAWN
from server.core.tokens import Recorded, sign_token, token_claims
from server.errors import OperatorError
from server.store import records
from server.store.records import Record
from server.usecases.log_writer import Logged
from server.usecases.register import Register

_STATUSES = {STANDS: "stands", ERASED: "erased", WITHDRAWN: "withdrawn"}


@dataclass(frozen=True)
class Answer:
    """``token``: for an objection its token, else the acknowledgement; the same bytes at every repeat.

    ``proof``: against a current checkpoint. ``status``: of the objection. ``remains``: what an erasure left.
    ``anchored_entries``: of the objection and what was added to it, how many an independent clock stamped; only told
    when the objection is read.
    """

    receipt_sha256: bytes
    kind: str
    received_at: int
    state: str
    status: str
    token: str
    proof: str
    repeated: bool
    remains: tuple[str, ...] | None = None
    anchored_entries: int | None = None


def status_of(connection: Connection, objection: Record) -> str:
    """Return ``stands`` or ``withdrawn``: an erased objection has no record."""
    if objection.status_index is None:
        raise OperatorError("log_inconsistent", "an objection without a status index")
    return _STATUSES[records.read_status(connection, objection.status_index)]


def answer_objection(
    register: Register,
    receipt: VerifiedReceipt,
    logged: Logged,
    *,
    status: str,
    anchored_entries: int | None = None,
) -> Answer:
    """Issue the token for a logged objection; for one receipt it is always the same."""
    record = logged.record
    if record.status_index is None:
        raise OperatorError("log_inconsistent", "an objection without a status index")
    status_index, status_uri = register.status_reference(record.status_index)
    recorded = Recorded(
        received_at=record.received_at,
        log_origin=register.keyring.log_name,
        log_index=record.log_index,
        status_index=status_index,
        status_uri=status_uri,
        assurance=record.assurance,
    )
    issuer = register.keyring.issuer_keys[record.issuer_kid]
    claims = token_claims(receipt, recorded, issuer=register.public_url)
    token = sign_token(claims, key=issuer.key, certificate=issuer.certificate)
    return _answer(receipt, logged, token=token, status=status, anchored_entries=anchored_entries)


def answer_later(
    register: Register, receipt: VerifiedReceipt, logged: Logged, *, status: str, findings: JsonObject | None = None
) -> Answer:
    """Issue the acknowledgement of a logged supplement, withdrawal or erasure; it is always the same, too."""
    token = acknowledge(register, receipt, logged.record, findings or {})
    return _answer(receipt, logged, token=token, status=status, remains=REMAINS if status == "erased" else None)


def acknowledge(register: Register, receipt: VerifiedReceipt, record: Record, findings: JsonObject) -> str:
    """Return the acknowledgement of a later receipt."""
    claims = acknowledgement_claims(
        receipt,
        issuer=register.public_url,
        received_at=record.received_at,
        log_origin=register.keyring.log_name,
        log_index=record.log_index,
        dkim={name: mail["finding"] for name, mail in findings.get("dkim", {}).items()},
    )
    issuer = register.keyring.issuer_keys[record.issuer_kid]
    return sign_acknowledgement(claims, key=issuer.key, certificate=issuer.certificate)


def _answer(
    receipt: VerifiedReceipt,
    logged: Logged,
    *,
    token: str,
    status: str,
    remains: tuple[str, ...] | None = None,
    anchored_entries: int | None = None,
) -> Answer:
    return Answer(
        receipt_sha256=receipt.sha256,
        kind=receipt.kind,
        received_at=logged.record.received_at,
        state="anchored" if logged.anchor is not None and logged.anchor.independent else "recorded",
        status=status,
        token=token,
        proof=logged.proof,
        repeated=logged.repeated,
        remains=remains,
        anchored_entries=anchored_entries,
    )
