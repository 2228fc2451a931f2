"""Time authorities asked over HTTP: an honest one, OpenSSL's, and all that must not end up as a stamp."""

import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asn1crypto import core, tsp
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from server.core.certificates import parse_certificate, says_qualified
from server.core.timestamps import verify_timestamp
from server.errors import ObjectionError
from server.outside.certificates import make_leaf, make_root
from server.outside.time_authorities import request_timestamp
from server.outside.timestamps import create_local_authority
from tests.fixtures.anchoring import (
    QUERY_TYPE,
    REPLY_TYPE,
    TestAuthority,
    dripping_server,
    granted,
    http_server,
    openssl_verifies,
)
from tests.fixtures.ports import free_port

DATA = b"register.example/log\n11\n"
openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="OpenSSL is not installed")


def ask(authority: TestAuthority, *, timeout_s: float = 5) -> str:
    """Return what asking ends in: "stamped", or the code of the error."""
    with http_server(authority) as server:
        try:
            token, at = request_timestamp(server.url, DATA, trusted=authority.trusted, timeout_s=timeout_s)
        except ObjectionError as error:
            return error.code
    assert verify_timestamp(token, DATA, trusted=authority.trusted).at == at
    return "stamped"


def test_a_stamp_is_returned_once_it_is_verified(tmp_path: Path) -> None:
    authority = TestAuthority()
    with http_server(authority) as server:
        token, at = request_timestamp(f"{server.url}/tsa?x=1", DATA, trusted=authority.trusted, timeout_s=5)
        assert abs(at - time.time()) < 10
        path, headers, body = server.asked[0]
    assert (path, headers["Content-Type"]) == ("/tsa?x=1", QUERY_TYPE)
    request = tsp.TimeStampReq.load(body)
    assert request["cert_req"].native is True
    assert request["nonce"].native is not None
    assert request["message_imprint"]["hash_algorithm"]["algorithm"].native == "sha256"
    if shutil.which("openssl"):
        root = authority.authority.root.public_bytes(Encoding.PEM)
        assert openssl_verifies(token, DATA, root, tmp_path)
        assert not openssl_verifies(token, DATA + b"x", root, tmp_path)
        assert not openssl_verifies(token[:-1] + bytes([token[-1] ^ 1]), DATA, root, tmp_path)


def test_each_question_has_a_nonce_of_its_own() -> None:
    authority = TestAuthority()
    with http_server(authority) as server:
        for _ in range(2):
            request_timestamp(server.url, DATA, trusted=authority.trusted, timeout_s=5)
        nonces = [tsp.TimeStampReq.load(body)["nonce"].native for _, _, body in server.asked]
    assert nonces[0] != nonces[1]


def expired() -> TestAuthority:
    return TestAuthority(authority=create_local_authority(now=datetime.now(UTC) - timedelta(days=4000)))


def other_root() -> TestAuthority:
    """The pinned certificate under a root that did not sign it."""
    authority = TestAuthority()
    stranger = create_local_authority(now=datetime.now(UTC))
    return TestAuthority(
        authority=type(stranger)(authority.authority.key, authority.authority.certificate, stranger.root)
    )


WRONG = {
    "other nonce": (lambda: TestAuthority(nonce_error=1), "timestamp_invalid"),
    "other data": (lambda: TestAuthority(over=DATA + b"x"), "timestamp_invalid"),
    "other certificate": (
        lambda: TestAuthority(signs_with=create_local_authority(now=datetime.now(UTC))),
        "timestamp_invalid",
    ),
    "other root": (other_root, "timestamp_invalid"),
    "expired certificate": (expired, "timestamp_invalid"),
    "stamp from before its certificate": (
        lambda: TestAuthority(now=datetime(2020, 1, 1, tzinfo=UTC)),
        "timestamp_invalid",
    ),
    "rejected": (lambda: TestAuthority(status=2), "timestamp_unavailable"),
    "waiting": (lambda: TestAuthority(status=3), "timestamp_unavailable"),
    "granted, but without a token": (
        lambda: TestAuthority(says=(200, REPLY_TYPE, granted(b""))),
        "timestamp_malformed",
    ),
    "garbage": (lambda: TestAuthority(says=(200, REPLY_TYPE, b"garbage")), "timestamp_malformed"),
    "nothing": (lambda: TestAuthority(says=(200, REPLY_TYPE, b"")), "timestamp_malformed"),
    "a web page": (lambda: TestAuthority(says=(200, "text/html", b"<html>hello</html>")), "timestamp_malformed"),
    "an error": (lambda: TestAuthority(says=(500, "text/plain", b"sorry")), "timestamp_unavailable"),
    "too much": (lambda: TestAuthority(says=(200, REPLY_TYPE, bytes(1 << 18))), "timestamp_unavailable"),
    "a redirect": (lambda: TestAuthority(says=(307, REPLY_TYPE, b"")), "timestamp_unavailable"),
}


