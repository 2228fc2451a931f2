"""Small files that are written whole or not at all, and locks on files."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def file_lock(path: Path) -> Iterator[bool]:
    """Hold a lock on ``path``, or yield False when another process does. The lock goes with the process."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(file)


def replace_file(path: Path, data: bytes) -> None:
    """Put ``data`` in the place of what ``path`` has, whole or not at all; the caller holds a lock. Raises OSError."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    write_file(draft, data, mode=0o600)
    draft.replace(path)
    sync_folder(path.parent)


def create_file(folder: Path, name: str, data: bytes, *, mode: int) -> None:
    """Return once ``data`` is on disk as ``name``. Raises FileExistsError rather than replace a file; OSError."""
    draft = folder / f"{name}.new"
    draft.unlink(missing_ok=True)  # left behind by a crash before the link below: nobody has relied on it
    write_file(draft, data, mode=mode)
    os.link(draft, folder / name)
    draft.unlink()
    sync_folder(folder)


def write_file(path: Path, data: bytes, *, mode: int) -> None:
    """Return once ``data`` is on disk in a new file; its name may not be yet. Raises FileExistsError, OSError."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    finally:
        os.close(file)


def sync_folder(folder: Path) -> None:
    """Return once the names in ``folder`` are on disk. Raises OSError."""
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
