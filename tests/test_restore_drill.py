"""The restore drill: a backup while gunicorn records, everything destroyed, all that was acknowledged by then back."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

import psycopg
import pytest

from server.core.policies import parse_trust_policy
from tests.fixtures.counting import BEGAN, GRACE_S, counting_since, release_until
from tests.fixtures.holders import Holder, Submission
from tests.fixtures.servers import ROOT, Gunicorn, make_settings, register_of, serving
from tests.test_gunicorn_kill import expect_in_log

CLIENTS = 8
EACH = 300
Acknowledged = list[tuple[Submission, dict[str, Any]]]


def objection(server: Gunicorn, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "server.cli", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=server.environment, capture_output=True, text=True, timeout=600, check=False
    )


def record(server: Gunicorn, acknowledged: Acknowledged, stop: threading.Event) -> None:
    """Record objections until ``stop`` is set."""

    def work(holder: Holder) -> None:
        while not stop.is_set():
            submission = holder.objection({"notice.txt": os.urandom(200)})
            try:
                status, answer = server.post(submission)
            except (OSError, HTTPException, ValueError):
                continue
            if status == 201:
                acknowledged.append((submission, answer))

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(work, [Holder() for _ in range(CLIENTS)]))


def wait_for(acknowledged: Acknowledged, number: int) -> None:
    deadline = time.monotonic() + 300
    while len(acknowledged) < number:
        assert time.monotonic() < deadline, f"{len(acknowledged)} acknowledged, {number} wanted"
        time.sleep(0.01)


def read(server: Gunicorn, path: str) -> bytes:
    with urllib.request.urlopen(f"{server.url}{path}", timeout=20) as response:
        return bytes(response.read())


def index_of(answer: dict[str, Any]) -> int:
    found = re.search(r"^index ([0-9]+)$", answer["proof"], re.MULTILINE)
    assert found
    return int(found[1])


def destroy(server: Gunicorn, storage_settings: dict[str, str]) -> None:
    server.kill()
    shutil.rmtree(server.data_dir)
    if url := storage_settings.get("database_url"):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")


@pytest.mark.timeout(900)  # some 1500 requests and five commands, on a machine that may be busy
def test_the_restore_drill(tmp_path: Path, storage_settings: dict[str, str]) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup"
    with counting_since(make_settings(data, **storage_settings)) as app:
        assert release_until(register_of(app), data, BEGAN + 7 * 86_400 + GRACE_S) > 0
    released = {path.name: path.read_bytes() for path in (data / "releases").iterdir()}
    with serving(data, workers=2, **storage_settings) as server:
        policy = parse_trust_policy(read(server, "/v1/policy"))
        releases = read(server, "/v1/releases")
        acknowledged: Acknowledged = []
        stop = threading.Event()
        recording = threading.Thread(target=record, args=(server, acknowledged, stop))
        recording.start()
        try:
            wait_for(acknowledged, EACH)
            before = len(acknowledged)
            made = objection(server, "backup", str(backup))
            during = len(acknowledged) - before
            wait_for(acknowledged, before + during + EACH)
        finally:
            stop.set()
            recording.join()
        assert (made.returncode, made.stderr) == (0, "")
        assert during > 0, "nothing was recorded while the backup was made"
        checked = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=backup, check=False)
        assert checked.returncode == 0
        assert all(path.stat().st_mode & 0o077 == 0 for path in [backup, *backup.rglob("*")])
        destroy(server, storage_settings)

        restored = objection(server, "restore", str(backup))
        assert (restored.returncode, restored.stderr) == (0, ""), restored.stderr
        size = int(re.search(r": ([0-9]+) entries, the newest of", restored.stdout)[1])  # type: ignore[index]
        assert "Whatever the register acknowledged later is lost." in restored.stdout
        assert before <= size < len(acknowledged) - EACH // 2
        assert {path.name: path.read_bytes() for path in (data / "releases").iterdir()} == released
        assert all(path.stat().st_mode & 0o077 == 0 for path in [data, *data.rglob("*")])

        server.start()
        assert read(server, "/v1/releases") == releases
        assert parse_trust_policy(read(server, "/v1/policy")) == policy

        def look(item: tuple[Submission, dict[str, Any]]) -> bool:
            submission, first = item
            status, again = server.post(submission)
            if index_of(first) >= size:
                assert (status, again["code"]) == (503, "log_halted")
                return False
            assert (status, again["token"], again["received_at"]) == (200, first["token"], first["received_at"])
            return expect_in_log(submission, again, policy) == index_of(first)

        with ThreadPoolExecutor(CLIENTS) as pool:
            kept = sum(pool.map(look, acknowledged))
        assert kept >= before
        assert kept == sum(index_of(answer) < size for _, answer in acknowledged)

        found = objection(server, "log", "check")
        assert found.returncode == 1
        assert found.stderr.startswith("✗ log_halted: the log is halted: restored from the backup of ")
        assert len(found.stderr.splitlines()) == 1
        resumed = objection(server, "log", "resume", "--accept-loss")
        assert resumed.returncode == 0, resumed.stderr
        assert server.post(Holder().objection())[0] == 201
        assert f"went on with the log after {size} entries" in read(server, "/").decode()
        found = objection(server, "log", "check")
        assert found.returncode == 0, found.stderr
        assert f"! entries from {size} on may have been lost" in found.stdout
