"""Erase an objection (Art. 17 GDPR): what is left of it opens to nothing and leads to nobody."""

from server.core.receipts import VerifiedReceipt, verify_freshness
from server.store import records
from server.store.blobs import LocalBlobs, segment_of
from server.store.database import Database
from server.usecases.answer_holder import Answer, answer_later
from server.usecases.log_writer import find_logged
from server.usecases.open_objection import open_objection
from server.usecases.register import Register
from server.usecases.seal_receipt import unsealed_erasure


def erase(register: Register, receipt: VerifiedReceipt, *, holder_share: bytes) -> Answer:
    """Return once the objection and all that was added to it are deleted; the same receipt again: the same answer.

    The deletion is one transaction with the log's entry of it; then the sealed bytes, which nobody can open any more,
    are overwritten. A crash in between leaves that to ``sweep_erased``.
    Raises what ``open_objection`` raises, and FreshnessError.
    """
    with register.database.reading() as connection:
        logged = find_logged(connection, receipt.sha256)
    if logged is None:
        verify_freshness(receipt, now=register.clock(), max_age_s=register.receipt_max_age_s)
        objection = open_objection(register, receipt, holder_share)
        erasure = unsealed_erasure(register, receipt, objection_sha256=objection.record.receipt_sha256)
        logged = register.log_writer.append(erasure)
    sweep_erased(register.database, register.blobs)
    return answer_later(register, receipt, logged, status="erased")


def sweep_erased(database: Database, stored: LocalBlobs) -> int:
    """Overwrite the sealed bytes of what was erased; return how many blobs. Safe at any time, also twice at once."""
    with database.reading() as connection:
        blobs = records.read_blobs_to_erase(connection)
    for blob in blobs:
        stored.erase(blob)
        with database.writing() as connection:
            records.forget_erased_blob(connection, blob)
            in_use = records.names_segment(connection, segment_of(blob))
        if not in_use:
            stored.remove_segment(segment_of(blob))
    if blobs:
        database.forget_write_ahead()
    return len(blobs)
