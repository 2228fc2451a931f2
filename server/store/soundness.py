"""Whether SQLite's file holds what it can hold: pages and indexes that fit, and values of their column's type.

PostgreSQL refuses values of another type by itself, and says of a damaged page when it reads it.
"""

from collections.abc import Iterator

from sqlalchemy import Boolean, Column, Connection, LargeBinary, Table, Text

from server.store.tables import metadata

_LINES = 20
_MAX_LINE = 200


def find_damage(connection: Connection) -> Iterator[str]:
    """Yield a line for each damage of the database itself; other queries may stumble over it, or miss rows.

    A file that SQLite cannot read at all raises OperatorError ``database_damaged``, as in every other query.
    """
    if connection.dialect.name != "sqlite":
        return
    for (line,) in connection.exec_driver_sql(f"PRAGMA integrity_check({_LINES})").all():
        if line != "ok":
            yield " ".join(str(line).split())[:_MAX_LINE]
    for table in metadata.sorted_tables:
        if table.info.get("dialect", "sqlite") == "sqlite":
            yield from _mistyped(connection, table)


def _mistyped(connection: Connection, table: Table) -> Iterator[str]:
    wrong = ", ".join(f"total({_is_mistyped(column)})" for column in table.columns)
    row = connection.exec_driver_sql(f"SELECT {wrong} FROM {table.name}").one()  # noqa: S608 (names of ours)
    for column, rows in zip(table.columns, row, strict=True):
        if rows:
            yield f"table {table.name}, column {column.name}: {int(rows)} value(s) of another type"


def _is_mistyped(column: Column[object]) -> str:
    kind = column.type
    expected = "blob" if isinstance(kind, LargeBinary) else "text" if isinstance(kind, Text) else "integer"
    allowed = f"'{expected}', 'null'" if column.nullable else f"'{expected}'"
    wrong = f'typeof("{column.name}") NOT IN ({allowed})'
    if column.server_default is not None:  # migrations gave older rows an empty text, also where bytes are kept
        wrong = f"({wrong} AND \"{column.name}\" IS NOT '')"
    return f'{wrong} OR "{column.name}" NOT IN (0, 1)' if isinstance(kind, Boolean) else wrong
