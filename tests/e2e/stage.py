"""The stage: a TLS server that is every Meta host, a TLS register, and Chromium with the production build loaded."""

import http.server
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from playwright.sync_api import BrowserContext, CDPSession, ElementHandle, Page, Worker, sync_playwright

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "extension/.output/tests/chrome-mv3"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WITH_EXTENSION = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        (CHROMIUM is None or not BUILD.exists()) and not os.environ.get("CI"),
        reason="needs Chromium and a production build of the extension (make extension)",
    ),
]
SEEN_MS = 700
"""Longer than our card must have been seen before it takes a click."""
REGISTER = "https://register.proof-of-objection.example"
_META = (
    "*.facebook.com",
    "*.instagram.com",
    "*.threads.net",
    "*.threads.com",
    "*.notice.example",
    "notfacebook.com",
    "news.example",
)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate, good for every host here, and its key; return both paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stage")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, SHA256())
    )
    certificate_file, key_file = folder / "stage.crt", folder / "stage.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


@contextmanager
def serving_pages(pages: dict[str, str], certificate: tuple[Path, Path]) -> Iterator[int]:
    """Serve ``pages`` over TLS on a free port: by address if they have one, else by path whatever the host."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = f"https://{self.headers['Host']}{self.path}"
            path = self.path.partition("?")[0]
            body = pages.get(address, pages.get(path, "<!doctype html><title>empty</title>")).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class TlsRegister:
    """A register behind TLS on a fixed port, which can be stopped and started again on the same data."""

    data: Path
    certificate: tuple[Path, Path]
    port: int
    anchors: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> dict[str, str]:
        settings = {"OBJECTION_DATA_DIR": str(self.data), "OBJECTION_PUBLIC_URL": REGISTER, "OBJECTION_WORK": "20"}
        return settings | ({"OBJECTION_ANCHORS": str(self.anchors)} if self.anchors else {})

    def start(self) -> None:
        certificate, key = self.certificate
        command = [sys.executable, "-m", "gunicorn", "-c", "python:server.gunicorn_conf", "--log-level", "error"]
        command += ["--certfile", str(certificate), "--keyfile", str(key), "wsgi:application"]
        environment = os.environ | self.settings | {"OBJECTION_BIND": f"127.0.0.1:{self.port}"}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
        _wait_for_tls(self.port)

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(timeout=30)
            self.process = None


def _wait_for_tls(port: int) -> None:
    context = ssl._create_unverified_context()
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"https://127.0.0.1:{port}/readyz", context=context, timeout=20)
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the register did not start")


@dataclass
class Browser:
    """Chromium with the extension. ``downloads`` is where it saves files."""

    context: BrowserContext
    downloads: Path
    name = "chromium"

    @property
    def extension(self) -> str:
        """Where the extension's own pages are."""
        return self.worker.url.rpartition("/")[0]

    def card(self, page: Page) -> "Card":
        return Card(page)

    def expect_page(self) -> AbstractContextManager[Any]:
        """Expect one tab or window to be opened by what is done meanwhile: ``value``, afterwards."""
        return self.context.expect_page()

    @property
    def worker(self) -> Worker:
        workers = self.context.service_workers
        return workers[0] if workers else self.context.wait_for_event("serviceworker", timeout=15_000)

    def open(self, url: str) -> Page:
        page = self.context.new_page()
        page.goto(url)
        page.bring_to_front()
        return page

    def stop_workers(self, page: Page) -> None:
        """Stop the extension's service worker, as Chromium does when it idles."""
        session = self.context.new_cdp_session(page)
        session.send("ServiceWorker.enable")
        session.send("ServiceWorker.stopAllWorkers")
        session.detach()

    def click_toolbar(self, page: Page) -> None:
        """Click the extension's toolbar icon while ``page`` is in front: the gesture that grants activeTab."""
        session = self.context.browser.new_browser_cdp_session()
        extension = self.worker.url.split("/")[2]
        targets = session.send("Target.getTargets", {"filter": [{"type": "tab"}]})["targetInfos"]
        tab = next(target for target in targets if target["url"] == page.url)
        session.send("Extensions.triggerAction", {"id": extension, "targetId": tab["targetId"]})

    def popup(self, page: Page) -> Page:
        """Click the toolbar icon on ``page``, and open what it shows in a tab behind it, which it takes for the one."""
        page.bring_to_front()
        self.click_toolbar(page)
        with self.expect_page() as opened:
            self.worker.evaluate("chrome.tabs.create({ url: '/popup.html', active: false })")
        return opened.value

    def put_clock_forward(self, page: Page, *, hours: float) -> None:
        """Have ``page`` alone live in the future."""
        page.evaluate("ms => { const { now } = Date; Date.now = () => now() + ms }", hours * 3_600_000)

    def saved_files(self) -> list[Path]:
        """The files that the browser has finished saving."""
        found = [path for path in sorted(self.downloads.rglob("*")) if path.suffix != ".crdownload"]
        return [path for path in found if path.is_file() and path.read_bytes()[:2] == b"PK"]


