"""What an operator reads when the register cannot start: one line with the cause and the setting, once, and no trace.

``objection serve`` as a process, with gunicorn, its processes and the worker; PostgreSQL as it really refuses.
"""

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import create_engine, text

from server.settings import GIVE_UP
from server.storage import open_storage_of
from server.store.spent import LocalProofs
from tests.fixtures.ports import free_port
from tests.fixtures.servers import PUBLIC_URL, ROOT, bare_environment, make_settings

NOBODY = 65534
PASSWORD = "hunter2-of-the-tests"
STARTUP_S = 60


# Root may read everything, but for this; then it stands for any user, and NOBODY for whoever made the files.
UNPRIVILEGED = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]


def serve(data_dir: Path, *, before: Sequence[str] = (), **settings: str) -> subprocess.Popen[str]:
    given = {"DATA_DIR": str(data_dir), "PUBLIC_URL": PUBLIC_URL, "WORKERS": "2", "BIND": f"127.0.0.1:{free_port()}"}
    environment = {f"OBJECTION_{name}": value for name, value in (given | settings).items()}
    return subprocess.Popen(
        [*before, sys.executable, "-m", "server.cli", "serve"],
        cwd=ROOT,
        env=bare_environment() | environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ours(said: str) -> list[str]:
    """Return the lines that are neither gunicorn's reports nor the greeting; none of them may be of a trace."""
    assert "Traceback" not in said, said
    assert 'File "' not in said, said
    assert PASSWORD not in said
    return [line for line in said.splitlines() if not re.match(r"\[20|Register  |Data  |Limits  |\s*$", line)]


def refused(data_dir: Path, *, before: Sequence[str] = (), **settings: str) -> str:
    """Return the only line that a start ended with."""
    process = serve(data_dir, before=before, **settings)
    try:
        said, _ = process.communicate(timeout=STARTUP_S)
    finally:
        end(process)
    lines = ours(said)
    assert len(lines) == 1, said
    assert process.returncode in {GIVE_UP, 2}
    return lines[0].removeprefix("objection: ")


def waiting(data_dir: Path, **settings: str) -> str:
    """Return the line of a start that goes on trying, which SIGTERM ends."""
    process = serve(data_dir, **settings)
    try:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines:
            lines = ours(process.stdout.readline())
        time.sleep(2.5)  # two tries more say nothing new
        assert process.poll() is None
        process.terminate()
        said, _ = process.communicate(timeout=STARTUP_S)
    finally:
        end(process)
    assert ours(said) == []
    return lines[0].removeprefix("objection: ")


def end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def until_listening(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    said = ""
    while "Booting worker" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    return said


@pytest.fixture
def used(tmp_path: Path) -> Path:
    open_storage_of(make_settings(tmp_path / "data"), create=True).close()
    return tmp_path / "data"


def test_another_name_is_said_once(used: Path) -> None:
    line = refused(used, PUBLIC_URL="https://new.example")
    assert line.startswith("names_changed: this register is called https://register.example, and OBJECTION_PUBLIC_URL")


def test_a_port_that_does_not_exist(used: Path) -> None:
    assert "OBJECTION_BIND='127.0.0.1:99999': a port is 1 to 65535" in refused(used, BIND="127.0.0.1:99999")


@pytest.mark.parametrize(
    ("bind", "cause"),
    [
        ("203.0.113.1:8000", "Cannot assign requested address"),
        ("no-such-host.invalid:8000", "known"),
        ("unix:/no/such/folder/socket", "No such file or directory"),
    ],
)
def test_an_address_that_cannot_be_had(used: Path, bind: str, cause: str) -> None:
    line = refused(used, BIND=bind)
    assert line.startswith(f"bind_refused: OBJECTION_BIND={bind}: ")
    assert cause in line


def test_a_port_in_use(used: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        line = refused(used, BIND=f"127.0.0.1:{taken.getsockname()[1]}")
    assert line.startswith("bind_refused: OBJECTION_BIND=127.0.0.1:")
    assert "Address already in use" in line


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/register.sqlite").write_bytes(b"not a database, " * 1000)
    line = refused(tmp_path / "data")
    assert line == "database_damaged: the register's database is damaged: file is not a database"


def test_a_database_of_a_newer_version(used: Path) -> None:
    engine = create_engine(f"sqlite:///{used}/register.sqlite")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    assert refused(used).startswith("schema_newer: the database has revision 9999, which this version (up to ")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can give files away")
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("keys/kek-1.key", "keys_unreadable"),
        ("keys", "keys_unreadable"),
        ("register.sqlite", "storage_unusable"),
        ("spent-proofs.sqlite", "storage_unusable"),
        ("writer.lock", "storage_unusable"),
        (".", "storage_unusable"),
    ],
)
def test_a_file_that_belongs_to_somebody_else(used: Path, name: str, code: str) -> None:
    LocalProofs(used / "spent-proofs.sqlite", life_s=1, now=0).close()
    os.chown(used / name, NOBODY, NOBODY)
    line = refused(used, before=UNPRIVILEGED)
    assert line.startswith(f"{code}: ")
    assert str(used / name) in line
    if code == "keys_unreadable":
        assert f"{used / name} belongs to user {NOBODY}, and this process runs as user 0: chown -R it" in line


@pytest.fixture
def role(postgres_server: str, postgres: str) -> Iterator[tuple[str, str]]:
    """A user that may connect and look, no more; its name, and the address of the database as that user."""
    assert postgres == postgres_server
    name = f"objection_role_{secrets.token_hex(4)}"
    identifier = sql.Identifier(name)
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(identifier))
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(identifier))
        yield name, re.sub(r"//[^@]*@", f"//{name}:{PASSWORD}@", postgres_server)
        connection.execute(sql.SQL("DROP OWNED BY {}").format(identifier))
        connection.execute(sql.SQL("DROP ROLE {}").format(identifier))


