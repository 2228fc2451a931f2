"""Memory for what is large. An objection with all the evidence that it may have takes 35 MiB while it is recorded, its
certificate 70 while it is made: a few at once are enough to keep a process busy, the others wait."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from server.errors import Unavailable
from server.web.uploads import Upload

SMALL = 1_048_576
_AT_ONCE = 4
_WAIT_S = 10
_PATIENCE_S = 4
_places: list["Place"] = []  # of this process, whose memory it is
_changed = threading.Condition()


class Place:
    """A request's claim to a place, of which there are four."""

    def __init__(self) -> None:
        self._upload: Upload | None = None
        self._since = 0.0

    def take(self, upload: Upload | None = None) -> None:
        """Wait for a place and take it, unless this request has one. ``upload``: it is still being read.

        An upload that has held a place for four seconds, and is not done, gives way to a request that waits. Raises
        Unavailable ``server_busy`` when there was no place for ten seconds.
        """
        with _changed:
            if self in _places:
                return
            deadline = time.monotonic() + _WAIT_S
            while len(_places) >= _AT_ONCE:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise Unavailable("server_busy", "too many large requests at once; try again")
                _changed.wait(min(left_s, _PATIENCE_S))
                _end_slowest()
            _places.append(self)
            self._upload, self._since = upload, time.monotonic()

    def received(self) -> None:
        """The body is here: from now on the place is given back by itself, and soon."""
        with _changed:
            self._upload = None

    def give_back(self) -> None:
        with _changed:
            if self in _places:
                _places.remove(self)
                _changed.notify()


@contextmanager
def room() -> Iterator[Place]:
    """Yield a place that is not taken yet, and give it back at the end of the block. Small requests need none."""
    place = Place()
    try:
        yield place
    finally:
        place.give_back()


def _end_slowest() -> None:
    """With all places taken, let the upload that is read for the longest time give way, if that is four seconds."""
    reading = [place for place in _places if place._upload is not None]
    if len(_places) < _AT_ONCE or not reading:
        return
    slowest = min(reading, key=lambda place: place._since)
    if slowest._upload is not None and time.monotonic() - slowest._since >= _PATIENCE_S:
        slowest._upload.give_way()
