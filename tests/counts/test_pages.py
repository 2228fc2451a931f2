"""The pages of the counts: the numbers of the API, in words that a stranger understands, and nothing that is closed."""

import json
import os
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from server.core.counts import declaration
from server.usecases.campaigns import add_campaign, create_key
from tests.counts.test_api import DESCRIPTION, read
from tests.fixtures.counting import BEGAN, GRACE_S, contribute, counting_since, release_until
from tests.fixtures.servers import make_settings, register_of, running

WEEK_S = 7 * 86_400
LOGO = b"\x89PNG\r\n\x1a\n" + bytes(40)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    folder = tmp_path_factory.mktemp("register")
    with counting_since(make_settings(folder)) as app:
        register = register_of(app)
        add_campaign(register, "closed", DESCRIPTION, logo=LOGO, open_figures=False, now=BEGAN)
        add_campaign(
            register,
            "open",
            DESCRIPTION | {"names": {"de": "<b>Faire</b> KI"}},
            logo=None,
            open_figures=True,
            now=BEGAN,
        )
        for week in range(13):
            contribute(register, 1234, country="DE", hour=BEGAN + week * WEEK_S, campaign="open")
            contribute(register, 4321, country="FR", hour=BEGAN + week * WEEK_S + 3600, campaign="closed")
        release_until(register, folder, BEGAN + 13 * WEEK_S + GRACE_S)
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def page(client: FlaskClient, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200, path
    return unescape(response.get_data(as_text=True))


def tables(text: str) -> list[list[tuple[str, ...]]]:
    bodies = re.findall(r"<tbody>(.*?)</tbody>", text, re.DOTALL)
    return [
        [tuple(re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)) for row in re.findall(r"<tr>(.*?)</tr>", body)]
        for body in bodies
    ]


def shown(value: int) -> str:
    return f"{value:,}" if value >= 10 else "<10"


def test_the_numbers_are_those_of_the_api(client: FlaskClient) -> None:
    text = page(client, "/counts")
    weeks, _map, ranking, platforms, _outcomes = tables(text)
    rows = read(client, "/v1/counts?table=europe&by=epoch")["rows"]
    assert [week[:2] for week in weeks] == [(row["epoch"], shown(row["value_noisy"])) for row in rows]
    told = {row[1]: row[3] for row in ranking}
    for row in read(client, "/v1/counts?table=countries&by=geo")["rows"]:
        assert told[declaration().countries[row["geo"]].name] == shown(row["value_noisy"])
    assert len(platforms) == 25
    [total] = read(client, "/v1/counts?table=europe&by=")["rows"]
    assert f"<strong>{total['value_noisy']:,}</strong>" in text


def test_what_is_small_is_told_as_small(client: FlaskClient) -> None:
    _weeks, _map, ranking, *_ = tables(page(client, "/counts"))
    by_name = {row[1]: row for row in ranking}
    assert by_name["Germany"][0] in {"1", "2"}
    assert by_name["Malta"][:3] == ("–", "Malta", "–") or by_name["Malta"][3] != "<10"
    assert sum(row[3] == "<10" for row in ranking) > 15
    assert not any(cell.startswith("-") for row in ranking for cell in row), "nobody registers minus three times"


def test_the_chart_draws_what_the_table_says(client: FlaskClient) -> None:
    text = client.get("/counts").get_data(as_text=True)
    block = re.search(r'<script type="application/json" id="figures">(.*?)</script>', text, re.DOTALL)
    if block is None and not os.environ.get("CI"):
        pytest.skip("the charts were not built")
    assert block is not None
    figures = json.loads(block[1])
    rows = read(client, "/v1/counts?table=europe&by=epoch")["rows"]
    assert [(week["epoch"], week["value"]) for week in figures["weeks"]] == [
        (row["epoch"], row["value_noisy"]) for row in rows
    ]
    assert figures["weeks"][0]["date"] == "2026-01-05"


def test_noise_and_words(client: FlaskClient) -> None:
    text = page(client, "/counts")
    assert "Published figures contain random noise." in text
    assert "at most e<sup>2</sup> ≈ 7.4 times" in text
    assert "people object" not in text
    methods = page(client, "/counts/methods")
    for said in (
        "ONS Longitudinal Study",
        "Wikimedia",
        "OpenDP",
        "transparency log is public",
        "e<sup>3</sup> ≈ 20",
        "e<sup>4</sup> ≈ 55",
    ):
        assert said in methods
    for said in (
        "48 hours after its epoch",
        ": 20, or 50 for each million",
        "Counting began on 2026-01-05",
        "up to 32 cells",
    ):
        assert said in methods


def test_a_release_has_a_page_for_ever(client: FlaskClient) -> None:
    release = read(client, "/v1/releases/countries-2026-W05")
    text = page(client, "/counts/releases/countries-2026-W05")
    [cells] = tables(text)
    assert [int(row[2]) for row in cells] == [cell["value"] for cell in release["cells"]]
    assert "/v1/releases/countries-2026-W05?format=jws" in text