def test_a_role_that_may_not_create_tables(tmp_path: Path, role: tuple[str, str]) -> None:
    line = refused(tmp_path / "data", DATABASE_URL=role[1])
    assert line.startswith("database_refused: OBJECTION_DATABASE_URL: database objection_test_")
    assert f"user {role[0]}" in line
    assert "permission denied for schema public" in line
    assert "GRANT USAGE, CREATE ON SCHEMA public" in line


def test_a_role_that_may_not_read_the_tables(tmp_path: Path, postgres: str, role: tuple[str, str]) -> None:
    open_storage_of(make_settings(tmp_path / "data", database_url=postgres), create=True).close()
    line = refused(tmp_path / "data", DATABASE_URL=role[1])
    assert line.startswith("database_refused: ")
    assert "permission denied for table" in line


def changed(url: str, pattern: str, by: str) -> str:
    address = re.sub(pattern, by, url)
    assert address != url
    return address


def test_a_database_that_does_not_exist(tmp_path: Path, postgres: str) -> None:
    line = refused(tmp_path / "data", DATABASE_URL=changed(postgres, r"/[^/]*$", "/no_such_database"))
    assert line.startswith("database_refused: OBJECTION_DATABASE_URL: database no_such_database at 127.0.0.1:5432, ")
    assert "there is no such database" in line


def test_a_user_that_does_not_exist(tmp_path: Path, postgres: str) -> None:
    url = changed(postgres, r"//[^@]*@", f"//no_such_user:{PASSWORD}@")
    line = refused(tmp_path / "data", DATABASE_URL=url)
    assert "user no_such_user: there is no such user" in line


def test_tls_that_the_server_does_not_speak(tmp_path: Path, postgres: str) -> None:
    line = refused(tmp_path / "data", DATABASE_URL=f"{postgres}?sslmode=require")
    assert "TLS fails: look at sslmode" in line


