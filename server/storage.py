"""The storage that the settings name, for whoever reads settings: server, worker and commands."""

from server.settings import Settings
from server.usecases.register import Storage, open_storage


def open_storage_of(settings: Settings, *, create: bool) -> Storage:
    """As ``open_storage``, which says what is raised and what ``create`` makes."""
    return open_storage(
        settings.data_dir,
        database_url=settings.database_url,
        public_url=settings.public_url,
        log_origin=settings.log_origin,
        create=create,
        anchors_file=settings.anchors,
    )
