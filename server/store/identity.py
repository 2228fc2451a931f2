"""What the database remembers of the register's name and keys."""

from collections.abc import Mapping

from sqlalchemy import Connection, insert, select

from server.store.tables import identity


def read_identity(connection: Connection) -> dict[str, str]:
    """Return what is remembered: by setting what it said, by key file the key's check value."""
    return {row.name: row.value for row in connection.execute(select(identity))}


def insert_identity(connection: Connection, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        connection.execute(insert(identity).values(name=name, value=value))
