"""Finish erasures: overwrite sealed bytes whose key is gone, and forget what need not be remembered any more."""

import logging

from server.errors import ObjectionError, Unavailable
from server.store import records
from server.store.blobs import LocalBlobs, segment_of
from server.store.database import Database
from server.usecases.register import Stored
from server.usecases.row_sums import changing_sums

_log = logging.getLogger("objection.erasure")


def sweep_erased(stored_in: Stored, *, now: int) -> int:
    """Return how many blobs are erased for good: from the disk, and from SQLite's write-ahead log.

    A blob counts as pending until both are done, so that a crash at any step leaves it to the next sweep. Safe at any
    time, also twice at once. Raises Unavailable when a blob could not be overwritten, after it has tried all others.
    """
    database, blobs = stored_in.database, stored_in.blobs
    with database.reading() as connection:
        pending = records.read_blobs_to_erase(connection)
        expired = records.has_expired_guards(connection, now=now)
    overwritten: list[str] = []
    failure: Unavailable | None = None
    for blob in pending:
        try:
            _overwrite(database, blobs, blob)
            overwritten.append(blob)
        except Unavailable as error:
            failure = error
    finished = overwritten if overwritten and database.forget_write_ahead() else []
    if finished or expired:
        with database.writing() as connection, changing_sums(connection, stored_in.keyring.row_macs) as sums:
            records.forget_erased_blobs(connection, finished)
            sums.remove("erased_receipts", records.forget_guards(connection, now=now))
    if failure is not None:
        raise failure
    return len(finished)


def try_to_sweep(stored_in: Stored, *, now: int) -> None:
    """Sweep, for a caller that has other things to do: what fails now is logged, and left to the next sweep."""
    try:
        sweep_erased(stored_in, now=now)
    except ObjectionError as error:
        _log.warning("%s: what was erased is overwritten later", error.code)


def _overwrite(database: Database, blobs: LocalBlobs, blob: str) -> None:
    blobs.erase(blob)
    with database.reading() as connection:
        in_use = records.names_segment(connection, segment_of(blob))
    if not in_use:
        blobs.remove_segment(segment_of(blob))
