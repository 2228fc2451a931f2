"""The running register: its parts wired together, once, at the start."""

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection

from server.bundles.document_cache import DocumentCache
from server.core.counts import declaration
from server.core.dpop import MAX_AGE_S
from server.core.merkle import EMPTY_ROOT, TileTree
from server.core.notes import Checkpoint, format_checkpoint, sign_note, verify_checkpoint
from server.core.statuslists import STATUS_LIST_SIZE
from server.errors import LogInconsistent, OperatorError, ParseError, VerificationError
from server.outside.mail import MailFinding
from server.store import log, tallies
from server.store.blobs import LocalBlobs
from server.store.database import Database
from server.store.identity import read_identity
from server.store.kept_checkpoint import KeptCheckpoint
from server.store.keys import KeyFolder
from server.store.log import Head, Loss
from server.store.refusals import explained, shown
from server.store.release_files import ReleaseFiles
from server.store.spent import SpentProofs, open_spent_proofs
from server.store.tallies import hour_of
from server.usecases.identity import keep_identity, refuse_other_keys, refuse_other_names
from server.usecases.keyring import Keyring, create_keys, load_keys
from server.usecases.log_writer import LogWriter
from server.usecases.row_sums import changing_sums
from server.usecases.tally import keep_budget

RESTORING = "restoring"  # a file in the data folder, from the first change that a restore makes to the last
_RELEASES = "releases"
_MAX_CACHED_BYTES = 16 * 1024 * 1024  # of certificates, in each process

Clock = Callable[[], int]
CheckMails = Callable[[Sequence[bytes]], list[MailFinding]]


@dataclass(frozen=True)
class Register:
    """What the use cases work with. ``public_url`` names the issuer; ``clock`` gives whole seconds.

    ``work``: PBKDF2 iterations a try that a work proof costs, 0 where none is asked for. ``check_mails`` returns what
    it found of the signatures that Meta's mail servers make; it asks the DNS.
    """

    public_url: str
    database: Database
    blobs: LocalBlobs
    spent_proofs: SpentProofs
    keyring: Keyring
    log_writer: LogWriter
    receipt_max_age_s: int
    work: int
    practice: bool
    clock: Clock
    check_mails: CheckMails
    documents: DocumentCache

    def status_reference(self, status_index: int) -> tuple[int, str]:
        """Return the index within its status list, and that list's address."""
        list_number, index = divmod(status_index, STATUS_LIST_SIZE)
        return index, f"{self.public_url}/v1/status-lists/{list_number}"

    def losses(self) -> list[Loss]:
        """Return what the operator accepted as lost when the log went on: everybody may know. Raises Unavailable."""
        with self.database.reading() as connection:
            return log.read_losses(connection)

    def close(self) -> None:
        self.log_writer.close()
        self.spent_proofs.close()
        self.database.close()
        self.blobs.close()


@dataclass(frozen=True)
class Storage:
    """Database, blobs, keys and published releases of a register that is not necessarily running.

    ``kept``: its checkpoint outside of the database.
    """

    database: Database
    blobs: LocalBlobs
    keyring: Keyring
    releases: ReleaseFiles
    kept: KeptCheckpoint | None = None

    def close(self) -> None:
        self.database.close()
        self.blobs.close()


Stored = Storage | Register  # whatever has the database and its keys


def open_storage(
    data_dir: Path,
    *,
    database_url: str,
    public_url: str,
    log_origin: str,
    create: bool,
    anchors_file: Path | None = None,
    behind: bool = False,
) -> Storage:
    """Open a register's storage, and check that head, keys, tiles and the checkpoint kept outside agree.

    With ``create``, folders, tables and keys are made where nothing is recorded yet; without, a register that never ran
    is an error. A database of another version is refused. ``behind``: open also one that is behind the checkpoint kept
    outside. Raises OperatorError: ``keys_missing``, ``keys_exposed``, ``keys_unreadable``, ``keys_invalid``,
    ``keys_changed``, ``names_changed``, ``anchors_invalid``, ``database_refused``, ``storage_unusable``,
    ``restore_unfinished``, ``schema_older``, ``schema_newer``, ``log_inconsistent``, ``log_behind_checkpoint``,
    ``budget_changed``; Unavailable. Safe to run in several processes at once.
    """
    refuse_unfinished_restore(data_dir)
    if not create and not (data_dir / "keys").is_dir():
        raise OperatorError("storage_unusable", f"there is no register in {data_dir}")
    with ExitStack() as opened:
        try:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            blobs = LocalBlobs(data_dir / "blobs")
            opened.callback(blobs.close)
            database = Database(database_url, lock_file=data_dir / "writer.lock")
            opened.callback(database.close)
            keys = KeyFolder(data_dir / "keys")
        except OSError as error:
            raise _unusable(data_dir, error) from error
        kept = KeptCheckpoint(data_dir)
        try:
            with explained(database.engine.url):
                if not create and not database.has_tables():
                    raise OperatorError("storage_unusable", f"there is no register in {shown(database.engine.url)}")
                keyring = _prepare(
                    database,
                    blobs,
                    keys,
                    kept,
                    public_url=public_url,
                    log_origin=log_origin,
                    create=create,
                    anchors_file=anchors_file,
                    behind=behind,
                )
        except OSError as error:
            raise _unusable(data_dir, error) from error
        opened.pop_all()
    return Storage(database, blobs, keyring, ReleaseFiles(data_dir / _RELEASES), kept)


