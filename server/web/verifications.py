"""``/v1/verifications``: check somebody's proof against this register's keys, and keep nothing of it."""

from flask import Blueprint, Response, request

from server.bundles.asice import MAX_BUNDLE_BYTES
from server.core.encoding import format_json
from server.errors import RequestError, TooLarge
from server.usecases.register import Register
from server.usecases.verify_bundle import verify_file


def create_blueprint(register: Register) -> Blueprint:
    blueprint = Blueprint("verifications", __name__, url_prefix="/v1/verifications")

    @blueprint.post("")
    def verify() -> Response:
        # werkzeug cuts a chunked body at the limit and says nothing: what is judged would not be what was sent.
        request.max_content_length = MAX_BUNDLE_BYTES + 1
        if request.mimetype == "multipart/form-data":
            raise RequestError("media_type_refused", "send the file itself as the body, not a form")
        body = request.get_data(cache=False)
        if len(body) > MAX_BUNDLE_BYTES:
            raise TooLarge("body_too_large", f"a proof has at most {MAX_BUNDLE_BYTES} bytes")
        report = verify_file(body, policy=register.keyring.policy, now=register.clock())
        response = Response(format_json(report.as_json()), mimetype="application/json")
        response.headers["Cache-Control"] = "no-store"
        return response

    return blueprint
