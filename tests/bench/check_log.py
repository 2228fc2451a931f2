"""What ``objection log check`` takes, in time and memory, for logs of several sizes.

The rows are synthetic: put into SQLite directly, the same each time but for the register's keys, with 64 bytes in place
of each sealed receipt. They fit each other as those of a real register do, and the check has to find them clean. Of 200
entries, 189 are objections, 8 supplements, 2 withdrawals, and one is an erasure.
"""

import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from server.core.encoding import sha256
from server.core.merkle import RightEdge, leaf_hash
from server.core.notes import Checkpoint, format_checkpoint, sign_note
from server.core.proofs import format_entry
from server.core.statuslists import ERASED, STATUS_LIST_SIZE, WITHDRAWN
from server.store import log, records, tallies
from server.store.records import Record
from server.store.rows import insert_rows
from server.store.tables import log_tiles
from server.store.tallies import Contribution
from server.usecases.register import Register
from server.usecases.row_sums import changing_sums
from tests.fixtures.servers import make_settings, register_of, running

T = TypeVar("T")
SIZES = (10_000, 100_000, 1_000_000)
PART = 2_000
SEALED_BYTES = 64
BEGAN = 1_790_000_000


def main() -> None:
    if "--check" in sys.argv:
        check(Path(sys.argv[-1]))
        return
    for size in map(int, sys.argv[1:]) if len(sys.argv) > 1 else SIZES:
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            fill(Path(folder), size)
            print(f"{size:,} entries (put in within {time.perf_counter() - began:.0f} s): ", end="", flush=True)
            # In a process of its own: the peak must not be the maker's.
            subprocess.run([sys.executable, "-m", "tests.bench.check_log", "--check", folder], check=True)


def check(folder: Path) -> None:
    from server.storage import open_storage_to_check_of
    from server.usecases.check_log import check_log

    storage = open_storage_to_check_of(make_settings(folder))
    idle = peak_memory_kb()
    began = time.perf_counter()
    found = check_log(storage, progress=lambda _done, _total: None)
    peak = peak_memory_kb()
    if found.problems:
        raise SystemExit("\n".join(found.problems))
    print(
        f"{found.entries:,} entries, {found.records:,} records checked in {time.perf_counter() - began:.1f} s, "
        f"peak {peak / 1024:.0f} MB, of which {idle / 1024:.0f} before the check"
    )


