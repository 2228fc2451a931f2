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
from server.store import log
from server.usecases.anchor_checkpoint import Anchoring
from server.usecases.check_log import LogCheck, check_log
from server.usecases.register import Storage
from tests.fixtures.sealed import append_many
from tests.fixtures.servers import make_settings, register_of, running

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
    "last entry deleted": (sql(f'DELETE FROM log_entries WHERE "index" = {SIZE - 1}'), "tile 0/1"),
    "all entries deleted": (sql("DELETE FROM log_entries"), "tile 0/0 is too much"),
    "entry altered": (
        sql('UPDATE log_entries SET entry = :entry WHERE "index" = 7', entry=format_json({"v": 1})),
        "tile 0/0 is not what the entries give",
    ),
    "entry too much": (sql(f'INSERT INTO log_entries ("index", entry) VALUES ({SIZE}, :e)', e=b"{}"), "tile 0/1"),
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
    "head's size altered": (sql("UPDATE log_head SET size = size - 1"), "root"),
    "checkpoint rolled back": (older_checkpoint, "the checkpoint's root is not that of the entries"),
    "record's salt altered": (
        sql("UPDATE records SET salt = :salt WHERE log_index = 3", salt=bytes(32)),
        "does not fit entry 3",
    ),
    "record's time altered": (
        sql("UPDATE records SET received_at = received_at - 1 WHERE log_index = 3"),
        "does not fit entry 3",
    ),
    "record's kind altered": (sql("UPDATE records SET kind = 'other' WHERE log_index = 3"), "does not fit entry 3"),
    "record's index altered": (
        sql(f"UPDATE records SET log_index = {SIZE} WHERE log_index = 3"),
        f"does not fit entry {SIZE}",
    ),
    "record's hash altered": (
        sql("UPDATE records SET receipt_sha256 = :hash WHERE log_index = 3", hash=bytes(32)),
        "does not fit entry 3",
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
        storage = Storage(register.database, register.blobs, register.keyring)
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


def test_a_segment_that_a_crash_left_is_counted_and_no_problem(seeded: Path, tmp_path: Path) -> None:
    found = damaged(seeded, tmp_path, lambda _, storage: storage.blobs.put_all([b"x"]))
    assert (found.problems, found.orphaned_segments) == ([], 1)


def test_a_damaged_head_stops_the_next_start(seeded: Path, tmp_path: Path) -> None:
    damaged(seeded, tmp_path, DAMAGES["upper tile altered"][0])
    with pytest.raises(LogInconsistent), running(make_settings(tmp_path / "data")):
        pass
