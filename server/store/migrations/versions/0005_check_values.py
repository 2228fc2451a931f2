"""What ``objection log check`` compares rows and sealed bytes with, and the time of the log's newest entry.

Rows from before have no check values: the check names them, and nothing else asks for one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("log_head", sa.Column("newest_at", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("log_head", sa.Column("sums", sa.Text, nullable=False, server_default="{}"))
    op.add_column("records", sa.Column("sealed_sha256", sa.LargeBinary))
    op.add_column("records", sa.Column("mac", sa.LargeBinary, nullable=False, server_default=sa.text("''")))
    op.add_column(
        "anchored_checkpoints", sa.Column("mac", sa.LargeBinary, nullable=False, server_default=sa.text("''"))
    )
