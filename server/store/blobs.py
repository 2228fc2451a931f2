"""Sealed records as files: a segment for each group commit, read by range, overwritten on erasure."""

import contextlib
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from server.errors import NotFound, OperatorError, Unavailable
from server.store.files import write_file

# What is kept free for objections without much evidence, when a flood of evidence fills the disk.
_KEPT_FREE_BYTES = 128 << 20
_LITTLE_BYTES = 64 << 10
_NAME = re.compile(r"([0-9a-f]{32})\.([0-9]{1,12})\.([0-9]{1,12})")


class LocalBlobs:
    """A folder of segments. A blob's name is ``<segment>.<offset>.<length>``.

    One file for a whole group costs two syncs however many receipts are in it, and keeps the writer's thread away from
    the interpreter lock that the request threads want.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._folder)

    def put_all(self, blobs: Sequence[bytes]) -> list[str]:
        """Return the names of ``blobs`` once they are on disk.

        A crash before their records are committed, or a commit that fails, leaves a segment that no record names and
        nobody can open.
        """
        segment = secrets.token_hex(16)
        try:
            file = os.open(segment, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._folder)
            try:
                _write_whole(file, b"".join(blobs))
                os.fsync(file)
            finally:
                os.close(file)
            os.fsync(self._folder)
        except OSError as error:
            (self._path / segment).unlink(missing_ok=True)
            raise Unavailable("storage_unavailable", "the register cannot store evidence now; try again") from error
        names = []
        offset = 0
        for blob in blobs:
            names.append(f"{segment}.{offset}.{len(blob)}")
            offset += len(blob)
        return names

    @contextlib.contextmanager
    def stored(self, blobs: Sequence[bytes]) -> Iterator[list[str]]:
        """Store ``blobs`` for the block, which records their names; take them back when it fails."""
        names = self.put_all(blobs) if blobs else []
        try:
            yield names
        except Exception:
            if names:
                with contextlib.suppress(Unavailable):
                    self.remove_segment(segment_of(names[0]))
            raise

    def refuse_without_room(self, size: int) -> None:
        """Raises Unavailable ``storage_full`` when ``size`` bytes are much, and the disk has room for little only."""
        if size <= _LITTLE_BYTES:
            return
        disk = os.fstatvfs(self._folder)
        if disk.f_bavail * disk.f_frsize < _KEPT_FREE_BYTES:
            raise Unavailable("storage_full", "the register has no room for evidence now; send less, or send it later")

    def refuse_unwritable(self) -> None:
        """Raises Unavailable ``storage_unavailable`` when no segment can be made: no folder, no right, no inode."""
        disk = os.fstatvfs(self._folder)
        if (
            os.fstat(self._folder).st_nlink == 0
            or not os.access(".", os.W_OK | os.X_OK, dir_fd=self._folder)
            or disk.f_flag & os.ST_RDONLY
            or (disk.f_files and not disk.f_favail)  # some file systems count none
        ):
            raise Unavailable("storage_unavailable", "the register cannot store evidence now; try again")

    def get(self, name: str) -> bytes:
        """Raises NotFound ``blob_missing`` when the segment is gone or too short, Unavailable when the disk refuses."""
        segment, offset, length = _parse_name(name)
        try:
            file = os.open(segment, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)
            try:
                data = os.pread(file, length, offset)
            finally:
                os.close(file)
        except FileNotFoundError as error:
            raise NotFound("blob_missing", "the sealed evidence is gone") from error
        except OSError as error:
            raise Unavailable("storage_unavailable", "the register cannot read evidence now; try again") from error
        if len(data) != length:
            raise NotFound("blob_missing", "the sealed evidence is gone")
        return data

    def erase(self, name: str) -> None:
        """Overwrite a blob with zeros, on disk when this returns; one that is gone is erased.

        Raises Unavailable ``storage_unavailable`` when the disk refuses: it must be tried again.
        """
        segment, offset, length = _parse_name(name)
        with _translated_erasing():
            try:
                file = os.open(segment, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._folder)
            except FileNotFoundError:
                return
            try:
                length = min(length, max(os.fstat(file).st_size - offset, 0))
                os.lseek(file, offset, os.SEEK_SET)
                _write_whole(file, bytes(length))
                os.fsync(file)
            finally:
                os.close(file)

    def put_segment(self, segment: str, data: bytes) -> None:
        """Store a segment of a backup under its own name; on disk after ``sync``. Raises FileExistsError, OSError."""
        write_file(self._path / segment, data, mode=0o600)

    def sync(self) -> None:
        os.fsync(self._folder)

    def remove_segment(self, segment: str) -> None:
        """Delete a segment that no record names any more. Raises as ``erase`` does."""
        with _translated_erasing():
            (self._path / segment).unlink(missing_ok=True)
            os.fsync(self._folder)

    def segments(self, prefix: str = "") -> set[str]:
        """Return the names of all files here that begin with ``prefix``."""
        with os.scandir(self._path) as entries:
            return {entry.name for entry in entries if entry.name.startswith(prefix)}

    def count_segments(self) -> int:
        with os.scandir(self._path) as entries:
            return sum(1 for _ in entries)

    def segment_size(self, segment: str) -> int:
        """Return how many bytes a segment has; 0 when it is gone."""
        try:
            return os.stat(segment, dir_fd=self._folder).st_size
        except FileNotFoundError:
            return 0

    def written_at(self, segment: str) -> float:
        """Return when a segment was last written to, seconds; 0 when it is gone."""
        try:
            return os.stat(segment, dir_fd=self._folder).st_mtime
        except FileNotFoundError:
            return 0.0


def segment_of(name: str) -> str:
    return _parse_name(name)[0]


def range_of(name: str) -> tuple[int, int]:
    """Return offset and length of a blob within its segment."""
    return _parse_name(name)[1:]


def _parse_name(name: str) -> tuple[str, int, int]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise OperatorError("blob_name_invalid", "a stored blob name is not one of ours")
    return match[1], int(match[2]), int(match[3])


@contextlib.contextmanager
def _translated_erasing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable("storage_unavailable", "the register cannot overwrite what was erased now") from error


def _write_whole(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
