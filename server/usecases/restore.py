"""Restore a register from a backup: verified before anything is put in place, unusable until all of it is.

A file in the data folder marks the time between. A crash leaves the mark: then every start is refused, and the restore
is run again.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import make_url

from server.core.notes import verify_checkpoint
from server.errors import OperatorError, ParseError, VerificationError
from server.store import log
from server.store.backup_files import BackupReader, Manifest
from server.store.blobs import LocalBlobs
from server.store.database import Database, refuse_unknown_schema
from server.store.files import replace_file, sync_folder
from server.store.kept_checkpoint import KeptCheckpoint
from server.store.keys import KeyFolder
from server.store.release_files import ReleaseFiles
from server.store.table_dumps import fill_table
from server.usecases.check_log import check_log
from server.usecases.keyring import load_keys
from server.usecases.log_findings import LogCheck
from server.usecases.register import RESTORING, Storage

_FOLDERS = ("blobs", "releases")
_SQLITE_SUFFIXES = ("", "-wal", "-shm", "-journal")


@dataclass(frozen=True)
class Restored:
    """What is in place. ``signed``: how many entries the log had, by a checkpoint that the data folder still had."""

    manifest: Manifest
    found: LogCheck
    signed: int | None


def restore(
    folder: Path,
    *,
    data_dir: Path,
    database_url: str,
    public_url: str,
    log_origin: str,
    anchors_file: Path | None,
    replace: bool,
    progress: Callable[[int, int], None],
) -> Restored:
    """Put the backup in ``folder`` in place, check it, and halt its log: what was signed after it is missing.

    ``replace``: delete the register that lies there. Raises OperatorError ``backup_incomplete``,
    ``backup_damaged``, ``backup_of_another``, ``schema_newer``, ``restore_refused``, ``register_running``,
    ``storage_unusable`` and what loading keys raises; Unavailable.
    """
    backup = BackupReader(folder)
    manifest = backup.manifest
    if (manifest.public_url, manifest.log_origin) != (public_url, log_origin):
        raise OperatorError(
            "backup_of_another",
            f"the backup is of {manifest.public_url} with the log {manifest.log_origin}; "
            "OBJECTION_PUBLIC_URL and OBJECTION_LOG_ORIGIN say otherwise",
        )
    refuse_unknown_schema(manifest.schema)
    backup.verify(progress)
    try:
        return _put_in_place(
            backup,
            data_dir=data_dir,
            database_url=database_url,
            anchors_file=anchors_file,
            replace=replace,
            progress=progress,
        )
    except OSError as error:
        raise OperatorError("storage_unusable", f"cannot write to {data_dir}: {error.strerror}") from error


def _put_in_place(
    backup: BackupReader,
    *,
    data_dir: Path,
    database_url: str,
    anchors_file: Path | None,
    replace: bool,
    progress: Callable[[int, int], None],
) -> Restored:
    manifest = backup.manifest
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    mark = data_dir / RESTORING
    target = make_url(database_url).render_as_string(hide_password=True)
    # What an unfinished restore left may go, but only in the database that it was for.
    ours = mark.exists() and mark.read_text("utf-8") == target
    folders = (*_FOLDERS, "keys") if manifest.keys else _FOLDERS
    if not manifest.keys and not (data_dir / "keys").is_dir():
        raise OperatorError("keys_missing", f"the backup has no keys: put them into {data_dir / 'keys'} first")
    database = Database(database_url, lock_file=data_dir / "writer.lock")
    try:
        if not (replace or ours):
            _refuse_occupied(database, data_dir, folders)
        database.refuse_in_use()
        replace_file(mark, target.encode())
        _empty(database, data_dir, folders)
        if manifest.keys:
            keys = KeyFolder(data_dir / "keys")
            for name in backup.names("keys"):
                keys.create(name, backup.read(f"keys/{name}"))
        keyring = load_keys(
            KeyFolder(data_dir / "keys"),
            issuer=manifest.public_url,
            log_name=manifest.log_origin,
            anchors_file=anchors_file,
        )
        blobs = LocalBlobs(data_dir / "blobs")
        for segment in backup.names("blobs"):
            blobs.put_segment(segment, backup.read(f"blobs/{segment}"))
        blobs.sync()
        releases = ReleaseFiles(data_dir / "releases")
        for release_id in backup.names("releases"):
            releases.put(release_id, backup.read(f"releases/{release_id}").decode("ascii"))
        with database.rebuilding(manifest.schema) as connection:
            for name in backup.names("tables"):
                fill_table(connection, name.removesuffix(".jsonl"), backup.lines(f"tables/{name}"))
        kept = KeptCheckpoint(data_dir)
        storage = Storage(database, blobs, keyring, releases, kept)
        signed = _signed_before(kept, storage, manifest)
        # Without the checkpoint kept here before: what it shows to be lost is told by itself.
        found = check_log(Storage(database, blobs, keyring, releases), progress=progress)
        made_at = datetime.fromtimestamp(manifest.made_at, UTC).isoformat(timespec="seconds")
        with database.writing() as connection:
            log.halt(connection, f"restored from the backup of {made_at} with {manifest.size} entries")
        if signed is None:
            kept.keep(manifest.checkpoint)
        blobs.close()
    finally:
        database.close()
    _give_to_owner(data_dir)
    mark.unlink()
    sync_folder(data_dir)
    return Restored(manifest, found, signed)


def _refuse_occupied(database: Database, data_dir: Path, folders: Sequence[str]) -> None:
    for path in [data_dir / name for name in folders]:
        if path.is_dir() and any(path.iterdir()):
            raise OperatorError("restore_refused", f"{path} is not empty: --replace deletes what is there")
    for path in _sqlite_files(database):
        if path.exists():
            raise OperatorError("restore_refused", f"{path} exists: --replace deletes it")
    if database.file is None and database.has_tables():
        raise OperatorError("restore_refused", "a register is in that database: --replace deletes it")


def _empty(database: Database, data_dir: Path, folders: Sequence[str]) -> None:
    """Delete what a backup brings, and SQLite's files: an old write-ahead log would be played into the new file.

    What else lies in the data folder stays: the checkpoints that say what was signed, and files of the operator's.
    """
    database.engine.dispose()
    for name in folders:
        if (data_dir / name).exists():
            shutil.rmtree(data_dir / name)
    # Proofs of possession are remembered anew: a file that was just made takes none that was signed before.
    for path in [*_sqlite_files(database), *data_dir.glob("spent-proofs.sqlite*")]:
        path.unlink(missing_ok=True)


def _sqlite_files(database: Database) -> list[Path]:
    if database.file is None:
        return []
    return [database.file.with_name(database.file.name + suffix) for suffix in _SQLITE_SUFFIXES]


def _signed_before(kept: KeptCheckpoint, storage: Storage, manifest: Manifest) -> int | None:
    """Return how many entries the checkpoint that is kept here names, where that is more than the backup has."""
    note = kept.read()
    if note is None:
        return None
    try:
        size = verify_checkpoint(note, trusted=storage.keyring.log_verifier).size
    except (ParseError, VerificationError):  # of another log, which lay here before
        kept.path.unlink()
        return None
    return size if size > manifest.size else None


def _give_to_owner(data_dir: Path) -> None:
    """As root: give all that was made to the owner of the data folder, who has to be able to read it."""
    if os.geteuid() != 0:
        return
    owner = data_dir.stat()
    for path in data_dir.rglob("*"):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
