"""Where an operator went on with a log although entries that it had signed were lost: stated publicly, for good."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "log_losses",
        sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("signed_size", sa.BigInteger),
        sa.Column("resumed_at", sa.BigInteger, primary_key=True, autoincrement=False),
    )
