"""Pages for people: home, counts, the verifier, API description, error list, and the practice notice."""

from pathlib import Path

from flask import Blueprint, Response, render_template

from schemas.openapi import describe
from server.bundles.readme import format_time
from server.bundles.verifier import verifier_page
from server.core.policies import format_trust_policy, policy_fingerprint
from server.errors import NotFound
from server.usecases.register import Register
from server.web.pages.counts import add_counts_pages
from server.web.pages.verifier import serve_verifier
from server.web.problems import TITLES

_HERE = Path(__file__).parent
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)


def create_blueprint(register: Register) -> Blueprint:
    blueprint = Blueprint("pages", __name__, template_folder=_HERE / "templates", static_folder=_HERE / "static")
    page = verifier_page()
    verifier = serve_verifier(page, policy=format_trust_policy(register.keyring.policy)) if page else None

    @blueprint.get("/")
    def home() -> str:
        fingerprint = policy_fingerprint(register.keyring.policy)
        losses = [(loss, format_time(loss.resumed_at)) for loss in register.losses()]
        return render_template(
            "home.html", register=register, fingerprint=fingerprint, verifier=verifier, losses=losses
        )

    @blueprint.get("/verify")
    def verify() -> Response:
        if verifier is None:
            raise NotFound("verifier_missing", "this register runs without its verifier page")
        response = Response(verifier.page, mimetype="text/html")
        response.headers["Content-Security-Policy"] = verifier.content_security_policy
        return response

    @blueprint.get("/docs")
    def docs() -> str:
        return render_template("docs.html", api=describe())

    @blueprint.get("/errors")
    def errors() -> str:
        return render_template("errors.html", titles=TITLES)

    add_counts_pages(blueprint, register)

    if register.practice:

        @blueprint.get("/practice")
        def practice() -> str:
            return render_template("practice.html")

    @blueprint.after_request
    def protect(response: Response) -> Response:
        response.headers.setdefault("Content-Security-Policy", _CONTENT_SECURITY_POLICY)
        return response

    return blueprint
