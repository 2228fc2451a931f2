"""What a page may do to our card, in both browsers: it gets neither our words nor a click meant for another."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
from playwright.sync_api import Page
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.shadowroot import ShadowRoot
from selenium.webdriver.remote.webdriver import WebDriver

from tests.e2e import webdriver
from tests.e2e.firefox import tunnelling
from tests.e2e.stage import (
    BUILD,
    CHROMIUM,
    REGISTER,
    Browser,
    Card,
    browsing,
    make_certificate,
    serving_pages,
    wait_until,
)
from tests.e2e.webdriver import cards, firefox

pytestmark = pytest.mark.e2e

NOTICE = """<div role="region" id="notice" aria-label="Notice">
<h2>Learn how we'll use your information as we improve AI at Meta</h2>
<p>We rely on legitimate interests. You have the right to object.
<a href="https://www.facebook.com/help/contact/712876720715583">object</a></p> <button>OK</button></div>"""
HEAD = '<!doctype html><html lang="en"><title>Facebook</title>'
PAGES = {
    "/empty": f"{HEAD}<main><h1>Home</h1></main><template>{NOTICE}</template>",
    "/named": f"""{HEAD}<script>
      customElements.define('proof-of-objection-card', class extends HTMLElement {{}})
    </script><main><h1>Home</h1></main>{NOTICE}""",
    "/": f"{HEAD}<main><h1>Home</h1></main>{NOTICE}",
    "/modal": f'{HEAD}<dialog id="dialog">{NOTICE}</dialog><script>dialog.showModal()</script>',
    "/no-top-layer": f"""{HEAD}<script>
      for (const place of [window, document])
        place.addEventListener('beforetoggle', (event) => event.preventDefault(), true)
    </script><main><h1>Home</h1></main>{NOTICE}
    """,
}
RECORD, NOT_NOW = "Record my objection", "Not now"
AGAIN = "Please click once more"


class Person(Protocol):
    """Somebody before a browser: opens a page, looks at the card, clicks where its button is."""

    def open(self, path: str) -> None: ...  # in a new tab, instead of the one before
    def run(self, script: str) -> Any: ...  # as the page: statements with ``return``
    def center(self, button: str = RECORD) -> tuple[float, float]: ...  # raises when there is no card
    def click(self, x: float, y: float) -> None: ...
    def picture(self) -> bytes: ...  # of the inner part of the card
    def cards(self) -> int: ...
    def says(self, words: str) -> bool: ...
    def reviews(self) -> int: ...  # open reviews, which are closed then
    def run_in_review(self, script: str) -> Any: ...  # once one is open; until the script calls ``done``
    def sleep_background(self) -> None: ...


@dataclass
class InChromium:
    browser: Browser
    page: Page

    def open(self, path: str) -> None:
        earlier, self.page = self.page, self.browser.open(f"https://www.facebook.com{path}")
        earlier.close()

    def run(self, script: str) -> Any:
        return self.page.evaluate(f"() => {{ {script} }}")

    def center(self, button: str = RECORD) -> tuple[float, float]:
        return Card(self.page).center(button)

    def click(self, x: float, y: float) -> None:
        self.page.mouse.click(x, y)

    def picture(self) -> bytes:
        x, y = self.center()
        return self.page.screenshot(clip={"x": x - 60, "y": y - 90, "width": 240, "height": 100})

    def cards(self) -> int:
        return len(Card(self.page).buttons(NOT_NOW))

    def says(self, words: str) -> bool:
        return Card(self.page).says(words)

    def reviews(self) -> int:
        opened = [page for page in self.browser.context.pages if "/review.html" in page.url]
        for page in opened:
            page.close()
        return len(opened)

    def run_in_review(self, script: str) -> Any:
        def opened() -> list[Page]:
            return [page for page in self.browser.context.pages if "/review.html" in page.url]

        wait_until(opened)
        return opened()[0].evaluate(f"() => new Promise((done) => {{ {script} }})")

    def sleep_background(self) -> None:
        self.browser.stop_workers(self.page)


@dataclass
class InFirefox:
    driver: WebDriver
    window: str

    def open(self, path: str) -> None:
        self.driver.switch_to.new_window("tab")
        earlier, self.window = self.window, self.driver.current_window_handle
        self.driver.switch_to.window(earlier)
        self.driver.close()
        self.driver.switch_to.window(self.window)
        self.driver.get(f"https://www.facebook.com{path}")

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def root(self) -> ShadowRoot:
        return cards(self.driver)[0]

    def center(self, button: str = RECORD) -> tuple[float, float]:
        [found] = [one for one in self.root().find_elements(By.CSS_SELECTOR, "button") if one.text == button]
        box = found.rect
        # ``rect`` counts from the document's corner; these pages do not scroll.
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def click(self, x: float, y: float) -> None:
        actions = ActionBuilder(self.driver)
        actions.pointer_action.move_to_location(round(x), round(y)).click()
        actions.perform()

    def picture(self) -> bytes:
        return self.root().find_element(By.CSS_SELECTOR, ".soft").screenshot_as_png

    def cards(self) -> int:
        return len(cards(self.driver))

    def says(self, words: str) -> bool:
        return words in self.root().find_element(By.CSS_SELECTOR, ".status").text

    def reviews(self) -> int:
        opened = [handle for handle in self.driver.window_handles if handle != self.window]
        for handle in opened:
            self.driver.switch_to.window(handle)
            # Firefox never tells who opened a window that it is there when the window is closed before.
            wait_until(lambda: self.driver.find_elements(By.XPATH, "//button[contains(., 'Confirm and record')]"))
            self.driver.close()
        self.driver.switch_to.window(self.window)
        return len(opened)

    def run_in_review(self, script: str) -> Any:
        wait_until(lambda: len(self.driver.window_handles) > 1)
        self.driver.switch_to.window(next(one for one in self.driver.window_handles if one != self.window))
        self.driver.set_script_timeout(30)
        return self.driver.execute_async_script(f"const done = arguments[0]; {script}")

    def sleep_background(self) -> None:
        """Firefox has no command for it; its event page is as slow to answer as it is."""


@pytest.fixture(scope="module", params=["chromium", "firefox"])
def person(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    folder = tmp_path_factory.mktemp("attacks")
    with ExitStack() as stack:
        port = stack.enter_context(serving_pages(PAGES, make_certificate(folder)))
        if request.param == "chromium":
            if CHROMIUM is None or not BUILD.exists():
                pytest.skip("needs Chromium and a production build of the extension (make extension)")
            browser = stack.enter_context(browsing(folder, pages_port=port, register_port=port))
            yield InChromium(browser, browser.open("https://www.facebook.com/empty"))
            return
        if webdriver.FIREFOX is None or not webdriver.BUILD.exists():
            pytest.skip("needs Firefox and a production build of the extension (make extension)")
        hosts = {".facebook.com": port, REGISTER.removeprefix("https://"): port}
        driver = stack.enter_context(firefox(folder, stack.enter_context(tunnelling(hosts))))
        yield InFirefox(driver, driver.current_window_handle)


# A page finds our host by what lies at the card's place, whatever it is called.
HOST = "const host = document.elementFromPoint({x}, {y});"


def with_host(person: Person, script: str) -> Any:
    x, y = person.center()
    return person.run(HOST.format(x=x, y=y) + script)


def show(person: Person, path: str) -> None:
    person.open(path)
    wait_until(person.cards)


def opens_review(person: Person) -> bool:
    """Click the card as often as it asks for it, as a person would who sees it; say whether the review opened."""
    for _ in range(20):
        time.sleep(0.7)
        person.click(*person.center())
        told_by = time.monotonic() + 3  # a busy machine answers late, and then wants another click
        while time.monotonic() < told_by and not person.says(AGAIN):
            if person.reviews():
                return True
            time.sleep(0.1)
    return False


STYLES = """
for (const name of ['--ink', '--soft', '--paper', '--line', '--accent', '--on-accent'])
  CSS.registerProperty({ name, syntax: '<length>', inherits: true, initialValue: '0px' })
