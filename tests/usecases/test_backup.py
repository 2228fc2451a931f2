"""Backup, restore, the checkpoint kept outside, and going on afterwards: on both databases, killed at every file."""

import itertools
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from click.testing import CliRunner, Result
from sqlalchemy import text

from server.cli import main
from server.core.notes import parse_checkpoint
from server.errors import OperatorError
from server.settings import Settings
from server.storage import open_storage_of, open_storage_to_check_of
from server.store import log
from server.store.backup_files import BackupReader
from server.store.blobs import segment_of
from server.store.database import Database
from server.usecases.backup import back_up
from server.usecases.check_log import check_log
from server.usecases.register import Register
from server.usecases.restore import Restored, restore
from tests.fixtures.holders import Holder
from tests.fixtures.sealed import append_many, sealed_receipt
from tests.fixtures.servers import ROOT, make_settings, post, register_of, running
from tests.usecases.test_log_writer_faults import failing, operational

NOW = 1_800_000_000


def silent(_done: int, _total: int) -> None:
    pass


def command_line(settings: Settings, *arguments: str) -> Result:
    given = {
        "OBJECTION_DATA_DIR": str(settings.data_dir),
        "OBJECTION_PUBLIC_URL": settings.public_url,
        "OBJECTION_DATABASE_URL": settings.database_url.replace("+psycopg", ""),
    }
    return CliRunner().invoke(main, list(arguments), env=given)


def make_backup(settings: Settings, folder: Path, *, with_keys: bool = True) -> Path:
    with closing(open_storage_to_check_of(settings)) as storage:
        back_up(storage, folder, data_dir=settings.data_dir, with_keys=with_keys, now=NOW, progress=silent)
    return folder


def put_back(settings: Settings, folder: Path, *, replace: bool = False) -> Restored:
    return restore(
        folder,
        data_dir=settings.data_dir,
        database_url=settings.database_url,
        public_url=settings.public_url,
        log_origin=settings.log_origin,
        anchors_file=None,
        replace=replace,
        progress=silent,
    )


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(OperatorError) as caught:
        act()
    return caught.value.code


def kept_size(settings: Settings) -> int:
    note = (settings.data_dir / "newest-checkpoint").read_text()
    return parse_checkpoint(note.partition("\n\n")[0] + "\n").size


def grow(settings: Settings, count: int) -> None:
    with running(settings) as app:
        append_many(register_of(app), count)


@pytest.fixture
def used(tmp_path: Path, storage_settings: dict[str, str]) -> Settings:
    """The settings of a stopped register with five records."""
    settings = make_settings(tmp_path / "data", **storage_settings)
    grow(settings, 5)
    return settings


@pytest.fixture
def local(tmp_path: Path) -> Settings:
    settings = make_settings(tmp_path / "data")
    grow(settings, 5)
    return settings


def elsewhere(tmp_path: Path) -> Settings:
    return make_settings(tmp_path / "elsewhere")


def test_what_was_backed_up_is_there_again(used: Settings, tmp_path: Path) -> None:
    folder = make_backup(used, tmp_path / "backup")
    done = put_back(used, folder, replace=True)
    assert (done.found.problems, done.found.records, done.signed) == ([], 5, None)
    with closing(open_storage_of(used, create=False)) as storage, storage.database.reading() as connection:
        head = log.read_head(connection)
    assert head is not None
    assert head.halted == "restored from the backup of 2027-01-15T08:00:00+00:00 with 5 entries"
    assert command_line(used, "log", "resume", "--nothing-lost").exit_code == 0
    grow(used, 2)


def test_a_backup_moves_a_register_to_the_other_database(used: Settings, tmp_path: Path) -> None:
    settings = elsewhere(tmp_path)
    assert put_back(settings, make_backup(used, tmp_path / "backup")).found.problems == []
    assert command_line(settings, "log", "resume", "--nothing-lost").exit_code == 0
    grow(settings, 1)


def test_a_backup_without_keys_wants_them_in_place(local: Settings, tmp_path: Path) -> None:
    folder = make_backup(local, tmp_path / "backup", with_keys=False)
    assert list((folder / "keys").iterdir()) == []
    settings = elsewhere(tmp_path)
    assert refusal(lambda: put_back(settings, folder)) == "keys_missing"
    shutil.copytree(local.data_dir / "keys", settings.data_dir / "keys")
    assert put_back(settings, folder).found.problems == []


