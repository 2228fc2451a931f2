"""Self-asserted digests without the receipt that they stand in: their holder, who alone may erase them, brings it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.rename_table("slot_digests", "slot_digests_by_receipt")
    op.create_table("slot_digests", sa.Column("digest", sa.LargeBinary, primary_key=True), sqlite_with_rowid=False)
    op.execute("INSERT INTO slot_digests (digest) SELECT digest FROM slot_digests_by_receipt ORDER BY digest")
    op.drop_table("slot_digests_by_receipt")
