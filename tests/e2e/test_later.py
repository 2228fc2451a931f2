"""What a person does with an objection afterwards: adds a reply, withdraws, erases; and all its pages for axe."""

import base64
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.e2e.firefox import BROWSERS
from tests.e2e.stage import (
    ROOT,
    WITH_EXTENSION,
    Browser,
    TlsRegister,
    browsing,
    make_certificate,
    serving_pages,
    wait_until,
)
from tests.fixtures.anchoring import TestAuthority, http_server, write_anchors
from tests.fixtures.ports import free_port

AXE = ROOT / "extension/node_modules/axe-core/axe.min.js"
MAIL = b"From: Meta <case@example.org>\r\nSubject: Re: your objection\r\n\r\nWe have received it.\r\n"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def register(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[TlsRegister]:
    """A register that an independent authority stamps for."""
    authority, folder = TestAuthority(), tmp_path_factory.mktemp("authority")
    with http_server(authority) as server:
        listed = [("tsa", server.url, authority.write_pem(folder))]
        anchors = write_anchors(folder / "anchors.toml", authorities=listed)
        running = TlsRegister(tmp_path_factory.mktemp("register"), certificate, free_port(), anchors)
        running.start()
        yield running
        running.stop()


@pytest.fixture(params=BROWSERS)
def browser(
    request: pytest.FixtureRequest, tmp_path: Path, certificate: tuple[Path, Path], register: TlsRegister
) -> Iterator[Browser]:
    """Each story is lived in each browser."""
    with (
        serving_pages({}, certificate) as port,
        request.param(tmp_path, pages_port=port, register_port=register.port) as running,
    ):
        yield running


@pytest.fixture
def chromium(tmp_path: Path, certificate: tuple[Path, Path], register: TlsRegister) -> Iterator[Browser]:
    with (
        serving_pages({}, certificate) as port,
        browsing(tmp_path, pages_port=port, register_port=register.port) as running,
    ):
        yield running


def extension_page(browser: Browser, path: str) -> Page:
    return browser.open(f"{browser.extension}/{path}")


def record(browser: Browser) -> Page:
    """Record an objection without a notice, and return the page of that objection, opened from the popup."""
    popup = extension_page(browser, "popup.html")
    with browser.expect_page() as opened:
        popup.get_by_role("button", name="Record my objection").click()
    sheet = opened.value
    sheet.get_by_label("Platform").select_option("facebook")
    sheet.get_by_label("Account name or handle").fill("anna.example")
    sheet.get_by_role("button", name="Confirm and record").click()
    sheet.get_by_role("heading", name="Recorded", exact=True).wait_for()
    wait_until(browser.saved_files)
    sheet.close()
    return open_objection(browser)


def open_objection(browser: Browser) -> Page:
    popup = extension_page(browser, "popup.html")
    with browser.expect_page() as opened:
        popup.get_by_role("link", name="Open").click()
    popup.close()
    opened.value.get_by_role("heading", name="What happened").wait_for()
    return opened.value


def newest_bundle(browser: Browser) -> Path:
    return max(browser.saved_files(), key=lambda path: path.stat().st_mtime_ns)


def verify(*arguments: str) -> tuple[int, dict[str, object]]:
    command = [sys.executable, "-m", "server.cli", "verify", "--json", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout)


def test_add_evidence_then_withdraw_then_erase(browser: Browser, register: TlsRegister, tmp_path: Path) -> None:
    page = record(browser)
    first = newest_bundle(browser)
    kept = first.read_bytes()

    mail = tmp_path / "Meta’s reply.eml"
    mail.write_bytes(MAIL)
    page.get_by_role("button", name="Add evidence").click()
    page.set_input_files("#files", mail)
    page.get_by_text("Show the exact bytes").click()
    shown = json.loads(page.get_by_label("Payload").inner_text())
    page.get_by_role("button", name="Sign and send").click()
    browser.stop_workers(page)
    page.get_by_text("You added evidence").wait_for()
    page.get_by_text("meta-s-reply.eml").first.wait_for()

    wait_until(lambda: "later/01-supplement.jws" in zipfile.ZipFile(newest_bundle(browser)).namelist())
    supplemented = newest_bundle(browser)
    with zipfile.ZipFile(supplemented) as bundle:
        assert bundle.read("later/01/meta-s-reply.eml") == MAIL
        assert shown["evidence"][0]["name"] == "meta-s-reply.eml"
    assert verify(str(supplemented))[0] == 0

    page.get_by_role("button", name="Withdraw …").click()
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name="Sign and withdraw").click()
    page.get_by_text("You withdrew the objection").wait_for()
    wait_until(lambda: "later/02-withdrawal.jws" in zipfile.ZipFile(newest_bundle(browser)).namelist())
    code, report = verify(str(newest_bundle(browser)))
    assert (code != 0, report["verdict"]) == (True, "withdrawn")

    page.get_by_role("button", name="Erase …").click()
    page.get_by_role("button", name="Save the newest proof").click()
    page.get_by_role("dialog").get_by_text("Saved in your downloads folder").wait_for()
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name="Sign and erase").click()
    page.get_by_text("The register erased it, as you asked").wait_for()
    assert first.read_bytes() == kept, "a file on disk is never replaced"
    blobs = register.data / "blobs"
    assert blobs.is_dir()
    wait_until(lambda: not [path for path in blobs.rglob("*") if path.is_file() and path.stat().st_size > 0])

    saved = len(browser.saved_files())
    page.get_by_role("button", name="Save the kept proof").click()
    page.get_by_role("status").get_by_text("Saved in your downloads folder").wait_for()
    wait_until(lambda: len(browser.saved_files()) == saved + 1)
    page.get_by_role("button", name="Remove from this browser").click()
    page.get_by_role("button", name="Yes, remove it for good").click()
    page.get_by_role("heading", name="Not in this browser").wait_for()
    assert first.read_bytes() == kept