@pytest.mark.parametrize("name", ["tables", "keys", "blobs", "SHA256SUMS", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "extra"])
def test_a_damaged_backup_changes_nothing(local: Settings, tmp_path: Path, name: str, damage: str) -> None:
    folder = make_backup(local, tmp_path / "backup")
    path = folder / name
    if path.is_dir():
        path = max(path.iterdir(), key=lambda each: each.stat().st_size)
    data = path.read_bytes()
    if damage == "flip":
        path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "remove":
        path.unlink()
    elif path.parent != folder:
        (path.parent / "more").write_bytes(b"")
    else:
        return
    settings = elsewhere(tmp_path)
    code = refusal(lambda: put_back(settings, folder))
    assert code == ("backup_incomplete" if (name, damage) == ("manifest.json", "remove") else "backup_damaged")
    assert not settings.data_dir.exists()


def test_a_backup_of_another_register_is_refused(local: Settings, tmp_path: Path) -> None:
    folder = make_backup(local, tmp_path / "backup")
    for changes in ({"public_url": "https://other.example"}, {"log_origin": "other.example/log"}):
        other = make_settings(tmp_path / "elsewhere", **changes)
        assert refusal(lambda other=other: put_back(other, folder)) == "backup_of_another"


def test_a_backup_goes_into_an_empty_folder_only(local: Settings, tmp_path: Path) -> None:
    folder = make_backup(local, tmp_path / "backup")
    assert refusal(lambda: make_backup(local, folder)) == "backup_refused"
    assert BackupReader(folder).manifest.size == 5


def test_a_restore_refuses_what_is_not_empty(used: Settings, tmp_path: Path) -> None:
    folder = make_backup(used, tmp_path / "backup")
    assert refusal(lambda: put_back(used, folder)) == "restore_refused"
    shutil.rmtree(used.data_dir)
    if used.database_url.startswith("postgresql"):
        assert refusal(lambda: put_back(used, folder)) == "restore_refused"
    assert put_back(used, folder, replace=True).found.problems == []


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_an_old_file_of_sqlite_is_not_played_into_the_new_one(local: Settings, tmp_path: Path, suffix: str) -> None:
    folder = make_backup(local, tmp_path / "backup")
    settings = make_settings(tmp_path / "elsewhere", database_url=f"sqlite:///{tmp_path}/db/register.sqlite")
    (tmp_path / "db").mkdir()
    old = tmp_path / f"db/register.sqlite{suffix}"
    old.write_bytes((local.data_dir / "register.sqlite").read_bytes())
    assert refusal(lambda: put_back(settings, folder)) == "restore_refused"
    assert old.exists()
    assert put_back(settings, folder, replace=True).found.problems == []
    assert command_line(settings, "log", "resume", "--nothing-lost").exit_code == 0


def test_a_restore_keeps_its_hands_off_a_running_register(used: Settings, tmp_path: Path) -> None:
    folder = make_backup(used, tmp_path / "backup")
    database = Database(used.database_url, lock_file=used.data_dir / "writer.lock")
    with closing(database), database.leading():
        assert refusal(lambda: put_back(used, folder, replace=True)) == "register_running"
        assert "register_running" in command_line(used, "migrate").output
    if database.file is None:
        return
    with running(used):  # a server without a worker
        assert refusal(lambda: put_back(used, folder, replace=True)) == "register_running"
        assert "register_running" in command_line(used, "migrate").output
    grow(used, 1)


def killed_at(number: int, act: Callable[[], object]) -> bool:
    """Run ``act`` in a child that is killed before its ``number``-th change of a file; tell whether it came to that."""
    pid = os.fork()
    if pid == 0:
        changes = itertools.count(1)

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            changed = event in {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "sqlite3.connect"}
            if (opened or changed) and next(changes) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            act()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def numbers(act: Callable[[int], bool]) -> Iterator[int]:
    """Yield 1, 2, 3, 5, 7, 10, 14 … until ``act`` with it is not killed any more."""
    number = 1
    while act(number):
        yield number
        number = number + 1 + number // 3


def test_a_backup_that_was_killed_is_none(local: Settings, tmp_path: Path) -> None:
    def act(number: int) -> bool:
        return killed_at(number, lambda: make_backup(local, tmp_path / f"b{number}"))

    tried = list(numbers(act))
    assert len(tried) > 8
    for number in tried:
        folder = tmp_path / f"b{number}"
        folder.mkdir(exist_ok=True)
        assert refusal(lambda folder=folder: put_back(elsewhere(tmp_path), folder)) == "backup_incomplete"
    assert put_back(elsewhere(tmp_path), max(tmp_path.glob("b[0-9]*"), key=lambda path: int(path.name[1:]))).found


