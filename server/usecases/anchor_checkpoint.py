"""Have others vouch for the newest checkpoint: witnesses cosign it, time authorities stamp what they cosigned.

Runs beside recording, never in its path: what fails here is tried again later, and the log goes on meanwhile.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy import Connection

from server.core.log_policies import quorum_met, verify_witnesses
from server.core.merkle import TileTree
from server.core.rowmacs import RowMacs
from server.core.timestamps import TrustedAuthority, verify_timestamp
from server.core.witnessing import Cosigned, Stale
from server.errors import ObjectionError, VerificationError
from server.outside.time_authorities import request_timestamp
from server.outside.witnesses import Witness, add_checkpoint
from server.store import anchors, log
from server.store.anchors import AnchoredCheckpoint, TimeToken
from server.store.database import Database
from server.store.log import Head
from server.usecases.anchors import LOCAL_AUTHORITY
from server.usecases.find_anchor import vouchers_of
from server.usecases.keyring import Keyring
from server.usecases.row_sums import changing_sums

_log = logging.getLogger("objection.anchors")
_REMOTE_PAUSE_S = 15  # public authorities ask for no more, and witnesses count requests, too
_LOCAL_PAUSE_S = 2
_MAX_PAUSE_S = 900
_TIMEOUT_S = 10
T = TypeVar("T")


class Turn:
    """When something may be done again: after a pause, and a longer one after each failure in a row."""

    def __init__(self, pause_s: int, *, last: int = 0) -> None:
        self._pause_s = pause_s
        self._failures = 0
        self._next = last + pause_s

    def due(self, now: int) -> bool:
        # A clock that was set back must not silence anybody for longer than the longest pause.
        return now >= self._next or self._next - now > _MAX_PAUSE_S

    def done(self, now: int, *, failed: bool) -> None:
        self._failures = self._failures + 1 if failed else 0
        after_failures_s = min(_REMOTE_PAUSE_S << min(self._failures, 16), _MAX_PAUSE_S)
        self._next = now + (after_failures_s if failed else self._pause_s)


@dataclass(frozen=True)
class _Stamper:
    """A time authority that can be asked; ``stamp`` takes the note's bytes and returns a verified token."""

    name: str
    stamp: Callable[[bytes], TimeToken]


