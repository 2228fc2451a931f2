"""The tiled tree against RFC 6962 read literally (``naive_merkle``)."""

import hashlib
from collections.abc import Iterable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from server.core.merkle import (
    EMPTY_ROOT,
    HASH_SIZE,
    TILE_WIDTH,
    RightEdge,
    SubtreeHashes,
    TileKey,
    TileTree,
    leaf_hash,
    node_hash,
    root_from_path,
    verify_consistency,
)
from server.errors import LogInconsistent, VerificationError
from tests.core import naive_merkle

LEAVES = [hashlib.sha256(b"\x00%d" % i).digest() for i in range(1100)]
EDGES = sorted({max(0, n + d) for n in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024) for d in (-1, 0, 1)})
SIZES = st.sampled_from(EDGES) | st.integers(0, 1100)
GROWN_SIZES = SIZES.filter(bool)


class Tiles:
    """Tiles as a register stores them."""

    def __init__(self) -> None:
        self.stored: dict[TileKey, bytes] = {}
        self.size = 0

    def tree(self, size: int | None = None, subtrees: SubtreeHashes | None = None) -> TileTree:
        return TileTree(self.size if size is None else size, self.read, subtrees=subtrees)

    def read(self, level: int, number: int) -> bytes:
        return self.stored[level, number]

    def append(self, leaves: Iterable[bytes], subtrees: SubtreeHashes | None = None) -> TileTree:
        tree = self.tree(subtrees=subtrees)
        tree.append(leaves)
        for key in tree.changed:
            self.stored[key] = tree.tile(*key)
        self.size = tree.size
        return tree


def _grown(size: int) -> Tiles:
    tiles = Tiles()
    tiles.append(LEAVES[:size])
    return tiles


def test_published_roots() -> None:
    """The test tree of Certificate Transparency."""
    entries = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    leaves = [leaf_hash(bytes.fromhex(entry)) for entry in entries]
    assert leaves[0].hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    tiles = Tiles()
    tree = tiles.append(leaves)
    assert tree.root().hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_empty_log_has_the_hash_of_nothing() -> None:
    assert Tiles().tree().root() == EMPTY_ROOT == naive_merkle.root([])


@settings(max_examples=60)
@given(st.lists(SIZES, min_size=1, max_size=5).map(sorted), st.booleans())
def test_root_after_every_batch_of_appends(sizes: list[int], keeps_subtrees: bool) -> None:
    tiles, start = Tiles(), 0
    subtrees: SubtreeHashes | None = {} if keeps_subtrees else None
    for size in sizes:
        tree = tiles.append(LEAVES[start:size], subtrees)
        expected = naive_merkle.root(LEAVES[:size])
        assert tree.root() == expected
        assert tiles.tree().root() == expected
        start = size