def test_a_restore_that_was_killed_is_said_and_run_again(used: Settings, tmp_path: Path) -> None:
    folder = make_backup(used, tmp_path / "backup")
    assert killed_at(10_000, lambda: put_back(used, folder, replace=True)) is False
    said = set()
    for number in numbers(lambda number: killed_at(number, lambda: put_back(used, folder, replace=True))):
        try:
            with closing(open_storage_of(used, create=True)) as storage:
                found = check_log(storage, progress=silent)
            # Nothing was begun, or all of it was done.
            assert [line for line in found.problems if "halted" not in line] == []
            assert found.records == 5
            said.add("whole")
        except OperatorError as error:
            said.add(error.code)
            assert refusal(lambda: open_storage_to_check_of(used)) == "restore_unfinished"
            if number % 2:  # what an unfinished restore left needs no --replace
                assert put_back(used, folder).found.problems == []
    assert said == {"whole", "restore_unfinished"}
    assert put_back(used, folder, replace=True).found.problems == []


def test_what_is_erased_while_a_backup_is_made_is_told(used: Settings, tmp_path: Path) -> None:
    holder = Holder()
    with running(used) as app:
        objection = holder.objection()
        assert post(app, objection).status_code == 201

        erasures = [holder.later("erasure", objection)]

        def erase(_done: int, _total: int) -> None:
            if erasures:  # the first segment is copied, and one of those behind it is erased
                assert post(app, erasures.pop()).status_code == 201

        # Names of segments are random: make sure that the first is not the one.
        while True:
            with closing(open_storage_to_check_of(used)) as storage, storage.database.reading() as connection:
                names = [name for (name,) in connection.execute(text("SELECT blob FROM records ORDER BY blob"))]
                theirs = connection.execute(text("SELECT blob FROM records WHERE log_index = 5")).scalar_one()
            if segment_of(names[0]) != segment_of(theirs):
                break
            register_of(app).log_writer.append(sealed_receipt())
        with closing(open_storage_to_check_of(used)) as storage:
            made = back_up(
                storage, tmp_path / "backup", data_dir=used.data_dir, with_keys=True, now=NOW, progress=erase
            )
    assert (made.manifest.erased_meanwhile, made.damaged) == ([5], [])
    found = put_back(used, tmp_path / "backup", replace=True).found
    assert len(found.problems) == 1
    assert "entry 5" in found.problems[0]


def test_lost_evidence_is_told_when_it_is_backed_up(local: Settings, tmp_path: Path) -> None:
    segment = next((local.data_dir / "blobs").iterdir())
    segment.write_bytes(bytes(segment.stat().st_size))
    done = command_line(local, "backup", str(tmp_path / "backup"))
    assert done.exit_code == 1
    assert "✗ the sealed bytes of entry" in done.output
    assert BackupReader(tmp_path / "backup").manifest.size == 5


def test_a_database_behind_the_checkpoint_outside_stops_the_start(used: Settings, tmp_path: Path) -> None:
    folder = make_backup(used, tmp_path / "backup")
    grow(used, 3)
    assert kept_size(used) == 8
    done = put_back(used, folder, replace=True)
    assert (done.signed, done.found.problems) == (8, [])
    with running(used) as app:  # halted: it answers for what it has
        assert app.test_client().get("/readyz").status_code == 503
    lost = "the log was signed with 8 entries, the database has 5: entries 5 to 7 are lost here"
    refused = command_line(used, "log", "resume", "--nothing-lost")
    assert (refused.exit_code, lost in refused.output) == (2, True)
    # As a hand would, which puts an old copy in place.
    with closing(open_storage_of(used, create=False)) as storage, storage.database.writing() as connection:
        log.resume(connection)
    with pytest.raises(OperatorError) as caught:
        open_storage_of(used, create=True)
    assert caught.value.code == "log_behind_checkpoint"
    assert lost in str(caught.value)
    checked = command_line(used, "log", "check")
    assert (checked.exit_code, f"✗ {lost}" in checked.output) == (1, True)

    accepted = command_line(used, "log", "resume", "--accept-loss")
    assert accepted.exit_code == 0, accepted.output
    assert "stated publicly from now on: entries 5 to 7 were lost" in accepted.output
    assert (used.data_dir / "lost-checkpoint-8").exists()
    grow(used, 1)
    with running(used) as app:
        assert "Entries 5 to 7 were signed before, and lost." in app.test_client().get("/").text
    assert "! entries 5 to 7 were lost" in command_line(used, "log", "check").output


def test_a_log_that_lost_nothing_is_not_resumed(local: Settings) -> None:
    assert "log_not_halted" in command_line(local, "log", "resume", "--accept-loss").output
    assert command_line(local, "log", "resume").exit_code == 2


