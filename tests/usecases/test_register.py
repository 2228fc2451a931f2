"""Starting a register: first keys, keys that are gone or exposed, and a log that contradicts itself."""

import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from server.core.merkle import TileKey
from server.errors import LogInconsistent, ObjectionError, OperatorError
from server.settings import Settings
from server.store import log
from server.store.keys import KeyFolder
from server.usecases.register import Storage, open_storage
from tests.fixtures.holders import Holder
from tests.fixtures.sealed import append_many
from tests.fixtures.servers import make_settings, post, register_of, running

KEYS = ["issuer-root.key", "issuer-root.crt", "issuer-1.key", "issuer-1.crt", "log-1.key", "kek-1.key"]
NEEDED = ["issuer-1.key", "issuer-1.crt", "log-1.key", "kek-1.key", "time-authority.pem"]


def start(settings: Settings, *, create: bool = True) -> Storage:
    return open_storage(
        settings.data_dir,
        database_url=settings.database_url,
        public_url=settings.public_url,
        log_origin=settings.log_origin,
        create=create,
    )


def refusal(settings: Settings, **options: Any) -> str:
    with pytest.raises(OperatorError) as caught:
        start(settings, **options)
    return caught.value.code


@pytest.fixture
def used(tmp_path: Path) -> Settings:
    """The settings of a stopped register with one record."""
    settings = make_settings(tmp_path / "data")
    with running(settings) as app:
        assert post(app, Holder().objection()).status_code == 201
    return settings


@pytest.fixture
def used_on_both(tmp_path: Path, storage_settings: dict[str, str]) -> Settings:
    settings = make_settings(tmp_path / "data", **storage_settings)
    with running(settings) as app:
        append_many(register_of(app), 1)
    return settings


def change(settings: Settings, statement: str, **values: Any) -> None:
    database = start(settings).database
    with database.writing() as connection:
        connection.execute(text(statement), values)
    database.close()


def test_a_first_start_makes_folders_and_keys_for_the_owner_alone(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "a/b")
    start(settings).database.close()
    assert {path.name for path in (settings.data_dir / "keys").iterdir()} >= {*KEYS, "time-authority.pem"}
    for path in [settings.data_dir, *settings.data_dir.rglob("*")]:
        if path.parent.name == "keys" or path.is_dir():
            assert path.stat().st_mode & 0o077 == 0, path


def test_the_next_start_uses_the_same_keys(used: Settings) -> None:
    first, second = start(used), start(used, create=False)
    assert first.keyring.policy.log == second.keyring.policy.log
    assert first.keyring.issuer_kid == second.keyring.issuer_kid
    assert first.keyring.rate_limit_secret == second.keyring.rate_limit_secret


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_key_is_not_replaced_once_there_is_a_log(used: Settings, name: str) -> None:
    key = used.data_dir / "keys" / name
    data = key.read_bytes()
    key.unlink()
    assert refusal(used) == "keys_missing"
    assert not key.exists()
    key.write_bytes(data)
    key.chmod(0o600)
    start(used).database.close()


def test_a_missing_key_folder_is_not_replaced_once_there_is_a_log(used: Settings) -> None:
    shutil.rmtree(used.data_dir / "keys")
    assert refusal(used) == "keys_missing"
    assert not list((used.data_dir / "keys").iterdir())


@pytest.mark.parametrize("name", NEEDED)
def test_a_key_that_others_may_read_stops_the_start(used: Settings, name: str) -> None:
    for mode in (0o644, 0o640, 0o604, 0o602):
        (used.data_dir / "keys" / name).chmod(mode)
        assert refusal(used) == "keys_exposed"


@pytest.mark.parametrize("name", NEEDED)
def test_a_damaged_key_stops_the_start_with_a_sentence(used: Settings, name: str) -> None:
    for damage in (b"", b"nonsense"):
        (used.data_dir / "keys" / name).write_bytes(damage)
        assert refusal(used) == "keys_invalid"


