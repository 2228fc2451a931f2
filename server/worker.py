"""The worker: what the register does beside recording. One process leads, however many run."""

import logging
import threading
import time

from server.errors import ObjectionError, Unavailable
from server.settings import Settings
from server.usecases.anchor_checkpoint import Anchoring
from server.usecases.erase import sweep_erased
from server.usecases.register import Storage, open_storage

_log = logging.getLogger("objection.worker")
_PAUSE_S = 0.5  # between two looks at the log's head
_FOLLOW_S = 2  # between two tries to lead


def run_worker(settings: Settings, *, stop: threading.Event) -> None:
    """Work until ``stop`` is set. Raises OperatorError when settings, keys or storage are not fit to run on."""
    storage = open_storage(
        settings.data_dir,
        database_url=settings.database_url,
        public_url=settings.public_url,
        log_origin=settings.log_origin,
        create=True,
        anchors_file=settings.anchors,
    )
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
        storage.database.close()


def _sweep(storage: Storage) -> None:
    """Overwrite what an erasure left behind: the process that did it was killed, or the disk was full."""
    try:
        sweep_erased(storage.database, storage.blobs)
    except Unavailable as error:
        _log.warning("%s: %s", error.code, error)  # nothing else has to wait for it


def _lead(storage: Storage, stop: threading.Event) -> None:
    """Work while this process leads; return at once when another one does."""
    with storage.database.leading() as leadership:
        if leadership is None:
            return
        anchoring = Anchoring(storage.database, storage.keyring, clock=lambda: int(time.time()))
        while not stop.is_set():
            leadership.verify()
            _sweep(storage)
            anchoring.run_once()
            stop.wait(_PAUSE_S)
