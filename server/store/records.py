"""Records in the database: one row an accepted receipt, its sealed bytes in a blob."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, insert, select
from sqlalchemy.exc import IntegrityError

from server.store.tables import dpop_proofs, records, slot_digests, status_lists


@dataclass(frozen=True)
class Record:
    """A row, column by column. ``holder_jti``: SHA-256 over holder key thumbprint and jti. ``blob``: where it is."""

    receipt_sha256: bytes
    holder_jti: bytes
    log_index: int
    status_index: int
    kind: str
    received_at: int
    salt: bytes
    wrapped_share: bytes
    blob: str
    issuer_kid: str


_FIND = select(records).where(
    records.c.receipt_sha256.in_(bindparam("hashes", expanding=True))
    | records.c.holder_jti.in_(bindparam("holder_jtis", expanding=True))
)
_FIND_DIGESTS = select(slot_digests.c.digest).where(slot_digests.c.digest.in_(bindparam("digests", expanding=True)))


def insert_records(connection: Connection, new: Sequence[Record]) -> None:
    connection.execute(insert(records), [vars(record) for record in new])


def find_record(connection: Connection, receipt_sha256: bytes) -> Record | None:
    return next(iter(find_records(connection, hashes=[receipt_sha256])), None)


def find_records(
    connection: Connection, *, hashes: Sequence[bytes] = (), holder_jtis: Sequence[bytes] = ()
) -> list[Record]:
    """Return the records with one of these receipt hashes, or one of these holder jtis."""
    rows = connection.execute(_FIND, {"hashes": list(hashes), "holder_jtis": list(holder_jtis)})
    return [Record(*row) for row in rows]


def find_slot_digests(connection: Connection, candidates: Sequence[bytes]) -> set[bytes]:
    """Return those of ``candidates`` that a record already has."""
    if not candidates:
        return set()
    return set(connection.execute(_FIND_DIGESTS, {"digests": list(candidates)}).scalars())


def insert_slot_digests(connection: Connection, digests: Sequence[tuple[bytes, bytes]]) -> None:
    """Store (digest, receipt_sha256) pairs."""
    connection.execute(
        insert(slot_digests), [{"digest": digest, "receipt_sha256": receipt} for digest, receipt in digests]
    )


def read_all_records(connection: Connection) -> Sequence[Record]:
    return [Record(*row) for row in connection.execute(select(records).order_by(records.c.log_index))]


def read_permutation(connection: Connection, list_number: int) -> bytes | None:
    query = select(status_lists.c.permutation).where(status_lists.c.number == list_number)
    return connection.execute(query).scalar_one_or_none()


def insert_permutation(connection: Connection, list_number: int, permutation: bytes) -> None:
    connection.execute(insert(status_lists).values(number=list_number, permutation=permutation))


def spend_dpop_proof(connection: Connection, proof_id: bytes, *, now: int, expires_at: int) -> bool:
    """Remember ``proof_id`` until ``expires_at``; return False when it was seen before."""
    connection.execute(delete(dpop_proofs).where(dpop_proofs.c.expires_at < now))
    try:
        with connection.begin_nested():
            connection.execute(insert(dpop_proofs).values(proof_id=proof_id, expires_at=expires_at))
    except IntegrityError:
        return False
    return True
