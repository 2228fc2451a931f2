"""``/v1/receipts``: record an objection, and read it back as its holder."""

from http import HTTPStatus

from flask import Blueprint, Response, current_app, request

from server.bundles.asice import MIME_TYPE
from server.bundles.words import LANGUAGES
from server.core.encoding import format_json, parse_base64url
from server.core.envelopes import SHARE_SIZE
from server.errors import NotFound, ParseError, RequestError, Unauthorised
from server.usecases.answer_holder import Answer
from server.usecases.build_bundle import build_certificate, build_container
from server.usecases.leave_campaign import leave_campaign
from server.usecases.read_record import HolderRequest, read_record
from server.usecases.register import Register
from server.usecases.submit_receipt import submit_receipt
from server.web.bodies import read_submission
from server.web.credentials import credentials_of
from server.web.room import room

CERTIFICATE_TYPE = "application/pdf"


def create_blueprint(register: Register) -> Blueprint:
    blueprint = Blueprint("receipts", __name__, url_prefix="/v1/receipts")

    @blueprint.post("")
    def record() -> Response:
        with room() as place:
            sent = read_submission(request, place)
            answer = submit_receipt(
                register,
                raw_receipt=sent.receipt,
                holder_share=_parse_share(sent.holder_share),
                evidence=sent.evidence,
                work=sent.work,
                unchecked=sent.unchecked,
            )
        return _answer(answer, HTTPStatus.OK if answer.repeated else HTTPStatus.CREATED)

    @blueprint.get("/<receipt_sha256>")
    def read(receipt_sha256: str) -> Response:
        held = read_record(register, _parse_id(receipt_sha256), _holder_request())
        return _answer(held.answer, HTTPStatus.OK)

    @blueprint.get("/<receipt_sha256>/bundle")
    def bundle(receipt_sha256: str) -> Response:
        with room() as place:
            place.take()
            held = read_record(register, _parse_id(receipt_sha256), _holder_request())
            if request.accept_mimetypes.best_match([MIME_TYPE, CERTIFICATE_TYPE], MIME_TYPE) == CERTIFICATE_TYPE:
                language = request.accept_languages.best_match(LANGUAGES, LANGUAGES[0])
                response = Response(build_certificate(register, held, language=language), mimetype=CERTIFICATE_TYPE)
                ending = "pdf"
            else:
                response = Response(build_container(register, held), mimetype=MIME_TYPE)
                ending = "asice"
        response.headers["Content-Disposition"] = f'attachment; filename="{receipt_sha256[:8]}.{ending}"'
        response.headers["Vary"] = "Accept, Accept-Language"
        response.headers["Cache-Control"] = "no-store"
        return response

    @blueprint.delete("/<receipt_sha256>/campaign")
    def leave(receipt_sha256: str) -> Response:
        leave_campaign(register, _parse_id(receipt_sha256), _holder_request())
        return Response(status=HTTPStatus.NO_CONTENT)

    return blueprint


def _answer(answer: Answer, status: HTTPStatus) -> Response:
    body = {
        "receipt_sha256": answer.receipt_sha256.hex(),
        "kind": answer.kind,
        "received_at": answer.received_at,
        "state": answer.state,
        "status": answer.status,
        "token": answer.token,
        "proof": answer.proof,
    }
    if answer.remains is not None:
        body["remains"] = list(answer.remains)
    if answer.anchored_entries is not None:
        body["anchored_entries"] = answer.anchored_entries
    response = Response(format_json(body), status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def _holder_request() -> HolderRequest:
    token = credentials_of("DPoP")
    if token is None:
        raise Unauthorised("token_missing", "send Authorization: DPoP <token>")
    if "DPoP" not in request.headers:
        raise Unauthorised("dpop_refused", "send the header DPoP, with a proof of possession")
    if "Objection-Holder-Share" not in request.headers:
        raise RequestError("holder_share_missing", "send the header Objection-Holder-Share")
    return HolderRequest(
        raw_token=token,
        dpop_proof=request.headers["DPoP"],
        holder_share=_parse_share(request.headers["Objection-Holder-Share"]),
        method=request.method,
        url=f"{current_app.config['PUBLIC_URL']}{request.path}",
    )


def _parse_share(text: str) -> bytes:
    try:
        return parse_base64url(text, size=SHARE_SIZE)
    except ParseError as error:
        raise ParseError(error.code, f"the holder share: {error}") from error


def _parse_id(text: str) -> bytes:
    if len(text) != 64 or text.strip("0123456789abcdef"):
        raise NotFound("record_not_found", "a record's id is 64 lower-case hex digits")
    return bytes.fromhex(text)
