"""``/v1/releases``: every release there ever was, signed, under its permanent id."""

from flask import Blueprint, Response
from sqlalchemy import Connection

from server.bundles.count_files import FeedEntry, format_feed
from server.core.counts import Declared
from server.core.encoding import JsonObject, format_json
from server.core.releases import verify_release
from server.store import releases
from server.store.releases import Release
from server.usecases.campaigns import is_open
from server.usecases.read_counts import find_published, find_table
from server.usecases.register import Register
from server.web.figures import (
    JSON,
    JWS,
    Arguments,
    all_tables,
    following_page,
    json_response,
    negotiate,
    published,
    readable_tables,
    refuse_strangers,
)

_MOST = 1000


def create_blueprint(register: Register) -> Blueprint:
    blueprint = Blueprint("releases", __name__, url_prefix="/v1")

    @blueprint.get("/releases")
    def list_releases() -> Response:
        arguments = Arguments("table", "limit", "offset")
        limit, offset = arguments.number("limit", 100, least=1, most=_MOST), arguments.number("offset", 0)
        with register.database.reading() as connection:
            readable = readable_tables(connection, arguments.get("table"))
            found = releases.list_releases(connection, readable, limit=limit + 1, offset=offset)
        listed: JsonObject = {"releases": [_summary(release) for release in found[:limit]]}
        if len(found) > limit:
            listed["next"] = following_page("/v1/releases", limit, offset)
        return published(json_response(listed))

    @blueprint.get("/releases/<release_id>")
    def release(release_id: str) -> Response:
        form = negotiate(Arguments("format"), JSON, JWS)
        with register.database.reading() as connection:
            found = find_published(connection, release_id)
            table = find_table(connection, found.table_name)
            refuse_strangers(connection, table)
        claims = verify_release(found.signed, register.keyring.policy).claims
        body = found.signed.encode() if form == JWS else format_json({**claims, "signed": found.signed})
        return published(Response(body, mimetype=form), table)

    @blueprint.get("/releases.atom")
    def feed() -> Response:
        with register.database.reading() as connection:
            found = releases.list_releases(connection, readable_tables(connection, None), limit=50)
            tables = {table.name: table for table in all_tables(connection)}
            entries = [_entry(each, tables[each.table_name], connection) for each in found]
        home = register.public_url
        body = format_feed(entries, address=f"{home}/v1/releases.atom", home=home, now=register.clock())
        return published(Response(body, mimetype="application/atom+xml"))

    return blueprint


def _entry(release: Release, table: Declared, connection: Connection) -> FeedEntry:
    page = f"/counts/releases/{release.id}"
    if not is_open(connection, table):  # people open those with the group's key, on its own page
        page = f"/counts/campaigns/{table.campaign}"
    return FeedEntry(release.id, f"{table.title}: {release.epoch}", release.drawn_at, page)


def _summary(release: Release) -> JsonObject:
    return {
        "id": release.id,
        "table": release.table_name,
        "epoch": release.epoch,
        "released_at": release.drawn_at,
        "href": f"/v1/releases/{release.id}",
    }