@dataclass
class Card:
    """Our card on ``page``, in a closed shadow root: found as screen readers find it, used by mouse and keys.

    A button that is inert, hidden or covered is not found, or not hit: as for a person.
    """

    page: Page

    def buttons(self, name: str = "Record my objection") -> list[dict[str, Any]]:
        """The accessibility nodes of the card's buttons called ``name``."""
        with self._devtools() as session:
            session.send("Accessibility.enable")
            document = session.send("DOM.getDocument", {"depth": 0})["root"]["nodeId"]
            query = {"nodeId": document, "role": "button", "accessibleName": name}
            found = session.send("Accessibility.queryAXTree", query)["nodes"]
        return [node for node in found if not node["ignored"]]

    def wait_for(self) -> None:
        wait_until(self.buttons)

    def center(self, name: str = "Record my objection") -> tuple[float, float]:
        """Where the button called ``name`` is on the screen."""
        with self._devtools() as session:
            button = self.buttons(name)[0]["backendDOMNodeId"]
            quad = session.send("DOM.getContentQuads", {"backendNodeId": button})["quads"][0]
        return sum(quad[0::2]) / 4, sum(quad[1::2]) / 4

    def click(self, name: str = "Record my objection") -> None:
        """Click as a person does, who sees the card first, and clicks again when told to."""
        self.wait_for()
        for _ in range(20):
            self.page.wait_for_timeout(SEEN_MS)
            self.page.mouse.click(*self.center(name))
            if not self.says("Please click once more"):
                return
        raise AssertionError("the card takes no click")

    def host(self) -> ElementHandle:
        """The element that the card stands in, found as a page would find it: by what lies there."""
        found = self.page.evaluate_handle("([x, y]) => document.elementFromPoint(x, y)", self.center()).as_element()
        assert found is not None
        return found

    def says(self, words: str) -> bool:
        """Whether the page, our card included, says ``words`` to a screen reader."""
        with self._devtools() as session:
            nodes = session.send("Accessibility.getFullAXTree")["nodes"]
        return any(words in node["name"]["value"] for node in nodes if "name" in node)

    def is_focused(self, name: str = "Record my objection") -> bool:
        properties = [one for button in self.buttons(name) for one in button["properties"]]
        return any(one["name"] == "focused" and one["value"]["value"] for one in properties)

    @contextmanager
    def _devtools(self) -> Iterator[CDPSession]:
        session = self.page.context.new_cdp_session(self.page)
        try:
            yield session
        finally:
            session.detach()


@contextmanager
def browsing(folder: Path, *, pages_port: int, register_port: int, build: Path = BUILD) -> Iterator[Browser]:
    downloads = folder / "downloads"
    register_host = REGISTER.removeprefix("https://")
    rules = [f"MAP {host} 127.0.0.1:{pages_port}" for host in _META]
    rules += [f"MAP {register_host} 127.0.0.1:{register_port}", "MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1"]
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(folder / "profile"),
            executable_path=CHROMIUM,
            headless=True,
            chromium_sandbox=False,
            downloads_path=str(downloads),
            accept_downloads=True,
            locale="en-GB",
            viewport={"width": 1100, "height": 800},
            ignore_default_args=["--disable-extensions"],
            args=[
                f"--disable-extensions-except={build}",
                f"--load-extension={build}",
                f"--host-resolver-rules={', '.join(rules)}",
                "--ignore-certificate-errors",
                "--enable-unsafe-extension-debugging",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        try:
            yield Browser(context, downloads)
        finally:
            context.close()


def wait_until(condition: Callable[[], object], *, timeout_s: float = 60.0) -> None:
    """Poll ``condition`` until it is true; raise TimeoutError when it never is."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.1)
    raise TimeoutError("it did not happen")
