"""SQLite and PostgreSQL: what the store relies on, and what happens when they go away."""

import errno
import json
import os
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from psycopg import sql
from sqlalchemy import MetaData, Table, insert, inspect, text
from sqlalchemy.exc import IntegrityError

import server.store.database
from server.errors import LogInconsistent, NotFound, OperatorError, Unavailable
from server.store import log, records, tables, tallies
from server.store.blobs import LocalBlobs, segment_of
from server.store.database import Database
from server.store.rows import insert_rows, select_rows
from server.store.tables import metadata
from tests.fixtures.holders import Holder
from tests.fixtures.servers import ROOT, make_settings, post, register_of, running


@pytest.fixture
def database(tmp_path: Path, storage_settings: dict[str, str]) -> Any:
    settings = make_settings(tmp_path, **storage_settings)
    database = Database(settings.database_url, lock_file=tmp_path / "writer.lock")
    database.migrate()
    yield database
    database.close()


def metadata_of(database: Database) -> MetaData:
    """Return the tables that this kind of database has."""
    found = MetaData()
    for table in metadata.sorted_tables:
        if table.info.get("dialect", database.engine.dialect.name) == database.engine.dialect.name:
            table.to_metadata(found)
    return found


def test_the_migrations_make_the_tables(database: Database) -> None:
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata_of(database)) == []
        tables = set(inspect(connection).get_table_names())
    assert tables == {*metadata_of(database).tables, "alembic_version"}


def test_migrating_again_changes_nothing(database: Database) -> None:
    with database.writing() as connection:
        log.create_head(connection, log.Head("origin", 0, "note"))
    database.migrate()
    with database.reading() as connection:
        assert log.read_head(connection) == log.Head("origin", 0, "note")


def test_slot_digests_of_before_stay(tmp_path: Path, storage_settings: dict[str, str]) -> None:
    settings = make_settings(tmp_path, **storage_settings)
    database = Database(settings.database_url, lock_file=tmp_path / "writer.lock")
    before = Config()
    before.set_main_option("script_location", str(ROOT / "server/store/migrations"))
    digests = [bytes([number]) * 32 for number in (3, 1, 2)]
    with database.writing() as connection:
        before.attributes["connection"] = connection
        command.upgrade(before, "0002")
        for digest in digests:
            connection.execute(
                text("INSERT INTO slot_digests (digest, receipt_sha256) VALUES (:digest, :receipt)"),
                {"digest": digest, "receipt": b"r" * 32},
            )
    database.migrate()
    with database.reading() as connection:
        assert records.find_slot_digests(connection, [*digests, b"4" * 32]) == set(digests)
    database.close()


@pytest.mark.parametrize(
    ("row", "table"), [(records.Record, tables.records), (tallies.Contribution, tables.contributions)]
)
def test_rows_have_the_order_of_their_columns(row: type[Any], table: Table) -> None:
    columns = [column.name for column in table.columns if column.name != "mac"]  # the check value, the last
    assert [field.name for field in fields(row)] == columns
    assert table.columns.keys()[: len(columns)] == columns


def test_rows_by_several_keys_at_once(database: Database) -> None:
    entries, tiles = tables.log_entries, tables.log_tiles
    stored = [(index, bytes([index]) * (index + 1)) for index in range(40)]
    with database.writing() as connection:
        insert_rows(connection, entries, [])
        insert_rows(connection, entries, stored)
        insert_rows(connection, tiles, [(0, 7, b"seven"), (1, 8, b"eight")])
    with database.reading() as connection:
        assert select_rows(connection, entries, {}) == []
        assert select_rows(connection, entries, {entries.c.index: []}) == []
        found = select_rows(connection, entries, {entries.c.index: [3, 99, 39, 3]})
        assert sorted(tuple(row) for row in found) == [stored[3], stored[39]]
        either = select_rows(connection, tiles, {tiles.c.level: [1], tiles.c.number: [7]})
        assert {row.hashes for row in either} == {b"seven", b"eight"}
        second = select_rows(connection, tiles, {tiles.c.level: [], tiles.c.number: [8]})
        assert [row.hashes for row in second] == [b"eight"]


