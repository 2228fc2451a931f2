"""Large requests wait for each other, and a process of gunicorn does not grow with their number."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from flask import Flask

from schemas.proofs import Problem
from server.web.room import room
from tests.fixtures.holders import Holder
from tests.fixtures.servers import footprint, make_settings, post, register_of, running, serving
from tests.test_worker import children

MIB = 1_048_576
EVIDENCE = {"a.txt": bytes(4 * MIB), "b.txt": bytes(4 * MIB)}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    with running(make_settings(tmp_path_factory.mktemp("register"))) as app:
        yield app


def test_who_finds_no_room_is_told_to_come_again(app: Flask) -> None:
    before = footprint(register_of(app))
    with ExitStack() as others, ThreadPoolExecutor(3) as pool:
        for _ in range(4):
            others.enter_context(room()).take()
        started = time.monotonic()
        large = pool.submit(post, app, Holder().objection(EVIDENCE))
        bundle = pool.submit(app.test_client().get, f"/v1/receipts/{'0' * 64}/bundle")
        proof = pool.submit(app.test_client().post, "/v1/verifications", data=bytes(2 * MIB))
        refused = [future.result() for future in (large, bundle, proof)]
        assert 10 <= time.monotonic() - started < 15
    for response in refused:
        problem = json.loads(response.data)
        assert (response.status_code, problem["code"]) == (503, "server_busy")
        assert not Problem().validate(problem)
        assert int(response.headers["Retry-After"]) > 0
    assert footprint(register_of(app)) == before


def test_small_requests_do_not_wait_for_large_ones(app: Flask) -> None:
    with ExitStack() as others:
        for _ in range(4):
            others.enter_context(room()).take()
        started = time.monotonic()
        assert post(app, Holder().objection({"a.txt": b"one"})).status_code == 201
        assert time.monotonic() - started < 5


def test_room_is_given_back(app: Flask) -> None:
    for _ in range(5):
        assert post(app, Holder().objection(EVIDENCE)).status_code == 201
        assert app.test_client().get(f"/v1/receipts/{'0' * 64}/bundle").status_code == 401


def peak_mib(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def test_many_large_recordings_at_once_take_bounded_memory(tmp_path: Path) -> None:
    """Measured: 160 MiB; 330 and more without bounded room, 540 with a heap for each thread."""
    with serving(tmp_path) as server, ThreadPoolExecutor(24) as pool:
        assert server.process is not None
        (worker,) = children(server.process.pid, "gunicorn")
        server.post(Holder().objection({}))
        before = peak_mib(worker)
        answers = list(pool.map(server.post, [Holder().objection(EVIDENCE) for _ in range(24)]))
        assert [status for status, _ in answers] == [201] * 24
        assert peak_mib(worker) - before < 260
