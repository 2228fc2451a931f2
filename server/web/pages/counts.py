"""``/counts`` and below: the released figures, for people."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from flask import Blueprint, Response, render_template, request
from sqlalchemy import Connection

from server.bundles.count_files import LICENCES
from server.core.counts import MAX_CONVOLVED, TOTAL, Cell, Declared, declaration, half_width, times_likelier
from server.core.encoding import format_json, sha256
from server.core.releases import VerifiedRelease, verify_release
from server.errors import NotFound
from server.store import campaigns, releases, tallies
from server.usecases.campaigns import find_campaign, is_open, read_all_campaigns
from server.usecases.read_counts import SMALL, find_published, find_table
from server.usecases.register import Register
from server.usecases.show_counts import WORDS, Figure, campaign_figures, general_figures, read_total, shown
from server.web.figures import published, refuse_strangers

_CHARTS = Path(__file__).parents[2] / "assets/charts.js"
_EMBEDDED = (
    "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; "
    "form-action 'none'; frame-ancestors *; base-uri 'none'"
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
            all_campaigns = read_all_campaigns(connection)
            newest = releases.list_releases(connection, list(declaration().tables), limit=8)
        return render_template(
            "counts.html", total=total, campaigns=all_campaigns, newest=newest, **_shared(register, figures)
        )

    @blueprint.get("/counts/methods")
    def counts_methods() -> str:
        with register.database.reading() as connection:
            began = datetime.fromtimestamp(tallies.read_counting(connection).since, UTC).date()
        return render_template(
            "counts_methods.html",
            half_width=half_width,
            convolved=MAX_CONVOLVED,
            began=began,
            words=WORDS,
            **_shared(register, []),
        )

    @blueprint.get("/counts/releases/<release_id>")
    def counts_release(release_id: str) -> str:
        with register.database.reading() as connection:
            release = _open_release(connection, release_id, register)
            table = find_table(connection, release.claims["table"])
        rows = [(_cell_name(table, cell), value) for cell, value in release.cells.items()]
        return render_template(
            "counts_release.html", release=release, table=table, rows=rows, shown=shown, **_shared(register, [])
        )

    @blueprint.get("/counts/embed/<chart>")
    def counts_embed(chart: str) -> Response:
        with register.database.reading() as connection:
            found = [figure for figure in general_figures(connection) if figure.name == chart]
        if not found:
            raise NotFound("not_found", "there is no such chart")
        page = render_template("counts_embed.html", **_shared(register, found))
        response = Response(page, mimetype="text/html")
        response.headers["Content-Security-Policy"] = _EMBEDDED
        return response

    @blueprint.get("/counts/charts.js")
    def counts_charts() -> Response:
        script = _charts()
        if script is None:
            raise NotFound("not_found", "this register runs without its charts")
        return _kept(Response(script, mimetype="text/javascript"))

    _add_campaign_pages(blueprint, register)


def _add_campaign_pages(blueprint: Blueprint, register: Register) -> None:
    @blueprint.get("/counts/campaigns/<slug>")
    def counts_campaign(slug: str) -> Response:
        with register.database.reading() as connection:
            campaign = find_campaign(connection, slug)
            has_logo = campaigns.find_logo(connection, campaign.slug) is not None
            figures = campaign_figures(connection, campaign) if campaign.open_figures else []
            total = read_total(connection, campaign.table) if campaign.open_figures else None
        page = render_template(
            "counts_campaign.html", campaign=campaign, has_logo=has_logo, total=total, **_shared(register, figures)
        )
        response = Response(page, mimetype="text/html")
        if not campaign.open_figures:
            response.headers["Content-Security-Policy"] = _WITH_KEY
        return response

    @blueprint.get("/counts/campaigns/<slug>/figures")
    def counts_campaign_figures(slug: str) -> Response:
        """Part of a page, for its script: what the page of an open campaign shows at once."""
        with register.database.reading() as connection:
            campaign = find_campaign(connection, slug)
            refuse_strangers(connection, campaign.table)
            figures = campaign_figures(connection, campaign)
            total = read_total(connection, campaign.table)
        part = render_template("counts_campaign_figures.html", total=total, **_shared(register, figures))
        return published(Response(part, mimetype="text/html"), campaign.table)

    @blueprint.get("/counts/campaigns/<slug>/logo.png")
    def counts_logo(slug: str) -> Response:
        with register.database.reading() as connection:
            logo = campaigns.find_logo(connection, find_campaign(connection, slug).slug)
        if logo is None:
            raise NotFound("not_found", "this campaign has no logo")
        return _kept(Response(logo, mimetype="image/png"))


def _shared(register: Register, figures: list[Figure]) -> dict[str, object]:
    script = _charts()
    return {
        "declaration": declaration(),
        "licence": LICENCES[declaration().licence],
        "figures": figures,
        "drawn": _data_block(figures),
        "charts": sha256(script).hex()[:12] if script else None,
        "home": register.public_url,
        "times_likelier": times_likelier,
        "small": SMALL,
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
    found = find_published(connection, release_id)
    if not is_open(connection, find_table(connection, found.table_name)):
        raise NotFound("release_not_found", "no such release; its epoch may not be over")
    return verify_release(found.signed, register.keyring.policy)


def _cell_name(table: Declared, cell: Cell) -> str:
    declared = declaration()
    named = [
        declared.place_name(table, value) if value in declared.countries else WORDS[value]
        for value in cell
        if value != TOTAL
    ]
    return ", ".join(named) or "All"


def _kept(response: Response) -> Response:
    response.headers["Cache-Control"] = "public, max-age=300"
    response.add_etag()
    response.make_conditional(request)
    return response
