"""Published releases as files: what was once published is never drawn again, even when the database is lost."""

import os
from pathlib import Path

from server.errors import OperatorError, Unavailable


class ReleaseFiles:
    """A folder with one signed release a file, written whole or not at all, never overwritten."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder

    def get(self, release_id: str) -> str | None:
        path = self._folder / f"{release_id}.jws"
        return path.read_text("ascii") if path.exists() else None

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
            self._write(release_id, signed.encode("ascii"))
        except OSError as error:
            raise Unavailable("storage_unavailable", "the register cannot store a release now") from error

    def _write(self, release_id: str, data: bytes) -> None:
        draft = self._folder / f"{release_id}.new"
        draft.unlink(missing_ok=True)  # left behind by a crash before the link below
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with os.fdopen(file, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(draft, self._folder / f"{release_id}.jws")
        draft.unlink()
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
