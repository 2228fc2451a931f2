"""The log in the database: head, entries, tiles."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from server.core.merkle import TileKey
from server.errors import LogInconsistent
from server.store.tables import log_entries, log_head, log_tiles

_HEAD_ID = 1


@dataclass(frozen=True)
class Head:
    origin: str
    size: int
    checkpoint: str


def create_head(connection: Connection, head: Head) -> None:
    connection.execute(
        insert(log_head).values(id=_HEAD_ID, origin=head.origin, size=head.size, checkpoint=head.checkpoint)
    )


def read_head(connection: Connection, *, lock: bool = False) -> Head | None:
    """Return the head, or None before the first start. ``lock`` keeps every other writer out until the commit."""
    query = select(log_head.c.origin, log_head.c.size, log_head.c.checkpoint)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else Head(row.origin, row.size, row.checkpoint)


def move_head(connection: Connection, *, old_size: int, size: int, checkpoint: str) -> None:
    """Replace the head if it still has ``old_size``; raises LogInconsistent otherwise."""
    moved = connection.execute(
        update(log_head).where(log_head.c.size == old_size).values(size=size, checkpoint=checkpoint)
    )
    if moved.rowcount != 1:
        raise LogInconsistent("log_inconsistent", "the log's head moved under the writer")


def insert_entries(connection: Connection, start: int, entries: Sequence[bytes]) -> None:
    connection.execute(
        insert(log_entries), [{"index": start + offset, "entry": entry} for offset, entry in enumerate(entries)]
    )


def read_entries(connection: Connection, *, batch_rows: int = 4096) -> Iterator[tuple[int, bytes]]:
    """Yield (index, entry) of the whole log in order, without holding it in memory."""
    query = select(log_entries.c["index"], log_entries.c.entry).order_by(log_entries.c["index"])
    rows = connection.execution_options(yield_per=batch_rows).execute(query)
    for index, entry in rows:
        yield index, entry


def read_tile(connection: Connection, level: int, number: int) -> bytes:
    """Return a tile's hashes, or nothing when the log has no such tile."""
    query = select(log_tiles.c.hashes).where(log_tiles.c.level == level, log_tiles.c.number == number)
    return connection.execute(query).scalar_one_or_none() or b""


def read_tile_keys(connection: Connection) -> set[TileKey]:
    return {(level, number) for level, number in connection.execute(select(log_tiles.c.level, log_tiles.c.number))}


def write_tiles(connection: Connection, tiles: Mapping[TileKey, bytes]) -> None:
    """Store ``tiles``; those that the log has already are replaced by their longer selves."""
    for (level, number), hashes in tiles.items():
        replaced = connection.execute(
            update(log_tiles).where(log_tiles.c.level == level, log_tiles.c.number == number).values(hashes=hashes)
        )
        if replaced.rowcount == 0:
            connection.execute(insert(log_tiles).values(level=level, number=number, hashes=hashes))
