"""Joining a consumer group's campaign with an objection, and leaving it: the real extension, the real register."""

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.firefox import BROWSERS
from tests.e2e.stage import (
    ROOT,
    Browser,
    TlsRegister,
    make_certificate,
    serving_pages,
    wait_until,
)
from tests.e2e.test_later import extension_page, open_objection, violations
from tests.fixtures.ports import free_port


@pytest.fixture
def register(tmp_path: Path) -> Iterator[TlsRegister]:
    certificate = make_certificate(tmp_path)
    data = tmp_path / "register"
    data.mkdir()
    running = TlsRegister(data, certificate, free_port())
    running.start()
    yield running
    running.stop()


@pytest.fixture(params=BROWSERS)
def browser(request: pytest.FixtureRequest, tmp_path: Path, register: TlsRegister) -> Iterator[Browser]:
    with (
        serving_pages({}, register.certificate) as port,
        request.param(tmp_path / "browser", pages_port=port, register_port=register.port) as running,
    ):
        yield running


def add_campaign(register: TlsRegister, slug: str, *options: str) -> str:
    """Create a campaign as an operator does, beside the running register; return its API key."""
    command = [sys.executable, "-m", "server.cli", "campaigns", "add", slug, *options]
    command += ["--link", "https://group.example/about", "--contact", "press@group.example"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | register.settings, capture_output=True, text=True, timeout=60, check=True
    )
    [key] = re.findall(r"objection_[A-Za-z0-9_-]{43}", done.stdout)
    return key


def counted(register: TlsRegister) -> list[tuple[str, str | None]]:
    with sqlite3.connect(register.data / "register.sqlite") as connection:
        return connection.execute("SELECT country, campaign FROM contributions").fetchall()


def test_join_a_campaign_and_leave_it_again(browser: Browser, register: TlsRegister, tmp_path: Path) -> None:
    add_campaign(register, "fair-ai", "--name", "en=Fair AI for all", "--country", "DE", "--country", "AT")
    add_campaign(register, "ia-juste", "--name", "en=IA juste", "--country", "FR")
    popup = extension_page(browser, "popup.html")
    with browser.expect_page() as opened:
        popup.get_by_role("button", name="Record my objection").click()
    sheet = opened.value
    sheet.get_by_label("Platform").select_option("facebook")
    sheet.get_by_label("Your country").select_option("DE")
    sheet.get_by_role("button", name="See the campaigns").click()
    sheet.get_by_label("No campaign").wait_for()
    assert sheet.get_by_label("No campaign").is_checked()
    assert sheet.get_by_label("IA juste").count() == 0
    sheet.get_by_label("Fair AI for all").check()
    sheet.get_by_text("counts for the campaign “Fair AI for all”").wait_for()
    if browser.name == "chromium":
        assert violations(sheet) == []
    if folder := os.environ.get("SCREENSHOT_FOLDER"):
        sheet.screenshot(path=Path(folder) / "campaign-review.png", full_page=True)
    sheet.get_by_role("button", name="Confirm and record").click()
    sheet.get_by_role("heading", name="Recorded", exact=True).wait_for()
    wait_until(browser.saved_files)
    assert counted(register) == [("DE", "fair-ai")]
    sheet.close()

    page = open_objection(browser)
    page.get_by_text("Counts for “fair-ai”").wait_for()
    page.get_by_role("button", name="Leave the campaign").click()
    page.get_by_text("you left it").wait_for()
    assert counted(register) == [("DE", None)]
    if folder := os.environ.get("SCREENSHOT_FOLDER"):
        page.screenshot(path=Path(folder) / "campaign-left.png", full_page=True)