@pytest.mark.parametrize("name", WRONG)
def test_anything_else_is_no_stamp(name: str) -> None:
    make, code = WRONG[name]
    assert ask(make()) == code


def test_an_honest_authority_passes_the_same_table() -> None:
    assert ask(TestAuthority()) == "stamped"


def test_nobody_there() -> None:
    with pytest.raises(ObjectionError) as caught:
        request_timestamp(f"http://127.0.0.1:{free_port()}", DATA, trusted=TestAuthority().trusted, timeout_s=5)
    assert caught.value.code == "timestamp_unavailable"


def test_an_answer_cut_short_is_none() -> None:
    """As when the connection breaks: what came so far is not what the authority said."""
    import socket
    import threading

    def cut_short(listening: socket.socket) -> None:
        client, _ = listening.accept()
        with client:
            client.recv(65536)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):  # closed with something unread, the connection would be reset instead
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=cut_short, args=[listening])
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(ObjectionError) as caught:
            request_timestamp(url, DATA, trusted=TestAuthority().trusted, timeout_s=5)
        thread.join()
    assert caught.value.code == "timestamp_unavailable"
    assert "in full" in str(caught.value)


def test_slow_ones_are_waited_for_so_long_and_no_longer() -> None:
    started = time.monotonic()
    assert ask(TestAuthority(delay_s=1.5), timeout_s=0.3) == "timestamp_unavailable"
    with dripping_server() as url:
        dripped = time.monotonic()
        with pytest.raises(ObjectionError) as caught:
            request_timestamp(url, DATA, trusted=TestAuthority().trusted, timeout_s=0.5)
        assert time.monotonic() - dripped < 1.5, "each byte began the wait anew"
    assert caught.value.code == "timestamp_unavailable"
    assert time.monotonic() - started < 5


def test_a_name_that_the_certificate_does_not_have_is_refused(tmp_path: Path) -> None:
    """TLS by a key that no certificate authority knows."""
    import ssl
    import threading

    authority = create_local_authority(now=datetime.now(UTC))
    (tmp_path / "key.pem").write_bytes(authority.to_pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "key.pem")
    from http.server import BaseHTTPRequestHandler, HTTPServer

    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        url = f"https://127.0.0.1:{server.server_address[1]}"
        with pytest.raises(ObjectionError) as caught:
            request_timestamp(url, DATA, trusted=TestAuthority().trusted, timeout_s=5)
        server.shutdown()
        thread.join()
    assert caught.value.code == "timestamp_unavailable"
    assert "SSLCertVerificationError" in str(caught.value)


def qc_statements(*statements: tuple[str, tuple[str, ...]]) -> bytes:
    """Return QCStatements: each an id, with a list of ids where there are any."""
    encoded = b""
    for statement, listed in statements:
        content = core.ObjectIdentifier(statement).dump()
        if listed:
            inner = b"".join(core.ObjectIdentifier(each).dump() for each in listed)
            content += b"\x30" + bytes([len(inner)]) + inner
        encoded += b"\x30" + bytes([len(content)]) + content
    return b"\x30" + bytes([len(encoded)]) + encoded


COMPLIANCE = ("0.4.0.1862.1.1", ())
ESEAL = ("0.4.0.1862.1.6", ("0.4.0.1862.1.6.2",))
ESIGN = ("0.4.0.1862.1.6", ("0.4.0.1862.1.6.1",))


@pytest.mark.parametrize(
    ("extension", "qualified"),
    [
        (None, False),
        (qc_statements(COMPLIANCE, ESEAL), True),
        (qc_statements(ESEAL, ("0.4.0.1862.1.4", ()), COMPLIANCE), True),
        (qc_statements(COMPLIANCE), False),
        (qc_statements(ESEAL), False),
        (qc_statements(COMPLIANCE, ESIGN), False),
        (qc_statements(COMPLIANCE, ("0.4.0.1862.1.6", ())), False),
        (b"\x30\x80garbage", False),
        (b"", False),
        (qc_statements(COMPLIANCE, ESEAL)[:-3], False),
    ],
)
def test_qualified_is_what_the_certificate_says(extension: bytes | None, qualified: bool) -> None:
    now = datetime.now(UTC)
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = make_root("root", root_key, now=now)
    oid = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.3")
    extensions = [] if extension is None else [(x509.UnrecognizedExtension(oid, extension), False)]
    leaf = make_leaf("seal", key, root=root, root_key=root_key, now=now, extensions=extensions)
    assert says_qualified(parse_certificate(leaf.public_bytes(Encoding.DER))) is qualified
