"""The counts in a real Chromium: drawn, readable by keyboard and by axe, on a phone and in the dark."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, sync_playwright

from tests.counts.show_dashboard import PAGES, invented_year, served
from tests.e2e.stage import CHROMIUM
from tests.e2e.test_later import AXE, violations

pytestmark = pytest.mark.e2e
if (CHROMIUM is None or not AXE.exists()) and not os.environ.get("CI"):
    pytestmark = pytest.mark.skip("needs Chromium and the extension's node_modules")

FIGURES = ("weeks", "map", "ranking", "platforms", "outcomes")


@pytest.fixture(scope="module")
def register(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    with invented_year(tmp_path_factory.mktemp("register")) as (app, key), served(app) as address:
        yield address, key


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(reduced_motion="reduce")
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.text} {message.location}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    assert [text for text in said if "favicon" not in text] == [], "no error, and nothing the policy had to block"
    context.close()


def marks(page: Page, figure: str) -> int:
    return int(page.evaluate(f"document.querySelectorAll('[data-figure={figure}] svg :is(path, rect, circle)').length"))


def test_every_chart_is_drawn(page: Page, register: tuple[str, str]) -> None:
    page.goto(f"{register[0]}/counts")
    for figure in FIGURES:
        page.locator(f"[data-figure={figure}] svg").first.wait_for()
        assert marks(page, figure) > 3, figure
    assert marks(page, "map") > 35, "the thirty countries and their neighbours"
    page.locator("[data-figure=weeks] svg").hover(position={"x": 300, "y": 100})
    page.get_by_text("registrations, ").last.wait_for()


def test_an_embedded_chart_is_drawn_in_another_page(page: Page, register: tuple[str, str]) -> None:
    frame = f'<iframe title="chart" src="{register[0]}/counts/embed/map" width="700" height="700"></iframe>'
    news = Flask("news")
    news.add_url_rule("/", view_func=lambda: frame)
    with served(news) as address:
        page.goto(address)
        page.frame_locator("iframe").locator("[data-figure=map] svg").wait_for()


def test_a_campaigns_key_opens_its_figures(page: Page, register: tuple[str, str]) -> None:
    address, key = register
    page.goto(f"{address}/counts/campaigns/closed")
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
    page.get_by_text("Here they are.").wait_for()
    for figure in ("weeks", "ranking"):
        page.locator(f"[data-figure={figure}] svg").first.wait_for()
    page.get_by_text("The numbers as a table").last.click()
    page.get_by_role("rowheader", name="Germany", exact=True).wait_for()
    assert violations(page) == []
    assert key not in page.evaluate("document.documentElement.outerHTML + location.href + JSON.stringify(localStorage)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page: Page, register: tuple[str, str], scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
    for path in [*PAGES, "/counts/campaigns/closed", "/counts/embed/ranking"]:
        page.goto(register[0] + path)
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert violations(page) == [], path


@pytest.mark.parametrize("width", [375, 320])
def test_a_phone_needs_no_sideways_scrolling(page: Page, register: tuple[str, str], width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    for path in [*PAGES, "/counts/campaigns/closed"]:
        page.goto(register[0] + path)
        page.wait_for_timeout(150)
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), path


def test_the_keyboard_reaches_every_control(page: Page, register: tuple[str, str]) -> None:
    page.goto(f"{register[0]}/counts")
    visible = "[...document.querySelectorAll('a[href], summary, button, input')].filter((one) => one.checkVisibility())"
    controls = page.evaluate(f"{visible}.length")
    reached = set()
    for _ in range(controls + 5):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
    assert len(reached) >= controls


def test_on_paper_the_tables_are_open(page: Page, register: tuple[str, str], tmp_path: Path) -> None:
    page.goto(f"{register[0]}/counts")
    page.locator("[data-figure=outcomes] svg").first.wait_for()
    page.pdf(path=tmp_path / "counts.pdf")
    assert page.evaluate("[...document.querySelectorAll('details.numbers')].every((one) => one.open)")
