"""Open a sealed record with the holder's share."""

from dataclasses import dataclass

from server.core.envelopes import derive_data_key, open_sealed, unwrap_share
from server.core.receipts import VerifiedReceipt, verify_receipt
from server.store.records import Record
from server.usecases.register import Register


@dataclass(frozen=True)
class OpenedRecord:
    """``evidence``: the files by name, as the receipt names them."""

    receipt: VerifiedReceipt
    evidence: dict[str, bytes]


def open_record(register: Register, record: Record, holder_share: bytes) -> OpenedRecord:
    """Return receipt and evidence as they were received.

    Raises VerificationError ``holder_share_wrong``, NotFound ``blob_missing``, OperatorError when the key is gone.
    """
    record_id = record.receipt_sha256
    server_share = unwrap_share(record.wrapped_share, keys=register.keyring.key_encryption_keys, record_id=record_id)
    data_key = derive_data_key(server_share, holder_share, record_id)
    raw_receipt, *files = open_sealed(register.blobs.get(record.blob), data_key, record_id)
    receipt = verify_receipt(raw_receipt)
    names = [item.name for item in receipt.evidence]
    return OpenedRecord(receipt, dict(zip(names, files, strict=True)))
