"""How long from a recording to its anchor, with the embedded default: ``python -m tests.bench.anchoring``."""

import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from tests.fixtures.holders import Holder
from tests.fixtures.servers import serving

_RECORDINGS = 15


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), worker="on") as server:
        database = Path(folder) / "register.sqlite"
        _measure(server, database)  # the worker is still starting
        waits_s = []
        for number in range(_RECORDINGS):
            time.sleep(2 + number % 5 * 0.13)  # at no fixed moment of the worker's round
            waits_s.append(_measure(server, database))
    print(f"from recorded to stamped by the register's own clock, {_RECORDINGS} recordings:")
    print(f"median {statistics.median(waits_s):.2f} s, least {min(waits_s):.2f} s, most {max(waits_s):.2f} s")


def _measure(server: object, database: Path) -> float:
    status, _ = server.post(Holder().objection({}))  # type: ignore[attr-defined]
    recorded = time.monotonic()
    assert status == 201
    while not _all_anchored(database):
        time.sleep(0.01)
    return time.monotonic() - recorded


def _all_anchored(database: Path) -> bool:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        query = "SELECT (SELECT size FROM log_head) = (SELECT max(size) FROM time_tokens)"
        return connection.execute(query).fetchone()[0] == 1
    finally:
        connection.close()


if __name__ == "__main__":
    main()
