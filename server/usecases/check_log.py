"""Derive the whole log anew from storage and compare: what an auditor would do, from inside."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sqlalchemy import Connection

from server.core.merkle import TileTree, leaf_hash
from server.core.proofs import format_entry
from server.errors import NotFound, ObjectionError, OperatorError
from server.store import log, records
from server.store.blobs import segment_of
from server.usecases.register import Storage, check_head

_GROUP = 4096


@dataclass
class LogCheck:
    """What was found. ``problems`` is empty when everything fits."""

    entries: int = 0
    records: int = 0
    tiles: int = 0
    orphaned_segments: int = 0
    problems: list[str] = field(default_factory=list)


def check_log(storage: Storage, *, progress: Callable[[int, int], None]) -> LogCheck:
    """Compare entries, tiles, checkpoint, records and sealed bytes with each other. Changes nothing."""
    found = LogCheck()
    with storage.database.reading() as connection:
        head = log.read_head(connection)
        if head is None:
            return found
        entries: dict[int, bytes] = {}
        tree = TileTree(0, lambda _level, _number: b"")
        for group in _groups(log.read_entries(connection)):
            for index, entry in group:
                if index != tree.size:
                    found.problems.append(f"entry {tree.size} is missing")
                    return found
                tree.append([leaf_hash(entry)])
                entries[index] = leaf_hash(entry)
            progress(tree.size, head.size)
        found.entries = tree.size
        _compare_tiles(connection, tree, found)
        try:
            checkpoint = check_head(connection, head, storage.keyring)
            if (checkpoint.size, checkpoint.root) != (tree.size, tree.root()):
                found.problems.append("the checkpoint's root is not that of the entries")
        except ObjectionError as error:
            found.problems.append(str(error))
        _compare_records(connection, storage, entries, found)
    return found


def _groups(entries: Iterator[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    group: list[tuple[int, bytes]] = []
    for entry in entries:
        group.append(entry)
        if len(group) == _GROUP:
            yield group
            group = []
    yield group


def _compare_tiles(connection: Connection, tree: TileTree, found: LogCheck) -> None:
    stored = log.read_tile_keys(connection)
    found.tiles = len(stored)
    for level, number in sorted(stored ^ tree.changed):
        found.problems.append(
            f"tile {level}/{number} is {'missing' if (level, number) in tree.changed else 'too much'}"
        )
    for level, number in sorted(stored & tree.changed):
        if log.read_tile(connection, level, number) != tree.tile(level, number):
            found.problems.append(f"tile {level}/{number} is not what the entries give")


def _compare_records(connection: Connection, storage: Storage, leaves: dict[int, bytes], found: LogCheck) -> None:
    named = set()
    for record in records.read_all_records(connection):
        found.records += 1
        entry = format_entry(
            kind=record.kind, salt=record.salt, receipt_sha256=record.receipt_sha256, received_at=record.received_at
        )
        if leaves.get(record.log_index) != leaf_hash(entry):
            found.problems.append(f"record {record.receipt_sha256.hex()} does not fit entry {record.log_index}")
        try:
            if record.blob is not None:  # of an erasure's receipt nothing is kept
                named.add(segment_of(record.blob))
                storage.blobs.get(record.blob)
        except (NotFound, OperatorError):
            found.problems.append(f"record {record.receipt_sha256.hex()} has lost its sealed bytes")
    found.orphaned_segments = len(storage.blobs.segments() - named)
