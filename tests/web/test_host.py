"""No answer is built from the Host header, or from any other address that the caller names: nothing redirects."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.fixtures.servers import make_settings, running

EVIL = "evil.example"
NAMED = [
    {"Host": EVIL},
    {"Host": f"{EVIL}:99"},
    {"Host": "x", "X-Forwarded-Host": EVIL, "X-Forwarded-Proto": EVIL, "X-Forwarded-Prefix": f"/{EVIL}"},
    {"Host": "x", "Forwarded": f"host={EVIL}", "X-Original-URL": f"/{EVIL}", "X-Rewrite-URL": f"/{EVIL}"},
    {"Host": "x", "Origin": f"https://{EVIL}", "Referer": f"https://{EVIL}/"},
]
# Spellings of addresses that frameworks like to mend by sending the caller elsewhere.
ODD = [
    *(
        "//",
        "/v1//counts",
        "//v1/counts",
        "/v1/counts/",
        "/v1/counts//",
        "/counts/",
        "/static",
        "/static/",
        "/static//x",
    ),
    *(
        "/v1/./counts",
        "/v1/../v1/counts",
        "/%2e%2e/v1/counts",
        "/V1/counts",
        "/tile//0/000",
        "/tile/0//000",
        "/verify/",
    ),
    *(
        "/%2F%2Fevil.example/..",
        "/\\\\evil.example",
        "/counts/releases/",
        "/counts//methods",
        "/.well-known//jwt-vc-issuer",
    ),
    *("/v1/releases/", "/v1/tables/countries", "/v1/tables/countries/", "/v1/tables//counts.csv", "/practice/"),
]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    with running(make_settings(tmp_path_factory.mktemp("register"), practice="on", trusted_proxies="1")) as app:
        yield app


def addresses(app: Flask) -> list[str]:
    """Return one address of each route, and the odd ones."""
    named = [rule.rule for rule in app.url_map.iter_rules()]
    return [address.replace("<", "").replace(">", "").replace("path:", "") for address in named] + ODD


def ask(app: Flask, address: str, **options: Any) -> TestResponse:
    """Send ``address`` as it stands: a client would take what stands behind two slashes for a host."""
    return app.test_client().open("/", environ_overrides={"PATH_INFO": unquote(address)}, **options)


@pytest.mark.parametrize("headers", NAMED, ids=range(len(NAMED)))
def test_nothing_that_the_caller_calls_us_comes_back(app: Flask, headers: dict[str, str]) -> None:
    asked = addresses(app)
    assert len(asked) > 50
    for address in asked:
        for method in ("GET", "POST", "HEAD", "OPTIONS"):
            response = ask(app, address, method=method, headers=headers)
            assert response.status_code not in {301, 302, 303, 305, 307, 308}, (method, address)
            assert response.status_code < 500, (method, address)
            assert "Location" not in response.headers
            told = f"{response.headers}".replace(f"/{EVIL}", "") + response.get_data(as_text=True)
            if EVIL not in address:
                assert EVIL not in told, (method, address)


# werkzeug reads slashes before a path as one: no redirect, and an answer that names the right address.
@pytest.mark.parametrize("address", [address for address in ODD if not address.startswith("//")])
def test_an_address_has_one_spelling(app: Flask, address: str) -> None:
    response = ask(app, address)
    assert response.status_code == 404
    assert json.loads(response.data)["code"] in {"not_found", "tile_not_found", "release_not_found"}
    assert not response.headers["Cache-Control"].startswith("public") if "Cache-Control" in response.headers else True


@pytest.mark.parametrize("host", ["", "a b", "x/y", "[::1", "\u00e9.example", "a" * 300, "localhost:port"])
def test_a_host_that_is_none_breaks_nothing(app: Flask, host: str) -> None:
    for address in ("/", "/v1/policy", "/v1//policy", "/nothing"):
        response = app.test_client().get(address, headers={"Host": host})
        assert response.status_code in {200, 400, 404}