def test_anothers_log_key_stops_the_start(used: Settings, tmp_path: Path) -> None:
    other = make_settings(tmp_path / "other")
    start(other).database.close()
    shutil.copy(other.data_dir / "keys/log-1.key", used.data_dir / "keys/log-1.key")
    assert refusal(used) == "keys_changed"


def test_another_log_name_stops_the_start(used: Settings) -> None:
    assert refusal(make_settings(used.data_dir, log_origin="other.example/log")) == "names_changed"


class PowerCut(BaseException):
    pass


def cut_power_at(monkeypatch: pytest.MonkeyPatch, step: int) -> Callable[[], int]:
    """End everything at the ``step``-th system call of making keys; return how many there were."""
    calls = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == step:
                raise PowerCut
            return function(*arguments, **options)

        return call

    # Its own view of os, so that nothing else is counted.
    from server.store import files

    view = type(
        "os", (), {name: staticmethod(getattr(os, name)) for name in ("open", "close", "fsync", "write", "link")}
    )
    for name in ("O_WRONLY", "O_CREAT", "O_EXCL", "O_RDONLY", "O_DIRECTORY", "O_CLOEXEC"):
        setattr(view, name, getattr(os, name))
    for name in ("open", "write", "fsync", "link"):
        setattr(view, name, staticmethod(counted(getattr(os, name))))
    monkeypatch.setattr(files, "os", view)
    return lambda: calls


def test_a_crash_anywhere_while_the_first_keys_are_made(tmp_path: Path) -> None:
    step, crashed = 0, True
    while crashed:
        step += 1
        settings = make_settings(tmp_path / f"crash{step}")
        with pytest.MonkeyPatch.context() as monkeypatch:
            cut_power_at(monkeypatch, step)
            try:
                start(settings).database.close()
                crashed = False
            except PowerCut:
                pass
        if step % 4 == 1 or not crashed:  # each file is one of seven alike
            with running(settings) as app:
                assert post(app, Holder().objection({})).status_code == 201
            assert not list((settings.data_dir / "keys").glob("*.new"))
    assert step > 35


def test_several_first_starts_at_once_make_one_register(tmp_path: Path, storage_settings: dict[str, str]) -> None:
    settings = make_settings(tmp_path / "data", **storage_settings)
    barrier = threading.Barrier(6)

    def first_start(_: int) -> tuple[str, bytes]:
        barrier.wait()
        storage = start(settings)
        storage.database.close()
        return storage.keyring.issuer_kid, storage.keyring.log_verifier.key.public_bytes_raw()

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(first_start, range(6)))) == 1


TILES = "UPDATE log_tiles SET hashes = :hashes"
INCONSISTENT: dict[str, tuple[str, dict[str, Any]]] = {
    "checkpoint of nobody": ("UPDATE log_head SET checkpoint = 'x'", {}),
    "checkpoint's root altered": ("UPDATE log_head SET checkpoint = replace(checkpoint, '=', 'A')", {}),
    "size smaller": ("UPDATE log_head SET size = 0", {}),
    "size larger": ("UPDATE log_head SET size = 2", {}),
    "size much larger": ("UPDATE log_head SET size = 1000000", {}),
    "size negative": ("UPDATE log_head SET size = -1", {}),
    "tile altered": (TILES, {"hashes": bytes(32)}),
    "tile emptied": (TILES, {"hashes": b""}),
    "tile cut": (TILES, {"hashes": bytes(5)}),
    "tile gone": ("DELETE FROM log_tiles", {}),
    "head gone": ("DELETE FROM log_head", {}),
}


@pytest.mark.parametrize(("statement", "values"), INCONSISTENT.values(), ids=INCONSISTENT)
def test_a_log_that_contradicts_itself_stops_the_start(
    used_on_both: Settings, statement: str, values: dict[str, Any]
) -> None:
    change(used_on_both, statement, **values)
    with pytest.raises(LogInconsistent) as caught:
        start(used_on_both)
    assert caught.value.code == "log_inconsistent"
    assert refusal(used_on_both, create=False) == "log_inconsistent", "the first refusal changed something"


