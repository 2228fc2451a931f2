"""A witness over HTTP: one route, a small application of its own, beside no register (C2SP tlog-witness)."""

import logging
from http import HTTPStatus

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from server.core.witnessing import ADD_CHECKPOINT, MAX_REQUEST_BYTES, SIZE_TYPE, Stale, format_size
from server.errors import Forbidden, NotFound, ObjectionError, ParseError, VerificationError
from server.usecases.cosign_checkpoint import WitnessService, cosign_checkpoint

_log = logging.getLogger("objection.witness")
# The specification's own numbers.
_STATUS_OF_CLASS: list[tuple[type[ObjectionError], HTTPStatus]] = [
    (ParseError, HTTPStatus.BAD_REQUEST),
    (Forbidden, HTTPStatus.FORBIDDEN),
    (NotFound, HTTPStatus.NOT_FOUND),
    (VerificationError, HTTPStatus.UNPROCESSABLE_ENTITY),
]


def create_witness_app(witness: WitnessService) -> Flask:
    app = Flask("witness", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_REQUEST_BYTES

    @app.post(ADD_CHECKPOINT)
    def add_checkpoint() -> Response:
        answer = cosign_checkpoint(witness, request.get_data())
        if isinstance(answer, Stale):
            return Response(format_size(answer.size), HTTPStatus.CONFLICT, content_type=SIZE_TYPE)
        return Response(answer.lines, mimetype="text/plain")

    @app.errorhandler(ObjectionError)
    def refused(error: ObjectionError) -> Response:
        status = next((status for kind, status in _STATUS_OF_CLASS if isinstance(error, kind)), None)
        if status is None:
            return broken(error)
        return Response(f"{error.code}: {error}\n", status, mimetype="text/plain")

    @app.errorhandler(HTTPException)
    def not_ours(error: HTTPException) -> Response:
        return Response(f"{error.name}\n", error.code or 500, mimetype="text/plain")

    @app.errorhandler(Exception)
    def broken(error: Exception) -> Response:
        _log.error("cannot witness", exc_info=error)
        return Response("internal\n", HTTPStatus.INTERNAL_SERVER_ERROR, mimetype="text/plain")

    return app
