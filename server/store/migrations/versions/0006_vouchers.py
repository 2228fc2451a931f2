"""Who vouched for an anchored checkpoint, so that the earliest that a policy accepts is found by an index.

Anchors from before do not say it, and are found no more: the worker anchors the newest checkpoint anew. No register
that others rely on has run with them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    bytewise = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.add_column("anchored_checkpoints", sa.Column("vouchers", bytewise, nullable=False, server_default=sa.text("''")))
    op.create_index("anchored_checkpoints_by_vouchers", "anchored_checkpoints", ["vouchers", "size"])
