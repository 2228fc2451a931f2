"""A backup on disk: a folder of files, the list of their hashes, and a manifest that is written last.

``SHA256SUMS`` is what ``sha256sum -c`` reads. ``manifest.json`` has the hash of that list: a folder without a manifest
is no backup.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from server.core.encoding import format_json, parse_json
from server.errors import OperatorError, ParseError
from server.store.files import sync_folder, write_file

_FORMAT = "objection-backup-1"
_MANIFEST, _SUMS = "manifest.json", "SHA256SUMS"
_FOLDERS = ("tables", "keys", "blobs", "releases")
_NAME = re.compile(rf"(?:{'|'.join(_FOLDERS)})/[A-Za-z0-9][A-Za-z0-9._-]{{0,250}}")
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_PIECE_BYTES = 1 << 20
_MAX_MANIFEST_BYTES = 1 << 24


@dataclass(frozen=True)
class Manifest:
    """What a backup is of. ``made_at`` and ``newest_at``: seconds; ``size``: entries of the log.

    ``erased_meanwhile``: the log indexes of records that their holders had erased while the backup was made.
    """

    made_at: int
    public_url: str
    log_origin: str
    schema: str
    size: int
    newest_at: int
    checkpoint: str
    keys: bool
    erased_meanwhile: list[int]
    sums_sha256: str
    format: str = _FORMAT


_MEMBERS: dict[str, type] = {
    **dict.fromkeys(("made_at", "size", "newest_at"), int),
    **dict.fromkeys(("public_url", "log_origin", "schema", "checkpoint", "sums_sha256", "format"), str),
    "keys": bool,
    "erased_meanwhile": list,
}


class BackupWriter:
    """Writes a backup into an empty folder, for its owner alone."""

    def __init__(self, folder: Path) -> None:
        """Raises OperatorError ``backup_refused`` where something lies there, ``backup_unwritable``."""
        self._folder = folder
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if any(folder.iterdir()):
                raise OperatorError("backup_refused", f"{folder} is not empty: name a new folder")
            folder.chmod(0o700)
            for name in _FOLDERS:
                (folder / name).mkdir(mode=0o700)
            self._sums = _create(folder / _SUMS)
        self._hash = hashlib.sha256()
        self.files = 0
        self.bytes = 0

    @contextmanager
    def file(self, name: str) -> Iterator[Callable[[bytes], object]]:
        """Yield what writes pieces of the file ``name``; it is on disk, and in the list, when the block ends."""
        digest = hashlib.sha256()

        def write(piece: bytes) -> None:
            digest.update(piece)
            self.bytes += len(piece)
            out.write(piece)

        with _writing(self._folder), _create(self._folder / name) as out:
            yield write
            out.flush()
            os.fsync(out.fileno())
        line = f"{digest.hexdigest()}  {name}\n".encode()
        self._hash.update(line)
        with _writing(self._folder):
            self._sums.write(line)
        self.files += 1

    def put(self, name: str, data: bytes) -> None:
        with self.file(name) as write:
            write(data)

    def finish(self, **facts: Any) -> Manifest:
        """Write the manifest of ``facts``: with it, the folder is a backup."""
        manifest = Manifest(**facts, sums_sha256=self._hash.hexdigest())
        with _writing(self._folder):
            self._sums.flush()
            os.fsync(self._sums.fileno())
            self._sums.close()
            for name in _FOLDERS:
                sync_folder(self._folder / name)
            sync_folder(self._folder)
            draft = self._folder / f"{_MANIFEST}.new"
            write_file(draft, format_json(asdict(manifest)), mode=0o600)
            draft.rename(self._folder / _MANIFEST)
            sync_folder(self._folder)
        return manifest


class BackupReader:
    """Reads a backup. Nothing of it counts before ``verify`` has seen all of it."""

    def __init__(self, folder: Path) -> None:
        """Raises OperatorError ``backup_incomplete`` without a manifest, ``backup_damaged``."""
        self._folder = folder
        path = folder / _MANIFEST
        if not path.is_file():
            raise OperatorError("backup_incomplete", f"{folder} has no {_MANIFEST}: no backup, or one not finished")
        with _reading():
            with path.open("rb") as file:
                self.manifest = _parse_manifest(file.read(_MAX_MANIFEST_BYTES))
            sums = (folder / _SUMS).read_bytes()
        if hashlib.sha256(sums).hexdigest() != self.manifest.sums_sha256:
            raise OperatorError("backup_damaged", f"{_SUMS} is not the list that the manifest was written for")
        self._sums: dict[str, str] = {}
        for line in sums.decode("ascii").splitlines():
            match = _LINE.fullmatch(line)
            if match is None or not _NAME.fullmatch(match[2]):
                raise OperatorError("backup_damaged", f"{_SUMS} has a line that we do not write")
            self._sums[match[2]] = match[1]

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in ``folder``, without it, in order."""
        return sorted(name.partition("/")[2] for name in self._sums if name.startswith(f"{folder}/"))

    def verify(self, progress: Callable[[int, int], None]) -> None:
        """Compare every file with the list. Raises OperatorError ``backup_damaged``, which names the first wrong one.

        ``progress`` is told how many of how many files were read.
        """
        for folder in _FOLDERS:
            with _reading():
                found = {f"{folder}/{path.name}" for path in (self._folder / folder).iterdir()}
            if extra := sorted(found - self._sums.keys()):
                raise OperatorError("backup_damaged", f"{extra[0]} does not belong to this backup")
        for done, (name, expected) in enumerate(self._sums.items(), 1):
            digest = hashlib.sha256()
            with _reading(), (self._folder / name).open("rb") as file:
                while piece := file.read(_PIECE_BYTES):
                    digest.update(piece)
            if digest.hexdigest() != expected:
                raise OperatorError("backup_damaged", f"{name} is not as it was written")
            progress(done, len(self._sums))

    def read(self, name: str) -> bytes:
        """Return a file's bytes, compared with the list once more: the disk may have changed since ``verify``."""
        with _reading():
            data = (self._folder / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != self._sums[name]:
            raise OperatorError("backup_damaged", f"{name} is not as it was written")
        return data

    def lines(self, name: str) -> Iterator[bytes]:
        """Yield a file's lines, few of which are in memory at once."""
        digest = hashlib.sha256()
        with _reading(), (self._folder / name).open("rb") as file:
            for line in file:
                digest.update(line)
                yield line
        if digest.hexdigest() != self._sums[name]:
            raise OperatorError("backup_damaged", f"{name} is not as it was written")


def _parse_manifest(raw: bytes) -> Manifest:
    try:
        said = parse_json(raw)
    except ParseError as error:
        raise OperatorError("backup_damaged", f"{_MANIFEST} is not in its form: {error}") from error
    if said.get("format") != _FORMAT:
        raise OperatorError("backup_damaged", f"{_MANIFEST} is of another version's backup, or of none")
    if said.keys() != _MEMBERS.keys() or any(type(said[name]) is not kind for name, kind in _MEMBERS.items()):
        raise OperatorError("backup_damaged", f"{_MANIFEST} has other members than we write")
    if not all(type(index) is int for index in said["erased_meanwhile"]):
        raise OperatorError("backup_damaged", f"{_MANIFEST} has other members than we write")
    return Manifest(**said)


def _create(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OperatorError("backup_unwritable", f"cannot write to {folder}: {error.strerror}") from error


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError("backup_damaged", f"a file of the backup cannot be read: {error}") from error