def open_storage_to_check(
    data_dir: Path, *, database_url: str, public_url: str, log_origin: str, anchors_file: Path | None = None
) -> Storage:
    """Open a register's storage for one who only looks: nothing is made, migrated or compared.

    Raises OperatorError ``restore_unfinished``, ``keys_missing``, ``keys_exposed``, ``keys_invalid``,
    ``anchors_invalid``, ``storage_unusable``, ``schema_older``, ``schema_newer``; Unavailable.
    """
    refuse_unfinished_restore(data_dir)
    for folder in (data_dir / "keys", data_dir / "blobs"):
        if not folder.is_dir():
            raise OperatorError("storage_unusable", f"there is no register in {data_dir}: {folder} is missing")
    with ExitStack() as opened:
        database = Database(database_url, lock_file=data_dir / "writer.lock", read_only=True)
        opened.callback(database.close)
        with explained(database.engine.url):
            if not database.has_tables():
                raise OperatorError("storage_unusable", f"there is no register in {shown(database.engine.url)}")
            database.refuse_other_schema()
        keys = KeyFolder(data_dir / "keys")
        keyring = load_keys(keys, issuer=public_url, log_name=log_origin, anchors_file=anchors_file)
        opened.pop_all()
    files = ReleaseFiles(data_dir / _RELEASES)
    return Storage(database, LocalBlobs(data_dir / "blobs"), keyring, files, KeptCheckpoint(data_dir))


def _prepare(
    database: Database,
    blobs: LocalBlobs,
    keys: KeyFolder,
    kept: KeptCheckpoint,
    *,
    public_url: str,
    log_origin: str,
    create: bool,
    anchors_file: Path | None,
    behind: bool,
) -> Keyring:
    """Return the keys, once tables, keys and log are there and fit each other."""
    with database.starting():
        if not database.has_tables():
            database.migrate()
    database.refuse_other_schema()
    kept_note = kept.read()  # before the head: other replicas may grow both meanwhile
    with database.writing() as connection:
        head = log.read_head(connection)
        stored = read_identity(connection)
        if head is None:
            _refuse_lost_log(connection, blobs, kept_note, create=create)
            create_keys(keys, issuer=public_url, now=datetime.now(UTC))
        else:
            refuse_other_names(stored, origin=head.origin, public_url=public_url, log_origin=log_origin)
        keyring = load_keys(keys, issuer=public_url, log_name=log_origin, anchors_file=anchors_file)
        refuse_other_keys(stored, keyring, folder=keys.path)
        keep_identity(connection, stored, keyring)
        if head is None:
            log.create_head(connection, _first_head(keyring))
        else:
            check_head(connection, head, keyring)
            log.write_nothing(connection)  # a database that can only be read is no database to start on
            if not behind and head.halted is None:  # a halted log signs nothing: it may answer for what it has
                check_kept(connection, head, keyring, kept_note)
        with changing_sums(connection, keyring.row_macs) as sums, sums.following(connection, "counting"):
            budget = declaration().budget_sha256
            if head is None:
                tallies.create_counting(connection, since=hour_of(int(time.time())), budget_sha256=budget)
            else:
                keep_budget(connection, budget)
    if create and head is not None and not behind:
        kept.keep(head.checkpoint)
    return keyring


