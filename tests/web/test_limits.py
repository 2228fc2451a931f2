"""Bounds that only a real server shows: sizes on the wire, and rates."""

import dataclasses
import json
import re
import secrets
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis

from schemas.proofs import Problem
from server.settings import Settings
from tests.fixtures.holders import Holder
from tests.fixtures.ports import free_port
from tests.fixtures.servers import (
    MULTIPART,
    Gunicorn,
    footprint,
    format_multipart,
    make_settings,
    parts_of,
    post,
    register_of,
    running,
    serving,
)

MAX_BODY = 10_485_760


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    with serving(tmp_path_factory.mktemp("register")) as server:
        yield server


def talk(server: Gunicorn, *pieces: bytes) -> tuple[int, dict[str, Any]]:
    """Send ``pieces`` for as long as the server takes them, and read its answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
        except OSError:
            pass  # the server has heard enough
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < _length(answer):
            piece = connection.recv(65_536)
            if not piece:
                break
            answer += piece
    return int(answer.split(b" ", 2)[1]), json.loads(answer.partition(b"\r\n\r\n")[2])


def _length(answer: bytes) -> int:
    found = re.search(rb"(?i)\r\ncontent-length: ([0-9]+)", answer)
    return int(found[1]) if found else 1 << 30


def head(*lines: str) -> bytes:
    fixed = ["POST /v1/receipts HTTP/1.1", "Host: register.example", f"Content-Type: {MULTIPART}", "Connection: close"]
    return "\r\n".join([*fixed, *lines, "", ""]).encode()


def size_of_log(server: Gunicorn) -> int:
    with urllib.request.urlopen(f"{server.url}/readyz", timeout=30) as response:
        return int(json.load(response)["log_size"])


def test_a_body_announced_too_large_is_refused_before_it_is_sent(server: Gunicorn) -> None:
    before = size_of_log(server)
    started = time.monotonic()
    body = format_multipart(parts_of(Holder().objection({})))
    status, problem = talk(server, head(f"Content-Length: {MAX_BODY + 1}"), body[:100])
    assert time.monotonic() - started < 2
    assert (status, problem["code"]) == (413, "body_too_large")
    assert not Problem().validate(problem)
    assert size_of_log(server) == before
    assert not list((server.data_dir / "blobs").iterdir())


def test_who_asks_before_sending_too_much_is_told_not_to(server: Gunicorn) -> None:
    """gunicorn says 100 by itself at once; the refusal follows without a byte of the body."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head(f"Content-Length: {MAX_BODY + 1}", "Expect: 100-continue"))
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    final = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert final.startswith(b"HTTP/1.1 413 ")
    assert json.loads(final.partition(b"\r\n\r\n")[2])["code"] == "body_too_large"


def test_a_chunked_body_too_large_is_refused(server: Gunicorn) -> None:
    """Nothing announces its size; it begins as a submission that would be recorded."""
    before = size_of_log(server)
    body = format_multipart(parts_of(Holder().objection({})))
    filler = b"100000\r\n" + bytes(0x100000) + b"\r\n"
    first = f"{len(body):x}\r\n".encode() + body + b"\r\n"
    status, problem = talk(server, head("Transfer-Encoding: chunked"), first, *[filler] * 11, b"0\r\n\r\n")
    assert (status, problem["code"]) == (413, "body_too_large")
    assert size_of_log(server) == before


def test_a_chunked_proof_too_large_is_not_judged_by_its_beginning(server: Gunicorn) -> None:
    lines = ["POST /v1/verifications HTTP/1.1", "Host: register.example", "Transfer-Encoding: chunked"]
    start = "\r\n".join([*lines, "Connection: close", "", ""]).encode()
    filler = b"100000\r\n" + bytes(0x100000) + b"\r\n"
    status, problem = talk(server, start, *[filler] * 16, b"1\r\nx\r\n0\r\n\r\n")
    assert (status, problem["code"]) == (413, "body_too_large")
    status, problem = talk(server, start, *[filler] * 16, b"0\r\n\r\n")
    assert (status, problem["code"]) == (400, "file_unrecognised")


def test_a_chunked_body_within_bounds_is_recorded(server: Gunicorn) -> None:
    body = format_multipart(parts_of(Holder().objection({})))
    half = len(body) // 2
    chunks = [f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in (body[:half], body[half:])]
    status, answer = talk(server, head("Transfer-Encoding: chunked"), *chunks, b"0\r\n\r\n")
    assert (status, answer["state"]) == (201, "recorded")


