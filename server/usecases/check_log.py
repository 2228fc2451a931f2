"""Derive the whole log anew from storage and compare: what an auditor would do, from inside.

The log is walked a part at a time, in one state of the database: memory does not grow with the log. Tables whose rows
lead to no entry are compared with the sums that the log's head keeps of them (``server/usecases/row_sums.py``).
"""

import struct
from collections.abc import Callable, Iterable, Iterator

from sqlalchemy import Connection

from server.core.encoding import parse_json
from server.core.envelopes import unwrap_share
from server.core.merkle import HASH_SIZE, TILE_HEIGHT, TILE_WIDTH, RightEdge, leaf_hash
from server.core.notes import verify_checkpoint
from server.core.proofs import format_entry
from server.core.rowmacs import Sum
from server.core.statuslists import ERASED, STATUS_LIST_SIZE, WITHDRAWN
from server.errors import LogInconsistent, ObjectionError, OperatorError, ParseError
from server.store import anchors, log, records, releases, tallies
from server.store.anchors import AnchoredCheckpoint
from server.store.log import Head
from server.store.records import Record
from server.store.rows import stream_table
from server.store.soundness import find_damage
from server.usecases.check_blobs import check_blobs
from server.usecases.check_releases import check_releases
from server.usecases.identity import compare_identity
from server.usecases.log_findings import LogCheck
from server.usecases.register import Storage, check_kept
from server.usecases.row_sums import WHOLE, Row, sums_of

_PART = 4096  # entries at once
_FOLLOWING = {"supplement", "withdrawal"}


def check_log(storage: Storage, *, progress: Callable[[int, int], None]) -> LogCheck:
    """Compare entries, tiles, checkpoints, records, statuses, releases and sealed bytes. Changes nothing.

    Records may be missing: of each objection whose status says that it was erased, as many as there are erasures, and
    of the supplements and withdrawals that the erasures removed with them.
    ``progress`` is told how much of how much is done. Raises Unavailable when the database does not answer.
    """
    found = LogCheck()
    kept_note = storage.kept.read() if storage.kept else None  # before the head, which may grow meanwhile
    with storage.database.snapshot() as connection:
        for damage in find_damage(connection):
            found.note("database", f"the database is damaged: {damage}")
        if found.problems:  # what is read of such a database proves nothing, and its reading may fail
            return found
        heads = log.count_heads(connection)
        head = log.read_head(connection) if heads == 1 else None
        if head is None:
            found.note("head", "the log's head is gone" if heads == 0 else f"the log has {heads} heads")
            return found
        found.losses = log.read_losses(connection)
        nothing_lost = _compare_kept(connection, storage, head, kept_note, found)
        for difference in compare_identity(connection, storage.keyring):
            found.note("identity", difference)
        blobs = records.count_blobs(connection)
        walk = _Walk(connection, storage, head, found)
        for done in walk.run():
            progress(min(done, head.size), head.size + blobs)
        _compare_follows(connection, found)
        _compare_sums(connection, storage, head, walk.erased_later, found)
        _note_strays(connection, found)
        check_releases(connection, storage, found)
        # What is on disk since the newest record may be what a crash left, or the evidence of records that are lost.
        suspect_after = None if nothing_lost else head.newest_at
        check_blobs(
            connection,
            storage,
            found,
            lambda done: progress(head.size + done, head.size + blobs),
            suspect_after=suspect_after,
        )
    return found


def _compare_kept(connection: Connection, storage: Storage, head: Head, note: str | None, found: LogCheck) -> bool:
    """Compare the head with the checkpoint kept outside of the database; tell whether that shows that it is whole."""
    if storage.kept is None:
        return True
    try:
        check_kept(connection, head, storage.keyring, note)
    except LogInconsistent as error:
        found.note("head", str(error))
        return False
    return note is not None


