"""Audit a log from outside: read what it publishes, derive its root anew, compare with what it signed, now and before.

Memory does not grow with the log: one tile of each level is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from server.core.log_policies import NO_QUORUM, LogPolicy, quorum_met, verify_witnesses
from server.core.merkle import HASH_SIZE, TILE_HEIGHT, TILE_WIDTH, TileTree, leaf_hash, tile_hash
from server.core.notes import Checkpoint, verify_checkpoint
from server.core.tiles import MAX_ENTRY_BYTES, TilePath, format_tile_path, parse_entries, width_at
from server.errors import Equivocation, ParseError, Unavailable, VerificationError

_MAX_NOTE_BYTES = 65_536
_CHECKPOINT, _ANCHORED = "checkpoint", "checkpoint/anchored"


class Read(Protocol):
    """Returns the bytes of a file of the log; raises VerificationError ``tile_missing``, or Unavailable."""

    def __call__(self, path: str, *, max_bytes: int) -> bytes: ...


@dataclass(frozen=True)
class Audit:
    """What was seen to hold. ``new_entries``: those read now; the ones before were read when ``last_seen`` was audited.

    ``cosigned``: (witness, time) on the checkpoint of ``witnessed_size`` entries, where the policy names witnesses.
    """

    note: str
    checkpoint: Checkpoint
    last_seen: Checkpoint | None
    new_entries: int
    witnessed_size: int | None
    cosigned: list[tuple[str, int]]


def audit_log(read: Read, *, policy: LogPolicy, last_note: str | None, progress: Callable[[int, int], None]) -> Audit:
    """Return what the log is, once every hash that it publishes follows from its entries, and it only grew.

    ``last_note``: the checkpoint of the last audit, whose entries are not read again.
    Raises Equivocation ``log_shrunk`` or ``consistency_mismatch``; VerificationError ``note_unverified``,
    ``tile_missing``, ``tile_mismatch``, ``checkpoint_mismatch`` when entries, tiles and checkpoint differ;
    ``quorum_missed``. ParseError when what is served has not the form it must have, and ``state_malformed`` for a
    ``last_note`` that this log never signed. Unavailable when the log cannot be read.
    """
    last_seen = None if last_note is None else _parse_state(last_note, policy)
    # Before the newest one: else an anchored checkpoint made meanwhile would be larger than it, and not be covered.
    anchored = _read_anchored(read)
    note = _text(read(_CHECKPOINT, max_bytes=_MAX_NOTE_BYTES))
    checkpoint = verify_checkpoint(note, trusted=policy.key)
    known = last_seen.size if last_seen else 0
    log = _Log(read, checkpoint.size)
    if last_seen and last_note:
        _compare_sizes(checkpoint, last_seen, notes=(last_note, note))
        if last_seen.size < checkpoint.size:
            log.start_from(last_seen, notes=(last_note, note))
    watched = _verify_quorum(policy, note, anchored)
    if known < checkpoint.size or checkpoint.size == 0:
        log.read_entries(known, progress)
        if log.root() != checkpoint.root:
            raise VerificationError("checkpoint_mismatch", "the signed root is not the one of the entries")
    if anchored is not None:
        earlier = verify_checkpoint(anchored, trusted=policy.key)
        if earlier.size > checkpoint.size:
            raise Unavailable("log_unavailable", "the log shows an older checkpoint than the anchored one; try again")
        log.verify_prefix(earlier, notes=(anchored, note))
    if watched is None:
        return Audit(note, checkpoint, last_seen, checkpoint.size - known, None, [])
    return Audit(note, checkpoint, last_seen, checkpoint.size - known, watched.checkpoint.size, watched.cosigned)


def _parse_state(last_note: str, policy: LogPolicy) -> Checkpoint:
    try:
        return verify_checkpoint(last_note, trusted=policy.key)
    except (ParseError, VerificationError) as error:
        raise ParseError("state_malformed", f"the last checkpoint is not one of this log: {error}") from error


@dataclass(frozen=True)
class _Watched:
    """A checkpoint that meets the policy's quorum."""

    note: str
    checkpoint: Checkpoint
    cosigned: list[tuple[str, int]]


def _read_anchored(read: Read) -> str | None:
    """A log that signs faster than its witnesses answer may publish what they cosigned beside the newest checkpoint."""
    try:
        return _text(read(_ANCHORED, max_bytes=_MAX_NOTE_BYTES))
    except VerificationError:
        return None


