"""A log of somebody else, read over HTTP (C2SP tlog-tiles): nothing that it answers is trusted here."""

import time
from http import HTTPStatus
from urllib.parse import SplitResult, urlsplit

from server.errors import ParseError, Unavailable, VerificationError
from server.outside.http import HttpClient

_AGENT = "proof-of-objection log audit"
_MAX_REFUSAL_BYTES = 65_536
_ATTEMPTS = 6
_MAX_WAIT_S = 61  # a limit per minute is over by then
_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE})


class LogReader:
    """Reads files below ``url``, one after another, until ``deadline`` (seconds, ``time.monotonic``)."""

    def __init__(self, url: str, *, deadline: float) -> None:
        """Raises ParseError ``address_malformed``."""
        parts = _split(url)
        if parts is None:
            raise ParseError("address_malformed", "a log's address is http(s)://host[:port][/path], without query")
        self._client = HttpClient(url, code="log_unavailable")
        self._path = parts.path.rstrip("/")
        self._deadline = deadline

    def read(self, path: str, *, max_bytes: int) -> bytes:
        """Return the file at ``path``; redirects are not followed, and a busy log is asked again.

        Raises VerificationError ``tile_missing`` when there is none, Unavailable ``log_unavailable`` when the log does
        not answer, not in time, or with more than ``max_bytes``.
        """
        for attempt in range(_ATTEMPTS):
            answer = self._client.request(
                "GET",
                f"{self._path}/{path}",
                deadline=self._deadline,
                max_bytes=max(max_bytes, _MAX_REFUSAL_BYTES),
                headers={"User-Agent": _AGENT},
            )
            if answer.status == HTTPStatus.OK:
                if len(answer.body) > max_bytes:
                    raise Unavailable("log_unavailable", f"/{path} has more than {max_bytes} bytes, which none needs")
                return answer.body
            if answer.status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
                raise VerificationError("tile_missing", f"the log does not serve /{path}, though its size implies it")
            if answer.status not in _BUSY:
                raise Unavailable("log_unavailable", f"the log answers {answer.status} to /{path}")
            if attempt + 1 < _ATTEMPTS:
                wait_s = min(answer.retry_after_s or 2**attempt, _MAX_WAIT_S)
                if time.monotonic() + wait_s >= self._deadline:
                    break
                time.sleep(wait_s)
        raise Unavailable("log_unavailable", f"the log is too busy for /{path}")


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if usable and not parts.query and not parts.fragment and "@" not in parts.netloc else None