class _Walk:
    """Walks the log from its first entry to its last."""

    def __init__(self, connection: Connection, storage: Storage, head: Head, found: LogCheck) -> None:
        self._connection = connection
        self._storage = storage
        self._macs = storage.keyring.row_macs
        self._head = head
        self._found = found
        self._tree: RightEdge | None = RightEdge()  # None once a leaf is nowhere to be found
        self._anchored = anchors.stream_anchored(connection)
        self._next_anchor: tuple[AnchoredCheckpoint, bytes] | None = None
        self._newest_at = 0
        self._lists = _Lists(connection, found)
        self._root: bytes | None = None  # as the stored checkpoint signs it
        self._erased_objections = 0
        self._erasures = 0
        self.erased_later = Sum()

    def run(self) -> Iterator[int]:
        """Compare all that has a place in the log; yield now and then how many entries were looked at."""
        self._take_anchor()
        end = self._end()
        for start in range(0, end, _PART):
            part_end = min(start + _PART, end)
            entries = log.read_entries_between(self._connection, start, part_end)
            stored = records.read_records_between(self._connection, start, part_end)
            for index in range(start, part_end):
                self._look_at(index, entries.get(index), *stored.get(index, (None, b"")))
            yield part_end
        self._note_outside(end)
        self._finish()

    def _end(self) -> int:
        """Return up to where entries are looked for: a size that is signed is true, another one may be anything."""
        head, found = self._head, self._found
        stored, highest = log.extent_of_entries(self._connection)
        if head.halted is not None:
            found.note("head", f"log_halted: the log is halted: {head.halted}")
        if head.origin != self._storage.keyring.log_name:
            name = self._storage.keyring.log_name
            found.note("head", f"the log is called {head.origin}, and OBJECTION_LOG_ORIGIN says {name}")
        try:
            checkpoint = verify_checkpoint(head.checkpoint, trusted=self._storage.keyring.log_verifier)
        except ObjectionError as error:
            found.note("head", f"the stored checkpoint does not hold: {error}")
            return min(highest + 1, stored + _PART)  # one far outside must not keep us looking for all before it
        self._root = checkpoint.root
        if checkpoint.size != head.size:
            found.note("head", f"the head has size {head.size}, and its checkpoint {checkpoint.size}")
        return checkpoint.size

    def _look_at(self, index: int, entry: bytes | None, record: Record | None, mac: bytes) -> None:
        kind = None
        if entry is None:
            self._found.note("entries", f"entry {index} is missing")
            self._grow(index, self._leaf_in_tile(index))
        else:
            self._found.entries += 1
            self._grow(index, leaf_hash(entry))
            kind, time = self._read_entry(index, entry, record)
            if time is not None:
                if time < self._newest_at:
                    self._found.note("times", f"entry {index} has an earlier time than the entry before it")
                self._newest_at = time
        status_index, status = self._lists.at(index, kind or (record.kind if record else None))
        if record is not None:
            self._found.records += 1
            self._compare_record(record, mac, entry, status_index, status)
        self._erasures += kind == "erasure"
        if record is None and kind is not None:
            self._account_for_gone(index, kind, status_index, status)

    def _read_entry(self, index: int, entry: bytes, record: Record | None) -> tuple[str | None, int | None]:
        """Return kind and time of an entry; from its record, if that fits, which spares reading it."""
        if record is not None and entry == _entry_of(record):
            return record.kind, record.received_at
        try:
            said = parse_json(entry)
            kind, time = said["kind"], said["time"]
            if not isinstance(kind, str) or not isinstance(time, int):
                raise ParseError("json_malformed", "kind or time is of another type")
        except (ParseError, KeyError) as error:
            self._found.note("entries", f"entry {index} is not in its form: {error}")
            return None, None
        return kind, time

    def _leaf_in_tile(self, index: int) -> bytes | None:
        number, position = divmod(index, TILE_WIDTH)
        hashes = log.read_tile(self._connection, 0, number)
        return hashes[position * HASH_SIZE : (position + 1) * HASH_SIZE] or None

    def _grow(self, index: int, leaf: bytes | None) -> None:
        if self._tree is None:
            return
        if leaf is None or len(leaf) != HASH_SIZE:
            self._found.note("entries", f"from entry {index} on, no hash can be derived")
            self._tree = None
            return
        for tile in self._tree.append(leaf):
            self._compare_tile(*tile)
        while self._next_anchor is not None and self._next_anchor[0].size == self._tree.size:
            self._compare_anchor(*self._next_anchor, root=self._tree.root())
            self._take_anchor()

    def _compare_tile(self, level: int, number: int, hashes: bytes) -> None:
        stored = log.read_tile(self._connection, level, number)
        if not stored:
            self._found.note("tiles", f"tile {level}/{number} is missing, or empty")
        elif stored != hashes:
            position = next(
                (at for at in range(0, len(hashes), HASH_SIZE) if stored[at : at + HASH_SIZE] != hashes[at : at + 32]),
                len(hashes),
            )
            first = (number * TILE_WIDTH + position // HASH_SIZE) << (TILE_HEIGHT * level)
            self._found.note("tiles", f"tile {level}/{number} is not what the entries give, from entry {first} on")

    def _take_anchor(self) -> None:
        """Take up the next anchored checkpoint; what claims to be of no entries at all has no place to wait for."""
        self._next_anchor = next(self._anchored, None)
        while self._next_anchor is not None and self._next_anchor[0].size <= 0:
            self._found.anchors += 1
            self._compare_anchor(*self._next_anchor, root=None)
            self._next_anchor = next(self._anchored, None)
        if self._next_anchor is not None:
            self._found.anchors += 1

    def _compare_anchor(self, anchored: AnchoredCheckpoint, mac: bytes, *, root: bytes | None) -> None:
        """Compare an anchored checkpoint with the root of its size; ``root``: None where the log has no such size."""
        name = f"the anchored checkpoint of {anchored.size} entries"
        if root is None:
            self._found.note("anchors", f"{name} is of no log here")
            return
        try:
            checkpoint = verify_checkpoint(anchored.note, trusted=self._storage.keyring.log_verifier)
        except ObjectionError as error:
            self._found.note("anchors", f"{name} does not hold: {error}")
            return
        if (checkpoint.size, checkpoint.root) != (anchored.size, root):
            self._found.note("anchors", f"{name} has another root")
        elif not anchored.tokens:
            self._found.note("anchors", f"{name} has lost its time stamps")
        elif self._macs.mac("anchored_checkpoints", anchored.values_under_mac) != mac:
            self._found.note("anchors", f"{name} has not the time stamps and cosignatures with which it was stored")

    def _compare_record(
        self, record: Record, mac: bytes, entry: bytes | None, status_index: int | None, status: int
    ) -> None:
        index = record.log_index
        if entry is not None and _entry_of(record) != entry:
            self._found.note("records", f"the record of entry {index} does not fit it: kind, time, salt or hash differ")
        elif self._macs.mac("records", vars(record).values()) != mac:
            self._found.note(
                "records", f"the record of entry {index} was changed: {self._change(record, status_index)}"
            )
        if record.kind != "objection" or status_index is None:
            return
        if status == ERASED:
            self._found.note("statuses", f"status {status_index} says erased of an objection that is stored, {index}")

    def _change(self, record: Record, status_index: int | None) -> str:
        """Return what of a record was changed, as far as anything tells."""
        if record.kind != "erasure" and record.wrapped_share is None:
            return "it has lost its wrapped share"
        if record.kind != "erasure" and record.blob is None:
            return "it names no sealed bytes"
        if record.kind == "objection" and status_index is not None and record.status_index != status_index:
            return f"it has status index {record.status_index}, its place in the list is {status_index}"
        try:
            if record.wrapped_share is not None:
                keys = self._storage.keyring.key_encryption_keys
                unwrap_share(record.wrapped_share, keys=keys, record_id=record.receipt_sha256)
        except OperatorError as error:
            return str(error)
        return (
            "assurance, key id, jti, byte count, objection, status index, or name or hash of the sealed bytes "
            "is not as it was written"
        )

    def _account_for_gone(self, index: int, kind: str, status_index: int | None, status: int) -> None:
        """Pair an entry without record with the erasure that removed it, as far as that can be told."""
        if kind in _FOLLOWING:
            self._found.erased += 1
            self.erased_later = self.erased_later.plus([self._macs.mac("erased_later", [index])])
        elif kind == "objection" and (status == ERASED or status_index is None):
            self._found.erased += 1
            self._erased_objections += 1
        elif kind == "objection":
            self._found.note(
                "records", f"entry {index} has lost its record: its status does not say that it was erased"
            )
        else:
            self._found.note("records", f"entry {index} has lost its record: nothing removes that of an erasure")

    def _note_outside(self, end: int) -> None:
        """Note what claims a place that the log does not have."""
        for index in log.stream_indexes_outside(self._connection, 0, end):
            self._found.note("entries", f"entry {index} lies outside of the log, which has {end}")
        for index in records.stream_indexes_outside(self._connection, 0, end):
            self._found.records += 1
            self._found.note("records", f"the record of entry {index} does not fit it: there is no such entry")
        self._lists.finish(end)

    def _finish(self) -> None:
        while self._next_anchor is not None:
            anchored, mac = self._next_anchor
            if self._tree is not None:  # else nobody can tell, and it was said why
                self._compare_anchor(anchored, mac, root=None)
            self._take_anchor()
        self._compare_edge()
        if self._erased_objections != self._erasures:
            self._found.note(
                "statuses", f"{self._erased_objections} statuses say erased, after {self._erasures} erasures"
            )
        if self._newest_at != self._head.newest_at:
            self._found.note("head", "the head's time is not that of the newest entry")

    def _compare_edge(self) -> None:
        tree = self._tree
        if tree is not None:
            for tile in tree.unfinished():
                self._compare_tile(*tile)
            if self._root is not None and self._root != tree.root():
                self._found.note("head", "the checkpoint's root is not that of the entries")
        for level, number in log.read_tile_keys(self._connection):
            self._found.tiles += 1
            if tree is not None and not _has_tile(tree.size, level, number):
                self._found.note("tiles", f"tile {level}/{number} is too much")


class _Lists:
    """The status lists, one after the other, and what they say of each entry."""

    def __init__(self, connection: Connection, found: LogCheck) -> None:
        self._connection = connection
        self._found = found
        self._number = -1
        self._order: tuple[int, ...] | None = None
        self._lacking = False
        self._statuses: dict[int, int] = {}

    def at(self, index: int, kind: str | None) -> tuple[int | None, int]:
        """Return the status index that belongs to entry ``index``, and the value noted there.

        None and 0 where the entry is no objection, or where the list's order is lost.
        """
        number, position = divmod(index, STATUS_LIST_SIZE)
        if number != self._number:
            self._note_left()
            self._load(number)
        if kind != "objection":
            return None, 0
        if self._order is None:
            if not self._lacking:
                self._lacking = True
                self._found.note("statuses", f"the order of status list {number} is gone, or damaged")
            return None, 0
        status_index = number * STATUS_LIST_SIZE + self._order[position]
        value = self._statuses.pop(status_index, 0)
        if value not in {0, ERASED, WITHDRAWN}:
            self._found.note("statuses", f"status {status_index} has the value {value}, which means nothing")
        return status_index, value

    def finish(self, end: int) -> None:
        """Note what is left: statuses that belong to no objection of the log, which has ``end`` entries."""
        self._note_left()
        lists = -(-end // STATUS_LIST_SIZE)
        for index in records.stream_statuses_outside(self._connection, 0, lists * STATUS_LIST_SIZE):
            self._found.note("statuses", f"status {index} belongs to no objection")

    def _load(self, number: int) -> None:
        self._number, self._lacking = number, False
        self._order = _parse_order(records.read_permutation(self._connection, number))
        start = number * STATUS_LIST_SIZE
        self._statuses = records.read_statuses(self._connection, start=start, end=start + STATUS_LIST_SIZE)

    def _note_left(self) -> None:
        if self._order is not None:
            for index in sorted(self._statuses):
                self._found.note("statuses", f"status {index} belongs to no objection")
        self._statuses = {}


def _parse_order(permutation: bytes | None) -> tuple[int, ...] | None:
    if permutation is None or len(permutation) != 2 * STATUS_LIST_SIZE:
        return None
    order = struct.unpack(f">{STATUS_LIST_SIZE}H", permutation)
    return order if len(set(order)) == STATUS_LIST_SIZE else None


def _entry_of(record: Record) -> bytes:
    return format_entry(
        kind=record.kind, salt=record.salt, receipt_sha256=record.receipt_sha256, received_at=record.received_at
    )


def _has_tile(size: int, level: int, number: int) -> bool:
    nodes = size >> (TILE_HEIGHT * level) if 0 <= level < HASH_SIZE else 0
    return 0 <= number < -(-nodes // TILE_WIDTH)


def _compare_follows(connection: Connection, found: LogCheck) -> None:
    """Compare later receipts with the objections that they name, and withdrawals with the status lists."""
    for follow in records.stream_follows(connection):
        if follow.objection_kind != "objection" or (follow.objection_index or 0) >= follow.log_index:
            found.note("records", f"{follow.kind} {follow.log_index} belongs to no objection that is stored")
        elif follow.kind == "withdrawal" and follow.status != WITHDRAWN:
            found.note("statuses", f"status {follow.status_index} does not say what withdrawal {follow.log_index} says")
    for index, status_index in records.stream_noted_without_receipt(connection, WITHDRAWN, "withdrawal"):
        found.note("statuses", f"status {status_index} says withdrawn, and no withdrawal of objection {index} does")


def _compare_sums(connection: Connection, storage: Storage, head: Head, erased_later: Sum, found: LogCheck) -> None:
    """Compare tables whose rows lead to no entry with what the head says that they add up to."""
    macs = storage.keyring.row_macs
    try:
        sums = sums_of(head)
    except ParseError as error:
        found.note("head", str(error))
        return
    tables: dict[str, Iterable[Row]] = {
        "anchored_checkpoints": ((anchored.size,) for anchored, _ in anchors.stream_anchored(connection)),
        "releases": releases.stream_drawn(connection),
        **{table: stream_table(connection, table) for table in WHOLE},
    }
    for table, rows in tables.items():
        written = sums.get(table, Sum())
        there = Sum.of(macs.mac(table, row) for row in rows)
        if there.rows != written.rows:
            found.note("tables", f"table {table} has {there.rows} rows, {written.rows} were written")
        elif there != written:
            found.note("tables", f"table {table} has another row than was written")
    _compare_erased(connection, storage, erased_later, sums.get("erased_later", Sum()), found)


def _compare_erased(connection: Connection, storage: Storage, gone: Sum, removed: Sum, found: LogCheck) -> None:
    """Compare the supplements and withdrawals whose record is gone with those that erasures removed."""
    if gone == removed:
        return
    lost = gone.without(removed)
    if lost.rows == 1:
        for index in records.stream_entries_without_record(connection):
            if Sum.of([storage.keyring.row_macs.mac("erased_later", [index])]) == lost:
                found.note("records", f"entry {index} has lost its record: no erasure removed it")
                return
    found.note(
        "records",
        f"{gone.rows} supplements and withdrawals have no record, and erasures removed {removed.rows}, or others",
    )


def _note_strays(connection: Connection, found: LogCheck) -> None:
    for size in anchors.stream_stray_tokens(connection):
        found.note("anchors", f"a time stamp is of the checkpoint of {size} entries, which is not stored")
    for receipt_sha256 in tallies.stream_stray_contributions(connection):
        found.note("tables", f"a contribution belongs to no objection that is stored: {receipt_sha256.hex()}")
