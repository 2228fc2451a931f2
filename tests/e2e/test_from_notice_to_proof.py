"""The main job as a person does it: see the notice, click, review, confirm, and hold a file that verifies."""

import json
import os
import re
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
    SEEN_MS,
    WITH_EXTENSION,
    Browser,
    Card,
    TlsRegister,
    browsing,
    make_certificate,
    serving_pages,
    wait_until,
)
from tests.fixtures.ports import free_port

NOTICE = """<!doctype html><html lang="en"><title>Facebook</title>
<div role="banner">facebook</div>
<div role="main"><div role="feed"><div role="article">A friend's holiday.</div></div></div>
<div role="dialog" aria-modal="true" aria-label="Notice">
 <h2><span>Learn how we'll use your information as we improve <span>AI at Meta</span></span></h2>
 <p>We rely on <b>legitimate interests</b>. You have the <span>right to object</span>: public posts and comments of
 people aged 18 or over. <a href="https://www.facebook.com/help/contact/712876720715583">object</a></p>
</div></html>"""
QUOTED = """<!doctype html><html lang="en"><title>Facebook</title>
<div role="main"><div role="feed"><div role="article">Meta says: Learn how we'll use your information as we improve
AI at Meta. They rely on legitimate interests, you have the right to object.
<a href="https://www.facebook.com/help/contact/712876720715583">object here</a></div></div></div>"""
PAGES = {"/": NOTICE, "/quoted": QUOTED}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def register(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[TlsRegister]:
    running = TlsRegister(tmp_path_factory.mktemp("register"), certificate, free_port())
    running.start()
    yield running
    running.stop()


@pytest.fixture(params=BROWSERS)
def browser(
    request: pytest.FixtureRequest, tmp_path: Path, certificate: tuple[Path, Path], register: TlsRegister
) -> Iterator[Browser]:
    with (
        serving_pages(PAGES, certificate) as port,
        request.param(tmp_path, pages_port=port, register_port=register.port) as running,
    ):
        yield running


@pytest.fixture
def chromium(tmp_path: Path, certificate: tuple[Path, Path], register: TlsRegister) -> Iterator[Browser]:
    with (
        serving_pages(PAGES, certificate) as port,
        browsing(tmp_path, pages_port=port, register_port=register.port) as running,
    ):
        yield running


def open_review(browser: Browser, page: Page) -> Page:
    with browser.expect_page() as opened:
        browser.card(page).click()
    sheet = opened.value
    sheet.get_by_role("heading", name="Review before you record").wait_for()
    return sheet


def saved_proof(browser: Browser) -> Path:
    wait_until(browser.saved_files)
    return browser.saved_files()[-1]


def objection(*arguments: str, register: TlsRegister | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | (register.settings if register else {})
    command = [sys.executable, "-m", "server.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_notice_to_file_that_verifies(browser: Browser, register: TlsRegister, tmp_path: Path) -> None:
    page = browser.open("https://www.facebook.com/")
    sheet = open_review(browser, page)
    sheet.get_by_text("Show the exact bytes that will be signed").click()
    shown = json.loads(sheet.locator("#payload").inner_text())
    sheet.get_by_label("Account name or handle").fill("anna.example")
    sheet.get_by_role("button", name="Confirm and record").click()
    sheet.get_by_role("heading", name="Recorded", exact=True).wait_for()

    proof = saved_proof(browser)
    verified = objection("verify", "--json", str(proof))
    report = json.loads(verified.stdout)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert report["valid"]
    assert report["facts"]["platform"] == "facebook"
    assert report["facts"]["assurance"] == "work", "the browser did what the register asked for"
    with zipfile.ZipFile(proof) as bundle:
        notice = bundle.read("evidence/notice.txt").decode()
        everything = b"".join(bundle.read(name) for name in bundle.namelist())
    assert "AI at Meta" in notice
    assert shown["notice"]["url"] == "https://www.facebook.com/"
    assert b"anna.example" not in everything, "what the holder declares stays with the holder"

    policy = tmp_path / "policy.json"
    policy.write_text(objection("keys", "policy", register=register).stdout)
    assert objection("verify", "--policy", str(policy), str(proof)).returncode == 0
    checked = objection("log", "check", register=register)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("delay_ms", [0, 20, 40, 150])
def test_service_worker_stopped_in_between(browser: Browser, delay_ms: int) -> None:
    page = browser.open("https://www.facebook.com/")
    browser.card(page).wait_for()
    browser.stop_workers(page)
    sheet = open_review(browser, page)
    browser.stop_workers(sheet)
    sheet.get_by_role("button", name="Confirm and record").click()
    sheet.wait_for_timeout(delay_ms)
    browser.stop_workers(sheet)
    sheet.get_by_role("heading", name="Recorded", exact=True).wait_for()
    assert objection("verify", str(saved_proof(browser))).returncode == 0


@WITH_EXTENSION[0]
@WITH_EXTENSION[1]
def test_one_review_for_two_clicks_which_ends_with_its_window(chromium: Browser) -> None:
    page = chromium.open("https://www.facebook.com/")
    before = len(chromium.context.pages)
    with chromium.context.expect_page() as opened:
        card = Card(page)
        card.wait_for()
        page.wait_for_timeout(2 * SEEN_MS)
        page.mouse.dblclick(*card.center())
    sheet = opened.value
    sheet.get_by_role("heading", name="Review before you record").wait_for()
    page.wait_for_timeout(500)
    assert len(chromium.context.pages) == before + 1
    kept = (
        "chrome.storage.session.get(null).then(all => Object.keys(all).filter(key => key.startsWith('draft:')).length)"
    )
    assert chromium.worker.evaluate(kept) == 1
    sheet.close()
    wait_until(lambda: chromium.worker.evaluate(kept) == 0)


@WITH_EXTENSION[0]
@WITH_EXTENSION[1]
def test_toolbar_click_adds_the_screenshot(chromium: Browser) -> None:
    page = chromium.open("https://www.instagram.com/")
    sheet = open_review(chromium, page)
    assert sheet.locator("img.screenshot").count() == 0, "a click on the page must not be able to take a picture"
    page.bring_to_front()
    chromium.click_toolbar(page)
    sheet.locator("img.screenshot").wait_for()
    sheet.get_by_role("button", name="Confirm and record").click()
    sheet.get_by_role("heading", name="Recorded", exact=True).wait_for()
    proof = saved_proof(chromium)
    with zipfile.ZipFile(proof) as bundle:
        assert bundle.read("evidence/screenshot.jpg").startswith(b"\xff\xd8\xff")
    assert objection("verify", str(proof)).returncode == 0


def test_register_down_then_back(browser: Browser, register: TlsRegister) -> None:
    page = browser.open("https://www.threads.com/")
    sheet = open_review(browser, page)
    register.stop()
    try:
        sheet.get_by_role("button", name="Confirm and record").click()
        sheet.get_by_role("heading", name="Waiting to be sent").wait_for()
        browser.stop_workers(sheet)
    finally:
        register.start()
    sheet.get_by_role("button", name="Try now").click()
    sheet.get_by_role("heading", name="Recorded", exact=True).wait_for()
    assert objection("verify", str(saved_proof(browser))).returncode == 0


@WITH_EXTENSION[0]
@WITH_EXTENSION[1]
def test_quotation_in_a_post_is_no_notice(chromium: Browser) -> None:
    page = chromium.open("https://www.facebook.com/quoted")
    page.wait_for_timeout(1500)
    assert Card(page).buttons() == []
    # The same page with the notice beside the post: so the silence above was a decision, not a failure to start.
    page.evaluate(
        "html => document.body.insertAdjacentHTML('beforeend', html)", NOTICE.partition("</div></div></div>")[2]
    )
    Card(page).wait_for()


@pytest.mark.parametrize(("address", "platform"), [("https://www.instagram.com/empty", "instagram")])
def test_without_a_notice_the_platform_is_the_tabs(browser: Browser, address: str, platform: str) -> None:
    page = browser.open(address)
    page.wait_for_timeout(1_000)
    popup = browser.popup(page)
    with browser.expect_page() as opened:
        popup.get_by_role("button", name="Record my objection").click()
    assert opened.value.get_by_label("Platform").input_value() == platform
    opened.value.get_by_role("button", name="Confirm and record").click()
    opened.value.get_by_role("heading", name="Recorded", exact=True).wait_for()
    opened.value.get_by_text("Your objection on Instagram is on record").wait_for()


def test_a_clock_that_is_ahead_loses_no_objection(browser: Browser) -> None:
    page = browser.open("https://www.facebook.com/")
    sheet = open_review(browser, page)
    browser.put_clock_forward(sheet, hours=5)
    sheet.get_by_label("Account name or handle").fill("anna.example")
    sheet.get_by_role("button", name="Confirm and record").click()
    sheet.get_by_text("Your computer’s clock is ahead of the register’s").wait_for()
    sheet.get_by_role("button", name="Sign again").click()
    sheet.get_by_role("button", name="Sign and send").click()
    sheet.get_by_role("heading", name="Recorded", exact=True).wait_for()
    assert objection("verify", str(saved_proof(browser))).returncode == 0


@WITH_EXTENSION[0]
@WITH_EXTENSION[1]
def test_other_sites_never_see_the_extension(chromium: Browser) -> None:
    page = chromium.open("https://news.example/")
    page.wait_for_timeout(1000)
    assert page.locator("html > :not(head, body)").count() == 0
    assert Card(page).buttons() == []


FIXTURES = sorted((ROOT / "extension/tests/fixtures/pages").glob("*/*.html"))
FIXTURE_HEAD = re.compile(r"<!-- url: (\S+) expect: (.+?) -->")


@WITH_EXTENSION[0]
@WITH_EXTENSION[1]
def test_every_fixture_page_in_chromium(tmp_path: Path, certificate: tuple[Path, Path], register: TlsRegister) -> None:
    """The same pages as in the unit tests, on their own addresses, with the production build: is there a card?"""
    rows = []
    for fixture in FIXTURES:
        html = fixture.read_text()
        head = FIXTURE_HEAD.match(html)
        assert head is not None, fixture
        rows.append(
            (f"{fixture.parent.name}/{fixture.name}", head[1].replace("&amp;", "&"), head[2] != "nothing", html)
        )
    shown = {}
    served: dict[str, str] = {}
    with (
        serving_pages(served, certificate) as port,
        browsing(tmp_path, pages_port=port, register_port=register.port) as browser,
    ):
        page = browser.context.new_page()
        for name, url, expected, html in rows:
            served[url] = html  # several fixtures live at one address
            page.goto(url)
            if expected:
                Card(page).wait_for()
            else:
                page.wait_for_timeout(350)
            shown[name] = len(Card(page).buttons()) == 1
    for name, _, expected, _ in rows:
        print(f"{name:<50} {'card' if expected else '-':<6} {'card' if shown[name] else '-':<6}")
    assert shown == {name: expected for name, _, expected, _ in rows}
