"""What a log sends to a witness, and what it gets back (C2SP tlog-witness)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from server.core.merkle import HASH_SIZE
from server.core.notes import format_base64, parse_base64
from server.errors import ParseError

ADD_CHECKPOINT = "/add-checkpoint"
SIZE_TYPE = "text/x.tlog.size"
MAX_REQUEST_BYTES = 1 << 17
_MAX_PATH = 63
_OLD_SIZE = re.compile(r"old (0|[1-9][0-9]{0,18})")
_SIZE = re.compile(r"(0|[1-9][0-9]{0,18})\n")


@dataclass(frozen=True)
class AddCheckpoint:
    """A log's request; nothing of it is checked yet. ``path``: from its first ``old_size`` leaves to the checkpoint."""

    old_size: int
    path: tuple[bytes, ...]
    checkpoint_note: str


@dataclass(frozen=True)
class Cosigned:
    """The witness saw this checkpoint; ``lines`` are signature lines for its note."""

    lines: str


@dataclass(frozen=True)
class Stale:
    """The witness last saw the log at ``size``, not at the old size of the request."""

    size: int


def format_add_checkpoint(*, old_size: int, path: Sequence[bytes], checkpoint_note: str) -> bytes:
    hashes = "".join(f"{format_base64(node)}\n" for node in path)
    return f"old {old_size}\n{hashes}\n{checkpoint_note}".encode()


def parse_add_checkpoint(raw: bytes) -> AddCheckpoint:
    """Raises ParseError ``request_malformed``."""
    try:
        head, blank, checkpoint_note = raw.decode().partition("\n\n")
    except UnicodeDecodeError as error:
        raise ParseError("request_malformed", "not UTF-8") from error
    lines = head.split("\n")
    old_size = _OLD_SIZE.fullmatch(lines[0])
    path = tuple(parse_base64(line, "request_malformed") for line in lines[1:])
    if not blank or old_size is None or len(path) > _MAX_PATH or any(len(node) != HASH_SIZE for node in path):
        raise ParseError("request_malformed", "a request is the old size, hashes, a blank line and a checkpoint")
    return AddCheckpoint(int(old_size[1]), path, checkpoint_note)


def format_size(size: int) -> str:
    return f"{size}\n"


def parse_size(raw: bytes) -> int:
    """Raises ParseError ``reply_malformed``."""
    match = _SIZE.fullmatch(raw.decode("ascii", errors="replace"))
    if match is None:
        raise ParseError("reply_malformed", "a size is a decimal number and a line break")
    return int(match[1])
