"""Statements over many rows or keys at once, their text kept by how many.

SQLAlchemy would render such a statement anew each time, which costs several times what the database then takes. And one
statement each, not one a row: every statement hands the interpreter lock to the request threads, and the log's writer
waits for it while it holds the log.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import Column, Connection, Row, Select, Table, select

from server.store.tables import metadata

Found = Row[*tuple[Any, ...]]
_STREAMED_ROWS = 2048

# Names in a statement are ours; values travel as parameters.
_MARKS = {"qmark": "?", "pyformat": "%s"}


def insert_rows(connection: Connection, table: Table, rows: Sequence[Iterable[object]]) -> None:
    """Insert ``rows``; each has a value for every column of ``table``, in the table's order."""
    if rows:
        statement = _insert(connection.dialect.paramstyle, table, len(rows))
        connection.exec_driver_sql(statement, tuple(chain.from_iterable(rows)))


def select_rows(connection: Connection, table: Table, keys: Mapping[Column[Any], Sequence[object]]) -> list[Found]:
    """Return all columns of the rows that have, in a column of ``keys``, one of the values named for it."""
    keys = {column: values for column, values in keys.items() if values}
    if not keys:
        return []
    counts = tuple((column.name, len(values)) for column, values in keys.items())
    statement = _select(connection.dialect.paramstyle, table, counts)
    return list(connection.exec_driver_sql(statement, tuple(chain.from_iterable(keys.values()))))


def stream_rows(connection: Connection, query: Select[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows that ``query`` finds, as plain tuples, of which few are in memory at once."""
    with connection.execute(query, execution_options={"yield_per": _STREAMED_ROWS}) as rows:
        for part in rows.partitions():
            yield from map(tuple, part)


def stream_table(connection: Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """Yield all rows of the table of this name, each with all its columns, in no order."""
    return stream_rows(connection, select(metadata.tables[table]))


@lru_cache(maxsize=2048)
def _insert(paramstyle: str, table: Table, rows: int) -> str:
    mark = _MARKS[paramstyle]
    row = f"({', '.join([mark] * len(table.columns))})"
    return f"INSERT INTO {table.name} ({_columns(table)}) VALUES {', '.join([row] * rows)}"  # noqa: S608


@lru_cache(maxsize=2048)
def _select(paramstyle: str, table: Table, counts: tuple[tuple[str, int], ...]) -> str:
    mark = _MARKS[paramstyle]
    conditions = [f'"{column}" IN ({", ".join([mark] * count)})' for column, count in counts]
    return f"SELECT {_columns(table)} FROM {table.name} WHERE {' OR '.join(conditions)}"  # noqa: S608


def _columns(table: Table) -> str:
    return ", ".join(f'"{column.name}"' for column in table.columns)
