"""What a database says when it refuses, as a sentence for the operator that names the setting, and never a password.

For the start alone. Clients of a running register are told less (``database_unavailable``).
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic.util import CommandError
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from server.errors import ObjectionError, OperatorError, Unavailable

_SETTING = "OBJECTION_DATABASE_URL"
_MAX_QUOTED = 200
_MAY_NOT = {"42501", "3F000"}  # insufficient privilege; no schema that this user may use
_READ_ONLY = "25006"
# libpq gives no code for a connection that the server refuses, only the server's words.
_CAUSES = (
    (r'database ".*" does not exist', "there is no such database: create it, or correct its name"),
    (r'role ".*" does not exist', "there is no such user: create it, or correct its name"),
    (r"password authentication failed|no password supplied", "the user's password is wrong or missing"),
    (r"no pg_hba\.conf entry|pg_hba\.conf rejects", "the server lets this user in from here in no way (pg_hba.conf)"),
    (r"permission denied for database", "the user may not connect to this database: GRANT CONNECT"),
    (r"SSL|TLS|certificate", "TLS fails: look at sslmode, sslrootcert and the server's certificate"),
)
# What may be otherwise in a moment: whoever starts waits for it.
_PASSING = (
    (r"Connection refused", "nothing listens there: start the server, or correct host and port"),
    (r"resolve host|translate host", "the host's name is not known: correct it, or look at the DNS"),
    (r"timeout expired|timed out", "nothing answers there: correct host and port, or look at the firewall"),
    (r"No such file or directory", "there is no such socket: start the server, or correct the host"),
    (r"starting up|shutting down|recovery", "the server is not ready"),
    (r"too many|remaining connection slots", "the server has no connection left: raise its max_connections"),
)


@contextmanager
def explained(url: URL) -> Iterator[None]:
    """Tell what the database at ``url`` refuses in the block.

    Raises OperatorError ``database_refused``, ``storage_unusable``; Unavailable where waiting may help.
    """
    try:
        yield
    except Unavailable as error:
        if isinstance(error.__cause__, SQLAlchemyError | sqlite3.Error):
            raise _explain(error.__cause__, url) from error
        raise
    except (SQLAlchemyError, CommandError, sqlite3.Error) as error:
        raise _explain(error, url) from error


def shown(url: URL) -> str:
    """Return which database that is, without user and password."""
    if url.get_backend_name() == "sqlite":
        return f"the file {url.database} ({_SETTING})"
    return f"database {url.database} at {_host(url)} ({_SETTING})"


def _explain(error: Exception, url: URL) -> ObjectionError:
    orig = getattr(error, "orig", None) or error
    said = _quoted(orig)
    if url.get_backend_name() == "sqlite":
        absent = "unable to open" in said and not Path(url.database or "").is_file()  # its disk may still come
        if absent or "locked" in said or "disk is full" in said:
            return Unavailable("database_unavailable", f"{_SETTING}: {url.database}: {said}")
        return OperatorError("storage_unusable", f"{_SETTING}: {url.database}: {said}{_readable(said)}")
    place = f"{_SETTING}: database {url.database} at {_host(url)}, user {url.username or 'of this system'}"
    state = getattr(orig, "sqlstate", None)
    if state == _READ_ONLY:
        return Unavailable("database_unavailable", f"{place}: the server only reads (a replica?): {said}")
    if state is not None:
        needs = ": the user needs GRANT USAGE, CREATE ON SCHEMA public, and its own tables" if state in _MAY_NOT else ""
        return OperatorError("database_refused", f"{place}: {said}{needs}")
    return _explain_connection(orig, said, place)


def _explain_connection(orig: Exception, said: str, place: str) -> ObjectionError:
    if cause := next((cause for pattern, cause in _CAUSES if re.search(pattern, said)), None):
        return OperatorError("database_refused", f"{place}: {cause} ({said})")
    if cause := next((cause for pattern, cause in _PASSING if re.search(pattern, said)), None):
        return Unavailable("database_unavailable", f"{place}: {cause} ({said})")
    if "FATAL" in said or isinstance(orig, CommandError) or _is_of_the_url(orig):
        return OperatorError("database_refused", f"{place}: {said}")
    return Unavailable("database_unavailable", f"{place}: {said}")


def _is_of_the_url(orig: Exception) -> bool:
    """Tell whether the driver could not even make sense of the address: no server was asked."""
    return type(orig).__name__ in {"ProgrammingError", "ArgumentError"}


def _quoted(error: Exception) -> str:
    """Return the database's own words on one line, without what we know: which connection failed."""
    said = " ".join(str(error).split())
    said = re.sub(r"^connection (?:failed|is bad): ", "", said)
    said = re.sub(r'^connection to server at "[^"]*"(?: \([^)]*\))?, port [0-9]+ failed: ', "", said)
    said = re.sub(r" Is the server running .*$", "", said)
    return said[:_MAX_QUOTED]


def _readable(said: str) -> str:
    return ": look at owner and mode of file and folder" if "unable to open" in said or "readonly" in said else ""


def _host(url: URL) -> str:
    host = url.host or url.query.get("host") or "the local socket"
    return f"{host}:{url.port or 5432}" if url.host else str(host)
