"""Group commit: whatever is queued when the last commit ends goes into the log in one transaction."""

import secrets
import struct
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from server.core.merkle import TileTree, leaf_hash
from server.core.notes import Checkpoint, format_checkpoint, sign_note
from server.core.proofs import format_entry, format_proof
from server.errors import Conflict, LogInconsistent, ObjectionError, Unavailable
from server.store import log, records
from server.store.database import Database
from server.store.records import Record

_MAX_GROUP = 256
STATUS_LIST_SIZE = 1 << 16
_WAIT_S = 25  # below gunicorn's timeout: a client learns that we are slow before the worker is shot


@dataclass(frozen=True)
class SealedReceipt:
    """A verified receipt, sealed and its blob on disk, ready to be logged. ``slot_digests``: 32 bytes each."""

    receipt_sha256: bytes
    holder_jti: bytes
    slot_digests: tuple[bytes, ...]
    kind: str
    salt: bytes
    wrapped_share: bytes
    blob: str
    issuer_kid: str


@dataclass(frozen=True)
class Logged:
    """Where a receipt stands in the log. ``repeated``: it stood there before. ``proof``: tlog-proof text."""

    record: Record
    proof: str
    repeated: bool


class LogWriter:
    """Appends to the log, from one thread a process; processes take turns in the database.

    No timers: a lone receipt commits at once, and while a commit runs the next group gathers.
    """

    def __init__(self, database: Database, *, name: str, key: Ed25519PrivateKey, clock: Callable[[], int]) -> None:
        self._database = database
        self._name = name
        self._key = key
        self._clock = clock
        self._status_order = _StatusOrder()
        self._queue: SimpleQueue[tuple[SealedReceipt, Future[Logged]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def append(self, receipt: SealedReceipt) -> Logged:
        """Return once ``receipt`` is durably in the log, or was before.

        Raises Conflict ``jti_reused`` or ``digest_reused``. Raises Unavailable when the outcome is not known: the same
        receipt may be sent again, and gets the original answer if it was stored after all.
        """
        future: Future[Logged] = Future()
        self._queue.put((receipt, future))
        try:
            return future.result(timeout=_WAIT_S)
        except TimeoutError as error:
            raise Unavailable("log_busy", "the log is busy; send the same receipt again") from error

    def alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            group = [item]
            while not self._queue.empty() and len(group) < _MAX_GROUP:
                following = self._queue.get()
                if following is None:
                    self._queue.put(None)
                    break
                group.append(following)
            self._serve(group)

    def _serve(self, group: Sequence[tuple[SealedReceipt, "Future[Logged]"]]) -> None:
        receipts, futures = zip(*group, strict=True)
        outcomes: Sequence[Logged | ObjectionError]
        try:
            with self._database.writing() as connection:
                outcomes = self._append_group(connection, receipts)
        except Exception as error:  # noqa: BLE001 (whatever went wrong, nobody waiting may believe it was stored)
            self._status_order.forget()  # it may hold an order whose transaction was rolled back
            outcomes = [_as_unavailable(error)] * len(receipts)
        for future, outcome in zip(futures, outcomes, strict=True):
            if isinstance(outcome, Logged):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)

    def _append_group(self, connection: Connection, receipts: Sequence[SealedReceipt]) -> list[Logged | ObjectionError]:
        """Log what is new of ``receipts`` in the caller's transaction; answer for each, in order."""
        head = log.read_head(connection, lock=True)
        if head is None:
            raise LogInconsistent("log_inconsistent", "the log has no head")
        seen = _Seen(connection, receipts)
        new: list[tuple[SealedReceipt, Record]] = []
        decided: list[tuple[Record, bool] | Conflict] = []
        for receipt in receipts:
            if conflict := seen.conflict(receipt):
                decided.append(conflict)
            elif known := seen.records.get(receipt.receipt_sha256):
                decided.append((known, True))
            else:
                index = head.size + len(new)
                record = _record(receipt, index, self._status_order.index(connection, index), self._clock())
                new.append((receipt, record))
                seen.add(receipt, record)
                decided.append((record, False))
        tree = TileTree(head.size, lambda level, number: log.read_tile(connection, level, number))
        checkpoint = self._extend(connection, tree, new) if new else head.checkpoint
        return [
            outcome if isinstance(outcome, Conflict) else _logged(*outcome, tree=tree, checkpoint=checkpoint)
            for outcome in decided
        ]

    def _extend(self, connection: Connection, tree: TileTree, new: Sequence[tuple[SealedReceipt, Record]]) -> str:
        """Store the ``new`` records and their entries; return the signed checkpoint that covers them."""
        start = tree.size
        entries = [
            format_entry(
                kind=record.kind,
                salt=record.salt,
                receipt_sha256=record.receipt_sha256,
                received_at=record.received_at,
            )
            for _, record in new
        ]
        tree.append(leaf_hash(entry) for entry in entries)
        checkpoint = sign_note(format_checkpoint(Checkpoint(self._name, tree.size, tree.root())), self._name, self._key)
        log.insert_entries(connection, start, entries)
        log.write_tiles(connection, {tile: tree.tile(*tile) for tile in tree.changed})
        records.insert_records(connection, [record for _, record in new])
        digests = [(digest, receipt.receipt_sha256) for receipt, _ in new for digest in receipt.slot_digests]
        if digests:
            records.insert_slot_digests(connection, digests)
        log.move_head(connection, old_size=start, size=tree.size, checkpoint=checkpoint)
        return checkpoint


class _Seen:
    """What the register has already of a group of receipts, and what the group itself adds."""

    def __init__(self, connection: Connection, receipts: Sequence[SealedReceipt]) -> None:
        hashes = [receipt.receipt_sha256 for receipt in receipts]
        self.records = {record.receipt_sha256: record for record in records.find_records(connection, hashes)}
        self._jtis = records.find_holder_jtis(connection, [receipt.holder_jti for receipt in receipts])
        digests = [digest for receipt in receipts for digest in receipt.slot_digests]
        self._digests = records.find_slot_digests(connection, digests) if digests else set()

    def conflict(self, receipt: SealedReceipt) -> Conflict | None:
        if receipt.receipt_sha256 in self.records:
            return None
        if receipt.holder_jti in self._jtis:
            return Conflict("jti_reused", "this key has already signed another receipt with the same jti")
        if not self._digests.isdisjoint(receipt.slot_digests):
            return Conflict("digest_reused", "a self-asserted digest stands in another record already")
        return None

    def add(self, receipt: SealedReceipt, record: Record) -> None:
        self.records[receipt.receipt_sha256] = record
        self._jtis.add(receipt.holder_jti)
        self._digests.update(receipt.slot_digests)


class _StatusOrder:
    """Gives the n-th record of each status list an index of that list: unique, and telling nobody when it was."""

    def __init__(self) -> None:
        self._orders: dict[int, bytes] = {}

    def index(self, connection: Connection, log_index: int) -> int:
        """Return list number · 65536 + index in the list; makes the list's order with its first record."""
        list_number, position = divmod(log_index, STATUS_LIST_SIZE)
        if list_number not in self._orders:
            self._orders[list_number] = self._load(connection, list_number)
        (index,) = struct.unpack_from(">H", self._orders[list_number], 2 * position)
        return list_number * STATUS_LIST_SIZE + int(index)

    def forget(self) -> None:
        self._orders.clear()

    @staticmethod
    def _load(connection: Connection, list_number: int) -> bytes:
        stored = records.read_permutation(connection, list_number)
        if stored is not None:
            return stored
        order = list(range(STATUS_LIST_SIZE))
        secrets.SystemRandom().shuffle(order)
        permutation = struct.pack(f">{STATUS_LIST_SIZE}H", *order)
        records.insert_permutation(connection, list_number, permutation)
        return permutation


def find_logged(connection: Connection, receipt_sha256: bytes) -> Logged | None:
    """Return where a receipt stands in the log, with a proof against the newest checkpoint."""
    record = records.find_record(connection, receipt_sha256)
    head = log.read_head(connection)
    if record is None or head is None:
        return None
    tree = TileTree(head.size, lambda level, number: log.read_tile(connection, level, number))
    return _logged(record, True, tree=tree, checkpoint=head.checkpoint)


def _record(receipt: SealedReceipt, log_index: int, status_index: int, received_at: int) -> Record:
    return Record(
        receipt_sha256=receipt.receipt_sha256,
        holder_jti=receipt.holder_jti,
        log_index=log_index,
        status_index=status_index,
        kind=receipt.kind,
        received_at=received_at,
        salt=receipt.salt,
        wrapped_share=receipt.wrapped_share,
        blob=receipt.blob,
        issuer_kid=receipt.issuer_kid,
    )


def _logged(record: Record, repeated: bool, *, tree: TileTree, checkpoint: str) -> Logged:
    path = tree.path(record.log_index)
    proof = format_proof(salt=record.salt, index=record.log_index, path=path, checkpoint_note=checkpoint)
    return Logged(record, proof, repeated)


def _as_unavailable(error: Exception) -> ObjectionError:
    if isinstance(error, ObjectionError):
        return error
    unavailable = Unavailable("log_unavailable", "the log could not be written; send the same receipt again")
    unavailable.__cause__ = error
    return unavailable
