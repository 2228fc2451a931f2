"""The worker as it runs: two processes at once, killed and started again, release each epoch once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy import select

from server.store.tables import released_cells, releases
from server.usecases.epochs import epoch_at
from tests.fixtures.counting import GRACE_S, contribute, counting_since
from tests.fixtures.servers import ROOT, make_settings, register_of, running
from tests.test_worker import environment

WEEK_S = 7 * 86_400


def start_worker(folder: Path, settings: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "server.cli", "worker"], cwd=ROOT, env=environment(folder, settings))


def test_workers_release_what_is_due_once(tmp_path: Path, storage_settings: dict[str, str]) -> None:
    settings = make_settings(tmp_path, **storage_settings)
    closed = epoch_at("week", int(time.time()) - GRACE_S).start  # weeks that end here or before are due
    since = closed - 3 * WEEK_S
    with counting_since(settings, since) as app:
        contribute(register_of(app), 500, hour=since)
    workers = [start_worker(tmp_path, storage_settings) for _ in range(2)]
    with running(settings) as app:
        register = register_of(app)

        def published() -> dict[str, str]:
            with register.database.reading() as connection:
                rows = connection.execute(select(releases).where(releases.c.published)).all()
            return {row.id: row.signed for row in rows if row.table_name in {"countries", "europe"}}

        def wait_for(number: int) -> None:
            deadline = time.monotonic() + 60
            while len(published()) < number:
                assert time.monotonic() < deadline, "not released"
                time.sleep(0.05)

        try:
            wait_for(2)
            for worker in workers:  # wherever it is: half of the releases may be drawn, or written, or shown
                os.kill(worker.pid, signal.SIGKILL)
                worker.wait()
            before = published()
            workers = [start_worker(tmp_path, storage_settings) for _ in range(2)]
            wait_for(6)
            time.sleep(1)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        after = published()
        assert len(after) == 6
        assert before.items() <= after.items()
        for name, signed in after.items():
            assert (tmp_path / "releases" / f"{name}.jws").read_text() == signed
        answer = app.test_client().get("/v1/counts?table=europe&by=").get_json()
        assert abs(answer["rows"][0]["value_noisy"] - 500) < 150
        with register.database.reading() as connection:
            cells = connection.execute(select(released_cells.c.value)).all()
        assert len(cells) >= 3 * 32
