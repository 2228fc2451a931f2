"""The register's pages in Chromium: axe finds nothing, the keyboard reaches everything, nothing overflows."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.e2e.stage import CHROMIUM, ROOT
from tests.fixtures.servers import serving

pytestmark = pytest.mark.e2e
AXE = ROOT / "extension/node_modules/axe-core/axe.min.js"
if (CHROMIUM is None or not AXE.exists()) and not os.environ.get("CI"):
    pytestmark = pytest.mark.skip("needs Chromium and the extension's node_modules")

PATHS = ["/", "/docs", "/errors", "/practice"]
LOOKS = [(1100, "light"), (375, "dark")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("register"), practice="on") as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, chromium_sandbox=False)
        # axe is injected past the pages' own policy, which forbids every script that is not ours.
        yield browser.new_context(bypass_csp=True).new_page()
        browser.close()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_axe_finds_nothing(page: Page, site: str, path: str, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(site + path)
    page.evaluate(AXE.read_text())
    violations = page.evaluate("axe.run().then(result => result.violations.map(({ id, nodes }) => [id, nodes.length]))")
    assert violations == []
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), "nothing may need sideways scrolling"


def test_keyboard_reaches_the_content_first_and_every_link(page: Page, site: str) -> None:
    page.goto(site + "/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    reached = {page.evaluate("document.activeElement.getAttribute('href')")}
    for _ in range(page.locator("a").count()):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.getAttribute('href')"))
    assert {link.get_attribute("href") for link in page.locator("a").all()} <= reached


def test_pages_load_nothing_from_elsewhere(page: Page, site: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path in PATHS:
        page.goto(site + path)
    assert asked
    assert [url for url in asked if not url.startswith(site)] == []
