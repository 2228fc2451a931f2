"""Connections: SQLite as the embedded default, PostgreSQL beyond one machine."""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import DatabaseError, InterfaceError, InternalError, OperationalError
from sqlalchemy.pool import QueuePool

from server.errors import OperatorError, Unavailable
from server.store.files import file_lock
from server.store.tables import metadata

_MIGRATIONS = Path(__file__).parent / "migrations"
_LEADER_LOCK = 4207216
_BUSY_TIMEOUT_MS = 10_000
_WAIT_FOR_READERS_MS = 250
_LEAST_FREE_BYTES = 16 << 20  # for rows of the largest group, and a write-ahead log that grows meanwhile
_TURN_TIMEOUT_S = 20
_LOCK_TIMEOUT_S = 15
_IDLE_TRANSACTION_TIMEOUT_S = 60
# A server that is gone without a word is noticed within a minute. What the URL says of these comes first.
_POSTGRESQL_CONNECTION = {
    "connect_timeout": "5",
    "keepalives_idle": "20",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
_POOL_SIZE = 40  # a connection for each of gunicorn's threads, and some


class Database:
    """Hands out transactions. ``writing`` ones exclude each other across threads and processes, in order."""

    def __init__(self, url: str, *, lock_file: Path, read_only: bool = False) -> None:
        """Raises OperatorError ``storage_unusable`` where a file of SQLite's cannot lie.

        With ``read_only`` nothing is made or changed, the way SQLite keeps its file included, and the file must exist.
        """
        self.engine = _connect(url, read_only=read_only)
        database = self.engine.url.database if self.engine.dialect.name == "sqlite" else None
        self.file = None if database is None else Path(database).absolute()
        self._queue = _FileQueue(lock_file)
        self._leader_file = lock_file.with_name("worker.lock")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database. Raises Unavailable when there is none to be had."""
        with _translated(), self.engine.connect() as connection:
            if connection.dialect.name == "postgresql":  # by default, it sees a new state with each statement
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """As ``reading``, for a caller that looks at everything: it may take as long as it likes."""
        with self.reading() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("SET TRANSACTION READ ONLY")
                connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """The only writing transaction of this machine; commits at the end of the block.

        Raises Unavailable when its turn does not come in 20 s, or another machine keeps a row of it for 15 s.
        """
        with (
            self._queue.turn(),
            _translated(),
            self.engine.connect().execution_options(objection_write=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def statements(self) -> Iterator[Connection]:
        """A connection on which each statement is a transaction of its own. It waits for no turn: for PostgreSQL alone.

        Raises Unavailable when there is none to be had.
        """
        with _translated(), self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Keep the other processes of this machine from starting up or writing meanwhile."""
        with self._queue.turn():
            yield

    @contextmanager
    def leading(self) -> Iterator["Leadership | None"]:
        """Lead the workers of this database until the end of the block, or yield None while another one does.

        The lock goes with the process, however that ends; on PostgreSQL, where it spans machines, with its connection.
        """
        if self.engine.dialect.name == "postgresql":
            with _translated(), self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                led = connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({_LEADER_LOCK})").scalar_one()
                try:
                    yield Leadership(connection) if led else None
                finally:
                    connection.invalidate()  # a pooled connection would keep the lock
        else:
            with file_lock(self._leader_file) as led:
                yield Leadership(None) if led else None

    def refuse_in_use(self) -> None:
        """Raises OperatorError ``register_running`` where a worker leads, or SQLite's file is open in a process.

        A server without a worker that uses PostgreSQL is not seen.
        """
        with self.leading() as leadership:
            if leadership is None:
                raise OperatorError("register_running", "a worker of this register runs: stop all its processes first")
        if self.file is None or not self.file.exists():
            return
        self.engine.dispose()  # a pooled connection of ours would count, too
        connection = sqlite3.connect(self.file, timeout=1)
        try:
            # SQLite lets nobody leave its write-ahead log while another process has the file open.
            connection.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.OperationalError as error:
            raise OperatorError("register_running", f"another process has {self.file} open: stop it first") from error
        except sqlite3.DatabaseError:  # damaged: nobody can work with it
            return
        finally:
            connection.close()

    def refuse_without_room(self) -> None:
        """Raises Unavailable ``storage_full`` when SQLite's disk has no room for a group of records.

        How much a PostgreSQL has left, its own operators watch.
        """
        if self.file is None:
            return
        disk = os.statvfs(self.file.parent)
        if disk.f_bavail * disk.f_frsize < _LEAST_FREE_BYTES:
            raise Unavailable("storage_full", "the register's database has no room; send the same receipt again later")

    def has_tables(self) -> bool:
        """Tell whether a register was ever here."""
        with _translated(), self.engine.connect() as connection:
            return inspect(connection).has_table("log_head")

    def revision(self) -> str | None:
        """Return the revision of the tables; None where there are none, or others than ours."""
        with _translated(), self.engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()

    def refuse_other_schema(self) -> None:
        """Raises OperatorError ``schema_older`` or ``schema_newer`` when ``migrate`` has not yet, or cannot, go on."""
        stored = self.revision()
        known = _known_revisions()
        refuse_unknown_schema(stored)
        if stored != known[0]:
            raise OperatorError(
                "schema_older",
                f"the database has revision {stored}, this version needs {known[0]}: back up, stop all processes "
                "of the register, and run `objection migrate` (docs/operating.md, Upgrading)",
            )

    def migrate(self) -> None:
        """Bring the tables to the newest revision. On PostgreSQL, replicas take turns by an advisory lock."""
        with _translated(), self.engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(4207215)")
            _upgrade(connection, "head")

    def bring_up_to_date(self) -> tuple[str, str]:
        """Migrate for an operator; return the revision before and after.

        Raises OperatorError ``storage_unusable`` where no register is, ``schema_newer``, ``register_running``.
        """
        if not self.has_tables():
            raise OperatorError("storage_unusable", "there is no register in that database")
        before = self.revision() or ""
        refuse_unknown_schema(before)
        self.refuse_in_use()
        with self.starting():
            self.migrate()
        return before, self.revision() or ""

    @contextmanager
    def rebuilding(self, revision: str) -> Iterator[Connection]:
        """Put new tables of ``revision`` in the place of ours, for the block to fill; then bring them to the newest.

        All in one transaction: a crash leaves what was there. Raises Unavailable.
        """
        with (
            self._queue.turn(),
            _translated(),
            self.engine.connect().execution_options(objection_write=True) as connection,
            connection.begin(),
        ):
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            for name in set(inspect(connection).get_table_names()) & {*metadata.tables, "alembic_version"}:
                connection.exec_driver_sql(f"DROP TABLE {name}")
            _upgrade(connection, revision)
            yield connection
            _upgrade(connection, "head")

    def forget_write_ahead(self) -> bool:
        """Empty SQLite's write-ahead log, which holds what was deleted; return False when a reader still needs it.

        PostgreSQL has nothing that could be emptied here (docs/operating.md says what it keeps).
        """
        if self.engine.dialect.name != "sqlite":
            return True
        with self._queue.turn(), _translated():
            connection = self.engine.raw_connection()
            try:
                cursor = connection.cursor()
                # While SQLite waits for readers, it keeps every writer waiting: the log must not stand still for long.
                cursor.execute(f"PRAGMA busy_timeout = {_WAIT_FOR_READERS_MS}")
                (busy, _, _) = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
            finally:
                connection.close()
        return not busy

    def close(self) -> None:
        self.engine.dispose()
        self._queue.close()


def refuse_unknown_schema(revision: str | None) -> None:
    """Raises OperatorError ``schema_newer`` for a revision that this version does not know."""
    if revision not in _known_revisions():
        raise OperatorError(
            "schema_newer",
            f"the database has revision {revision}, which this version (up to {_known_revisions()[0]}) does not know: "
            "it was used by a newer version; install that one, there is no way back",
        )


def _known_revisions() -> list[str]:
    """Return the revisions of the tables, the newest first."""
    return [script.revision for script in ScriptDirectory(str(_MIGRATIONS)).walk_revisions()]


def _upgrade(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


class Leadership:
    """The right to do what only one process may do."""

    def __init__(self, connection: Connection | None) -> None:
        self._connection = connection

    def verify(self) -> None:
        """Raises Unavailable when the database dropped the connection, and with it the lock."""
        if self._connection is not None:
            with _translated():
                self._connection.exec_driver_sql("SELECT 1")


class _FileQueue:
    """A fair lock between processes. SQLite's own busy handler sleeps and retries, which starves under load."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None  # made by the first who writes
        self._thread = threading.Lock()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)

    @contextmanager
    def turn(self) -> Iterator[None]:
        if not self._thread.acquire(timeout=_TURN_TIMEOUT_S):
            raise Unavailable("database_unavailable", "others have been writing for long; try again")
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # A process that stands still with this lock makes one thread of each other process wait, no more.
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        finally:
            self._thread.release()


def _connect(url: str, *, read_only: bool) -> Engine:
    # Parameters stay out of errors, and so out of logs: a salt or wrapped share there would outlive its erasure.
    if not url.startswith("sqlite"):
        theirs = make_url(url).query
        ours = {name: value for name, value in _POSTGRESQL_CONNECTION.items() if name not in theirs}
        engine = create_engine(url, pool_size=_POOL_SIZE, pool_pre_ping=True, hide_parameters=True, connect_args=ours)
        event.listen(engine, "connect", _prepare_postgresql)
        return engine
    file = Path(make_url(url).database or "")
    folder = file.parent
    if read_only:
        if not file.is_file():
            raise OperatorError("storage_unusable", f"there is no database {file}")
        # Without a write-ahead log here, a connection makes an empty one, and only one that may write takes it away.
        mode = "ro" if file.with_name(f"{file.name}-wal").exists() else "rw"
        address = f"{file.absolute().as_uri()}?mode={mode}"
        engine = create_engine(
            "sqlite://",
            poolclass=QueuePool,
            hide_parameters=True,
            creator=lambda: sqlite3.connect(address, uri=True, check_same_thread=False),
        )
        event.listen(engine, "connect", _prepare_reading_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if not folder.is_dir():
        raise OperatorError("storage_unusable", f"there is no folder {folder} for the database")
    engine = create_engine(url, pool_size=_POOL_SIZE, hide_parameters=True, connect_args={"check_same_thread": False})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_postgresql(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    # Another machine may stand still in the middle of a transaction: neither it nor we keep the log for long.
    cursor.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT_S}s'")
    cursor.execute(f"SET idle_in_transaction_session_timeout = '{_IDLE_TRANSACTION_TIMEOUT_S}s'")
    # What was acknowledged survives a power cut; a setting that waits for more than this server's disk stays.
    cursor.execute("SELECT current_setting('synchronous_commit')")
    if cursor.fetchone() == ("off",):
        cursor.execute("SET synchronous_commit = on")
    connection.commit()
    cursor.close()


def _prepare_reading_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not begin transactions on its own
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA query_only = ON")
    # Text with a flipped bit is compared like any other; what cannot be decoded fits nothing that was written.
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not begin transactions on its own
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # what was acknowledged survives a power cut
    connection.execute("PRAGMA secure_delete = ON")  # erased rows are overwritten, not only unlinked


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that reads first and writes later can fail half-way with SQLITE_BUSY_SNAPSHOT.
    write = connection.get_execution_options().get("objection_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InternalError, InterfaceError, sqlite3.OperationalError) as error:
        raise Unavailable("database_unavailable", "the register's database does not answer; try again") from error
    except (DatabaseError, sqlite3.DatabaseError) as error:
        if type(error) not in {DatabaseError, sqlite3.DatabaseError}:  # a constraint that does not hold, for one
            raise
        cause = error.orig if isinstance(error, DatabaseError) else error
        raise OperatorError("database_damaged", f"the register's database is damaged: {cause}") from error
