"""Published releases as files: what was once published is never drawn again, even when the database is lost."""

from pathlib import Path

from server.errors import OperatorError, Unavailable
from server.store.files import create_file


class ReleaseFiles:
    """A folder with one signed release a file, written whole or not at all, never overwritten."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ids(self) -> list[str]:
        return sorted(path.stem for path in self._folder.glob("*.jws"))

    def get(self, release_id: str) -> str | None:
        """Return the file; what is no ASCII in it as U+FFFD, which fits no release. None where there is no file."""
        path = self._folder / f"{release_id}.jws"
        return path.read_bytes().decode("ascii", "replace") if path.exists() else None

    def put(self, release_id: str, signed: str) -> None:
        """Return once the release is on disk; the same one again changes nothing.

        Raises OperatorError ``release_conflict`` rather than replace another one of the same id.
        """
        there = self.get(release_id)
        if there is not None:
            if there != signed:
                raise OperatorError("release_conflict", f"{release_id} was published before with other figures")
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            create_file(self._folder, f"{release_id}.jws", signed.encode("ascii"), mode=0o600)
        except OSError as error:
            raise Unavailable("storage_unavailable", "the register cannot store a release now") from error
