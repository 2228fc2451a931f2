"""Tables as text, the same for SQLite and PostgreSQL: a line of column names, then a line of JSON for each row.

Rows come in the order of their primary key: the order in which a database keeps them could tell who came when.
"""

import binascii
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import orjson
from sqlalchemy import Connection, LargeBinary, Table, inspect, select

from server.errors import OperatorError
from server.store.rows import stream_rows
from server.store.tables import metadata

_ROWS_AT_ONCE = 500
_NAME = re.compile(r"[a-z_0-9]{1,63}")


def dumped_tables() -> list[Table]:
    """Return the tables that a backup holds: all but what is true on one database, for minutes, alone."""
    return [table for table in metadata.sorted_tables if "dialect" not in table.info]


def dump_table(connection: Connection, table: Table, write: Callable[[bytes], object]) -> int:
    """Write ``table`` as lines; return how many rows it has. ``binary``: columns whose values are base64."""
    binary = [at for at, column in enumerate(table.columns) if isinstance(column.type, LargeBinary)]
    columns = [column.name for column in table.columns]
    write(orjson.dumps({"columns": columns, "binary": [columns[at] for at in binary]}) + b"\n")
    count = 0
    for row in stream_rows(connection, select(table).order_by(*table.primary_key.columns)):
        values = list(row)
        for at in binary:
            if values[at] is not None:
                values[at] = binascii.b2a_base64(values[at], newline=False).decode("ascii")
        write(orjson.dumps(values) + b"\n")
        count += 1
    return count


def fill_table(connection: Connection, name: str, lines: Iterator[bytes]) -> int:
    """Insert the rows of ``lines`` into the empty table ``name``; return how many.

    Raises OperatorError ``backup_damaged`` where lines and table do not fit.
    """
    try:
        head = orjson.loads(next(lines, b""))
        columns, binary = head["columns"], {head["columns"].index(column) for column in head["binary"]}
        there = {column["name"] for column in inspect(connection).get_columns(name)} if _NAME.fullmatch(name) else set()
        if set(columns) != there:
            raise ValueError("other columns than the database has")
        mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
        named = ", ".join(f'"{column}"' for column in columns)
        statement = f"INSERT INTO {name} ({named}) VALUES ({', '.join([mark] * len(columns))})"  # noqa: S608 (checked)
        count = 0
        rows = _parse_rows(lines, len(columns), binary)
        while part := list(islice(rows, _ROWS_AT_ONCE)):
            connection.exec_driver_sql(statement, part)
            count += len(part)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OperatorError("backup_damaged", f"table {name} is not in its form: {error}") from error
    return count


def _parse_rows(lines: Iterable[bytes], width: int, binary: set[int]) -> Iterator[tuple[Any, ...]]:
    for line in lines:
        values = orjson.loads(line)
        if type(values) is not list or len(values) != width:
            raise ValueError("a row has other columns")
        for at in binary:
            if values[at] is not None:
                values[at] = binascii.a2b_base64(values[at], strict_mode=True)
        yield tuple(values)
