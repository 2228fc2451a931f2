"""Group commit: whatever is queued when the last commit ends goes into the log in one transaction."""

import logging
import secrets
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from schemas.vocabulary import MAX_EVIDENCE_TOTAL_BYTES
from server.core.encoding import sha256
from server.core.merkle import SubtreeHashes, TileTree, leaf_hash
from server.core.notes import Checkpoint, format_checkpoint, sign_note
from server.core.proofs import format_consistency, format_entry, format_proof
from server.core.receipts import CLOCK_SKEW_S
from server.core.rowmacs import RowMacs
from server.core.statuslists import ERASED, STATUS_LIST_SIZE, WITHDRAWN
from server.errors import Conflict, Gone, LogInconsistent, ObjectionError, TooLarge, Unavailable
from server.store import log, records
from server.store.blobs import LocalBlobs
from server.store.database import Database
from server.store.kept_checkpoint import KeptCheckpoint
from server.store.log import Head
from server.store.records import Record
from server.usecases.find_anchor import Anchor
from server.usecases.row_sums import RowSums
from server.usecases.tally import Countable, count_recorded, note_outcome, uncount

_CLOCK_SAID_EVERY_S = 60
_MAX_GROUP = 256
_MAX_GROUP_BYTES = 1 << 25
_MAX_SUBTREES = 1 << 16
MAX_SUPPLEMENTS = 16
_KEEP_EVERY_S = 1.0  # a sync of the disk that recording waits for
_WAIT_S = 25  # a client learns that the log is slow before it, or a proxy, stops waiting

_log = logging.getLogger("objection.log")


@dataclass(frozen=True)
class SealedReceipt:
    """A verified receipt, sealed, ready to be stored and logged. ``slot_digests``: 32 bytes each.

    ``objection_sha256``: what a later receipt is about. ``guarded_until``: until when the receipt of an objection that
    this one erases would still be fresh, seconds. ``erased_digests``: the slot digests of that objection. Of an erasure
    nothing is sealed, and no ``holder_jti`` kept. ``sealed_sha256``: of what is sealed; hashed before the log is held.
    ``countable``: of an objection that is to be counted. ``outcome``: what a supplement makes of its objection there.
    """

    receipt_sha256: bytes
    holder_jti: bytes | None
    slot_digests: tuple[bytes, ...]
    kind: str
    salt: bytes
    wrapped_share: bytes | None
    sealed: bytes
    sealed_sha256: bytes | None
    issuer_kid: str
    assurance: str = "device"
    evidence_bytes: int = 0
    objection_sha256: bytes | None = None
    guarded_until: int = 0
    erased_digests: tuple[bytes, ...] = ()
    countable: Countable | None = None
    outcome: str | None = None


@dataclass(frozen=True)
class Logged:
    """Where a receipt stands in the log. ``repeated``: it stood there before. ``proof``: tlog-proof text.

    The proof leads to the checkpoint of ``anchor`` where there is one, else to the newest; ``size``: of it.
    """

    record: Record
    proof: str
    size: int
    repeated: bool
    anchor: Anchor | None = None


class _Submission:
    """A receipt in the queue, until its sender gives up, and the outcome.

    The outcome is one put, one get: a future would bring a condition of its own, at several times the cost.
    """

    def __init__(self, receipt: SealedReceipt) -> None:
        self.receipt: SealedReceipt | None = receipt
        self.outcome: SimpleQueue[Logged | ObjectionError] = SimpleQueue()


