"""Key files: mode 0600, written whole or not at all, never overwritten."""

import os
from pathlib import Path

from server.errors import OperatorError
from server.store.files import create_file


class KeyFolder:
    """A folder with a file a key. Only its owner may read it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = folder

    def read(self, name: str) -> bytes | None:
        """Raises OperatorError ``keys_exposed`` when others than the owner may read the file; ``keys_unreadable``."""
        path = self.path / name
        try:
            mode = path.stat().st_mode
            if mode & 0o077:
                raise OperatorError("keys_exposed", f"{path} can be read by others; run: chmod 600 {path}")
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OperatorError("keys_unreadable", f"{path}: {error.strerror}; {_owned_by(path)}") from error

    def create(self, name: str, data: bytes) -> None:
        """Raises FileExistsError rather than replace a key."""
        create_file(self.path, name, data, mode=0o600)

    def names(self) -> list[str]:
        """Return the names of all files here; a crash may have left a draft, which is no key."""
        return sorted(path.name for path in self.path.iterdir() if path.is_file() and path.suffix != ".new")

    def discard(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def versions(self, stem: str) -> list[int]:
        """Return the versions n of the files ``<stem>-<n>.key``, oldest first."""
        try:
            files = list(self.path.iterdir())
        except OSError as error:
            raise OperatorError("keys_unreadable", f"{self.path}: {error.strerror}; {_owned_by(self.path)}") from error
        numbers = [file.stem.removeprefix(f"{stem}-") for file in files if file.match(f"{stem}-*.key")]
        return sorted(int(number) for number in numbers if number.isdecimal())


def _owned_by(path: Path) -> str:
    """Say whose file it is, or whose folder: mostly it was made or restored as root."""
    for each in (path, *path.parents):
        try:
            owner = each.stat().st_uid
        except OSError:
            continue
        if owner != os.geteuid():
            return f"{each} belongs to user {owner}, and this process runs as user {os.geteuid()}: chown -R it"
    return f"this process runs as user {os.geteuid()}"
