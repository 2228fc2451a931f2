"""What is asked of a receipt that is new, and not of one that was recorded: its holder may ask for the answer again."""

from server.core.receipts import VerifiedReceipt, verify_freshness
from server.errors import FreshnessError, Unavailable
from server.store import records
from server.usecases.register import Register


def recorded_before(register: Register, receipt: VerifiedReceipt) -> bool:
    with register.database.reading() as connection:
        return records.find_record(connection, receipt.sha256) is not None


def refuse_stale(register: Register, receipt: VerifiedReceipt) -> None:
    """Raises FreshnessError when ``receipt`` was signed too long ago, or in the future, and is new here."""
    try:
        verify_freshness(receipt, now=register.clock(), max_age_s=register.receipt_max_age_s)
    except FreshnessError:
        if not recorded_before(register, receipt):
            raise


def refuse_without_room(register: Register, receipt: VerifiedReceipt) -> None:
    """Raises Unavailable ``storage_full`` when there is no room for ``receipt`` with its evidence, and it is new."""
    try:
        register.database.refuse_without_room()
        register.blobs.refuse_without_room(sum(item.size for item in receipt.evidence))
    except Unavailable:
        if not recorded_before(register, receipt):
            raise
