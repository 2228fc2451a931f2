"""Derive the whole log anew from storage and compare: what an auditor would do, from inside."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import Connection

from server.core.encoding import parse_json
from server.core.merkle import TileTree, leaf_hash
from server.core.notes import verify_checkpoint
from server.core.proofs import format_entry
from server.core.statuslists import ERASED, WITHDRAWN
from server.errors import NotFound, ObjectionError, OperatorError, ParseError
from server.store import anchors, log, records
from server.store.blobs import segment_of
from server.store.records import Record
from server.usecases.register import Storage, check_head

_GROUP = 4096


@dataclass
class LogCheck:
    """What was found. ``problems`` is empty when everything fits.

    ``erased``: entries whose records their holders had erased. ``to_overwrite``: sealed bytes of those, still on disk.
    """

    entries: int = 0
    records: int = 0
    erased: int = 0
    to_overwrite: int = 0
    tiles: int = 0
    anchors: int = 0
    orphaned_segments: int = 0
    problems: list[str] = field(default_factory=list)


def check_log(storage: Storage, *, progress: Callable[[int, int], None]) -> LogCheck:
    """Compare entries, tiles, checkpoint, records, statuses and sealed bytes with each other. Changes nothing.

    Records of objections may be missing: as many as erasures ask for, each before its erasure. That it is the right
    one which is missing, nobody can tell any more; that is what erasing means.
    """
    found = LogCheck()
    with storage.database.reading() as connection:
        head = log.read_head(connection)
        if head is None:
            return found
        entries: dict[int, bytes] = {}
        kinds: list[str] = []
        tree = TileTree(0, lambda _level, _number: b"")
        anchored = dict(anchors.read_all_anchored(connection))
        found.anchors = len(anchored)
        for group in _groups(log.read_entries(connection)):
            for index, entry in group:
                if index != tree.size:
                    found.problems.append(f"entry {tree.size} is missing")
                    return found
                tree.append([leaf_hash(entry)])
                entries[index] = leaf_hash(entry)
                kinds.append(_kind_of(entry))
                if tree.size in anchored:
                    _compare_anchor(storage, tree, anchored.pop(tree.size), found)
            progress(tree.size, head.size)
        found.entries = tree.size
        found.problems += [f"the anchored checkpoint of {size} entries is of no log here" for size in sorted(anchored)]
        _compare_tiles(connection, tree, found)
        try:
            checkpoint = check_head(connection, head, storage.keyring)
            if (checkpoint.size, checkpoint.root) != (tree.size, tree.root()):
                found.problems.append("the checkpoint's root is not that of the entries")
        except ObjectionError as error:
            found.problems.append(str(error))
        stored = _compare_records(connection, storage, entries, found)
        _account_for_erased(kinds, stored, found)
        _compare_statuses(connection, stored, found)
        pending = records.read_blobs_to_erase(connection)
        found.to_overwrite = len(pending)
        named = {record.blob for record in stored if record.blob is not None} | set(pending)
        found.orphaned_segments = len(storage.blobs.segments() - _segments(named))
    return found


def _kind_of(entry: bytes) -> str:
    try:
        return str(parse_json(entry).get("kind"))
    except ParseError:
        return "unreadable"


def _account_for_erased(kinds: Sequence[str], stored: Sequence[Record], found: LogCheck) -> None:
    """Pair each erasure with an objection before it whose record is gone; whatever remains was lost, or kept."""
    there = {record.log_index for record in stored}
    erasures_behind = kinds.count("erasure")
    to_erase = 0
    for index, kind in enumerate(kinds):
        if kind == "erasure":
            erasures_behind -= 1
            to_erase -= 1
            if to_erase < 0:
                found.problems.append(f"erasure {index} has erased nothing: an objection is still there")
                to_erase = 0
        if index in there:
            continue
        if kind == "erasure" or not erasures_behind:
            found.problems.append(f"entry {index} has lost its record: no erasure behind it can have asked for that")
            continue
        found.erased += 1
        to_erase += kind == "objection"
    if to_erase:
        found.problems.append(f"{to_erase} objection(s) more have lost their record than erasures ask for")


def _compare_statuses(connection: Connection, stored: Sequence[Record], found: LogCheck) -> None:
    """Compare the status lists with the records that made them so."""
    statuses = records.read_all_statuses(connection)
    objections = {record.receipt_sha256: record for record in stored if record.kind == "objection"}
    indexes = {record.status_index for record in objections.values()}
    withdrawn = set()
    for record in stored:
        if record.objection_sha256 is None:
            continue
        objection = objections.get(record.objection_sha256)
        if objection is None:
            found.problems.append(f"{record.kind} {record.log_index} belongs to no objection that is stored")
        elif record.kind == "withdrawal":
            withdrawn.add(objection.status_index)
    noted = {index for index, value in statuses.items() if value == WITHDRAWN}
    found.problems += [
        f"status {index} does not say what its objection's withdrawal says" for index in withdrawn - noted
    ]
    found.problems += [f"status {index} says withdrawn, and no withdrawal does" for index in noted - withdrawn]
    erased = {index for index, value in statuses.items() if value == ERASED}
    found.problems += [f"status {index} says erased of an objection that is stored" for index in erased & indexes]
    erasures = sum(record.kind == "erasure" for record in stored)
    if len(erased) != erasures:
        found.problems.append(f"{len(erased)} statuses say erased, after {erasures} erasures")


def _segments(blobs: Iterable[str]) -> set[str]:
    segments = set()
    for blob in blobs:
        with suppress(OperatorError):  # no name of ours: said of its record already
            segments.add(segment_of(blob))
    return segments


def _compare_anchor(storage: Storage, tree: TileTree, note: str, found: LogCheck) -> None:
    try:
        checkpoint = verify_checkpoint(note, trusted=storage.keyring.log_verifier)
    except ObjectionError as error:
        found.problems.append(f"the anchored checkpoint of {tree.size} entries does not hold: {error}")
    else:
        if (checkpoint.size, checkpoint.root) != (tree.size, tree.root()):
            found.problems.append(f"the anchored checkpoint of {tree.size} entries has another root")


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


def _compare_records(
    connection: Connection, storage: Storage, leaves: dict[int, bytes], found: LogCheck
) -> Sequence[Record]:
    """Compare each record with its entry, and look for its sealed bytes; return all records."""
    stored = records.read_all_records(connection)
    for record in stored:
        found.records += 1
        entry = format_entry(
            kind=record.kind, salt=record.salt, receipt_sha256=record.receipt_sha256, received_at=record.received_at
        )
        if leaves.get(record.log_index) != leaf_hash(entry):
            found.problems.append(f"record {record.receipt_sha256.hex()} does not fit entry {record.log_index}")
        try:
            if record.blob is not None:  # of an erasure's receipt nothing is kept
                storage.blobs.get(record.blob)
        except (NotFound, OperatorError):
            if _is_still_there(storage, record):
                found.problems.append(f"record {record.receipt_sha256.hex()} has lost its sealed bytes")
    return stored


def _is_still_there(storage: Storage, record: Record) -> bool:
    """Tell whether a record of the state that is looked at was not erased since, beside us."""
    with storage.database.reading() as connection:
        return records.find_record(connection, record.receipt_sha256) is not None
