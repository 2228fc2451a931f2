"""A start under another name or with another key stops with a sentence; ``log check`` names the same."""

import hashlib
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from server.errors import OperatorError
from server.settings import Settings
from server.storage import open_storage_of, open_storage_to_check_of
from server.store.identity import read_identity
from server.usecases.check_log import check_log
from tests.fixtures.sealed import append_many
from tests.fixtures.servers import PUBLIC_URL, bare_environment, make_settings, register_of, running

FILES = [
    *("counts-1.key", "issuer-1.crt", "issuer-1.key", "issuer-root.crt", "issuer-root.key"),
    *("kek-1.key", "log-1.key", "time-authority.pem"),
]


@pytest.fixture
def used(tmp_path: Path, storage_settings: dict[str, str]) -> Settings:
    """The settings of a stopped register with one record."""
    settings = make_settings(tmp_path / "data", **storage_settings)
    with running(settings) as app:
        append_many(register_of(app), 1)
    return settings


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The key folder of another register of the same name."""
    settings = make_settings(tmp_path / "other")
    open_storage_of(settings, create=True).close()
    return settings.data_dir / "keys"


def renamed(settings: Settings, **changes: str) -> Settings:
    database = settings.database_url.replace("+psycopg", "")
    return make_settings(settings.data_dir, **{"database_url": database} | changes)


def refusal(settings: Settings, *, create: bool = True) -> str:
    with pytest.raises(OperatorError) as caught:
        open_storage_of(settings, create=create)
    line = f"{caught.value.code}: {caught.value}"
    assert "\n" not in line
    return line


def findings(settings: Settings) -> list[str]:
    storage = open_storage_to_check_of(settings)
    try:
        return check_log(storage, progress=lambda _done, _of: None).problems
    finally:
        storage.close()


def expect_same_start(settings: Settings) -> None:
    open_storage_of(settings, create=False).close()
    assert findings(settings) == []


@pytest.mark.parametrize("create", [True, False], ids=["server", "command"])
def test_another_public_url_stops_the_start(used: Settings, create: bool) -> None:
    changed = renamed(used, public_url="https://www.register.example", log_origin="register.example/log")
    line = refusal(changed, create=create)
    assert line.startswith("names_changed: ")
    assert PUBLIC_URL in line
    assert "OBJECTION_PUBLIC_URL says https://www.register.example" in line
    assert "OBJECTION_LOG_ORIGIN" not in line
    assert findings(changed) == [
        "OBJECTION_PUBLIC_URL says https://www.register.example, and this register is called https://register.example"
    ]
    expect_same_start(used)


def test_both_names_are_told_where_one_follows_from_the_other(used: Settings) -> None:
    line = refusal(renamed(used, public_url="https://new.example"))
    assert "this register is called https://register.example, and OBJECTION_PUBLIC_URL says https://new.example" in line
    assert "its log is called register.example/log, and OBJECTION_LOG_ORIGIN (by default" in line
    assert "says new.example/log" in line
    assert "OBJECTION_DATA_DIR" in line


def test_another_log_origin_stops_the_start(used: Settings) -> None:
    changed = renamed(used, log_origin="other.example/log")
    line = refusal(changed)
    assert line.startswith("names_changed: its log is called register.example/log")
    assert "the log is called register.example/log, and OBJECTION_LOG_ORIGIN says other.example/log" in findings(
        changed
    )
    expect_same_start(used)


def anothers(name: str) -> Callable[[Path, Path], None]:
    def replace(keys: Path, other: Path) -> None:
        shutil.copy(other / name, keys / name)

    return replace


def at_random(name: str) -> Callable[[Path, Path], None]:
    def replace(keys: Path, _other: Path) -> None:
        (keys / name).write_bytes(secrets.token_bytes(32))

    return replace


def issuer_pair(keys: Path, other: Path) -> None:
    for name in ("issuer-1.key", "issuer-1.crt", "issuer-root.crt", "issuer-root.key"):
        shutil.copy(other / name, keys / name)


REPLACED = {
    "a random kek": (at_random("kek-1.key"), ["kek-1.key"]),
    "random counts": (at_random("counts-1.key"), ["counts-1.key"]),
    "another's log key": (anothers("log-1.key"), ["log-1.key"]),
    "another's clock": (anothers("time-authority.pem"), ["time-authority.pem"]),
    "another's root": (anothers("issuer-root.crt"), ["issuer-root.crt"]),
    "another's root key": (anothers("issuer-root.key"), ["issuer-root.key"]),
    "another's issuer pair": (issuer_pair, ["issuer-1.crt", "issuer-1.key", "issuer-root.crt", "issuer-root.key"]),
}


@pytest.mark.parametrize("case", REPLACED)
def test_another_key_stops_the_start(used: Settings, other: Path, case: str) -> None:
    replace, names = REPLACED[case]
    keys = used.data_dir / "keys"
    before = {path.name: path.read_bytes() for path in keys.iterdir()}
    replace(keys, other)
    for create in (True, False):
        line = refusal(used, create=create)
        assert line.startswith("keys_changed: ")
        assert [name for name in FILES if name in line] == names
        assert str(keys) in line
        assert "OBJECTION_DATABASE_URL" in line
    found = findings(used)
    assert {f"{name} is not the key that this database was used with" for name in names} <= set(found)
    for name, data in before.items():
        (keys / name).write_bytes(data)
    expect_same_start(used)


def test_a_version_of_a_key_is_remembered_and_then_needed(used: Settings) -> None:
    keys = used.data_dir / "keys"
    new = keys / "kek-2.key"
    new.write_bytes(bytes(32))
    new.chmod(0o600)
    assert findings(used) == ["the database does not remember kek-2.key: a start would write it down"]
    open_storage_of(used, create=True).close()
    expect_same_start(used)
    new.write_bytes(bytes(31) + b"1")
    assert refusal(used).startswith("keys_changed: kek-2.key")
    new.unlink()
    assert refusal(used).startswith("keys_missing: kek-2.key")
    assert "kek-2.key is missing, and this database was used with it" in findings(used)


def test_the_root_key_may_be_kept_elsewhere(used: Settings) -> None:
    (used.data_dir / "keys/issuer-root.key").unlink()
    expect_same_start(used)


def test_what_is_remembered_leads_to_no_key(used: Settings) -> None:
    storage = open_storage_of(used, create=False)
    with storage.database.reading() as connection:
        stored = read_identity(connection)
    storage.close()
    assert sorted(stored) == ["OBJECTION_PUBLIC_URL", *FILES]
    for name in FILES:
        data = (used.data_dir / "keys" / name).read_bytes()
        assert len(stored[name]) == 32
        for algorithm in ("sha256", "sha1", "md5", "blake2b", "sha512"):
            assert not hashlib.new(algorithm, data).hexdigest().startswith(stored[name])


def test_keys_of_a_first_start_that_was_killed_keep_their_name(
    tmp_path: Path, storage_settings: dict[str, str]
) -> None:
    """Killed between key files and database, then started under another name: the certificate tells."""
    first = make_settings(tmp_path / "data", **storage_settings)
    script = (
        "import os, sys\n"
        "from server.usecases import register\n"
        "register.load_keys = lambda *_, **__: os.kill(os.getpid(), 9)\n"
        "from server.settings import load_settings\n"
        "from server.storage import open_storage_of\n"
        "open_storage_of(load_settings(), create=True)\n"
    )
    environment = bare_environment() | {
        "OBJECTION_DATA_DIR": str(first.data_dir),
        "OBJECTION_DATABASE_URL": first.database_url.replace("+psycopg", ""),
        "OBJECTION_PUBLIC_URL": PUBLIC_URL,
    }
    assert subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode == -9
    assert (first.data_dir / "keys/time-authority.pem").exists()
    line = refusal(renamed(first, public_url="https://other.example"))
    assert line.startswith("names_changed: ")
    assert "issuer-1.crt was made for https://register.example" in line
    open_storage_of(first, create=True).close()
    expect_same_start(first)


def test_the_first_start_after_the_upgrade_writes_down_what_it_finds(used: Settings) -> None:
    storage = open_storage_of(used, create=False)
    with storage.database.writing() as connection:
        connection.execute(text("DELETE FROM identity"))
    storage.close()
    assert "its log is called" in refusal(renamed(used, public_url="https://new.example"))
    assert "issuer-1.crt was made for" in refusal(
        renamed(used, public_url="https://new.example", log_origin="register.example/log")
    )
    open_storage_of(used, create=True).close()
    expect_same_start(used)


def test_every_process_of_a_first_start_agrees(tmp_path: Path, storage_settings: dict[str, str]) -> None:
    settings = make_settings(tmp_path / "data", **storage_settings)
    environment = bare_environment() | {
        "OBJECTION_DATA_DIR": str(settings.data_dir),
        "OBJECTION_DATABASE_URL": settings.database_url.replace("+psycopg", ""),
        "OBJECTION_PUBLIC_URL": PUBLIC_URL,
    }
    script = (
        "from server.settings import load_settings\n"
        "from server.storage import open_storage_of\n"
        "open_storage_of(load_settings(), create=True)\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", script], env=environment) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    expect_same_start(settings)
