"""Clients that send bodies slowly, against real gunicorn: they keep out nobody, and the log tells of them in a line."""

import json
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.fixtures.holders import Holder
from tests.fixtures.servers import MULTIPART, Gunicorn, format_multipart, parts_of, serving

MIB = 1_048_576
EVIDENCE = {"a.txt": bytes(4 * MIB), "b.txt": bytes(3 * MIB)}
GIVEN_UP_S = 10 + 1 + 2  # what a small body has, and how often the watch looks, with room


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    with serving(tmp_path_factory.mktemp("register")) as server:
        server.post(Holder().objection({}))
        yield server


def begin(server: Gunicorn, *headers: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=40)
    lines = ["POST /v1/receipts HTTP/1.1", "Host: x", f"Content-Type: {MULTIPART}", *headers]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    return connection


def answer_of(connection: socket.socket) -> tuple[int, str]:
    """Return status and code of the problem that is answered."""
    received = b""
    while b"request_id" not in received and (more := connection.recv(65_536)):
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)["code"]


def test_uploads_that_trickle_give_their_places_to_who_waits(server: Gunicorn) -> None:
    before = server.logged()
    with ExitStack() as slow:
        tricklers = [slow.enter_context(begin(server, f"Content-Length: {8 * MIB}")) for _ in range(4)]
        for trickler in tricklers:
            trickler.sendall(bytes(MIB + 300_000))
        time.sleep(1)  # until each has a place
        started = time.monotonic()
        for _ in range(6):
            status, _ = server.post(Holder().objection(EVIDENCE))
            assert status == 201
            for trickler in tricklers:
                try:
                    trickler.sendall(b"x")
                except OSError:
                    continue
        assert time.monotonic() - started < 40
        answered, _, _ = select.select(tricklers, [], [], 1)
        assert answered
        assert len(answered) < 4, "only as many as others needed"
        assert {answer_of(trickler) for trickler in answered} == {(503, "server_busy")}
    said = server.logged().removeprefix(before)
    assert "server_busy on /v1/receipts" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("headers", ["Content-Length: 9000", "Transfer-Encoding: chunked"])
def test_a_small_body_has_its_time_and_no_more(server: Gunicorn, headers: str) -> None:
    before = server.logged()
    started = time.monotonic()
    with begin(server, headers) as trickler:
        trickler.settimeout(0.5)
        while time.monotonic() - started < 60:
            try:
                trickler.sendall(b"1\r\nx\r\n" if "chunked" in headers else b"x")
                answer = trickler.recv(1, socket.MSG_PEEK)
            except TimeoutError:
                continue
            assert answer
            break
        assert answer_of(trickler) == (408, "body_too_slow")
    assert 9 < time.monotonic() - started < 60
    assert "Traceback" not in server.logged().removeprefix(before)


def test_a_screenshot_over_a_weak_telephone_line_is_recorded(server: Gunicorn) -> None:
    """Six kilobytes a second, and no proxy that reads for us."""
    body = format_multipart(parts_of(Holder().objection({"a.txt": bytes(120_000)})))
    with begin(server, f"Content-Length: {len(body)}") as connection:
        for start in range(0, len(body), 6_000):
            connection.sendall(body[start : start + 6_000])
            time.sleep(1)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 201 ")


@pytest.mark.parametrize(
    "headers", ["Content-Length: 9000", "Transfer-Encoding: chunked", f"Content-Length: {2 * MIB}"]
)
def test_a_client_that_goes_away_breaks_nothing(server: Gunicorn, headers: str) -> None:
    before = server.logged()
    with begin(server, headers) as connection:
        connection.sendall(b"5\r\nhello\r\n")
        connection.shutdown(socket.SHUT_WR)
        assert answer_of(connection) == (400, "body_malformed")
    with begin(server, headers) as connection:
        connection.sendall(b"5\r\nhe")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    time.sleep(0.5)
    assert "Traceback" not in server.logged().removeprefix(before)