const style = document.createElement('style')
style.textContent = `
  @keyframes rise { to { opacity: 0 } }
  html { opacity: .02 !important; }
  html > :not(head, body) {
    opacity: 0 !important; color: transparent !important; position: fixed !important; inset: 0 !important;
    width: 100vw !important; height: 100vh !important; transform: scale(4) !important; font-size: 90px !important;
    visibility: hidden !important; -webkit-text-fill-color: transparent !important; clip-path: circle(1px) !important;
    transition: all 1000s !important; animation: rise 1ms forwards !important; mix-blend-mode: difference !important;
  }
  *::backdrop { display: block !important; position: fixed !important; inset: 0 !important; background: red }`
document.head.append(style)
"""


def test_page_cannot_change_its_look(person: Person) -> None:
    show(person, "/")
    time.sleep(0.5)  # a card that rises has risen
    before = person.picture()
    person.run(STYLES)
    with_host(person, "host.style.cssText = 'all: unset; opacity: 0 !important; position: fixed; inset: 0'")
    time.sleep(0.5)
    assert person.picture() == before
    person.click(40, 40)
    time.sleep(1)
    assert person.reviews() == 0, "the card is where it is seen, and nowhere else"
    assert opens_review(person)


def test_filter_that_changes_its_look_stops_clicks(person: Person) -> None:
    """Firefox applies a filter of the root element to the top layer, too; an SVG filter may draw anything."""
    show(person, "/")
    time.sleep(0.5)
    before = person.picture()
    person.run("document.documentElement.style.filter = 'opacity(0)'")
    time.sleep(0.5)
    if person.picture() != before:
        person.click(*person.center())
        time.sleep(1)
        assert person.reviews() == 0
        person.run("document.documentElement.style.filter = ''")
    assert opens_review(person)


def test_page_cannot_keep_it_out_of_the_top_layer(person: Person) -> None:
    show(person, "/no-top-layer")
    x, y = person.center()
    person.run("""const cover = document.createElement('div')
      cover.id = 'cover'
      cover.style = 'position: fixed; inset: 0; z-index: 2147483647'
      document.documentElement.append(cover)""")
    assert person.run(f"return document.elementFromPoint({x}, {y}).id") != "cover"
    assert opens_review(person)


DECOY = """
const decoy = document.createElement('div')
decoy.textContent = 'Win a telephone!'
decoy.id = 'decoy'
decoy.style = 'position: fixed; inset: auto 0 0 auto; margin: 0; width: 400px; height: 260px; background: gold; ' +
  'pointer-events: none; z-index: 2147483647'
