"""One bounded HTTP request to an outside party: whatever it answers, it costs us neither memory nor time."""

import contextlib
import socket
import ssl
import threading
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from server.errors import Unavailable

_MAX_ANSWER_BYTES = 1 << 17
_AGENT = "proof-of-objection"


@dataclass(frozen=True)
class Answer:
    """``media_type``: without parameters, lower case."""

    status: int
    media_type: str
    body: bytes


def post(url: str, body: bytes, *, media_type: str, accept: str, timeout_s: float, code: str) -> Answer:
    """Return whatever came back within ``timeout_s``, of any status; redirects are not followed, names are verified.

    Raises Unavailable ``code`` when nobody answers, not in time, or with more than any honest answer has.
    """
    parts = urlsplit(url)
    connection: HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = HTTPSConnection(parts.netloc, timeout=timeout_s, context=context)
    else:
        connection = HTTPConnection(parts.netloc, timeout=timeout_s)
    headers = {"Content-Type": media_type, "Accept": accept, "User-Agent": _AGENT, "Connection": "close"}
    # The connection's own timeout starts anew with each byte: one that drips would be waited for without end.
    hung_up = threading.Event()
    watch = threading.Timer(timeout_s, _hang_up, [connection, hung_up])
    watch.daemon = True
    watch.start()
    try:
        connection.request("POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, headers)
        with connection.getresponse() as response:
            content = response.read(_MAX_ANSWER_BYTES + 1)
            missing = response.length or 0  # reading up to a size does not say that the rest never came
            answered = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            status = response.status
    except (HTTPException, OSError, ValueError) as error:
        raise Unavailable(code, f"{url} does not answer: {type(error).__name__}") from error
    finally:
        watch.cancel()
        connection.close()
    if len(content) > _MAX_ANSWER_BYTES:
        raise Unavailable(code, f"{url} answers with more than {_MAX_ANSWER_BYTES} bytes")
    if missing or hung_up.is_set():
        raise Unavailable(code, f"{url} did not answer in full within {timeout_s} s")
    return Answer(status, answered, content)


def _hang_up(connection: HTTPConnection, hung_up: threading.Event) -> None:
    hung_up.set()
    if connection.sock is not None:
        with contextlib.suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