@pytest.mark.parametrize(
    "path",
    [
        "/counts/releases/countries-2020-W01",
        "/counts/releases/campaign-closed-2026-W02",
        "/counts/embed/secrets",
        "/counts/campaigns/none",
        "/counts/campaigns/open/logo.png",
    ],
)
def test_what_is_not_there_or_not_open_is_not_found(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert response.content_type == "application/problem+json"


def test_a_closed_campaigns_figures_are_on_no_page(client: FlaskClient) -> None:
    """4321 a week would show as a number in its tables."""
    for path in ("/counts", "/counts/campaigns/closed", "/counts/campaigns/open"):
        assert "campaign-closed-2026" not in page(client, path)
    closed = page(client, "/counts/campaigns/closed")
    assert tables(closed) == []
    assert re.findall(r'id="figures">(.*?)<', closed) in (["{}"], []), "nor in what its script would draw"
    assert "API key" in closed or "Authorization: Bearer" in closed
    assert "connect-src 'self'" in client.get("/counts/campaigns/closed").headers["Content-Security-Policy"]
    logo = client.get("/counts/campaigns/closed/logo.png")
    assert (logo.data, logo.content_type) == (LOGO, "image/png")


def test_what_is_drawn_cannot_end_its_own_element() -> None:
    from server.usecases.show_counts import Figure
    from server.web.pages.counts import _data_block

    figure = Figure("weeks", "", "", "", (), (), (), [{"epoch": "</script><script>alert(1)</script>"}])
    block = _data_block([figure])
    assert "<" not in block
    assert json.loads(block) == {"weeks": [{"epoch": "</script><script>alert(1)</script>"}]}


def test_an_open_campaign_shows_its_own(client: FlaskClient) -> None:
    weeks, ranking = tables(page(client, "/counts/campaigns/open"))
    rows = read(client, "/v1/counts?table=campaign-open&by=epoch")["rows"]
    assert [week[:2] for week in weeks] == [(row["epoch"], shown(row["value_noisy"])) for row in rows]
    assert ranking[0][1] == "Germany"
    assert "e<sup>3</sup> ≈ 20 times, if you joined this campaign" in page(client, "/counts/campaigns/open")


def test_the_rest_of_a_campaign_is_called_what_it_is(client: FlaskClient) -> None:
    """Its own countries apart, it holds all others: Spain, as well as who did not tell."""
    _weeks, ranking = tables(page(client, "/counts/campaigns/open"))
    assert {row[1] for row in ranking} == {"Germany", "France", "Other countries, or not told"}
    assert "Other countries, or not told" in page(client, "/counts/releases/campaign-open-2026-W02")
    assert "Elsewhere or not told" in page(client, "/counts/releases/countries-2026-W02")
    assert 'ZZ,"Other countries, or not told",' in page(client, "/v1/tables/campaign-open/countries.csv")


def test_a_key_opens_what_an_open_campaign_shows(app: Flask, client: FlaskClient) -> None:
    key = create_key(register_of(app), "closed", name="press", now=BEGAN)
    address = "/counts/campaigns/closed/figures"
    refused = client.get(address)
    assert (refused.status_code, json.loads(refused.data)["code"]) == (401, "api_key_required")
    opened = client.get(address, headers={"Authorization": f"Bearer {key}"})
    assert opened.headers["Cache-Control"] == "private, no-cache"
    weeks, ranking = tables(unescape(opened.get_data(as_text=True)))
    assert len(weeks) == 13
    assert ranking[0][:2] == ("1", "France")
    assert ranking[0][2] != "–", "per million"
    assert "/v1/tables/" not in opened.get_data(as_text=True), "a link carries no key"
    told = re.findall(r'role="img" aria-label="([^"]*)"', opened.get_data(as_text=True))
    assert not told or "Most registrations per million inhabitants: France" in told[1]
    assert json.loads(re.findall(r'id="figures">(.*?)<', opened.get_data(as_text=True))[0])["ranking"][0]["ranked"]


def test_the_first_cells_of_a_row_are_its_header(client: FlaskClient) -> None:
    for path in ("/counts", "/counts/campaigns/open", "/counts/releases/countries-2026-W02", "/counts/methods"):
        for body in re.findall(r"<tbody>(.*?)</tbody>", page(client, path), re.DOTALL):
            for row in re.findall(r"<tr>(.*?)</tr>", body):
                assert '<th scope="row">' in row


def test_what_only_a_script_draws_is_hidden_without_it(client: FlaskClient) -> None:
    charts = re.findall(r'<div class="chart"[^>]*>', client.get("/counts").get_data(as_text=True))
    assert all(chart.endswith(" hidden>") for chart in charts)


def test_a_name_is_text_and_no_markup(client: FlaskClient) -> None:
    assert "<b>Faire" not in client.get("/counts/campaigns/open").get_data(as_text=True)


@pytest.mark.parametrize("chart", ["weeks", "map", "ranking", "platforms", "outcomes"])
def test_a_chart_may_stand_in_other_pages(client: FlaskClient, chart: str) -> None:
    response = client.get(f"/counts/embed/{chart}")
    policy = response.headers["Content-Security-Policy"]
    assert "frame-ancestors *" in policy
    text = response.get_data(as_text=True)
    assert text.count('class="figure"') == 1
    assert "Source: " in text


@pytest.mark.parametrize("path", ["/counts", "/counts/methods", "/counts/campaigns/open", "/counts/campaigns/closed"])
def test_a_page_trusts_nobody_else(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    text = response.get_data(as_text=True)
    loaded = re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="([^"]*)"', text)
    assert loaded
    for target in loaded:
        assert target.startswith("/")
        assert client.get(unescape(target)).status_code == 200
    assert not re.search(r" style=| on[a-z]+=|<style", text)


def test_before_the_first_release_it_says_when(tmp_path: Path) -> None:
    with running(make_settings(tmp_path)) as app:
        text = page(app.test_client(), "/counts")
    assert "Nothing is released yet. The figures of a week appear 48 hours after its end." in text
    assert tables(text) == []


def test_without_its_charts_a_register_shows_tables(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from server.web.pages import counts

    counts._charts.cache_clear()
    monkeypatch.setattr(counts, "_CHARTS", Path("/nonexistent"))
    try:
        text = page(client, "/counts")
        assert "<script" not in text
        assert len(tables(text)) == 5
        assert '<details class="numbers" open>' in text
        assert client.get("/counts/charts.js").status_code == 404
    finally:
        counts._charts.cache_clear()
