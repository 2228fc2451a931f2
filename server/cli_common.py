"""What all commands share: one line for an error, files read with a bound, the storage that settings name."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from server.errors import ObjectionError

if TYPE_CHECKING:
    from server.core.policies import TrustPolicy
    from server.settings import Settings
    from server.usecases.register import Storage

P = ParamSpec("P")
R = TypeVar("R")

UNUSABLE = 2
INVALID = 1
MAX_FILE_BYTES = 32 * 1024 * 1024
MAX_NAME = 255  # bytes in a file's name; every token is longer
_MAX_LINE = 1000


def one_line(command: Callable[P, R]) -> Callable[P, R]:
    """Turn our errors, and files that cannot be used, into one line on standard error."""

    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ObjectionError as error:
            click.echo(printable(f"objection: {error.code}: {error}"), err=True)
            sys.exit(UNUSABLE)
        except BrokenPipeError:  # who reads our output has read enough: click ends quietly
            raise
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            click.echo(printable(f"objection: file_unusable: {where}{error.strerror or error}"), err=True)
            sys.exit(UNUSABLE)

    return guarded


def read_settings() -> "Settings":
    from server.settings import Settings

    return Settings.from_env(os.environ)


def open_stored_register() -> "Storage":
    """Open the register that this process's environment names. Raises OperatorError when there is none."""
    from server.storage import open_storage_of

    return open_storage_of(read_settings(), create=False)


def open_register_to_check() -> "Storage":
    """As ``open_stored_register``, and changes nothing: not even an older database."""
    from server.storage import open_storage_to_check_of

    return open_storage_to_check_of(read_settings())


def read_policy(name: str) -> "TrustPolicy":
    from server.core.policies import parse_trust_policy

    return parse_trust_policy(read_file(Path(name)))


def read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return bounded(file.read(MAX_FILE_BYTES + 1))
    except OSError as error:
        raise ObjectionError("file_unreadable", f"{str(path)[:MAX_NAME]}: {error.strerror}") from error


def bounded(data: bytes) -> bytes:
    if not data:
        raise ObjectionError("file_unreadable", "there is nothing in it")
    if len(data) > MAX_FILE_BYTES:
        raise ObjectionError("file_unreadable", f"larger than {MAX_FILE_BYTES} bytes: no proof of ours is")
    return data


def printable(line: str) -> str:
    """Escape what could move the cursor, hide text or turn its direction: lines quote files that strangers made."""
    shown = line if len(line) <= _MAX_LINE else line[:_MAX_LINE] + "…"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)