class LogWriter:
    """Appends to the log, from one thread a process; processes take turns in the database.

    No timers: a lone receipt commits at once, and while a commit runs the next group gathers.
    """

    def __init__(
        self,
        database: Database,
        blobs: LocalBlobs,
        *,
        name: str,
        key: Ed25519PrivateKey,
        clock: Callable[[], int],
        kept: KeptCheckpoint | None = None,
    ) -> None:
        """``kept``: where the newest checkpoint is kept outside of the database, if anywhere."""
        self._database = database
        self._blobs = blobs
        self._keeping = _Keeping(kept)
        self._name = name
        self._key = key
        self._clock = clock
        self._macs = RowMacs(key)
        self._clock_said_at = float("-inf")
        self._status_order = _StatusOrder()
        self._subtrees: SubtreeHashes = {}
        self._queue: SimpleQueue[_Submission | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def append(self, receipt: SealedReceipt) -> Logged:
        """Return once ``receipt`` is durably in the log, or was before.

        Raises Conflict ``jti_reused``, ``digest_reused``, ``already_withdrawn`` or ``too_many_supplements``, TooLarge
        ``evidence_too_large``, Gone ``record_erased``, Unavailable ``clock_behind``. Raises other Unavailable when the
        outcome is not known: the same receipt may be sent again, and gets the original answer if it was stored after
        all.
        """
        submission = _Submission(receipt)
        self._queue.put(submission)
        try:
            outcome = submission.outcome.get(timeout=_WAIT_S)
        except Empty as error:
            submission.receipt = None  # while the log stands still, what nobody waits for must not fill the memory
            raise Unavailable("log_busy", "the log is busy; send the same receipt again") from error
        if isinstance(outcome, ObjectionError):
            raise outcome
        return outcome

    def alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                first = self._queue.get(timeout=self._keeping.due_in_s())
            except Empty:
                self._keeping.keep()
                continue
            if first is None:
                break
            group = [first]
            outcomes: Sequence[Logged | ObjectionError]
            try:
                with self._database.writing() as connection:
                    # Only now, with the log ours: while other processes had it, the group grew.
                    group, receipts = self._gather(first)
                    outcomes = self._append_group(connection, receipts)
                self._keeping.note_committed()
            except Exception as error:  # noqa: BLE001 (whatever went wrong, nobody waiting may believe it was stored)
                self._forget()
                outcomes = [_as_unavailable(error)] * len(group)
            for submission, outcome in zip(group, outcomes, strict=True):
                submission.outcome.put(outcome)
            if self._keeping.due_in_s() == 0:
                self._keeping.keep()
        self._keeping.keep()

    def _forget(self) -> None:
        """Drop what was remembered of the last group: its transaction may have been rolled back."""
        self._status_order.forget()
        self._subtrees.clear()
        self._keeping.forget()

    def _gather(self, first: _Submission) -> tuple[list[_Submission], list[SealedReceipt]]:
        """Take ``first`` and what is queued behind it, without waiting, up to the bounds, but for what was given up.

        The mark of the end stays for the next round.
        """
        group: list[_Submission] = []
        receipts: list[SealedReceipt] = []
        size = 0
        submission: _Submission | None = first
        while submission is not None:
            receipt = submission.receipt
            if receipt is not None:
                group.append(submission)
                receipts.append(receipt)
                size += len(receipt.sealed)
            if len(group) >= _MAX_GROUP or size >= _MAX_GROUP_BYTES or self._queue.empty():
                return group, receipts
            submission = self._queue.get()
        self._queue.put(None)
        return group, receipts

    def _append_group(self, connection: Connection, receipts: Sequence[SealedReceipt]) -> list[Logged | ObjectionError]:
        """Log what is new of ``receipts`` in the caller's transaction; answer for each, in order."""
        head = _locked_head(connection)
        known, new, conflicts = _sort_out(connection, receipts)
        now = self._clock()
        if new and head.halted is not None:  # what is recorded is answered all the same
            conflicts |= {receipt.salt: _halted() for receipt in new}
            new = []
        if new and is_clock_behind(head, now=now):
            self._say_clock_behind(head.newest_at - now)
            conflicts |= {receipt.salt: clock_behind() for receipt in new}
            new = []
        sums = RowSums(self._macs, head.sums)
        if len(self._subtrees) > _MAX_SUBTREES:
            self._subtrees.clear()
        tree = TileTree(
            head.size, lambda level, number: log.read_tile(connection, level, number), subtrees=self._subtrees
        )
        checkpoint = head.checkpoint
        with self._blobs.stored([receipt.sealed for receipt in new if receipt.sealed]) as blobs:
            if new:
                # Within the skew that verifiers allow, the newest entry's time is told: it was received by then.
                received_at = max(now, head.newest_at)
                added = self._store(connection, new, iter(blobs), sums, start=head.size, received_at=received_at)
                known |= {record.receipt_sha256: record for record in added}
                checkpoint = self._extend(connection, tree, added, sums)
            return [
                conflicts[receipt.salt] if receipt.salt in conflicts else _logged(receipt, known, tree, checkpoint)
                for receipt in receipts
            ]

    def _say_clock_behind(self, behind_s: int) -> None:
        if time.monotonic() - self._clock_said_at > _CLOCK_SAID_EVERY_S:
            self._clock_said_at = time.monotonic()
            _log.critical("the clock is %d s behind the log's newest entry: nothing is recorded", behind_s)

    def _store(
        self,
        connection: Connection,
        new: Sequence[SealedReceipt],
        blobs: Iterator[str],
        sums: RowSums,
        *,
        start: int,
        received_at: int,
    ) -> list[Record]:
        """Store records of ``new`` receipts, which get the log's indexes from ``start``; ``blobs``: of those sealed."""
        added = [
            Record(
                receipt_sha256=receipt.receipt_sha256,
                # An erasure's record leads to nothing.
                objection_sha256=None if receipt.kind == "erasure" else receipt.objection_sha256,
                holder_jti=receipt.holder_jti,
                log_index=index,
                status_index=self._status_order.index(connection, index) if receipt.kind == "objection" else None,
                kind=receipt.kind,
                received_at=received_at,
                salt=receipt.salt,
                wrapped_share=receipt.wrapped_share,
                blob=next(blobs) if receipt.sealed else None,
                issuer_kid=receipt.issuer_kid,
                assurance=receipt.assurance,
                evidence_bytes=receipt.evidence_bytes,
                sealed_sha256=receipt.sealed_sha256,
            )
            for index, receipt in enumerate(new, start)
        ]
        macs = [self._macs.mac("records", vars(record).values()) for record in added]
        records.insert_records(connection, added, macs)
        self._status_order.note_new(sums)
        digests = [digest for receipt in new for digest in receipt.slot_digests]
        records.insert_slot_digests(connection, digests)
        sums.add("slot_digests", [(digest,) for digest in digests])
        if recorded := [receipt.countable for receipt in new if receipt.countable]:
            count_recorded(connection, recorded, sums, received_at=received_at)
        for receipt in new:
            _follow_up(connection, receipt, sums)
        return added

    def _extend(self, connection: Connection, tree: TileTree, added: Sequence[Record], sums: RowSums) -> str:
        """Append the entries of ``added`` records; return the signed checkpoint that covers them."""
        start = tree.size
        entries = [
            format_entry(
                kind=record.kind,
                salt=record.salt,
                receipt_sha256=record.receipt_sha256,
                received_at=record.received_at,
            )
            for record in added
        ]
        tree.append(leaf_hash(entry) for entry in entries)
        checkpoint = sign_note(format_checkpoint(Checkpoint(self._name, tree.size, tree.root())), self._name, self._key)
        log.insert_entries(connection, start, entries)
        log.write_tiles(connection, {tile: tree.tile(*tile) for tile in tree.changed})
        log.move_head(
            connection,
            old_size=start,
            size=tree.size,
            checkpoint=checkpoint,
            newest_at=added[-1].received_at,
            sums=sums.text(),
        )
        self._keeping.note_signed(checkpoint)
        return checkpoint


class _Keeping:
    """Keeps the newest checkpoint outside of the database: after the commit, once a second at most, and at the end.

    Nobody's answer waits for it. A crash leaves the file up to a second behind.
    """

    def __init__(self, kept: KeptCheckpoint | None) -> None:
        self._kept = kept
        self._signed: str | None = None
        self._committed: str | None = None
        self._due_at = 0.0

    def note_signed(self, checkpoint: str) -> None:
        self._signed = checkpoint

    def note_committed(self) -> None:
        if self._signed is not None:
            self._committed, self._signed = self._signed, None

    def forget(self) -> None:
        """Drop what was signed in a transaction that failed, or may have."""
        self._signed = None

    def due_in_s(self) -> float | None:
        """Return after how many seconds there is something to keep; None while there is nothing."""
        if self._kept is None or self._committed is None:
            return None
        return max(self._due_at - time.monotonic(), 0.0)

    def keep(self) -> None:
        if self._kept is None or self._committed is None:
            return
        self._due_at = time.monotonic() + _KEEP_EVERY_S
        if self._kept.keep(self._committed):
            self._committed = None


class _StatusOrder:
    """Gives the n-th record of each status list an index of that list: unique, and telling nobody when it was."""

    def __init__(self) -> None:
        self._orders: dict[int, bytes] = {}
        self._new: list[tuple[int, bytes]] = []

    def index(self, connection: Connection, log_index: int) -> int:
        """Return list number · 65536 + index in the list; makes the list's order with its first record."""
        list_number, position = divmod(log_index, STATUS_LIST_SIZE)
        if list_number not in self._orders:
            self._orders[list_number] = self._load(connection, list_number)
        (index,) = struct.unpack_from(">H", self._orders[list_number], 2 * position)
        return list_number * STATUS_LIST_SIZE + int(index)

    def note_new(self, sums: RowSums) -> None:
        """Add the orders that were made in this transaction to ``sums``."""
        sums.add("status_lists", self._new)
        self._new.clear()

    def forget(self) -> None:
        self._orders.clear()
        self._new.clear()

    def _load(self, connection: Connection, list_number: int) -> bytes:
        stored = records.read_permutation(connection, list_number)
        if stored is not None:
            return stored
        # By random numbers of 64 bits: as good as a shuffle, in a quarter of the time, for which the log stands still.
        numbers = struct.unpack(f">{STATUS_LIST_SIZE}Q", secrets.token_bytes(8 * STATUS_LIST_SIZE))
        order = sorted(range(STATUS_LIST_SIZE), key=numbers.__getitem__)
        permutation = struct.pack(f">{STATUS_LIST_SIZE}H", *order)
        records.insert_permutation(connection, list_number, permutation)
        self._new.append((list_number, permutation))
        return permutation


def writable_head(connection: Connection) -> Head:
    """Return the log's head, locked. Raises LogInconsistent ``log_inconsistent``, ``log_halted``."""
    head = _locked_head(connection)
    refuse_halted(head)
    return head


def _locked_head(connection: Connection) -> Head:
    head = log.read_head(connection, lock=True)
    if head is None:
        raise LogInconsistent("log_inconsistent", "the log has no head")
    return head


def refuse_halted(head: Head | None) -> None:
    """Raises LogInconsistent ``log_halted``. Why is for the operator alone."""
    if head is not None and head.halted is not None:
        raise _halted()


def _halted() -> LogInconsistent:
    return LogInconsistent("log_halted", "this log signs nothing any more; its operator knows why")


def find_logged(connection: Connection, receipt_sha256: bytes, *, anchor: Anchor | None = None) -> Logged | None:
    """Return where a receipt stands in the log, with a proof against the checkpoint of ``anchor``, which covers it.

    Without an anchor the proof is against the newest checkpoint.
    """
    record = records.find_record(connection, receipt_sha256)
    head = log.read_head(connection)
    if record is None or head is None:
        return None
    size, note = (head.size, head.checkpoint) if anchor is None else (anchor.size, anchor.checkpoint_note)
    tree = TileTree(size, lambda level, number: log.read_tile(connection, level, number))
    return Logged(record, _proof(record, tree, note), size, repeated=True, anchor=anchor)


def consistency_of(connection: Connection, old_size: int, size: int) -> str:
    """Return the proof that the log of ``size`` entries begins with its first ``old_size`` ones."""
    tree = TileTree(size, lambda level, number: log.read_tile(connection, level, number))
    return format_consistency(old_size, tree.consistency_path(old_size))


def replay_guard(identity: bytes) -> bytes:
    """Return what is remembered of an erased receipt for a while: it leads to no record, and to no entry of the log.

    ``identity``: the receipt's SHA-256, by which it is asked for; or its ``holder_jti``, by which a copy is known whose
    signature was rewritten: of each ECDSA signature (r, s), anybody can make (r, -s), as valid as the first.
    """
    return sha256(b"erased" + identity)


def _guards_of(receipt: SealedReceipt | Record) -> list[bytes]:
    return [replay_guard(identity) for identity in (receipt.receipt_sha256, receipt.holder_jti) if identity is not None]


def _follow_up(connection: Connection, receipt: SealedReceipt, sums: RowSums) -> None:
    """Do to an objection what a later receipt asks for, in the transaction that logs it."""
    if receipt.kind == "objection" or receipt.objection_sha256 is None:
        return
    if receipt.kind == "supplement":
        if receipt.outcome is not None:
            note_outcome(connection, receipt.objection_sha256, receipt.outcome, sums)
        return
    objection = records.find_record(connection, receipt.objection_sha256)
    if objection is None or objection.status_index is None:
        raise LogInconsistent("log_inconsistent", "the objection vanished under the writer")
    if receipt.kind == "withdrawal":
        records.write_status(connection, objection.status_index, WITHDRAWN)
        note_outcome(connection, receipt.objection_sha256, "withdrawn", sums)
        return
    records.write_status(connection, objection.status_index, ERASED)
    guards = _guards_of(objection)
    records.insert_guards(connection, guards, expires_at=receipt.guarded_until)
    sums.add("erased_receipts", [(guard, receipt.guarded_until) for guard in guards])
    later = records.delete_objection(connection, receipt.objection_sha256, receipt.erased_digests)
    sums.remove("slot_digests", [(digest,) for digest in receipt.erased_digests])
    sums.add("erased_later", [(log_index,) for log_index in later])
    uncount(connection, receipt.objection_sha256, sums)


def _sort_out(
    connection: Connection, receipts: Sequence[SealedReceipt]
) -> tuple[dict[bytes, Record], list[SealedReceipt], dict[bytes, ObjectionError]]:
    """Return the records that ``receipts`` have already, those that are new, and by salt the conflict of the others.

    A receipt twice in one group is new once.
    """
    found = records.find_records(
        connection,
        hashes=[receipt.receipt_sha256 for receipt in receipts],
        holder_jtis=[receipt.holder_jti for receipt in receipts if receipt.holder_jti],
    )
    objections = _Objections(connection, receipts)
    digests = records.find_slot_digests(connection, [digest for receipt in receipts for digest in receipt.slot_digests])
    known = {record.receipt_sha256: record for record in found}
    hashes = set(known)
    jtis = {record.holder_jti for record in found}
    new: list[SealedReceipt] = []
    conflicts: dict[bytes, ObjectionError] = {}
    for receipt in receipts:
        if receipt.receipt_sha256 in hashes:
            if objections.erased_before(receipt):
                conflicts[receipt.salt] = _gone()
            continue
        if receipt.holder_jti and receipt.holder_jti in jtis:
            conflicts[receipt.salt] = Conflict("jti_reused", "this key has signed another receipt with the same jti")
        elif not digests.isdisjoint(receipt.slot_digests):
            conflicts[receipt.salt] = Conflict("digest_reused", "a self-asserted digest stands in another record")
        elif conflict := objections.conflict(receipt):
            conflicts[receipt.salt] = conflict
        else:
            new.append(receipt)
            hashes.add(receipt.receipt_sha256)
            if receipt.holder_jti:
                jtis.add(receipt.holder_jti)
            digests.update(receipt.slot_digests)
            objections.add(receipt)
    return known, new, conflicts


class _Objections:
    """What later receipts of a group are about, as it stands when each one's turn comes."""

    def __init__(self, connection: Connection, receipts: Sequence[SealedReceipt]) -> None:
        named = {receipt.objection_sha256 for receipt in receipts if receipt.objection_sha256}
        objections = [receipt for receipt in receipts if receipt.kind == "objection"]
        guards = [guard for receipt in objections for guard in _guards_of(receipt)]
        self._guards = records.find_guards(connection, guards)
        self._kinds: dict[bytes, list[str]] = {}
        self._bytes: dict[bytes, int] = {}
        self._erased: set[bytes] = set()
        if not named:
            return
        for objection in records.find_records(connection, hashes=list(named)):
            later = records.find_later(connection, objection.receipt_sha256)
            self._kinds[objection.receipt_sha256] = [record.kind for record in later]
            self._bytes[objection.receipt_sha256] = sum(record.evidence_bytes for record in (objection, *later))
        self._erased = named - self._kinds.keys()

    def erased_before(self, receipt: SealedReceipt) -> bool:
        """Tell whether an erasure in this group deletes the record of ``receipt``, which is sent again behind it."""
        theirs = {receipt.receipt_sha256, receipt.objection_sha256}
        return receipt.kind != "erasure" and not self._erased.isdisjoint(theirs)

    def conflict(self, receipt: SealedReceipt) -> ObjectionError | None:
        """Return why ``receipt`` cannot be recorded any more, if so."""
        if receipt.objection_sha256 in self._erased or not self._guards.isdisjoint(_guards_of(receipt)):
            return _gone()
        if receipt.objection_sha256 is None:
            return None
        kinds = self._kinds[receipt.objection_sha256]
        if receipt.kind == "withdrawal" and "withdrawal" in kinds:
            return Conflict("already_withdrawn", "this objection was withdrawn before, by another receipt")
        if receipt.kind == "supplement" and kinds.count("supplement") >= MAX_SUPPLEMENTS:
            return Conflict("too_many_supplements", f"an objection takes at most {MAX_SUPPLEMENTS} supplements")
        if self._bytes[receipt.objection_sha256] + receipt.evidence_bytes > MAX_EVIDENCE_TOTAL_BYTES:
            return TooLarge(
                "evidence_too_large", f"an objection holds at most {MAX_EVIDENCE_TOTAL_BYTES} bytes of evidence in all"
            )
        return None

    def add(self, receipt: SealedReceipt) -> None:
        """Take ``receipt`` into account for those behind it in the group."""
        if receipt.objection_sha256 is None:
            return
        self._kinds[receipt.objection_sha256].append(receipt.kind)
        self._bytes[receipt.objection_sha256] += receipt.evidence_bytes
        if receipt.kind == "erasure":
            self._erased.add(receipt.objection_sha256)


def is_clock_behind(head: Head, *, now: int) -> bool:
    """Tell whether the clock is further behind the log's newest entry than verifiers allow: times never run back."""
    return now < head.newest_at - CLOCK_SKEW_S


def clock_behind() -> Unavailable:
    return Unavailable("clock_behind", "the register's clock is behind its own log; send the same receipt again later")


def _gone() -> Gone:
    return Gone("record_erased", "its holder had this objection erased")


def _logged(receipt: SealedReceipt, known: Mapping[bytes, Record], tree: TileTree, checkpoint: str) -> Logged:
    record = known[receipt.receipt_sha256]
    # The salt is drawn anew for each submission: another one in the record means that an earlier one made it.
    return Logged(record, _proof(record, tree, checkpoint), tree.size, repeated=record.salt != receipt.salt)


def _proof(record: Record, tree: TileTree, checkpoint: str) -> str:
    path = tree.path(record.log_index)
    return format_proof(salt=record.salt, index=record.log_index, path=path, checkpoint_note=checkpoint)


def _as_unavailable(error: Exception) -> ObjectionError:
    if isinstance(error, ObjectionError) and error.code != "log_inconsistent":  # that is for the operator to read
        return error
    unavailable = Unavailable("log_unavailable", "the log could not be written; send the same receipt again")
    unavailable.__cause__ = error
    return unavailable