BROKEN_CHUNKS = {
    "a size that is none": b"s3cr3t\r\nx\r\n0\r\n\r\n",
    "no size": b"\r\nx\r\n0\r\n\r\n",
    "an extension that is none": b"1;s3cr3t=\x00\r\nx\r\n0\r\n\r\n",
    "more than it says": b"1\r\ns3cr3t\r\n0\r\n\r\n",
    "a trailer that is none": b"1\r\nx\r\n0\r\ns3cr3t\r\n\r\n",
    "a trailer with a strange name": b"1\r\nx\r\n0\r\ns3cr3t (: x\r\n\r\n",
    "a trailer with a bare line feed": b"1\r\nx\r\n0\r\ns3cr3t: x\n\r\n",
    "a size without end": b"1" * 70_000,
}


@pytest.mark.parametrize("case", BROKEN_CHUNKS)
def test_a_body_in_broken_chunks_is_the_clients_fault(server: Gunicorn, case: str) -> None:
    before, size = server.logged(), size_of_log(server)
    status, problem = talk(server, head("Transfer-Encoding: chunked"), BROKEN_CHUNKS[case])
    assert (status, problem["code"]) == (400, "body_malformed")
    assert not Problem().validate(problem)
    assert "s3cr3t" not in json.dumps(problem)
    assert size_of_log(server) == size
    assert server.logged() == before


def test_a_chunked_body_cut_off_is_the_clients_fault(server: Gunicorn) -> None:
    before = server.logged()
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head("Transfer-Encoding: chunked") + b"5\r\nx")
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert server.logged() == before


def test_a_body_cut_off_stores_nothing(server: Gunicorn) -> None:
    before = size_of_log(server)
    body = format_multipart(parts_of(Holder().objection({})))
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head(f"Content-Length: {len(body)}") + body[:-30])
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65_536)
    assert not answer.startswith(b"HTTP/1.1 2")
    assert size_of_log(server) == before


def test_too_many_recordings(tmp_path: Path) -> None:
    holder = Holder()
    with running(make_settings(tmp_path, record_rate="2 per hour")) as app:
        assert [post(app, holder.objection({})).status_code for _ in range(2)] == [201, 201]
        before = footprint(register_of(app))
        refused = post(app, holder.objection({}))
        problem = json.loads(refused.data)
        assert (refused.status_code, problem["code"]) == (429, "rate_limited")
        assert refused.content_type == "application/problem+json"
        assert not Problem().validate(problem)
        assert 1 <= int(refused.headers["Retry-After"]) <= 3600
        assert footprint(register_of(app)) == before
        assert app.test_client().get("/healthz").status_code == 200


def test_too_many_reads(tmp_path: Path) -> None:
    with running(make_settings(tmp_path, read_rate="2 per hour")) as app:
        client = app.test_client()
        assert [client.get("/checkpoint").status_code for _ in range(3)] == [200, 200, 429]


def test_bundles_are_as_dear_as_recordings_and_counted_apart(tmp_path: Path) -> None:
    with running(make_settings(tmp_path, record_rate="2 per hour")) as app:
        client, address = app.test_client(), f"/v1/receipts/{'0' * 64}"
        assert [client.get(f"{address}/bundle").status_code for _ in range(3)] == [401, 401, 429]
        assert [client.get(address).status_code for _ in range(3)] == [401, 401, 401]
        assert post(app, Holder().objection({})).status_code == 201


def test_a_household_is_not_hindered(tmp_path: Path) -> None:
    """By the default limit. The extension fetches a bundle when it has recorded, and another when that is anchored."""
    settings = dataclasses.replace(make_settings(tmp_path), record_rate=Settings.from_env({}).record_rate)
    with running(settings) as app:
        for _ in range(12):
            submission = Holder().objection({})
            assert post(app, submission).status_code == 201
            for _ in range(2):
                bundle = app.test_client().get(f"/v1/receipts/{submission.sha256}/bundle")
                assert bundle.status_code == 401, "it has no proof of possession, but is not one too many"