def test_several_processes_migrate_at_once(tmp_path: Path, storage_settings: dict[str, str]) -> None:
    settings = make_settings(tmp_path, **storage_settings)

    def migrate(_: int) -> None:
        database = Database(settings.database_url, lock_file=tmp_path / "writer.lock")
        with database.starting():
            database.migrate()
        database.close()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(migrate, range(4))) == [None] * 4


def test_what_fails_leaves_nothing(database: Database) -> None:
    def half_way() -> None:
        with database.writing() as connection:
            log.create_head(connection, log.Head("origin", 0, "note"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_way()
    with database.reading() as connection:
        assert log.read_head(connection) is None


def test_writers_exclude_each_other(database: Database) -> None:
    with database.writing() as connection:
        log.create_head(connection, log.Head("origin", 0, "0"))

    def count_up(_: int) -> None:
        with database.writing() as connection:
            head = log.read_head(connection, lock=True)
            assert head is not None
            log.move_head(connection, old_size=head.size, size=head.size + 1, checkpoint="x", newest_at=0, sums="{}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count_up, range(40)))
    with database.reading() as connection:
        head = log.read_head(connection)
    assert head is not None
    assert head.size == 40


def test_a_reader_sees_one_state_and_does_not_wait_for_a_writer(database: Database) -> None:
    with database.writing() as connection:
        log.create_head(connection, log.Head("origin", 0, "old"))
    with database.writing() as writer:
        log.move_head(writer, old_size=0, size=1, checkpoint="new", newest_at=0, sums="{}")
        with database.reading() as reader:
            head = log.read_head(reader)
    assert head is not None
    assert head.checkpoint == "old"


def test_a_reader_sees_the_same_state_again(database: Database) -> None:
    """Who checks the whole log beside a running register must not see two halves of two logs."""
    with database.writing() as connection:
        log.create_head(connection, log.Head("origin", 0, "old"))
    with database.reading() as reader:
        assert log.read_head(reader) == log.Head("origin", 0, "old")
        with database.writing() as writer:
            log.move_head(writer, old_size=0, size=1, checkpoint="new", newest_at=0, sums="{}")
        assert log.read_head(reader) == log.Head("origin", 0, "old")
    with database.reading() as reader:
        assert log.read_head(reader) == log.Head("origin", 1, "new")


def test_there_is_one_head(database: Database) -> None:
    with database.writing() as connection:
        log.create_head(connection, log.Head("origin", 0, "note"))
    with pytest.raises(IntegrityError), database.writing() as connection:
        log.create_head(connection, log.Head("other", 0, "note"))


def test_a_head_moves_only_from_where_it_was(database: Database) -> None:
    with database.writing() as connection:
        log.create_head(connection, log.Head("origin", 5, "note"))
    with pytest.raises(LogInconsistent), database.writing() as connection:
        log.move_head(connection, old_size=4, size=6, checkpoint="fork", newest_at=0, sums="{}")
    with database.reading() as connection:
        assert log.read_head(connection) == log.Head("origin", 5, "note")


def test_of_two_that_move_the_head_from_one_size_one_wins(database: Database, tmp_path: Path) -> None:
    """Two machines that share no lock file: the row itself decides."""
    other = Database(database.engine.url.render_as_string(hide_password=False), lock_file=tmp_path / "other.lock")
    with database.writing() as connection:
        log.create_head(connection, log.Head("origin", 0, "start"))
    for size in range(8):
        barrier = threading.Barrier(2)

        def move(mine: Database, name: str, barrier: threading.Barrier = barrier, size: int = size) -> str:
            barrier.wait()
            try:
                with mine.writing() as connection:
                    log.move_head(connection, old_size=size, size=size + 1, checkpoint=name, newest_at=0, sums="{}")
            except LogInconsistent:
                return ""
            return name

        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(move, (database, other), (f"one {size}", f"other {size}")))
        (winner,) = [name for name in outcomes if name]
        with database.reading() as connection:
            assert log.read_head(connection) == log.Head("origin", size + 1, winner)
    other.close()


def test_entries_come_in_order_and_never_twice(database: Database) -> None:
    with database.writing() as connection:
        log.insert_entries(connection, 0, [b"a", b"b"])
        log.insert_entries(connection, 2, [b"c"])
    with pytest.raises(IntegrityError), database.writing() as connection:
        log.insert_entries(connection, 2, [b"x"])
    with database.reading() as connection:
        assert log.read_entries_between(connection, 0, 9) == {0: b"a", 1: b"b", 2: b"c"}
        assert log.read_entries_between(connection, 1, 2) == {1: b"b"}
        assert log.extent_of_entries(connection) == (3, 2)


def test_sqlite_is_durable_and_overwrites_what_is_deleted(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/a.sqlite", lock_file=tmp_path / "lock")
    with database.reading() as connection:
        pragmas = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "secure_delete")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1}
    database.close()


def test_a_locked_sqlite_file_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's tool holds the file: no answer instead of a wrong one."""
    with running(make_settings(tmp_path)) as app:
        submission = Holder().objection({})
        engine = register_of(app).database.engine
        engine.dispose()
        from sqlalchemy import event

        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 50"))
        other = sqlite3.connect(tmp_path / "register.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        response = post(app, submission)
        assert (response.status_code, json.loads(response.data)["code"]) == (503, "database_unavailable")
        other.execute("ROLLBACK")
        assert post(app, submission).status_code == 201
        other.close()


def test_postgres_going_away_and_coming_back(tmp_path: Path, postgres: str) -> None:
    cut = 0

    def cut_all() -> None:
        nonlocal cut
        with psycopg.connect(postgres, autocommit=True) as connection:
            cut += connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).rowcount

    with running(make_settings(tmp_path, database_url=postgres)) as app:
        holder = Holder()
        acknowledged = []
        stop = threading.Event()

        def keep_cutting() -> None:
            while not stop.is_set():
                cut_all()
                time.sleep(0.03)

        cutter = threading.Thread(target=keep_cutting)
        cutter.start()
        statuses = set()
        for _ in range(30):
            submission = holder.objection({})
            response = post(app, submission)
            statuses.add(response.status_code)
            statuses.add(app.test_client().get("/checkpoint").status_code)
            if response.status_code == 201:
                acknowledged.append((submission, json.loads(response.data)["token"]))
        stop.set()
        cutter.join()
        assert cut > 5
        assert statuses <= {200, 201, 503}
        for submission, token in acknowledged:
            again = post(app, submission)
            assert (again.status_code, json.loads(again.data)["token"]) == (200, token)


def test_postgres_that_is_not_there(tmp_path: Path) -> None:
    database = Database("postgresql+psycopg://nobody@127.0.0.1:1/none", lock_file=tmp_path / "lock")
    with pytest.raises(Unavailable), database.reading():
        pass


def test_another_machine_that_stands_still_with_the_log_keeps_nobody_for_long(
    tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.store.database, "_LOCK_TIMEOUT_S", 1)
    holder = Holder()
    with running(make_settings(tmp_path, database_url=postgres)) as app:
        first = holder.objection()
        assert post(app, first).status_code == 201
        with psycopg.connect(postgres) as other, other.transaction():
            other.execute("SELECT * FROM log_head FOR UPDATE")
            started = time.monotonic()
            response = post(app, holder.objection())
            assert (response.status_code, json.loads(response.data)["code"]) == (503, "database_unavailable")
            assert time.monotonic() - started < 10
        assert post(app, holder.objection()).status_code == 201


def test_a_thread_that_stands_still_with_the_log_keeps_nobody_for_long(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.store.database, "_TURN_TIMEOUT_S", 0.2)
    with database.writing(), ThreadPoolExecutor(1) as pool:
        other = pool.submit(database.writing().__enter__)
        assert isinstance(other.exception(timeout=60), Unavailable)
    with database.writing():
        pass


@pytest.mark.parametrize("theirs", ["off", "local", "remote_apply"])
def test_what_postgres_has_committed_is_on_its_disk(tmp_path: Path, postgres: str, theirs: str) -> None:
    name = postgres.rpartition("/")[2]
    with psycopg.connect(postgres, autocommit=True) as connection:
        setting = sql.SQL("ALTER DATABASE {} SET synchronous_commit TO {}")
        connection.execute(setting.format(sql.Identifier(name), sql.Literal(theirs)))
    try:
        database = Database(postgres.replace("postgresql:", "postgresql+psycopg:"), lock_file=tmp_path / "lock")
        with database.reading() as connection:
            found = connection.exec_driver_sql("SHOW synchronous_commit").scalar_one()
        database.close()
    finally:
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER DATABASE {} RESET synchronous_commit").format(sql.Identifier(name)))
    assert found == ("on" if theirs == "off" else theirs)


def test_a_database_that_only_reads_is_unavailable(tmp_path: Path, postgres: str) -> None:
    with running(make_settings(tmp_path, database_url=postgres)) as app:
        database = register_of(app).database
        with database.reading() as connection:
            connection.exec_driver_sql("SET default_transaction_read_only = on")
        with pytest.raises(Unavailable), database.writing() as connection:
            records.write_status(connection, 5, 2)


def test_whether_a_segment_is_in_use_is_found_by_index(database: Database) -> None:
    """And by the segment's whole name: an erasure must neither read all records nor delete a neighbour's bytes."""
    names = ["a" * 32 + ".0.9", "b" * 32 + ".0.9", "b" * 32 + ".9.1000", "c" * 31 + "b.0.1"]
    row = {"kind": "objection", "received_at": 0, "salt": b"s", "issuer_kid": "k", "assurance": "device"}
    row |= {"evidence_bytes": 0}
    with database.writing() as connection:
        for number, name in enumerate(names):
            values = row | {"receipt_sha256": bytes([number]), "log_index": number, "blob": name}
            connection.execute(insert(tables.records).values(values))
    with database.reading() as connection:
        in_use = {letter: records.names_segment(connection, letter * 32) for letter in "0abc"}
        assert in_use == {"0": False, "a": True, "b": True, "c": False}
        query = "SELECT blob FROM records WHERE blob > 'b.' AND blob < 'b/' LIMIT 1"
        if connection.dialect.name == "sqlite":
            plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all())
        else:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            plan = str(connection.exec_driver_sql(f"EXPLAIN {query}").all())
    assert "ix_records_blob" in plan


