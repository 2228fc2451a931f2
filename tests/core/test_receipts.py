"""Receipts beyond what the vectors say: evidence files, and every byte of a receipt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.receipts import VerifiedReceipt, reread_receipt, verify_evidence, verify_receipt
from server.errors import LogInconsistent, ObjectionError, ParseError, VerificationError
from tests.fixtures.holders import NOTICE, SCREENSHOT, Holder

FILES = {"notice.txt": NOTICE, "screenshot.jpg": SCREENSHOT}
SUBMISSION = Holder().objection(FILES)
RECEIPT = verify_receipt(SUBMISSION.receipt.encode())
RAW = SUBMISSION.receipt.encode()


def test_what_was_recorded_is_read_again_by_its_hash_alone() -> None:
    assert reread_receipt(RAW, RECEIPT.sha256) == RECEIPT
    altered = RAW[:-1] + (b"A" if RAW[-1:] != b"A" else b"Q")
    for raw, recorded in ((altered, RECEIPT.sha256), (RAW, bytes(32))):
        with pytest.raises(LogInconsistent):
            reread_receipt(raw, recorded)


def test_hash_is_over_the_bytes_as_received() -> None:
    assert RECEIPT.sha256.hex() == SUBMISSION.sha256
    assert RECEIPT.raw == RAW


@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_receipt_with_any_byte_altered_is_refused(at: int, change: int) -> None:
    altered = RAW[:at] + bytes([RAW[at] ^ change]) + RAW[at + 1 :]
    with pytest.raises(ObjectionError):
        verify_receipt(altered)


@given(st.integers(0, len(RAW) - 1))
def test_receipt_cut_short_is_refused(size: int) -> None:
    with pytest.raises(ObjectionError):
        verify_receipt(RAW[:size])


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(ParseError):
        verify_receipt(raw)


def _refusal(files: dict[str, bytes], receipt: VerifiedReceipt = RECEIPT) -> str:
    with pytest.raises(VerificationError) as caught:
        verify_evidence(receipt, files)
    return caught.value.code


def test_evidence_is_what_was_signed() -> None:
    verify_evidence(RECEIPT, FILES)
    verify_evidence(verify_receipt(Holder().objection({}).receipt.encode()), {})


@pytest.mark.parametrize("name", FILES)
def test_evidence_missing(name: str) -> None:
    assert _refusal({other: data for other, data in FILES.items() if other != name}) == "evidence_missing"


def test_evidence_unexpected() -> None:
    assert _refusal(FILES | {"more.txt": b"more"}) == "evidence_unexpected"


@pytest.mark.parametrize("data", [NOTICE + b"\n", NOTICE[:-1], NOTICE[:-1] + b"!", b"", SCREENSHOT])
def test_evidence_altered(data: bytes) -> None:
    assert _refusal(FILES | {"notice.txt": data}) == "evidence_mismatch"
