"""Uploads: each byte of a body is waited for, but a whole body only as long as its size allows.

A time limit on a socket starts anew with each byte. So one thread of the process watches all bodies that are being
read, and closes the reading side of a connection whose time is over. The read ends then; the client gets an answer.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Request
from werkzeug.exceptions import ClientDisconnected

from server.errors import RequestError, Unavailable

_GRACE_S = 10.0
# Half of what the extension expects of the slowest line (extension/src/platform/register.ts).
_SLOWEST_BYTES_PER_S = 4_096
# gunicorn reads a megabyte ahead, and copies it anew for each block that is taken from it.
_BLOCK = 131_072
_LOOK_S = 0.5


class Upload:
    """The body of ``request``, read block by block. ``read_s``: how long reading took, without what came between."""

    def __init__(self, request: Request) -> None:
        self._stream = request.stream
        self._socket: socket.socket | None = request.environ.get("gunicorn.socket")
        self._announced = request.content_length or 0
        self._block = min(_BLOCK, self._announced or _BLOCK)
        self._gave_way = self._too_slow = False
        self.received = 0
        self.read_s = 0.0

    def read_block(self) -> bytes:
        """Return the next block, empty at the end.

        Raises RequestError ``body_too_slow``, ``body_malformed`` when the client went away, and Unavailable
        ``server_busy`` after ``give_way``.
        """
        allowed_s = _GRACE_S + (self.received + self._block) / _SLOWEST_BYTES_PER_S - self.read_s
        started = time.monotonic()
        try:
            with _watching(self, started + allowed_s):
                block: bytes = self._stream.read(self._block)
            # Neither gunicorn nor werkzeug says that less came than was announced.
            broken = not block and self.received < self._announced
        except ClientDisconnected:
            block, broken = b"", True
        if self._gave_way:
            raise Unavailable("server_busy", "others waited while this request was sent slowly; try again")
        if self._too_slow:
            raise RequestError("body_too_slow", f"send at least {_SLOWEST_BYTES_PER_S} bytes a second")
        if broken:
            raise RequestError("body_malformed", "the body ended before its announced end")
        self.received += len(block)
        self.read_s += time.monotonic() - started
        return block

    def give_way(self) -> None:
        """End the reading, from another thread, because somebody waits for the place of this request."""
        self._gave_way = True
        self._close()

    def run_out(self) -> None:
        """End the reading, from another thread, because its time is over."""
        self._too_slow = True
        self._close()

    def _close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the client closed it
                self._socket.shutdown(socket.SHUT_RD)


_watched: dict[Upload, float] = {}
_changed = threading.Condition()
_watch: threading.Thread | None = None


@contextmanager
def _watching(upload: Upload, deadline: float) -> Iterator[None]:
    global _watch  # noqa: PLW0603 (one thread a process, and none before its first body)
    with _changed:
        _watched[upload] = deadline
        if _watch is None:
            _watch = threading.Thread(target=_end_the_slow, name="uploads", daemon=True)
            _watch.start()
        elif len(_watched) == 1:
            _changed.notify()
    try:
        yield
    finally:
        with _changed:
            _watched.pop(upload, None)


def _end_the_slow() -> None:
    while True:
        with _changed:
            while not _watched:
                _changed.wait()
            now = time.monotonic()
            late = [upload for upload, deadline in _watched.items() if deadline <= now]
            for upload in late:
                del _watched[upload]
                upload.run_out()
        time.sleep(_LOOK_S)
