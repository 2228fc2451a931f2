"""The storage that the settings name, for whoever reads settings: server, worker and commands."""

from server.settings import Settings
from server.usecases.register import Storage, open_storage, open_storage_to_check


def open_storage_of(settings: Settings, *, create: bool, behind: bool = False) -> Storage:
    """As ``open_storage``, which says what is raised, what ``create`` makes and what ``behind`` lets pass."""
    return open_storage(
        settings.data_dir,
        database_url=settings.database_url,
        public_url=settings.public_url,
        log_origin=settings.log_origin,
        create=create,
        anchors_file=settings.anchors,
        behind=behind,
    )


def open_storage_to_check_of(settings: Settings) -> Storage:
    """As ``open_storage_to_check``, which says what is raised."""
    return open_storage_to_check(
        settings.data_dir,
        database_url=settings.database_url,
        public_url=settings.public_url,
        log_origin=settings.log_origin,
        anchors_file=settings.anchors,
    )
