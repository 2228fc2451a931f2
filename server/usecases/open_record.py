"""Open sealed records with the holder's share."""

from dataclasses import dataclass

from sqlalchemy import Connection

from server.core.encoding import JsonObject, parse_json
from server.core.envelopes import derive_data_key, open_sealed, unwrap_share
from server.core.receipts import VerifiedReceipt, reread_receipt
from server.errors import Forbidden, Gone, NotFound, VerificationError
from server.store import records
from server.store.records import Record
from server.usecases.log_writer import replay_guard
from server.usecases.register import Register


@dataclass(frozen=True)
class OpenedRecord:
    """``evidence``: the files by name, as the receipt names them. ``findings``: what the register saw in them."""

    receipt: VerifiedReceipt
    findings: JsonObject
    evidence: dict[str, bytes]


def open_record(register: Register, record: Record, holder_share: bytes) -> OpenedRecord:
    """Return receipt and evidence as they were received.

    Raises VerificationError ``holder_share_wrong``, NotFound ``blob_missing``, OperatorError when the key is gone,
    or what is sealed is not what the record names.
    """
    data_key = data_key_of(register, record, holder_share)
    if record.blob is None:
        raise NotFound("blob_missing", "nothing was kept of this receipt")
    raw_receipt, findings, *files = open_sealed(register.blobs.get(record.blob), data_key, record.receipt_sha256)
    receipt = reread_receipt(raw_receipt, record.receipt_sha256)
    names = [item.name for item in receipt.evidence]
    return OpenedRecord(receipt, parse_json(findings), dict(zip(names, files, strict=True)))


def data_key_of(register: Register, record: Record, holder_share: bytes) -> bytes:
    """Return the key that seals the record, if ``holder_share`` is the right one. Nothing here can tell."""
    if record.wrapped_share is None:
        raise NotFound("blob_missing", "nothing was kept of this receipt")
    record_id = record.receipt_sha256
    server_share = unwrap_share(record.wrapped_share, keys=register.keyring.key_encryption_keys, record_id=record_id)
    return derive_data_key(server_share, holder_share, record_id)


def find_objection(connection: Connection, receipt_sha256: bytes) -> Record:
    """Return the record of an objection. Raises Gone ``record_erased``, NotFound ``record_not_found``."""
    record = records.find_record(connection, receipt_sha256)
    if record is not None and record.kind == "objection":
        return record
    if records.find_guards(connection, [replay_guard(receipt_sha256)]):
        raise _gone()
    raise NotFound("record_not_found", "there is no such record here")


def open_for_its_holder(register: Register, record: Record, holder_share: bytes) -> OpenedRecord:
    """As ``open_record``, for a caller who has to show that they hold the share.

    Raises Forbidden ``holder_share_wrong``; Gone ``record_erased`` when its holder has had it erased meanwhile.
    """
    try:
        return open_record(register, record, holder_share)
    except (VerificationError, NotFound) as error:
        # Erased since the caller found it, its bytes are zeros or gone: that is neither a wrong share nor a loss.
        with register.database.reading() as connection:
            erased = records.find_record(connection, record.receipt_sha256) is None
        if erased:
            raise _gone() from error
        if isinstance(error, VerificationError):
            raise Forbidden(error.code, str(error)) from error
        raise


def _gone() -> Gone:
    return Gone("record_erased", "its holder had this objection erased")
