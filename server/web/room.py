"""Memory for what is large. An objection with all the evidence that it may have takes 35 MiB while it is recorded, its
certificate 70 while it is made: a few at once are enough to keep a process busy, the others wait."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from server.errors import Unavailable

_SMALL = 1_048_576
_AT_ONCE = 4
_WAIT_S = 10
_places = threading.BoundedSemaphore(_AT_ONCE)  # of this process, whose memory it is


@contextmanager
def room_for(size: int | None) -> Iterator[None]:
    """Keep room for ``size`` bytes, or for as many as there may be, until the end of the block; small ones need none.

    Raises Unavailable ``server_busy`` when there was none for ten seconds.
    """
    if size is not None and size <= _SMALL:
        yield
        return
    if not _places.acquire(timeout=_WAIT_S):
        raise Unavailable("server_busy", "too many large requests at once; try again")
    try:
        yield
    finally:
        _places.release()
