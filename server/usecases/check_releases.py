"""Compare released figures with the releases that this register signed, and with their files."""

from dataclasses import replace

from sqlalchemy import Connection

from server.core.releases import verify_release
from server.errors import ObjectionError
from server.store import releases
from server.store.releases import Release
from server.usecases.log_findings import LogCheck
from server.usecases.register import Storage
from server.usecases.release_counts import stored_form


def check_releases(connection: Connection, storage: Storage, found: LogCheck) -> None:
    """Note each release whose row, cells or file is not what was signed. One that is not yet published has no file."""
    for release in releases.stream_releases(connection):
        if problem := _problem(connection, storage, release):
            found.note("releases", f"release {release.id}: {problem}")
    for cells in releases.stream_stray_cells(connection):
        found.note("releases", f"released cells of {cells} belong to no release that is stored")


def _problem(connection: Connection, storage: Storage, release: Release) -> str | None:
    try:
        verified = verify_release(release.signed, storage.keyring.policy)
    except ObjectionError as error:
        return f"what is stored does not hold: {error}"
    if replace(stored_form(verified), published=release.published) != release:
        return "its row was changed"
    if verified.cells != releases.read_cells(connection, release):
        return "its cells are not those that were signed"
    if release.published and storage.releases.get(release.id) != release.signed:
        return "its file is gone, or is another one"
    return None