class Anchoring:
    """Anchors the newest checkpoint, round by round; what it remembers between rounds is only whom to ask when.

    A crash between two steps leaves a witness that has seen more than we know, which it will tell us, or a stamp that
    nobody has; never a checkpoint without the tokens that anchor it.
    """

    def __init__(self, database: Database, keyring: Keyring, *, clock: Callable[[], int]) -> None:
        self._database = database
        self._keyring = keyring
        self._clock = clock
        self._policy = keyring.policy
        self._witnesses = keyring.anchors.witnesses
        remote = [
            _Stamper(each.listed.name, _remote_stamp(each.url, each.trusted))
            for each in keyring.anchors.authorities
            if each.url is not None
        ]
        self._stampers = remote or [_Stamper(LOCAL_AUTHORITY, self._stamp_locally)]
        with database.reading() as connection:
            last = anchors.last_stamps(connection)
        pause_s = _REMOTE_PAUSE_S if remote or self._witnesses else _LOCAL_PAUSE_S
        self._turns = {each.name: Turn(pause_s, last=last.get(each.name, 0)) for each in self._stampers}
        self._rounds = Turn(pause_s)
        self._troubles: dict[str, str] = {}
        # Those that answer are asked in every round: with a pause of its own each would answer in another round than
        # the others, and no round would have its quorum.
        self._witness_turns = {each.name: Turn(0) for each in self._witnesses}
        # Of these the operator may have read that they do not answer: at the start of the server, or by us.
        self._missed = {each.name for each in self._witnesses}

    def run_once(self) -> AnchoredCheckpoint | None:
        """Anchor the newest checkpoint if it is not yet, as far as the others may be asked now; return what was stored.

        Raises Unavailable when the database does not answer.
        """
        with self._database.reading() as connection:
            head = log.read_head(connection)
            newest = anchors.newest_anchored(connection)
        if head is None or head.size == 0 or head.halted is not None:
            return None
        if newest is not None and newest.size >= head.size:
            # Nothing is to be cosigned; who was silent is asked all the same, so that its return is noticed and logged.
            self._cosignatures(head, [each for each in self._witnesses if each.name in self._missed])
            return self._complete(newest)
        due = self._due(self._stampers)
        if not due or not self._rounds.due(self._clock()):
            return None
        try:
            return self._anchor(head, due)
        finally:
            self._rounds.done(self._clock(), failed=False)

    def _anchor(self, head: Head, stampers: Sequence[_Stamper]) -> AnchoredCheckpoint | None:
        note = head.checkpoint + self._cosignatures(head, self._witnesses)
        # Without its quorum an anchored proof counts as recorded for every verifier: the stamp would be wasted.
        cosigned = [name for name, _ in verify_witnesses(note, self._policy.log)]
        if not quorum_met(self._policy.log, cosigned):
            self._say_once("quorum", "the quorum of witnesses is missed: nothing is stamped")
            return None
        self._say_once("quorum", None)
        tokens = self._stamps(note, stampers)
        if not tokens:
            return None
        anchored = AnchoredCheckpoint(head.size, note, tokens, vouchers_of(self._policy, cosigned, tokens))
        macs = self._keyring.row_macs
        with self._database.writing() as connection, changing_sums(connection, macs) as sums:
            anchors.insert_anchored(connection, anchored, mac=_mac(macs, anchored))
            sums.add("anchored_checkpoints", [(anchored.size,)])
        return anchored

    def _complete(self, newest: AnchoredCheckpoint) -> AnchoredCheckpoint | None:
        """Have those stamp the newest anchored checkpoint who could not when it was anchored."""
        missing = self._due([each for each in self._stampers if each.name not in newest.tokens])
        tokens = self._stamps(newest.note, missing)
        if not tokens:
            return None
        vouchers = newest.vouchers | vouchers_of(self._policy, (), tokens)
        completed = AnchoredCheckpoint(newest.size, newest.note, {**newest.tokens, **tokens}, vouchers)
        mac = _mac(self._keyring.row_macs, completed)
        with self._database.writing() as connection:
            anchors.insert_tokens(connection, newest.size, tokens, vouchers=vouchers, mac=mac)
        return completed

    def _due(self, stampers: Sequence[_Stamper]) -> list[_Stamper]:
        now = self._clock()
        return [each for each in stampers if self._turns[each.name].due(now)]

    def _stamps(self, note: str, stampers: Sequence[_Stamper]) -> dict[str, TimeToken]:
        asked = {each.name: lambda each=each: each.stamp(note.encode()) for each in stampers}
        return self._ask(asked, self._turns)

    def _cosignatures(self, head: Head, witnesses: Sequence[Witness]) -> str:
        now = self._clock()
        due = [each for each in witnesses if self._witness_turns[each.name].due(now)]
        asked = {each.name: lambda each=each: self._ask_witness(each, head) for each in due}
        answers = self._ask(asked, self._witness_turns)
        self._missed = (self._missed | asked.keys()) - answers.keys()
        return "".join(answers.values())

    def _ask(self, asked: Mapping[str, Callable[[], T]], turns: Mapping[str, Turn]) -> dict[str, T]:
        """Ask all at once, each within its timeout; return the answers by name, in order, of those that gave one."""
        answers: dict[str, T] = {}
        if not asked:
            return answers
        with ThreadPoolExecutor(len(asked), thread_name_prefix="anchors") as pool:
            futures: dict[str, Future[T]] = {name: pool.submit(ask) for name, ask in asked.items()}
            for name, future in futures.items():
                try:
                    answers[name] = future.result()
                except ObjectionError as error:
                    self._say_once(name, f"{error.code}: {error}")
        for name in asked:
            turns[name].done(self._clock(), failed=name not in answers)
            if name in answers:
                self._say_once(name, None)
        return answers

    def _say_once(self, name: str, trouble: str | None) -> None:
        """Log a witness's or an authority's trouble when it begins, changes or ends; not at every try."""
        before = self._troubles.get(name)
        if trouble == before:
            return
        if trouble is None:
            del self._troubles[name]
            _log.warning("%s: in order again", name)
        else:
            self._troubles[name] = trouble
            _log.warning("%s: %s", name, trouble)

    def _ask_witness(self, witness: Witness, head: Head) -> str:
        """Return the witness's signature line for the head; halts the log when the witness has seen another log."""
        with self._database.reading() as connection:
            old_size = anchors.read_witness_size(connection, witness.key.name)
        for _ in range(2):  # once with what we know, once with what it told us
            try:
                answer = ask_witness(self._database, self._keyring, witness, head, old_size, timeout_s=_TIMEOUT_S)
            except VerificationError as error:
                if error.code == "consistency_mismatch":
                    self._halt(str(error))
                raise
            if not isinstance(answer, Stale):
                self._remember(witness, head.size)
                return answer.lines
            if answer.size > head.size:
                self._halt_if_behind(witness, answer.size)
            elif answer.size == old_size:
                self._halt(f"{witness.name} has seen another log of {old_size} entries under our name")
            old_size = answer.size
        raise VerificationError("witness_refused", f"{witness.name} is at {old_size}, we are at {head.size}")

    def _remember(self, witness: Witness, size: int) -> None:
        # After the answer: if this is lost, the witness will say how far it is.
        with (
            self._database.writing() as connection,
            changing_sums(connection, self._keyring.row_macs) as sums,
            sums.following(connection, "witness_states"),
        ):
            anchors.write_witness_size(connection, witness.key.name, size)

    def _halt_if_behind(self, witness: Witness, size: int) -> None:
        with self._database.writing() as connection:
            head = log.read_head(connection, lock=True)
            if head is not None and head.size < size:  # else it only grew while we asked
                _halt(connection, f"{witness.name} has seen {size} entries, here are {head.size}: an old backup?")

    def _halt(self, reason: str) -> None:
        with self._database.writing() as connection:
            _halt(connection, reason)

    def _stamp_locally(self, data: bytes) -> TimeToken:
        authority = self._keyring.time_authority
        token = authority.timestamp(data, now=datetime.fromtimestamp(self._clock(), UTC))
        trusted = TrustedAuthority.from_der(authority.certificates)
        return TimeToken(token, verify_timestamp(token, data, trusted=trusted).at)


