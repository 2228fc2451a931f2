"""By which tables and epsilons this register counts; the first start that finds none stores its own."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("counting", sa.Column("budget_sha256", sa.LargeBinary))
