"""Check values of stored rows: a keyed hash of one row, and what the rows of a whole table add up to.

``objection log check`` compares them with what is stored. The key is derived from the log's signing key, so that who
can write to the database, but has no keys, cannot make a changed row look as it was written.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from server.core.encoding import format_json, parse_json
from server.errors import ParseError

Value = bytes | str | int | None
MAC_SIZE = 32
_MODULUS = 1 << (8 * MAC_SIZE)


class RowMacs:
    """Makes the check values of rows, under the one key of a log: keyed BLAKE2b (RFC 7693), 32 bytes.

    HMAC would take four times as long, for several values a receipt, while the log is held.
    """

    def __init__(self, log_key: Ed25519PrivateKey) -> None:
        self._key = HKDF(SHA256(), 32, salt=None, info=b"objection row macs v1").derive(log_key.private_bytes_raw())
        self._of_table: dict[str, hashlib.blake2b] = {}

    def mac(self, table: str, values: Iterable[Value]) -> bytes:
        """Return the 32 bytes that stand for a row of ``table`` with these ``values``, in the order of its columns."""
        begun = self._of_table.get(table)
        if begun is None:
            begun = hashlib.blake2b(_encode([table]), key=self._key, digest_size=MAC_SIZE)
            self._of_table[table] = begun
        hasher = begun.copy()
        hasher.update(_encode(values))
        return hasher.digest()


def _encode(values: Iterable[Value]) -> bytes:
    # Each type has a form of its own that says where it ends: no two rows have the same bytes.
    return b"".join([
        b"b%d:%b" % (len(value), value)
        if isinstance(value, bytes)
        else b"-"
        if value is None
        else b"i%d;" % value
        if isinstance(value, int)
        else b"s%d:%b" % (len(text := value.encode()), text)
        for value in values
    ])  # fmt: skip


@dataclass(frozen=True)
class Sum:
    """How many rows a table has, and their check values added up modulo 2^256: the order does not matter."""

    rows: int = 0
    total: int = 0

    @classmethod
    def of(cls, macs: Iterable[bytes]) -> "Sum":
        """Return the sum of check values that are not all in memory."""
        rows, total = 0, 0
        for mac in macs:
            rows += 1
            total += int.from_bytes(mac)
        return cls(rows, total % _MODULUS)

    def plus(self, macs: Iterable[bytes]) -> "Sum":
        other = Sum.of(macs)
        return Sum(self.rows + other.rows, (self.total + other.total) % _MODULUS)

    def minus(self, macs: Iterable[bytes]) -> "Sum":
        return self.without(Sum.of(macs))

    def without(self, other: "Sum") -> "Sum":
        return Sum(self.rows - other.rows, (self.total - other.total) % _MODULUS)


def format_sums(sums: Mapping[str, Sum]) -> str:
    """Return the sums by table as canonical JSON: ``{"<table>": {"rows": n, "total": "<64 hex digits>"}}``."""
    return format_json(
        {name: {"rows": each.rows, "total": each.total.to_bytes(MAC_SIZE).hex()} for name, each in sums.items()}
    ).decode()


def parse_sums(text: str) -> dict[str, Sum]:
    """Undo ``format_sums``; raises ParseError ``sums_malformed``."""
    try:
        read = {
            name: Sum(each["rows"], int.from_bytes(bytes.fromhex(each["total"])))
            for name, each in parse_json(text.encode()).items()
        }
        if format_sums(read) != text or any(type(each.rows) is not int for each in read.values()):
            raise ValueError
    except (ParseError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ParseError("sums_malformed", "the sums over the tables are not in their form") from error
    return read
