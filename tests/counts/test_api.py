"""Released figures over HTTP: in formats that other tools read, for ever the same; each key opens one campaign."""

import csv
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import fastparquet
import frictionless
import joserfc.jws
import pytest
from flask import Flask
from flask.testing import FlaskClient
from joserfc.jwk import ECKey
from sqlalchemy import event

from server.core.counts import declaration
from server.errors import ParseError
from server.store import tallies
from server.store.campaigns import read_api_keys
from server.store.releases import NoisySum
from server.usecases import read_counts
from server.usecases.campaigns import add_campaign, create_key, end_campaign, fingerprint_of, revoke_key
from server.usecases.row_sums import changing_sums
from server.usecases.tally import uncount_campaign
from tests.fixtures.counting import BEGAN, GRACE_S, contribute, counting_since, release_until
from tests.fixtures.holders import Holder
from tests.fixtures.servers import make_settings, post, register_of, running

WEEK_S = 7 * 86_400
DESCRIPTION = {
    "names": {"en": "Group"},
    "countries": ["DE", "FR"],
    "link": "https://group.example/",
    "contact": "a@group.example",
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    folder = tmp_path_factory.mktemp("register")
    with counting_since(make_settings(folder)) as app:
        register = register_of(app)
        for slug, is_open in {"closed": False, "other": False, "open": True}.items():
            add_campaign(register, slug, DESCRIPTION, logo=None, open_figures=is_open, now=BEGAN)
        for week in range(3):
            contribute(register, 300, country="DE", hour=BEGAN + week * WEEK_S, campaign="closed")
            contribute(register, 80, country="FR", platform="threads", hour=BEGAN + week * WEEK_S)
        release_until(register, folder, BEGAN + 4 * WEEK_S + GRACE_S)
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture(scope="module")
def keys(app: Flask) -> dict[str, str]:
    register = register_of(app)
    return {slug: create_key(register, slug, name="test", now=BEGAN) for slug in ("closed", "other")}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def read(client: FlaskClient, address: str, **options: Any) -> Any:
    response = client.get(address, **options)
    assert response.status_code == 200, response.data
    return json.loads(response.data)


def test_figures_are_those_of_the_signed_releases(client: FlaskClient) -> None:
    rows = read(client, "/v1/counts?table=countries")["rows"]
    assert len(rows) == 4 * 31
    for row in rows:
        release = read(client, f"/v1/releases/{row['release_id']}")
        [cell] = [cell for cell in release["cells"] if cell["geo"] == row["geo"]]
        assert row["value_noisy"] == cell["value"]
        assert (row["ci95_low"], row["ci95_high"]) == (cell["value"] - 3, cell["value"] + 3)
        assert row["obs_status"] == ("A" if cell["value"] >= 10 else "U")  # and then its ±3 do not touch zero
        assert (row["epoch"], row["cells"], row["platform"]) == (release["epoch"], 1, "_T")


def test_sums_are_sums_of_what_was_released(client: FlaskClient) -> None:
    single = read(client, "/v1/counts?table=countries")["rows"]
    by_country = read(client, "/v1/counts?table=countries&by=geo")["rows"]
    for row in by_country:
        parts = [each["value_noisy"] for each in single if each["geo"] == row["geo"]]
        assert row["value_noisy"] == sum(parts)
        assert row["cells"] == len(parts) == 4
        assert row["epoch"] == "2026-W02/2026-W05"
        assert row["release_id"] is None
        assert row["ci95_high"] - row["value_noisy"] == 5, "the interval of four cells, not four times that of one"
    [total] = read(client, "/v1/counts?table=countries&by=")["rows"]
    assert total["value_noisy"] == sum(each["value_noisy"] for each in single)
    some = read(client, "/v1/counts?table=countries&by=epoch&from=2026-W03&to=2026-W04")["rows"]
    assert [row["epoch"] for row in some] == ["2026-W03", "2026-W04"]
    assert read(client, "/v1/counts?table=countries&by=geo&from=2027-W03")["rows"] == []


def test_pages_cover_everything_once(client: FlaskClient) -> None:
    whole = read(client, "/v1/counts?table=countries")["rows"]
    address = "/v1/counts?table=countries&limit=50"
    seen = []
    while address:
        response = client.get(address)
        page = json.loads(response.data)
        seen += page["rows"]
        address = page.get("next")
        assert response.headers.get("Link") == (f'<{address}>; rel="next"' if address else None)
    assert seen == whole
    releases = read(client, "/v1/releases?limit=3")
    assert len(releases["releases"]) == 3
    following = read(client, releases["next"])["releases"]
    assert not {each["id"] for each in releases["releases"]} & {each["id"] for each in following}


@pytest.fixture(scope="module")
def long_lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """A register with more figures than one page of JSON has: 31 cells in each of 34 weeks."""
    folder = tmp_path_factory.mktemp("register")
    with counting_since(make_settings(folder)) as app:
        release_until(register_of(app), folder, BEGAN + 34 * WEEK_S + GRACE_S)
        yield app


@pytest.mark.parametrize(
    "address", ["/v1/counts?format=csv", "/v1/counts?table=countries&format=csv", "/v1/tables/countries/counts.csv"]
)
def test_a_csv_file_is_whole(long_lived: Flask, address: str) -> None:
    response = long_lived.test_client().get(address)
    assert response.status_code == 200
    assert "Link" not in response.headers
    assert len(list(csv.DictReader(io.StringIO(response.get_data(as_text=True))))) == 34 * 31


@pytest.mark.parametrize("address", ["/v1/counts?format=parquet", "/v1/tables/countries/counts.parquet"])
def test_a_parquet_file_is_whole(long_lived: Flask, address: str) -> None:
    frame = fastparquet.ParquetFile(io.BytesIO(long_lived.test_client().get(address).data)).to_pandas()
    assert len(frame) == 34 * 31


def test_json_comes_in_pages_and_says_so_in_its_body(long_lived: Flask) -> None:
    page = read(long_lived.test_client(), "/v1/counts")
    assert len(page["rows"]) == 1000
    assert len(read(long_lived.test_client(), page["next"])["rows"]) == 34 * 31 - 1000


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("paging", ["limit=5", "offset=5", "limit=1000&offset=0"])
def test_a_file_has_no_pages(client: FlaskClient, form: str, paging: str) -> None:
    for address, headers in [
        (f"/v1/counts?{paging}&format={form}", {}),
        (f"/v1/counts?{paging}", {"Accept": {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}[form]}),
    ]:
        response = client.get(address, headers=headers)
        assert (response.status_code, json.loads(response.data)["code"]) == (400, "argument_refused")


def test_a_file_that_would_be_too_long_is_refused(long_lived: Flask) -> None:
    query = read_counts.make_query(declaration().tables["countries"], by=None, start=None, end=None)
    with register_of(long_lived).database.reading() as connection:
        assert len(read_counts.read_whole(connection, query, most=34 * 31)) == 34 * 31
        with pytest.raises(ParseError) as caught:
            read_counts.read_whole(connection, query, most=34 * 31 - 1)
    assert caught.value.code == "figures_too_many"


@pytest.mark.parametrize(
    ("arguments", "accept", "media_type"),
    [
        ("", "text/csv", "text/csv; charset=utf-8"),
        ("&format=csv", "application/json", "text/csv; charset=utf-8"),
        ("", "application/vnd.apache.parquet", "application/vnd.apache.parquet"),
        ("", "*/*", "application/json"),
        ("", "text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
    ],
)
def test_the_format_is_what_was_asked_for(client: FlaskClient, arguments: str, accept: str, media_type: str) -> None:
    response = client.get(f"/v1/counts?table=europe{arguments}", headers={"Accept": accept})
    assert response.content_type == media_type
    assert "Accept" in response.headers["Vary"]


def test_all_formats_say_the_same(client: FlaskClient) -> None:
    rows = read(client, "/v1/counts?table=countries")["rows"]
    text = client.get("/v1/counts?table=countries&format=csv").get_data(as_text=True)
    told = [dict(row) for row in csv.DictReader(io.StringIO(text))]
    assert told == [{name: str(value) for name, value in row.items()} for row in rows]
    parquet = client.get("/v1/counts?table=countries&format=parquet").data
    frame = fastparquet.ParquetFile(io.BytesIO(parquet)).to_pandas()
    assert frame.to_dict("records") == rows
    assert client.get("/v1/tables/countries/counts.csv").get_data(as_text=True) == text


def test_the_same_question_has_the_same_answer_and_caches_know(client: FlaskClient) -> None:
    for address in ("/v1/counts?table=countries&by=geo", "/v1/tables/europe/counts.csv", "/v1/releases"):
        first = client.get(address)
        assert first.headers["Cache-Control"] == "public, max-age=300"
        again = client.get(address, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")
        assert client.get(address).data == first.data


@pytest.mark.parametrize(
    ("address", "status", "code"),
    [
        ("/v1/counts?table=moods", 404, "table_not_found"),
        ("/v1/counts?table=campaign-none", 404, "table_not_found"),
        ("/v1/counts?table=countries&by=platform", 400, "dimension_unknown"),
        ("/v1/counts?table=countries&from=2026-11", 400, "epoch_malformed"),
        ("/v1/counts?table=countries&to=2026-W99", 400, "epoch_malformed"),
        ("/v1/counts?limit=0", 400, "argument_refused"),
        ("/v1/counts?limit=10001", 400, "argument_refused"),
        ("/v1/counts?limit=-1", 400, "argument_refused"),
        ("/v1/counts?offset=1e3", 400, "argument_refused"),
        ("/v1/counts?offset=99999999999", 400, "argument_refused"),
        ("/v1/counts?table=europe&table=countries", 400, "argument_refused"),
        ("/v1/counts?where=geo", 400, "argument_refused"),
        ("/v1/counts?format=xlsx", 400, "argument_refused"),
        ("/v1/releases?format=csv", 400, "argument_refused"),
        ("/v1/releases?table=moods", 404, "table_not_found"),
        ("/v1/releases/countries-2020-W01", 404, "release_not_found"),
        ("/v1/releases/..%2F..%2Fkeys", 404, "not_found"),
        ("/v1/releases/countries-2026-W02?format=csv", 400, "argument_refused"),
        ("/v1/tables/countries/secrets.csv", 404, "not_found"),
        ("/v1/tables/moods/counts.csv", 404, "table_not_found"),
    ],
)
def test_what_cannot_be_answered_is_said_clearly(client: FlaskClient, address: str, status: int, code: str) -> None:
    response = client.get(address)
    assert response.content_type == "application/problem+json"
    assert (response.status_code, json.loads(response.data)["code"]) == (status, code)


def test_what_no_database_takes_is_not_found(tmp_path: Path, storage_settings: dict[str, str]) -> None:
    """PostgreSQL refuses NUL in a text with an error of its own."""
    with running(make_settings(tmp_path, **storage_settings)) as app:
        for address, code in {
            "/v1/counts?table=campaign-%00": "table_not_found",
            "/v1/tables/campaign-%00/counts.csv": "table_not_found",
            "/v1/releases?table=campaign-%00": "table_not_found",
            "/v1/releases/a%00b": "release_not_found",
            "/counts/releases/a%00b": "release_not_found",
            "/counts/campaigns/%00": "campaign_not_found",
            "/counts/campaigns/%00/figures": "campaign_not_found",
            "/counts/campaigns/%00/logo.png": "campaign_not_found",
        }.items():
            response = app.test_client().get(address)
            assert (response.status_code, json.loads(response.data)["code"]) == (404, code), address


def test_a_release_is_signed_with_the_published_key(client: FlaskClient) -> None:
    """Read with joserfc and the issuer's JWKS: no code of ours."""
    signed = client.get("/v1/releases/europe-2026-W02", headers={"Accept": "application/objection-release+jwt"})
    assert signed.content_type == "application/objection-release+jwt"
    issuer = read(client, "/.well-known/jwt-vc-issuer")
    [jwk] = issuer["jwks"]["keys"]
    registry = joserfc.jws.JWSRegistry(algorithms=["ES256"])
    registry.max_header_length = 4096
    jws = joserfc.jws.deserialize_compact(signed.get_data(as_text=True), ECKey.import_key(jwk), registry=registry)
    told = read(client, "/v1/releases/europe-2026-W02")
    assert told.pop("signed") == signed.get_data(as_text=True)
    assert json.loads(jws.payload) == told


@pytest.mark.parametrize("table", ["countries", "platforms", "europe", "outcomes", "campaign-open"])
def test_frictionless_finds_nothing_wrong_with_a_package(client: FlaskClient, tmp_path: Path, table: str) -> None:
    folder = f"/v1/tables/{table}"
    for name in ("datapackage.json", "counts.csv", "countries.csv"):
        response = client.get(f"{folder}/{name}")
        assert response.status_code == 200
        (tmp_path / name).write_bytes(response.data)
    command = [str(Path(sys.executable).with_name("frictionless")), "validate", "datapackage.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    broken = (tmp_path / "counts.csv").read_bytes().replace(b"value_noisy", b"value", 1)
    (tmp_path / "counts.csv").write_bytes(broken)
    assert not frictionless.validate(str(tmp_path / "datapackage.json")).valid, "the check can fail"


def test_a_figure_whose_interval_touches_zero_is_unreliable(client: FlaskClient) -> None:
    for row in read(client, "/v1/counts?table=platforms&limit=10000")["rows"]:
        assert row["obs_status"] == ("A" if row["value_noisy"] >= 10 and row["ci95_low"] > 0 else "U")
    [europe] = [table for table in read(client, "/v1/tables")["tables"] if table["name"] == "europe"]
    assert europe["ci95"] == 12, "so 11 and 12 are as unreliable as 9"
    row = read_counts._row(declaration().tables["europe"], NoisySum("_T", "_T", "_T", "_T", "x", None, 12, 1), "")
    assert (row.value_noisy, row.ci95_low, row.obs_status) == (12, 0, "U")


def test_a_package_before_the_first_release_has_no_date(tmp_path: Path) -> None:
    with running(make_settings(tmp_path)) as app:
        package = read(app.test_client(), "/v1/tables/countries/datapackage.json")
    assert not {"created", "version"} & package.keys()


def test_pages_of_others_may_read_what_tells_of_more_and_of_changes(client: FlaskClient) -> None:
    told = client.get("/v1/counts?limit=1").headers["Access-Control-Expose-Headers"]
    assert {"Link", "ETag"} <= set(told.split(", "))
    assert {"Date", "Retry-After"} <= set(told.split(", ")), "by which the extension tells a wrong clock, and waits"


def test_csvw_names_every_column(client: FlaskClient) -> None:
    described = read(client, "/v1/tables/countries/counts.csv-metadata.json")
    header = client.get("/v1/tables/countries/counts.csv").get_data(as_text=True).splitlines()[0]
    assert [column["titles"] for column in described["tableSchema"]["columns"]] == header.split(",")
    assert described["dc:license"]["@id"].startswith("https://creativecommons.org/")


def test_the_feed_lists_releases_with_permanent_ids(client: FlaskClient) -> None:
    feed = ET.fromstring(client.get("/v1/releases.atom").data)
    atom = "{http://www.w3.org/2005/Atom}"
    ids = [entry.findtext(f"{atom}id") for entry in feed.iter(f"{atom}entry")]
    assert len(ids) == len(set(ids)) > 8
    for address in ids:
        assert address is not None
        assert client.get(address.removeprefix("https://register.example")).status_code == 200
    assert not any("closed" in str(address) for address in ids)


def test_a_feed_for_a_key_is_private_and_leads_somewhere(client: FlaskClient, keys: dict[str, str]) -> None:
    response = client.get("/v1/releases.atom", headers=bearer(keys["closed"]))
    assert response.headers["Cache-Control"] == "private, no-cache"
    feed = ET.fromstring(response.data)
    atom = "{http://www.w3.org/2005/Atom}"
    links = [link.get("href") for entry in feed.iter(f"{atom}entry") for link in entry.iter(f"{atom}link")]
    assert any("closed" in str(link) for link in links)
    for link in links:
        assert link is not None
        assert client.get(link.removeprefix("https://register.example")).status_code == 200, link


def test_the_declaration_is_public(client: FlaskClient) -> None:
    told = read(client, "/v1/tables")
    assert told["lifetime_epsilon"] == "2"
    assert {table["name"] for table in told["tables"]} == declaration().tables.keys()


def test_campaigns_that_run_may_be_joined(app: Flask, client: FlaskClient) -> None:
    register = register_of(app)
    add_campaign(register, "over", DESCRIPTION, logo=None, open_figures=True, now=BEGAN)
    assert "over" in {campaign["slug"] for campaign in read(client, "/v1/campaigns")["campaigns"]}
    end_campaign(register, "over", now=BEGAN + 5)
    told = read(client, "/v1/campaigns")
    assert [campaign["slug"] for campaign in told["campaigns"]] == ["closed", "open", "other"]
    assert told["epsilon"] == "1"


CLOSED = [
    "/v1/counts?table=campaign-closed",
    "/v1/counts?table=campaign-closed&by=geo&format=csv",
    "/v1/releases?table=campaign-closed",
    "/v1/releases/campaign-closed-2026-W02",
    "/v1/tables/campaign-closed/counts.csv",
    "/v1/tables/campaign-closed/counts.parquet",
    "/v1/tables/campaign-closed/datapackage.json",
]


@pytest.mark.parametrize("address", CLOSED)
def test_a_campaigns_figures_are_for_its_own_key(client: FlaskClient, keys: dict[str, str], address: str) -> None:
    refused = client.get(address)
    assert (refused.status_code, json.loads(refused.data)["code"]) == (401, "api_key_required")
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    unknown = client.get(address, headers=bearer("objection_" + "A" * 43))
    assert (unknown.status_code, json.loads(unknown.data)["code"]) == (401, "api_key_refused")
    assert unknown.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    others = client.get(address, headers=bearer(keys["other"]))
    assert (others.status_code, json.loads(others.data)["code"]) == (403, "api_key_of_another")
    own = client.get(address, headers=bearer(keys["closed"]))
    assert own.status_code == 200
    assert own.headers["Cache-Control"] == "private, no-cache"
    assert "Authorization" in own.headers["Vary"]


def test_no_list_names_what_a_key_does_not_open(client: FlaskClient, keys: dict[str, str]) -> None:
    def tables(**options: Any) -> set[str]:
        return {each["table"] for each in read(client, "/v1/releases?limit=1000", **options)["releases"]}

    general = {*declaration().tables} - {"outcomes"} | {"campaign-open"}
    assert tables() == general
    assert tables(headers=bearer(keys["closed"])) == general | {"campaign-closed"}
    assert tables(headers=bearer(keys["other"])) == general | {"campaign-other"}


@pytest.mark.parametrize("key", ["", "objection_", "objection_" + "A" * 43, "A" * 5000, "objection_" + "é" * 43])
def test_what_is_no_key_opens_nothing(client: FlaskClient, key: str) -> None:
    response = client.get(CLOSED[0], headers=bearer(key))
    assert (response.status_code, json.loads(response.data)["code"]) == (401, "api_key_refused")


def test_the_scheme_is_read_without_its_case(client: FlaskClient, keys: dict[str, str]) -> None:
    for scheme in ("bearer", "BEARER", "Bearer  "):
        assert client.get(CLOSED[0], headers={"Authorization": f"{scheme} {keys['closed']}"}).status_code == 200


def test_lists_of_campaigns_load_no_logo(app: Flask) -> None:
    statements: list[str] = []
    engine = register_of(app).database.engine
    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: statements.append(statement))
    app.test_client().get("/v1/campaigns")
    assert statements
    assert not any("logo" in statement for statement in statements)


def test_a_revoked_key_stops_at_once(app: Flask, client: FlaskClient) -> None:
    register = register_of(app)
    keys = [create_key(register, "closed", name=name, now=BEGAN) for name in ("press", "office")]
    assert [client.get(CLOSED[0], headers=bearer(key)).status_code for key in keys] == [200, 200]
    with register.database.reading() as connection:
        [press] = [key for key in read_api_keys(connection, "closed") if key.name == "press"]
    revoke_key(register, fingerprint_of(press), slug="closed", now=BEGAN)
    assert [client.get(CLOSED[0], headers=bearer(key)).status_code for key in keys] == [401, 200]


def test_a_key_is_kept_nowhere(app: Flask, client: FlaskClient, keys: dict[str, str], caplog: Any) -> None:
    """Not in the database, not in a file, not in what is logged of requests and of faults."""
    register = register_of(app)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("objection.access").setLevel(logging.INFO)
        for address in CLOSED:
            client.get(address, headers=bearer(keys["closed"]))
            client.get(address, headers=bearer(keys["closed"] + "x"))
    assert len(caplog.records) >= 2 * len(CLOSED), "requests were logged"
    assert keys["closed"] not in caplog.text
    folder = Path(str(register.database.engine.url.database)).parent
    secret = keys["closed"].removeprefix("objection_").encode()
    for path in folder.rglob("*"):
        if path.is_file():
            assert secret not in path.read_bytes(), path


def test_wrong_keys_are_rate_limited(tmp_path: Path) -> None:
    with running(make_settings(tmp_path, read_rate="5 per minute")) as app:
        add_campaign(register_of(app), "closed", DESCRIPTION, logo=None, open_figures=False, now=BEGAN)
        statuses = [
            app.test_client().get(CLOSED[0], headers=bearer(f"objection_{number:043}")).status_code
            for number in range(7)
        ]
    assert statuses == [401] * 5 + [429] * 2


def test_joining_may_be_undone_while_the_week_is_open(tmp_path: Path) -> None:
    with running(make_settings(tmp_path)) as app:
        register = register_of(app)
        add_campaign(register, "group", DESCRIPTION, logo=None, open_figures=True, now=register.clock())
        holder, stranger = Holder(), Holder()
        objection = holder.objection(campaign="group")
        token = json.loads(post(app, objection).data)["token"]
        path = f"/v1/receipts/{objection.sha256}/campaign"

        def leave(by: Holder) -> tuple[int, str]:
            headers = {
                "Authorization": f"DPoP {token}",
                "DPoP": by.dpop(token, "DELETE", f"https://register.example{path}"),
                "Objection-Holder-Share": objection.holder_share,
            }
            response = app.test_client().delete(path, headers=headers)
            return response.status_code, json.loads(response.data)["code"] if response.data else ""

        assert leave(stranger) == (401, "dpop_refused")
        assert leave(holder) == (204, "")
        assert leave(holder) == (204, ""), "the answer may have been lost"
        assert app.test_client().delete(path).status_code == 401
        with register.database.reading() as connection:
            [(campaign, in_general)] = connection.exec_driver_sql("SELECT campaign, in_general FROM contributions")
        assert (campaign, bool(in_general)) == (None, True), "it still counts generally"


def test_a_released_week_cannot_be_left_any_more(tmp_path: Path) -> None:
    with counting_since(make_settings(tmp_path)) as app:
        register = register_of(app)
        [receipt] = contribute(register, 1, campaign="group")
        with register.database.writing() as connection:
            tallies.close_until(connection, BEGAN + WEEK_S)
            with changing_sums(connection, register.keyring.row_macs) as sums:
                assert not uncount_campaign(connection, receipt, sums)
