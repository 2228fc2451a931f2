"""The worker as a process: beside gunicorn, beside another worker, and killed."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from server.core.notes import parse_verifier_key
from tests.fixtures.anchoring import witnessing, write_anchors
from tests.fixtures.holders import Holder
from tests.fixtures.ports import free_port
from tests.fixtures.sealed import sealed_receipt
from tests.fixtures.servers import (
    ROOT,
    Gunicorn,
    bare_environment,
    make_settings,
    post,
    register_of,
    running,
    serving,
    storage_of,
)


def until(found: Callable[[], object], *, timeout_s: float = 60) -> object:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(0.05)
    pytest.fail("it did not happen")


def environment(data_dir: Path, settings: dict[str, str]) -> dict[str, str]:
    named = {f"OBJECTION_{name.upper()}": value for name, value in settings.items()}
    return (
        bare_environment()
        | {"OBJECTION_DATA_DIR": str(data_dir), "OBJECTION_PUBLIC_URL": "https://register.example"}
        | named
    )


@contextmanager
def worker(data_dir: Path, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "server.cli", "worker"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(data_dir, settings))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def query(data_dir: Path, settings: dict[str, str], statement: str) -> list[tuple[object, ...]]:
    if "database_url" in settings:
        with psycopg.connect(settings["database_url"]) as connection:
            return connection.execute(statement).fetchall()  # type: ignore[arg-type]
    with sqlite3.connect(data_dir / "register.sqlite") as connection:
        return connection.execute(statement).fetchall()


def sizes(data_dir: Path, settings: dict[str, str]) -> list[int]:
    return [
        int(str(row[0])) for row in query(data_dir, settings, "SELECT size FROM anchored_checkpoints ORDER BY size")
    ]


def lock_holder(data_dir: Path, settings: dict[str, str]) -> int | None:
    """Return the process that leads: on SQLite the one whose lock file is locked, on PostgreSQL whose connection is."""
    if "database_url" in settings:
        rows = query(data_dir, settings, "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 4207216")
        return int(str(rows[0][0])) if rows else None
    inode = (data_dir / "worker.lock").stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if f":{inode}" in line and "->" not in line:
            return int(fields[4])
    return None


def test_two_workers_one_leads_and_the_other_takes_over(tmp_path: Path, storage_settings: dict[str, str]) -> None:
    with running(make_settings(tmp_path, **storage_settings)) as app:
        register = register_of(app)
        register.log_writer.append(sealed_receipt())
        with worker(tmp_path, **storage_settings) as first:
            until(lambda: sizes(tmp_path, storage_settings) == [1])
            leader = lock_holder(tmp_path, storage_settings)
            with worker(tmp_path, **storage_settings):
                time.sleep(3)
                assert lock_holder(tmp_path, storage_settings) == leader
                if not storage_settings:
                    assert leader == first.pid
                register.log_writer.append(sealed_receipt())
                until(lambda: sizes(tmp_path, storage_settings) == [1, 2])
                first.send_signal(signal.SIGKILL)
                first.wait()
                register.log_writer.append(sealed_receipt())
                until(lambda: sizes(tmp_path, storage_settings) == [1, 2, 3])
                assert lock_holder(tmp_path, storage_settings) not in {leader, None}


def test_a_worker_stops_when_told(tmp_path: Path) -> None:
    with worker(tmp_path) as process:
        until((tmp_path / "worker.lock").exists)
        time.sleep(0.5)
        process.terminate()
        assert process.wait(10) == 0


def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "anchors.toml").write_text("nonsense")
    done = subprocess.run(
        [sys.executable, "-m", "server.cli", "worker"],
        cwd=ROOT,
        env=environment(tmp_path / "data", {"anchors": str(tmp_path / "anchors.toml")}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("objection: anchors_invalid: ")
    assert done.stderr.count("\n") == 1


def unopenable(data_dir: Path) -> Path:
    """Make what SQLite cannot open, until it is removed, stand where its file should be."""
    folder = data_dir / "register.sqlite"
    folder.mkdir(parents=True)
    return folder


def test_a_worker_that_starts_in_an_outage_works_after_it(tmp_path: Path) -> None:
    in_the_way = unopenable(tmp_path)
    command = [sys.executable, "-m", "server.cli", "worker"]
    with subprocess.Popen(command, cwd=ROOT, env=environment(tmp_path, {}), stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        try:
            said = [process.stderr.readline().decode() for _ in range(2)]
            in_the_way.rmdir()
            until((tmp_path / "worker.lock").exists)
        finally:
            process.kill()
        assert [line.split(" WARNING ")[1][:22] for line in said] == ["database_unavailable: "] * 2
        assert [line.strip()[-4:] for line in said] == [" 1 s", " 2 s"]


def test_a_worker_stops_when_told_in_an_outage(tmp_path: Path) -> None:
    unopenable(tmp_path)
    command = [sys.executable, "-m", "server.cli", "worker"]
    with subprocess.Popen(command, cwd=ROOT, env=environment(tmp_path, {}), stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.terminate()
        assert process.wait(10) == 0


def test_a_server_whose_processes_start_in_an_outage_serves_after_it(tmp_path: Path) -> None:
    in_the_way = unopenable(tmp_path)
    server = Gunicorn(tmp_path, free_port())

    def end_the_outage() -> None:
        until(lambda: "objection: database_unavailable: " in server.logged())
        in_the_way.rmdir()

    with ThreadPoolExecutor(1) as pool:
        outage = pool.submit(end_the_outage)
        try:
            server.start()  # and wait for an answer
            outage.result()
            status, _ = server.post(Holder().objection({}))
        finally:
            server.kill()
    assert status == 201
    assert server.logged().count("database_unavailable") == 1
    assert "Traceback" not in server.logged()


def children(pid: int, word: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ValueError):
            continue
        if parent == pid and word in command:
            found.append(int(entry.name))
    return found


def gone(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_server_brings_a_worker_that_ends_with_it(tmp_path: Path, how: signal.Signals) -> None:
    with serving(tmp_path, worker="on") as server:
        status, _ = server.post(Holder().objection({}))
        assert status == 201
        until(lambda: sizes(tmp_path, {}) == [1])
        assert server.process is not None
        (pid,) = children(server.process.pid, "server.cli worker")
        os.kill(server.process.pid, how)
        until(lambda: gone(pid))


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("usual_umask")
def test_no_other_user_can_read_what_the_server_stores(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        status, _ = server.post(Holder().objection({"a.txt": b"one"}))
        assert status == 201
        expect_private(tmp_path)
        assert list((tmp_path / "blobs").iterdir())


@pytest.mark.usefixtures("usual_umask")
def test_no_other_user_can_read_what_the_worker_stores(tmp_path: Path) -> None:
    with worker(tmp_path):
        until((tmp_path / "worker.lock").exists)
        expect_private(tmp_path)


def expect_private(folder: Path) -> None:
    """In a folder that was there already, so that its own mode says nothing."""
    assert {"register.sqlite", "register.sqlite-wal", "register.sqlite-shm"} <= {path.name for path in folder.iterdir()}
    modes = {str(path): path.stat().st_mode & 0o077 for path in folder.rglob("*")}
    assert {path: mode for path, mode in modes.items() if mode} == {}


def test_the_server_can_do_without(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert server.process is not None
        assert children(server.process.pid, "server.cli worker") == []


def kill_and_restart(server: Gunicorn) -> None:
    server.kill()
    server.start()


def test_killed_at_any_moment_the_anchors_stay_consistent(tmp_path: Path) -> None:
    """With a witness around, so that there are steps between which to be killed."""
    from server.usecases.check_log import check_log
    from tests.usecases.test_anchor_checkpoint import expect_consistent, log_key

    key = log_key(tmp_path / "data", {})
    with witnessing(tmp_path / "witness", key) as witness:
        anchors = str(write_anchors(tmp_path / "anchors.toml", witnesses=[witness], quorum="w"))
        settings = {"anchors": anchors}
        with running(make_settings(tmp_path / "data", **settings)) as app:
            register = register_of(app)
            for delay_ms in (700, 800, 900, 1000, 1100, 1200):
                register.log_writer.append(sealed_receipt(kid=register.keyring.issuer_kid))
                with worker(tmp_path / "data", **settings) as process:
                    time.sleep(delay_ms / 1000)
                    process.send_signal(signal.SIGKILL)
                    process.wait()
            with worker(tmp_path / "data", **settings):
                register.log_writer.append(sealed_receipt(kid=register.keyring.issuer_kid))
                until(lambda: sizes(tmp_path / "data", {})[-1:] == [7], timeout_s=60)
            expect_consistent(register)
            found = check_log(storage_of(register), progress=lambda _d, _t: None)
            assert found.problems == []


def test_the_witness_command(tmp_path: Path) -> None:
    """Our witness as groups would run it: its key made and kept, its line for the operator, its memory kept."""
    from server.core.notes import COSIGNATURE, format_verifier_key
    from server.core.witnessing import Cosigned, Stale
    from server.outside.witnesses import Witness
    from tests.outside.test_witnesses import LOG, ask, tree_of

    port, lines = free_port(), []
    for expected in (Cosigned, Stale):
        command = [sys.executable, "-m", "server.cli", "witness", "--key", "w.key", "--name", "w.example.org"]
        command += ["--log", format_verifier_key(LOG), "--state", "w.sqlite", "--listen", f"127.0.0.1:{port}"]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=bare_environment() | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            lines.append(process.stdout.readline().decode())
            word, name, vkey = lines[-1].split()
            assert (word, name) == ("witness", "w.example.org")
            key = parse_verifier_key(vkey, signature_type=COSIGNATURE)
            client = Witness("w", key, f"http://127.0.0.1:{port}")
            until(lambda: _listens(port))
            assert isinstance(ask(client, tree_of(9), 0), expected)
        finally:
            process.terminate()
            process.wait(15)
    assert lines[0] == lines[1]
    assert (tmp_path / "w.key").stat().st_mode & 0o077 == 0


def _listens(port: int) -> bool:
    import socket

    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_the_worker_overwrites_what_an_erasure_left(
    tmp_path: Path, storage_settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(make_settings(tmp_path, **storage_settings)) as app:
        holder = Holder()
        objection = holder.objection()
        assert post(app, objection).status_code == 201
        with monkeypatch.context() as patch:
            patch.setattr("server.store.blobs._write_whole", _disk_full)
            assert post(app, holder.later("erasure", objection)).status_code == 201
        assert register_of(app).blobs.segments()
        with worker(tmp_path, **storage_settings):
            # What is pending counts as such until the write-ahead log is empty, too: the mark goes last.
            until(lambda: query(tmp_path, storage_settings, "SELECT count(*) FROM blobs_to_erase") == [(0,)])
        assert register_of(app).blobs.segments() == set()


def _disk_full(_file: int, _data: bytes) -> None:
    raise OSError(28, "No space left on device")
