"""Withdraw an objection: it stays recorded, and its status says that it no longer stands."""

from server.core.receipts import VerifiedReceipt
from server.usecases.answer_holder import Answer, answer_later
from server.usecases.open_objection import open_objection
from server.usecases.recorded_before import refuse_stale
from server.usecases.register import Register
from server.usecases.seal_receipt import seal_receipt


def withdraw(register: Register, receipt: VerifiedReceipt, *, holder_share: bytes) -> Answer:
    """Return once the withdrawal is durably recorded; the same receipt again returns the original record.

    Raises what ``open_objection`` raises, FreshnessError, and Conflict ``already_withdrawn``.
    """
    refuse_stale(register, receipt)
    objection = open_objection(register, receipt, holder_share)
    sealed = seal_receipt(register, receipt, holder_share, {}, objection_sha256=objection.record.receipt_sha256)
    logged = register.log_writer.append(sealed)
    return answer_later(register, receipt, logged, status="withdrawn")
