"""Open the objection that a later receipt is about, for the key that signed both."""

from dataclasses import dataclass

from server.core.receipts import VerifiedReceipt
from server.errors import Forbidden
from server.store.records import Record
from server.usecases.open_record import find_objection, open_for_its_holder
from server.usecases.register import Register


@dataclass(frozen=True)
class OpenedObjection:
    record: Record
    receipt: VerifiedReceipt


def open_objection(register: Register, later: VerifiedReceipt, holder_share: bytes) -> OpenedObjection:
    """Return the objection named by ``later`` once share and key are seen to be its holder's.

    Raises NotFound ``record_not_found``, Gone ``record_erased``, Forbidden ``holder_share_wrong``, ``not_the_holder``.
    """
    with register.database.reading() as connection:
        record = find_objection(connection, bytes.fromhex(later.payload["objection_sha256"]))
    opened = open_for_its_holder(register, record, holder_share)
    if opened.receipt.holder_jwk != later.holder_jwk:
        raise Forbidden("not_the_holder", "signed by another key than the objection")
    return OpenedObjection(record, opened.receipt)
