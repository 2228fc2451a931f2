"""What ``objection log check`` says of each damage that a hand, a disk or a tool can do to a register's storage.

One register with all that a register has, copied for each damage; the command itself is run on the copy.
"""

import os
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from flask import Flask
from psycopg import sql as pgsql
from sqlalchemy import Connection, create_engine, text

from server.app import current_time
from server.cli import main
from server.core.encoding import sha256
from server.core.rowmacs import Sum, format_sums
from server.store import anchors, tallies
from server.store.blobs import range_of, segment_of
from server.store.tallies import Bucket, hour_of
from server.usecases.anchor_checkpoint import Anchoring
from server.usecases.campaigns import add_campaign, create_key
from server.usecases.epochs import epoch_at
from server.usecases.log_writer import LogWriter
from server.usecases.register import Register
from server.usecases.release_counts import Releasing
from server.usecases.row_sums import changing_sums
from tests.fixtures.counting import GRACE_S
from tests.fixtures.databases import POSTGRES
from tests.fixtures.holders import Holder
from tests.fixtures.sealed import sealed_receipt
from tests.fixtures.servers import PUBLIC_URL, make_settings, post, register_of, running, storage_of
from tests.usecases.test_record_objection import in_one_group

Damage = Callable[["Stored"], object]
SIZE = 14


@dataclass
class Stored:
    """The storage of a register that does not run. ``database_url``: None for SQLite's file in ``data``."""

    data: Path
    database_url: str | None

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        url = self.database_url or f"sqlite:///{self.data}/register.sqlite"
        engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()

    def blob(self, index: int) -> tuple[Path, int, int]:
        """Return segment file, offset and length of the sealed bytes of entry ``index``."""
        with self.writing() as connection:
            query = text("SELECT blob FROM records WHERE log_index = :index")
            name = connection.execute(query, {"index": index}).scalar_one()
        return self.data / "blobs" / segment_of(name), *range_of(name)

    def check(self) -> tuple[int, str]:
        """Return exit status and output of the command."""
        environment = {"OBJECTION_DATA_DIR": str(self.data), "OBJECTION_PUBLIC_URL": PUBLIC_URL}
        if self.database_url:
            environment["OBJECTION_DATABASE_URL"] = self.database_url
        result = CliRunner().invoke(main, ["log", "check"], env=environment)
        return result.exit_code, result.output


def seed(data: Path, **changes: str) -> None:
    """Record 14 entries, two of them erased with what was added; two anchors.

    0 A, 1 supplement of A, 2 B, 3 withdrawal of B, 4 C, 5 supplement of C, 6 erasure of A, 7 D, 8 and 9 E and F in one
    segment, 10 erasure of E, 11 G, 12 supplement of G, 13 withdrawal of D.
    """
    holders = [Holder() for _ in range(7)]
    a, b, c, d, e, f, g = (holder.objection() for holder in holders)
    with running(make_settings(data, **changes)) as app:
        expect(app, a, holders[0].later("supplement", a), b, holders[1].later("withdrawal", b), c)
        expect(app, holders[2].later("supplement", c))
        anchor(app, ahead_s=0)
        expect(app, holders[0].later("erasure", a), d)
        assert [answer.status_code for answer in in_one_group(app, e, f)] == [201, 201]
        expect(app, holders[4].later("erasure", e), g, holders[6].later("supplement", g))
        anchor(app, ahead_s=60)
        expect(app, holders[3].later("withdrawal", d))
        count(register_of(app))


def count(register: Register) -> None:
    """Releases, a campaign with a key, a burst that an operator admitted, and how far a witness has seen."""
    description = {
        "names": {"en": "A group"},
        "countries": ["DE"],
        "link": "https://a.example",
        "contact": "a@a.example",
    }
    add_campaign(register, "group", description, logo=None, open_figures=False, now=current_time())
    create_key(register, "group", name="press", now=current_time())
    with (
        register.database.writing() as connection,
        changing_sums(connection, register.keyring.row_macs) as sums,
        sums.following(connection, "admitted_bursts"),
        sums.following(connection, "witness_states"),
    ):
        bucket = Bucket(hour_of(current_time()), "DE", "facebook", "in-app")
        tallies.admit_burst(connection, bucket, reason="television", now=current_time())
        anchors.write_witness_size(connection, "witness.example", 13)
    week_over = epoch_at("week", current_time()).end + GRACE_S
    assert Releasing(storage_of(register), clock=lambda: week_over).run_once() >= 3