@pytest.mark.parametrize("byte", [0, 31])
@pytest.mark.parametrize("tile", [(0, 1), (1, 0)])
def test_one_bit_of_what_gives_the_root_stops_the_start(tmp_path: Path, tile: TileKey, byte: int) -> None:
    """In the tiles at the right edge, of each level. The full ones below them only ``check_log`` reads again."""
    settings = make_settings(tmp_path / "data")
    with running(settings) as app:
        append_many(register_of(app), 260)
    database = start(settings).database
    with database.writing() as connection:
        hashes = bytearray(log.read_tile(connection, *tile))
        hashes[byte] ^= 1
        log.write_tiles(connection, {tile: bytes(hashes)})
    database.close()
    assert refusal(settings) == "log_inconsistent"


def test_a_database_lost_does_not_begin_a_second_log_with_the_same_key(used: Settings) -> None:
    for path in used.data_dir.glob("register.sqlite*"):
        path.unlink()
    assert refusal(used) == "log_inconsistent"
    other = make_settings(used.data_dir, database_url=f"sqlite:///{used.data_dir}/typo.sqlite")
    assert refusal(other) == "log_inconsistent"


def test_a_head_that_moved_stops_the_writer(tmp_path: Path) -> None:
    """The writer signs nothing when the head is not where its transaction left it."""
    with running(make_settings(tmp_path)) as app:
        append_many(register_of(app), 3)
        with register_of(app).database.writing() as connection:
            connection.execute(text("DELETE FROM log_head"))
        response = post(app, Holder().objection())
        assert response.status_code in {500, 503}
        assert b"head" not in response.data, "the inside shows"
        assert app.test_client().get("/readyz").status_code == 503
        assert app.test_client().get("/checkpoint").status_code == 503
        assert app.test_client().get("/healthz").status_code == 200


def test_a_tool_makes_no_tables_in_another_database(used: Settings, postgres: str) -> None:
    assert refusal(make_settings(used.data_dir, database_url=postgres), create=False) == "storage_unusable"
    with psycopg.connect(postgres) as connection:
        tables = connection.execute("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'")
        assert tables.fetchone() == (0,)


NOBODY = "postgresql://nobody@127.0.0.1:1/none"


def test_a_database_in_no_folder(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, database_url=f"sqlite:///{tmp_path}/none/register.sqlite")
    assert refusal(settings) == "storage_unusable"


def test_a_start_that_fails_leaves_no_file_open(used: Settings) -> None:
    change(used, "UPDATE log_head SET size = 2")
    assert refusal(used) == "log_inconsistent"
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        assert refusal(used) == "log_inconsistent"
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_tool_does_not_make_a_register(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "nothing")
    assert refusal(settings, create=False) == "storage_unusable"
    assert not settings.data_dir.exists()


def test_a_data_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert refusal(make_settings(tmp_path / "file")) == "storage_unusable"
    assert refusal(make_settings(tmp_path / "file/below")) == "storage_unusable"


def test_a_database_that_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(ObjectionError) as caught:
        start(make_settings(tmp_path / "data", database_url=NOBODY))
    assert caught.value.code == "database_unavailable"


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path / "keys")
    folder.create("a.key", b"one")
    with pytest.raises(FileExistsError):
        folder.create("a.key", b"two")
    assert folder.read("a.key") == b"one"
    assert folder.read("b.key") is None
    assert (tmp_path / "keys/a.key").stat().st_mode & 0o777 == 0o600


def test_versions_count_up(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path / "keys")
    for number in (10, 9, 1):
        folder.create(f"kek-{number}.key", b"x")
    folder.create("kek-root.key", b"x")
    assert folder.versions("kek") == [1, 9, 10]
