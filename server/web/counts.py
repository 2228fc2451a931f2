"""``/v1/counts``, ``/v1/tables``, ``/v1/campaigns``: released figures, and what they are about."""

from dataclasses import asdict

from flask import Blueprint, Response
from sqlalchemy import Connection

from schemas.releases import MAX_ROWS
from server.bundles import count_files
from server.core.counts import Declared, declaration, half_width
from server.core.encoding import JsonObject
from server.errors import NotFound, ParseError
from server.store import releases
from server.store.releases import Release
from server.usecases.campaigns import read_all_campaigns
from server.usecases.read_counts import Query, find_table, make_query, read_counts, read_whole
from server.usecases.register import Register
from server.web.figures import (
    CSV,
    JSON,
    PARQUET,
    Arguments,
    following_page,
    json_response,
    negotiate,
    published,
    refuse_strangers,
)

_ROWS = 1000


def create_blueprint(register: Register) -> Blueprint:
    blueprint = Blueprint("counts", __name__, url_prefix="/v1")

    @blueprint.get("/counts")
    def counts() -> Response:
        arguments = Arguments("table", "by", "from", "to", "limit", "offset", "format")
        form = negotiate(arguments, JSON, CSV, PARQUET)
        if form != JSON:
            return _whole(arguments, form)
        limit, offset = arguments.number("limit", _ROWS, least=1, most=MAX_ROWS), arguments.number("offset", 0)
        with register.database.reading() as connection:
            query = _query(connection, arguments)
            found = read_counts(connection, query, limit=limit + 1, offset=offset)
        figures: JsonObject = {
            "table": query.table.name,
            "by": list(query.by),
            "rows": [asdict(row) for row in found[:limit]],
            "licence": declaration().licence,
        }
        if len(found) <= limit:
            return published(json_response(figures), query.table)
        following = following_page("/v1/counts", limit, offset)
        response = json_response(figures | {"next": following})
        response.headers["Link"] = f'<{following}>; rel="next"'
        return published(response, query.table)

    def _whole(arguments: Arguments, form: str) -> Response:
        if arguments.get("limit") is not None or arguments.get("offset") is not None:
            raise ParseError("argument_refused", "a file is whole: limit and offset are for JSON")
        with register.database.reading() as connection:
            query = _query(connection, arguments)
            rows = [asdict(row) for row in read_whole(connection, query)]
        body = count_files.format_csv(rows) if form == CSV else _parquet(rows)
        return published(Response(body, mimetype=form), query.table)

    @blueprint.get("/tables")
    def tables() -> Response:
        return published(json_response(_describe_declaration()))

    @blueprint.get("/tables/<name>/<file>")
    def file(name: str, file: str) -> Response:
        with register.database.reading() as connection:
            table = find_table(connection, name)
            refuse_strangers(connection, table)
            query = make_query(table, by=None, start=None, end=None)
            rows = [asdict(row) for row in read_whole(connection, query)]
            newest = releases.list_releases(connection, [name], limit=1)
        address = f"{register.public_url}/v1/tables/{name}"
        body, media_type = _file(file, table, rows, newest=newest[0] if newest else None, address=address)
        response = Response(body, mimetype=media_type)
        if media_type in {CSV, PARQUET}:
            response.headers["Content-Disposition"] = f'attachment; filename="{name}-{file}"'
        return published(response, table)

    @blueprint.get("/campaigns")
    def campaigns() -> Response:
        with register.database.reading() as connection:
            running = [campaign for campaign in read_all_campaigns(connection) if campaign.until is None]
        listed = [
            {
                "slug": campaign.slug,
                "names": [{"language": language, "name": name} for language, name in sorted(campaign.names.items())],
                "countries": list(campaign.countries),
                "link": campaign.link,
                "contact": campaign.contact,
                "open_figures": campaign.open_figures,
            }
            for campaign in running
        ]
        return published(json_response({"campaigns": listed, "epsilon": str(declaration().campaign_epsilon)}))

    return blueprint


def _parquet(rows: list[JsonObject]) -> bytes:
    return count_files.format_parquet(rows, licence=declaration().licence)


def _file(
    name: str, table: Declared, rows: list[JsonObject], *, newest: Release | None, address: str
) -> tuple[bytes, str]:
    """Return a file of a table's folder, and its media type. Raises NotFound."""
    if name == "counts.csv":
        return count_files.format_csv(rows), CSV
    if name == "counts.parquet":
        return _parquet(rows), PARQUET
    if name == "countries.csv":
        return count_files.format_countries(table, declaration()), CSV
    if name == "counts.csv-metadata.json":
        return count_files.describe_csv(table, declaration()), "application/csvm+json"
    if name == "datapackage.json":
        package = count_files.describe_package(
            table,
            declaration(),
            counts=count_files.format_csv(rows),
            address=address,
            newest=(newest.id, newest.drawn_at) if newest else None,
        )
        return package, JSON
    raise NotFound("not_found", "a table has counts.csv, counts.parquet, datapackage.json and what these name")


def _query(connection: Connection, arguments: Arguments) -> Query:
    named = arguments.get("table")
    table = find_table(connection, "countries" if named is None else named)
    refuse_strangers(connection, table)
    by = arguments.get("by")
    return make_query(
        table,
        by=None if by is None else by.split(",") if by else [],
        start=arguments.get("from"),
        end=arguments.get("to"),
    )


def _describe_declaration() -> JsonObject:
    declared = declaration()
    return {
        "lifetime_epsilon": str(declared.lifetime_epsilon),
        "campaign_epsilon": str(declared.campaign_epsilon),
        "grace_s": declared.grace_s,
        "licence": declared.licence,
        "sha256": declared.sha256,
        "tables": [
            {
                "name": table.name,
                "title": table.title,
                "epoch": table.epoch,
                "dimensions": dict(zip(table.dimensions, map(list, table.domain), strict=True)),
                "epsilon": str(table.epsilon),
                "ci95": half_width(table.epsilon),
                "files": f"/v1/tables/{table.name}/datapackage.json",
            }
            for table in declared.tables.values()
        ],
    }