def test_kept_proof_is_saved_again_while_the_register_is_away(browser: Browser, register: TlsRegister) -> None:
    page = record(browser)
    register.stop()
    try:
        for saved in (2, 3):
            page.get_by_role("button", name="Download ASiC-E").click()
            page.get_by_role("status").get_by_text("Saved in your downloads folder").wait_for()
            wait_until(lambda: len(browser.saved_files()) == saved)  # noqa: B023
    finally:
        register.start()
    assert len({path.read_bytes() for path in browser.saved_files()}) == 1


def test_withdrawal_waits_for_a_register_that_is_away(browser: Browser, register: TlsRegister) -> None:
    page = record(browser)
    register.stop()
    try:
        page.get_by_role("button", name="Withdraw …").click()
        page.get_by_role("button", name="Continue").click()
        page.get_by_role("button", name="Sign and withdraw").click()
        page.get_by_text("Your withdrawal is signed and waits to be sent").wait_for()
        page.get_by_text("The register could not be reached").wait_for()
        browser.stop_workers(page)
    finally:
        register.start()
    page.get_by_role("button", name="Try now").click()
    page.get_by_text("You withdrew the objection").wait_for()


def test_anchored_proof_is_saved_beside_the_first(browser: Browser) -> None:
    page = record(browser)
    first = newest_bundle(browser)
    kept = first.read_bytes()
    page.locator(".chip", has_text="Anchored").wait_for(timeout=60_000)
    wait_until(lambda: any(state_of(path) == "anchored" for path in browser.saved_files()))
    newest = newest_bundle(browser)
    with zipfile.ZipFile(newest) as bundle:
        assert "anchors/tsa.tst" in bundle.namelist()
    assert verify(str(newest))[0] == 0
    assert first.read_bytes() == kept
    popup = extension_page(browser, "popup.html")
    popup.get_by_text("Anchored: it existed no later than").wait_for()


def state_of(bundle: Path) -> object:
    with zipfile.ZipFile(bundle) as opened:
        return json.loads(opened.read("manifest.json"))["state"]


def test_certificate_as_pdf(browser: Browser) -> None:
    page = record(browser)
    page.get_by_label("Language of the PDF").select_option("de")
    page.get_by_role("button", name="Download proof as PDF").click()
    # Not its name: Playwright has Chromium name files by numbers, and the page tells the name that a file really got.
    page.get_by_text("Saved in your downloads folder").wait_for()
    files = [path.read_bytes() for path in browser.downloads.rglob("*") if path.is_file()]
    [certificate] = [data for data in files if data.startswith(b"%PDF-")]
    assert b"/Lang(de" in certificate


