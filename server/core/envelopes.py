"""Sealing of records under two shares: the register keeps one, the holder the other.

Neither share alone, nor everything the register stores, opens a record.
"""

import struct
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from server.errors import OperatorError, VerificationError

SHARE_SIZE = 32
NONCE_SIZE = 12


def derive_data_key(server_share: bytes, holder_share: bytes, record_id: bytes) -> bytes:
    """Return the record's AES-256 key; both shares are 32 random bytes."""
    return HKDF(SHA256(), 32, salt=None, info=record_id).derive(server_share + holder_share)


def seal(parts: Sequence[bytes], data_key: bytes, nonce: bytes, record_id: bytes) -> bytes:
    """Return ``parts`` as one ciphertext. ``nonce`` (12 bytes) must be random: a data key seals one record once."""
    packed = b"".join(field for part in parts for field in (struct.pack(">I", len(part)), part))
    return nonce + AESGCM(data_key).encrypt(nonce, packed, record_id)


def open_sealed(sealed: bytes, data_key: bytes, record_id: bytes) -> list[bytes]:
    """Undo ``seal``. Raises VerificationError ``holder_share_wrong``: wrong share, or the ciphertext was altered."""
    try:
        packed = AESGCM(data_key).decrypt(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], record_id)
    except (InvalidTag, ValueError) as error:  # ValueError: cut so short that not even the nonce is whole
        raise VerificationError("holder_share_wrong", "this holder share does not open the record") from error
    parts: list[bytes] = []
    position = 0
    while position < len(packed):
        (size,) = struct.unpack_from(">I", packed, position)
        parts.append(packed[position + 4 : position + 4 + size])
        position += 4 + size
    return parts


def wrap_share(share: bytes, *, version: int, key: bytes, nonce: bytes, record_id: bytes) -> bytes:
    """Return the server share as it may be stored, under version ``version`` of the key-encryption key."""
    return struct.pack(">I", version) + nonce + AESGCM(key).encrypt(nonce, share, record_id)


def unwrap_share(wrapped: bytes, *, keys: Mapping[int, bytes], record_id: bytes) -> bytes:
    """Undo ``wrap_share``. Raises OperatorError when the key version is gone or the stored share was altered."""
    version = int.from_bytes(wrapped[:4])
    if version not in keys:
        raise OperatorError("keys_missing", f"key-encryption key {version} is missing")
    nonce, ciphertext = wrapped[4 : 4 + NONCE_SIZE], wrapped[4 + NONCE_SIZE :]
    try:
        return AESGCM(keys[version]).decrypt(nonce, ciphertext, record_id)
    except (InvalidTag, ValueError) as error:
        raise OperatorError("share_damaged", "a stored server share does not open with its key") from error
