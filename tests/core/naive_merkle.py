"""Merkle tree hashes straight from the definitions in RFC 6962, section 2.1: slow, and independent of the server's."""

import hashlib
from collections.abc import Sequence


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Return MTH of ``leaves``, which are leaf hashes already."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = _split(len(leaves))
    return hashlib.sha256(b"\x01" + root(leaves[:split]) + root(leaves[split:])).digest()


def path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Return PATH(index, leaves), the leaf's sibling first."""
    if len(leaves) == 1:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*path(index, leaves[:split]), root(leaves[split:])]
    return [*path(index - split, leaves[split:]), root(leaves[:split])]


def consistency(old_size: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Return PROOF(old_size, leaves); section 2.1.2."""
    return _subproof(old_size, leaves, known=True)


def _subproof(old_size: int, leaves: Sequence[bytes], *, known: bool) -> list[bytes]:
    if old_size == len(leaves):
        return [] if known else [root(leaves)]
    split = _split(len(leaves))
    if old_size <= split:
        return [*_subproof(old_size, leaves[:split], known=known), root(leaves[split:])]
    return [*_subproof(old_size - split, leaves[split:], known=False), root(leaves[:split])]


def _split(size: int) -> int:
    """Return the largest power of two smaller than ``size``."""
    split = 1
    while split * 2 < size:
        split *= 2
    return split
