"""Bursts: registrations over their cap, which count only once an operator has looked and found them genuine."""

from dataclasses import dataclass

from sqlalchemy import Connection

from server.core.counts import declaration
from server.errors import Conflict, NotFound
from server.store import releases, tallies
from server.store.tallies import Bucket, Burst
from server.usecases.campaigns import find_campaign
from server.usecases.epochs import epoch_at
from server.usecases.register import Stored
from server.usecases.row_sums import changing_sums

_MAX_REASON = 400
_HOUR_S = 3600


@dataclass(frozen=True)
class OpenBurst:
    """A burst that can still be counted. ``tables``: those that have not released its hour."""

    burst: Burst
    tables: tuple[str, ...]


@dataclass(frozen=True)
class Admitted:
    """``registrations`` that all count in ``tables``."""

    registrations: int
    tables: tuple[str, ...]


def find_bursts(connection: Connection) -> list[OpenBurst]:
    """Return what is over its cap and not yet released by every table that it belongs to."""
    found = tallies.find_bursts(connection, caps=declaration().burst_caps)
    bursts = [OpenBurst(burst, _open_tables(connection, burst.bucket.hour, burst.campaign)) for burst in found]
    return [each for each in bursts if each.tables]


def admit_burst(stored_in: Stored, bucket: Bucket, *, reason: str, now: int) -> list[Admitted]:
    """Have all of a burst counted in what is still to be released; return what that is.

    This is a human decision about true counts, outside the promise of differential privacy: the reason is kept.
    Raises NotFound ``burst_not_found``; Conflict ``burst_admitted``, or ``hour_not_over``: nobody can have looked at
    what is still to come.
    """
    if bucket.hour + _HOUR_S > now:
        raise Conflict("hour_not_over", "that hour is not over: look at all of its registrations first")
    with (
        stored_in.database.writing() as connection,
        changing_sums(connection, stored_in.keyring.row_macs) as sums,
        sums.following(connection, "admitted_bursts"),
    ):
        cap = declaration().burst_caps.get(bucket.country)
        found = {} if cap is None else tallies.find_bursts_of(connection, bucket, cap=cap)
        admitted = [
            Admitted(registrations, tables)
            for campaign, registrations in found.items()
            if (tables := _open_tables(connection, bucket.hour, campaign))
        ]
        if not admitted:
            raise NotFound("burst_not_found", "no such hour is over its cap and still to be released")
        if (earlier := tallies.find_admission(connection, bucket)) is not None:
            raise Conflict("burst_admitted", f"it was admitted before: {earlier}")
        tallies.admit_burst(connection, bucket, reason=reason[:_MAX_REASON], now=now)
    return admitted


def _open_tables(connection: Connection, hour: int, campaign: str | None) -> tuple[str, ...]:
    tables = declaration().tables.values() if campaign is None else [find_campaign(connection, campaign).table]
    return tuple(
        table.name
        for table in tables
        if not releases.is_released(connection, table.name, starts_at=epoch_at(table.epoch, hour).start)
    )
