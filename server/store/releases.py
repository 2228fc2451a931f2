"""Released figures: drawn once, signed, and kept as they were drawn."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from server.core.counts import DIMENSIONS, TOTAL
from server.store.rows import stream_rows
from server.store.tables import released_cells, releases

_DIMENSIONS = tuple(released_cells.c[name] for name in DIMENSIONS)


@dataclass(frozen=True)
class Release:
    """One table for one epoch, from ``starts_at`` up to, not including, ``ends_at``. ``signed``: the JWS."""

    id: str
    table_name: str
    epoch: str
    starts_at: int
    ends_at: int
    drawn_at: int
    signed: str
    published: bool


@dataclass(frozen=True)
class NoisySum:
    """The sum of ``cells`` released cells. Where nothing is broken down by a dimension, it is ``_T``."""

    geo: str
    platform: str
    channel: str
    outcome: str
    epoch: str | None
    release_id: str | None
    value: int
    cells: int


def insert_release(connection: Connection, release: Release, cells: Mapping[tuple[str, ...], int]) -> None:
    """Store a draw. ``cells``: noisy values by (geo, platform, channel, outcome).

    Raises IntegrityError rather than store a second draw of a table's epoch.
    """
    connection.execute(insert(releases).values(asdict(release)))
    connection.execute(
        insert(released_cells),
        [
            {"table_name": release.table_name, "starts_at": release.starts_at, "value": value}
            | dict(zip(DIMENSIONS, cell, strict=True))
            for cell, value in cells.items()
        ],
    )


def mark_published(connection: Connection, release_id: str) -> None:
    connection.execute(update(releases).where(releases.c.id == release_id).values(published=True))


def find_release(connection: Connection, release_id: str) -> Release | None:
    row = connection.execute(select(releases).where(releases.c.id == release_id)).one_or_none()
    return None if row is None else Release(*row)


def find_unpublished(connection: Connection) -> list[Release]:
    query = select(releases).where(~releases.c.published).order_by(releases.c.starts_at)
    return [Release(*row) for row in connection.execute(query)]


def read_published(connection: Connection) -> list[Release]:
    return [Release(*row) for row in connection.execute(select(releases).where(releases.c.published))]


def stream_drawn(connection: Connection) -> Iterator[tuple[str, str]]:
    """Yield id and JWS of all releases, in no order, without holding them in memory."""
    rows = stream_rows(connection, select(releases.c.id, releases.c.signed))
    return ((release_id, signed) for release_id, signed in rows)


def stream_releases(connection: Connection) -> Iterator[Release]:
    return (Release(*row) for row in stream_rows(connection, select(releases).order_by(releases.c.id)))


def read_cells(connection: Connection, release: Release) -> dict[tuple[str, ...], int]:
    """Return the stored values of a release by (geo, platform, channel, outcome)."""
    theirs = (released_cells.c.table_name == release.table_name) & (released_cells.c.starts_at == release.starts_at)
    rows = connection.execute(select(*_DIMENSIONS, released_cells.c.value).where(theirs))
    return {tuple(row[:-1]): row[-1] for row in rows}


def stream_stray_cells(connection: Connection) -> Iterator[str]:
    """Yield, once each, the table and start of released cells that belong to no release."""
    of_release = (releases.c.table_name == released_cells.c.table_name) & (
        releases.c.starts_at == released_cells.c.starts_at
    )
    query = (
        select(released_cells.c.table_name, released_cells.c.starts_at)
        .distinct()
        .outerjoin(releases, of_release)
        .where(releases.c.id.is_(None))
        .order_by(released_cells.c.table_name, released_cells.c.starts_at)
    )
    return (f"{table_name} from {starts_at}" for table_name, starts_at in stream_rows(connection, query))


def is_released(connection: Connection, table_name: str, *, starts_at: int) -> bool:
    """Tell whether the epoch of ``table_name`` that begins at ``starts_at`` has a draw."""
    theirs = (releases.c.table_name == table_name) & (releases.c.starts_at == starts_at)
    return connection.execute(select(releases.c.id).where(theirs)).one_or_none() is not None


def released_starts(connection: Connection, table_name: str) -> set[int]:
    """Return the starts of the epochs of which ``table_name`` has a draw."""
    query = select(releases.c.starts_at).where(releases.c.table_name == table_name)
    return set(connection.execute(query).scalars())


def list_releases(connection: Connection, tables: Sequence[str], *, limit: int, offset: int = 0) -> list[Release]:
    """Return the published releases of ``tables``, the newest first."""
    query = (
        select(releases)
        .where(releases.c.table_name.in_(tables), releases.c.published)
        .order_by(releases.c.ends_at.desc(), releases.c.id)
    )
    return [Release(*row) for row in connection.execute(query.limit(limit).offset(offset))]


def sum_cells(
    connection: Connection,
    table_name: str,
    by: Sequence[str],
    *,
    by_epoch: bool,
    start: int | None,
    end: int | None,
    limit: int,
    offset: int = 0,
) -> list[NoisySum]:
    """Return sums of published cells, broken down ``by`` dimensions, of epochs from ``start`` up to ``end``."""
    dimensions = {column.name: column for column in _DIMENSIONS if column.name in by}
    epoch = [releases.c.starts_at, releases.c.epoch, releases.c.id] if by_epoch else []
    query = (
        select(*epoch, *dimensions.values(), func.sum(released_cells.c.value), func.count())
        .join_from(
            released_cells,
            releases,
            (releases.c.table_name == released_cells.c.table_name)
            & (releases.c.starts_at == released_cells.c.starts_at),
        )
        .where(*_published(table_name, start, end))
        .group_by(*epoch, *dimensions.values())
        .having(func.count() > 0)  # the sum over nothing is no row
        .order_by(*epoch[:1], *dimensions.values())
        .limit(limit)
        .offset(offset)
    )
    sums = []
    for row in connection.execute(query):
        *keys, value, cells = row
        named = dict(zip(dimensions, keys[len(epoch) :], strict=True))
        of_epoch, release_id = (keys[1], keys[2]) if by_epoch else (None, None)
        sums.append(
            NoisySum(
                **{name: named.get(name, TOTAL) for name in DIMENSIONS},
                epoch=of_epoch,
                release_id=release_id,
                value=int(value),
                cells=cells,
            )
        )
    return sums


def covered_epochs(connection: Connection, table_name: str, *, start: int | None, end: int | None) -> tuple[str, str]:
    """Return the first and the last published epoch of a table from ``start`` up to ``end``, by name."""
    query = select(releases.c.epoch).where(*_published(table_name, start, end)).order_by(releases.c.starts_at)
    names = connection.execute(query).scalars().all()
    return names[0], names[-1]


def _published(table_name: str, start: int | None, end: int | None) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [releases.c.table_name == table_name, releases.c.published]
    if start is not None:
        conditions.append(releases.c.starts_at >= start)
    if end is not None:
        conditions.append(releases.c.ends_at <= end)
    return conditions
