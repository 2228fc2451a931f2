"""Erase an objection (Art. 17 GDPR): what is left of it opens to nothing and leads to nobody."""

from server.core.receipts import VerifiedReceipt, verify_freshness
from server.errors import Gone
from server.usecases.answer_holder import Answer, answer_later
from server.usecases.log_writer import Logged, find_logged
from server.usecases.open_objection import open_objection
from server.usecases.register import Register
from server.usecases.seal_receipt import unsealed_erasure
from server.usecases.sweep_erased import try_to_sweep


def erase(register: Register, receipt: VerifiedReceipt, *, holder_share: bytes) -> Answer:
    """Return once the objection and all that was added to it are deleted; the same receipt again: the same answer.

    The deletion is one transaction with the log's entry of it; then the sealed bytes, which nobody can open any more,
    are overwritten. What a crash or the disk leaves of that is for the next ``sweep_erased``.
    Raises what ``open_objection`` raises, and FreshnessError.
    """
    logged = _find(register, receipt)
    if logged is None:
        verify_freshness(receipt, now=register.clock(), max_age_s=register.receipt_max_age_s)
        logged = _log_erasure(register, receipt, holder_share)
    try_to_sweep(register, now=register.clock())
    return answer_later(register, receipt, logged, status="erased")


def _log_erasure(register: Register, receipt: VerifiedReceipt, holder_share: bytes) -> Logged:
    try:
        objection = open_objection(register, receipt, holder_share)
    except Gone:
        # Perhaps by this very receipt, sent twice at once because no answer came: then there is one by now.
        logged = _find(register, receipt)
        if logged is None:
            raise
        return logged
    return register.log_writer.append(unsealed_erasure(register, receipt, objection=objection.receipt))


def _find(register: Register, receipt: VerifiedReceipt) -> Logged | None:
    with register.database.reading() as connection:
        return find_logged(connection, receipt.sha256)