"""
# What is done to the card, and how it ends.
COVERS = {
    "popover that lets clicks through": (
        f"{DECOY} decoy.popover = 'manual'; document.body.append(decoy); decoy.showPopover()",
        "document.getElementById('decoy').remove()",
    ),
    "backdrop that lets clicks through": (
        f"""{DECOY} decoy.popover = 'manual'
        decoy.style = 'position: fixed; inset: 0 auto auto 0; width: 1px; margin: 0'
        const style = document.createElement('style')
        style.textContent = '#decoy::backdrop {{ background: gold; pointer-events: none }}'
        document.head.append(style); document.body.append(decoy); decoy.showPopover()""",
        "document.getElementById('decoy').remove()",
    ),
    "popover that comes and goes": (
        f"""{DECOY} decoy.popover = 'manual'; document.body.append(decoy)
        window.timer = setInterval(() => {{ decoy.togglePopover() }}, 150)""",
        "clearInterval(window.timer); document.getElementById('decoy').remove()",
    ),
    "page that is busy with nothing": (
        f"""{DECOY} decoy.popover = 'manual'; document.body.append(decoy)
        window.timer = setInterval(() => {{
          decoy.showPopover()
          requestAnimationFrame(() => setTimeout(() => {{
            const until = performance.now() + 700
            while (performance.now() < until);
            decoy.hidePopover()
          }}, 20))
        }}, 1000)""",
        "clearInterval(window.timer); document.getElementById('decoy').remove()",
    ),
    "card too small to read": (
        "document.documentElement.style.zoom = 0.1",
        "document.documentElement.style.zoom = ''",
    ),
    "card that moves": (
        """let on = false
        window.timer = setInterval(() => { on = !on; document.documentElement.style.zoom = on ? 1.02 : 1 }, 120)""",
        "clearInterval(window.timer); document.documentElement.style.zoom = ''",
    ),
    "transition of the whole view": (
        """const style = document.createElement('style')
        style.textContent = `::view-transition { pointer-events: none; background: gold }
          ::view-transition-group(root) { animation-duration: 60s }`
        document.head.append(style)
        window.transition = document.startViewTransition(() => {})""",
        "window.transition.skipTransition()",
    ),
}


@pytest.mark.parametrize("name", COVERS)
def test_click_on_a_card_that_is_not_seen_opens_nothing(person: Person, name: str) -> None:
    attack, end = COVERS[name]
    show(person, "/")
    assert opens_review(person), "so what keeps it from opening is the attack"
    show(person, "/")
    person.run(attack)
    time.sleep(1.2)
    for _ in range(3):
        person.click(*person.center())
        time.sleep(0.6)
    assert person.reviews() == 0
    person.run(end)
    assert opens_review(person)


def test_dialog_that_was_opened_again_does_not_cover_it(person: Person) -> None:
    show(person, "/modal")
    person.run(
        f"{DECOY} dialog.append(decoy); "
        "dialog.style = 'pointer-events: none; width: 1px; overflow: visible'; dialog.close(); dialog.showModal()"
    )
    x, y = person.center()
    person.run("document.getElementById('decoy').style.pointerEvents = 'auto'")
    assert person.run(f"return document.elementFromPoint({x}, {y}).id") != "decoy"


def test_moved_into_a_frame_it_comes_back(person: Person) -> None:
    show(person, "/")
    with_host(
        person,
        """const frame = document.createElement('iframe')
        frame.style = 'position: fixed; inset: 0; width: 100vw; height: 100vh; opacity: 0; border: 0'
        document.body.append(frame)
        frame.contentDocument.body.append(host)""",
    )
    person.run("setTimeout(() => document.querySelector('iframe').style.pointerEvents = 'none', 3000)")
    person.click(40, 40)
    time.sleep(1)
    assert person.reviews() == 0
    wait_until(person.cards)
    assert opens_review(person)


FLICKER = """
const notice = document.getElementById('notice') ??
  document.querySelector('template').content.firstElementChild.cloneNode(true)
