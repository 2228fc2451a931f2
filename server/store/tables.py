"""The tables, as the migrations leave them. Bytes are raw; times are whole seconds since 1970."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, Table, Text, text

metadata = MetaData()
_EMPTY = text("''")

# Text that an index compares byte by byte, so that it finds prefixes; SQLite does so by itself.
BYTEWISE = Text().with_variant(Text(collation="C"), "postgresql")

log_head = Table(
    "log_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1: one log, one head, one row to lock
    Column("origin", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("checkpoint", Text, nullable=False),  # the signed note
    Column("halted", Text),  # why nothing may be signed any more: set once, by the worker, and never lifted by us
    # The received_at of the newest entry; 0 before the first.
    Column("newest_at", BigInteger, nullable=False, server_default="0"),
    # What the rows of some tables add up to (server/core/rowmacs.py).
    Column("sums", Text, nullable=False, server_default="{}"),
)

# Where an operator went on although entries were lost.
log_losses = Table(
    "log_losses",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),  # what was left: entries from here on were lost
    Column("signed_size", BigInteger),  # up to where the log was signed before, where that is known
    Column("resumed_at", BigInteger, primary_key=True, autoincrement=False),
)

# What this register is (server/usecases/identity.py); its log's name stands in the head.
identity = Table(
    "identity",
    metadata,
    Column("name", Text, primary_key=True),  # of a setting, or of a file with a key
    Column("value", Text, nullable=False),  # what the setting says; of a key, its check value
)

anchored_checkpoints = Table(
    "anchored_checkpoints",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),  # with the cosignatures over which the time tokens below were made
    Column("mac", LargeBinary, nullable=False, server_default=_EMPTY),  # over this row and the rows of its time tokens
    # Who cosigned and stamped it, by which a policy finds what it accepts. There are few combinations.
    Column("vouchers", BYTEWISE, nullable=False, server_default=_EMPTY),
    Index("anchored_checkpoints_by_vouchers", "vouchers", "size"),
)

time_tokens = Table(
    "time_tokens",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("authority", Text, primary_key=True),
    Column("token", LargeBinary, nullable=False),  # verified before it came here
    Column("stamped_at", BigInteger, nullable=False),
)

witness_states = Table(
    "witness_states",
    metadata,
    Column("name", Text, primary_key=True),  # of the witness's key: another key is another witness
    Column("size", BigInteger, nullable=False),  # up to where it has seen this log, as far as we know
)

log_entries = Table(
    "log_entries",
    metadata,
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("entry", LargeBinary, nullable=False),
)

log_tiles = Table(
    "log_tiles",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
)

records = Table(
    "records",
    metadata,
    Column("receipt_sha256", LargeBinary, primary_key=True),
    Column("objection_sha256", LargeBinary, index=True),  # what a supplement or withdrawal belongs to
    Column("holder_jti", LargeBinary, unique=True),  # SHA-256 of holder key thumbprint and jti; none for erasures
    Column("log_index", BigInteger, nullable=False, unique=True),
    Column("status_index", BigInteger, unique=True),  # of objections only
    Column("kind", Text, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("wrapped_share", LargeBinary),  # what is sealed under it; nothing is kept of an erasure's receipt
    Column("blob", BYTEWISE, index=True),
    Column("issuer_kid", Text, nullable=False),  # a repeat is signed with the key of the first time
    Column("assurance", Text, nullable=False),  # what stands behind it: device, or work
    Column("evidence_bytes", BigInteger, nullable=False),  # of the plain files: what an objection may have is bounded
    Column("sealed_sha256", LargeBinary),  # of the sealed bytes in the blob
    Column("mac", LargeBinary, nullable=False, server_default=_EMPTY),  # over all other columns
)

# Each stands in one record only. In which, the sealed receipt tells, and nothing here.
slot_digests = Table(
    "slot_digests",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    sqlite_with_rowid=False,
)

status_lists = Table(
    "status_lists",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    # 2^16 two-byte indexes in random order: the n-th record of this list has the n-th of them.
    Column("permutation", LargeBinary, nullable=False),
)

statuses = Table(
    "statuses",
    metadata,
    Column("status_index", BigInteger, primary_key=True, autoincrement=False),
    Column("value", Integer, nullable=False),  # as in the status list; objections that stand have no row
)

erased_receipts = Table(
    "erased_receipts",
    metadata,
    # SHA-256 over what identifies an erased receipt: it keeps a copy from being recorded anew while it is fresh.
    Column("guard", LargeBinary, primary_key=True),
    Column("expires_at", BigInteger, nullable=False, index=True),
)

blobs_to_erase = Table(
    "blobs_to_erase",
    metadata,
    Column("blob", Text, primary_key=True),  # its share is gone already; its bytes are overwritten next
)

# On PostgreSQL alone: on SQLite they have a file of their own (spent.py).
dpop_proofs = Table(
    "dpop_proofs",
    metadata,
    Column("proof_id", LargeBinary, primary_key=True),  # SHA-256 of holder key thumbprint and jti
    Column("expires_at", BigInteger, nullable=False, index=True),
    info={"dialect": "postgresql"},
)

counting = Table(
    "counting",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("since", BigInteger, nullable=False),  # the first epochs are those that this lies in
    Column("closed_until", BigInteger, nullable=False),  # what is counted from now on lies here or later
    Column("budget_sha256", LargeBinary),  # of the tables and epsilons; none before the first start that stores it
)

# Who was counted already: for ever, whatever is erased. Ordered by the mark, so that it does not tell who came when.
counted_holders = Table(
    "counted_holders",
    metadata,
    Column("mark", LargeBinary, primary_key=True),  # keyed hash of holder key thumbprint and what it was counted for
    sqlite_with_rowid=False,
)

contributions = Table(
    "contributions",
    metadata,
    Column("receipt_sha256", LargeBinary, primary_key=True),
    Column("hour", BigInteger, nullable=False),  # the start of the hour that it counts for
    Column("country", Text, nullable=False),
    Column("platform", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("in_general", Boolean, nullable=False),  # counted in the tables of everybody
    Column("campaign", Text),  # counted in this campaign's table
    # A release reads this index alone, in order: no table, no sorting.
    Index(
        "contributions_by_bucket",
        *("hour", "country", "platform", "channel", "outcome", "in_general", "campaign"),
    ),
)

admitted_bursts = Table(
    "admitted_bursts",
    metadata,
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("country", Text, primary_key=True),
    Column("platform", Text, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("admitted_at", BigInteger, nullable=False),
)

campaigns = Table(
    "campaigns",
    metadata,
    Column("slug", Text, primary_key=True),
    Column("description", Text, nullable=False),  # canonical JSON: names by language, countries, link, contact
    Column("logo", LargeBinary),
    Column("open_figures", Boolean, nullable=False),  # else only the group's API keys see its table
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger),  # when it ended
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_sha256", LargeBinary, primary_key=True),
    Column("campaign", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

releases = Table(
    "releases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("table_name", Text, nullable=False),
    Column("epoch", Text, nullable=False),
    Column("starts_at", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
    Column("drawn_at", BigInteger, nullable=False),
    Column("signed", Text, nullable=False),
    Column("published", Boolean, nullable=False),  # not before its file is on disk
    Index("releases_in_order", "table_name", "starts_at", unique=True),
)

# One draw, for ever: the key is table, epoch and cell.
released_cells = Table(
    "released_cells",
    metadata,
    Column("table_name", Text, primary_key=True),
    Column("starts_at", BigInteger, primary_key=True, autoincrement=False),
    *(Column(name, Text, primary_key=True) for name in ("geo", "platform", "channel", "outcome")),  # _T: all together
    Column("value", BigInteger, nullable=False),
)
