"""Small files that are written whole or not at all, and never replaced."""

import os
from pathlib import Path


def create_file(folder: Path, name: str, data: bytes, *, mode: int) -> None:
    """Return once ``data`` is on disk as ``name``. Raises FileExistsError rather than replace a file; OSError."""
    draft = folder / f"{name}.new"
    draft.unlink(missing_ok=True)  # left behind by a crash before the link below: nobody has relied on it
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    finally:
        os.close(file)
    os.link(draft, folder / name)
    draft.unlink()
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
