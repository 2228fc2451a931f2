"""Merkle tree hashes, inclusion and consistency (RFC 6962, RFC 9162), over tiles of 256 hashes (C2SP tlog-tiles)."""

import hashlib
from collections.abc import Callable, Iterable, Sequence

from server.errors import LogInconsistent, VerificationError

HASH_SIZE = 32
TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
EMPTY_ROOT = hashlib.sha256(b"").digest()

TileKey = tuple[int, int]  # level, number
SubtreeHashes = dict[tuple[int, int], bytes]  # height, index


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def tile_hash(hashes: bytes) -> bytes:
    """Return the hash over a full tile: what stands for it in the tile above."""
    row = [hashes[i : i + HASH_SIZE] for i in range(0, len(hashes), HASH_SIZE)]
    while len(row) > 1:
        row = [node_hash(row[i], row[i + 1]) for i in range(0, len(row), 2)]
    return row[0]


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root that ``path``, sibling of ``leaf`` first, connects ``leaf`` to in a log of ``size`` leaves.

    Means nothing alone: compare it with the root of a checkpoint whose signature you have verified.
    Raises VerificationError ``proof_mismatch`` when ``index`` lies outside the log, or ``path`` has not the length that
    the position needs. (RFC 9162, section 2.1.3.2.)
    """
    if not 0 <= index < size:
        raise VerificationError("proof_mismatch", "the index lies outside the log")
    node, last, root = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise VerificationError("proof_mismatch", "the path is too long")
        if node & 1 or node == last:
            root = node_hash(sibling, root)
            while not node & 1 and node:  # a lone right edge rises until it becomes a right child
                node >>= 1
                last >>= 1
        else:
            root = node_hash(root, sibling)
        node >>= 1
        last >>= 1
    if last:
        raise VerificationError("proof_mismatch", "the path is too short")
    return root


def verify_consistency(*, old_size: int, old_root: bytes, size: int, root: bytes, path: Sequence[bytes]) -> None:
    """Make sure that the log of ``size`` leaves under ``root`` begins with the one of ``old_size`` under ``old_root``.

    Raises VerificationError ``consistency_mismatch``. Every log begins with the empty one; its path, like that of a log
    to itself, is empty. (RFC 9162, section 2.1.4.2.)
    """
    if not 0 <= old_size <= size:
        raise VerificationError("consistency_mismatch", "the older log is the larger one")
    if old_size in {0, size}:
        if path or (old_size == size and old_root != root) or (old_size == 0 and old_root != EMPTY_ROOT):
            raise VerificationError("consistency_mismatch", "the same size with another root, or a path to nowhere")
        return
    # A complete old tree is a node of the new one, which the path then leaves out.
    hashes = [old_root, *path] if old_size & (old_size - 1) == 0 else list(path)
    node, last = old_size - 1, size - 1
    while node & 1:
        node >>= 1
        last >>= 1
    if not path:
        raise VerificationError("consistency_mismatch", "the path is too short")
    old, new = hashes[0], hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise VerificationError("consistency_mismatch", "the path is too long")
        if node & 1 or node == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        node >>= 1
        last >>= 1
    if last or old != old_root or new != root:
        raise VerificationError("consistency_mismatch", "the newer log does not begin with the older one")


class TileTree:
    """A log's tree of ``size`` leaves, read from its tiles and extended in memory.

    ``read_tile(level, number)`` returns the stored hashes of a tile, the partial one at the right edge included, and is
    asked once a tile. After ``append``, ``changed`` holds the tiles to store. ``subtrees`` keeps hashes of complete
    subtrees: they never change, so it may serve the next tree of the same log, unless an append was rolled back.
    """

    def __init__(
        self, size: int, read_tile: Callable[[int, int], bytes], *, subtrees: SubtreeHashes | None = None
    ) -> None:
        self.size = size
        self.changed: set[TileKey] = set()
        self._read_tile = read_tile
        self._tiles: dict[TileKey, bytes] = {}
        self._subtrees = {} if subtrees is None else subtrees

    def append(self, leaves: Iterable[bytes]) -> None:
        for leaf in leaves:
            self._append_at(0, self.size, leaf)
            self.size += 1

    def root(self) -> bytes:
        return self._range_hash(0, self.size) if self.size else EMPTY_ROOT

    def path(self, index: int) -> list[bytes]:
        """Return the inclusion path of leaf ``index``, its sibling first (RFC 9162, section 2.1.3.1)."""
        if not 0 <= index < self.size:
            raise LogInconsistent("log_inconsistent", f"no leaf {index} in a log of {self.size}")
        path: list[bytes] = []
        start, end = 0, self.size
        while end - start > 1:
            middle = start + _largest_power_below(end - start)
            if index < middle:
                path.append(self._range_hash(middle, end))
                end = middle
            else:
                path.append(self._range_hash(start, middle))
                start = middle
        path.reverse()
        return path

    def consistency_path(self, old_size: int) -> list[bytes]:
        """Return the proof that this log begins with its first ``old_size`` leaves (RFC 9162, section 2.1.4.1)."""
        if not 0 <= old_size <= self.size:
            raise LogInconsistent("log_inconsistent", f"no log of {old_size} leaves in one of {self.size}")
        if old_size in {0, self.size}:
            return []
        path: list[bytes] = []
        start, end = 0, self.size
        while old_size != end:
            middle = start + _largest_power_below(end - start)
            if old_size <= middle:
                path.append(self._range_hash(middle, end))
                end = middle
            else:
                path.append(self._range_hash(start, middle))
                start = middle
        if start:  # else the old log is a complete subtree, whose root the verifier has
            path.append(self._range_hash(start, end))
        path.reverse()
        return path

    def tile(self, level: int, number: int) -> bytes:
        """Return the hashes of a tile, side by side: as many as the log of this size has in it."""
        if (level, number) not in self._tiles:
            width = min(TILE_WIDTH, (self.size >> (TILE_HEIGHT * level)) - number * TILE_WIDTH)
            hashes = self._read_tile(level, number)
            if len(hashes) < width * HASH_SIZE:
                raise LogInconsistent("log_inconsistent", f"tile {level}/{number} is shorter than the log's size says")
            # What stands beyond belongs to a larger log than this one.
            self._tiles[level, number] = hashes[: width * HASH_SIZE]
        return self._tiles[level, number]

    def _append_at(self, level: int, index: int, node: bytes) -> None:
        number, position = divmod(index, TILE_WIDTH)
        hashes = (self.tile(level, number) if position else b"") + node
        self._tiles[level, number] = hashes
        self.changed.add((level, number))
        if position == TILE_WIDTH - 1:
            self._append_at(level + 1, number, tile_hash(hashes))

    def _range_hash(self, start: int, end: int) -> bytes:
        width = end - start
        if width & (width - 1) == 0:
            height = width.bit_length() - 1
            return self._subtree_hash(height, start >> height)
        middle = start + _largest_power_below(width)
        return node_hash(self._range_hash(start, middle), self._range_hash(middle, end))

    def _subtree_hash(self, height: int, index: int) -> bytes:
        """Return the hash over the complete subtree number ``index`` of 2^height leaves."""
        key = (height, index)
        if key not in self._subtrees:
            level, height_in_tile = divmod(height, TILE_HEIGHT)
            if height_in_tile == 0:
                number, position = divmod(index, TILE_WIDTH)
                hashes = self.tile(level, number)
                found = hashes[position * HASH_SIZE : (position + 1) * HASH_SIZE]
            else:
                found = node_hash(
                    self._subtree_hash(height - 1, 2 * index), self._subtree_hash(height - 1, 2 * index + 1)
                )
            self._subtrees[key] = found
        return self._subtrees[key]


class RightEdge:
    """A log's tree, leaf by leaf, of which only the unfinished tiles at the right edge are kept.

    ``append`` returns the tiles that a leaf completes, from the lowest level up, as (level, number, hashes).
    """

    def __init__(self) -> None:
        self.size = 0
        self._rows: list[list[bytes]] = [[]]

    def append(self, leaf: bytes) -> list[tuple[int, int, bytes]]:
        self.size += 1
        node, level = leaf, 0
        completed: list[tuple[int, int, bytes]] = []
        while True:
            row = self._rows[level]
            row.append(node)
            if len(row) < TILE_WIDTH:
                return completed
            hashes = b"".join(row)
            row.clear()
            completed.append((level, (self.size >> (TILE_HEIGHT * (level + 1))) - 1, hashes))
            node = tile_hash(hashes)
            level += 1
            if level == len(self._rows):
                self._rows.append([])

    def unfinished(self) -> list[tuple[int, int, bytes]]:
        """Return the partial tiles, as ``append`` does the full ones."""
        return [
            (level, self.size >> (TILE_HEIGHT * (level + 1)), b"".join(row))
            for level, row in enumerate(self._rows)
            if row
        ]

    def root(self) -> bytes:
        rest: list[bytes] = []  # the root over all that lies right of the full tiles
        for row in self._rows:
            nodes = row + rest
            while len(nodes) > 1:
                pairs = [node_hash(nodes[i], nodes[i + 1]) for i in range(0, len(nodes) - 1, 2)]
                nodes = pairs + nodes[2 * len(pairs) :]
            rest = nodes
        return rest[0] if rest else EMPTY_ROOT


def _largest_power_below(width: int) -> int:
    return 1 << (width - 1).bit_length() - 1
