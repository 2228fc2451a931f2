"""Keep what the rows of some tables add up to, in the transaction that changes them.

The sums stand in the log's head. Tables whose rows lead to no entry of the log are checked by them.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from server.core.rowmacs import RowMacs, Sum, Value, format_sums, parse_sums
from server.errors import LogInconsistent, ParseError
from server.store import log
from server.store.log import Head
from server.store.rows import stream_table

Row = Iterable[Value]
# Their rows are summed whole.
WHOLE = (
    *("admitted_bursts", "api_keys", "campaigns", "contributions", "counted_holders", "counting", "erased_receipts"),
    *("slot_digests", "status_lists", "witness_states"),
)


class RowSums:
    """The sums of one transaction, which must hold the lock of the log's head."""

    def __init__(self, macs: RowMacs, stored: str) -> None:
        """Raises LogInconsistent when ``stored`` is not what ``text`` returned."""
        self._macs = macs
        try:
            self._sums = parse_sums(stored)
        except ParseError as error:
            raise LogInconsistent("log_inconsistent", f"the log's head: {error}") from error

    def add(self, table: str, rows: Iterable[Row]) -> None:
        self._sums[table] = self._of(table).plus(self._macs.mac(table, row) for row in rows)

    def remove(self, table: str, rows: Iterable[Row]) -> None:
        self._sums[table] = self._of(table).minus(self._macs.mac(table, row) for row in rows)

    @contextmanager
    def following(self, connection: Connection, table: str) -> Iterator[None]:
        """Keep the sum of a small table of ``WHOLE`` in step with what the block does to it.

        A row that was damaged before stays one that was never written.
        """
        before = list(stream_table(connection, table))
        yield
        self.remove(table, before)
        self.add(table, stream_table(connection, table))

    def text(self) -> str:
        return format_sums(self._sums)

    def _of(self, table: str) -> Sum:
        return self._sums.get(table, Sum())


@contextmanager
def changing_sums(connection: Connection, macs: RowMacs) -> Iterator[RowSums]:
    """Lock the log's head, and store the sums at the end of the block.

    To be entered before anything else of the transaction is locked: the log writer begins with the head, too.
    Raises LogInconsistent when there is no head, or its sums are malformed.
    """
    head = log.read_head(connection, lock=True)
    if head is None:
        raise LogInconsistent("log_inconsistent", "the log has no head")
    sums = RowSums(macs, head.sums)
    yield sums
    log.write_sums(connection, sums.text())


def sums_of(head: Head) -> dict[str, Sum]:
    """Raises ParseError ``sums_malformed``."""
    return parse_sums(head.sums)
