"""Commands around what is stored: back up, restore, migrate, go on with a halted log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from server.cli_common import INVALID, one_line, open_register_to_check, printable, read_settings


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--without-keys", is_flag=True, help="Leave the key files out; keep them somewhere else.")
@one_line
def backup(folder: Path, without_keys: bool) -> None:
    """Back up the register into DIR, a new or empty folder. It may record meanwhile.

    Writes the database, the keys, the sealed evidence and the released counts, as they belong together, and a list of
    their SHA-256. The manifest comes last: without it DIR is no backup. The same form for SQLite and PostgreSQL; needs
    neither sqlite3 nor pg_dump. Settings and the files that they name are not in it.

    Exit status: 0; 1 when sealed evidence is lost or changed where it lies; 2 when there is no backup.
    """
    from server.usecases.backup import back_up

    settings = read_settings()
    storage = open_register_to_check()
    with closing(storage), _progress("sealed bytes") as progress:
        made = back_up(
            storage,
            folder,
            data_dir=settings.data_dir,
            with_keys=not without_keys,
            now=int(time.time()),
            progress=progress,
        )
    manifest = made.manifest
    click.echo(f"{folder}: {made.files} files, {made.bytes} bytes")
    click.echo(f"{manifest.log_origin}: {manifest.size} entries, {_newest(manifest.newest_at)}")
    if manifest.erased_meanwhile:
        click.echo(f"{len(manifest.erased_meanwhile)} record(s) were erased while the backup was made")
    if manifest.keys:
        click.echo("It holds the register's keys: who reads it can sign as the register. Keep it as you keep them.")
    else:
        click.echo("It holds no keys. Without those of DATA_DIR/keys it cannot be restored.")
    for index in made.damaged:
        click.echo(f"✗ the sealed bytes of entry {index} are lost, or not those that were stored", err=True)
    if made.damaged:
        sys.exit(INVALID)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--replace", is_flag=True, help="Delete the register that lies there. Stop it first.")
@one_line
def restore(folder: Path, replace: bool) -> None:
    """Restore the register from a backup in DIR, into OBJECTION_DATA_DIR and OBJECTION_DATABASE_URL.

    Verifies every file first. Without --replace it refuses where a register, or a file of one, lies. Checks what it has
    restored as `objection log check` does. The register then answers for what the backup has, and records nothing
    until `objection log resume`.

    Exit status: 0; 1 when the check found something; 2 when nothing was restored.
    """
    from server.usecases.restore import restore as put_back

    settings = read_settings()
    with _progress("files and entries") as progress:
        done = put_back(
            folder,
            data_dir=settings.data_dir,
            database_url=settings.database_url,
            public_url=settings.public_url,
            log_origin=settings.log_origin,
            anchors_file=settings.anchors,
            replace=replace,
            progress=progress,
        )
    manifest, size = done.manifest, done.manifest.size
    click.echo(f"restored {manifest.log_origin}: {size} entries, {_newest(manifest.newest_at)}")
    click.echo(f"The backup was made at {_time(manifest.made_at)}. Whatever the register acknowledged later is lost.")
    if done.signed is not None:
        click.echo(f"The log was signed with {done.signed} entries: {size} to {done.signed - 1} are lost.")
    click.echo("What was withdrawn or erased later stands again: nothing here tells which.")
    if manifest.erased_meanwhile:
        entries = ", ".join(map(str, manifest.erased_meanwhile))
        click.echo(f"Erased while the backup was made, their sealed bytes gone: entries {entries}")
    click.echo("The register answers for what it has, and records nothing. Next: objection log resume --help")
    for problem in done.found.problems:
        click.echo(printable(f"✗ {problem}"), err=True)
    if done.found.problems:
        sys.exit(INVALID)
    click.echo("✓ what was restored is consistent")


@click.command()
@one_line
def migrate() -> None:
    """Bring an older version's database to this one. There is no way back but a backup.

    Back up with the old version, stop every process of the register on every machine, install, run this once, start.
    """
    from server.store.database import Database

    settings = read_settings()
    if not settings.data_dir.is_dir():
        from server.errors import OperatorError

        raise OperatorError("storage_unusable", f"there is no register in {settings.data_dir}")
    with closing(Database(settings.database_url, lock_file=settings.data_dir / "writer.lock")) as database:
        before, after = database.bring_up_to_date()
    click.echo(f"the database has revision {after}" + ("" if before == after else f", it had {before}"))


@click.command("resume")
@click.option("--nothing-lost", is_flag=True, help="Nothing was recorded after the backup: the register was stopped.")
@click.option("--accept-loss", is_flag=True, help="Go on without the lost entries, and say so publicly, for good.")
@one_line
def resume(nothing_lost: bool, accept_loss: bool) -> None:
    """Go on with a log that is halted, or that lost entries.

    After a restore, the entries that were signed later are missing. To sign others in their place makes two logs under
    one name: whoever holds a proof of a lost entry, or watched the log, can show that. So either nothing was lost; or
    you accept it, and the register's home page and each log check say so from then on. A log that witnesses saw with
    more entries cannot go on: begin a new register (docs/operating.md, When entries are lost).
    """
    from server.storage import open_storage_of
    from server.usecases.resume_log import resume_log

    if nothing_lost == accept_loss:
        raise click.UsageError("say either --nothing-lost or --accept-loss")
    storage = open_storage_of(read_settings(), create=False, behind=True)
    with closing(storage):
        done = resume_log(storage, accept_loss=accept_loss, now=int(time.time()))
    if done.reason:
        click.echo(f"the log was halted: {done.reason}")
    if done.loss is not None:
        click.echo(f"stated publicly from now on: {loss_in_words(done.loss.size, done.loss.signed_size)}")
    if done.aside is not None:
        click.echo(f"the checkpoint of the lost entries is kept in {done.aside}")
    click.echo(f"the log goes on from {done.size} entries")


def loss_in_words(size: int, signed: int | None) -> str:
    return f"entries {size} to {signed - 1} were lost" if signed else f"entries from {size} on may have been lost"


def _newest(newest_at: int) -> str:
    return f"the newest of {_time(newest_at)}" if newest_at else "none recorded"


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


@contextmanager
def _progress(label: str) -> Iterator[Callable[[int, int], None]]:
    with click.progressbar(length=1, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = max(total, 1)
            bar.update(done - bar.pos)

        yield progress
