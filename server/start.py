"""Try whether the register can start, once, before its processes do: ``python -m server.start``.

gunicorn's configuration runs it, so that what is wrong is said once, and not by every process.
"""

import logging
import os
import socket
import sys
import threading
import time
from pathlib import Path

from server.app import create_app
from server.errors import ObjectionError, OperatorError, Unavailable
from server.settings import GIVE_UP, Settings, load_settings
from server.usecases.check_ready import warn_of_halt

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1, 60
_INHERITED = {"GUNICORN_FD", "LISTEN_FDS"}  # the sockets are there already: of an older server, or of systemd


def try_to_start(settings: Settings) -> None:
    """Open all that a process of the server opens, and close it again.

    Raises OperatorError, Unavailable. A log that is halted is only warned of: what was recorded can still be read.
    """
    register = create_app(settings).extensions["objection"]
    try:
        warn_of_halt(register.database)
    finally:
        register.close()


def refuse_address(bind: str) -> None:
    """Raises OperatorError ``bind_refused`` when nothing could listen at ``bind``, as host:port or unix:path."""
    try:
        if bind.startswith("unix:"):
            folder = Path(bind.removeprefix("unix:")).absolute().parent
            os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied")
            return
        host, _, port = bind.rpartition(":")
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        family, kind, number, _, address = found[0]
        with socket.socket(family, kind, number) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise OperatorError(
            "bind_refused",
            f"OBJECTION_BIND={bind}: {error.strerror or error}: name an address of this machine that is free, and a "
            "port or folder that this user may use",
        ) from error


def main() -> None:
    """Return when the register can start. Waits for a database that does not answer, and says so when that changes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.umask(0o077)
    settings = load_settings()
    said, pause_s = "", _FIRST_PAUSE_S
    while True:
        try:
            if not _INHERITED & os.environ.keys():
                refuse_address(settings.bind)
            try_to_start(settings)
        except Unavailable as error:
            if (line := f"objection: {error.code}: {error}; it is tried again until it answers") != said:
                sys.stderr.write(f"{line}\n")
            said = line
        except ObjectionError as error:
            sys.stderr.write(f"objection: {error.code}: {error}\n")
            sys.exit(GIVE_UP)
        else:
            return
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _end_with_parent() -> None:
    """End at once when standard input does. Nothing that a start does minds being killed."""
    while os.read(0, 1024):
        pass
    os._exit(GIVE_UP)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    main()
