"""Records in the database: one row an accepted receipt, its sealed bytes in a blob."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, func, insert, or_, select, update

from server.store.rows import insert_rows, select_rows, stream_rows
from server.store.tables import (
    blobs_to_erase,
    erased_receipts,
    log_entries,
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

    ``sealed_sha256``: of the bytes in the blob. The check value, which stands behind these in the table, is no part.
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
    sealed_sha256: bytes | None


def insert_records(connection: Connection, new: Sequence[Record], macs: Sequence[bytes]) -> None:
    """Store ``new`` records, each with its check value of ``macs``."""
    rows = [(*vars(record).values(), mac) for record, mac in zip(new, macs, strict=True)]
    insert_rows(connection, records, rows)


def find_record(connection: Connection, receipt_sha256: bytes) -> Record | None:
    return next(iter(find_records(connection, hashes=[receipt_sha256])), None)


def find_records(
    connection: Connection, *, hashes: Sequence[bytes] = (), holder_jtis: Sequence[bytes] = ()
) -> list[Record]:
    """Return the records with one of these receipt hashes, or one of these holder jtis."""
    keys = {records.c.receipt_sha256: hashes, records.c.holder_jti: holder_jtis}
    return [_record(row) for row in select_rows(connection, records, keys)]


def find_slot_digests(connection: Connection, candidates: Sequence[bytes]) -> set[bytes]:
    """Return those of ``candidates`` that a record already has."""
    return {row.digest for row in select_rows(connection, slot_digests, {slot_digests.c.digest: candidates})}


def insert_slot_digests(connection: Connection, digests: Sequence[bytes]) -> None:
    insert_rows(connection, slot_digests, [(digest,) for digest in digests])


def read_records_between(connection: Connection, start: int, end: int) -> dict[int, tuple[Record, bytes]]:
    """Return the records and their check values by log index, from ``start`` up to, not including, ``end``."""
    query = select(records).where(records.c.log_index >= start, records.c.log_index < end)
    return {row.log_index: (_record(row), row.mac) for row in connection.execute(query)}


def stream_indexes_outside(connection: Connection, start: int, end: int) -> Iterator[int]:
    """Yield the log index of each record where that is below ``start``, or ``end`` or more."""
    outside = or_(records.c.log_index < start, records.c.log_index >= end)
    query = select(records.c.log_index).where(outside).order_by(records.c.log_index)
    return (found for (found,) in stream_rows(connection, query))


def stream_entries_without_record(connection: Connection) -> Iterator[int]:
    """Yield the index of each entry of the log that has no record, in order."""
    index = log_entries.c["index"]
    query = select(index).outerjoin(records, records.c.log_index == index).where(records.c.log_index.is_(None))
    return (found for (found,) in stream_rows(connection, query.order_by(index)))


def count_blobs(connection: Connection) -> int:
    return connection.execute(select(func.count(records.c.blob))).scalar_one()


def is_logged(connection: Connection, log_index: int) -> bool:
    """Tell whether the entry ``log_index`` has a record."""
    query = select(records.c.log_index).where(records.c.log_index == log_index)
    return connection.execute(query).first() is not None


def stream_blobs(connection: Connection) -> Iterator[tuple[str, int, bytes | None]]:
    """Yield name, log index and SHA-256 of all blobs that records name, those of one segment in a row."""
    query = select(records.c.blob, records.c.log_index, records.c.sealed_sha256)
    return stream_rows(connection, query.where(records.c.blob.is_not(None)).order_by(records.c.blob))


@dataclass(frozen=True)
class Follow:
    """A later receipt, and the objection that it names: None for each where there is no such record.

    ``status``: the value noted for that objection's status index; None where nothing was noted.
    """

    log_index: int
    kind: str
    objection_index: int | None
    objection_kind: str | None
    status_index: int | None
    status: int | None


def stream_follows(connection: Connection) -> Iterator[Follow]:
    """Yield each record that names an objection, in the order of the log."""
    objections = records.alias("objections")
    query = (
        select(
            records.c.log_index,
            records.c.kind,
            objections.c.log_index,
            objections.c.kind,
            objections.c.status_index,
            statuses.c.value,
        )
        .select_from(
            records.outerjoin(objections, objections.c.receipt_sha256 == records.c.objection_sha256).outerjoin(
                statuses, statuses.c.status_index == objections.c.status_index
            )
        )
        .where(records.c.objection_sha256.is_not(None))
        .order_by(records.c.log_index)
    )
    return (Follow(*row) for row in stream_rows(connection, query))


def stream_noted_without_receipt(connection: Connection, value: int, kind: str) -> Iterator[tuple[int, int]]:
    """Yield log and status index of each stored objection of which ``value`` is noted and no ``kind`` is stored."""
    later = records.alias("later")
    theirs = exists().where(later.c.objection_sha256 == records.c.receipt_sha256, later.c.kind == kind)
    query = (
        select(records.c.log_index, statuses.c.status_index)
        .join_from(statuses, records, records.c.status_index == statuses.c.status_index)
        .where(statuses.c.value == value, ~theirs)
        .order_by(records.c.log_index)
    )
    return ((log_index, status_index) for log_index, status_index in stream_rows(connection, query))


def find_later(connection: Connection, objection_sha256: bytes) -> list[Record]:
    """Return the supplements and the withdrawal of an objection, in the order of the log."""
    return [_record(row) for row in connection.execute(_FIND_LATER, {"objection_sha256": objection_sha256})]


def _record(row: Sequence[Any]) -> Record:
    return Record(*row[:-1])


def delete_objection(connection: Connection, objection_sha256: bytes, digests: Sequence[bytes]) -> list[int]:
    """Delete an objection, what was added to it, its slot ``digests``, and all that led to them but their blobs' bytes.

    Returns the log indexes of what was added to it.
    The blobs' names are kept for ``read_blobs_to_erase``: nobody can open them any more.
    """
    theirs = (records.c.receipt_sha256 == objection_sha256) | (records.c.objection_sha256 == objection_sha256)
    found = connection.execute(select(records.c.blob, records.c.kind, records.c.log_index).where(theirs)).all()
    insert_blobs_to_erase(connection, [blob for blob, _, _ in found])
    connection.execute(delete(slot_digests).where(slot_digests.c.digest.in_(digests)))
    connection.execute(delete(records).where(theirs))
    return [log_index for _, kind, log_index in found if kind != "objection"]


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


def forget_guards(connection: Connection, *, now: int) -> list[tuple[bytes, int]]:
    """Forget the erased receipts that are too old by now to be recorded again; return their rows."""
    expired = erased_receipts.c.expires_at < now
    rows = [(guard, expires_at) for guard, expires_at in connection.execute(select(erased_receipts).where(expired))]
    connection.execute(delete(erased_receipts).where(expired))
    return rows


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


def stream_statuses_outside(connection: Connection, start: int, end: int) -> Iterator[int]:
    """Yield the status indexes with a value that are below ``start``, or ``end`` or more."""
    outside = or_(statuses.c.status_index < start, statuses.c.status_index >= end)
    query = select(statuses.c.status_index).where(outside).order_by(statuses.c.status_index)
    return (index for (index,) in stream_rows(connection, query))


def has_permutation(connection: Connection, list_number: int) -> bool:
    return connection.execute(_HAS_PERMUTATION, {"list_number": list_number}).scalar_one_or_none() is not None


def read_permutation(connection: Connection, list_number: int) -> bytes | None:
    query = select(status_lists.c.permutation).where(status_lists.c.number == list_number)
    return connection.execute(query).scalar_one_or_none()


def insert_permutation(connection: Connection, list_number: int, permutation: bytes) -> None:
    connection.execute(insert(status_lists).values(number=list_number, permutation=permutation))