def peak_memory_kb() -> int:
    """Return this program's own peak: ``getrusage`` counts what the process had been before, too."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])


def fill(folder: Path, size: int) -> None:
    """Fill a new register in ``folder`` with ``size`` entries, a multiple of 200, as the log writer would leave it."""
    with running(make_settings(folder)) as app:
        register = register_of(app)
        maker = _Maker(register)
        for start in range(0, size, PART):
            with register.database.writing() as connection:
                maker.put(connection, range(start, min(start + PART, size)))
        with register.database.writing() as connection:
            maker.finish(connection)


def kind_of(index: int) -> str:
    place = index % 200
    if place == 150:
        return "erasure"
    if place in {51, 121}:
        return "withdrawal"
    return "supplement" if place % 25 == 24 else "objection"


def is_erased(index: int) -> bool:
    return index % 200 == 140  # by the erasure ten entries later


def drawn(name: str, index: int, size: int = 32) -> bytes:
    return (sha256(f"{name} {index}".encode()) * (size // 32 + 1))[:size]


class _Maker:
    def __init__(self, register: Register) -> None:
        self._register = register
        self._macs = register.keyring.row_macs
        self._tree = RightEdge()
        self._lists = 0
        self._time = BEGAN

    def put(self, connection: Connection, indexes: range) -> None:
        while self._lists * STATUS_LIST_SIZE < indexes.stop:
            self._add_list(connection)
        blobs = self._register.blobs.put_all([drawn("sealed", index, SEALED_BYTES) for index in indexes])
        rows = [self._record(index, blob) for index, blob in zip(indexes, blobs, strict=True)]
        stored = [row for row in rows if not is_erased(row.log_index)]
        for index, blob in zip(indexes, blobs, strict=True):
            if is_erased(index) or kind_of(index) == "erasure":
                self._register.blobs.erase(blob)
        for part in _parts(stored):
            macs = [self._macs.mac("records", vars(record).values()) for record in part]
            records.insert_records(connection, part, macs)
        entries = [
            format_entry(kind=row.kind, salt=row.salt, receipt_sha256=row.receipt_sha256, received_at=row.received_at)
            for row in rows
        ]
        log.insert_entries(connection, indexes.start, entries)
        tiles = [tile for entry in entries for tile in self._tree.append(leaf_hash(entry))]
        insert_rows(connection, log_tiles, tiles)
        self._put_beside(connection, stored, rows)

    def finish(self, connection: Connection) -> None:
        """Sign the log as it is now."""
        insert_rows(connection, log_tiles, self._tree.unfinished())
        keyring = self._register.keyring
        checkpoint = format_checkpoint(Checkpoint(keyring.log_name, self._tree.size, self._tree.root()))
        head = log.read_head(connection)
        assert head is not None
        log.move_head(
            connection,
            old_size=0,
            size=self._tree.size,
            checkpoint=sign_note(checkpoint, keyring.log_name, keyring.log_key),
            newest_at=self._time,
            sums=head.sums,
        )

    def _add_list(self, connection: Connection) -> None:
        order = struct.pack(f">{STATUS_LIST_SIZE}H", *reversed(range(STATUS_LIST_SIZE)))  # as good as any other here
        records.insert_permutation(connection, self._lists, order)
        with changing_sums(connection, self._macs) as sums:
            sums.add("status_lists", [(self._lists, order)])
        self._lists += 1

    def _status_index(self, index: int) -> int:
        number, position = divmod(index, STATUS_LIST_SIZE)
        return number * STATUS_LIST_SIZE + STATUS_LIST_SIZE - 1 - position

    def _record(self, index: int, blob: str) -> Record:
        kind = kind_of(index)
        self._time = BEGAN + index // 10
        erasure = kind == "erasure"
        return Record(
            receipt_sha256=drawn("receipt", index),
            objection_sha256=drawn("receipt", index - 1) if kind in {"supplement", "withdrawal"} else None,
            holder_jti=None if erasure else drawn("jti", index),
            log_index=index,
            status_index=self._status_index(index) if kind == "objection" else None,
            kind=kind,
            received_at=self._time,
            salt=drawn("salt", index),
            wrapped_share=None if erasure else drawn("share", index, 64),
            blob=None if erasure else blob,
            issuer_kid=self._register.keyring.issuer_kid,
            assurance="work",
            evidence_bytes=0,
            sealed_sha256=None if erasure else sha256(drawn("sealed", index, SEALED_BYTES)),
        )

    def _put_beside(self, connection: Connection, stored: Sequence[Record], rows: Sequence[Record]) -> None:
        objections = [row for row in stored if row.kind == "objection"]
        digests = [drawn("digest", row.log_index) for row in objections]
        marks = [drawn("mark", row.log_index) for row in objections]
        counted = [
            Contribution(row.receipt_sha256, row.received_at - row.received_at % 3600, "DE", "facebook", "in-app",
                         "recorded", in_general=True, campaign=None)
            for row in objections
        ]  # fmt: skip
        for part in _parts(list(zip(digests, marks, counted, strict=True))):
            records.insert_slot_digests(connection, [digest for digest, _, _ in part])
            tallies.insert_contributions(connection, [mark for _, mark, _ in part], [each for _, _, each in part])
        with changing_sums(connection, self._macs) as sums:
            sums.add("slot_digests", [(digest,) for digest in digests])
            sums.add("counted_holders", [(mark,) for mark in marks])
            sums.add("contributions", [vars(each).values() for each in counted])
        for row in rows:
            if row.kind == "withdrawal":
                records.write_status(connection, self._status_index(row.log_index - 1), WITHDRAWN)
            elif row.kind == "erasure":
                records.write_status(connection, self._status_index(row.log_index - 10), ERASED)


def _parts(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """SQLite takes no more than some ten thousand values in a statement."""
    for start in range(0, len(rows), 500):
        yield rows[start : start + 500]


if __name__ == "__main__":
    main()
