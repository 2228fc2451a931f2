"""Addresses and contents of a log's tiles and entry bundles (C2SP tlog-tiles)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from server.core.merkle import TILE_HEIGHT, TILE_WIDTH
from server.errors import ParseError

ENTRIES = "entries"
MAX_ENTRY_BYTES = 65_535
_LENGTH_SIZE = 2
# 18 digits number more tiles than any log of 2^63 entries has, and keep every integer here a machine's.
_PATH = re.compile(r"tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([0-9]{1,3}))?")
_MAX_LEVEL = 63


@dataclass(frozen=True)
class TilePath:
    """A tile of hashes at ``level``, or the entry bundle beside a tile of level 0 where ``level`` is None.

    ``width`` 1 to 255 is a partial one, 256 the full one.
    """

    level: int | None
    number: int
    width: int = TILE_WIDTH


def parse_tile_path(text: str) -> TilePath:
    """Read ``tile/<L>/<N>[.p/<W>]`` or ``tile/entries/<N>[.p/<W>]`` in its one canonical spelling.

    Raises ParseError ``tile_not_found`` for any other text. Whether the log is large enough is for the caller to ask.
    """
    match = _PATH.fullmatch(text)
    if match is None:
        raise ParseError("tile_not_found", "not the address of a tile")
    level, number, width = match.groups()
    tile = TilePath(
        None if level == ENTRIES else int(level),
        int(number.replace("x", "").replace("/", "")),
        TILE_WIDTH if width is None else int(width),
    )
    if format_tile_path(tile) != text or not 0 < tile.width <= TILE_WIDTH or (tile.level or 0) > _MAX_LEVEL:
        raise ParseError("tile_not_found", "not the address of a tile as C2SP spells it")
    return tile


def format_tile_path(tile: TilePath) -> str:
    """Return the path without a leading slash."""
    digits = str(tile.number)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[start : start + 3] for start in range(0, len(digits), 3)]
    number = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    partial = f".p/{tile.width}" if tile.width < TILE_WIDTH else ""
    return f"tile/{ENTRIES if tile.level is None else tile.level}/{number}{partial}"


def width_at(size: int, level: int | None, number: int) -> int:
    """Return how many hashes (or entries) of that tile a log of ``size`` entries has: 0 when there is no such tile."""
    return max(0, min(TILE_WIDTH, (size >> (TILE_HEIGHT * (level or 0))) - number * TILE_WIDTH))


def format_entries(entries: Sequence[bytes]) -> bytes:
    return b"".join(len(entry).to_bytes(_LENGTH_SIZE) + entry for entry in entries)


def parse_entries(raw: bytes, *, count: int) -> list[bytes]:
    """Return the ``count`` entries of a bundle; raises ParseError ``entries_malformed`` for any other number."""
    entries: list[bytes] = []
    start = 0
    while start < len(raw) and len(entries) < count:
        end = start + _LENGTH_SIZE + int.from_bytes(raw[start : start + _LENGTH_SIZE])
        if start + _LENGTH_SIZE > len(raw) or end > len(raw):
            break
        entries.append(raw[start + _LENGTH_SIZE : end])
        start = end
    if len(entries) != count or start != len(raw):
        raise ParseError("entries_malformed", f"a bundle that should have {count} entries has not, or is cut")
    return entries
