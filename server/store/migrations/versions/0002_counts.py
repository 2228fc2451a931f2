"""What is counted, and what of it was released."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "counting",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("closed_until", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "counted_holders",
        sa.Column("mark", sa.LargeBinary, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "contributions",
        sa.Column("receipt_sha256", sa.LargeBinary, primary_key=True),
        sa.Column("hour", sa.BigInteger, nullable=False),
        sa.Column("country", sa.Text, nullable=False),
        sa.Column("platform", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("in_general", sa.Boolean, nullable=False),
        sa.Column("campaign", sa.Text),
    )
    op.create_index(
        "contributions_by_bucket",
        "contributions",
        ["hour", "country", "platform", "channel", "outcome", "in_general", "campaign"],
    )
    op.create_table(
        "admitted_bursts",
        sa.Column("hour", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("country", sa.Text, primary_key=True),
        sa.Column("platform", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("admitted_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "campaigns",
        sa.Column("slug", sa.Text, primary_key=True),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("logo", sa.LargeBinary),
        sa.Column("open_figures", sa.Boolean, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger),
    )
    op.create_table(
        "api_keys",
        sa.Column("key_sha256", sa.LargeBinary, primary_key=True),
        sa.Column("campaign", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
    )
    op.create_table(
        "releases",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("table_name", sa.Text, nullable=False),
        sa.Column("epoch", sa.Text, nullable=False),
        sa.Column("starts_at", sa.BigInteger, nullable=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
        sa.Column("drawn_at", sa.BigInteger, nullable=False),
        sa.Column("signed", sa.Text, nullable=False),
        sa.Column("published", sa.Boolean, nullable=False),
    )
    op.create_index("releases_in_order", "releases", ["table_name", "starts_at"], unique=True)
    op.create_table(
        "released_cells",
        sa.Column("table_name", sa.Text, primary_key=True),
        sa.Column("starts_at", sa.BigInteger, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("geo", "platform", "channel", "outcome")),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