def _verify_quorum(policy: LogPolicy, note: str, anchored: str | None) -> _Watched | None:
    if policy.quorum == NO_QUORUM:
        return None
    for candidate in (note, anchored):
        if candidate is None:
            continue
        checkpoint = verify_checkpoint(candidate, trusted=policy.key)
        cosigned = verify_witnesses(candidate, policy)
        if quorum_met(policy, [name for name, _ in cosigned]):
            return _Watched(candidate, checkpoint, cosigned)
    raise VerificationError("quorum_missed", f"no published checkpoint has the cosignatures of {policy.quorum}")


def _compare_sizes(checkpoint: Checkpoint, last_seen: Checkpoint, *, notes: tuple[str, str]) -> None:
    if checkpoint.size < last_seen.size:
        shrunk = f"SHRUNK: the log signed {last_seen.size} entries before, and shows {checkpoint.size} now"
        raise Equivocation("log_shrunk", shrunk, notes=notes)
    if checkpoint.size == last_seen.size and checkpoint.root != last_seen.root:
        forked = f"FORK: the log signed two roots at {checkpoint.size} entries"
        raise Equivocation("consistency_mismatch", forked, notes=notes)


class _Log:
    """The log of ``size`` entries as it is being read. ``_rows``: by level, the hashes of the tile not yet full."""

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self._size = size
        self._rows: dict[int, bytes] = {}

    def start_from(self, last_seen: Checkpoint, *, notes: tuple[str, str]) -> None:
        """Take the right edge of the log as it was, once it is seen to have had that root."""
        tree = self.verify_prefix(last_seen, notes=notes)
        for level in range(_levels(last_seen.size)):
            number, width = divmod(last_seen.size >> (TILE_HEIGHT * level), TILE_WIDTH)
            self._rows[level] = tree.tile(level, number) if width else b""

    def verify_prefix(self, earlier: Checkpoint, *, notes: tuple[str, str]) -> TileTree:
        """Return the tree of ``earlier``, out of the tiles of today; raises Equivocation on a fork."""
        tree = TileTree(earlier.size, self._read_tile)
        if tree.root() != earlier.root:
            forked = f"FORK: the {self._size} entries of now do not begin with the {earlier.size} signed before"
            raise Equivocation("consistency_mismatch", forked, notes=notes)
        return tree

    def read_entries(self, known: int, progress: Callable[[int, int], None]) -> None:
        """Derive all hashes from the entries after the first ``known``, and compare them with the tiles."""
        for number in range(known // TILE_WIDTH, -(-self._size // TILE_WIDTH)):
            width = width_at(self._size, None, number)
            raw = self._read(format_tile_path(TilePath(None, number, width)), max_bytes=width * (MAX_ENTRY_BYTES + 2))
            hashes = b"".join(leaf_hash(entry) for entry in parse_entries(raw, count=width))
            if not hashes.startswith(self._rows.get(0, b"")):
                raise VerificationError("tile_mismatch", f"bundle {number} has other entries than at the last audit")
            self._complete(0, number, hashes)
            progress(min((number + 1) * TILE_WIDTH, self._size), self._size)
        for level in range(1, _levels(self._size)):
            if hashes := self._rows.get(level, b""):
                self._compare(level, (self._size >> (TILE_HEIGHT * level)) // TILE_WIDTH, hashes)

    def root(self) -> bytes:
        """Return the root of what was read: the unfinished tile of each level is all it takes."""
        return TileTree(self._size, lambda level, _number: self._rows[level]).root()

    def _complete(self, level: int, number: int, hashes: bytes) -> None:
        self._compare(level, number, hashes)
        if len(hashes) < TILE_WIDTH * HASH_SIZE:
            self._rows[level] = hashes
            return
        self._rows[level] = b""
        above = self._rows.get(level + 1, b"") + tile_hash(hashes)
        self._rows[level + 1] = above
        if len(above) == TILE_WIDTH * HASH_SIZE:
            self._complete(level + 1, number // TILE_WIDTH, above)

    def _compare(self, level: int, number: int, hashes: bytes) -> None:
        if self._read_tile(level, number) != hashes:
            raise VerificationError("tile_mismatch", f"tile {level}/{number} is not what the entries give")

    def _read_tile(self, level: int, number: int) -> bytes:
        width = width_at(self._size, level, number)
        tile = self._read(format_tile_path(TilePath(level, number, width)), max_bytes=TILE_WIDTH * HASH_SIZE)
        if len(tile) != width * HASH_SIZE:
            raise VerificationError("tile_mismatch", f"tile {level}/{number} has not {width} hashes")
        return tile


def _levels(size: int) -> int:
    return -(-size.bit_length() // TILE_HEIGHT)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ParseError("note_malformed", "the checkpoint is not text in UTF-8") from error
