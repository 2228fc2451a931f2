"""Read released figures: sums of cells that were drawn once, and nothing else."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from schemas.releases import EPOCH, TABLE
from server.core.counts import CAMPAIGN_PREFIX, DIMENSIONS, Declared, declaration, half_width
from server.errors import NotFound, ParseError
from server.store import releases
from server.store.releases import NoisySum, Release
from server.usecases.campaigns import find_campaign
from server.usecases.epochs import parse_epoch

_RELEASE_ID = re.compile(f"{TABLE}-{EPOCH}")
MOST_ROWS = 100_000  # of a file; more than any declared table has in fifty years
SMALL = 10  # below, people see "<10"


@dataclass(frozen=True)
class Query:
    """``by``: dimensions of the table, and ``epoch``. ``start``, ``end``: first and last epoch, by name."""

    table: Declared
    by: tuple[str, ...]
    start: str | None = None
    end: str | None = None


@dataclass(frozen=True)
class CountRow:
    """One figure. ``cells``: how many released ones it sums.

    ``obs_status`` (SDMX): ``A``; ``U`` for an unreliable one, which is below 10 or whose interval touches zero. What is
    summed over is ``_T``; a sum over epochs has the range of them, and no release of its own.
    """

    epoch: str
    geo: str
    platform: str
    channel: str
    outcome: str
    value_noisy: int
    ci95_low: int
    ci95_high: int
    obs_status: str
    release_id: str | None
    cells: int


def find_table(connection: Connection, name: str) -> Declared:
    """Return a declared table, or that of a campaign. Raises NotFound ``table_not_found``."""
    if table := declaration().tables.get(name):
        return table
    if name.startswith(CAMPAIGN_PREFIX):
        try:
            return find_campaign(connection, name.removeprefix(CAMPAIGN_PREFIX)).table
        except NotFound as error:
            raise NotFound("table_not_found", "there is no such table") from error
    raise NotFound("table_not_found", "there is no such table")


def find_published(connection: Connection, release_id: str) -> Release:
    """Return a release that was published. Raises NotFound ``release_not_found``."""
    # PostgreSQL does not take every text as a value: NUL, for one.
    found = releases.find_release(connection, release_id) if _RELEASE_ID.fullmatch(release_id) else None
    if found is None or not found.published:
        raise NotFound("release_not_found", "no such release; its epoch may not be over")
    return found


def make_query(table: Declared, *, by: Sequence[str] | None, start: str | None, end: str | None) -> Query:
    """Return a query that ``table`` can answer; ``by`` None: everything it has.

    Raises ParseError: ``dimension_unknown``, also for one named twice; ``epoch_malformed``, also for an epoch of
    another kind.
    """
    offered = ("epoch", *table.dimensions)
    if by is not None and (unknown := [name for name in by if name not in offered]):
        raise ParseError("dimension_unknown", f"{table.name} has no {unknown[0]}; it has {', '.join(offered)}")
    if by is not None and len(set(by)) < len(by):
        raise ParseError("dimension_unknown", "a dimension is named twice")
    for name in (start, end):
        if name is not None and not _is_of(table, name):
            raise ParseError("epoch_malformed", f"{table.name} has a figure for each {table.epoch}; {name} is none")
    return Query(table, offered if by is None else tuple(name for name in offered if name in by), start, end)


def read_counts(connection: Connection, query: Query, *, limit: int, offset: int = 0) -> list[CountRow]:
    """Return the figures in order of epoch and dimensions: the same at every time, once their epochs are released."""
    start = parse_epoch(query.start).start if query.start else None
    end = parse_epoch(query.end).end if query.end else None
    by_epoch = "epoch" in query.by
    found = releases.sum_cells(
        connection, query.table.name, query.by, by_epoch=by_epoch, start=start, end=end, limit=limit, offset=offset
    )
    covered = ""
    if found and not by_epoch:
        first, last = releases.covered_epochs(connection, query.table.name, start=start, end=end)
        covered = first if first == last else f"{first}/{last}"
    return [_row(query.table, each, covered) for each in found]


def read_whole(connection: Connection, query: Query, *, most: int = MOST_ROWS) -> list[CountRow]:
    """Return all figures, for a file that says of itself that it is whole. Raises ParseError ``figures_too_many``."""
    found = read_counts(connection, query, limit=most + 1)
    if len(found) > most:
        raise ParseError("figures_too_many", f"a file has at most {most} rows; ask for fewer epochs with from and to")
    return found


def _is_of(table: Declared, name: str) -> bool:
    parse_epoch(name)
    return {"W": "week", "Q": "quarter"}.get(name[5], "month") == table.epoch


def _row(table: Declared, found: NoisySum, covered: str) -> CountRow:
    width = half_width(table.epsilon, found.cells)
    reliable = found.value >= SMALL and found.value > width
    return CountRow(
        epoch=found.epoch or covered,
        **{name: getattr(found, name) for name in DIMENSIONS},
        value_noisy=found.value,
        ci95_low=found.value - width,
        ci95_high=found.value + width,
        obs_status="A" if reliable else "U",
        release_id=found.release_id,
        cells=found.cells,
    )