def expect(app: Flask, *submissions: object) -> None:
    for submission in submissions:
        assert post(app, submission).status_code == 201  # type: ignore[arg-type]


def anchor(app: Flask, *, ahead_s: int) -> None:
    register = register_of(app)
    anchoring = Anchoring(register.database, register.keyring, clock=lambda: current_time() + ahead_s)
    assert anchoring.run_once() is not None


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def seeded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    data = tmp_path_factory.mktemp("seeded")
    if request.param == "sqlite":
        seed(data)
        yield Stored(data, None)
        return
    request.getfixturevalue("postgres_server")  # skips where there is none
    with own_database() as url:
        seed(data, database_url=url)
        yield Stored(data, url)


@contextmanager
def own_database(template: str = "template1") -> Iterator[str]:
    name = f"objection_test_{secrets.token_hex(6)}"
    with psycopg.connect(POSTGRES, autocommit=True) as connection:
        create = pgsql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(create.format(pgsql.Identifier(name), pgsql.Identifier(template)))
        try:
            yield POSTGRES.rpartition("/")[0] + "/" + name
        finally:
            connection.execute(pgsql.SQL("DROP DATABASE {} WITH (FORCE)").format(pgsql.Identifier(name)))


@pytest.fixture
def copied(seeded: Stored, tmp_path: Path) -> Iterator[Stored]:
    data = tmp_path / "data"
    shutil.copytree(seeded.data, data)
    if seeded.database_url is None:
        yield Stored(data, None)
        return
    with own_database(seeded.database_url.rpartition("/")[2]) as url:
        yield Stored(data, url)


def sql(*statements: str, **values: object) -> Damage:
    def run(stored: Stored) -> None:
        with stored.writing() as connection:
            for statement in statements:
                assert connection.execute(text(statement), values).rowcount, "the damage does nothing"

    return run


def overwrite(index: int, edit: Callable[[bytes], bytes]) -> Damage:
    """Change the sealed bytes of entry ``index`` in place."""

    def run(stored: Stored) -> None:
        path, offset, length = stored.blob(index)
        data = path.read_bytes()
        path.write_bytes(data[:offset] + edit(data[offset : offset + length]) + data[offset + length :])

    return run


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def segment(index: int, edit: Callable[[Path], object]) -> Damage:
    return lambda stored: edit(stored.blob(index)[0])


def swap_segments(stored: Stored) -> None:
    one, other = stored.blob(2)[0], stored.blob(4)[0]
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def restore_erased(stored: Stored) -> None:
    path, offset, _ = stored.blob(9)
    data = path.read_bytes()
    path.write_bytes(b"x" * offset + data[offset:])


def swap(column: str, one: int, other: int) -> Damage:
    """Give two records each other's ``column``."""

    def run(stored: Stored) -> None:
        with stored.writing() as connection:
            query = f"SELECT {column} FROM records WHERE log_index = :index"
            values = [connection.execute(text(query), {"index": each}).scalar_one() for each in (one, other)]
            update = text(f"UPDATE records SET {column} = :value WHERE log_index = :index")
            for index, value in ((one, None), (other, values[0]), (one, values[1])):
                connection.execute(update, {"index": index, "value": value})

    return run


def replace_with_hash(stored: Stored) -> None:
    """Put other sealed bytes in place, and their hash with them, as somebody without the register's keys could."""
    path, offset, length = stored.blob(4)
    data = path.read_bytes()
    path.write_bytes(data[:offset] + b"x" * length + data[offset + length :])
    sql("UPDATE records SET sealed_sha256 = :hash WHERE log_index = 4", hash=sha256(b"x" * length))(stored)


def order(edit: Callable[[bytes], bytes]) -> Damage:
    def run(stored: Stored) -> None:
        with stored.writing() as connection:
            permutation = bytes(connection.execute(text("SELECT permutation FROM status_lists")).scalar_one())
            connection.execute(text("UPDATE status_lists SET permutation = :p"), {"p": edit(permutation)})

    return run


