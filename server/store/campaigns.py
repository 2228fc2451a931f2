"""Campaigns of consumer groups, and the API keys that open their figures."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, insert, select, update

from server.store.tables import api_keys, campaigns

# Without logos: lists of campaigns are read for every release and page, and a logo may have 64 KiB.
_STORED = select(*(column for column in campaigns.c if column is not campaigns.c.logo))


@dataclass(frozen=True)
class StoredCampaign:
    """``description``: canonical JSON. ``open_figures``: its table needs no key. ``until``: when it ended, or None."""

    slug: str
    description: str
    open_figures: bool
    since: int
    until: int | None


@dataclass(frozen=True)
class ApiKey:
    """``key_sha256`` is all that is kept of the key itself."""

    key_sha256: bytes
    campaign: str
    name: str
    created_at: int
    revoked_at: int | None


def insert_campaign(connection: Connection, campaign: StoredCampaign, *, logo: bytes | None) -> None:
    """Raises IntegrityError when the slug is taken. ``logo``: a PNG."""
    connection.execute(insert(campaigns).values(**asdict(campaign), logo=logo))


def find_campaign(connection: Connection, slug: str) -> StoredCampaign | None:
    row = connection.execute(_STORED.where(campaigns.c.slug == slug)).one_or_none()
    return None if row is None else StoredCampaign(*row)


def find_logo(connection: Connection, slug: str) -> bytes | None:
    return connection.execute(select(campaigns.c.logo).where(campaigns.c.slug == slug)).scalar_one_or_none()


def read_campaigns(connection: Connection) -> list[StoredCampaign]:
    return [StoredCampaign(*row) for row in connection.execute(_STORED.order_by(campaigns.c.slug))]


def running_campaigns(connection: Connection, slugs: Sequence[str]) -> set[str]:
    """Return those of ``slugs`` that are campaigns which have not ended."""
    query = select(campaigns.c.slug).where(campaigns.c.slug.in_(slugs), campaigns.c.until.is_(None))
    return set(connection.execute(query).scalars())


def end_campaign(connection: Connection, slug: str, *, now: int) -> None:
    connection.execute(update(campaigns).where(campaigns.c.slug == slug).values(until=now))


def insert_api_key(connection: Connection, key: ApiKey) -> None:
    connection.execute(insert(api_keys).values(asdict(key)))


def find_api_key(connection: Connection, key_sha256: bytes) -> ApiKey | None:
    row = connection.execute(select(api_keys).where(api_keys.c.key_sha256 == key_sha256)).one_or_none()
    return None if row is None else ApiKey(*row)


def read_api_keys(connection: Connection, campaign: str) -> list[ApiKey]:
    query = select(api_keys).where(api_keys.c.campaign == campaign).order_by(api_keys.c.created_at)
    return [ApiKey(*row) for row in connection.execute(query)]


def revoke_api_key(connection: Connection, key_sha256: bytes, *, now: int) -> None:
    theirs = (api_keys.c.key_sha256 == key_sha256) & api_keys.c.revoked_at.is_(None)
    connection.execute(update(api_keys).where(theirs).values(revoked_at=now))
