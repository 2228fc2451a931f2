"""The log check finds every kind of damage, and says which."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from server.core.encoding import format_json
from server.core.merkle import TileTree
from server.core.notes import Checkpoint, format_checkpoint, sign_note
from server.errors import LogInconsistent
from server.store import log, records
from server.store.blobs import LocalBlobs
from server.usecases import check_blobs
from server.usecases import check_log as check_log_module
from server.usecases.anchor_checkpoint import Anchoring
from server.usecases.check_log import LogCheck, check_log
from server.usecases.register import Storage
from tests.fixtures.holders import Holder
from tests.fixtures.sealed import append_many
from tests.fixtures.servers import make_settings, post, register_of, running, storage_of

SIZE = 300  # more than a tile's 256 hashes: a full tile, a partial one, and one above
Damage = Callable[[Connection, Storage], object]


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a register with a log of some size."""
    folder = tmp_path_factory.mktemp("seeded")
    with running(make_settings(folder)) as app:
        register = register_of(app)
        append_many(register, SIZE - 44)
        assert Anchoring(register.database, register.keyring, clock=register.clock).run_once() is not None
        append_many(register, 44)
    return folder


def sql(statement: str, **values: object) -> Damage:
    return lambda connection, _: connection.execute(text(statement), values)


def segment(edit: Callable[[Path], object]) -> Damage:
    return lambda _, storage: edit(storage.blobs._path / sorted(storage.blobs.segments())[0])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def older_checkpoint(connection: Connection, storage: Storage) -> None:
    """Roll the head back to a checkpoint that the log once signed."""
    size = SIZE - 44
    tree = TileTree(size, lambda level, number: log.read_tile(connection, level, number))
    keyring = storage.keyring
    note = sign_note(
        format_checkpoint(Checkpoint(keyring.log_name, size, tree.root())), keyring.log_name, keyring.log_key
    )
    connection.execute(text("UPDATE log_head SET size = :size, checkpoint = :note"), {"size": size, "note": note})


def swap_entries(connection: Connection, _: Storage) -> None:
    for old, new in ((5, -1), (6, 5), (-1, 6)):
        connection.execute(text('UPDATE log_entries SET "index" = :new WHERE "index" = :old'), {"old": old, "new": new})


def anchor_of_another_log(connection: Connection, storage: Storage) -> None:
    """An anchored checkpoint that the log's key signed, over another tree."""
    keyring = storage.keyring
    text_ = format_checkpoint(Checkpoint(keyring.log_name, SIZE - 44, bytes(32)))
    note = sign_note(text_, keyring.log_name, keyring.log_key)
    connection.execute(text("UPDATE anchored_checkpoints SET note = :note"), {"note": note})


