"""Erase an objection (Art. 17 GDPR): what is left of it opens to nothing and leads to nobody."""

import logging

from server.core.receipts import VerifiedReceipt, verify_freshness
from server.errors import Gone, Unavailable
from server.store import records
from server.store.blobs import LocalBlobs, segment_of
from server.store.database import Database
from server.usecases.answer_holder import Answer, answer_later
from server.usecases.log_writer import Logged, find_logged
from server.usecases.open_objection import open_objection
from server.usecases.register import Register
from server.usecases.seal_receipt import unsealed_erasure

_log = logging.getLogger("objection.erase")


def erase(register: Register, receipt: VerifiedReceipt, *, holder_share: bytes) -> Answer:
    """Return once the objection and all that was added to it are deleted; the same receipt again: the same answer.

    The deletion is one transaction with the log's entry of it; then the sealed bytes, which nobody can open any more,
    are overwritten. A crash or a full disk in between leaves that to the worker, and changes nothing in the answer.
    Raises what ``open_objection`` raises, and FreshnessError.
    """
    logged = _find_logged(register, receipt)
    if logged is None:
        verify_freshness(receipt, now=register.clock(), max_age_s=register.receipt_max_age_s)
        try:
            objection = open_objection(register, receipt, holder_share)
            erasure = unsealed_erasure(register, receipt, objection_sha256=objection.record.receipt_sha256)
            logged = register.log_writer.append(erasure)
        except Gone:
            logged = _find_logged(register, receipt)  # the same request, sent twice at once: perhaps it was the other
            if logged is None:
                raise
    try:
        sweep_erased(register.database, register.blobs)
    except Unavailable as error:
        _log.warning("erased, but not overwritten yet: %s: %s", error.code, error)
    return answer_later(register, receipt, logged, status="erased")


def _find_logged(register: Register, receipt: VerifiedReceipt) -> Logged | None:
    with register.database.reading() as connection:
        return find_logged(connection, receipt.sha256)


def sweep_erased(database: Database, blobs: LocalBlobs) -> int:
    """Overwrite the sealed bytes of what was erased; return how many blobs. Safe at any time, also twice at once.

    Raises Unavailable when storage does not allow it now: what is left to do is remembered.
    """
    with database.reading() as connection:
        names = records.read_blobs_to_erase(connection)
    if not names:
        return 0
    for name in names:
        blobs.erase(name)
    # Before the names are forgotten: else a crash would leave rows that were deleted in there, and nobody to see to it.
    database.forget_write_ahead()
    for name in names:
        with database.writing() as connection:
            records.forget_erased_blob(connection, name)
        with database.reading() as connection:  # a segment gets no more names, so nobody has to wait for this search
            in_use = records.names_segment(connection, segment_of(name))
        if not in_use:
            blobs.remove_segment(segment_of(name))
    return len(names)
