"""What an operator finds in the log of a real server, at its default level, after requests that it cannot read."""

import logging
import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from server.web.operating_log import leave_out_client_data
from tests.fixtures.servers import Gunicorn, serving

RECORD = "/v1/receipts/5ec4e7"
SECRET = "s3cr3t"
HEAD = f"GET {RECORD} HTTP/1.1\r\nHost: register.example\r\n"
NOT_HTTP = {
    "a space in the path": f"GET {RECORD} /{SECRET} HTTP/1.1\r\n\r\n",
    "no version": f"GET {RECORD}?{SECRET}\r\n\r\n",
    "another version": f"GET {RECORD} HTTP/{SECRET}\r\n\r\n",
    "another method": f"{SECRET}() {RECORD} HTTP/1.1\r\n\r\n",
    "a header without a colon": f"{HEAD}Authorization DPoP {SECRET}\r\n\r\n",
    "a header with a strange name": f"{HEAD}Objection-Holder-Share {SECRET}: x\r\n\r\n",
    "a header with a strange value": f"{HEAD}Objection-Holder-Share: {SECRET}\0\r\n\r\n",
    "a folded header": f"{HEAD}DPoP: x\r\n {SECRET}\r\n\r\n",
    "a header too long": f"{HEAD}DPoP: {SECRET}{'x' * 40_000}\r\n\r\n",
    "a line too long": f"GET {RECORD}/{SECRET}{'x' * 9_000} HTTP/1.1\r\n\r\n",
    "a strange coding": f"{HEAD}Transfer-Encoding: {SECRET}\r\n\r\n",
    "two lengths": f"{HEAD}Content-Length: 1\r\nContent-Length: {SECRET}\r\n\r\n",
    "a strange expectation": f"{HEAD}Expect: {SECRET}\r\n\r\n",
    "a strange chunk that nobody reads": f"{HEAD}Transfer-Encoding: chunked\r\n\r\n{SECRET}\r\n",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    with serving(tmp_path_factory.mktemp("register")) as server:
        yield server


@pytest.mark.parametrize("case", NOT_HTTP)
def test_nothing_that_a_client_sent_is_logged(server: Gunicorn, case: str) -> None:
    before = server.logged()
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(NOT_HTTP[case].encode())
        assert connection.recv(65_536).startswith((b"HTTP/1.1 4", b"HTTP/1.1 501"))
    said = logged_since(server, before)
    assert re.search(r"a request ended with \w+", said)
    for personal in ("ip=", RECORD, "5ec4e7", SECRET, "127.0.0.1"):
        assert personal not in said


def logged_since(server: Gunicorn, before: str) -> str:
    deadline = time.monotonic() + 60
    while server.logged() == before and time.monotonic() < deadline:
        time.sleep(0.02)
    return server.logged().removeprefix(before)


def test_an_error_keeps_its_place_and_loses_its_text() -> None:
    kept: list[logging.LogRecord] = []
    log = logging.Logger("gunicorn.like")
    log.addFilter(leave_out_client_data)
    log.addHandler(handler := logging.Handler())
    handler.emit = kept.append  # type: ignore[method-assign]

    def answer() -> None:
        try:
            raise ValueError(SECRET)
        except ValueError:
            log.exception("Error handling request %s", RECORD)

    thread = threading.Thread(target=answer)
    thread.start()
    thread.join()
    log.error("Worker (pid:%s) exited with code %s.", 1, 255)
    about_request, about_process = [logging.Formatter().format(record) for record in kept]
    assert about_request.startswith("a request ended with ValueError\n")
    assert "test_operating_log.py" in about_request
    assert SECRET not in about_request
    assert RECORD not in about_request
    assert about_process == "Worker (pid:1) exited with code 255."
