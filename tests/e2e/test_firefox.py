"""What only a Firefox does: it never remembers, and a person may take a site's access away."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.firefox import UUID, WITH_FIREFOX, FirefoxBrowser, browsing_firefox
from tests.e2e.stage import make_certificate, serving_pages
from tests.e2e.test_from_notice_to_proof import PAGES
from tests.fixtures.ports import free_port

pytestmark = WITH_FIREFOX
PERMISSIONS = """
const [id, allowed, gone, done] = arguments;
const { ExtensionPermissions } = ChromeUtils.importESModule("resource://gre/modules/ExtensionPermissions.sys.mjs");
const { AddonManager } = ChromeUtils.importESModule("resource://gre/modules/AddonManager.sys.mjs");
const { extension } = WebExtensionPolicy.getByHostname(id);
(async () => {
  await ExtensionPermissions.add(extension.id, { permissions: allowed, origins: [] }, extension);
  await ExtensionPermissions.remove(extension.id, { permissions: [], origins: gone }, extension);
  if (allowed.length) await (await AddonManager.getAddonByID(extension.id)).reload();
})().then(() => done(), (error) => done(String(error)));
"""


@contextmanager
def browsing(folder: Path, preferences: dict[str, Any] | None = None) -> Iterator[FirefoxBrowser]:
    with (
        serving_pages(PAGES, make_certificate(folder)) as port,
        browsing_firefox(folder, pages_port=port, register_port=free_port(), preferences=preferences) as browser,
    ):
        yield browser


def set_permissions(browser: FirefoxBrowser, allowed: list[str], gone: list[str]) -> None:
    """Do what a person does on the extension's page in Firefox's settings."""
    with browser.driver.context(browser.driver.CONTEXT_CHROME):
        assert browser.driver.execute_async_script(PERMISSIONS, UUID, allowed, gone) is None


def test_firefox_that_never_remembers_says_so_and_what_to_do(tmp_path: Path) -> None:
    with browsing(tmp_path, {"browser.privatebrowsing.autostart": True}) as browser:
        set_permissions(browser, ["internal:privateBrowsingAllowed"], [])
        popup = browser.open(f"{browser.extension}/popup.html")
        popup.get_by_role("heading", name="This is a private window").wait_for()
        popup.get_by_text("choose “Remember history”").wait_for()
        assert popup.get_by_role("button", name="Record my objection").count() == 0
        page = browser.open("https://www.facebook.com/")
        page.wait_for_timeout(2_000)
        assert browser.card(page).buttons() == [], "nothing is offered where nothing can be kept"


def test_site_access_that_was_taken_away_is_asked_for(tmp_path: Path) -> None:
    with browsing(tmp_path, {"extensions.webextOptionalPermissionPrompts": False}) as browser:
        set_permissions(browser, [], ["https://*.facebook.com/*"])
        page = browser.open("https://www.facebook.com/")
        page.wait_for_timeout(2_000)
        assert browser.card(page).buttons() == []
        popup = browser.popup(page)
        popup.get_by_text("This extension has no lasting access to Facebook").wait_for()
        popup.get_by_role("button", name="Give access to Facebook").click()
        popup.get_by_text("Please reload the page now.").wait_for()
        page = browser.open("https://www.facebook.com/")
        browser.card(page).wait_for()
