"""What the addresses of released figures share: arguments, formats, who may read what, and caches."""

import re
from urllib.parse import urlencode

from flask import Response, request
from sqlalchemy import Connection

from server.core.counts import Declared, declaration
from server.core.encoding import JsonObject, format_json
from server.core.releases import RELEASE_TYPE
from server.errors import Forbidden, ParseError, Unauthorised
from server.usecases.campaigns import is_open, read_all_campaigns, verify_key
from server.usecases.read_counts import find_table
from server.web.credentials import credentials_of

CSV, JSON, PARQUET = "text/csv", "application/json", "application/vnd.apache.parquet"
JWS = f"application/{RELEASE_TYPE}"
_FORMATS = {"json": JSON, "csv": CSV, "parquet": PARQUET, "jws": JWS}
_FRESH_S = 300


class Arguments:
    """The query string, with each name once and no others. Raises ParseError ``argument_refused``."""

    def __init__(self, *names: str) -> None:
        for name, values in request.args.lists():
            if name not in names:
                raise ParseError("argument_refused", f"there is no {name}; there is {', '.join(names)}")
            if len(values) > 1:
                raise ParseError("argument_refused", f"{name} is given twice")

    def get(self, name: str) -> str | None:
        return request.args.get(name)

    def number(self, name: str, default: int, *, least: int = 0, most: int = 10**9) -> int:
        text = request.args.get(name, str(default))
        if not re.fullmatch("0|[1-9][0-9]{0,9}", text) or not least <= int(text) <= most:
            raise ParseError("argument_refused", f"{name} is a whole number from {least} to {most}")
        return int(text)


def negotiate(arguments: Arguments, *offered: str) -> str:
    """Return the media type that ``format`` names, else the one of ``offered`` that Accept likes best."""
    name = arguments.get("format")
    if name is None:
        return request.accept_mimetypes.best_match(offered, offered[0])
    if _FORMATS.get(name) not in offered:
        named = [name for name, media_type in _FORMATS.items() if media_type in offered]
        raise ParseError("argument_refused", f"format is one of {', '.join(named)}")
    return _FORMATS[name]


def following_page(path: str, limit: int, offset: int) -> str:
    return f"{path}?{urlencode({**request.args, 'limit': limit, 'offset': offset + limit})}"


def refuse_strangers(connection: Connection, table: Declared) -> None:
    """Let everyone read what is open, and a campaign's key what is its campaign's. Raises Unauthorised, Forbidden."""
    if is_open(connection, table):
        return
    opened = _campaign_of_key(connection)
    if opened is None:
        raise Unauthorised("api_key_required", "these figures are the group's; send Authorization: Bearer <API key>")
    if opened != table.campaign:
        raise Forbidden("api_key_of_another", "this key opens the figures of another campaign")


def _campaign_of_key(connection: Connection) -> str | None:
    key = credentials_of("Bearer")
    return None if key is None else verify_key(connection, key)


def all_tables(connection: Connection) -> list[Declared]:
    return [*declaration().tables.values(), *(campaign.table for campaign in read_all_campaigns(connection))]


def readable_tables(connection: Connection, name: str | None) -> list[str]:
    """Return the tables that the caller may read; only ``name``, where that is asked for."""
    if name is not None:
        table = find_table(connection, name)
        refuse_strangers(connection, table)
        return [name]
    opened = _campaign_of_key(connection)
    return [each.name for each in all_tables(connection) if is_open(connection, each) or each.campaign == opened]


def json_response(value: JsonObject) -> Response:
    return Response(format_json(value), mimetype=JSON)


def published(response: Response, table: Declared | None = None) -> Response:
    """Let caches keep what everyone may read, and nobody what came, or might have come, for a key."""
    private = "Authorization" in request.headers or (table is not None and table.campaign is not None)
    response.headers["Cache-Control"] = "private, no-cache" if private else f"public, max-age={_FRESH_S}"
    response.headers["Vary"] = "Accept, Authorization"
    response.add_etag()
    response.make_conditional(request)
    return response
