"""``/counts`` and below: the released figures, for people."""

from functools import cache
from pathlib import Path

from flask import Blueprint, Response, render_template, request
from sqlalchemy import Connection

from server.bundles.count_files import LICENCES
from server.core.counts import Cell, declaration, half_width
from server.core.encoding import format_json, sha256
from server.core.releases import VerifiedRelease, verify_release
from server.errors import NotFound
from server.store import releases
from server.usecases.campaigns import find_campaign, is_open, read_all_campaigns
from server.usecases.read_counts import find_table
from server.usecases.register import Register
from server.usecases.show_counts import WORDS, Figure, campaign_figures, general_figures, read_total, shown

_CHARTS = Path(__file__).parents[3] / "extension/.output/counts/charts.js"
_EMBEDDED = (
    "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'none'; frame-ancestors *; base-uri 'none'"
)
_WITH_KEY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)


def add_counts_pages(blueprint: Blueprint, register: Register) -> None:
    @blueprint.get("/counts")
    def counts() -> str:
        with register.database.reading() as connection:
            figures = general_figures(connection)
            total = read_total(connection, declaration().tables["europe"])
            campaigns = read_all_campaigns(connection)
            newest = releases.list_releases(connection, list(declaration().tables), limit=8)
        return render_template("counts.html", total=total, campaigns=campaigns, newest=newest, **_shared(figures))

    @blueprint.get("/counts/methods")
    def counts_methods() -> str:
        return render_template("counts_methods.html", half_width=half_width, **_shared([]))

    @blueprint.get("/counts/releases/<release_id>")
    def counts_release(release_id: str) -> str:
        with register.database.reading() as connection:
            release = _open_release(connection, release_id, register)
            table = find_table(connection, release.claims["table"])
        rows = [(_cell_name(cell), value) for cell, value in release.cells.items()]
        return render_template(
            "counts_release.html", release=release, table=table, rows=rows, shown=shown, **_shared([])
        )

    @blueprint.get("/counts/embed/<chart>")
    def counts_embed(chart: str) -> Response:
        with register.database.reading() as connection:
            found = [figure for figure in general_figures(connection) if figure.name == chart]
        if not found:
            raise NotFound("not_found", "there is no such chart")
        page = render_template("counts_embed.html", **_shared(found))
        response = Response(page, mimetype="text/html")
        response.headers["Content-Security-Policy"] = _EMBEDDED
        return response

    @blueprint.get("/counts/campaigns/<slug>")
    def counts_campaign(slug: str) -> Response:
        with register.database.reading() as connection:
            campaign = find_campaign(connection, slug)
            figures = campaign_figures(connection, campaign) if campaign.open_figures else []
            total = read_total(connection, campaign.table) if campaign.open_figures else None
        page = render_template("counts_campaign.html", campaign=campaign, total=total, **_shared(figures))
        response = Response(page, mimetype="text/html")
        if not campaign.open_figures:
            response.headers["Content-Security-Policy"] = _WITH_KEY
        return response

    @blueprint.get("/counts/campaigns/<slug>/logo.png")
    def counts_logo(slug: str) -> Response:
        with register.database.reading() as connection:
            logo = find_campaign(connection, slug).logo
        if logo is None:
            raise NotFound("not_found", "this campaign has no logo")
        return _kept(Response(logo, mimetype="image/png"))

    @blueprint.get("/counts/charts.js")
    def counts_charts() -> Response:
        script = _charts()
        if script is None:
            raise NotFound("not_found", "this register runs without its charts")
        return _kept(Response(script, mimetype="text/javascript"))

    def _shared(figures: list[Figure]) -> dict[str, object]:
        script = _charts()
        return {
            "declaration": declaration(),
            "licence": LICENCES[declaration().licence],
            "figures": figures,
            "drawn": _data_block(figures),
            "charts": sha256(script).hex()[:12] if script else None,
            "home": register.public_url,
        }


@cache
def _charts() -> bytes | None:
    """Return the script that draws; None on a machine where it was not built: then there are tables alone."""
    return _CHARTS.read_bytes() if _CHARTS.is_file() else None


def _data_block(figures: list[Figure]) -> str:
    """Return what is drawn, as JSON that can stand in a page: "<" could end its element."""
    data = {figure.name: list(figure.data) for figure in figures}
    return format_json(data).decode().replace("<", "\\u003c")


def _open_release(connection: Connection, release_id: str, register: Register) -> VerifiedRelease:
    """Return a release that everyone may read. Raises NotFound."""
    found = releases.find_release(connection, release_id)
    if found is None or not found.published or not is_open(connection, find_table(connection, found.table_name)):
        raise NotFound("release_not_found", "no such release; its epoch may not be over")
    return verify_release(found.signed, register.keyring.policy)


def _cell_name(cell: Cell) -> str:
    countries = declaration().countries
    named = [
        countries[value].name if value in countries else WORDS.get(value, value) for value in cell if value != "_T"
    ]
    return ", ".join(named) or "All"


def _kept(response: Response) -> Response:
    response.headers["Cache-Control"] = "public, max-age=300"
    response.add_etag()
    response.make_conditional(request)
    return response
