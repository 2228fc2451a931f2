"""The counters of rate limits in one process.

limits' own memory storage starts a thread for every ten milliseconds in which it is asked, to look through all keys;
each start waits for the interpreter lock, which under load everybody wants. Here they are looked through once a minute.
"""

import threading
import time

from limits.storage import Storage

_SWEEP_S = 60


class ProcessWindows(Storage):
    """Fixed windows by key. A window begins with its first request, and is forgotten within a minute of its end."""

    STORAGE_SCHEME = ["process"]  # noqa: RUF012 (limits wants a list)

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **_: float | str | bool) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._counts: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()
        self._sweep_at = time.time() + _SWEEP_S

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count ``amount`` more in the window of ``key``, or in a new one of ``expiry`` seconds; return the count."""
        now = time.time()
        with self._lock:
            if now >= self._sweep_at:
                self._sweep_at = now + _SWEEP_S
                self._counts = {name: window for name, window in self._counts.items() if window[1] > now}
            count, end = self._counts.get(key, (0, 0.0))
            if end <= now:
                count, end = 0, now + expiry
            self._counts[key] = (count + amount, end)
        return count + amount

    def get(self, key: str) -> int:
        count, end = self._counts.get(key, (0, 0.0))
        return count if end > time.time() else 0

    def get_expiry(self, key: str) -> float:
        """Return when the window of ``key`` ends, seconds since 1970; now, where there is none."""
        return max(self._counts.get(key, (0, 0.0))[1], time.time())

    def check(self) -> bool:
        return True

    def reset(self) -> int:
        with self._lock:
            forgotten = len(self._counts)
            self._counts = {}
        return forgotten

    def clear(self, key: str) -> None:
        with self._lock:
            self._counts.pop(key, None)
