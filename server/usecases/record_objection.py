"""Record an objection: verify, seal, log, and answer with a token and a proof."""

from collections.abc import Mapping

from server.core.receipts import VerifiedReceipt, verify_evidence
from server.errors import Conflict, Forbidden, ObjectionError, VerificationError
from server.outside.work import verify_work
from server.store.records import Record
from server.usecases.answer_holder import Answer, answer_objection, status_of
from server.usecases.open_record import find_objection, open_for_its_holder
from server.usecases.recorded_before import recorded_before, refuse_stale, refuse_without_room
from server.usecases.register import Register
from server.usecases.seal_receipt import seal_receipt
from server.usecases.tally import countable


def record_objection(
    register: Register,
    receipt: VerifiedReceipt,
    *,
    holder_share: bytes,
    evidence: Mapping[str, bytes],
    work: str | None,
) -> Answer:
    """Return once the objection is durably recorded; the same receipt again returns the original record.

    Raises VerificationError and FreshnessError for what does not hold, Conflict for what contradicts an earlier record,
    Gone for what was erased, what ``verify_work`` raises of a work proof, Unavailable when the outcome is unknown.
    Nothing is kept of what is refused.
    """
    _refuse_practice(register, receipt)
    refuse_stale(register, receipt)
    verify_evidence(receipt, evidence)
    refuse_without_room(register, receipt)
    assurance = _assurance(register, receipt, work)
    # Where work is asked for, what came without it gets its proof, and is not counted.
    counts = register.work == 0 or assurance == "work"
    sealed = seal_receipt(
        register,
        receipt,
        holder_share,
        evidence,
        assurance=assurance,
        countable=countable(register.keyring, receipt) if counts else None,
    )
    logged = register.log_writer.append(sealed)
    if not logged.repeated:
        return answer_objection(register, receipt, logged, status="stands")
    _refuse_other_share(register, logged.record, holder_share)
    with register.database.reading() as connection:
        status = status_of(connection, find_objection(connection, receipt.sha256))
    return answer_objection(register, receipt, logged, status=status)


def _assurance(register: Register, receipt: VerifiedReceipt, work: str | None) -> str:
    if work is None:
        return "device"
    try:
        verify_work(work, receipt.sha256, secret=register.keyring.work_secret)
    except ObjectionError:
        # Sent again because no answer came, a receipt may bring work that has expired meanwhile: its record stands.
        if not recorded_before(register, receipt):
            raise
        return "device"
    return "work"


def _refuse_practice(register: Register, receipt: VerifiedReceipt) -> None:
    if not register.practice and receipt.payload["notice"].get("url", "https://").startswith("http://"):
        raise VerificationError("practice_refused", "a practice notice is no objection to Meta; nothing is recorded")


def _refuse_other_share(register: Register, record: Record, holder_share: bytes) -> None:
    # Else the holder would keep a share that opens nothing, and learn it only when it matters.
    try:
        open_for_its_holder(register, record, holder_share)
    except Forbidden as error:
        raise Conflict(error.code, "this receipt was recorded with another holder share") from error
