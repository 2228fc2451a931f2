"""The log in the database: head, entries, tiles."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, select, update

from server.core.merkle import TileKey
from server.errors import LogInconsistent
from server.store.rows import insert_rows
from server.store.tables import log_entries, log_head, log_tiles

_HEAD_ID = 1


_READ_HEAD = select(log_head.c.origin, log_head.c.size, log_head.c.checkpoint, log_head.c.halted)
_LOCK_HEAD = _READ_HEAD.with_for_update()
_MOVE_HEAD = (
    update(log_head)
    .where(log_head.c.size == bindparam("old_size"))
    .values(size=bindparam("new_size"), checkpoint=bindparam("new_checkpoint"))
)
_READ_RANGE = (
    select(log_entries.c.entry)
    .where(log_entries.c["index"] >= bindparam("from_index"), log_entries.c["index"] < bindparam("to_index"))
    .order_by(log_entries.c["index"])
)
_THIS_TILE = (log_tiles.c.level == bindparam("of_level")) & (log_tiles.c.number == bindparam("of_number"))
_READ_TILE = select(log_tiles.c.hashes).where(_THIS_TILE)
_REPLACE_TILE = update(log_tiles).where(_THIS_TILE).values(hashes=bindparam("new_hashes"))


@dataclass(frozen=True)
class Head:
    """``halted``: why nothing may be signed any more, if so."""

    origin: str
    size: int
    checkpoint: str
    halted: str | None = None


def create_head(connection: Connection, head: Head) -> None:
    connection.execute(
        insert(log_head).values(id=_HEAD_ID, origin=head.origin, size=head.size, checkpoint=head.checkpoint)
    )


def read_head(connection: Connection, *, lock: bool = False) -> Head | None:
    """Return the head, or None before the first start. ``lock`` keeps every other writer out until the commit."""
    row = connection.execute(_LOCK_HEAD if lock else _READ_HEAD).one_or_none()
    return None if row is None else Head(row.origin, row.size, row.checkpoint, row.halted)


def move_head(connection: Connection, *, old_size: int, size: int, checkpoint: str) -> None:
    """Replace the head if it still has ``old_size``; raises LogInconsistent otherwise."""
    values = {"old_size": old_size, "new_size": size, "new_checkpoint": checkpoint}
    moved = connection.execute(_MOVE_HEAD, values)
    if moved.rowcount != 1:
        raise LogInconsistent("log_inconsistent", "the log's head moved under the writer")


def write_nothing(connection: Connection) -> None:
    """Ask the database for a change of no row. One that may only be read refuses (sqlalchemy's OperationalError)."""
    connection.execute(update(log_head).where(log_head.c.id != _HEAD_ID).values(halted=None))


def halt(connection: Connection, reason: str) -> None:
    """Keep every writer from signing; the first reason stays."""
    connection.execute(update(log_head).where(log_head.c.halted.is_(None)).values(halted=reason))


def insert_entries(connection: Connection, start: int, entries: Sequence[bytes]) -> None:
    insert_rows(connection, log_entries, list(enumerate(entries, start)))


def read_entries(connection: Connection, *, batch_rows: int = 4096) -> Iterator[tuple[int, bytes]]:
    """Yield (index, entry) of the whole log in order, without holding it in memory."""
    query = select(log_entries.c["index"], log_entries.c.entry).order_by(log_entries.c["index"])
    rows = connection.execution_options(yield_per=batch_rows).execute(query)
    yield from ((index, entry) for index, entry in rows)


def read_entry_range(connection: Connection, start: int, end: int) -> list[bytes]:
    """Return the entries from ``start`` up to, not including, ``end``."""
    rows = connection.execute(_READ_RANGE, {"from_index": start, "to_index": end})
    return [entry for (entry,) in rows]


def read_tile(connection: Connection, level: int, number: int) -> bytes:
    """Return a tile's hashes, or nothing when the log has no such tile."""
    return connection.execute(_READ_TILE, {"of_level": level, "of_number": number}).scalar_one_or_none() or b""


def read_tile_keys(connection: Connection) -> set[TileKey]:
    return {(level, number) for level, number in connection.execute(select(log_tiles.c.level, log_tiles.c.number))}


def write_tiles(connection: Connection, tiles: Mapping[TileKey, bytes]) -> None:
    """Store ``tiles``; those that the log has already are replaced by their longer selves."""
    for (level, number), hashes in tiles.items():
        replaced = connection.execute(_REPLACE_TILE, {"of_level": level, "of_number": number, "new_hashes": hashes})
        if replaced.rowcount == 0:
            connection.execute(insert(log_tiles).values(level=level, number=number, hashes=hashes))
