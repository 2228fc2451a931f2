"""Key files: mode 0600, written whole or not at all, never overwritten."""

from pathlib import Path

from server.errors import OperatorError
from server.store.files import create_file


class KeyFolder:
    """A folder with a file a key. Only its owner may read it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder

    def read(self, name: str) -> bytes | None:
        """Raises OperatorError ``keys_exposed`` when others than the owner may read the file."""
        path = self._folder / name
        if not path.exists():
            return None
        if path.stat().st_mode & 0o077:
            raise OperatorError("keys_exposed", f"{path} can be read by others; run: chmod 600 {path}")
        return path.read_bytes()

    def create(self, name: str, data: bytes) -> None:
        """Raises FileExistsError rather than replace a key."""
        create_file(self._folder, name, data, mode=0o600)

    def names(self) -> list[str]:
        """Return the names of all files here; a crash may have left a draft, which is no key."""
        return sorted(path.name for path in self._folder.iterdir() if path.is_file() and path.suffix != ".new")

    def discard(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)

    def versions(self, stem: str) -> list[int]:
        """Return the versions n of the files ``<stem>-<n>.key``, oldest first."""
        numbers = [path.stem.removeprefix(f"{stem}-") for path in self._folder.glob(f"{stem}-*.key")]
        return sorted(int(number) for number in numbers if number.isdecimal())
