"""The one HTTP client for outside parties: a request ends by its deadline, and its answer is bounded.

A library's timeouts start anew with each byte, so a server that drips is waited for without end. Here resolving,
connecting, the TLS handshake and every read share one deadline (seconds, ``time.monotonic``).
"""

import io
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead, RemoteDisconnected
from typing import Any
from urllib.parse import SplitResult, urlsplit

from server.errors import Unavailable

_MAX_ANSWER_BYTES = 1 << 17
_AGENT = "proof-of-objection"
_CLOSED = (BrokenPipeError, ConnectionResetError, RemoteDisconnected)


@dataclass(frozen=True)
class Answer:
    """``media_type``: without parameters, lower case. ``retry_after_s``: 0 where the answer names no seconds."""

    status: int
    media_type: str
    body: bytes
    retry_after_s: int = 0


class HttpClient:
    """Asks the host of ``url``, one request after another, over a connection that is kept while the host keeps it.

    Redirects are not followed, names and certificates are verified, no proxy is used, and nothing is decompressed.
    """

    def __init__(self, url: str, *, code: str) -> None:
        """``code``: of the errors that ``request`` raises."""
        self._parts = urlsplit(url)
        self._code = code
        self._connection: _Connection | None = None

    def request(
        self,
        method: str,
        path: str,
        *,
        deadline: float,
        max_bytes: int,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Return the answer to ``method`` at ``path``, of any status.

        Raises Unavailable when nobody answers, not in full by ``deadline``, or not as any honest server does: with more
        than ``max_bytes``, compressed, or with a length that contradicts itself.
        """
        sent = {"User-Agent": _AGENT, "Accept-Encoding": "identity"} | (headers or {})
        try:
            response = self._ask(method, path, body, sent, deadline)
            return self._read(response, deadline, max_bytes)
        except Unavailable:
            self.close()
            raise
        except TimeoutError as error:
            self.close()
            raise self._unavailable("did not answer in full within its time") from error
        except IncompleteRead as error:
            self.close()
            raise self._unavailable("did not answer in full") from error
        except (HTTPException, OSError, ValueError) as error:
            self.close()
            raise self._unavailable(f"does not answer: {type(error).__name__}") from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.hang_up()
            self._connection = None

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], deadline: float
    ) -> HTTPResponse:
        kept = self._connection
        if kept is not None:
            try:
                return kept.ask(method, path, body, headers, deadline)
            except _CLOSED:  # the host may have closed what stood idle: it did not see this request
                self.close()
        self._connection = _Connection(self._parts)
        return self._connection.ask(method, path, body, headers, deadline)

    def _read(self, response: HTTPResponse, deadline: float, max_bytes: int) -> Answer:
        lengths = response.headers.get_all("Content-Length") or []
        chunked = response.headers.get("Transfer-Encoding") is not None
        if len(lengths) + chunked > 1 or any(not (text.isascii() and text.isdigit()) for text in lengths):
            raise self._unavailable("answers with a length that is none")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise self._unavailable("answers with a compressed body, which nobody asked for")
        body = response.read(max_bytes + 1)
        if len(body) > max_bytes:
            raise self._unavailable(f"answers with more than {max_bytes} bytes")
        if response.length:  # reading up to a size does not say that the rest never came
            raise self._unavailable("did not answer in full")
        if response.will_close or not response.isclosed():
            self.close()
        wait = response.headers.get("Retry-After", "")
        return Answer(
            response.status,
            response.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
            body,
            int(wait) if wait.isascii() and wait.isdigit() and len(wait) < 10 else 0,
        )

    def _unavailable(self, what: str) -> Unavailable:
        return Unavailable(self._code, f"{self._parts.scheme}://{self._parts.netloc} {what}")


def post(url: str, body: bytes, *, media_type: str, accept: str, timeout_s: float, code: str) -> Answer:
    """Return the answer to one POST, whatever came back within ``timeout_s``, of any status.

    Raises Unavailable ``code`` when nobody answers, not in time, or with more than any honest answer has.
    """
    parts = urlsplit(url)
    client = HttpClient(url, code=code)
    try:
        return client.request(
            "POST",
            (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            deadline=time.monotonic() + timeout_s,
            max_bytes=_MAX_ANSWER_BYTES,
            body=body,
            headers={"Content-Type": media_type, "Accept": accept, "Connection": "close"},
        )
    finally:
        client.close()


class _Connection(HTTPConnection):
    """A connection of which each step takes no longer than what is left until the deadline of the request."""

    def __init__(self, parts: SplitResult) -> None:
        """Raises ValueError."""
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self.default_port = 443 if self._tls else 80
        super().__init__(parts.hostname or "", parts.port or self.default_port)
        self._deadline = 0.0
        self._opened: socket.socket | None = None

    def ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str], deadline: float) -> HTTPResponse:
        self._deadline = deadline
        super().request(method, path, body, headers)
        return self.getresponse()

    def connect(self) -> None:
        addresses = _resolve(self.host, self.port, self._left_s())
        error: OSError = OSError("no address")
        for number, (family, kind, protocol, _, address) in enumerate(addresses):
            plain = socket.socket(family, kind, protocol)
            try:
                # One address that is silent must not take the time of the others.
                plain.settimeout(self._left_s() / (len(addresses) - number))
                plain.connect(address)
                plain.settimeout(self._left_s())
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # Python bounds the whole handshake by the socket's timeout, not each read of it.
                self._opened = self._tls.wrap_socket(plain, server_hostname=self.host) if self._tls else plain
            except OSError as failed:
                plain.close()
                error = failed
            except BaseException:
                plain.close()
                raise
            else:
                self.sock = _Bounded(self._opened, self._left_s)
                return
        raise error

    def hang_up(self) -> None:
        super().close()
        if self._opened is not None:
            self._opened.close()

    def _left_s(self) -> float:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s


class _Bounded:
    """What http.client uses of a socket: each call takes at most the time that is left. The connection closes it."""

    def __init__(self, opened: socket.socket, left_s: Callable[[], float]) -> None:
        self._opened, self._left_s = opened, left_s

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            self._opened.settimeout(self._left_s())
            rest = rest[self._opened.send(rest) :]

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._opened, self._left_s))

    def close(self) -> None:
        pass


class _Reader(io.RawIOBase):
    def __init__(self, opened: socket.socket, left_s: Callable[[], float]) -> None:
        self._opened, self._left_s = opened, left_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._opened.settimeout(self._left_s())
        return self._opened.recv_into(buffer)


def _resolve(host: str, port: int, timeout_s: float) -> list[Any]:
    """Return what getaddrinfo does, which takes no timeout: a thread waits for it, and ends when the resolver does."""
    found: list[Any] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, ValueError) as error:
            found.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not found:
        raise TimeoutError
    if isinstance(found[0], ValueError):
        raise OSError("not a host's name") from found[0]
    if isinstance(found[0], OSError):
        raise found[0]
    addresses: list[Any] = found[0]
    return addresses
