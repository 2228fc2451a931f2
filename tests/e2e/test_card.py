"""The card in real Chromium: within reach of keyboard and screen reader, out of reach of the page."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageChops
from playwright.sync_api import Page

from tests.e2e.stage import (
    SEEN_MS,
    WITH_EXTENSION,
    Browser,
    Card,
    browsing,
    make_certificate,
    serving_pages,
    wait_until,
)
from tests.e2e.test_later import AXE, violations

pytestmark = WITH_EXTENSION

WORDS = """<h2 tabindex="-1">Learn how we'll use your information as we improve AI at Meta</h2>
<p>We rely on legitimate interests. You have the right to object.</p>
<a href="https://www.facebook.com/help/contact/712876720715583">object</a> <button>OK</button>"""
TRAP = """<script>
const dialog = document.getElementById('notice')
const stops = () => [...dialog.querySelectorAll('a, button')]
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Tab') return
  const [first, last] = [stops().at(0), stops().at(-1)]
  if (document.activeElement === (event.shiftKey ? first : last)) {
    event.preventDefault();
    (event.shiftKey ? last : first).focus()
  }
}, true)
document.addEventListener('focusin', ({ target }) => dialog.contains(target) || stops()[0].focus(), true)
stops()[0].focus()
</script>"""
HEAD = """<!doctype html><html lang="en"><title>Facebook</title><style>
html > div { display: none !important; opacity: 0 !important; transform: scale(0) !important; }
*::backdrop { background: rgb(0 0 0 / 60%) !important; display: block !important; }
#notice { max-width: 420px; font-family: sans-serif; background: white; }
</style><main><h1>Home</h1><button>A post</button></main>"""
SHOW = "<script>document.getElementById('notice').showModal()</script>"
PAGES = {
    "/native": f'{HEAD}<dialog id="notice">{WORDS}</dialog>{SHOW}',
    "/native-trap": f'{HEAD}<dialog id="notice">{WORDS}</dialog>{SHOW}{TRAP}',
    "/aria-trap": f'{HEAD}<div role="dialog" aria-modal="true" id="notice" aria-label="Notice">{WORDS}</div>{TRAP}',
    "/region": f'{HEAD}<div role="region" id="notice" aria-label="Notice">{WORDS}</div>',
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("card")
    with (
        serving_pages(PAGES, make_certificate(folder)) as port,
        browsing(folder, pages_port=port, register_port=port) as running,
    ):
        yield running


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    page = browser.open(f"https://www.facebook.com{request.param}")
    Card(page).wait_for()
    yield page
    page.close()


def go_to(card: Card) -> None:
    """Press Tab until the card has the focus, as often as the page has things to stop at."""
    for _ in range(8):
        card.page.keyboard.press("Tab")
        if card.is_focused():
            return
    raise AssertionError("the keyboard does not get to the card")


def test_keyboard_reaches_it_and_leaves_it(browser: Browser, page: Page) -> None:
    card = Card(page)
    page.wait_for_timeout(SEEN_MS)
    go_to(card)
    page.keyboard.press("Tab")
    assert card.is_focused("Not now")
    page.keyboard.press("Shift+Tab")
    with browser.context.expect_page() as opened:
        page.keyboard.press("Enter")
    opened.value.get_by_role("heading", name="Review before you record").wait_for()
    opened.value.close()


def test_escape_sends_away_the_card_alone(page: Page) -> None:
    card = Card(page)
    go_to(card)
    page.keyboard.press("Escape")
    wait_until(lambda: not card.buttons())
    assert page.locator("#notice").is_visible()


def test_screen_reader_is_told(page: Page) -> None:
    wait_until(lambda: Card(page).says("A card on this page"))
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    names = {node["name"]["value"] for node in nodes if "name" in node}
    assert {name for name in names if "A card on this page" in name} == {
        "Proof of Objection: Meta’s notice about AI training was found. A card on this page lets you record your "
        "objection; so does the extension’s icon in the toolbar."
    }


def test_page_can_neither_read_nor_hide_it(page: Page) -> None:
    host = Card(page).host()
    assert host.evaluate("host => host.shadowRoot") is None
    host.evaluate("host => { host.style.cssText = 'display: none !important; opacity: 0 !important' }")
    host.evaluate("host => { host.hidden = true }")
    x, y = Card(page).center()
    assert host.evaluate("(host, [x, y]) => document.elementFromPoint(x, y) === host", [x, y])
    style = "host => [getComputedStyle(host).opacity, getComputedStyle(host).transform, getComputedStyle(host).display]"
    assert host.evaluate(style) == ["1", "none", "contents"]


def test_it_dims_nothing(page: Page) -> None:
    """The page's styles for what lies behind a top layer are not for our card: the notice is photographed as it is."""
    Card(page).host().evaluate("host => host.remove()")
    without = page.locator("#notice").screenshot()
    page.reload()
    Card(page).wait_for()
    difference = ImageChops.difference(*map(opened, (page.locator("#notice").screenshot(), without)))
    assert max(high for _, high in difference.getextrema()) < 8, "but for how letters are smoothed"


def opened(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture)).convert("RGB")


def test_clicks_by_hand_open_the_review(browser: Browser, page: Page) -> None:
    with browser.context.expect_page() as opened:
        Card(page).click()
    opened.value.get_by_role("heading", name="Review before you record").wait_for()
    opened.value.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_it(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
    if folder := os.environ.get("SCREENSHOT_FOLDER"):
        page.screenshot(path=Path(folder) / f"card-{page.url.rpartition('/')[2]}-{scheme}.png")
    show_copy_in_open_root(page)
    assert AXE.exists()
    assert violations(page) == []


def show_copy_in_open_root(page: Page) -> None:
    """Put a copy of the card on an otherwise empty page, in an open root: axe does not see into closed ones."""
    session = page.context.new_cdp_session(page)
    worlds: list[int] = []
    session.on("Runtime.executionContextCreated", lambda event: worlds.append(event["context"]["id"]))
    session.send("Runtime.enable")
    copy = """(() => {
      const rootOf = (one) => globalThis.chrome?.dom?.openOrClosedShadowRoot?.(one)
      const host = [...document.querySelectorAll('div')].find(rootOf)
      if (!host) return 0
      const root = rootOf(host)
      const open = document.createElement('div')
      open.attachShadow({ mode: 'open' }).innerHTML = root.innerHTML
      open.shadowRoot.querySelector('section').removeAttribute('popover')
      document.body.innerHTML = '<main><h1>Card</h1></main>'
      document.querySelector('main').append(open)
      host.remove()
      return open.shadowRoot.querySelectorAll('button').length
    })()"""
    counts = [
        session.send("Runtime.evaluate", {"expression": copy, "contextId": world})["result"].get("value", 0)
        for world in worlds
    ]
    session.detach()
    assert sum(counts) == 2, "the card's two buttons were copied"


def test_a_key_opens_the_popup(browser: Browser) -> None:
    keys = browser.worker.evaluate("chrome.commands.getAll().then(all => all.map(one => [one.name, one.shortcut]))")
    assert keys == [["_execute_action", "Alt+Shift+O"]]
