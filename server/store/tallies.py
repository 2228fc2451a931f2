"""What is counted, until it is released: one row a counted objection, and who was counted for ever."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    null,
    select,
    update,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from server.store.rows import insert_rows, select_rows, stream_rows
from server.store.tables import admitted_bursts, contributions, counted_holders, counting, records

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


class Bucket(NamedTuple):
    """Registrations that are looked at together. ``hour``: its start."""

    hour: int
    country: str
    platform: str
    channel: str


@dataclass(frozen=True)
class Burst:
    """More registrations of one hour, country, platform and channel than are counted unseen.

    ``campaign``: in whose table; None for the tables of everybody. ``admitted``: why. ``usual``: the mean of that
    country, platform and channel, in the same tables, over its other hours with any.
    """

    bucket: Bucket
    campaign: str | None
    registrations: int
    cap: int
    admitted: str | None
    usual: int


def hour_of(time: int) -> int:
    """Return the start of the hour that ``time`` lies in."""
    return time - time % 3600


def create_counting(connection: Connection, *, since: int, budget_sha256: bytes) -> None:
    connection.execute(insert(counting).values(id=1, since=since, closed_until=since, budget_sha256=budget_sha256))


def read_budget(connection: Connection) -> bytes | None:
    """Return the hash of the tables and epsilons that are counted by; None where none was stored yet."""
    budget_sha256: bytes | None = connection.execute(select(counting.c.budget_sha256)).scalar_one()
    return budget_sha256


def write_budget(connection: Connection, budget_sha256: bytes) -> None:
    connection.execute(update(counting).values(budget_sha256=budget_sha256))


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


def find_contribution(connection: Connection, receipt_sha256: bytes) -> Contribution | None:
    """Return what an objection counts for; None where it is not counted, or was released and forgotten."""
    theirs = contributions.c.receipt_sha256 == receipt_sha256
    row = connection.execute(select(contributions).where(theirs)).one_or_none()
    return None if row is None else Contribution(*row)


def change_contribution(connection: Connection, changed: Contribution) -> None:
    """Store a contribution that is there already as it is now."""
    theirs = contributions.c.receipt_sha256 == changed.receipt_sha256
    connection.execute(update(contributions).where(theirs).values(vars(changed)))


def delete_contribution(connection: Connection, receipt_sha256: bytes) -> None:
    """Take an erased objection out of what is still to be counted. That its holder was counted stays known."""
    connection.execute(delete(contributions).where(contributions.c.receipt_sha256 == receipt_sha256))


def forget_before(connection: Connection, hour: int, *, limit: int) -> list[Contribution]:
    """Delete up to ``limit`` contributions of earlier hours, and return them. Why bursts counted is kept."""
    found = connection.execute(select(contributions).where(contributions.c.hour < hour).limit(limit))
    forgotten = [Contribution(*row) for row in found]
    theirs = contributions.c.receipt_sha256.in_([each.receipt_sha256 for each in forgotten])
    connection.execute(delete(contributions).where(theirs))
    return forgotten


def stream_stray_contributions(connection: Connection) -> Iterator[bytes]:
    """Yield the receipt's hash of each contribution of which no objection is stored."""
    query = (
        select(contributions.c.receipt_sha256)
        .outerjoin(records, records.c.receipt_sha256 == contributions.c.receipt_sha256)
        .where(func.coalesce(records.c.kind, "") != "objection")
        .order_by(contributions.c.receipt_sha256)
    )
    return (receipt_sha256 for (receipt_sha256,) in stream_rows(connection, query))


def count_cells(
    connection: Connection,
    dimensions: Sequence[str],
    *,
    start: int,
    end: int,
    campaign: str | None,
    caps: Mapping[str, int],
) -> dict[tuple[str, ...], int]:
    """Return the counts of the cells that have any, for the hours from ``start`` up to, not including, ``end``.

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
    """Return what is over its cap: among everybody's registrations, then among each campaign's, in order of time."""
    return [burst for counted_in in (_GENERAL, _IN_CAMPAIGN) for burst in _bursts(connection, counted_in, caps)]


def find_bursts_of(connection: Connection, bucket: Bucket, *, cap: int) -> dict[str | None, int]:
    """Return how many registrations ``bucket`` has where that is over ``cap``: by campaign, None for everybody's.

    Quick, however many contributions there are: it keeps the log waiting.
    """
    here = and_(*(column == value for column, value in zip(_BUCKET, bucket, strict=True)))
    found: dict[str | None, int] = {}
    for counted_in in (_GENERAL, _IN_CAMPAIGN):
        query = select(counted_in.campaign, func.count()).where(here, counted_in.condition)
        for campaign, registrations in connection.execute(
            query.group_by(*counted_in.grouped).having(func.count() > cap)
        ):
            found[campaign] = registrations
    return found


@dataclass(frozen=True)
class _CountedIn:
    """Which contributions are counted together. ``campaign``: what to select as their campaign."""

    condition: ColumnElement[bool]
    campaign: ColumnElement[Any]
    grouped: tuple[ColumnElement[Any], ...]


_GENERAL = _CountedIn(contributions.c.in_general, null(), ())
_IN_CAMPAIGN = _CountedIn(contributions.c.campaign.is_not(None), contributions.c.campaign, (contributions.c.campaign,))


def _bursts(connection: Connection, counted_in: _CountedIn, caps: Mapping[str, int]) -> list[Burst]:
    buckets = (
        select(*_BUCKET, counted_in.campaign.label("campaign"), func.count().label("registrations"))
        .where(counted_in.condition)
        .group_by(*_BUCKET, *counted_in.grouped)
        .subquery()
    )
    place = (buckets.c.country, buckets.c.platform, buckets.c.channel, buckets.c.campaign)
    with_place = select(
        buckets,
        func.sum(buckets.c.registrations).over(partition_by=place).label("in_place"),
        func.count().over(partition_by=place).label("hours"),
    ).subquery()
    cap = case(dict(caps), value=with_place.c.country)
    reason = select(admitted_bursts.c.reason).where(_same_bucket(with_place.c)).scalar_subquery()
    query = select(with_place, cap.label("cap"), reason.label("admitted")).where(with_place.c.registrations > cap)
    return [
        Burst(
            bucket=Bucket(row.hour, row.country, row.platform, row.channel),
            campaign=row.campaign,
            registrations=row.registrations,
            cap=row.cap,
            admitted=row.admitted,
            usual=round((row.in_place - row.registrations) / (row.hours - 1)) if row.hours > 1 else 0,
        )
        for row in connection.execute(query.order_by(*(with_place.c[column.name] for column in _BUCKET)))
    ]


def find_admission(connection: Connection, bucket: Bucket) -> str | None:
    """Return why the operator admitted ``bucket``; None where nobody did."""
    here = and_(*(admitted_bursts.c[name] == value for name, value in bucket._asdict().items()))
    return connection.execute(select(admitted_bursts.c.reason).where(here)).scalar_one_or_none()


def admit_burst(connection: Connection, bucket: Bucket, *, reason: str, now: int) -> None:
    """Have all registrations of ``bucket`` counted. ``reason``: why the operator takes them for genuine."""
    connection.execute(insert(admitted_bursts).values(**bucket._asdict(), reason=reason, admitted_at=now))


def _is_admitted(bucket: ReadOnlyColumns) -> ColumnElement[bool]:
    return exists().where(_same_bucket(bucket))


def _same_bucket(bucket: ReadOnlyColumns) -> ColumnElement[bool]:
    return and_(*(admitted_bursts.c[column.name] == bucket[column.name] for column in _BUCKET))
