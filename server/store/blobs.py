"""Sealed records as files: written once, read whole, removed on erasure."""

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from server.errors import NotFound, OperatorError, Unavailable

_NAME = re.compile(r"[0-9a-f]{2}/[0-9a-f]{30}")


class LocalBlobs:
    """A folder of blobs. A name is given back only once the file and its folder entry are on disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for prefix in range(256):
            (folder / f"{prefix:02x}").mkdir(parents=True, exist_ok=True, mode=0o700)
        _sync_folder(folder)

    def put(self, data: bytes) -> str:
        """Return the new blob's name. A crash before the record is committed leaves an orphan nobody can open."""
        token = secrets.token_hex(16)
        name = f"{token[:2]}/{token[2:]}"
        path = self._folder / name
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(file, view) :]
                os.fsync(file)
            finally:
                os.close(file)
            _sync_folder(path.parent)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise Unavailable("storage_unavailable", "the register cannot store evidence now; try again") from error
        return name

    def get(self, name: str) -> bytes:
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError as error:
            raise NotFound("blob_missing", "the sealed evidence is gone") from error

    def delete(self, name: str) -> None:
        path = self._path(name)
        path.unlink(missing_ok=True)
        _sync_folder(path.parent)

    def names(self) -> Iterator[str]:
        for path in sorted(self._folder.glob("??/*")):
            yield f"{path.parent.name}/{path.name}"

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise OperatorError("blob_name_invalid", "a stored blob name is not one of ours")
        return self._folder / name


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