def test_recovery_kit_and_token(browser: Browser) -> None:
    page = record(browser)
    page.get_by_label("Account name or handle: anna.example").check()
    page.get_by_text("For one reader only").click()
    page.get_by_label("Their one-time word").fill("n-0S6")
    page.get_by_label("Their name or address").fill("https://reader.example")
    page.get_by_role("button", name="Make the token").click()
    page.locator("#token").wait_for()
    token = page.locator("#token").input_value()
    assert token.count("~") == 2
    assert token.rpartition("~")[2].count(".") == 2

    page.get_by_role("button", name="Save the recovery kit").click()
    page.get_by_text("Saved in your downloads folder").wait_for()
    kits = [path for path in browser.downloads.rglob("*") if path.is_file() and path.read_bytes()[:1] == b"{"]
    kit = json.loads(kits[0].read_bytes())
    assert kit["objections"][0]["token"] == token.partition("~")[0] + "~"
    assert set(kit["holder"]) == {"crv", "kty", "x", "y"}, "the public half only"


DIALOGS = ["Add evidence …", "Withdraw …", "Erase …"]


@WITH_EXTENSION[0]
@WITH_EXTENSION[1]
@pytest.mark.skipif(not AXE.exists(), reason="needs the extension's node_modules")
def test_axe_finds_nothing(chromium: Browser) -> None:
    page = record(chromium)
    popup = extension_page(chromium, "popup.html")
    popup.get_by_role("link", name="Open").wait_for()
    for scheme in ("light", "dark"):
        for one in (popup, page):
            one.bring_to_front()
            # Without motion: a colour on its way from light to dark is neither.
            one.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
            assert violations(one) == []
        for words in DIALOGS:
            page.get_by_role("button", name=words).click()
            assert violations(page) == [], words
            page.keyboard.press("Escape")
            page.get_by_role("dialog").wait_for(state="detached")
            focused = page.evaluate("document.activeElement.textContent")
            assert focused == words, "the focus goes back to where it was"


@WITH_EXTENSION[0]
@WITH_EXTENSION[1]
@pytest.mark.parametrize(("width", "height"), [(375, 700), (320, 700), (320, 256)])
def test_nothing_needs_sideways_scrolling(chromium: Browser, width: int, height: int) -> None:
    """The last one is a window of 1,280 by 1,024 at 400 % zoom: what is shown must not be covered either."""
    page = record(chromium)
    page.set_viewport_size({"width": width, "height": height})
    for words in ["", *DIALOGS]:
        if words:
            page.get_by_role("button", name=words).click()
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), words
        if words:
            shown = page.evaluate("document.querySelector('dialog h2').getBoundingClientRect().bottom <= innerHeight")
            assert shown, words
        if folder := os.environ.get("SCREENSHOT_FOLDER"):
            page.screenshot(path=Path(folder) / f"later-{width}-{height}-{words[:3] or 'page'}.png")
        page.keyboard.press("Escape")


@WITH_EXTENSION[0]
@WITH_EXTENSION[1]
def test_the_popup_reflows_at_400_percent(chromium: Browser) -> None:
    """A toolbar popup has at most 800 by 600 pixels of the screen."""
    record(chromium)
    page = chromium.context.new_page()
    devtools = chromium.context.new_cdp_session(page)
    zoomed = {"width": 200, "height": 150, "deviceScaleFactor": 4, "mobile": False}
    devtools.send("Emulation.setDeviceMetricsOverride", zoomed)
    page.goto(f"{chromium.extension}/popup.html")
    page.get_by_role("heading").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 200
    if folder := os.environ.get("SCREENSHOT_FOLDER"):
        shot = devtools.send("Page.captureScreenshot", {"captureBeyondViewport": True})["data"]
        (Path(folder) / "popup-400.png").write_bytes(base64.b64decode(shot))


@WITH_EXTENSION[0]
@WITH_EXTENSION[1]
def test_what_was_saved_is_said_where_it_covers_nothing(chromium: Browser) -> None:
    page = record(chromium)
    page.set_viewport_size({"width": 900, "height": 500})
    page.get_by_role("button", name="Save the recovery kit").click()
    said = page.get_by_role("status").get_by_text("Saved in your downloads folder")
    said.wait_for()
    for name in ("Save the recovery kit", "Withdraw …", "Erase …"):
        button = page.get_by_role("button", name=name)
        button.scroll_into_view_if_needed()
        button.click(trial=True)
        one, other = button.bounding_box(), said.bounding_box()
        assert one
        assert other
        assert one["y"] >= other["y"] + other["height"] or other["y"] >= one["y"] + one["height"], name


def violations(page: Page) -> list[object]:
    page.evaluate(AXE.read_text())
    found: list[object] = page.evaluate(
        "axe.run().then(result => result.violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]))"
    )
    return found
