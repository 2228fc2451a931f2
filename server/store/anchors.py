"""What others said about the log's checkpoints: cosignatures, time tokens, and how far each witness has seen."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from server.store.rows import stream_rows
from server.store.tables import anchored_checkpoints, time_tokens, witness_states


@dataclass(frozen=True)
class TimeToken:
    """A DER TimeStampToken over the bytes of its checkpoint's note."""

    token: bytes
    stamped_at: int


@dataclass(frozen=True)
class AnchoredCheckpoint:
    """A checkpoint as it was stamped, and its ``tokens`` by authority.

    ``vouchers``: ids of those who cosigned or stamped it.
    """

    size: int
    note: str
    tokens: Mapping[str, TimeToken]
    vouchers: frozenset[str]

    @property
    def values_under_mac(self) -> list[bytes | str | int | None]:
        """What the check value of an anchored checkpoint covers: its row, and the rows of its tokens."""
        tokens = [value for name, each in sorted(self.tokens.items()) for value in (name, *vars(each).values())]
        return [self.size, self.note, _format_vouchers(self.vouchers), *tokens]


def insert_anchored(connection: Connection, anchored: AnchoredCheckpoint, *, mac: bytes) -> None:
    """Store a checkpoint that was not anchored before, with its tokens; ``mac`` over its ``values_under_mac``."""
    values = {"size": anchored.size, "note": anchored.note, "mac": mac}
    values["vouchers"] = _format_vouchers(anchored.vouchers)
    connection.execute(insert(anchored_checkpoints).values(values))
    _insert_tokens(connection, anchored.size, anchored.tokens)


def insert_tokens(
    connection: Connection, size: int, tokens: Mapping[str, TimeToken], *, vouchers: frozenset[str], mac: bytes
) -> None:
    """Add ``tokens`` to a stored checkpoint; ``vouchers``: all who vouch for it then; ``mac`` over what it is then."""
    _insert_tokens(connection, size, tokens)
    changed = update(anchored_checkpoints).where(anchored_checkpoints.c.size == size)
    connection.execute(changed.values(vouchers=_format_vouchers(vouchers), mac=mac))


def newest_anchored(connection: Connection) -> AnchoredCheckpoint | None:
    query = select(anchored_checkpoints).order_by(anchored_checkpoints.c.size.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else _read_anchored(connection, row)


def find_covering(connection: Connection, index: int) -> list[tuple[int, frozenset[str]]]:
    """Return the smallest anchored checkpoint that covers leaf ``index`` for each set of vouchers: size and vouchers.

    The smallest comes first. One step in the index finds the next set, however many checkpoints have the same.
    """
    column = anchored_checkpoints.c.vouchers
    first = select(column).order_by(column).limit(1).scalar_subquery()
    known = select(first.label("vouchers")).cte("known", recursive=True)
    further = select(column).where(column > known.c.vouchers).order_by(column).limit(1).scalar_subquery()
    known = known.union_all(select(further).where(known.c.vouchers.is_not(None)))
    covers = (column == known.c.vouchers) & (anchored_checkpoints.c.size > index)
    smallest = select(func.min(anchored_checkpoints.c.size)).where(covers).scalar_subquery().label("size")
    rows = connection.execute(select(known.c.vouchers, smallest).where(known.c.vouchers.is_not(None)))
    return sorted((int(row.size), frozenset(row.vouchers.split(" "))) for row in rows if row.size is not None)


def read_anchored(connection: Connection, size: int) -> AnchoredCheckpoint:
    row = connection.execute(select(anchored_checkpoints).where(anchored_checkpoints.c.size == size)).one()
    return _read_anchored(connection, row)


def stream_anchored(connection: Connection) -> Iterator[tuple[AnchoredCheckpoint, bytes]]:
    """Yield every anchored checkpoint and its check value, the smallest first, without holding them in memory."""
    query = select(anchored_checkpoints).order_by(anchored_checkpoints.c.size)
    for size, note, mac, vouchers in stream_rows(connection, query):
        tokens = _read_tokens(connection, size)
        yield AnchoredCheckpoint(size, note, tokens, frozenset(vouchers.split(" "))), mac


def stream_stray_tokens(connection: Connection) -> Iterator[int]:
    """Yield the size that each time token names of which no anchored checkpoint is stored."""
    query = (
        select(time_tokens.c.size)
        .outerjoin(anchored_checkpoints, anchored_checkpoints.c.size == time_tokens.c.size)
        .where(anchored_checkpoints.c.size.is_(None))
        .order_by(time_tokens.c.size)
    )
    return (size for (size,) in stream_rows(connection, query))


def last_stamps(connection: Connection) -> dict[str, int]:
    """Return by authority when it last stamped for us."""
    query = select(time_tokens.c.authority, func.max(time_tokens.c.stamped_at)).group_by(time_tokens.c.authority)
    return {row[0]: row[1] for row in connection.execute(query)}


def read_witness_size(connection: Connection, name: str) -> int:
    """Return up to which size a witness has seen the log, as far as we know; 0 when it has not."""
    query = select(witness_states.c.size).where(witness_states.c.name == name)
    return connection.execute(query).scalar_one_or_none() or 0


def write_witness_size(connection: Connection, name: str, size: int) -> None:
    changed = connection.execute(update(witness_states).where(witness_states.c.name == name).values(size=size))
    if changed.rowcount == 0:
        connection.execute(insert(witness_states).values(name=name, size=size))


def _insert_tokens(connection: Connection, size: int, tokens: Mapping[str, TimeToken]) -> None:
    rows = [{"size": size, "authority": name, **vars(token)} for name, token in tokens.items()]
    connection.execute(insert(time_tokens), rows)


def _read_anchored(connection: Connection, row: Row[Any]) -> AnchoredCheckpoint:
    return AnchoredCheckpoint(
        row.size, row.note, _read_tokens(connection, row.size), frozenset(row.vouchers.split(" "))
    )


def _format_vouchers(vouchers: frozenset[str]) -> str:
    return " ".join(sorted(vouchers))


def _read_tokens(connection: Connection, size: int) -> dict[str, TimeToken]:
    query = select(time_tokens).where(time_tokens.c.size == size).order_by(time_tokens.c.authority)
    return {row.authority: TimeToken(row.token, row.stamped_at) for row in connection.execute(query)}
