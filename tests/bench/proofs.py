"""What proofs cost as the log grows: time to make and check them, and their size. Both must grow like log n.

A proof is made as a register does it that just read the tiles: nothing is kept from one proof to the next.
"""

import hashlib
import json
import math
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from server.core.merkle import HASH_SIZE, TILE_WIDTH, TileKey, TileTree, root_from_path, tile_hash, verify_consistency
from server.core.notes import format_base64

SIZES = (1_000, 100_000, 1_000_000)
SAMPLES = 200
# Proofs of a million entries may cost so much more than proofs of a thousand: twice what the logarithms say.
MAX_GROWTH = 2 * math.log2(SIZES[-1]) / math.log2(SIZES[0])


def main() -> None:
    report = [measure(size) for size in SIZES]
    print(json.dumps(report, indent=2) if "--json" in sys.argv else table(report))
    growth = report[-1]["inclusion_bytes"] / report[0]["inclusion_bytes"]
    touched = report[-1]["tiles_read"] / report[0]["tiles_read"]
    if max(growth, touched) > MAX_GROWTH:
        raise SystemExit(f"proofs grow faster than log n: {growth:.1f} in bytes, {touched:.1f} in tiles read")


def make_tiles(size: int) -> dict[TileKey, bytes]:
    """Return all tiles of a log of ``size`` made-up leaves, built row by row."""
    tiles: dict[TileKey, bytes] = {}
    row = b"".join(hashlib.sha256(n.to_bytes(8)).digest() for n in range(size))
    level, width = 0, TILE_WIDTH * HASH_SIZE
    while row:
        for number, start in enumerate(range(0, len(row), width)):
            tiles[level, number] = row[start : start + width]
        row = b"".join(tile_hash(row[start : start + width]) for start in range(0, len(row) - width + 1, width))
        level += 1
    return tiles


def measure(size: int) -> dict[str, Any]:
    tiles = make_tiles(size)
    reads = 0

    def read(level: int, number: int) -> bytes:
        nonlocal reads
        reads += 1
        return tiles[level, number]

    chance = random.Random(size)
    root = TileTree(size, read).root()
    indexes = [chance.randrange(size) for _ in range(SAMPLES)]
    reads = 0
    made, paths = timed(lambda index: TileTree(size, read).path(index), indexes)
    tiles_read = reads / SAMPLES
    leaves = [tiles[0, n // TILE_WIDTH][n % TILE_WIDTH * HASH_SIZE :][:HASH_SIZE] for n in indexes]
    checked, roots = timed(lambda n: root_from_path(leaves[n], indexes[n], size, paths[n]), range(SAMPLES))
    assert set(roots) == {root}

    older = [chance.randrange(1, size) for _ in range(SAMPLES)]
    old_roots = [TileTree(old, read).root() for old in older]
    consistent, proofs = timed(lambda old: TileTree(size, read).consistency_path(old), older)
    for old, old_root, proof in zip(older, old_roots, proofs, strict=True):
        verify_consistency(old_size=old, old_root=old_root, size=size, root=root, path=proof)
    return {
        "entries": size,
        "tiles_read": tiles_read,
        "inclusion_us": made,
        "inclusion_bytes": size_of(paths),
        "check_us": checked,
        "consistency_us": consistent,
        "consistency_bytes": size_of(proofs),
    }


def timed(work: Callable[[int], Any], inputs: Any) -> tuple[float, list[Any]]:
    """Return the median of microseconds, and what came out."""
    times, results = [], []
    for each in inputs:
        started = time.perf_counter()
        results.append(work(each))
        times.append((time.perf_counter() - started) * 1e6)
    return statistics.median(times), results


def size_of(paths: list[list[bytes]]) -> int:
    """Return the largest number of bytes that the lines of a path take in a proof file."""
    return max(sum(len(format_base64(node)) + 1 for node in path) for path in paths)


def table(report: list[dict[str, Any]]) -> str:
    lines = ["    entries  log2  tiles read  inclusion µs  bytes  check µs  consistency µs  bytes"]
    lines += [
        f"  {row['entries']:>9,}  {math.log2(row['entries']):>4.1f}  {row['tiles_read']:>10.1f}"
        f"  {row['inclusion_us']:>12.0f}  {row['inclusion_bytes']:>5}  {row['check_us']:>8.0f}"
        f"  {row['consistency_us']:>14.0f}  {row['consistency_bytes']:>5}"
        for row in report
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
