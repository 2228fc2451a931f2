"""Serve the counts of an invented year, to look at: ``python -m tests.counts.show_dashboard [SCREENSHOT_FOLDER]``."""

import random
import secrets
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flask import Flask
from sqlalchemy import insert
from werkzeug.serving import make_server

from server.store.tables import contributions
from server.usecases.campaigns import add_campaign, create_key
from server.usecases.epochs import parse_epoch
from tests.bench.counts import registrations
from tests.fixtures.counting import GRACE_S, counting_since, release_until
from tests.fixtures.ports import free_port
from tests.fixtures.servers import make_settings, register_of

SINCE, UNTIL = parse_epoch("2026-W02").start, parse_epoch("2026-W40").end
PAGES = ["/counts", "/counts/methods", "/counts/releases/countries-2026-W30", "/counts/campaigns/open"]


@contextmanager
def invented_year(folder: Path, number: int = 9_000) -> Iterator[tuple[Flask, str]]:
    """Run a register with ``number`` invented registrations, and two campaigns; yield it and the closed one's key."""
    source = random.Random(11)
    with counting_since(make_settings(folder), SINCE) as app:
        register = register_of(app)
        for slug, is_open in {"open": True, "closed": False}.items():
            description = {
                "names": {"en": f"Fair AI, {slug} figures", "de": "Faire KI"},
                "countries": ["DE", "FR", "AT", "IT"],
                "link": "https://group.example/fair-ai",
                "contact": "press@group.example",
            }
            add_campaign(register, slug, description, logo=None, open_figures=is_open, now=SINCE)
        for rows in registrations(source, number):
            for row in rows:
                row["receipt_sha256"] = secrets.token_bytes(32)
                row["campaign"] = source.choice(["open", "closed", None, None])
            with register.database.writing() as connection:
                connection.execute(insert(contributions), rows)
        release_until(register, folder, UNTIL + GRACE_S)
        yield app, create_key(register, "closed", name="press", now=SINCE)


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """Serve ``app`` on loopback; yield its address."""
    port = free_port()
    server = make_server("127.0.0.1", port, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.shutdown()
        thread.join()


def take_screenshots(address: str, folder: Path, key: str) -> None:
    from playwright.sync_api import sync_playwright

    from tests.e2e.stage import CHROMIUM

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for scheme, width in (("light", 1100), ("dark", 1100), ("light", 375)):
            context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})  # type: ignore[arg-type]
            page = context.new_page()
            page.on("console", lambda message: print(message.text))
            for path in PAGES:
                page.goto(address + path)
                page.wait_for_timeout(400)
                name = path.strip("/").replace("/", "-")
                page.screenshot(path=folder / f"{name}-{scheme}-{width}.png", full_page=True)
            page.goto(f"{address}/counts/campaigns/closed")
            page.get_by_label("API key").fill(key)
            page.get_by_role("button").click()
            page.get_by_text("Here they are").wait_for()
            page.wait_for_timeout(400)
            page.screenshot(path=folder / f"closed-{scheme}-{width}.png", full_page=True)
            if scheme == "light" and width > 1000:
                page.goto(f"{address}/counts")
                page.wait_for_timeout(400)
                page.pdf(path=folder / "counts.pdf", format="A4")
            context.close()
        browser.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, invented_year(Path(folder)) as (app, key), served(app) as address:
        print(f"{address}/counts   key of the closed campaign: {key}")
        if len(sys.argv) > 1:
            take_screenshots(address, Path(sys.argv[1]), key)
        else:
            threading.Event().wait()


if __name__ == "__main__":
    main()
