"""A proof of possession is taken once: by threads and processes, after kill -9, after a power cut, on a full disk."""

import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from server.errors import Unavailable
from server.store import spent
from server.store.database import Database
from server.store.spent import LocalProofs, SpentProofs, open_spent_proofs

LIFE_S = 600
NOW = 1_795_392_000
SPAWNED = multiprocessing.get_context("spawn")


@contextmanager
def opened(folder: Path, url: str, *, now: int = NOW) -> Iterator[SpentProofs]:
    database = Database(url, lock_file=folder / "writer.lock")
    proofs = open_spent_proofs(database, folder / "spent-proofs.sqlite", life_s=LIFE_S, now=now)
    try:
        yield proofs
    finally:
        proofs.close()
        database.close()


@pytest.fixture
def url(tmp_path: Path, storage_settings: dict[str, str]) -> str:
    url = storage_settings.get("database_url", f"sqlite:///{tmp_path}/register.sqlite")
    url = url.replace("postgresql://", "postgresql+psycopg://")
    database = Database(url, lock_file=tmp_path / "writer.lock")
    database.migrate()
    database.close()
    return url


@pytest.fixture
def open_again(tmp_path: Path, url: str) -> Callable[..., Any]:
    return partial(opened, tmp_path, url)


@pytest.fixture
def local(tmp_path: Path) -> Callable[..., Any]:
    return partial(opened, tmp_path, f"sqlite:///{tmp_path}/register.sqlite")


def spend(proofs: SpentProofs, proof_id: bytes = b"1", *, signed_at: int = NOW, now: int = NOW) -> bool:
    return proofs.spend(proof_id, signed_at=signed_at, now=now)


def test_a_proof_is_spent_once_and_another_is_another(open_again: Callable[..., Any]) -> None:
    with open_again() as proofs, open_again() as of_another_process:
        assert spend(proofs)
        assert not spend(proofs)
        assert not spend(of_another_process)
        assert spend(of_another_process, b"2")
        assert not spend(proofs, b"2")


def test_what_has_expired_is_forgotten(open_again: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spent, "_SWEEP_S", 0)
    with open_again() as proofs:
        assert spend(proofs)
        live_through(proofs, LIFE_S - 5)
        assert not spend(proofs)
        live_through(proofs, 10)
        assert spend(proofs)


def live_through(proofs: SpentProofs, seconds: int) -> None:
    """Make what is remembered ``seconds`` older."""
    if isinstance(proofs, LocalProofs):
        proofs.connection.execute("UPDATE spent_proofs SET expires_s = expires_s - ?", (seconds,))
        return
    with proofs._database.writing() as connection:  # type: ignore[attr-defined]
        connection.execute(text("UPDATE dpop_proofs SET expires_at = expires_at - :s"), {"s": seconds})


