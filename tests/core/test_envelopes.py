"""Sealed records: both shares and the unaltered record open them, and nothing less does."""

import hmac
import itertools
import secrets

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from server.core.envelopes import derive_data_key, open_sealed, seal, unwrap_share, wrap_share
from server.errors import OperatorError, VerificationError

SERVER_SHARE, HOLDER_SHARE, RECORD_ID = b"s" * 32, b"h" * 32, b"r" * 32
DATA_KEY = derive_data_key(SERVER_SHARE, HOLDER_SHARE, RECORD_ID)
PARTS = [b"receipt", b"", b"evidence" * 100]
SEALED = seal(PARTS, DATA_KEY, b"n" * 12, RECORD_ID)
KEY = b"k" * 32
WRAPPED = wrap_share(SERVER_SHARE, version=3, key=KEY, nonce=b"m" * 12, record_id=RECORD_ID)


@given(st.lists(st.binary(max_size=300), max_size=9))
def test_parts_come_back(parts: list[bytes]) -> None:
    assert open_sealed(seal(parts, DATA_KEY, b"n" * 12, RECORD_ID), DATA_KEY, RECORD_ID) == parts


def test_data_key_is_the_documented_one() -> None:
    """HKDF (RFC 5869), by hand: no salt is a salt of zeros, and 32 bytes are one block."""
    extracted = hmac.digest(bytes(32), SERVER_SHARE + HOLDER_SHARE, "sha256")
    assert hmac.digest(extracted, RECORD_ID + b"\x01", "sha256") == DATA_KEY


def test_sealed_form_is_the_documented_one() -> None:
    packed = AESGCM(DATA_KEY).decrypt(SEALED[:12], SEALED[12:], RECORD_ID)
    assert packed == b"\x00\x00\x00\x07receipt" + bytes(4) + b"\x00\x00\x03\x20" + b"evidence" * 100
    assert WRAPPED[:4] == b"\x00\x00\x00\x03"
    assert AESGCM(KEY).decrypt(WRAPPED[4:16], WRAPPED[16:], RECORD_ID) == SERVER_SHARE


@given(st.integers(0, 255))
def test_holder_share_with_one_bit_changed_does_not_open(bit: int) -> None:
    wrong = bytearray(HOLDER_SHARE)
    wrong[bit // 8] ^= 1 << bit % 8
    assert _refusal(SEALED, derive_data_key(SERVER_SHARE, bytes(wrong), RECORD_ID), RECORD_ID)


def test_shares_are_not_interchangeable() -> None:
    assert _refusal(SEALED, derive_data_key(HOLDER_SHARE, SERVER_SHARE, RECORD_ID), RECORD_ID)


@given(st.integers(0, len(SEALED) * 8 - 1))
def test_altered_record_does_not_open(bit: int) -> None:
    altered = bytearray(SEALED)
    altered[bit // 8] ^= 1 << bit % 8
    assert _refusal(bytes(altered), DATA_KEY, RECORD_ID)


@given(st.integers(0, len(SEALED) - 1))
def test_record_cut_short_does_not_open(size: int) -> None:
    assert _refusal(SEALED[:size], DATA_KEY, RECORD_ID)


def test_record_under_another_id_does_not_open() -> None:
    other = b"q" * 32
    assert _refusal(SEALED, DATA_KEY, other)
    assert _refusal(SEALED, derive_data_key(SERVER_SHARE, HOLDER_SHARE, other), other)


def _refusal(sealed: bytes, key: bytes, record_id: bytes) -> bool:
    with pytest.raises(VerificationError) as caught:
        open_sealed(sealed, key, record_id)
    return caught.value.code == "holder_share_wrong"


def test_all_that_the_register_keeps_does_not_open_a_record() -> None:
    """Key-encryption key, wrapped share, share, record id and record, in every combination as shares or as key."""
    holder_share = secrets.token_bytes(32)
    sealed = seal(PARTS, derive_data_key(SERVER_SHARE, holder_share, RECORD_ID), b"n" * 12, RECORD_ID)
    kept = [KEY, WRAPPED, WRAPPED[16:48], SERVER_SHARE, RECORD_ID, sealed[:12], sealed[-32:], b"", bytes(32)]
    derived = [derive_data_key(one, other, RECORD_ID) for one, other in itertools.product(kept, repeat=2)]
    for key in [piece for piece in kept if len(piece) == 32] + derived:
        with pytest.raises(VerificationError):
            open_sealed(sealed, key, RECORD_ID)
    for key in (KEY, SERVER_SHARE):
        with pytest.raises(InvalidTag):
            AESGCM(key).decrypt(sealed[:12], sealed[12:], RECORD_ID)


def test_the_holder_alone_does_not_open_a_record() -> None:
    for other in (b"", bytes(32), HOLDER_SHARE, RECORD_ID):
        assert _refusal(SEALED, derive_data_key(other, HOLDER_SHARE, RECORD_ID), RECORD_ID)


def test_server_share_comes_back_under_the_key_of_its_version() -> None:
    assert unwrap_share(WRAPPED, keys={2: b"o" * 32, 3: KEY}, record_id=RECORD_ID) == SERVER_SHARE


def test_server_share_without_its_key_stops_the_operator() -> None:
    with pytest.raises(OperatorError) as caught:
        unwrap_share(WRAPPED, keys={2: KEY}, record_id=RECORD_ID)
    assert caught.value.code == "keys_missing"


@given(st.integers(4, len(WRAPPED) - 1), st.integers(1, 255))
def test_altered_server_share_is_seen(at: int, change: int) -> None:
    altered = WRAPPED[:at] + bytes([WRAPPED[at] ^ change]) + WRAPPED[at + 1 :]
    assert _damage(altered, RECORD_ID)
    assert _damage(WRAPPED[:at], RECORD_ID)


def test_server_share_of_another_record_is_seen() -> None:
    assert _damage(WRAPPED, b"q" * 32)


def _damage(wrapped: bytes, record_id: bytes) -> bool:
    with pytest.raises(OperatorError) as caught:
        unwrap_share(wrapped, keys={3: KEY}, record_id=record_id)
    return caught.value.code == "share_damaged"
