"""The epochs of the counts: ISO weeks, months and quarters, in UTC, by their ISO 8601 names."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from schemas.releases import EPOCH
from server.errors import ParseError

_NAME = re.compile(EPOCH)
_WEEK = re.compile(r"([0-9]{4})-W([0-9]{2})")
_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})")
_QUARTER = re.compile(r"([0-9]{4})-Q([1-4])")


@dataclass(frozen=True)
class Epoch:
    """``start`` is in it, ``end`` is not: whole seconds since 1970. ``name``: 2026-W47, 2026-11 or 2026-Q4."""

    start: int
    end: int
    name: str


def epoch_at(kind: str, time: int) -> Epoch:
    """Return the ``week``, ``month`` or ``quarter`` that ``time`` lies in."""
    moment = datetime.fromtimestamp(time, UTC)
    if kind == "week":
        year, week, _ = moment.isocalendar()
        return parse_epoch(f"{year:04}-W{week:02}")
    if kind == "month":
        return parse_epoch(f"{moment:%Y-%m}")
    return parse_epoch(f"{moment:%Y}-Q{(moment.month + 2) // 3}")


def epochs(kind: str, *, since: int, until: int) -> Iterator[Epoch]:
    """Yield the epochs from the one that ``since`` lies in up to the last that ends at ``until`` or before."""
    epoch = epoch_at(kind, since)
    while epoch.end <= until:
        yield epoch
        epoch = epoch_at(kind, epoch.end)


def parse_epoch(name: str) -> Epoch:
    """Raises ParseError ``epoch_malformed``."""
    try:
        start, end = _bounds(name)
        return Epoch(int(start.timestamp()), int(end.timestamp()), name)
    except (ValueError, OverflowError) as error:
        raise ParseError(
            "epoch_malformed", "an epoch is a week 2026-W47, a month 2026-11 or a quarter 2026-Q4"
        ) from error


def _bounds(name: str) -> tuple[datetime, datetime]:
    if not _NAME.fullmatch(name):
        raise ValueError(name)
    if found := _WEEK.fullmatch(name):
        start = datetime.fromisocalendar(int(found[1]), int(found[2]), 1).replace(tzinfo=UTC)
        return start, start + timedelta(weeks=1)
    if found := _QUARTER.fullmatch(name):
        return _months(int(found[1]), int(found[2]) * 3 - 2, 3)
    if found := _MONTH.fullmatch(name):
        return _months(int(found[1]), int(found[2]), 1)
    raise ValueError(name)


def _months(year: int, month: int, count: int) -> tuple[datetime, datetime]:
    start = datetime(year, month, 1, tzinfo=UTC)
    after = month - 1 + count
    return start, start.replace(year=year + after // 12, month=after % 12 + 1)