def copied_token(stored: Stored) -> None:
    with stored.writing() as connection:
        token = bytes(connection.execute(text("SELECT token FROM time_tokens WHERE size = 6")).scalar_one())
        connection.execute(text("UPDATE time_tokens SET token = :t WHERE size = 6"), {"t": flip(token)})


def entry_of_other_time(stored: Stored) -> None:
    with stored.writing() as connection:
        entry = bytes(connection.execute(text('SELECT entry FROM log_entries WHERE "index" = 4')).scalar_one())
        changed = entry[:-2] + (b"0" if entry[-2:-1] != b"0" else b"1") + b"}"
        connection.execute(text('UPDATE log_entries SET entry = :e WHERE "index" = 4'), {"e": changed})


def record(change: str, index: int = 4, **values: object) -> Damage:
    return sql(f"UPDATE records SET {change} WHERE log_index = {index}", **values)


def releases_of(stored: Stored, table: str) -> list[Path]:
    return list((stored.data / "releases").glob(f"{table}-*"))


def release_gone(stored: Stored) -> None:
    sql("DELETE FROM releases WHERE table_name = 'europe'")(stored)
    sql("DELETE FROM released_cells WHERE table_name = 'europe'")(stored)
    for path in releases_of(stored, "europe"):
        path.unlink()


STATUS = "(SELECT status_index FROM records WHERE log_index = {})"
CHANGED = "the record of entry 4 was changed: "
UNFIT = "the record of entry 4 does not fit it"
ZERO = bytes(32)