DAMAGES: dict[str, tuple[Damage, str]] = {
    "entry deleted": (sql('DELETE FROM log_entries WHERE "index" = 7'), "entry 7 is missing"),
    "first entry deleted": (sql('DELETE FROM log_entries WHERE "index" = 0'), "entry 0 is missing"),
    "last entry deleted": (sql(f'DELETE FROM log_entries WHERE "index" = {SIZE - 1}'), f"entry {SIZE - 1} is missing"),
    "all entries deleted": (sql("DELETE FROM log_entries"), f"entries: {SIZE - 20} more, {SIZE} in all"),
    "entry altered": (
        sql('UPDATE log_entries SET entry = :entry WHERE "index" = 7', entry=format_json({"v": 1})),
        "tile 0/0 is not what the entries give, from entry 7 on",
    ),
    "entry too much": (
        sql(f'INSERT INTO log_entries ("index", entry) VALUES ({SIZE}, :e)', e=b"{}"),
        f"entry {SIZE} lies outside of the log",
    ),
    "entries swapped": (swap_entries, "tile 0/0 is not what the entries give"),
    "anchor over another tree": (anchor_of_another_log, f"the anchored checkpoint of {SIZE - 44} entries has another"),
    "anchor altered": (
        sql("UPDATE anchored_checkpoints SET note = replace(note, :old, :new)", old=f"\n{SIZE - 44}\n", new="\n9\n"),
        f"the anchored checkpoint of {SIZE - 44} entries does not hold",
    ),
    "anchor beyond the log": (
        sql(f"UPDATE anchored_checkpoints SET size = {SIZE + 1}"),
        f"the anchored checkpoint of {SIZE + 1} entries is of no log here",
    ),
    "tile altered": (
        sql("UPDATE log_tiles SET hashes = :hashes WHERE level = 0 AND number = 0", hashes=bytes(8192)),
        "tile 0/0 is not what the entries give",
    ),
    "upper tile altered": (
        sql("UPDATE log_tiles SET hashes = :hashes WHERE level = 1", hashes=bytes(32)),
        "tile 1/0 is not what the entries give",
    ),
    "tile cut": (
        sql("UPDATE log_tiles SET hashes = :hashes WHERE level = 0 AND number = 1", hashes=bytes(33)),
        "tile 0/1 is not what the entries give",
    ),
    "tile emptied": (sql("UPDATE log_tiles SET hashes = :hashes WHERE level = 1", hashes=b""), "tile 1/0"),
    "tile deleted": (sql("DELETE FROM log_tiles WHERE level = 0 AND number = 1"), "tile 0/1 is missing"),
    "upper tile deleted": (sql("DELETE FROM log_tiles WHERE level = 1"), "tile 1/0 is missing"),
    "tile too much": (
        sql("INSERT INTO log_tiles (level, number, hashes) VALUES (0, 9, :hashes)", hashes=bytes(32)),
        "tile 0/9 is too much",
    ),
    "checkpoint altered": (
        sql(f"UPDATE log_head SET checkpoint = replace(checkpoint, '\n{SIZE}\n', '\n{SIZE - 1}\n')"),
        "checkpoint",
    ),
    "checkpoint emptied": (sql("UPDATE log_head SET checkpoint = ''"), "the stored checkpoint does not hold"),
    "head's size altered": (sql("UPDATE log_head SET size = size - 1"), f"the head has size {SIZE - 1}"),
    "checkpoint rolled back": (older_checkpoint, f"entry {SIZE - 44} lies outside of the log, which has {SIZE - 44}"),
    "record's salt altered": (
        sql("UPDATE records SET salt = :salt WHERE log_index = 3", salt=bytes(32)),
        "the record of entry 3 does not fit it",
    ),
    "record's time altered": (
        sql("UPDATE records SET received_at = received_at - 1 WHERE log_index = 3"),
        "the record of entry 3 does not fit it",
    ),
    "record's kind altered": (
        sql("UPDATE records SET kind = 'other' WHERE log_index = 3"),
        "the record of entry 3 does not fit it",
    ),
    "record's index altered": (
        sql(f"UPDATE records SET log_index = {SIZE} WHERE log_index = 3"),
        f"the record of entry {SIZE} does not fit it",
    ),
    "record's hash altered": (
        sql("UPDATE records SET receipt_sha256 = :hash WHERE log_index = 3", hash=bytes(32)),
        "the record of entry 3 does not fit it",
    ),
    "record's blob name altered": (
        sql("UPDATE records SET blob = '../register.sqlite' WHERE log_index = 3"),
        "has lost its sealed bytes",
    ),
    "segment removed": (segment(lambda path: path.unlink()), "has lost its sealed bytes"),
    "segment cut": (segment(truncate), "has lost its sealed bytes"),
    "segment emptied": (segment(lambda path: path.write_bytes(b"")), "has lost its sealed bytes"),
}


def damaged(seeded: Path, folder: Path, damage: Damage | None) -> LogCheck:
    data = folder / "data"
    shutil.copytree(seeded, data)
    with running(make_settings(data)) as app:
        register = register_of(app)
        storage = storage_of(register)
        if damage is not None:
            with register.database.writing() as connection:
                damage(connection, storage)
        return check_log(storage, progress=lambda _done, _total: None)