@settings(max_examples=60)
@given(GROWN_SIZES, st.data())
def test_path_is_the_standard_one_and_leads_to_the_root(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1) | st.sampled_from([0, size // 2, size - 1]))
    path = _grown(size).tree().path(index)
    assert path == naive_merkle.path(index, LEAVES[:size])
    assert root_from_path(LEAVES[index], index, size, path) == naive_merkle.root(LEAVES[:size])


@settings(max_examples=60)
@given(GROWN_SIZES, GROWN_SIZES, st.data())
def test_smaller_log_is_seen_through_the_tiles_of_a_larger_one(one: int, other: int, data: st.DataObject) -> None:
    smaller, larger = sorted((one, other))
    index = data.draw(st.integers(0, smaller - 1))
    tree = _grown(larger).tree(smaller)
    assert tree.root() == naive_merkle.root(LEAVES[:smaller])
    assert tree.path(index) == naive_merkle.path(index, LEAVES[:smaller])


@settings(max_examples=40)
@given(GROWN_SIZES, GROWN_SIZES)
def test_appending_to_a_truncated_view_drops_what_stood_beyond(one: int, other: int) -> None:
    smaller, larger = sorted((one, other))
    tree = _grown(larger).tree(smaller)
    replacement = [hashlib.sha256(b"other").digest()] * 3
    tree.append(replacement)
    assert tree.root() == naive_merkle.root(LEAVES[:smaller] + replacement)


@settings(max_examples=40)
@given(GROWN_SIZES)
def test_tiles_hold_the_hashes_side_by_side(size: int) -> None:
    tiles = _grown(size)
    full = size // TILE_WIDTH
    upper = [naive_merkle.root(LEAVES[i * TILE_WIDTH : (i + 1) * TILE_WIDTH]) for i in range(full)]
    expected = {
        (0, i): b"".join(LEAVES[i * TILE_WIDTH : min(size, (i + 1) * TILE_WIDTH)])
        for i in range(-(-size // TILE_WIDTH))
    }
    if upper:
        expected[1, 0] = b"".join(upper)
    assert tiles.stored == expected


def test_only_touched_tiles_are_stored_again() -> None:
    tiles = _grown(300)
    assert tiles.append(LEAVES[300:301]).changed == {(0, 1)}
    assert tiles.append(LEAVES[301:512]).changed == {(0, 1), (1, 0)}
    assert tiles.append(LEAVES[512:513]).changed == {(0, 2)}


@given(GROWN_SIZES)
def test_the_right_edge_alone_gives_the_same_tiles_and_root(size: int) -> None:
    grown, edge = _grown(size), RightEdge()
    tiles = [tile for leaf in LEAVES[:size] for tile in edge.append(leaf)] + edge.unfinished()
    assert (edge.size, edge.root()) == (size, naive_merkle.root(LEAVES[:size]))
    assert {(level, number): hashes for level, number, hashes in tiles} == grown.stored
    assert len(tiles) == len(grown.stored)


def test_three_levels() -> None:
    """65 536 leaves fill a tile of tiles."""
    leaves = [hashlib.sha256(i.to_bytes(4)).digest() for i in range(65_800)]
    tiles = Tiles()
    for start in range(0, len(leaves), 10_000):
        tiles.append(leaves[start : start + 10_000])
    assert (2, 0) in tiles.stored
    edge = RightEdge()
    assert [tile for leaf in leaves for tile in edge.append(leaf) if tile[0]] == [(1, 0, tiles.stored[1, 0])]
    assert edge.root() == naive_merkle.root(leaves)
    for size in (65_535, 65_536, 65_537, 65_800):
        tree = tiles.tree(size)
        assert tree.root() == naive_merkle.root(leaves[:size])
        assert root_from_path(leaves[size - 1], size - 1, size, tree.path(size - 1)) == tree.root()
        assert root_from_path(leaves[7], 7, size, tree.path(7)) == tree.root()


def test_every_place_in_every_small_log() -> None:
    for size in range(1, 34):
        root = naive_merkle.root(LEAVES[:size])
        for index in range(size):
            path = naive_merkle.path(index, LEAVES[:size])
            assert root_from_path(LEAVES[index], index, size, path) == root
            for other in set(range(size)) - {index}:
                assert _leads(LEAVES[index], other, size, path) != root
            assert _leads(LEAVES[index], index, size, [*path, LEAVES[0]]) is None
            if path:
                assert _leads(LEAVES[index], index, size, path[:-1]) is None


def _leads(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes | None:
    try:
        return root_from_path(leaf, index, size, path)
    except VerificationError:
        return None


@given(GROWN_SIZES.filter(lambda size: size > 1), st.data())
def test_altered_path_leads_elsewhere(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    path = naive_merkle.path(index, LEAVES[:size])
    root = naive_merkle.root(LEAVES[:size])
    at, bit = data.draw(st.integers(0, len(path) * HASH_SIZE - 1)), data.draw(st.integers(0, 7))
    whole = bytearray(b"".join(path))
    whole[at] ^= 1 << bit
    altered = [bytes(whole[i : i + HASH_SIZE]) for i in range(0, len(whole), HASH_SIZE)]
    assert _leads(LEAVES[index], index, size, altered) != root
    shuffled = data.draw(st.permutations(path))
    assume(shuffled != path)
    assert _leads(LEAVES[index], index, size, shuffled) != root


@pytest.mark.parametrize("index", [-1, 5, 2**60])
def test_place_outside_the_log_is_refused(index: int) -> None:
    with pytest.raises(VerificationError, match="outside"):
        root_from_path(LEAVES[0], index, 5, [])
    with pytest.raises(LogInconsistent):
        _grown(5).tree().path(index)


def test_nothing_is_in_an_empty_log() -> None:
    assert _leads(LEAVES[0], 0, 0, []) is None


def test_tile_shorter_than_the_size_says_halts() -> None:
    tiles = _grown(300)
    tiles.stored[0, 1] = tiles.stored[0, 1][:-HASH_SIZE]
    with pytest.raises(LogInconsistent):
        tiles.tree().root()
    with pytest.raises(LogInconsistent):
        tiles.tree().append(LEAVES[300:301])


def test_leaf_and_node_hashes_never_meet() -> None:
    left, right = LEAVES[:2]
    assert leaf_hash(left + right) != node_hash(left, right)
    assert node_hash(left, right) == naive_merkle.root([left, right])


def _consistent(old_size: int, old_root: bytes, size: int, root: bytes, path: list[bytes]) -> bool:
    try:
        verify_consistency(old_size=old_size, old_root=old_root, size=size, root=root, path=path)
    except VerificationError:
        return False
    return True


@settings(max_examples=80)
@given(GROWN_SIZES, GROWN_SIZES)
def test_growth_is_proven_as_the_standard_says(one: int, other: int) -> None:
    smaller, larger = sorted((one, other))
    tree = _grown(larger).tree()
    path = tree.consistency_path(smaller)
    assert path == naive_merkle.consistency(smaller, LEAVES[:larger])
    old_root = naive_merkle.root(LEAVES[:smaller])
    assert _consistent(smaller, old_root, larger, tree.root(), path)
    assert _grown(1100).tree(larger).consistency_path(smaller) == path, "through the tiles of a larger log"


def test_every_growth_of_every_small_log() -> None:
    """Each path leads from its root to its root, and from no other root, nor made shorter or longer.

    (Sizes are not asked: a path alone does not tell 3 leaves from 4; a signed checkpoint binds size and root.)
    """
    roots = [naive_merkle.root(LEAVES[:size]) for size in range(20)]
    for size in range(20):
        for old_size in range(size + 1):
            path = _grown(size).tree().consistency_path(old_size)
            assert _consistent(old_size, roots[old_size], size, roots[size], path)
            for other in range(20):
                if other != old_size:
                    assert not _consistent(old_size, roots[other], size, roots[size], path)
                if other != size and old_size:
                    assert not _consistent(old_size, roots[old_size], size, roots[other], path)
            assert not _consistent(old_size, roots[old_size], size, roots[size], [*path, LEAVES[0]])
            if path:
                assert not _consistent(old_size, roots[old_size], size, roots[size], path[:-1])
                assert not _consistent(old_size, roots[old_size], size, roots[size], path[1:])


@given(GROWN_SIZES, GROWN_SIZES, st.data())
def test_altered_growth_is_refused(one: int, other: int, data: st.DataObject) -> None:
    smaller, larger = sorted((one, other))
    assume(smaller != larger)
    path = naive_merkle.consistency(smaller, LEAVES[:larger])
    old_root, root = naive_merkle.root(LEAVES[:smaller]), naive_merkle.root(LEAVES[:larger])
    at, bit = data.draw(st.integers(0, len(path) * HASH_SIZE - 1)), data.draw(st.integers(0, 7))
    whole = bytearray(b"".join(path))
    whole[at] ^= 1 << bit
    altered = [bytes(whole[i : i + HASH_SIZE]) for i in range(0, len(whole), HASH_SIZE)]
    assert not _consistent(smaller, old_root, larger, root, altered)


def test_a_log_that_forked_is_no_growth() -> None:
    old_root = naive_merkle.root(LEAVES[:9])
    forked = [*LEAVES[:8], LEAVES[20], *LEAVES[9:12]]
    tiles = Tiles()
    tree = tiles.append(forked)
    assert not _consistent(9, old_root, 12, tree.root(), tree.consistency_path(9))
    with pytest.raises(LogInconsistent):
        tree.consistency_path(13)


def test_a_path_of_another_length_than_the_sizes_need_is_refused() -> None:
    path = _grown(3).tree().consistency_path(2)
    old_root, root = naive_merkle.root(LEAVES[:2]), naive_merkle.root(LEAVES[:3])
    assert _consistent(2, old_root, 3, root, path)
    assert not _consistent(2, old_root, 12, root, path)
    assert not _consistent(2, old_root, 2, root, path)
