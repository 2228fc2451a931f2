"""The newest signed checkpoint, kept outside of the database: a database that was set back is known by it."""

import logging
from pathlib import Path

from server.core.notes import parse_checkpoint
from server.errors import OperatorError, ParseError
from server.store.files import file_lock, replace_file

_NAME = "newest-checkpoint"
_log = logging.getLogger("objection.log")


class KeptCheckpoint:
    """A file in the data folder. What it says is never ahead of the database: it is written after the commit.

    It may be behind by a second, or by more after a crash: that stops no start.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / _NAME
        self._lock = folder / f"{_NAME}.lock"
        self._failed = False

    def read(self) -> str | None:
        """Return the signed note, not verified; None where none was kept. Raises OperatorError ``storage_unusable``."""
        try:
            return self.path.read_text("utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise OperatorError("storage_unusable", f"cannot read {self.path}: {error}") from error

    def keep(self, note: str) -> bool:
        """Replace the note by a larger one; return False where that has to be tried again.

        Two processes that commit one after the other may come here in the other order: the smaller one is not written.
        """
        try:
            with file_lock(self._lock) as ours:
                if not ours:
                    return False
                if _size(self.read()) < _size(note):
                    replace_file(self.path, note.encode())
        except (OSError, OperatorError) as error:
            if not self._failed:
                _log.warning("%s cannot be written: an old backup would not be noticed by it: %s", self.path, error)
            self._failed = True
            return False
        self._failed = False
        return True

    def set_aside(self, note: str) -> Path | None:
        """Put ``note`` in the place of one that is larger, which stays under another name: it says what was signed."""
        with file_lock(self._lock):
            kept = self.read()
            aside = None
            if kept is not None and _size(kept) > _size(note):
                aside = self.path.with_name(f"lost-checkpoint-{_size(kept)}")
                self.path.replace(aside)  # a crash behind this leaves no kept note: the next start writes one
            replace_file(self.path, note.encode())
        return aside


def _size(note: str | None) -> int:
    """Return the number of entries that a note names; -1 for what is no checkpoint, which any other may replace."""
    try:
        return -1 if note is None else parse_checkpoint(note.partition("\n\n")[0] + "\n").size
    except ParseError:
        return -1
