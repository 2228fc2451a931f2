"""The log in the database: head, entries, tiles."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, insert, or_, select, update

from server.core.merkle import TileKey
from server.errors import LogInconsistent
from server.store.rows import insert_rows, stream_rows
from server.store.tables import log_entries, log_head, log_losses, log_tiles

_HEAD_ID = 1


_READ_HEAD = select(*(log_head.c[name] for name in ("origin", "size", "checkpoint", "halted", "newest_at", "sums")))
_LOCK_HEAD = _READ_HEAD.with_for_update()
_MOVE_HEAD = (
    update(log_head)
    .where(log_head.c.size == bindparam("old_size"))
    .values(
        size=bindparam("new_size"),
        checkpoint=bindparam("new_checkpoint"),
        newest_at=bindparam("new_newest_at"),
        sums=bindparam("new_sums"),
    )
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
    """``halted``: why nothing may be signed any more, if so. ``newest_at``: the time of the newest entry, seconds.

    ``sums``: what the rows of some tables add up to, as ``server.core.rowmacs`` writes it.
    """

    origin: str
    size: int
    checkpoint: str
    halted: str | None = None
    newest_at: int = 0
    sums: str = "{}"


def create_head(connection: Connection, head: Head) -> None:
    connection.execute(insert(log_head).values(id=_HEAD_ID, **vars(head)))


def read_head(connection: Connection, *, lock: bool = False) -> Head | None:
    """Return the head, or None before the first start. ``lock`` keeps every other writer out until the commit."""
    row = connection.execute(_LOCK_HEAD if lock else _READ_HEAD).one_or_none()
    return None if row is None else Head(*row)


def count_heads(connection: Connection) -> int:
    """Return how many rows the head's table has, if one of them is the head: 1 where all is well."""
    ids = connection.execute(select(log_head.c.id)).scalars().all()
    return len(ids) if _HEAD_ID in ids else 0


def move_head(connection: Connection, *, old_size: int, size: int, checkpoint: str, newest_at: int, sums: str) -> None:
    """Replace the head if it still has ``old_size``; raises LogInconsistent otherwise."""
    values = {
        "old_size": old_size,
        "new_size": size,
        "new_checkpoint": checkpoint,
        "new_newest_at": newest_at,
        "new_sums": sums,
    }
    moved = connection.execute(_MOVE_HEAD, values)
    if moved.rowcount != 1:
        raise LogInconsistent("log_inconsistent", "the log's head moved under the writer")


def write_nothing(connection: Connection) -> None:
    """Ask the database for a change of no row. One that may only be read refuses (sqlalchemy's OperationalError)."""
    connection.execute(update(log_head).where(log_head.c.id != _HEAD_ID).values(halted=None))


def write_sums(connection: Connection, sums: str) -> None:
    """Replace the sums; the caller has read the head with its lock."""
    connection.execute(update(log_head).values(sums=sums))


def halt(connection: Connection, reason: str) -> None:
    """Keep every writer from signing; the first reason stays."""
    connection.execute(update(log_head).where(log_head.c.halted.is_(None)).values(halted=reason))


def resume(connection: Connection) -> None:
    """Let writers sign again."""
    connection.execute(update(log_head).values(halted=None))


@dataclass(frozen=True)
class Loss:
    """Entries from ``size`` up to, not including, ``signed_size`` were lost; None: nobody knows up to where.

    ``resumed_at``: when the operator went on all the same, seconds.
    """

    size: int
    signed_size: int | None
    resumed_at: int


def insert_loss(connection: Connection, loss: Loss) -> None:
    connection.execute(insert(log_losses).values(**vars(loss)))


def read_losses(connection: Connection) -> list[Loss]:
    return [Loss(*row) for row in connection.execute(select(log_losses).order_by(log_losses.c.resumed_at))]


def insert_entries(connection: Connection, start: int, entries: Sequence[bytes]) -> None:
    insert_rows(connection, log_entries, list(enumerate(entries, start)))


def read_entries_between(connection: Connection, start: int, end: int) -> dict[int, bytes]:
    """Return the entries by index from ``start`` up to, not including, ``end``; those that are there."""
    rows = connection.execute(select(log_entries).where(log_entries.c["index"] >= start, log_entries.c["index"] < end))
    return {row["index"]: row["entry"] for row in rows.mappings()}


def extent_of_entries(connection: Connection) -> tuple[int, int]:
    """Return how many entries are stored, and the highest index; -1 where there is none."""
    count, highest = connection.execute(select(func.count(), func.max(log_entries.c["index"]))).one()
    return count, -1 if highest is None else highest


def stream_indexes_outside(connection: Connection, start: int, end: int) -> Iterator[int]:
    """Yield the index of each entry below ``start``, or at ``end`` or beyond, in order."""
    index = log_entries.c["index"]
    query = select(index).where(or_(index < start, index >= end)).order_by(index)
    return (found for (found,) in stream_rows(connection, query))


def read_entry_range(connection: Connection, start: int, end: int) -> list[bytes]:
    """Return the entries from ``start`` up to, not including, ``end``."""
    rows = connection.execute(_READ_RANGE, {"from_index": start, "to_index": end})
    return [entry for (entry,) in rows]


def read_tile(connection: Connection, level: int, number: int) -> bytes:
    """Return a tile's hashes, or nothing when the log has no such tile."""
    return connection.execute(_READ_TILE, {"of_level": level, "of_number": number}).scalar_one_or_none() or b""


def read_tile_keys(connection: Connection) -> Iterator[TileKey]:
    """Yield level and number of each tile, in order, without holding all of them in memory."""
    query = select(log_tiles.c.level, log_tiles.c.number).order_by(log_tiles.c.level, log_tiles.c.number)
    return stream_rows(connection, query)


def has_tiles(connection: Connection) -> bool:
    return connection.execute(select(log_tiles.c.level).limit(1)).first() is not None


def write_tiles(connection: Connection, tiles: Mapping[TileKey, bytes]) -> None:
    """Store ``tiles``; those that the log has already are replaced by their longer selves."""
    for (level, number), hashes in tiles.items():
        replaced = connection.execute(_REPLACE_TILE, {"of_level": level, "of_number": number, "new_hashes": hashes})
        if replaced.rowcount == 0:
            connection.execute(insert(log_tiles).values(level=level, number=number, hashes=hashes))
