"""What anyone may read besides the log: keys, type metadata, health, the API's description."""

import re

from flask import Blueprint, Response, request

from schemas.openapi import describe
from server.bundles.linked_data import PROFILE_PATH, format_profile
from server.core.encoding import JsonObject, format_json
from server.core.policies import format_trust_policy, jwks
from server.core.tokens import TYPE_PATH
from server.errors import NotFound
from server.usecases.ask_for_work import ask_for_work
from server.usecases.check_ready import check_ready
from server.usecases.publish_status import publish_status
from server.usecases.register import Register

_MINUTES = 60


def create_blueprint(register: Register) -> Blueprint:
    blueprint = Blueprint("publication", __name__)
    policy = register.keyring.policy
    description = format_json(describe())

    @blueprint.get("/.well-known/jwt-vc-issuer")
    def issuer() -> Response:
        return _json({"issuer": policy.issuer, "jwks": {"keys": jwks(policy)}}, max_age_s=5 * _MINUTES)

    @blueprint.get("/v1/policy")
    def trust_policy() -> Response:
        response = Response(format_trust_policy(policy), mimetype="application/json")
        return _cached(response, max_age_s=5 * _MINUTES)

    @blueprint.get(TYPE_PATH)
    def type_metadata() -> Response:
        return _json(_type_metadata(policy.issuer), max_age_s=60 * _MINUTES)

    @blueprint.get(PROFILE_PATH)
    def profile() -> Response:
        return _cached(Response(format_profile(policy.issuer), mimetype="application/ld+json"), max_age_s=60 * _MINUTES)

    @blueprint.get("/v1/work/<receipt_sha256>")
    def work(receipt_sha256: str) -> Response:
        if not re.fullmatch("[0-9a-f]{64}", receipt_sha256):
            raise NotFound("not_found", "a receipt's hash is 64 lower-case hex digits")
        return _json(ask_for_work(register, bytes.fromhex(receipt_sha256)), max_age_s=0)

    @blueprint.get("/v1/status-lists/<list_number>")
    def status_list(list_number: str) -> Response:
        if not re.fullmatch("0|[1-9][0-9]{0,9}", list_number):
            raise NotFound("not_found", "a status list's number is decimal, without zeros before it")
        status_list, _ = publish_status(register, int(list_number))
        response = _cached(Response(status_list, mimetype="application/statuslist+jwt"), max_age_s=_MINUTES)
        response.add_etag()  # the same bytes within a minute, unless a status changed
        response.make_conditional(request)
        return response

    @blueprint.get("/healthz")
    def alive() -> Response:
        return _json({"status": "alive"}, max_age_s=0)

    @blueprint.get("/readyz")
    def ready() -> Response:
        return _json({"status": "ready", "log_size": check_ready(register).size}, max_age_s=0)

    @blueprint.get("/openapi.json")
    def openapi() -> Response:
        return _cached(Response(description, mimetype="application/json"), max_age_s=5 * _MINUTES)

    return blueprint


def _json(value: JsonObject, *, max_age_s: int) -> Response:
    return _cached(Response(format_json(value), mimetype="application/json"), max_age_s=max_age_s)


def _cached(response: Response, *, max_age_s: int) -> Response:
    response.headers["Cache-Control"] = f"public, max-age={max_age_s}" if max_age_s else "no-store"
    return response


def _type_metadata(issuer: str) -> JsonObject:
    slots = {
        "account": "Account name, told by the holder",
        "contact": "E-mail address, told by the holder",
        "person": "Name, told by the holder",
    }
    plain = {
        "controller": "Who processes the data",
        "platform": "Platform",
        "right": "Right exercised",
        "contested_basis": "Legal basis contested",
        "data_categories": "Kinds of data",
        "objected_at": "Objected at (the holder's clock)",
        "received_at": "Received at (the register's clock)",
        "receipt_sha256": "SHA-256 of the signed receipt",
        "log": "Place in the public log",
        "evidence": "Evidence, by hash",
        "assurance": "What stands behind the record",
    }
    return {
        "vct": issuer + TYPE_PATH,
        "name": "Proof of objection",
        "description": "The holder of a key objected under Article 21 GDPR, and the register recorded it.",
        "display": [{"locale": "en", "name": "Proof of objection"}],
        "claims": [
            *({"path": [name], "display": _label(text), "sd": "never"} for name, text in plain.items()),
            *(
                {"path": ["self_asserted", name], "display": _label(text), "sd": "allowed"}
                for name, text in slots.items()
            ),
        ],
    }


def _label(text: str) -> list[dict[str, str]]:
    return [{"locale": "en", "label": text}]
