"""Compare the sealed bytes on disk with the hashes that were stored with their records."""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import Connection

from server.core.encoding import sha256
from server.errors import NotFound, OperatorError, Unavailable
from server.store import records
from server.store.blobs import range_of, segment_of
from server.usecases.log_findings import LogCheck
from server.usecases.register import Storage

_NAMES_AT_ONCE = 1 << 16
_PIECE_BYTES = 1 << 20


class _Blob(NamedTuple):
    name: str
    log_index: int
    sha256: bytes | None


def check_blobs(
    connection: Connection,
    storage: Storage,
    found: LogCheck,
    progress: Callable[[int], None],
    *,
    suspect_after: int | None,
) -> None:
    """Note each blob that is not as it was stored, and count segments that nothing names.

    ``connection`` sees one state; the disk is that of now. So what does not fit is looked for once more in the state of
    now: its holder may have had it erased meanwhile. ``progress`` is told how many blobs were read. ``suspect_after``:
    a segment that nothing names and that was written after this time, seconds, may be of records that are lost; None
    where none are.
    """
    pending = set(records.read_blobs_to_erase(connection))  # few: the worker overwrites them within seconds
    found.to_overwrite = len(pending)
    disk = _Disk(storage, found, {segment_of(name) for name in pending}, suspect_after)
    read = 0
    for segment, group in groupby(_well_named(connection, found), key=lambda blob: segment_of(blob.name)):
        disk.name(segment)
        blobs = sorted(group, key=lambda blob: range_of(blob.name))
        for blob in blobs:
            _compare(storage, blob, found)
        _note_shared(blobs, found)
        _note_leftovers(storage, segment, [blob.name for blob in blobs], pending, found)
        read += len(blobs)
        progress(read)
    disk.finish()


def _well_named(connection: Connection, found: LogCheck) -> Iterator[_Blob]:
    for row in records.stream_blobs(connection):
        blob = _Blob(*row)
        try:
            segment_of(blob.name)
        except OperatorError:
            found.note("sealed bytes", f"entry {blob.log_index} has lost its sealed bytes: its record names no segment")
        else:
            yield blob


def _compare(storage: Storage, blob: _Blob, found: LogCheck) -> None:
    segment = segment_of(blob.name)
    try:
        sealed = storage.blobs.get(blob.name)
    except NotFound:
        problem = f"entry {blob.log_index} has lost its sealed bytes: segment {segment} is gone or too short"
    except Unavailable as error:
        problem = f"the sealed bytes of entry {blob.log_index} cannot be read, in segment {segment}: {error.__cause__}"
    else:
        if blob.sha256 is not None and sha256(sealed) == blob.sha256:
            return
        what = "zeros" if not sealed.strip(b"\0") else "not those that were stored"
        problem = f"the sealed bytes of entry {blob.log_index} are {what}, in segment {segment}"
    with storage.database.reading() as now:
        if records.is_logged(now, blob.log_index):
            found.note("sealed bytes", problem)


def _note_shared(blobs: list[_Blob], found: LogCheck) -> None:
    end, last = 0, -1
    for blob in blobs:
        offset, length = range_of(blob.name)
        if offset < end:
            found.note("sealed bytes", f"entries {last} and {blob.log_index} name the same sealed bytes")
        if offset + length > end:
            end, last = offset + length, blob.log_index


def _note_leftovers(storage: Storage, segment: str, named: Iterable[str], pending: set[str], found: LogCheck) -> None:
    """Note bytes of a segment that nothing names and that were not overwritten: what was erased must be zeros."""
    theirs = [name for name in pending if segment_of(name) == segment]
    left, position = 0, 0
    for offset, length in sorted(range_of(name) for name in [*named, *theirs]):
        left += _unerased(storage, segment, position, offset)
        position = max(position, offset + length)
    left += _unerased(storage, segment, position, storage.blobs.segment_size(segment))
    if left:
        found.note("sealed bytes", f"segment {segment} has {left} bytes that no record names, not overwritten")


def _unerased(storage: Storage, segment: str, start: int, end: int) -> int:
    left = 0
    for offset in range(start, end, _PIECE_BYTES):
        length = min(_PIECE_BYTES, end - offset)
        try:
            piece = storage.blobs.get(f"{segment}.{offset}.{length}")
        except (NotFound, Unavailable):  # gone or cut since its size was looked up, or said of its blobs
            return left
        left += length - piece.count(0)
    return left


class _Disk:
    """Finds the segments that nothing names: those on disk and those named are merged, a part of the names at a time.

    Segments must be named in order.
    """

    def __init__(self, storage: Storage, found: LogCheck, pending: set[str], suspect_after: int | None) -> None:
        self._suspect_after = suspect_after
        self._storage = storage
        self._found = found
        self._pending = pending
        digits = 0
        while storage.blobs.count_segments() > _NAMES_AT_ONCE << (4 * digits):
            digits += 1
        self._prefixes = iter([f"{number:0{digits}x}" if digits else "" for number in range(16**digits)])
        self._prefix = next(self._prefixes)
        self._left = storage.blobs.segments(self._prefix)

    def name(self, segment: str) -> None:
        while not segment.startswith(self._prefix):
            self._count()
            self._prefix = next(self._prefixes)
            self._left = self._storage.blobs.segments(self._prefix)
        self._left.discard(segment)

    def finish(self) -> None:
        self._count()
        for prefix in self._prefixes:
            self._left = self._storage.blobs.segments(prefix)
            self._count()

    def _count(self) -> None:
        for segment in self._left - self._pending:
            with self._storage.database.reading() as now:  # recorded since the state that is looked at
                if records.names_segment(now, segment):
                    continue
            if self._suspect_after is not None and self._storage.blobs.written_at(segment) > self._suspect_after:
                self._found.note(
                    "segments",
                    f"segment {segment} was written after the newest record, and no record names it: "
                    "the database lost its records, or a crash left it",
                )
            else:
                self._found.orphaned_segments += 1