def test_blobs_of_a_group_share_a_segment(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "blobs")
    names = blobs.put_all([b"one", b"", b"three"])
    assert len({segment_of(name) for name in names}) == 1
    assert [blobs.get(name) for name in names] == [b"one", b"", b"three"]
    (path,) = (tmp_path / "blobs").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"onethre")
    assert blobs.get(names[0]) == b"one"
    with pytest.raises(NotFound):
        blobs.get(names[2])
    path.unlink()
    with pytest.raises(NotFound):
        blobs.get(names[0])


@pytest.mark.parametrize(
    "name", ["../keys/kek-1.key", "a" * 32, f"{'a' * 32}.0.-1", f"{'g' * 32}.0.1", f"{'a' * 32}.0.1\n"]
)
def test_a_blob_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(OperatorError):
        LocalBlobs(tmp_path / "blobs").get(name)


def test_blobs_whose_block_fails_are_taken_back(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "blobs")
    with blobs.stored([b"kept"]) as (kept,):
        pass
    with pytest.raises(ZeroDivisionError), blobs.stored([b"lost"]):
        raise ZeroDivisionError
    assert blobs.segments() == {segment_of(kept)}
    with blobs.stored([]) as none:
        assert none == []
    assert blobs.segments() == {segment_of(kept)}


def test_a_blob_that_cannot_be_read_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = LocalBlobs(tmp_path / "blobs")
    (name,) = blobs.put_all([b"x"])

    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(Unavailable):
        blobs.get(name)


def test_a_segment_is_synced_before_its_name_is_returned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def watched(file: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{file}").readlink()))
        fsync(file)

    blobs = LocalBlobs(tmp_path / "blobs")
    monkeypatch.setattr(os, "fsync", watched)
    (name,) = blobs.put_all([b"x"])
    assert synced == [str(tmp_path / "blobs" / segment_of(name)), str(tmp_path / "blobs")]


def test_a_reader_sees_one_state(tmp_path: Path, storage_settings: dict[str, str]) -> None:
    with running(make_settings(tmp_path, **storage_settings)) as app:
        database = register_of(app).database
        with database.reading() as before:
            assert records.read_status(before, 5) == 0
            with database.writing() as connection:
                records.write_status(connection, 5, 2)
            assert records.read_status(before, 5) == 0
        with database.reading() as after:
            assert records.read_status(after, 5) == 2