@pytest.mark.parametrize(("damage", "finding"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_found(seeded: Path, tmp_path: Path, damage: Damage, finding: str) -> None:
    found = damaged(seeded, tmp_path, damage)
    assert [problem for problem in found.problems if finding in problem], found.problems


def test_an_intact_log_has_no_problems(seeded: Path, tmp_path: Path) -> None:
    found = damaged(seeded, tmp_path, None)
    assert (found.problems, found.entries, found.records, found.tiles) == ([], SIZE, SIZE, 3)
    assert found.orphaned_segments == 0


def test_no_border_between_parts_matters(seeded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither between parts of the log, nor between parts of the names on disk."""
    monkeypatch.setattr(check_log_module, "_PART", 7)
    monkeypatch.setattr(check_blobs, "_NAMES_AT_ONCE", 1)
    found = damaged(seeded, tmp_path, lambda _, storage: [storage.blobs.put_all([b"x"]) for _ in range(5)])
    assert (found.problems, found.entries, found.records, found.tiles) == ([], SIZE, SIZE, 3)
    assert found.orphaned_segments == 5


def test_a_segment_that_a_crash_left_is_counted_and_no_problem(seeded: Path, tmp_path: Path) -> None:
    found = damaged(seeded, tmp_path, lambda _, storage: storage.blobs.put_all([b"x"]))
    assert (found.problems, found.orphaned_segments) == ([], 1)


def test_a_damaged_head_stops_the_next_start(seeded: Path, tmp_path: Path) -> None:
    damaged(seeded, tmp_path, DAMAGES["upper tile altered"][0])
    with pytest.raises(LogInconsistent), running(make_settings(tmp_path / "data")):
        pass


# A 0, supplement of A 1, B 2, withdrawal of B 3, C 4, erasure of A 5, supplement of C 6.
STATUS_OF_C = "(SELECT status_index FROM records WHERE log_index = 4)"
RESTORED = (
    "INSERT INTO records (receipt_sha256, log_index, kind, received_at, salt, issuer_kid, assurance, evidence_bytes) "
    "SELECT :hash, 0, kind, received_at, salt, issuer_kid, assurance, 0 FROM records WHERE log_index = 4"
)
LATER_DAMAGES: dict[str, tuple[Damage, str]] = {
    "an objection lost": (sql("DELETE FROM records WHERE log_index = 4"), "entry 4 has lost its record"),
    "a withdrawal and its objection lost": (
        sql("DELETE FROM records WHERE log_index IN (2, 3)"),
        "entry 2 has lost its record",
    ),
    "a supplement lost": (sql("DELETE FROM records WHERE log_index = 6"), "entry 6 has lost its record"),
    "an erasure lost": (sql("DELETE FROM records WHERE log_index = 5"), "entry 5 has lost its record"),
    "an erased objection restored": (sql(RESTORED, hash=bytes(32)), "says erased of an objection that is stored, 0"),
    "the objection of a supplement lost": (
        sql("UPDATE records SET objection_sha256 = :hash WHERE log_index = 6", hash=bytes(32)),
        "supplement 6 belongs to no objection",
    ),
    "a withdrawal that is not listed": (sql("DELETE FROM statuses WHERE value = 2"), "does not say what"),
    "an erasure that is not listed": (
        sql("DELETE FROM statuses WHERE value = 1"),
        "0 statuses say erased, after 1 erasures",
    ),
    "listed as withdrawn": (sql(f"INSERT INTO statuses SELECT {STATUS_OF_C}, 2"), "says withdrawn, and no withdrawal"),
    "listed as erased": (sql(f"INSERT INTO statuses SELECT {STATUS_OF_C}, 1"), "says erased of an objection"),
    "withdrawn and listed as erased": (
        sql("UPDATE statuses SET value = 1 WHERE value = 2"),
        "says erased of an objection",
    ),
}


@pytest.fixture(scope="module")
def with_later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("later")
    first, second, third = Holder(), Holder(), Holder()
    a, b, c = first.objection({}), second.objection({}), third.objection({})
    with running(make_settings(folder)) as app:
        for each in (
            *(a, first.later("supplement", a), b, second.later("withdrawal", b), c),
            *(first.later("erasure", a), third.later("supplement", c)),
        ):
            assert post(app, each).status_code == 201
    return folder


def test_what_was_erased_is_no_damage(with_later: Path, tmp_path: Path) -> None:
    found = damaged(with_later, tmp_path, None)
    assert (found.problems, found.entries, found.records, found.erased) == ([], 7, 5, 2)
    assert (found.to_overwrite, found.orphaned_segments) == (0, 0)


@pytest.mark.parametrize(("damage", "finding"), LATER_DAMAGES.values(), ids=LATER_DAMAGES)
def test_damage_is_told_from_erasure(with_later: Path, tmp_path: Path, damage: Damage, finding: str) -> None:
    found = damaged(with_later, tmp_path, damage)
    assert [problem for problem in found.problems if finding in problem], found.problems


def test_bytes_that_wait_to_be_overwritten_are_counted(with_later: Path, tmp_path: Path) -> None:
    def wait(connection: Connection, storage: Storage) -> None:
        (name,) = storage.blobs.put_all([b"x"])
        records.insert_blobs_to_erase(connection, [name])

    found = damaged(with_later, tmp_path, wait)
    assert (found.problems, found.to_overwrite, found.orphaned_segments) == ([], 1, 0)


def test_what_is_erased_while_it_is_checked_is_no_damage(
    tmp_path: Path, storage_settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = Holder()
    objection = holder.objection({})
    with running(make_settings(tmp_path, **storage_settings)) as app:
        post(app, objection)
        register = register_of(app)
        storage = storage_of(register)
        get = LocalBlobs.get

        def erased_before(self: LocalBlobs, name: str) -> bytes:
            monkeypatch.setattr(LocalBlobs, "get", get)
            assert post(app, holder.later("erasure", objection)).status_code == 201
            return get(self, name)

        monkeypatch.setattr(LocalBlobs, "get", erased_before)
        assert check_log(storage, progress=lambda _done, _total: None).problems == []
        assert register.blobs.segments() == set()
        assert check_log(storage, progress=lambda _done, _total: None).problems == []
