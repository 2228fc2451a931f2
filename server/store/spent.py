"""Proofs of possession that were used: none is taken twice, by no thread, process or replica, and after no crash.

They are kept apart from the log: who asks for a proof waits for no writer, and no writer for who asks.
"""

import sqlite3
import threading
import time
from pathlib import Path
from typing import Protocol

from sqlalchemy import BigInteger, cast, delete, func
from sqlalchemy.dialects.postgresql import insert

from server.errors import OperatorError, Unavailable
from server.store.database import Database
from server.store.tables import dpop_proofs

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_BUSY_TIMEOUT_S = 10
_SWEEP_S = 60


class SpentProofs(Protocol):
    def spend(self, proof_id: bytes, *, signed_at: int, now: int) -> bool:
        """Return True to the first caller with this proof alone; False when it was spent before, or may have been.

        Raises Unavailable ``database_unavailable`` when that cannot be remembered: then it is not spent.
        """

    def close(self) -> None: ...


def open_spent_proofs(database: Database, file: Path, *, life_s: int, now: int) -> SpentProofs:
    """Return what remembers each proof for ``life_s``: the PostgreSQL of all replicas, else ``file``, of this machine.

    After ``life_s`` a proof must be too old to be taken. Raises OperatorError ``storage_unusable``; Unavailable.
    """
    if database.engine.dialect.name == "postgresql":
        return SharedProofs(database, life_s=life_s)
    return LocalProofs(file, life_s=life_s, now=now)


class _Sweep:
    """Tells once a minute that it is time to forget what has expired."""

    def __init__(self) -> None:
        self._due_at = 0.0

    def due(self) -> bool:
        if time.monotonic() < self._due_at:
            return False
        self._due_at = time.monotonic() + _SWEEP_S
        return True


class SharedProofs:
    """In PostgreSQL: each statement is a transaction, on its disk before it is answered.

    Its clock tells what has expired: that of one replica may be wrong.
    """

    def __init__(self, database: Database, *, life_s: int) -> None:
        self._database = database
        self._life_s = life_s
        self._sweep = _Sweep()

    def spend(self, proof_id: bytes, *, signed_at: int, now: int) -> bool:
        with self._database.statements() as connection:
            its_now = cast(func.extract("epoch", func.clock_timestamp()), BigInteger)
            if self._sweep.due():
                connection.execute(delete(dpop_proofs).where(dpop_proofs.c.expires_at < its_now))
            row = insert(dpop_proofs).values(proof_id=proof_id, expires_at=its_now + self._life_s)
            return (
                connection.execute(row.on_conflict_do_nothing().returning(dpop_proofs.c.proof_id)).first() is not None
            )

    def close(self) -> None:
        pass


class LocalProofs:
    """In an SQLite of its own.

    It outlives every process, but is not synced for each proof, which would keep the disk from the log: a power cut may
    take what was spent last. So proofs that were signed before the machine started, or before the file was made, are
    not taken; and those dated in the future, which that would not catch, are synced.
    """

    def __init__(self, file: Path, *, life_s: int, now: int) -> None:
        self._life_s = life_s
        self._sweep = _Sweep()
        self._lock = threading.Lock()
        try:
            self.connection = sqlite3.connect(
                file, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=16
            )
        except sqlite3.Error as error:
            raise _unusable(file, error) from error
        try:
            self._since, self._begun_s = self._begin(now)
        except sqlite3.Error as error:
            self.connection.close()
            raise _unavailable() if "locked" in str(error) else _unusable(file, error) from error

    def _begin(self, now: int) -> tuple[int, float]:
        """Return since when nothing was forgotten: the time, and what ``time.monotonic`` said, of this machine's start.

        The first process after a start of the machine writes both down for the others.
        """
        connection = self.connection
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA synchronous = FULL")
        boot = _boot_id()
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS spent_proofs (proof_id BLOB PRIMARY KEY, expires_s REAL) WITHOUT ROWID"
            )
            connection.execute("CREATE TABLE IF NOT EXISTS remembered (boot TEXT, since INT, begun_s REAL)")
            connection.execute("DELETE FROM spent_proofs WHERE 0")  # no row, and refused where it may only be read
            row = connection.execute("SELECT since, begun_s FROM remembered WHERE boot = ?", (boot,)).fetchone()
            if row is None or boot is None:
                row = (now, time.monotonic())
                connection.execute("DELETE FROM remembered")
                connection.execute("INSERT INTO remembered VALUES (?, ?, ?)", (boot, *row))
                connection.execute("UPDATE spent_proofs SET expires_s = ?", (row[1] + self._life_s,))
        return int(row[0]), float(row[1])

    def spend(self, proof_id: bytes, *, signed_at: int, now: int) -> bool:
        # Once the file has remembered for a proof's whole life, none that was forgotten is fresh, whatever the clock.
        if signed_at < self._since and time.monotonic() - self._begun_s <= self._life_s:
            return False
        # Not by the clock: one that goes an hour ahead, and back, would have what is fresh forgotten.
        elapsed_s = time.monotonic()
        row = (proof_id, elapsed_s + self._life_s)
        try:
            with self._lock:
                if self._sweep.due():
                    self.connection.execute("DELETE FROM spent_proofs WHERE expires_s < ?", (elapsed_s,))
                self.connection.execute(f"PRAGMA synchronous = {'FULL' if signed_at > now else 'NORMAL'}")
                return self.connection.execute("INSERT OR IGNORE INTO spent_proofs VALUES (?, ?)", row).rowcount == 1
        except sqlite3.Error as error:
            raise _unavailable() from error

    def close(self) -> None:
        with self._lock:
            self.connection.close()


def _boot_id() -> str | None:
    """Return what is another one after each start of the machine; None where the system does not tell."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return None


def _unusable(file: Path, error: sqlite3.Error) -> OperatorError:
    return OperatorError(
        "storage_unusable", f"{file}: {error}: look at owner and mode; a file that is damaged may be deleted"
    )


def _unavailable() -> Unavailable:
    return Unavailable("database_unavailable", "it cannot be remembered now that this proof was used; try again")
