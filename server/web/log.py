"""The log as anyone may audit it: checkpoint, tiles, entries (C2SP tlog-tiles)."""

from flask import Blueprint, Response
from sqlalchemy import Connection

from server.core.merkle import HASH_SIZE, TILE_WIDTH
from server.core.tiles import TilePath, format_entries, parse_tile_path, width_at
from server.errors import NotFound, Unavailable
from server.store import anchors, log
from server.usecases.register import Register

_CHECKPOINT_AGE_S = 5
_FOREVER = "public, max-age=31536000, immutable"
_OCTETS = "application/octet-stream"


def create_blueprint(register: Register) -> Blueprint:
    blueprint = Blueprint("log", __name__)

    @blueprint.get("/checkpoint")
    def checkpoint() -> Response:
        with register.database.reading() as connection:
            return _note(_read_head(connection).checkpoint)

    @blueprint.get("/checkpoint/anchored")
    def anchored() -> Response:
        """The newest checkpoint that was cosigned and stamped: an earlier one than ``/checkpoint``, as a rule."""
        with register.database.reading() as connection:
            newest = anchors.newest_anchored(connection)
        if newest is None:
            raise NotFound("checkpoint_not_anchored", "no checkpoint was anchored yet")
        return _note(newest.note)

    @blueprint.get("/tile/<level>/<path:number>")
    def tile(level: str, number: str) -> Response:
        wanted = parse_tile_path(f"tile/{level}/{number}")
        with register.database.reading() as connection:
            _refuse_unpublished(connection, wanted)
            hashes = log.read_tile(connection, wanted.level or 0, wanted.number)
        return _immutable(hashes[: wanted.width * HASH_SIZE])

    @blueprint.get("/tile/entries/<path:number>")
    def entries(number: str) -> Response:
        wanted = parse_tile_path(f"tile/entries/{number}")
        with register.database.reading() as connection:
            _refuse_unpublished(connection, wanted)
            start = wanted.number * TILE_WIDTH
            found = log.read_entry_range(connection, start, start + wanted.width)
        return _immutable(format_entries(found))

    @blueprint.after_request
    def forget_failures(response: Response) -> Response:
        if response.status_code != 200:  # a tile that is missing now may exist in a second
            response.headers["Cache-Control"] = "no-store"
        return response

    return blueprint


def _read_head(connection: Connection) -> log.Head:
    head = log.read_head(connection)
    if head is None:
        raise Unavailable("log_unavailable", "the log has no checkpoint yet")
    return head


def _refuse_unpublished(connection: Connection, wanted: TilePath) -> None:
    size = _read_head(connection).size
    if wanted.width > width_at(size, wanted.level, wanted.number):
        raise NotFound("tile_not_found", f"the log has {size} entries: it has no such tile yet")


def _note(note: str) -> Response:
    response = Response(note, mimetype="text/plain")
    response.headers["Cache-Control"] = f"public, max-age={_CHECKPOINT_AGE_S}"
    return response


def _immutable(data: bytes) -> Response:
    response = Response(data, mimetype=_OCTETS)
    response.headers["Cache-Control"] = _FOREVER
    return response