DAMAGES: dict[str, tuple[Damage, str]] = {
    # Sealed bytes
    "a bit flipped in a blob": (overwrite(4, flip), "the sealed bytes of entry 4 are not those that were stored"),
    "a bit flipped in the second blob of a segment": (overwrite(9, flip), "the sealed bytes of entry 9 are not those"),
    "zeros over a blob": (overwrite(4, lambda data: bytes(len(data))), "the sealed bytes of entry 4 are zeros, in"),
    "two segments swapped": (swap_segments, "the sealed bytes of entry 2 are not those that were stored, in segment"),
    "a segment gone": (segment(4, Path.unlink), "entry 4 has lost its sealed bytes: segment"),
    "a segment cut": (segment(9, lambda path: os.truncate(path, path.stat().st_size - 1)), "entry 9 has lost its"),
    "a folder in a segment's place": (
        segment(4, lambda path: (path.unlink(), path.mkdir())),
        "the sealed bytes of entry 4 cannot be read",
    ),
    "a segment emptied": (segment(4, lambda path: path.write_bytes(b"")), "entry 4 has lost its sealed bytes"),
    "bytes behind the last blob": (
        segment(4, lambda path: path.open("ab").write(b"more")),
        "has 4 bytes that no record",
    ),
    "erased bytes restored": (restore_erased, "bytes that no record names, not overwritten"),
    "a blob replaced together with its hash": (replace_with_hash, CHANGED),
    # Records
    "a record that names another's blob": (swap("blob", 4, 5), "was changed: assurance, key id, jti, byte count"),
    "two records with one blob": (
        record("blob = (SELECT blob FROM records WHERE log_index = 2)"),
        "name the same sealed bytes",
    ),
    "no blob": (record("blob = NULL"), CHANGED + "it names no sealed bytes"),
    "a blob's name that is a path": (record("blob = '../register.sqlite'"), "entry 4 has lost its sealed bytes"),
    "a wrapped share zeroed": (record("wrapped_share = :v", v=bytes(64)), CHANGED + "key-encryption key 0 is missing"),
    "a wrapped share zeroed but for its version": (
        record("wrapped_share = :v", v=b"\0\0\0\1" + bytes(60)),
        CHANGED + "a stored server share does not open with its key",
    ),
    "a wrapped share gone": (record("wrapped_share = NULL"), CHANGED + "it has lost its wrapped share"),
    "two wrapped shares swapped": (swap("wrapped_share", 4, 5), CHANGED + "a stored server share does not open"),
    "a status index changed": (record("status_index = status_index + 1"), CHANGED + "it has status index"),
    "a status index gone": (record("status_index = NULL"), CHANGED + "it has status index None"),
    "assurance changed": (record("assurance = 'work'"), CHANGED + "assurance, key id"),
    "a key id changed": (record("issuer_kid = 'other'"), CHANGED + "assurance, key id"),
    "a jti changed": (record("holder_jti = :v", v=ZERO), CHANGED + "assurance, key id, jti"),
    "a jti gone": (record("holder_jti = NULL"), CHANGED + "assurance, key id, jti"),
    "a byte count changed": (record("evidence_bytes = evidence_bytes + 1"), CHANGED + "assurance, key id, jti, byte"),
    "a hash of sealed bytes changed": (record("sealed_sha256 = :v", v=ZERO), CHANGED),
    "a check value zeroed": (record("mac = :v", v=ZERO), CHANGED),
    "a salt changed": (record("salt = :v", v=ZERO), UNFIT),
    "a time changed": (record("received_at = received_at + 1"), UNFIT),
    "a kind changed": (record("kind = 'supplement'"), UNFIT),
    "a receipt's hash changed": (record("receipt_sha256 = :v", v=ZERO), UNFIT),
    "a record moved": (record(f"log_index = {SIZE}"), f"the record of entry {SIZE} does not fit it: there is no such"),
    "a supplement of another objection": (
        record("objection_sha256 = (SELECT receipt_sha256 FROM records WHERE log_index = 11)", index=5),
        "supplement 5 belongs to no objection that is stored",
    ),
    "a supplement of an objection before it": (
        record("objection_sha256 = (SELECT receipt_sha256 FROM records WHERE log_index = 2)", index=5),
        "the record of entry 5 was changed",
    ),
    "a supplement of no objection": (record("objection_sha256 = NULL", index=5), "the record of entry 5 was changed"),
    "a withdrawal of another objection": (
        record("objection_sha256 = (SELECT receipt_sha256 FROM records WHERE log_index = 4)", index=13),
        "does not say what withdrawal 13 says",
    ),
    "an objection deleted": (sql("DELETE FROM records WHERE log_index = 4"), "entry 4 has lost its record"),
    "a supplement deleted": (
        sql("DELETE FROM records WHERE log_index = 5"),
        "entry 5 has lost its record: no erasure removed it",
    ),
    "a withdrawal deleted": (sql("DELETE FROM records WHERE log_index = 3"), "entry 3 has lost its record"),
    "two supplements deleted": (
        sql("DELETE FROM records WHERE log_index IN (5, 12)"),
        "3 supplements and withdrawals have no record, and erasures removed 1",
    ),
    "an erasure deleted": (sql("DELETE FROM records WHERE log_index = 6"), "entry 6 has lost its record"),
    "an objection deleted, and listed as erased": (
        sql(
            f"INSERT INTO statuses SELECT {STATUS.format(4)}, 1",
            "DELETE FROM records WHERE log_index = 4",
        ),
        "3 statuses say erased, after 2 erasures",
    ),
    "all records deleted": (sql("DELETE FROM records"), "entry 11 has lost its record"),
    # Statuses
    "the order of a status list deleted": (sql("DELETE FROM status_lists"), "the order of status list 0 is gone"),
    "the order of a status list cut": (order(lambda p: p[:-2]), "the order of status list 0 is gone, or damaged"),
    "the order of a status list with an index twice": (order(lambda p: p[:2] + p[:2] + p[4:]), "or damaged"),
    "two unused places in a list's order swapped": (
        order(lambda p: p[:-4] + p[-2:] + p[-4:-2]),
        "table status_lists has another row than was written",
    ),
    "a withdrawn status deleted": (
        sql(f"DELETE FROM statuses WHERE status_index = {STATUS.format(2)}"),
        "does not say what withdrawal 3 says",
    ),
    "an erased status deleted": (
        sql("DELETE FROM statuses WHERE status_index = (SELECT max(status_index) FROM statuses WHERE value = 1)"),
        "has lost its record: its status does not say that it was erased",
    ),
    "an erased status moved": (
        sql(
            "UPDATE statuses SET status_index = -1 "
            "WHERE status_index = (SELECT min(status_index) FROM statuses WHERE value = 1)"
        ),
        "status -1 belongs to no objection",
    ),
    "a status withdrawn by nobody": (
        sql(f"INSERT INTO statuses SELECT {STATUS.format(4)}, 2"),
        "says withdrawn, and no withdrawal of objection 4 does",
    ),
    "a status erased by nobody": (
        sql(f"INSERT INTO statuses SELECT {STATUS.format(4)}, 1"),
        "says erased of an objection that is stored, 4",
    ),
    "a withdrawn status made an erased one": (
        sql(f"UPDATE statuses SET value = 1 WHERE status_index = {STATUS.format(2)}"),
        "says erased of an objection that is stored, 2",
    ),
    "a status that means nothing": (
        sql(f"INSERT INTO statuses SELECT {STATUS.format(4)}, 3"),
        "has the value 3, which means nothing",
    ),
    "a status of no list": (sql("INSERT INTO statuses VALUES (70000, 2)"), "status 70000 belongs to no objection"),
    # Tables that lead to no entry
    "a slot digest deleted": (
        sql("DELETE FROM slot_digests WHERE digest = (SELECT digest FROM slot_digests ORDER BY digest LIMIT 1)"),
        "table slot_digests has 14 rows, 15 were written",
    ),
    "a slot digest changed": (
        sql(
            "UPDATE slot_digests SET digest = :v "
            "WHERE digest = (SELECT digest FROM slot_digests ORDER BY digest LIMIT 1)",
            v=ZERO,
        ),
        "table slot_digests has another row than was written",
    ),
    "a slot digest added": (sql("INSERT INTO slot_digests VALUES (:v)", v=ZERO), "has 16 rows, 15 were written"),
    "all slot digests deleted": (sql("DELETE FROM slot_digests"), "table slot_digests has 0 rows, 15 were written"),
    "a contribution deleted": (
        sql(
            "DELETE FROM contributions "
            "WHERE receipt_sha256 = (SELECT receipt_sha256 FROM contributions ORDER BY receipt_sha256 LIMIT 1)"
        ),
        "table contributions has 4 rows, 5 were written",
    ),
    "a contribution's country changed": (
        sql("UPDATE contributions SET country = 'FR' WHERE outcome = 'withdrawn'"),
        "table contributions has another row than was written",
    ),
    "a contribution's outcome changed": (
        sql("UPDATE contributions SET outcome = 'acknowledged' WHERE outcome = 'recorded'"),
        "table contributions has another row than was written",
    ),
    "a contribution of nobody": (
        sql(
            "UPDATE contributions SET receipt_sha256 = :v "
            "WHERE receipt_sha256 = (SELECT receipt_sha256 FROM contributions ORDER BY receipt_sha256 LIMIT 1)",
            v=ZERO,
        ),
        "a contribution belongs to no objection that is stored: 0000",
    ),
    "a counted holder deleted": (
        sql("DELETE FROM counted_holders WHERE mark = (SELECT mark FROM counted_holders ORDER BY mark LIMIT 1)"),
        "table counted_holders has 6 rows, 7 were written",
    ),
    "who was erased forgotten": (
        sql("DELETE FROM erased_receipts"),
        "table erased_receipts has 0 rows, 4 were written",
    ),
    "until when an erased receipt is refused, changed": (
        sql("UPDATE erased_receipts SET expires_at = expires_at - 1"),
        "table erased_receipts has another row than was written",
    ),
    "when counting began changed": (
        sql("UPDATE counting SET since = since + 1"),
        "table counting has another row than was written",
    ),
    "up to when counting is closed changed": (
        sql("UPDATE counting SET closed_until = closed_until - 1"),
        "table counting has another row than was written",
    ),
    "what is counted by changed": (
        sql("UPDATE counting SET budget_sha256 = :v", v=ZERO),
        "table counting has another row than was written",
    ),
    "counting forgotten": (sql("DELETE FROM counting"), "table counting has 0 rows, 1 were written"),
    "the reason of a burst changed": (
        sql("UPDATE admitted_bursts SET reason = 'a stall'"),
        "table admitted_bursts has another row than was written",
    ),
    "a campaign's figures opened": (
        sql("UPDATE campaigns SET open_figures = NOT open_figures"),
        "table campaigns has another row than was written",
    ),
    "an API key of another campaign": (
        sql("UPDATE api_keys SET campaign = 'other'"),
        "table api_keys has another row than was written",
    ),
    "a witness that has seen more": (
        sql("UPDATE witness_states SET size = 1000000"),
        "table witness_states has another row than was written",
    ),
    # What was released
    "a released cell changed": (
        sql("UPDATE released_cells SET value = value + 1 WHERE table_name = 'europe'"),
        "its cells are not those that were signed",
    ),
    "a released cell deleted": (
        sql("DELETE FROM released_cells WHERE table_name = 'countries' AND geo = 'DE'"),
        "its cells are not those that were signed",
    ),
    "released cells of no release": (
        sql("UPDATE released_cells SET table_name = 'other' WHERE table_name = 'europe'"),
        "released cells of other from",
    ),
    "a release's time changed": (
        sql("UPDATE releases SET drawn_at = drawn_at + 1 WHERE table_name = 'europe'"),
        "its row was changed",
    ),
    "a release's signature changed": (
        sql("UPDATE releases SET signed = signed || 'A' WHERE table_name = 'europe'"),
        "what is stored does not hold",
    ),
    "a release deleted with its cells and its file": (
        release_gone,
        "table releases has",
    ),
    "a release's file gone": (
        lambda stored: [path.unlink() for path in releases_of(stored, "europe")],
        "its file is gone, or is another one",
    ),
    "a bit flipped in a release's file": (
        lambda stored: [path.write_bytes(path.read_bytes()[:9] + b"\xff") for path in releases_of(stored, "europe")],
        "its file is gone, or is another one",
    ),
    # What others said
    "a stamp deleted": (sql("DELETE FROM time_tokens WHERE size = 6"), "checkpoint of 6 entries has lost its time"),
    "a bit flipped in a stamp": (copied_token, "the anchored checkpoint of 6 entries has not the time stamps"),
    "a stamp's time changed": (
        sql("UPDATE time_tokens SET stamped_at = stamped_at - 1 WHERE size = 6"),
        "the anchored checkpoint of 6 entries has not the time stamps",
    ),
    "a stamp of another authority": (
        sql("UPDATE time_tokens SET authority = 'other' WHERE size = 6"),
        "the anchored checkpoint of 6 entries has not the time stamps",
    ),
    "an anchored checkpoint deleted with its stamp": (
        sql("DELETE FROM time_tokens WHERE size = 6", "DELETE FROM anchored_checkpoints WHERE size = 6"),
        "table anchored_checkpoints has 1 rows, 2 were written",
    ),
    "an anchored checkpoint deleted": (
        sql("DELETE FROM anchored_checkpoints WHERE size = 6"),
        "a time stamp is of the checkpoint of 6 entries, which is not stored",
    ),
    "an anchored checkpoint of a size below the first": (
        sql("UPDATE anchored_checkpoints SET size = -1 WHERE size = 6"),
        "the anchored checkpoint of -1 entries is of no log here",
    ),
    "an anchored checkpoint's line changed": (
        sql("UPDATE anchored_checkpoints SET note = note || note WHERE size = 6"),
        "the anchored checkpoint of 6 entries",
    ),
    # Log and head
    "an entry's time changed": (entry_of_other_time, "tile 0/0 is not what the entries give, from entry 4 on"),
    "an entry deleted": (sql('DELETE FROM log_entries WHERE "index" = 4'), "entry 4 is missing"),
    "an entry and its tile deleted": (
        sql('DELETE FROM log_entries WHERE "index" = 4', "DELETE FROM log_tiles"),
        "from entry 4 on, no hash can be derived",
    ),
    "an entry far outside": (
        sql('INSERT INTO log_entries ("index", entry) VALUES (1000000000000, :v)', v=b"{}"),
        "entry 1000000000000 lies outside of the log, which has 14",
    ),
    "a tile's bit flipped": (
        sql("UPDATE log_tiles SET hashes = :v", v=bytes(32 * SIZE)),
        "tile 0/0 is not what the entries give, from entry 0 on",
    ),
    "a tile deleted": (sql("DELETE FROM log_tiles"), "tile 0/0 is missing"),
    "a second head": (
        sql("INSERT INTO log_head SELECT 2, origin, size, checkpoint, halted, newest_at, sums FROM log_head"),
        "the log has 2 heads",
    ),
    "the head under another number": (sql("UPDATE log_head SET id = 3"), "the log's head is gone"),
    "the head gone": (sql("DELETE FROM log_head"), "the log's head is gone"),
    "the head of a huge log": (sql("UPDATE log_head SET size = 1000000000000"), "and its checkpoint 14"),
    "the head's checkpoint changed": (
        sql("UPDATE log_head SET checkpoint = replace(checkpoint, '\n14\n', '\n13\n')"),
        "the stored checkpoint does not hold",
    ),
    "the head's checkpoint emptied, and an entry far outside": (
        sql(
            "UPDATE log_head SET checkpoint = ''",
            'INSERT INTO log_entries ("index", entry) VALUES (1000000000000, :v)',
            v=b"{}",
        ),
        "the stored checkpoint does not hold",
    ),
    "the head of another log": (
        sql("UPDATE log_head SET origin = 'other'"),
        "the log is called other, and OBJECTION_LOG_ORIGIN says register.example/log",
    ),
    "the head's time changed": (sql("UPDATE log_head SET newest_at = 1"), "the head's time is not that of the newest"),
    "the head's sums emptied": (
        sql("UPDATE log_head SET sums = '{}'"),
        "table slot_digests has 15 rows, 0 were written",
    ),
    "the head's sums no JSON": (
        sql("UPDATE log_head SET sums = '{'"),
        "the sums over the tables are not in their form",
    ),
    "the head's sums changed": (
        sql("UPDATE log_head SET sums = :v", v=format_sums({"slot_digests": Sum(15, 1)})),
        "table slot_digests has another row than was written",
    ),
    "a halted log": (
        sql("UPDATE log_head SET halted = 'a witness saw more'"),
        "log_halted: the log is halted: a witness saw more",
    ),
}


