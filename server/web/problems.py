"""Errors as the client sees them: RFC 9457 problem details. HTTP numbers live here and nowhere else."""

import logging
from http import HTTPStatus

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import HTTPException

from server import errors
from server.core.encoding import format_json
from server.errors import FieldError, ObjectionError

_log = logging.getLogger("objection.web")

# The first class that fits decides; a code below may say otherwise.
_STATUS_OF_CLASS: list[tuple[type[ObjectionError], int]] = [
    (errors.FieldError, 422),
    (errors.ParseError, 400),
    (errors.VerificationError, 422),
    (errors.TooLarge, 413),
    (errors.RequestError, 400),
    (errors.Unauthorised, 401),
    (errors.Forbidden, 403),
    (errors.NotFound, 404),
    (errors.Gone, 410),
    (errors.Conflict, 409),
    (errors.Unavailable, 503),
    (errors.LogInconsistent, 503),
]
_STATUS_OF_CODE = {"tile_not_found": 404, "media_type_refused": 415, "body_too_slow": 408, "receipt_too_large": 413}
_CODE_OF_STATUS = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
_RETRY_AFTER_S = 5
# RFC 9449, section 7.1. Who shows no credentials is told of no error (RFC 6750, section 3.1).
_CHALLENGES = {
    "api_key_required": "Bearer",
    "api_key_refused": 'Bearer error="invalid_token"',
    "token_missing": 'DPoP algs="ES256"',
    "token_refused": 'DPoP error="invalid_token", algs="ES256"',
    "dpop_refused": 'DPoP error="invalid_dpop_proof", algs="ES256"',
    "dpop_replayed": 'DPoP error="invalid_dpop_proof", algs="ES256"',
}

# Code → what it means. Shown as the title, and at /errors.
TITLES = {
    "algorithm_refused": "Another signature algorithm than ES256",
    "already_withdrawn": "The objection was withdrawn before, by another receipt",
    "api_key_of_another": "The API key is another campaign's",
    "api_key_refused": "The API key is not known, or was revoked",
    "api_key_required": "These figures need an API key",
    "argument_refused": "An argument in the address is not understood",
    "bad_request": "Not a request this register understands",
    "base64url_malformed": "Not canonical base64url",
    "blob_missing": "The sealed evidence is gone",
    "body_malformed": "The body of the request is not what HTTP allows",
    "body_too_large": "The request is too large",
    "body_too_slow": "The body of the request came too slowly",
    "campaign_not_found": "There is no such campaign",
    "campaign_not_joined": "There is no campaign that could be left any more",
    "checkpoint_not_anchored": "No checkpoint was anchored yet",
    "clock_behind": "The register's clock is behind its own log",
    "database_unavailable": "The register's database does not answer",
    "digest_reused": "A self-asserted digest stands in another record",
    "dimension_unknown": "The table is not broken down by that, or it is named twice",
    "dns_unavailable": "The DNS does not answer, so that a mail cannot be checked now",
    "dpop_refused": "The proof of possession does not hold",
    "dpop_replayed": "The proof of possession was used before",
    "epoch_malformed": "Not a week, month or quarter of this table",
    "evidence_mismatch": "An evidence file is not the one the receipt names",
    "evidence_missing": "Evidence that the receipt names was not sent",
    "evidence_too_large": "An objection holds no more evidence than that",
    "evidence_unexpected": "Evidence was sent that the receipt does not name",
    "field_invalid": "Fields are missing, unknown or out of bounds",
    "figures_too_many": "More figures than a file may have",
    "file_resaved": "A copy of a proof that some program has changed",
    "file_unrecognised": "Not a proof of objection",
    "holder_share_missing": "The holder share was not sent",
    "holder_share_wrong": "The holder share does not open the record",
    "internal": "Something broke on our side",
    "json_duplicate_key": "A JSON object names one key twice",
    "json_malformed": "Not valid JSON",
    "json_number_refused": "A JSON number is not a plain integer",
    "jti_reused": "The same key used one jti for two receipts",
    "jws_header_refused": "The JWS header has other members than allowed",
    "jws_malformed": "Not a JWS in compact form",
    "key_refused": "Not a P-256 public key",
    "log_busy": "The log is busy",
    "log_halted": "The log signs nothing any more",
    "log_unavailable": "The log cannot be written now",
    "media_type_refused": "Another media type than this address takes",
    "method_not_allowed": "This address does not take that method",
    "multipart_malformed": "Not well-formed multipart/form-data",
    "not_found": "Nothing lives at this address",
    "not_the_holder": "Not the key of this record",
    "part_missing": "A part of the request is missing",
    "part_unexpected": "The request has a part too many",
    "practice_refused": "A practice notice is no objection to Meta",
    "private_key_present": "The receipt carries a private key",
    "rate_limited": "Too many requests; wait a little",
    "receipt_from_future": "The receipt is dated in the future",
    "receipt_kind_refused": "Another kind of receipt than expected",
    "receipt_stale": "The receipt was signed too long ago",
    "receipt_too_large": "The receipt is over 16 KiB",
    "record_erased": "Its holder had the record erased",
    "record_not_found": "There is no such record",
    "release_not_found": "There is no such release",
    "server_busy": "Too many large requests at once",
    "signature_invalid": "The signature does not hold",
    "storage_full": "The register has no room for evidence now",
    "storage_unavailable": "The register cannot store evidence now",
    "table_not_found": "There is no such table",
    "tile_not_found": "The log has no such tile",
    "token_missing": "This needs the holder's token",
    "token_refused": "The token does not hold",
    "too_many_supplements": "An objection takes no more supplements than that",
    "type_refused": "Another type of token than expected",
    "verifier_missing": "This register was set up without its verifier page",
    "work_expired": "The work proof is too old",
    "work_malformed": "Not a work proof",
    "work_mismatch": "The work proof does not fit the receipt",
    "work_off": "This register asks for no work",
}


