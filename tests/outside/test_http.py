"""The one HTTP client: whatever a server does, a request ends by its deadline and keeps a bounded answer."""

import gzip
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from server.core.notes import VerifierKey, format_verifier_key
from server.errors import ObjectionError, Unavailable
from server.outside.http import HttpClient, post
from server.outside.log_reader import LogReader
from tests.fixtures.rude_servers import Script, drips, pours, read_head, says, scripted, silent
from tests.fixtures.servers import ROOT

OK = b"HTTP/1.1 200 OK\r\n"
# Each wait is short, and what it may take is generous: a single byte of a dripping server began the old wait anew.
WAIT_S, MOST_S = 0.5, 5.0


def handshake_without_end(client: socket.socket, stop: threading.Event) -> None:
    """Begin a TLS record of 16 KiB, and send it a byte at a time."""
    client.recv(65_536)
    client.sendall(b"\x16\x03\x03\x40\x00")
    while not stop.wait(0.05):
        client.sendall(b"\x02")


def redirects(client: socket.socket, _stop: threading.Event) -> None:
    while head := read_head(client):
        place = b"http://127.0.0.1:%d%sx" % (client.getsockname()[1], head.split(b" ")[1])
        client.sendall(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + place + b"\r\n\r\n")


@contextmanager
def private_tls(folder: Path, answer: bytes) -> Iterator[tuple[str, Path]]:
    """Yield the address of a server whose certificate an authority of our own signed, and that authority's file."""
    now, keys = datetime.now(UTC), [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("our own", "127.0.0.1")]
    certificates = []
    for name, key in zip(names, keys, strict=True):
        made = x509.CertificateBuilder(names[0], name, key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        made = made.add_extension(x509.BasicConstraints(ca=name == names[0], path_length=None), critical=True)
        address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        certificates.append(made.add_extension(address, critical=False).sign(keys[0], hashes.SHA256()))
    authority, chain = folder / "authority.pem", folder / "server.pem"
    authority.write_bytes(certificates[0].public_bytes(Encoding.PEM))
    key = keys[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain.write_bytes(key + certificates[1].public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)

    def speak(client: socket.socket, stop: threading.Event) -> None:
        with context.wrap_socket(client, server_side=True) as wrapped:
            says(answer)(wrapped, stop)

    with scripted(speak) as host:
        yield f"https://{host}", authority


SLOW: dict[str, tuple[str, Script]] = {
    "says nothing": ("http", silent),
    "drips a status line": ("http", drips(b"HTTP/1.1 ")),
    "drips one header": ("http", drips(OK + b"X-Long: ")),
    "drips headers": ("http", drips(OK, b"X: y\r\n")),
    "drips a body": ("http", drips(OK + b"Content-Length: 100000\r\n\r\n")),
    "drips a body of no length": ("http", drips(OK + b"\r\n")),
    "drips chunks": ("http", drips(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n")),
    "drips a chunk's size": ("http", drips(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0")),
    "drips trailers": ("http", drips(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n")),
    "continues without end": ("http", drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n")),
    "never answers the handshake": ("https", silent),
    "drips the handshake": ("https", handshake_without_end),
}

REFUSED: dict[str, tuple[Script, str]] = {
    "pours a body": (pours(OK + b"Content-Length: 99999999999\r\n\r\n"), "more than"),
    "pours a body of no length": (pours(OK + b"\r\n"), "more than"),
    "pours headers": (pours(OK + b"X: "), "LineTooLong"),
    "a thousand headers": (says(OK + b"X: y\r\n" * 1000 + b"\r\n"), "HTTPException"),
    "a body compressed": (
        says(OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(1 << 20))),
        "compressed",
    ),
    "less than it announced": (says(OK + b"Content-Length: 100\r\n\r\nhalf"), "in full"),
    "half a chunk": (says(OK + b"Transfer-Encoding: chunked\r\n\r\n10\r\nhalf"), "in full"),
    "a length that is none": (says(OK + b"Content-Length: ten\r\n\r\n0123456789"), "length"),
    "a length below zero": (says(OK + b"Content-Length: -1\r\n\r\n0123456789"), "length"),
    "two lengths": (says(OK + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\n01234"), "length"),
    "a length and chunks": (
        says(OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        "length",
    ),
    "not HTTP": (says(b"220 smtp.example ESMTP\r\n"), "BadStatusLine"),
    "nothing": (says(b""), "RemoteDisconnected"),
}


def ask(url: str, timeout_s: float = WAIT_S) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        post(url, b"question", media_type="text/plain", accept="*/*", timeout_s=timeout_s, code="unavailable")
    assert caught.value.code == "unavailable"
    assert "\n" not in str(caught.value)
    return caught.value


def read(url: str, timeout_s: float = WAIT_S) -> bytes:
    return LogReader(url, deadline=time.monotonic() + timeout_s).read("checkpoint", max_bytes=65_536)


def test_an_authority_of_ones_own_is_trusted_when_ssl_cert_file_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = OK + b"Content-Length: 3\r\n\r\nyes"
    with private_tls(tmp_path, answer) as (url, authority):
        assert "SSLCertVerificationError" in str(ask(url, MOST_S))
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        assert post(url, b"?", media_type="text/plain", accept="*/*", timeout_s=MOST_S, code="x").body == b"yes"
        assert read(url, MOST_S) == b"yes"


@pytest.mark.parametrize("case", SLOW)
@pytest.mark.parametrize("client", ["post", "log"])
def test_a_request_ends_by_its_deadline(client: str, case: str) -> None:
    scheme, script = SLOW[case]
    with scripted(script) as host:
        started = time.monotonic()
        if client == "post":
            ask(f"{scheme}://{host}/")
        else:
            with pytest.raises(Unavailable) as caught:
                read(f"{scheme}://{host}")
            assert caught.value.code == "log_unavailable"
        assert WAIT_S * 0.9 <= time.monotonic() - started < MOST_S


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("client", ["post", "log"])
def test_an_answer_that_no_honest_server_gives_is_refused(client: str, case: str) -> None:
    script, cause = REFUSED[case]
    with scripted(script) as host:
        if client == "post":
            assert cause in str(ask(f"http://{host}/", timeout_s=20))
        else:
            with pytest.raises(Unavailable, match=cause) as caught:
                read(f"http://{host}", timeout_s=20)
            assert caught.value.code == "log_unavailable"


def test_a_redirect_is_an_answer_and_nothing_that_is_followed() -> None:
    with scripted(redirects) as host:
        answer = post(f"http://{host}/", b"", media_type="text/plain", accept="*/*", timeout_s=20, code="unavailable")
        assert answer.status == 302
        with pytest.raises(Unavailable, match="answers 302"):
            read(f"http://{host}", timeout_s=20)


def test_a_chunked_answer_is_read_whole() -> None:
    body = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    with scripted(says(OK + body)) as host:
        assert read(f"http://{host}", timeout_s=20) == b"abcde"


def test_a_connection_is_used_again_and_made_anew_when_it_was_closed() -> None:
    opened = []

    def twice(client: socket.socket, _stop: threading.Event) -> None:
        opened.append(client)
        for _ in range(2):
            if read_head(client):
                client.sendall(OK + b"Content-Length: 2\r\n\r\nhi")

    with scripted(twice) as host:
        reader = LogReader(f"http://{host}", deadline=time.monotonic() + 20)
        assert [reader.read("checkpoint", max_bytes=2) for _ in range(5)] == [b"hi"] * 5
    assert len(opened) == 3


def test_a_busy_log_is_asked_again_when_it_says() -> None:
    answers = [b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n", OK + b"Content-Length: 2\r\n\r\nhi"]

    def busy_once(client: socket.socket, _stop: threading.Event) -> None:
        while read_head(client):
            client.sendall(answers.pop(0))

    with scripted(busy_once) as host:
        started = time.monotonic()
        assert read(f"http://{host}", timeout_s=20) == b"hi"
        assert time.monotonic() - started >= 1


def test_a_log_that_stays_busy_is_not_waited_for_past_the_deadline() -> None:
    with scripted(says(b"HTTP/1.1 503 Busy\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n")) as host:
        started = time.monotonic()
        with pytest.raises(Unavailable):
            read(f"http://{host}")
        assert time.monotonic() - started < MOST_S


def test_a_name_that_does_not_resolve() -> None:
    assert "does not answer" in str(ask("http://nowhere.invalid/", timeout_s=20))


def test_resolving_a_name_counts_against_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's resolver takes as long as it likes: here a name server that is silent."""
    real = socket.getaddrinfo

    def slow(*arguments: object, **options: object) -> object:
        time.sleep(20)
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    started = time.monotonic()
    ask("http://localhost:1/")
    assert time.monotonic() - started < MOST_S


@pytest.mark.parametrize("url", ["http://[::1]:1/", "http://127.0.0.1:1", "http://localhost:1/x?y"])
def test_nobody_there(url: str) -> None:
    ask(url, timeout_s=20)


def test_a_host_is_named_as_the_address_spells_it() -> None:
    asked = []

    def keep(client: socket.socket, _stop: threading.Event) -> None:
        asked.append(read_head(client))
        client.sendall(OK + b"Content-Length: 0\r\n\r\n")

    with scripted(keep) as host:
        client = HttpClient(f"http://{host}", code="unavailable")
        client.request("GET", "/a?b=c", deadline=time.monotonic() + 20, max_bytes=0)
    (head,) = asked
    assert head.startswith(b"GET /a?b=c HTTP/1.1\r\n")
    assert f"\r\nHost: {host}\r\n".encode() in head
    assert b"\r\nAccept-Encoding: identity\r\n" in head


@pytest.mark.parametrize("case", ["drips one header", "drips a body"])
def test_the_audit_command_ends_by_its_timeout(case: str, tmp_path: Path) -> None:
    """It took 34 s, for each byte of a header began the wait anew."""
    key = format_verifier_key(VerifierKey("log.example", Ed25519PrivateKey.generate().public_key()))
    command = [sys.executable, "-m", "server.cli", "log", "audit", "--key", key, "--timeout", "1"]
    with scripted(SLOW[case][1]) as host:
        started = time.monotonic()
        done = subprocess.run(
            [*command, f"http://{host}"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert time.monotonic() - started < 15
    assert done.returncode == 2
    assert done.stderr.startswith("objection: log_unavailable: ")
    assert done.stderr.count("\n") == 1


def test_no_other_client_is_used() -> None:
    """A second client would need a deadline of its own."""
    clients = re.compile(r"(?:import|from) (?:http\.client|urllib\.request|urllib3|requests|httpx|aiohttp)\b")
    found = [path for path in (ROOT / "server").rglob("*.py") if clients.search(path.read_text())]
    assert found == [ROOT / "server/outside/http.py"]


def test_an_error_names_no_more_than_its_kind() -> None:
    with scripted(says(b"garbage \x1b[31m\r\n")) as host, pytest.raises(ObjectionError) as caught:
        read(f"http://{host}", timeout_s=20)
    assert "\x1b" not in str(caught.value)
