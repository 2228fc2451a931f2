"""The worker: what the register does beside recording. One process leads, however many run."""

import logging
import threading
import time

from server.errors import ObjectionError, Unavailable
from server.settings import Settings
from server.storage import open_storage_of
from server.usecases.anchor_checkpoint import Anchoring
from server.usecases.check_ready import warn_of_halt
from server.usecases.register import Storage
from server.usecases.release_counts import Releasing
from server.usecases.sweep_erased import try_to_sweep

_log = logging.getLogger("objection.worker")
_PAUSE_S = 0.5  # between two looks at the log's head
_SWEEP_S = 5  # between two looks for erased bytes that a crash, the disk or a reader kept from being overwritten
_RELEASE_S = 60  # between two looks for epochs to close
_FOLLOW_S = 2  # between two tries to lead
_REOPEN_S = (1, 60)  # between two tries to open the storage: at first, and at most


def run_worker(settings: Settings, *, stop: threading.Event, alone: bool = True) -> None:
    """Work until ``stop`` is set; ``alone``: no server that started this worker has told of a halted log.

    Raises OperatorError when settings, keys or storage are not fit to run on.
    """
    storage = _open(settings, stop)
    if storage is None:
        return
    if alone:
        warn_of_halt(storage.database)
    try:
        while not stop.is_set():
            try:
                _lead(storage, stop)
            except ObjectionError as error:
                _log.warning("%s: %s", error.code, error)
            except Exception:  # noqa: BLE001 (what broke once may work again; else nothing would be anchored any more)
                _log.exception("the worker failed, and begins anew")
            stop.wait(_FOLLOW_S)
    finally:
        storage.close()


def _open(settings: Settings, stop: threading.Event) -> Storage | None:
    """Return the storage as soon as it answers, or None when ``stop`` is set before."""
    pause_s, longest_s = _REOPEN_S
    while not stop.is_set():
        try:
            return open_storage_of(settings, create=True)
        except Unavailable as error:
            _log.warning("%s: %s; the next try is in %d s", error.code, error, pause_s)
        stop.wait(pause_s)
        pause_s = min(2 * pause_s, longest_s)
    return None


def _lead(storage: Storage, stop: threading.Event) -> None:
    """Work while this process leads; return at once when another one does."""
    with storage.database.leading() as leadership:
        if leadership is None:
            return
        sweep_at = release_at = 0.0
        anchoring = Anchoring(storage.database, storage.keyring, clock=lambda: int(time.time()))
        releasing = Releasing(storage, clock=lambda: int(time.time()))
        while not stop.is_set():
            leadership.verify()
            if time.monotonic() >= sweep_at:
                sweep_at = time.monotonic() + _SWEEP_S
                try_to_sweep(storage, now=int(time.time()))
            anchoring.run_once()
            if time.monotonic() >= release_at:  # after anchoring, which halts the log when its database was set back
                release_at = time.monotonic() + _RELEASE_S
                releasing.run_once()
            stop.wait(_PAUSE_S)
