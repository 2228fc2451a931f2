"""A log of somebody else, read over HTTP (C2SP tlog-tiles): nothing that it answers is trusted here."""

import time
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from server.errors import ParseError, Unavailable, VerificationError

_AGENT = "proof-of-objection log audit"
_CONNECT_S, _READ_S = 10, 30
_CHUNK_BYTES = 65_536
_ATTEMPTS = 6
_MAX_WAIT_S = 61  # a limit per minute is over by then
_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE})


class LogReader:
    """Reads files below ``url``, one after another, until ``deadline`` on ``clock`` (seconds, monotonic)."""

    def __init__(
        self, url: str, *, deadline: float, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None]
    ) -> None:
        """Raises ParseError ``address_malformed``."""
        parts = _split(url)
        if parts is None:
            raise ParseError("address_malformed", "a log's address is http(s)://host[:port][/path], without query")
        self._prefix = url.rstrip("/")
        self._deadline, self._clock, self._sleep = deadline, clock, sleep
        self._pool = urllib3.PoolManager(
            headers={"User-Agent": _AGENT, "Accept-Encoding": "identity"}, retries=False, maxsize=1
        )

    def read(self, path: str, *, max_bytes: int) -> bytes:
        """Return the file at ``path``; redirects are not followed, and a busy log is asked again.

        Raises VerificationError ``tile_missing`` when there is none, Unavailable ``log_unavailable`` when the log does
        not answer, not in time, or with more than ``max_bytes``.
        """
        for attempt in range(_ATTEMPTS):
            status, wait_s, body = self._get(path, max_bytes)
            if status == HTTPStatus.OK:
                return body
            if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
                raise VerificationError("tile_missing", f"the log does not serve /{path}, though its size implies it")
            if status not in _BUSY:
                raise Unavailable("log_unavailable", f"the log answers {status} to /{path}")
            if attempt + 1 < _ATTEMPTS:
                self._sleep(min(wait_s or 2**attempt, max(0.0, self._deadline - self._clock())))
        raise Unavailable("log_unavailable", f"the log is too busy for /{path}")

    def _get(self, path: str, max_bytes: int) -> tuple[int, int, bytes]:
        left_s = self._left_s()
        timeout = urllib3.Timeout(connect=min(_CONNECT_S, left_s), read=min(_READ_S, left_s))
        try:
            response = self._pool.request("GET", f"{self._prefix}/{path}", timeout=timeout, preload_content=False)
            try:
                body = self._bounded(response, max_bytes)
            except BaseException:
                response.close()
                raise
            response.release_conn()
        except HTTPError as error:
            raise Unavailable("log_unavailable", f"no answer to /{path}: {type(error).__name__}") from error
        wait = response.headers.get("Retry-After", "")
        return response.status, min(int(wait), _MAX_WAIT_S) if wait.isascii() and wait.isdigit() else 0, body

    def _bounded(self, response: urllib3.BaseHTTPResponse, max_bytes: int) -> bytes:
        # The time limit of a connection starts anew with each byte: one that drips would be waited for without end.
        body = b""
        while chunk := response.read1(_CHUNK_BYTES, decode_content=False):
            body += chunk
            if len(body) > max_bytes and response.status == HTTPStatus.OK:
                raise Unavailable("log_unavailable", f"an answer of more than {max_bytes} bytes, which none needs")
            if len(body) > max_bytes + _CHUNK_BYTES:
                raise Unavailable("log_unavailable", f"the log answers {response.status}, at too great length")
            self._left_s()
        return body

    def _left_s(self) -> float:
        left_s = self._deadline - self._clock()
        if left_s <= 0:
            raise Unavailable("log_unavailable", "the audit was not done in the time it was given")
        return left_s


def _split(url: str) -> object | None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if usable and not parts.query and not parts.fragment and "@" not in parts.netloc else None
