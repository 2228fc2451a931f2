"""The log, the records, and what guards against repeats."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "log_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("checkpoint", sa.Text, nullable=False),
        sa.Column("halted", sa.Text),
    )
    op.create_table(
        "anchored_checkpoints",
        sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("note", sa.Text, nullable=False),
    )
    op.create_table(
        "time_tokens",
        sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("authority", sa.Text, primary_key=True),
        sa.Column("token", sa.LargeBinary, nullable=False),
        sa.Column("stamped_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "witness_states",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "log_entries",
        sa.Column("index", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("entry", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "log_tiles",
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "records",
        sa.Column("receipt_sha256", sa.LargeBinary, primary_key=True),
        sa.Column("objection_sha256", sa.LargeBinary, index=True),
        sa.Column("holder_jti", sa.LargeBinary, unique=True),
        sa.Column("log_index", sa.BigInteger, nullable=False, unique=True),
        sa.Column("status_index", sa.BigInteger, unique=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("wrapped_share", sa.LargeBinary),
        sa.Column("blob", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), index=True),
        sa.Column("issuer_kid", sa.Text, nullable=False),
        sa.Column("assurance", sa.Text, nullable=False),
        sa.Column("evidence_bytes", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "slot_digests",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("receipt_sha256", sa.LargeBinary, nullable=False, index=True),
    )
    op.create_table(
        "status_lists",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("permutation", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "statuses",
        sa.Column("status_index", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("value", sa.Integer, nullable=False),
    )
    op.create_table(
        "erased_receipts",
        sa.Column("guard", sa.LargeBinary, primary_key=True),
        sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
    )
    op.create_table(
        "blobs_to_erase",
        sa.Column("blob", sa.Text, primary_key=True),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.create_table(
            "dpop_proofs",
            sa.Column("proof_id", sa.LargeBinary, primary_key=True),
            sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
        )