def ask_witness(
    database: Database, keyring: Keyring, witness: Witness, head: Head, old_size: int, *, timeout_s: float
) -> Cosigned | Stale:
    """Send the head to a witness that is at ``old_size``, with the proof that the log only grew since.

    Raises what ``add_checkpoint`` raises. What we remember as its size may be ahead of us: a proof needs a smaller one.
    """
    if old_size > head.size:
        return Stale(old_size)
    with database.reading() as connection:
        tree = TileTree(head.size, lambda level, number: log.read_tile(connection, level, number))
        path = tree.consistency_path(old_size)
    return add_checkpoint(
        witness, head.checkpoint, log=keyring.log_verifier, old_size=old_size, path=path, timeout_s=timeout_s
    )


def _mac(macs: RowMacs, anchored: AnchoredCheckpoint) -> bytes:
    return macs.mac("anchored_checkpoints", anchored.values_under_mac)


def _halt(connection: Connection, reason: str) -> None:
    log.halt(connection, reason)
    _log.critical("the log is halted: %s", reason)


def _remote_stamp(url: str, trusted: TrustedAuthority) -> Callable[[bytes], TimeToken]:
    def stamp(data: bytes) -> TimeToken:
        return TimeToken(*request_timestamp(url, data, trusted=trusted, timeout_s=_TIMEOUT_S))

    return stamp
