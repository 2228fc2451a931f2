"""Run a witness: its key, its memory, and gunicorn in front of them. Wiring, nothing else."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask import Flask
from gunicorn.app.base import BaseApplication

from server.core.notes import VerifierKey
from server.errors import OperatorError
from server.store.keys import KeyFolder
from server.store.witnessed import WitnessedLogs
from server.usecases.cosign_checkpoint import WitnessService
from server.web.witness import create_witness_app


def open_witness(key_file: Path, *, name: str, logs: Sequence[VerifierKey], state: Path) -> WitnessService:
    """Return the witness, with a new key if it has none. Raises OperatorError ``keys_…`` or ``storage_unusable``."""
    if not name or set(name) & set("+ \t\n"):
        raise OperatorError("settings_invalid", "a witness's name has no spaces and no '+'")
    return WitnessService(
        name=name,
        key=_load_key(key_file),
        logs={log.name: log for log in logs},
        storage=WitnessedLogs(state),
        clock=lambda: int(time.time()),
    )


def serve_witness(service: WitnessService, *, listen: str) -> None:
    _Server(create_witness_app(service), listen).run()


def _load_key(path: Path) -> Ed25519PrivateKey:
    folder = KeyFolder(path.absolute().parent)
    if folder.read(path.name) is None:
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        folder.create(path.name, pem)
    try:
        loaded = serialization.load_pem_private_key(folder.read(path.name) or b"", None)
    except ValueError as error:
        raise OperatorError("keys_invalid", f"{path} is no key") from error
    if not isinstance(loaded, Ed25519PrivateKey):
        raise OperatorError("keys_invalid", f"{path} is not an Ed25519 key")
    return loaded


class _Server(BaseApplication):  # type: ignore[misc]
    """gunicorn with what a witness needs: one process, a few threads, bounded waits."""

    def __init__(self, app: Flask, listen: str) -> None:
        self._app = app
        self._listen = listen
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": self._listen,
            "workers": 1,
            "threads": 4,
            "worker_class": "gthread",
            "timeout": 30,
            "accesslog": None,
            "loglevel": "warning",
            "control_socket_disable": True,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return self._app
