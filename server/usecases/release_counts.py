"""Close epochs, and release each declared table of each of them: one draw, for ever."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from schemas.vocabulary import COUNTRIES, ELSEWHERE
from server.core.counts import Cell, Declared, declaration
from server.core.releases import VerifiedRelease, release_claims, release_id, sign_release, verify_release
from server.errors import Conflict, ObjectionError, OperatorError
from server.outside.noise import add_noise
from server.store import log, releases, tallies
from server.store.releases import Release
from server.usecases.campaigns import read_all_campaigns
from server.usecases.epochs import Epoch, epoch_at, epochs
from server.usecases.register import Storage
from server.usecases.row_sums import RowSums, changing_sums

_FORGOTTEN_AT_ONCE = 1000  # some thirty milliseconds, for which recording waits

_log = logging.getLogger("objection.worker")


@dataclass(frozen=True)
class Due:
    """A table whose epoch is over, grace included, and not released."""

    table: Declared
    epoch: Epoch


class Releasing:
    """What the leading worker does for the counts. A crash anywhere leaves what the next round completes."""

    def __init__(self, storage: Storage, *, clock: Callable[[], int]) -> None:
        self._storage = storage
        self._clock = clock
        self._has_begun = False

    def run_once(self) -> int:
        """Release all that is due; return how many releases that were.

        What cannot be released is logged, keeps nothing else back, and is tried again in the next round. Does nothing
        for a log that halted: its database may be older than what was published.
        """
        with self._storage.database.reading() as connection:
            head = log.read_head(connection)
            drawn = releases.find_unpublished(connection)
            due = find_due(connection, now=self._clock())
        if head is None or head.halted is not None:
            return 0
        if not self._has_begun:
            self._complete_files()
        done = sum(self._try(release.id, self._publish, release) for release in drawn)
        done += sum(self._try(release_id(each.table.name, each.epoch.name), self._release, each) for each in due)
        if done or not self._has_begun:  # the process before this one may have stopped before it forgot
            self._forget()
        self._has_begun = True
        return done

    def _complete_files(self) -> None:
        """Write the files that are missing: should the database be lost, they keep it from drawing anew."""
        with self._storage.database.reading() as connection:
            published = releases.read_published(connection)
        for release in published:
            self._try(release.id, self._storage.releases.put, release.id, release.signed)

    def _try(self, name: str, step: Callable[..., None], *arguments: object) -> bool:
        try:
            step(*arguments)
        except ObjectionError as error:
            _log.error("release %s: %s: %s", name, error.code, error)
            return False
        return True

    def _release(self, due: Due) -> None:
        published = self._storage.releases.get(release_id(due.table.name, due.epoch.name))
        if published is not None:  # the database is an older one than the file
            import_release(self._storage, published)
            return
        macs = self._storage.keyring.row_macs
        with (
            self._storage.database.writing() as connection,
            changing_sums(connection, macs) as sums,
            sums.following(connection, "counting"),
        ):
            tallies.close_until(connection, due.epoch.end)
        with self._storage.database.reading() as connection:
            true = count(connection, due.table, due.epoch)
        cells = due.table.cells()
        noisy = add_noise([true.get(cell, 0) for cell in cells], due.table.epsilon)
        release = self._sign(due, dict(zip(cells, noisy, strict=True)))
        try:
            with self._storage.database.writing() as connection, changing_sums(connection, macs) as sums:
                _insert(connection, release, sums)
        except IntegrityError:
            _log.warning("%s was drawn by another worker; this draw is forgotten unseen", release.id)
            return
        self._publish(stored_form(release))

    def _sign(self, due: Due, values: Mapping[Cell, int]) -> VerifiedRelease:
        keyring = self._storage.keyring
        claims = release_claims(
            due.table,
            values,
            epoch=due.epoch.name,
            starts_at=due.epoch.start,
            ends_at=due.epoch.end,
            issuer=keyring.issuer,
            drawn_at=self._clock(),
            declaration_sha256=declaration().sha256,
        )
        issuer = keyring.issuer_keys[keyring.issuer_kid]
        return VerifiedRelease(sign_release(claims, key=issuer.key, certificate=issuer.certificate), claims)

    def _publish(self, release: Release) -> None:
        # The file first: once anybody may have seen the figures, a restored database finds them there.
        self._storage.releases.put(release.id, release.signed)
        with self._storage.database.writing() as connection:
            releases.mark_published(connection, release.id)

    def _forget(self) -> None:
        """Delete the contributions that no table wants any more; in steps, between which the log can be written."""
        with self._storage.database.reading() as connection:
            wanted = [start for scheduled in _schedule(connection) if (start := _next_start(connection, scheduled))]
        more = True
        while more:
            with (
                self._storage.database.writing() as connection,
                changing_sums(connection, self._storage.keyring.row_macs) as sums,
            ):
                forgotten = tallies.forget_before(connection, min(wanted), limit=_FORGOTTEN_AT_ONCE)
                sums.remove("contributions", [vars(each).values() for each in forgotten])
            more = len(forgotten) == _FORGOTTEN_AT_ONCE


@dataclass(frozen=True)
class _Scheduled:
    """A table, and the time whose epochs it has: from ``since`` until ``until``, where it ended."""

    table: Declared
    since: int
    until: int | None


def find_due(connection: Connection, *, now: int) -> list[Due]:
    """Return what is over by ``now``, grace included, and has no draw; the earliest first."""
    closed = now - declaration().grace_s
    due = []
    for scheduled in _schedule(connection):
        done = releases.released_starts(connection, scheduled.table.name)
        for epoch in epochs(scheduled.table.epoch, since=scheduled.since, until=closed):
            if epoch.start not in done and (scheduled.until is None or epoch.start < scheduled.until):
                due.append(Due(scheduled.table, epoch))
    return sorted(due, key=lambda each: each.epoch.end)


def count(connection: Connection, table: Declared, epoch: Epoch) -> dict[Cell, int]:
    """Return the counts, bursts capped, of the cells that have any. They must not leave the register without noise.

    Raises OperatorError ``contribution_unknown`` rather than leave somebody out who is in none of the cells.
    """
    counted = tallies.count_cells(
        connection,
        table.dimensions,
        start=epoch.start,
        end=epoch.end,
        campaign=table.campaign,
        caps=declaration().burst_caps,
    )
    cells = set(table.cells())
    inside: dict[Cell, int] = {}
    for cell, value in counted.items():
        # A campaign counts the countries it is not for together.
        named = (ELSEWHERE,) if table.campaign is not None and cell not in cells and cell[0] in COUNTRIES else cell
        if named not in cells:
            raise OperatorError("contribution_unknown", f"{table.name} has no cell {named}, for which somebody counted")
        inside[named] = inside.get(named, 0) + value
    return inside


def import_release(storage: Storage, signed: str) -> VerifiedRelease:
    """Take in a release that this register published and its database does not know; known ones change nothing.

    Raises what ``verify_release`` raises, Conflict ``release_conflict`` when other figures were drawn for it.
    """
    release = verify_release(signed, storage.keyring.policy)
    with (
        storage.database.writing() as connection,
        changing_sums(connection, storage.keyring.row_macs) as sums,
        sums.following(connection, "counting"),
    ):
        # The file is put in here: a worker that draws at the same time must find either both, or be found.
        known = releases.find_release(connection, release.id)
        if known is not None and known.signed != signed:
            raise Conflict("release_conflict", f"this register has other figures for {release.id}")
        storage.releases.put(release.id, signed)
        if known is None:
            tallies.close_until(connection, release.claims["ends_at"])
            _insert(connection, release, sums)
        releases.mark_published(connection, release.id)
    return release


def _insert(connection: Connection, release: VerifiedRelease, sums: RowSums) -> None:
    releases.insert_release(connection, stored_form(release), release.cells)
    sums.add("releases", [(release.id, release.raw)])


def stored_form(release: VerifiedRelease) -> Release:
    """Return the row of a release that is not yet published."""
    claims = release.claims
    return Release(
        id=release.id,
        table_name=claims["table"],
        epoch=claims["epoch"],
        starts_at=claims["starts_at"],
        ends_at=claims["ends_at"],
        drawn_at=claims["iat"],
        signed=release.raw,
        published=False,
    )


def _schedule(connection: Connection) -> list[_Scheduled]:
    since = tallies.read_counting(connection).since
    general = [_Scheduled(table, since, None) for table in declaration().tables.values()]
    ours = [_Scheduled(campaign.table, campaign.since, campaign.until) for campaign in read_all_campaigns(connection)]
    return general + ours


def _next_start(connection: Connection, scheduled: _Scheduled) -> int | None:
    """Return the start of the first epoch without a draw; None where the table ended before it."""
    done = releases.released_starts(connection, scheduled.table.name)
    epoch = epoch_at(scheduled.table.epoch, scheduled.since)
    while epoch.start in done:
        epoch = epoch_at(scheduled.table.epoch, epoch.end)
    return epoch.start if scheduled.until is None or epoch.start < scheduled.until else None