def test_an_option_that_the_driver_does_not_know(tmp_path: Path, postgres: str) -> None:
    line = refused(tmp_path / "data", DATABASE_URL=f"{postgres}?no_such_option=1")
    assert line.startswith("database_refused: OBJECTION_DATABASE_URL: ")
    assert "no_such_option" in line


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL of this module alone that asks for passwords; its address, with the right one."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL's programs are not here")
        pytest.skip("PostgreSQL's programs are not here")
    home = Path(tempfile.mkdtemp(prefix="objection-pg-"))
    user = None
    if os.geteuid() == 0:
        user = NOBODY  # PostgreSQL does not run as root
        os.chown(home, NOBODY, NOBODY)
    (home / "password").write_text(PASSWORD)
    (home / "password").chmod(0o644)
    data, port = home / "data", free_port()
    initialise = [programs[-1] / "initdb", "-D", data, "-U", "owner", "-A", "scram-sha-256", "--no-sync"]
    subprocess.run([*initialise, f"--pwfile={home}/password"], user=user, check=True, capture_output=True, cwd=home)
    command = [programs[-1] / "postgres", "-D", data, "-p", str(port), "-k", home, "-c", "listen_addresses=127.0.0.1"]
    process = subprocess.Popen(command, user=user, cwd=home, stderr=subprocess.DEVNULL)
    url = f"postgresql://owner:{PASSWORD}@127.0.0.1:{port}/postgres"
    try:
        for _ in range(200):
            try:
                psycopg.connect(url).close()
                break
            except psycopg.OperationalError:
                time.sleep(0.1)
        yield url
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(30)
        shutil.rmtree(home)


def test_a_wrong_password(tmp_path: Path, strict_server: str) -> None:
    wrong = strict_server.replace(PASSWORD, f"{PASSWORD}x")
    assert "user owner: the user's password is wrong or missing" in refused(tmp_path / "data", DATABASE_URL=wrong)
    missing = strict_server.replace(f":{PASSWORD}", "")
    assert "user owner: the user's password is wrong or missing" in refused(tmp_path / "data", DATABASE_URL=missing)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://owner:{PASSWORD}/x@127.0.0.1:5432/db",
        f"postgresql://owner:x@{PASSWORD}@127.0.0.1:5432/db",
        f"postgresql://owner:{PASSWORD}@127.0.0.1:99999/db",
        f"postgresql://owner:{PASSWORD}@127.0.0.1:port/db",
        f"postgresql://owner:{PASSWORD}@127.0.0.1:5432",
        f"mysql://owner:{PASSWORD}@127.0.0.1/db",
    ],
)
def test_an_address_that_is_malformed_is_told_without_its_password(tmp_path: Path, url: str) -> None:
    assert refused(tmp_path / "data", DATABASE_URL=url).startswith("settings_invalid: OBJECTION_DATABASE_URL: ")


def test_a_port_at_which_nothing_listens_is_waited_for(tmp_path: Path) -> None:
    url = f"postgresql://owner:{PASSWORD}@127.0.0.1:{free_port()}/db"
    line = waiting(tmp_path / "data", DATABASE_URL=url)
    assert line.startswith("database_unavailable: OBJECTION_DATABASE_URL: database db at 127.0.0.1:")
    assert "nothing listens there" in line


def test_a_host_without_address_is_waited_for(tmp_path: Path) -> None:
    line = waiting(tmp_path / "data", DATABASE_URL="postgresql://owner@no-such-host.invalid/db")
    assert line.startswith("database_unavailable: OBJECTION_DATABASE_URL: database db at no-such-host.invalid:5432")
    assert "name is not known" in line


def test_a_halted_log_is_told_once_at_each_start(used: Path) -> None:
    engine = create_engine(f"sqlite:///{used}/register.sqlite")
    with engine.begin() as connection:
        connection.execute(text("UPDATE log_head SET halted = 'w has seen 9 entries'"))
    engine.dispose()
    for _ in range(2):
        process = serve(used)
        try:
            said = until_listening(process)
            time.sleep(1)
            process.terminate()
            said += process.communicate(timeout=STARTUP_S)[0]
        finally:
            end(process)
        (line,) = ours(said)
        assert "log_halted: the log signs nothing any more: w has seen 9 entries; docs/anchoring.md" in line


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "ctrl-C"])
def test_a_stop_during_the_start_leaves_no_trace(used: Path, how: signal.Signals) -> None:
    """Ctrl-C reaches every process of the group, as a terminal sends it."""
    for tenths in range(0, 36, 4):
        process = serve(used)
        try:
            assert process.stdout is not None
            process.stdout.readline()  # Python itself is up
            time.sleep(tenths / 10)
            os.killpg(process.pid, how) if how == signal.SIGINT else process.send_signal(how)
            said, _ = process.communicate(timeout=STARTUP_S)
        finally:
            end(process)
        assert ours(said) in ([], ["", "Aborted!"], ["Aborted!"]), (tenths, said)
