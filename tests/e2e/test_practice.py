"""The practice build on the practice page: everything that a person sees of a practice proof says so."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from server.usecases.verify_bundle import verify_file
from tests.e2e.stage import CHROMIUM, ROOT, Card, browsing, wait_until
from tests.fixtures.ports import free_port
from tests.fixtures.servers import Gunicorn

MODULES = ROOT / "extension/node_modules"
pytestmark = pytest.mark.e2e
if (CHROMIUM is None or not MODULES.exists()) and not os.environ.get("CI"):
    pytestmark = pytest.mark.skip("needs Chromium and the extension's node_modules")

SAYS = "PRACTICE: this records no objection to Meta"
SHOTS = Path(os.environ.get("SCREENSHOTS", tempfile.gettempdir())) / "practice"


def test_practice_is_said_in_review_outcome_page_and_popup(tmp_path: Path) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    environment = os.environ | {"WXT_PRACTICE": "true", "REGISTER_URL": address, "OUTPUT_DIR": str(tmp_path / "build")}
    subprocess.run([MODULES / ".bin/wxt", "build"], cwd=ROOT / "extension", env=environment, check=True, stdout=-3)
    server = Gunicorn(
        tmp_path / "register", port, settings={"OBJECTION_PUBLIC_URL": address, "OBJECTION_PRACTICE": "on"}
    )
    server.start()
    build = tmp_path / "build/practice/chrome-mv3"
    SHOTS.mkdir(parents=True, exist_ok=True)
    try:
        with browsing(tmp_path, pages_port=port, register_port=port, build=build) as browser:
            page = browser.open(f"{address}/practice")
            with browser.context.expect_page() as opened:
                Card(page).click()
            sheet = opened.value
            sheet.get_by_role("heading", name="Review before you record").wait_for()
            assert sheet.get_by_role("note").inner_text() == SAYS
            sheet.screenshot(path=SHOTS / "review.png")
            assert sheet.locator("#payload[role=group][aria-label]").count() == 1
            sheet.mouse.wheel(0, 5000)
            assert sheet.get_by_role("note").is_visible()
            sheet.get_by_role("button", name="Confirm and record").click()
            sheet.get_by_role("heading", name="recorded").wait_for()
            assert sheet.get_by_role("note").inner_text() == SAYS
            sheet.screenshot(path=SHOTS / "outcome.png")
            wait_until(browser.saved_files)
            report = verify_file(browser.saved_files()[0].read_bytes(), policy=None, now=0)
            assert (report.verdict, report.facts["practice"]) == ("valid", True)
            extension = browser.worker.url.rpartition("/")[0]
            for name in ("popup", f"objection.html?receipt={report.facts['receipt_sha256']}"):
                shown = browser.open(f"{extension}/{name if '.' in name else name + '.html'}")
                assert shown.get_by_role("note").first.inner_text() == SAYS
                shown.screenshot(path=SHOTS / f"{name.partition('.')[0]}.png")
    finally:
        server.kill()
