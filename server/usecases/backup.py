"""Back up a register while it records: one state of the database, then all that this state names."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from sqlalchemy import Connection

from server.core.encoding import sha256
from server.errors import LogInconsistent, NotFound
from server.store import log, records
from server.store.backup_files import BackupWriter, Manifest
from server.store.blobs import range_of, segment_of
from server.store.keys import KeyFolder
from server.store.table_dumps import dump_table, dumped_tables
from server.usecases.register import Storage


@dataclass(frozen=True)
class BackedUp:
    """What was written. ``damaged``: log indexes of records whose sealed bytes are lost or changed where they lie."""

    manifest: Manifest
    files: int
    bytes: int
    damaged: list[int]


def back_up(
    storage: Storage, folder: Path, *, data_dir: Path, with_keys: bool, now: int, progress: Callable[[int, int], None]
) -> BackedUp:
    """Write a backup into ``folder``, which is new or empty. ``storage`` may be open for one who only looks.

    The order is what makes it whole: a segment is on disk before its records are committed, and a release has its file
    before its row says published. ``progress`` is told how many of how many blobs were read. Raises OperatorError
    ``backup_refused``, ``backup_unwritable``, ``keys_exposed``; LogInconsistent; Unavailable.
    """
    writer = BackupWriter(folder)
    with storage.database.snapshot() as connection:
        head = log.read_head(connection)
        if head is None:
            raise LogInconsistent("log_inconsistent", "the log's head is gone")
        for table in dumped_tables():
            with writer.file(f"tables/{table.name}.jsonl") as write:
                dump_table(connection, table, write)
        damaged = _copy_segments(connection, storage, writer, progress)
    with storage.database.reading() as connection:
        erased = [index for index in damaged if not records.is_logged(connection, index)]
    if with_keys:
        keys = KeyFolder(data_dir / "keys")
        for name in keys.names():
            writer.put(f"keys/{name}", keys.read(name) or b"")
    for release_id in storage.releases.ids():
        # A damaged file stays one: the check of the log names it, here and after a restore.
        writer.put(f"releases/{release_id}", (storage.releases.get(release_id) or "").encode("ascii", "replace"))
    manifest = writer.finish(
        made_at=now,
        public_url=storage.keyring.issuer,
        log_origin=head.origin,
        schema=storage.database.revision() or "",
        size=head.size,
        newest_at=head.newest_at,
        checkpoint=head.checkpoint,
        keys=with_keys,
        erased_meanwhile=erased,
    )
    return BackedUp(manifest, writer.files, writer.bytes, [index for index in damaged if index not in set(erased)])


def _copy_segments(
    connection: Connection, storage: Storage, writer: BackupWriter, progress: Callable[[int, int], None]
) -> list[int]:
    """Copy each segment that records name; return the log indexes of those whose sealed bytes are not as they were."""
    total, done = records.count_blobs(connection), 0
    damaged = []
    for segment, group in groupby(records.stream_blobs(connection), key=lambda row: segment_of(row[0])):
        blobs = list(group)
        try:
            data = storage.blobs.get(f"{segment}.0.{storage.blobs.segment_size(segment)}")
        except NotFound:  # erased meanwhile, or lost
            data = b""
        for name, log_index, expected in blobs:
            offset, length = range_of(name)
            if expected is not None and sha256(data[offset : offset + length]) != expected:
                damaged.append(log_index)
        if data:
            writer.put(f"blobs/{segment}", data)
        done += len(blobs)
        progress(done, total)
    return damaged
