"""What is written down is what there is: error codes, routes, settings, pages."""

import ast
import json
import re
from collections.abc import Iterator
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from schemas.openapi import describe
from server.cli_common import UNUSABLE
from server.settings import GIVE_UP, Settings
from server.web.problems import TITLES
from tests.fixtures.servers import ROOT, make_settings, running

PAGES = ["/", "/docs", "/errors", "/practice"]
# Codes that cannot reach a client of the register: of the verifier, of the operator's commands, of the start.
NOT_HTTP = re.compile(
    r"binding_.*|certificate_.*|der_.*|bundle_.*|document_.*|dkim_.*|later_.*|objection_.*|quorum_.*|status_.*|disclosure_.*|note_.*|checkpoint_.*|policy_.*|proof_.*|timestamp_.*|token_.*_.*|token_(?!refused).*"
)
OPERATORS = {
    *(
        "anchors_invalid",
        "bind_refused",
        "blob_name_invalid",
        "database_damaged",
        "database_refused",
        "file_unreadable",
        "keys_changed",
        "keys_exposed",
        "keys_invalid",
        "keys_missing",
        "keys_unreadable",
        "known_mails_invalid",
        "log_behind_witness",
        "log_inconsistent",
        "names_changed",
    ),
    # Between the worker, its witnesses and authorities: logged, never answered to a client of the register.
    *("consistency_mismatch", "log_unknown", "reply_malformed", "request_malformed"),
    *("witness_refused", "witness_unavailable"),
    *("api_key_not_found", "burst_admitted", "burst_not_found", "campaign_exists", "logo_refused", "slug_malformed"),
    *("budget_changed", "contribution_unknown", "hour_not_over", "release_conflict", "release_inconsistent"),
    *("schema_newer", "schema_older", "sums_malformed"),
    *("backup_damaged", "backup_incomplete", "backup_of_another", "backup_refused", "backup_unwritable"),
    *("log_behind_checkpoint", "log_not_halted", "register_running", "restore_refused", "restore_unfinished"),
    *("settings_invalid", "share_damaged", "storage_unusable", "verifier_unusable"),
}
AUDITORS = {
    *("address_malformed", "consistency_mismatch", "entries_malformed", "file_unwritable", "log_shrunk"),
    *("quorum_missed", "state_malformed", "tile_mismatch", "tile_missing"),
}
ERRORS = {
    "Equivocation",
    *("ObjectionError", "ParseError", "VerificationError", "FreshnessError", "RequestError", "TooLarge"),
    *("Unauthorised", "Forbidden", "NotFound", "Conflict", "Unavailable", "OperatorError", "LogInconsistent", "Gone"),
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    with running(make_settings(tmp_path_factory.mktemp("register"), practice="on")) as app:
        yield app


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / "server").rglob("*.py")):
        yield path, ast.parse(path.read_text())


def codes_raised() -> dict[str, set[str]]:
    """Return every code that an error in ``server/`` is made with, and where."""
    found: dict[str, set[str]] = {"field_invalid": {"errors.py"}}
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                code = node.args[0]
                if node.func.id in ERRORS and isinstance(code, ast.Constant):
                    found.setdefault(code.value, set()).add(path.name)
                if node.func.id == "problem" and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
                    found.setdefault(node.args[1].value, set()).add(path.name)
    return found


def literals() -> set[str]:
    return {
        node.value
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and path.name != "verify_bundle.py"
    }


def test_the_search_finds_codes() -> None:
    assert len(codes_raised()) > 40
    assert {"jti_reused", "receipt_stale", "internal", "rate_limited"} <= codes_raised().keys()


def test_every_code_that_can_reach_a_client_has_a_title() -> None:
    reaching = {code for code in codes_raised() if code not in OPERATORS | AUDITORS and not NOT_HTTP.fullmatch(code)}
    assert reaching - TITLES.keys() == set()


def test_every_title_is_of_a_code_in_use() -> None:
    keys = set(TITLES)
    from server.web import problems

    by_status = set(problems._CODE_OF_STATUS.values())
    assert keys - codes_raised().keys() - by_status - literals_outside_titles() == set()


