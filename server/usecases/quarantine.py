"""Bursts: registrations over their cap, which count only once an operator has looked and found them genuine."""

from sqlalchemy import Connection

from server.core.counts import declaration
from server.errors import Conflict, NotFound
from server.store import tallies
from server.store.database import Database
from server.store.tallies import Burst, hour_of

_MAX_REASON = 400


def find_bursts(connection: Connection) -> list[Burst]:
    """Return what is over its cap among all that is not released by every table."""
    return tallies.find_bursts(connection, caps=declaration().burst_caps)


def admit_burst(
    database: Database, *, time: int, country: str, platform: str, channel: str, reason: str, now: int
) -> Burst:
    """Have all of a burst counted in what is still to be released; return it.

    This is a human decision about true counts, outside the promise of differential privacy: the reason is kept.
    Raises NotFound ``burst_not_found``, Conflict ``burst_admitted``.
    """
    bucket = (hour_of(time), country, platform, channel)
    with database.writing() as connection:
        found = [
            burst
            for burst in find_bursts(connection)
            if (burst.hour, burst.country, burst.platform, burst.channel) == bucket
        ]
        if not found:
            raise NotFound("burst_not_found", "no hour of that country, platform and channel is over its cap")
        if found[0].admitted is not None:
            raise Conflict("burst_admitted", f"it was admitted before: {found[0].admitted}")
        tallies.admit_burst(
            connection,
            hour=hour_of(time),
            country=country,
            platform=platform,
            channel=channel,
            reason=reason[:_MAX_REASON],
            now=now,
        )
    return found[0]
