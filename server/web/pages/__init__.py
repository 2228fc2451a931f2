"""Pages for people: home, API description, error list, and the practice notice."""

from pathlib import Path

from flask import Blueprint, Response, render_template

from schemas.openapi import describe
from server.usecases.register import Register
from server.web.problems import TITLES

_HERE = Path(__file__).parent


def create_blueprint(register: Register) -> Blueprint:
    blueprint = Blueprint("pages", __name__, template_folder=_HERE / "templates", static_folder=_HERE / "static")

    @blueprint.get("/")
    def home() -> str:
        return render_template("home.html", register=register, fingerprint=register.keyring.issuer_kid)

    @blueprint.get("/docs")
    def docs() -> str:
        return render_template("docs.html", api=describe())

    @blueprint.get("/errors")
    def errors() -> str:
        return render_template("errors.html", titles=TITLES)

    if register.practice:

        @blueprint.get("/practice")
        def practice() -> str:
            return render_template("practice.html")

    @blueprint.after_request
    def protect(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = (
            "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; "
            "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
        )
        return response

    return blueprint