def test_neighbours_share_a_limit_and_strangers_do_not(tmp_path: Path) -> None:
    """IPv4 by /24, IPv6 by /48; one proxy is trusted, and what a client puts before it is not."""
    with running(make_settings(tmp_path, read_rate="1 per hour", trusted_proxies="1")) as app:

        def status(forwarded: str) -> int:
            code: int = app.test_client().get("/checkpoint", headers={"X-Forwarded-For": forwarded}).status_code
            return code

        assert status("192.0.2.1") == 200
        assert status("192.0.2.250") == 429
        assert status("198.51.100.9, 192.0.2.7") == 429
        assert status("::ffff:192.0.2.9") == 429
        assert status("192.0.3.1") == 200
        assert status("2001:db8:1:2::1") == 200
        assert status("2001:db8:1:ffff::9") == 429
        assert status("2001:db8:2::1") == 200


def test_an_address_that_is_none_does_not_break_the_limit(tmp_path: Path) -> None:
    with running(make_settings(tmp_path, trusted_proxies="1")) as app:
        answer = app.test_client().get("/checkpoint", headers={"X-Forwarded-For": "unknown"})
        assert answer.status_code == 200


def status_from(server: Gunicorn, address: str) -> int:
    request = urllib.request.Request(f"{server.url}/checkpoint", headers={"X-Forwarded-For": address})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            status: int = response.status
            return status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_replicas_share_a_limit_through_redis(tmp_path: Path, redis_url: str) -> None:
    """Two gunicorns on the same data: other processes, one limit."""
    settings = {"read_rate": "3 per hour", "rate_limit_storage_url": redis_url, "trusted_proxies": "1"}
    address = f"2001:db8:{secrets.randbelow(1 << 16):x}::1"
    with serving(tmp_path, **settings) as one, serving(tmp_path, **settings) as other:
        statuses = [status_from(server, address) for server in (one, other, one, other, one)]
    assert statuses == [200, 200, 200, 429, 429]


def test_without_redis_each_process_limits_on_its_own(tmp_path: Path) -> None:
    nobody = f"redis://127.0.0.1:{free_port()}"
    with running(make_settings(tmp_path, read_rate="2 per hour", rate_limit_storage_url=nobody)) as app:
        client = app.test_client()
        assert [client.get("/checkpoint").status_code for _ in range(3)] == [200, 200, 429]
        assert post(app, Holder().objection({})).status_code == 201


def test_what_redis_gets_holds_no_address(tmp_path: Path, redis_url: str) -> None:
    rate = f"{secrets.randbelow(10**6) + 1000} per hour"
    with running(make_settings(tmp_path, read_rate=rate, rate_limit_storage_url=redis_url)) as app:
        app.test_client().get("/checkpoint")
    store = redis.Redis.from_url(redis_url, decode_responses=True)
    keys = [key for key in store.scan_iter("LIMITS*") if f"/{rate.partition(' ')[0]}/" in key]
    assert keys
    for key in keys:
        assert "127.0.0" not in key
        assert 0 < store.ttl(key) <= 3600
        store.delete(key)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP], ids=["gone", "hanging"])
def test_of_many_requests_none_fails_with_redis(
    tmp_path: Path, own_redis: tuple[str, subprocess.Popen[bytes]], end: signal.Signals
) -> None:
    """All are on their way to it when it fails; the first to notice must not leave the others behind."""
    url, process = own_redis
    with running(make_settings(tmp_path, read_rate="1000 per hour", rate_limit_storage_url=url)) as app:
        assert app.test_client().get("/checkpoint").status_code == 200
        process.send_signal(end)
        with ThreadPoolExecutor(16) as pool:
            statuses = list(pool.map(lambda _: app.test_client().get("/checkpoint").status_code, range(16)))
    assert statuses == [200] * 16


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP], ids=["gone", "hanging"])
def test_redis_going_away_does_not_stop_the_register(
    tmp_path: Path, own_redis: tuple[str, subprocess.Popen[bytes]], end: signal.Signals
) -> None:
    url, process = own_redis
    with running(make_settings(tmp_path, read_rate="5 per hour", rate_limit_storage_url=url)) as app:
        client = app.test_client()
        assert client.get("/checkpoint").status_code == 200
        process.send_signal(end)
        started = time.monotonic()
        assert client.get("/checkpoint").status_code == 200
        assert post(app, Holder().objection({})).status_code == 201
        assert 429 in [client.get("/checkpoint").status_code for _ in range(6)]
        assert time.monotonic() - started < 15
