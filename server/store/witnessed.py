"""What a witness remembers: of each log the newest checkpoint that it cosigned. One small SQLite file."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from server.errors import OperatorError


@dataclass(frozen=True)
class Witnessed:
    """Of a log: ``size`` entries under ``root``."""

    size: int
    root: bytes


class WitnessedLogs:
    """A connection a transaction: witnesses are asked seldom, and threads then have nothing to share."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with self.changing():
                pass
        except (sqlite3.Error, OSError) as error:
            raise OperatorError("storage_unusable", f"cannot use {path}: {error}") from error

    @contextmanager
    def changing(self) -> Iterator["_Change"]:
        """The only transaction of the moment: between looking and storing nobody else may store. On disk at its end."""
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=10)
        try:
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE IF NOT EXISTS logs (origin TEXT PRIMARY KEY, size INTEGER, root BLOB)")
            yield _Change(connection)
            connection.execute("COMMIT")
        finally:
            connection.close()  # what was not committed is rolled back


class _Change:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def read(self, origin: str) -> Witnessed | None:
        row = self._connection.execute("SELECT size, root FROM logs WHERE origin = ?", [origin]).fetchone()
        return None if row is None else Witnessed(*row)

    def write(self, origin: str, witnessed: Witnessed) -> None:
        self._connection.execute("REPLACE INTO logs VALUES (?, ?, ?)", [origin, witnessed.size, witnessed.root])
