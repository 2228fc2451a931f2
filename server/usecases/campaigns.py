"""Campaigns of consumer groups: their tables, and the API keys that open them."""

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from schemas.campaigns import SLUG, CampaignDescription
from server.core.counts import Declared, declaration
from server.core.encoding import JsonObject, format_base64url, format_json, parse_json, sha256
from server.errors import Conflict, FieldError, NotFound, ParseError, Unauthorised
from server.store import campaigns
from server.store.campaigns import ApiKey, StoredCampaign
from server.usecases.register import Stored
from server.usecases.row_sums import changing_sums

KEY_PREFIX = "objection_"
MAX_LOGO_BYTES = 65_536
_SLUG = re.compile(SLUG)
_KEY = re.compile(KEY_PREFIX + "[A-Za-z0-9_-]{43}")
_PNG = b"\x89PNG\r\n\x1a\n"
_DESCRIPTION = CampaignDescription()


@dataclass(frozen=True)
class Campaign:
    """``names`` by language. ``open_figures``: everyone may read its table. ``since``, ``until``: whole seconds."""

    slug: str
    names: Mapping[str, str]
    countries: tuple[str, ...]
    link: str
    contact: str
    open_figures: bool
    since: int
    until: int | None

    @property
    def table(self) -> Declared:
        return declaration().campaign_table(self.slug, title=self.name("en"), countries=self.countries)

    def name(self, language: str) -> str:
        """Return the name in ``language``, or in the first there is."""
        return self.names.get(language) or self.names.get("en") or next(iter(self.names.values()))


def add_campaign(
    stored_in: Stored, slug: str, description: JsonObject, *, logo: bytes | None, open_figures: bool, now: int
) -> Campaign:
    """Create a campaign; people may join it from now on.

    Raises FieldError, ParseError ``slug_malformed`` or ``logo_refused``, Conflict ``campaign_exists``: a slug is never
    used again, for its released figures stay.
    """
    if not _SLUG.fullmatch(slug):
        raise ParseError("slug_malformed", "a campaign's slug has 1 to 40 of a-z, 0-9 and -, no - at its ends")
    if problems := _DESCRIPTION.validate(description):
        raise FieldError.from_messages(problems)
    if logo is not None and (not logo.startswith(_PNG) or len(logo) > MAX_LOGO_BYTES):
        raise ParseError("logo_refused", f"a logo is a PNG of at most {MAX_LOGO_BYTES} bytes")
    stored = StoredCampaign(slug, format_json(description).decode(), open_figures, since=now, until=None)
    try:
        with _changing(stored_in, "campaigns") as connection:
            campaigns.insert_campaign(connection, stored, logo=logo)
    except IntegrityError as error:
        raise Conflict("campaign_exists", f"there is, or was, a campaign {slug}") from error
    return _campaign(stored)


def end_campaign(stored_in: Stored, slug: str, *, now: int) -> None:
    """Have nobody join any more; the epoch that ``now`` lies in is its last. Raises NotFound."""
    with _changing(stored_in, "campaigns") as connection:
        find_campaign(connection, slug)
        campaigns.end_campaign(connection, slug, now=now)


def find_campaign(connection: Connection, slug: str) -> Campaign:
    """Raises NotFound ``campaign_not_found``."""
    # PostgreSQL does not take every text as a value: NUL, for one.
    stored = campaigns.find_campaign(connection, slug) if _SLUG.fullmatch(slug) else None
    if stored is None:
        raise NotFound("campaign_not_found", "there is no such campaign")
    return _campaign(stored)


def is_open(connection: Connection, table: Declared) -> bool:
    """Tell whether everyone may read the figures of ``table``, rather than its campaign alone."""
    return table.campaign is None or find_campaign(connection, table.campaign).open_figures


def read_all_campaigns(connection: Connection) -> list[Campaign]:
    return [_campaign(stored) for stored in campaigns.read_campaigns(connection)]


def create_key(stored_in: Stored, slug: str, *, name: str, now: int) -> str:
    """Return a new API key for the figures of campaign ``slug``. Only its hash is kept: nobody can show it again."""
    key = KEY_PREFIX + format_base64url(secrets.token_bytes(32))
    with _changing(stored_in, "api_keys") as connection:
        find_campaign(connection, slug)
        campaigns.insert_api_key(connection, ApiKey(_key_hash(key), slug, name, now, None))
    return key


def revoke_key(stored_in: Stored, fingerprint: str, *, slug: str, now: int) -> None:
    """Refuse the key of ``slug`` whose hash begins with ``fingerprint`` (hex) from now on. Raises NotFound."""
    with _changing(stored_in, "api_keys") as connection:
        found = [key for key in campaigns.read_api_keys(connection, slug) if fingerprint_of(key) == fingerprint]
        if not found:
            raise NotFound("api_key_not_found", f"campaign {slug} has no key {fingerprint}")
        for key in found:
            campaigns.revoke_api_key(connection, key.key_sha256, now=now)


def fingerprint_of(key: ApiKey) -> str:
    """Return the 16 hex digits by which operators speak of a key."""
    return key.key_sha256[:8].hex()


def verify_key(connection: Connection, raw_key: str) -> str:
    """Return the campaign whose figures ``raw_key`` opens. Raises Unauthorised ``api_key_refused``."""
    # The key has 256 random bits: looking its hash up in an index tells a guesser nothing.
    key = campaigns.find_api_key(connection, _key_hash(raw_key)) if _KEY.fullmatch(raw_key) else None
    if key is None or key.revoked_at is not None:
        raise Unauthorised("api_key_refused", "this key is not known, or was revoked")
    return key.campaign


@contextmanager
def _changing(stored_in: Stored, table: str) -> Iterator[Connection]:
    with (
        stored_in.database.writing() as connection,
        changing_sums(connection, stored_in.keyring.row_macs) as sums,
        sums.following(connection, table),
    ):
        yield connection


def _key_hash(key: str) -> bytes:
    return sha256(key.encode("ascii"))


def _campaign(stored: StoredCampaign) -> Campaign:
    description = parse_json(stored.description.encode())
    return Campaign(
        slug=stored.slug,
        names=description["names"],
        countries=tuple(description["countries"]),
        link=description["link"],
        contact=description["contact"],
        open_figures=stored.open_figures,
        since=stored.since,
        until=stored.until,
    )
