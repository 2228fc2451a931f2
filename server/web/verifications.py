"""``/v1/verifications``: check somebody's proof against this register's keys, and keep nothing of it."""

from flask import Blueprint, Response, request

from server.bundles.asice import MAX_BUNDLE_BYTES
from server.core.encoding import format_json
from server.errors import RequestError
from server.usecases.register import Register
from server.usecases.verify_bundle import verify_file
from server.web.bodies import read_body
from server.web.room import room


def create_blueprint(register: Register) -> Blueprint:
    blueprint = Blueprint("verifications", __name__, url_prefix="/v1/verifications")

    @blueprint.post("")
    def verify() -> Response:
        if request.mimetype == "multipart/form-data":
            raise RequestError("media_type_refused", "send the file itself as the body, not a form")
        with room() as place:
            body = read_body(request, max_bytes=MAX_BUNDLE_BYTES, place=place)
            report = verify_file(body, policy=register.keyring.policy, now=register.clock())
        response = Response(format_json(report.as_json()), mimetype="application/json")
        response.headers["Cache-Control"] = "no-store"
        return response

    return blueprint