const pause = () => new Promise((resolve) => setTimeout(resolve, {pause}))
const flicker = async () => {{
  for (let round = 0; round < {rounds}; round++) {{
    document.body.append(notice)
    await pause()
    notice.remove()
    await pause()
  }}
  document.body.append(notice)
}}
void flicker()
"""


@pytest.mark.parametrize(("rounds", "pause"), [(1, 0), (1, 25), (40, 25)])
def test_notice_that_flickers_has_one_card(person: Person, rounds: int, pause: int) -> None:
    """An answer that comes late belongs to a question that nobody asks any more: it must not leave a second card."""
    person.open("/empty")
    person.sleep_background()
    person.run(FLICKER.format(rounds=rounds, pause=pause))
    time.sleep(3 + rounds * pause / 500)
    wait_until(person.cards)
    assert person.cards() == 1
    person.click(*person.center(NOT_NOW))
    wait_until(lambda: person.cards() == 0)
    person.run(FLICKER.format(rounds=1, pause=25))
    time.sleep(1.5)
    assert person.cards() == 0, "a person's no is an answer"


def test_wordings_that_flip_have_one_card(person: Person) -> None:
    show(person, "/")
    person.run("""
      const heading = document.querySelector('#notice h2')
      const words = [heading.textContent, 'Your information and AI at Meta', 'AI at Meta: right to object']
      let turn = 0
      const timer = setInterval(() => {
        heading.textContent = words[++turn % 3]
        if (turn > 120) clearInterval(timer)
      }, 33)
    """)
    most = 0
    until = time.monotonic() + 8
    while time.monotonic() < until:
        most = max(most, person.cards())
    assert most <= 1
    assert opens_review(person)


# As fast as a program can: what a person does who clicks twice, or where a game asks for many clicks.
CLICKS = """
const title = 'Review before you record'
const words = (name) => [...document.querySelectorAll(name)].map(({ textContent }) => textContent)
const timer = setInterval(() => {
  const confirm = [...document.querySelectorAll('button')].find((one) => one.textContent === 'Confirm and record')
  confirm?.click()
  if (words('h1').length === 0 || words('h1').includes(title)) return
  clearInterval(timer)
  done(performance.now())
}, 20)
"""


def test_confirm_waits_until_the_sheet_was_seen(person: Person) -> None:
    show(person, "/modal")
    x, y = person.center()
    for _ in range(20):
        time.sleep(0.7)
        person.click(x, y)
        time.sleep(0.2)
        if not person.says(AGAIN):
            break
    taken_ms = person.run_in_review(CLICKS)
    print(f"confirmed {taken_ms:.0f} ms after the sheet began to load")
    assert taken_ms >= 1000