def test_a_clock_that_goes_ahead_and_back_lets_nothing_be_forgotten(
    open_again: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither this process's clock, nor another replica's that is an hour ahead."""
    monkeypatch.setattr(spent, "_SWEEP_S", 0)
    with open_again() as proofs, open_again(now=NOW + 3600) as ahead:
        assert spend(proofs)
        assert spend(ahead, b"2", signed_at=NOW + 3600, now=NOW + 3600)
        assert not spend(proofs, now=NOW + 2)


def test_what_is_dated_in_the_future_stays_spent_after_a_start_of_the_machine(
    tmp_path: Path, local: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spent, "_SWEEP_S", 0)
    boot = tmp_path / "boot_id"
    boot.write_text("first\n")
    monkeypatch.setattr(spent, "_BOOT_ID", boot)
    with local() as proofs:
        assert spend(proofs, signed_at=NOW + 200)
        proofs.connection.execute("UPDATE spent_proofs SET expires_s = 0")  # by what counts from the next start on
    boot.write_text("second\n")
    with local(now=NOW + 100) as proofs:
        assert not spend(proofs, signed_at=NOW + 200, now=NOW + 100)


def test_of_many_threads_one_wins(open_again: Callable[..., Any]) -> None:
    with open_again() as proofs, ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: spend(proofs), range(32))) == 1


def _spend_all(folder: str, url: str, count: int) -> list[bool]:
    with opened(Path(folder), url) as proofs:
        return [spend(proofs, number.to_bytes(2)) for number in range(count)]


def test_of_two_processes_exactly_one_wins_each_proof(tmp_path: Path, url: str) -> None:
    with SPAWNED.Pool(2) as pool:
        one, other = pool.starmap(_spend_all, [(str(tmp_path), url, 400)] * 2)
    assert [a + b for a, b in zip(one, other, strict=True)] == [1] * 400


def _spend_and_die(folder: str, url: str) -> None:
    with opened(Path(folder), url) as proofs:
        assert spend(proofs)
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_was_spent_before_kill_9_stays_spent(tmp_path: Path, url: str, open_again: Callable[..., Any]) -> None:
    process = SPAWNED.Process(target=_spend_and_die, args=(str(tmp_path), url))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with open_again() as proofs:
        assert not spend(proofs)
        assert spend(proofs, b"2")


def test_after_a_start_of_the_machine_nothing_signed_before_is_taken(
    tmp_path: Path, local: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    boot = tmp_path / "boot_id"
    boot.write_text("first\n")
    monkeypatch.setattr(spent, "_BOOT_ID", boot)
    with local() as proofs:
        assert spend(proofs, b"old")
    with local(now=NOW + 20) as proofs:  # the service was started anew, the machine was not
        assert spend(proofs, b"sent late", signed_at=NOW + 10, now=NOW + 20)
    boot.write_text("second\n")
    (tmp_path / "spent-proofs.sqlite").unlink()  # worse than any power cut
    with local(now=NOW + 30) as proofs, local(now=NOW + 40) as of_another_process:
        for each in (proofs, of_another_process):
            assert not spend(each, b"old", now=NOW + 40)
            assert not spend(each, b"never seen", signed_at=NOW + 29, now=NOW + 40)
        assert spend(proofs, b"new", signed_at=NOW + 30, now=NOW + 40)
        assert not spend(of_another_process, b"new", signed_at=NOW + 30, now=NOW + 40)


def test_once_all_that_was_forgotten_is_stale_the_clock_may_be_set_back(
    tmp_path: Path, local: Callable[..., Any]
) -> None:
    with local(now=NOW) as proofs:
        assert not spend(proofs, signed_at=NOW - 1)
    with sqlite3.connect(tmp_path / "spent-proofs.sqlite") as connection:
        connection.execute("UPDATE remembered SET begun_s = ?", (time.monotonic() - LIFE_S - 1,))
    with local(now=NOW) as proofs:
        assert spend(proofs, signed_at=NOW - 1)


def test_where_the_system_does_not_tell_when_it_started_each_start_counts(
    tmp_path: Path, local: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spent, "_BOOT_ID", tmp_path / "none")
    with local() as proofs:
        assert spend(proofs)
    with local(now=NOW + 5) as proofs:
        assert not spend(proofs, b"2", signed_at=NOW + 4)


def test_what_is_dated_in_the_future_is_on_disk_before_it_counts(local: Callable[..., Any]) -> None:
    # A power cut may take the others: they are older than the next start of the machine.
    with local() as proofs:
        for signed_at, synchronous in ((NOW, 1), (NOW + 1, 2), (NOW, 1)):
            assert spend(proofs, os.urandom(8), signed_at=signed_at)
            assert proofs.connection.execute("PRAGMA synchronous").fetchone() == (synchronous,)


@pytest.mark.parametrize("state", ["PRAGMA max_page_count = 1", "PRAGMA query_only = ON"])
def test_what_cannot_be_remembered_is_not_spent(state: str, local: Callable[..., Any]) -> None:
    with local() as proofs:
        proofs.connection.execute(state)
        with pytest.raises(Unavailable) as caught:
            [spend(proofs, number.to_bytes(64)) for number in range(1000)]
        assert caught.value.code == "database_unavailable"
        proofs.connection.execute("PRAGMA max_page_count = 1000000")
        proofs.connection.execute("PRAGMA query_only = OFF")
        assert spend(proofs, b"2")