def register_problem_handlers(app: Flask) -> None:
    app.register_error_handler(ObjectionError, _of_ours)
    app.register_error_handler(HTTPException, _of_http)
    app.register_error_handler(Exception, _of_anything_else)


def problem(status: int, code: str, detail: str, fields: tuple[tuple[str, str], ...] = ()) -> Response:
    """Return the problem document; ``code`` must have a title."""
    body: dict[str, object] = {
        "type": f"{current_app.config['PUBLIC_URL']}/errors#{code}",
        "title": TITLES[code],
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": g.request_id,
    }
    if fields:
        body["errors"] = [{"field": field, "problem": text} for field, text in fields]
    response = Response(format_json(body), status, mimetype="application/problem+json")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(_RETRY_AFTER_S)
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = _CHALLENGES[code]
    return response


def _of_ours(error: ObjectionError) -> Response:
    status = _STATUS_OF_CODE.get(error.code)
    if status is None:
        status = next((status for kind, status in _STATUS_OF_CLASS if isinstance(error, kind)), None)
    if status is None or error.code not in TITLES:
        return _of_anything_else(error)
    if isinstance(error, errors.Unavailable) and error.__cause__ is None:  # foreseen: nothing broke
        _log.warning("%s on %s: %s", error.code, request.url_rule, error)
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("%s on %s: %s", error.code, request.url_rule, error, exc_info=error)
    fields = error.problems if isinstance(error, FieldError) else ()
    return problem(status, error.code, str(error), fields)


def _of_http(error: HTTPException) -> Response:
    status = error.code or 500
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return problem(status, "rate_limited", f"The limit is {error.description}.")
    code = _CODE_OF_STATUS.get(status, "bad_request")
    response = problem(status, code, error.description or TITLES[code])
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = dict(error.get_headers()).get("Allow", "")
    return response


def _of_anything_else(error: Exception) -> Response:
    _log.error("internal error on %s", request.url_rule, exc_info=error)
    return problem(500, "internal", f"Please tell us, with the request id {g.request_id}.")