@pytest.mark.parametrize(("damage", "finding"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_named(copied: Stored, damage: Damage, finding: str) -> None:
    damage(copied)
    status, said = copied.check()
    assert finding in said
    assert status == 1


def test_an_intact_register_is_clean(copied: Stored) -> None:
    status, said = copied.check()
    assert (status, said.splitlines()) == (
        0,
        [
            "14 entries, 11 records, 1 tiles, 2 anchored checkpoints",
            "3 entries of records that their holders had erased",
            "✓ the log is consistent",
        ],
    )


def test_what_a_crash_leaves_is_clean(copied: Stored) -> None:
    """A segment that no record names, and bytes whose erasure was committed and that are still to be overwritten."""
    (copied.data / "blobs" / secrets.token_hex(16)).write_bytes(b"left by a crash")
    path, offset, _ = copied.blob(9)
    restore_erased(copied)
    sql(f"INSERT INTO blobs_to_erase VALUES ('{path.name}.0.{offset}')")(copied)
    status, said = copied.check()
    assert status == 0, said
    assert "1 erased blob(s) that the worker has still to overwrite" in said
    assert "1 segment(s) that no record names" in said


def test_many_findings_of_a_kind_are_counted(tmp_path: Path) -> None:
    stored = Stored(tmp_path, None)
    with running(make_settings(tmp_path)) as app:
        for _ in range(30):
            register_of(app).log_writer.append(sealed_receipt())
    sql("UPDATE records SET evidence_bytes = 9")(stored)
    status, said = stored.check()
    assert status == 1
    assert said.count("was changed") == 20
    assert "✗ records: 10 more, 30 in all" in said


def test_times_that_run_backwards_are_named(tmp_path: Path) -> None:
    stored = Stored(tmp_path, None)
    with running(make_settings(tmp_path)) as app:
        register = register_of(app)
        for now in (1_800_000_000, 1_799_996_400, 1_799_996_401):
            with register.database.writing() as connection:  # as the log was written before the writer looked
                connection.execute(text("UPDATE log_head SET newest_at = 0"))
            keyring = register.keyring
            writer = LogWriter(
                register.database,
                register.blobs,
                name=keyring.log_name,
                key=keyring.log_key,
                clock=lambda now=now: now,  # type: ignore[misc]
            )
            writer.append(sealed_receipt())
            writer.close()
    status, said = stored.check()
    assert (status, [line for line in said.splitlines() if "✗" in line]) == (
        1,
        ["✗ entry 1 has an earlier time than the entry before it"],
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files; not the index of SQLite's write-ahead log, which readers note themselves in."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".sqlite-shm"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize(("revision", "code"), [("0004", "schema_older"), ("9999", "schema_newer")])
def test_another_schema_is_said_and_left_alone(copied: Stored, revision: str, code: str) -> None:
    sql(f"UPDATE alembic_version SET version_num = '{revision}'")(copied)
    before = contents(copied.data)
    status, said = copied.check()
    assert (status, said.partition(": ")[2].partition(": ")[0]) == (2, code)
    with copied.writing() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == revision
    assert contents(copied.data) == before


def test_nothing_is_changed(copied: Stored) -> None:
    (copied.data / "writer.lock").unlink()
    before = contents(copied.data)
    assert copied.check()[0] == 0
    assert contents(copied.data) == before


def test_a_database_that_is_not_there_is_not_made(copied: Stored) -> None:
    missing = Stored(copied.data, f"sqlite:///{copied.data}/other.sqlite")
    before = contents(copied.data)
    status, said = missing.check()
    assert (status, said.startswith("objection: storage_unusable: there is no database")) == (2, True)
    assert contents(copied.data) == before


def flipped(stored: Stored, statement: str, edit: Callable[[bytes], bytes]) -> None:
    """Change the bytes of SQLite's file where the one value of ``statement`` stands."""
    with stored.writing() as connection:
        value = connection.execute(text(statement)).scalar_one()
    with sqlite3.connect(stored.data / "register.sqlite") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    path, wanted = stored.data / "register.sqlite", value.encode() if isinstance(value, str) else bytes(value)
    data = path.read_bytes()
    assert wanted in data
    path.write_bytes(data.replace(wanted, edit(wanted)))


def changed_place(stored: Stored, offset: int, written: bytes) -> None:
    with (stored.data / "register.sqlite").open("r+b") as file:
        file.seek(offset)
        file.write(written)


def index_of_blobs(stored: Stored) -> None:
    with stored.writing() as connection:
        query = text("SELECT rootpage FROM sqlite_master WHERE name = 'ix_records_blob'")
        page = connection.execute(query).scalar_one()
    changed_place(stored, page * 4096 - 1, b"z")  # the last byte of the first name that was written


SQLITE_DAMAGES: dict[str, tuple[Damage, int, str]] = {
    "text that is none": (
        lambda stored: flipped(stored, "SELECT salt FROM records WHERE log_index = 4", lambda salt: salt[::-1]),
        1,
        UNFIT,
    ),
    "a letter with a bit too much": (
        lambda stored: flipped(stored, "SELECT checkpoint FROM log_head", lambda note: b"\xff" + note[1:]),
        1,
        "the stored checkpoint does not hold",
    ),
    "a number that is text": (
        record("evidence_bytes = 'many'"),
        1,
        "table records, column evidence_bytes: 1 value(s) of another type",
    ),
    "a place in the log that is a fraction": (
        record("log_index = 4.5"),
        1,
        "table records, column log_index: 1 value(s) of another type",
    ),
    "a note that is bytes": (
        sql("UPDATE anchored_checkpoints SET note = CAST(note AS BLOB)"),
        1,
        "table anchored_checkpoints, column note: 2 value(s) of another type",
    ),
    "a truth that is three": (
        sql("UPDATE contributions SET in_general = 3"),
        1,
        "table contributions, column in_general: 5 value(s) of another type",
    ),
    "a page of zeros": (
        lambda stored: changed_place(stored, 4096, bytes(4096)),
        2,
        "database_damaged: the register's database is damaged: database disk image is malformed",
    ),
    "an index that leads to no row": (
        index_of_blobs,
        1,
        "the database is damaged: row",
    ),
    "no database at all": (
        lambda stored: changed_place(stored, 0, b"no database, really"),
        2,
        "database_damaged: the register's database is damaged: file is not a database",
    ),
    "half a database": (
        lambda stored: os.truncate(stored.data / "register.sqlite", 8 * 4096),
        2,
        "database_damaged: the register's database is damaged: database disk image is malformed",
    ),
}


@pytest.mark.parametrize(("damage", "status", "finding"), SQLITE_DAMAGES.values(), ids=SQLITE_DAMAGES)
def test_damage_of_the_file_is_named(tmp_path: Path, damage: Damage, status: int, finding: str) -> None:
    seed(tmp_path)
    stored = Stored(tmp_path, None)
    damage(stored)
    exit_status, said = stored.check()
    assert finding in said
    assert exit_status == status