def start_register(
    storage: Storage,
    *,
    spent_proofs: Path,
    public_url: str,
    receipt_max_age_s: int,
    work: int,
    practice: bool,
    clock: Clock,
    check_mails: CheckMails,
) -> Register:
    """Start the log writer of this process. The caller must close the register.

    ``spent_proofs``: the file that remembers proofs of possession, where the database is SQLite. Raises Unavailable.
    """
    keyring = storage.keyring
    spent = open_spent_proofs(storage.database, spent_proofs, life_s=2 * MAX_AGE_S, now=clock())
    writer = LogWriter(
        storage.database, storage.blobs, name=keyring.log_name, key=keyring.log_key, clock=clock, kept=storage.kept
    )
    return Register(
        public_url=public_url,
        database=storage.database,
        blobs=storage.blobs,
        spent_proofs=spent,
        keyring=keyring,
        log_writer=writer,
        receipt_max_age_s=receipt_max_age_s,
        work=work,
        practice=practice,
        clock=clock,
        check_mails=check_mails,
        documents=DocumentCache(max_bytes=_MAX_CACHED_BYTES),
    )


def check_head(connection: Connection, head: Head, keyring: Keyring) -> Checkpoint:
    """Return the head's checkpoint once it is seen to fit the log's key and the root derived from the stored tiles.

    Raises LogInconsistent: to sign on from here would fork the log.
    """
    try:
        checkpoint = verify_checkpoint(head.checkpoint, trusted=keyring.log_verifier)
    except (ParseError, VerificationError) as error:
        raise LogInconsistent("log_inconsistent", f"the stored checkpoint does not hold: {error}") from error
    tree = TileTree(head.size, lambda level, number: log.read_tile(connection, level, number))
    if checkpoint.size != head.size or tree.root() != checkpoint.root:
        raise LogInconsistent("log_inconsistent", "the stored tiles do not give the root of the stored checkpoint")
    return checkpoint


def check_kept(connection: Connection, head: Head, keyring: Keyring, note: str | None) -> None:
    """Compare the head with the checkpoint that was kept outside of the database.

    Raises LogInconsistent ``log_behind_checkpoint`` when more was signed than the database has, ``log_inconsistent``
    when another log was, or the note is none of this log.
    """
    if note is None:
        return
    try:
        signed = verify_checkpoint(note, trusted=keyring.log_verifier)
    except (ParseError, VerificationError) as error:
        raise LogInconsistent(
            "log_inconsistent", f"newest-checkpoint in the data folder is none of this log ({error})"
        ) from error
    if signed.size > head.size:
        raise LogInconsistent(
            "log_behind_checkpoint",
            f"the log was signed with {signed.size} entries, the database has {head.size}: entries {head.size} to "
            f"{signed.size - 1} are lost here. Is it an old backup? See docs/operating.md, When entries are lost",
        )
    tree = TileTree(signed.size, lambda level, number: log.read_tile(connection, level, number))
    if tree.root() != signed.root:
        raise LogInconsistent(
            "log_inconsistent", f"newest-checkpoint in the data folder is of another log of {signed.size} entries"
        )


def refuse_unfinished_restore(data_dir: Path) -> None:
    """Raises OperatorError ``restore_unfinished``; ``storage_unusable`` when the folder cannot be looked into."""
    try:
        unfinished = (data_dir / RESTORING).exists()
    except OSError as error:
        raise _unusable(data_dir, error) from error
    if unfinished:
        raise OperatorError("restore_unfinished", f"a restore into {data_dir} did not finish: run it again")


def holder_scoped(thumbprint: str, jti: str) -> bytes:
    """Return the 32 bytes by which a holder's jti is remembered without keeping either."""
    return hashlib.sha256(f"{thumbprint}.{jti}".encode()).digest()


def _refuse_lost_log(connection: Connection, blobs: LocalBlobs, kept_note: str | None, *, create: bool) -> None:
    """A second log with the first one's key would fork it: the database was lost, or another one named by mistake."""
    if kept_note is not None or log.has_tiles(connection) or blobs.segments():
        raise LogInconsistent("log_inconsistent", "records are stored here, but this database has no head of their log")
    if not create:
        raise OperatorError("storage_unusable", "this database has no log")


def _unusable(data_dir: Path, error: OSError) -> OperatorError:
    where = error.filename or data_dir
    return OperatorError("storage_unusable", f"cannot use {where}: {error.strerror} (OBJECTION_DATA_DIR)")


def _first_head(keyring: Keyring) -> Head:
    text = format_checkpoint(Checkpoint(keyring.log_name, 0, EMPTY_ROOT))
    return Head(keyring.log_name, 0, sign_note(text, keyring.log_name, keyring.log_key))