def literals_outside_titles() -> set[str]:
    """Codes given on by a variable: named as a literal somewhere besides the table of titles."""
    found: set[str] = set()
    for path, tree in sources():
        if path.name == "problems.py":
            continue
        found |= {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
    return found


def test_titles_are_sorted_and_differ() -> None:
    assert list(TITLES) == sorted(TITLES)
    assert len(set(TITLES.values())) == len(TITLES)


def test_the_contract_names_every_code_both_verifiers_share() -> None:
    text = (ROOT / "docs/formats.md").read_text().partition("## Error codes both verifiers share")[2]
    listed = set(re.findall(r"`([a-z]+(?:[0-9]+url)?(?:_[a-z]+)+)`", text)) - {"private_key_present"} | {"key_refused"}
    assert listed - codes_raised().keys() - literals() == set()


# Answers that no error of ours decides alone: of HTTP itself, or raised with another's code.
BY_HTTP = {
    ("field_invalid", 422),
    ("internal", 500),
    ("rate_limited", 429),
    ("method_not_allowed", 405),
    ("bad_request", 400),
    ("holder_share_wrong", 403),
    ("holder_share_wrong", 409),
}
NEVER_ANSWERED = {"receipt_kind_refused"}  # only in a report


def statuses_of_codes() -> set[tuple[str, int]]:
    """Return each code that has a title with the statuses that the classes it is raised with have."""
    from server import errors
    from server.web import problems

    found = set()
    for _, tree in sources():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
                continue
            if node.func.id not in ERRORS or not isinstance(node.args[0], ast.Constant):
                continue
            code, kind = node.args[0].value, getattr(errors, node.func.id)
            by_class = (status for base, status in problems._STATUS_OF_CLASS if issubclass(kind, base))
            if code in TITLES.keys() - NEVER_ANSWERED - {"holder_share_wrong"}:
                found.add((code, problems._STATUS_OF_CODE.get(code) or next(by_class)))
    return found


def test_the_contract_names_the_status_of_every_code() -> None:
    section = (ROOT / "docs/formats.md").read_text().partition("## What the register answers")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([0-9]{3}) \| (.*) \|$", section, re.MULTILINE)
    listed = [(code, int(status)) for status, codes in rows for code in re.findall(r"`([a-z0-9_]+)`", codes)]
    assert len(listed) == len(set(listed))
    assert set(listed) == statuses_of_codes() | BY_HTTP
    assert {code for code, _ in listed} | NEVER_ANSWERED == set(TITLES)


def routes(app: Flask) -> set[tuple[str, str]]:
    """Return (path, method) of everything that is no page."""
    return {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if not rule.endpoint.startswith("pages.")
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }


def test_the_description_has_every_route_and_no_other(app: Flask) -> None:
    paths: dict[str, Any] = json.loads((ROOT / "schemas/openapi.json").read_text())["paths"]
    assert routes(app) == {(path, method) for path, operations in paths.items() for method in operations}


def test_the_description_is_the_one_that_is_kept_and_served(app: Flask) -> None:
    kept = json.loads((ROOT / "schemas/openapi.json").read_text())
    assert kept == json.loads(json.dumps(describe()))
    assert kept == json.loads(app.test_client().get("/openapi.json").data)


def test_the_list_of_errors_has_every_code(app: Flask) -> None:
    page = app.test_client().get("/errors").get_data(as_text=True)
    for code in TITLES:
        assert f'id="{code}"' in page


def test_operating_names_every_setting() -> None:
    named = set(re.findall(r"OBJECTION_([A-Z_]+[A-Z])", (ROOT / "docs/operating.md").read_text()))
    assert {name.upper() for name in Settings.__dataclass_fields__} - named == set()
    assert named - {name.upper() for name in Settings.__dataclass_fields__} - {"TEST_POSTGRES"} == set()


def test_the_example_of_the_settings_is_understood() -> None:
    lines = (ROOT / "deploy/environment.example").read_text().splitlines()
    given = dict(line.lstrip("#").split("=", 1) for line in lines if re.match("#?[A-Z_]+=", line))
    assert given.pop("SSL_CERT_FILE")
    settings = Settings.from_env(given)
    assert settings.log_origin == Settings.from_env({"OBJECTION_PUBLIC_URL": settings.public_url}).log_origin
    assert settings.trusted_proxies == 1


@pytest.mark.parametrize(("unit", "codes"), [("", {UNUSABLE, GIVE_UP}), ("-worker", {UNUSABLE})])
def test_a_unit_gives_up_when_the_program_says_so(unit: str, codes: set[int]) -> None:
    text = (ROOT / f"deploy/proof-of-objection{unit}.service").read_text()
    said = dict(line.split("=", 1) for line in text.splitlines() if re.match("[A-Z]\\w*=", line))
    assert {int(code) for code in said["RestartPreventExitStatus"].split()} == codes
    # Not imported: that would set the signals of this process.
    gunicorn = dict(re.findall(r"^(\w+) = ([0-9]+)$", (ROOT / "server/gunicorn_conf.py").read_text(), re.MULTILINE))
    assert int(said["TimeoutStopSec"]) > int(gunicorn["graceful_timeout"])
    assert int(said["LimitNOFILE"]) >= 2 * int(gunicorn["worker_connections"])


class Links(HTMLParser):
    """Collects what a browser would load by itself, and where a click leads."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "a":
            self.linked.append(given.get("href") or "")
        else:
            self.loaded += [value for name in ("src", "href", "srcset", "action") if (value := given.get(name))]
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        if tag in {"script", "style", "iframe", "object", "form"}:
            self.inline.append(tag)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_nothing_from_elsewhere(app: Flask, path: str) -> None:
    response = app.test_client().get(path)
    assert response.status_code == 200
    assert response.content_type == "text/html; charset=utf-8"
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "Set-Cookie" not in response.headers
    assert response.headers["Referrer-Policy"] == "no-referrer"
    links = Links()
    links.feed(response.get_data(as_text=True))
    assert links.inline == [], "the policy blocks it"
    assert links.loaded
    for target in links.loaded:
        assert target.startswith("/")
        assert not target.startswith("//")
        assert app.test_client().get(target).status_code == 200
    for target in links.linked:
        if target.startswith("/"):
            assert app.test_client().get(target).status_code == 200
        else:
            assert target.startswith(("#", "https://www.facebook.com/help/"))


def test_a_style_sheet_loads_nothing_from_elsewhere(app: Flask) -> None:
    for path in (ROOT / "server/web/pages/static").iterdir():
        text = path.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")  # a name, which nobody fetches
        assert not re.search(r"url\(|@import|https?:|<script|href", text), path


def test_a_page_has_an_icon_of_its_own(app: Flask) -> None:
    """Without one a browser asks for /favicon.ico, each time in vain."""
    icon = app.test_client().get("/static/icon.svg")
    assert icon.content_type.startswith("image/svg+xml")
    assert icon.data == (ROOT / "extension/assets/icon.svg").read_bytes()
    for path in PAGES:
        assert 'rel="icon" type="image/svg+xml" href="/static/icon.svg"' in app.test_client().get(path).text, path


@pytest.mark.parametrize(
    "path", ["/.well-known/jwt-vc-issuer", "/v1/policy", "/vct/proof-of-objection/1", "/openapi.json"]
)
def test_what_is_public_is_json_that_may_be_kept_a_while(app: Flask, path: str) -> None:
    response = app.test_client().get(path)
    assert response.status_code == 200
    assert response.content_type == "application/json"
    assert response.headers["Cache-Control"].startswith("public, max-age=")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    json.loads(response.data)


def test_issuer_keys_policy_and_checkpoint_fit_each_other(app: Flask) -> None:
    from server.core.notes import verify_checkpoint
    from server.core.policies import parse_trust_policy, policy_fingerprint

    client = app.test_client()
    served = client.get("/v1/policy").data
    policy = parse_trust_policy(served)
    assert sha256(served).hexdigest() == policy_fingerprint(policy)  # so sha256sum prints what is to be compared
    assert policy_fingerprint(policy) in app.test_client().get("/").get_data(as_text=True)
    issuer = json.loads(client.get("/.well-known/jwt-vc-issuer").data)
    assert issuer["issuer"] == policy.issuer
    assert {key["kid"] for key in issuer["jwks"]["keys"]} == policy.issuer_keys.keys()
    checkpoint = client.get("/checkpoint")
    assert checkpoint.content_type == "text/plain; charset=utf-8"
    assert verify_checkpoint(checkpoint.get_data(as_text=True), trusted=policy.log.key).size == 0
    metadata = json.loads(client.get("/vct/proof-of-objection/1").data)
    assert metadata["vct"] == f"{policy.issuer}/vct/proof-of-objection/1"


def test_health(app: Flask) -> None:
    client = app.test_client()
    assert json.loads(client.get("/healthz").data) == {"status": "alive"}
    assert json.loads(client.get("/readyz").data) == {"status": "ready", "log_size": 0}
