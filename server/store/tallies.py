"""What is counted, until it is released: one row a counted objection, and who was counted for ever."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    case,
    delete,
    distinct,
    exists,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from server.store.rows import insert_rows, select_rows
from server.store.tables import admitted_bursts, contributions, counted_holders, counting

ReadOnlyColumns = ReadOnlyColumnCollection[str, Any]

_BUCKET = (contributions.c.hour, contributions.c.country, contributions.c.platform, contributions.c.channel)


@dataclass(frozen=True)
class Counting:
    """``since``: when counting began. Nothing is counted any more for a time before ``closed_until``."""

    since: int
    closed_until: int


@dataclass(frozen=True)
class Contribution:
    """A counted objection. ``hour``: the start of the hour that it counts for."""

    receipt_sha256: bytes
    hour: int
    country: str
    platform: str
    channel: str
    outcome: str
    in_general: bool
    campaign: str | None


@dataclass(frozen=True)
class Burst:
    """More registrations of one hour, country, platform and channel than are counted unseen.

    ``usual``: the mean of that country, platform and channel over its other hours with any. ``admitted``: why.
    """

    hour: int
    country: str
    platform: str
    channel: str
    registrations: int
    cap: int
    admitted: str | None
    usual: int


def hour_of(time: int) -> int:
    """Return the start of the hour that ``time`` lies in."""
    return time - time % 3600


def create_counting(connection: Connection, *, since: int) -> None:
    connection.execute(insert(counting).values(id=1, since=since, closed_until=since))


def read_counting(connection: Connection) -> Counting:
    return Counting(*connection.execute(select(counting.c.since, counting.c.closed_until)).one())


def close_until(connection: Connection, end: int) -> None:
    """Have nothing counted any more for a time before ``end``."""
    connection.execute(update(counting).where(counting.c.closed_until < end).values(closed_until=end))


def find_marks(connection: Connection, marks: Sequence[bytes]) -> set[bytes]:
    """Return those of ``marks`` that were counted before."""
    return {row.mark for row in select_rows(connection, counted_holders, {counted_holders.c.mark: marks})}


def insert_contributions(connection: Connection, marks: Collection[bytes], counted: Sequence[Contribution]) -> None:
    insert_rows(connection, counted_holders, [(mark,) for mark in sorted(marks)])
    insert_rows(connection, contributions, [vars(contribution).values() for contribution in counted])


def write_outcome(connection: Connection, receipt_sha256: bytes, outcome: str) -> None:
    """Note what became of an objection; what was withdrawn stays so."""
    theirs = (contributions.c.receipt_sha256 == receipt_sha256) & (contributions.c.outcome != "withdrawn")
    connection.execute(update(contributions).where(theirs).values(outcome=outcome))


def leave_campaign(connection: Connection, receipt_sha256: bytes) -> bool:
    """Take an objection out of its campaign's count; return False when it was in none that is still open."""
    theirs = and_(
        contributions.c.receipt_sha256 == receipt_sha256,
        contributions.c.campaign.is_not(None),
        contributions.c.hour >= select(counting.c.closed_until).scalar_subquery(),
    )
    return connection.execute(update(contributions).where(theirs).values(campaign=None)).rowcount > 0


def delete_contribution(connection: Connection, receipt_sha256: bytes) -> None:
    """Take an erased objection out of what is still to be counted. That its holder was counted stays known."""
    connection.execute(delete(contributions).where(contributions.c.receipt_sha256 == receipt_sha256))


def forget_before(connection: Connection, hour: int, *, limit: int) -> bool:
    """Delete up to ``limit`` contributions of earlier hours, and their admissions; tell if there may be more."""
    some = select(contributions.c.receipt_sha256).where(contributions.c.hour < hour).limit(limit)
    deleted = connection.execute(delete(contributions).where(contributions.c.receipt_sha256.in_(some))).rowcount
    connection.execute(delete(admitted_bursts).where(admitted_bursts.c.hour < hour))
    return deleted == limit


def count_cells(
    connection: Connection,
    dimensions: Sequence[str],
    *,
    start: int,
    end: int,
    campaign: str | None,
    caps: Mapping[str, int],
) -> dict[tuple[str, ...], int]:
    """Return the true counts of the cells that have any, for the hours from ``start`` up to, not including, ``end``.

    Of an hour, country, platform and channel (and outcome, where a table has that) at most ``caps[country]`` count,
    unless the operator admitted them: so one objection more or less still changes one cell only, and by one at most.
    """
    columns = {
        "geo": contributions.c.country,
        "platform": contributions.c.platform,
        "channel": contributions.c.channel,
        "outcome": contributions.c.outcome,
    }
    broken_down = [columns[dimension] for dimension in dimensions]
    bucket = dict.fromkeys([*_BUCKET, *broken_down])
    counted_in = contributions.c.in_general if campaign is None else contributions.c.campaign == campaign
    buckets = (
        select(*bucket, func.count().label("registrations"))
        .where(contributions.c.hour >= start, contributions.c.hour < end, counted_in)
        .group_by(*bucket)
        .subquery()
    )
    cap = case(dict(caps), value=buckets.c.country)
    counted = case(
        (_is_admitted(buckets.c), buckets.c.registrations),
        (buckets.c.registrations > cap, cap),
        else_=buckets.c.registrations,
    )
    cell = [buckets.c[column.name] for column in broken_down]
    rows = connection.execute(select(*cell, func.sum(counted)).group_by(*cell))
    return {tuple(row[:-1]): int(row[-1]) for row in rows if row[-1] is not None}


def find_bursts(connection: Connection, *, caps: Mapping[str, int]) -> list[Burst]:
    """Return what is over its cap among all that is still to be released, in order of time."""
    cap = case(dict(caps), value=contributions.c.country)
    reason = select(admitted_bursts.c.reason).where(_same_bucket(contributions.c)).scalar_subquery()
    columns = (func.count().label("registrations"), cap.label("cap"), reason.label("admitted"))
    query = select(*_BUCKET, *columns).group_by(*_BUCKET).having(func.count() > cap)
    bursts = connection.execute(query.order_by(*_BUCKET)).all()
    return [Burst(**row._mapping, usual=_usual(connection, row)) for row in bursts]


def _usual(connection: Connection, burst: Row[Any]) -> int:
    others = select(func.count(), func.count(distinct(contributions.c.hour))).where(
        contributions.c.hour != burst.hour,
        contributions.c.country == burst.country,
        contributions.c.platform == burst.platform,
        contributions.c.channel == burst.channel,
    )
    registrations, hours = connection.execute(others).one()
    return round(registrations / hours) if hours else 0


def admit_burst(
    connection: Connection, *, hour: int, country: str, platform: str, channel: str, reason: str, now: int
) -> None:
    """Have all registrations of a burst counted. ``reason``: why the operator takes them for genuine."""
    bucket = {"hour": hour, "country": country, "platform": platform, "channel": channel}
    connection.execute(insert(admitted_bursts).values(**bucket, reason=reason, admitted_at=now))


def _is_admitted(bucket: ReadOnlyColumns) -> ColumnElement[bool]:
    return exists().where(_same_bucket(bucket))


def _same_bucket(bucket: ReadOnlyColumns) -> ColumnElement[bool]:
    return and_(*(admitted_bursts.c[column.name] == bucket[column.name] for column in _BUCKET))
