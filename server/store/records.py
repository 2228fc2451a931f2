"""Records in the database: one row an accepted receipt, its sealed bytes in a blob."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from server.store.rows import insert_rows, select_rows
from server.store.tables import (
    blobs_to_erase,
    erased_receipts,
    records,
    slot_digests,
    status_lists,
    statuses,
)

# What each holder's request asks. Built once: SQLAlchemy takes longer to build a statement than SQLite to answer it.
_FIND_LATER = (
    select(records).where(records.c.objection_sha256 == bindparam("objection_sha256")).order_by(records.c.log_index)
)
_READ_STATUS = select(statuses.c.value).where(statuses.c.status_index == bindparam("index"))
_READ_STATUSES = select(statuses).where(
    statuses.c.status_index >= bindparam("start"), statuses.c.status_index < bindparam("end")
)
_HAS_PERMUTATION = select(status_lists.c.number).where(status_lists.c.number == bindparam("list_number"))


@dataclass(frozen=True)
class Record:
    """A row, column by column. ``holder_jti``: SHA-256 over holder key thumbprint and jti. ``blob``: where it is.

    An erasure's record has none of what a receipt could be opened or linked with.
    """

    receipt_sha256: bytes
    objection_sha256: bytes | None
    holder_jti: bytes | None
    log_index: int
    status_index: int | None
    kind: str
    received_at: int
    salt: bytes
    wrapped_share: bytes | None
    blob: str | None
    issuer_kid: str
    assurance: str
    evidence_bytes: int


def insert_records(connection: Connection, new: Sequence[Record]) -> None:
    insert_rows(connection, records, [vars(record).values() for record in new])


def find_record(connection: Connection, receipt_sha256: bytes) -> Record | None:
    return next(iter(find_records(connection, hashes=[receipt_sha256])), None)


def find_records(
    connection: Connection, *, hashes: Sequence[bytes] = (), holder_jtis: Sequence[bytes] = ()
) -> list[Record]:
    """Return the records with one of these receipt hashes, or one of these holder jtis."""
    keys = {records.c.receipt_sha256: hashes, records.c.holder_jti: holder_jtis}
    return [Record(*row) for row in select_rows(connection, records, keys)]


def find_slot_digests(connection: Connection, candidates: Sequence[bytes]) -> set[bytes]:
    """Return those of ``candidates`` that a record already has."""
    return {row.digest for row in select_rows(connection, slot_digests, {slot_digests.c.digest: candidates})}


def insert_slot_digests(connection: Connection, digests: Sequence[bytes]) -> None:
    insert_rows(connection, slot_digests, [(digest,) for digest in digests])


def read_all_records(connection: Connection) -> Sequence[Record]:
    return [Record(*row) for row in connection.execute(select(records).order_by(records.c.log_index))]


def find_later(connection: Connection, objection_sha256: bytes) -> list[Record]:
    """Return the supplements and the withdrawal of an objection, in the order of the log."""
    return [Record(*row) for row in connection.execute(_FIND_LATER, {"objection_sha256": objection_sha256})]


def delete_objection(connection: Connection, objection_sha256: bytes, digests: Sequence[bytes]) -> None:
    """Delete an objection, what was added to it, its slot ``digests``, and all that led to them but their blobs' bytes.

    The blobs' names are kept for ``read_blobs_to_erase``: nobody can open them any more.
    """
    theirs = (records.c.receipt_sha256 == objection_sha256) | (records.c.objection_sha256 == objection_sha256)
    insert_blobs_to_erase(connection, connection.execute(select(records.c.blob).where(theirs)).scalars().all())
    connection.execute(delete(slot_digests).where(slot_digests.c.digest.in_(digests)))
    connection.execute(delete(records).where(theirs))


def insert_blobs_to_erase(connection: Connection, blobs: Sequence[str]) -> None:
    connection.execute(insert(blobs_to_erase), [{"blob": blob} for blob in blobs])


def read_blobs_to_erase(connection: Connection) -> Sequence[str]:
    return connection.execute(select(blobs_to_erase.c.blob)).scalars().all()


def forget_erased_blobs(connection: Connection, blobs: Sequence[str]) -> None:
    connection.execute(delete(blobs_to_erase).where(blobs_to_erase.c.blob.in_(blobs)))


def names_segment(connection: Connection, segment: str) -> bool:
    """Tell whether a record lies in ``segment``. Once none does, none ever will again."""
    theirs = (records.c.blob > f"{segment}.") & (records.c.blob < f"{segment}/")  # "/" is the next after "."
    return connection.execute(select(records.c.blob).where(theirs).limit(1)).first() is not None


def insert_guards(connection: Connection, guards: Sequence[bytes], *, expires_at: int) -> None:
    """Remember an erased receipt until ``forget_guards`` is called after ``expires_at``."""
    insert_rows(connection, erased_receipts, [(guard, expires_at) for guard in guards])


def has_expired_guards(connection: Connection, *, now: int) -> bool:
    query = select(erased_receipts.c.guard).where(erased_receipts.c.expires_at < now).limit(1)
    return connection.execute(query).first() is not None


def forget_guards(connection: Connection, *, now: int) -> None:
    """Forget the erased receipts that are too old by now to be recorded again."""
    connection.execute(delete(erased_receipts).where(erased_receipts.c.expires_at < now))


def find_guards(connection: Connection, guards: Sequence[bytes]) -> set[bytes]:
    """Return those of ``guards`` that are remembered."""
    return {row.guard for row in select_rows(connection, erased_receipts, {erased_receipts.c.guard: guards})}


def read_status(connection: Connection, status_index: int) -> int:
    """Return the value in the status list; 0 where nothing was noted."""
    return connection.execute(_READ_STATUS, {"index": status_index}).scalar_one_or_none() or 0


def write_status(connection: Connection, status_index: int, value: int) -> None:
    changed = connection.execute(update(statuses).where(statuses.c.status_index == status_index).values(value=value))
    if changed.rowcount == 0:
        connection.execute(insert(statuses).values(status_index=status_index, value=value))


def read_statuses(connection: Connection, *, start: int, end: int) -> dict[int, int]:
    """Return what was noted of the status indexes from ``start`` up to, not including, ``end``."""
    rows = connection.execute(_READ_STATUSES, {"start": start, "end": end})
    return {row.status_index: row.value for row in rows}


def read_all_statuses(connection: Connection) -> dict[int, int]:
    return {row.status_index: row.value for row in connection.execute(select(statuses))}


def has_permutation(connection: Connection, list_number: int) -> bool:
    return connection.execute(_HAS_PERMUTATION, {"list_number": list_number}).scalar_one_or_none() is not None


def read_permutation(connection: Connection, list_number: int) -> bytes | None:
    query = select(status_lists.c.permutation).where(status_lists.c.number == list_number)
    return connection.execute(query).scalar_one_or_none()


def insert_permutation(connection: Connection, list_number: int, permutation: bytes) -> None:
    connection.execute(insert(status_lists).values(number=list_number, permutation=permutation))