def test_a_database_that_is_gone_is_missed_by_the_checkpoint_outside(local: Settings) -> None:
    for path in local.data_dir.glob("register.sqlite*"):
        path.unlink()
    shutil.rmtree(local.data_dir / "blobs")
    assert refusal(lambda: open_storage_of(local, create=True)) == "log_inconsistent"


def test_a_checkpoint_outside_of_another_log_stops_the_start(local: Settings, tmp_path: Path) -> None:
    other = elsewhere(tmp_path)
    grow(other, 3)
    kept = local.data_dir / "newest-checkpoint"
    for note in ((other.data_dir / "newest-checkpoint").read_text(), "", "nonsense\n"):
        kept.write_text(note)
        assert refusal(lambda: open_storage_of(local, create=True)) == "log_inconsistent"
    kept.unlink()
    open_storage_of(local, create=True).close()
    assert kept_size(local) == 5


def wait_until_kept(register: Register, settings: Settings) -> int:
    with register.database.reading() as connection:
        head = log.read_head(connection)
    assert head is not None
    deadline = time.monotonic() + 60
    while kept_size(settings) != head.size:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return head.size


def test_the_checkpoint_outside_follows_within_seconds_and_is_never_ahead(local: Settings) -> None:
    with running(local) as app:
        register = register_of(app)
        append_many(register, 20)
        assert wait_until_kept(register, local) == 25
        with failing(register, "COMMIT", "before", operational), pytest.raises(Exception, match="again"):
            register.log_writer.append(sealed_receipt())
        time.sleep(1.5)
        assert kept_size(local) == 25
        append_many(register, 1)
    assert kept_size(local) == 26


def test_the_checkpoint_outside_never_goes_back(local: Settings) -> None:
    with closing(open_storage_of(local, create=False)) as storage:
        assert storage.kept is not None
        newest = storage.kept.read()
        with storage.database.reading() as connection:
            head = log.read_head(connection)
        assert head is not None
        assert newest == head.checkpoint
        grow(local, 2)
        assert storage.kept.keep(head.checkpoint)
    assert kept_size(local) == 7


def test_a_folder_that_takes_no_checkpoint_stops_no_recording(
    local: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with running(local) as app:
        (local.data_dir / "newest-checkpoint").unlink()
        (local.data_dir / "newest-checkpoint").mkdir()
        append_many(register_of(app), 3)
    assert caplog.text.count("an old backup would not be noticed") == 1


def test_segments_of_lost_records_are_told_from_those_of_a_crash(local: Settings) -> None:
    blobs = local.data_dir / "blobs"
    (blobs / ("0" * 32)).write_bytes(b"left by a crash")
    os.utime(blobs / ("0" * 32), (1, 1))
    (blobs / ("1" * 32)).write_bytes(b"or of a lost record")
    os.utime(blobs / ("1" * 32), (time.time() + 60, time.time() + 60))
    found = command_line(local, "log", "check")  # the checkpoint outside shows that no record is lost
    assert found.exit_code == 0
    assert "2 segment(s) that no record names: left by a crash" in found.output
    (local.data_dir / "newest-checkpoint").unlink()
    found = command_line(local, "log", "check")
    assert found.exit_code == 1
    assert "1 segment(s) that no record names: left by a crash" in found.output
    assert f"✗ segment {'1' * 32} was written after the newest record, and no record names it" in found.output


def test_nobody_but_migrate_migrates(tmp_path: Path, storage_settings: dict[str, str]) -> None:
    settings = make_settings(tmp_path / "data", **storage_settings)
    settings.data_dir.mkdir()
    database = Database(settings.database_url, lock_file=settings.data_dir / "writer.lock")
    older = Config()
    older.set_main_option("script_location", str(ROOT / "server/store/migrations"))
    with closing(database), database.engine.begin() as connection:
        older.attributes["connection"] = connection
        command.upgrade(older, "0004")
    for create in (True, False):
        (settings.data_dir / "keys").mkdir(exist_ok=True)
        with pytest.raises(OperatorError) as caught:
            open_storage_of(settings, create=create)
        assert (caught.value.code, "objection migrate" in str(caught.value)) == ("schema_older", True)
    assert "it had 0004" in command_line(settings, "migrate").output
    assert "it had" not in command_line(settings, "migrate").output
    open_storage_of(settings, create=True).close()


def test_a_newer_database_is_left_alone(used: Settings) -> None:
    with closing(open_storage_of(used, create=False)) as storage, storage.database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert refusal(lambda: open_storage_of(used, create=True)) == "schema_newer"
    assert "schema_newer" in command_line(used, "migrate").output


def test_migrate_makes_no_register(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "data")
    assert "storage_unusable" in command_line(settings, "migrate").output
    settings.data_dir.mkdir()
    assert "storage_unusable" in command_line(settings, "migrate").output
