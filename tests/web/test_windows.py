"""The counters of rate limits in one process: exact with many threads, and no thread of their own."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from server.web import windows
from server.web.windows import ProcessWindows


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr(windows.time, "time", lambda: now[0])
    return now


def test_a_window_begins_with_its_first_request_and_ends(clock: list[float]) -> None:
    counts = ProcessWindows()
    assert [counts.incr("a", 10), counts.incr("a", 10), counts.incr("b", 10, amount=3)] == [1, 2, 3]
    assert (counts.get("a"), counts.get_expiry("a")) == (2, 1_010.0)
    clock[0] = 1_009.9
    assert counts.incr("a", 10) == 3
    clock[0] = 1_010.0
    assert counts.get("a") == 0
    assert counts.incr("a", 10) == 1
    assert counts.get_expiry("a") == 1_020.0


def test_what_is_over_is_forgotten(clock: list[float]) -> None:
    counts = ProcessWindows()
    for number in range(1_000):
        counts.incr(f"network {number}", 5)
    clock[0] += 61
    counts.incr("another", 5)
    assert list(counts._counts) == ["another"]


def test_clear_and_reset(clock: list[float]) -> None:
    counts = ProcessWindows()
    counts.incr("a", 10)
    counts.incr("b", 10)
    counts.clear("a")
    assert (counts.get("a"), counts.get("b"), counts.get_expiry("a")) == (0, 1, 1_000.0)
    assert counts.reset() == 1
    assert counts.get("b") == 0
    assert counts.check()


def test_threads_lose_no_count_and_none_is_started() -> None:
    counts = ProcessWindows()
    before = threading.active_count()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: counts.incr("a", 3600), range(20_000)))
        assert threading.active_count() <= before + 16
    assert counts.get("a") == 20_000
