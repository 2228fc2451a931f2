"""Settings: every problem at once, nothing unknown; and a process that ends with one line when they are wrong."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from server.core.policies import parse_trust_policy
from server.core.tokens import verify_token
from server.errors import OperatorError
from server.settings import GIVE_UP, Settings
from tests.fixtures.holders import Holder
from tests.fixtures.servers import ROOT, bare_environment, make_settings, post, running

GOOD = {
    "DATA_DIR": "/srv/objection",
    "PUBLIC_URL": "https://register.example/base",
    "DATABASE_URL": "postgresql://user:pass@db.example/objection",
    "LOG_ORIGIN": "register.example/log/2026",
    "RATE_LIMIT_STORAGE_URL": "redis://cache.example:6379",
    "RECORD_RATE": "5 per second",
    "READ_RATE": "100 per day",
    "TILE_RATE": "200 per second",
    "MAIL_DOMAINS": "facebookmail.com,example.org",
    "DNS_SERVERS": "127.0.0.1:5353,9.9.9.9",
    "KNOWN_MAILS": "/srv/known-mails.toml",
    "RECEIPT_MAX_AGE_S": "3600",
    "WORK": "500",
    "TRUSTED_PROXIES": "2",
    "PRACTICE": "on",
    "LOG_REQUESTS": "on",
    "ANCHORS": "/srv/anchors.toml",
    "WORKER": "off",
    "BIND": "unix:/run/objection.sock",
    "WORKERS": "8",
}
BAD = {
    "DATA_DIR": [""],
    "PUBLIC_URL": [
        *("", "register.example", "ftp://register.example", "https://", "https://a.example/", "https://a/?q"),
        *("https://a.example?", "https://a.example#", "https://a b.example", "https://a.example\n", "https://[::1"),
        *("https://bücher.example", "https://a.example/é", "https://u+x@a.example", f"https://a.example/{'x' * 190}"),
    ],
    "DATABASE_URL": ["", "mysql://x", "postgres://x", "sqlite://"],
    "LOG_ORIGIN": ["", "two words", "a+b", "x" * 256, "a\n", "a\0b", "bücher.example/log"],
    "RATE_LIMIT_STORAGE_URL": ["", "memcached://x", "localhost:6379"],
    "RECORD_RATE": ["", "0 per minute", "many", "5/minute", "-1 per minute", "5 per minute; 6 per hour"],
    "READ_RATE": ["", "0 per day"],
    "TILE_RATE": ["many"],
    "MAIL_DOMAINS": ["", "Example.org", "localhost", "a.example, b.example"],
    "DNS_SERVERS": ["dns.example", "::1", "127.0.0.1:", "127.0.0.1 9.9.9.9"],
    "WORK": ["", "-1", "1.5", "1000000", "much"],
    "RECEIPT_MAX_AGE_S": ["", "0", "-1", "1.5", "1e3", "thirty", "١٢"],
    "TRUSTED_PROXIES": ["", "-1", "one"],
    "PRACTICE": ["", "yes", "true", "1", "ON"],
    "LOG_REQUESTS": ["yes"],
    "WORKER": ["", "yes", "1"],
    "BIND": ["", "8000", "127.0.0.1", "host:port", "127.0.0.1:0", "127.0.0.1:65536"],
    "WORKERS": ["", "0", "-2", "auto"],
}


def from_env(**given: str) -> Settings:
    return Settings.from_env({f"OBJECTION_{name}": value for name, value in given.items()})


def refusal(**given: str) -> str:
    with pytest.raises(OperatorError) as caught:
        from_env(**given)
    assert caught.value.code == "settings_invalid"
    return str(caught.value)


def test_defaults_need_nothing() -> None:
    settings = Settings.from_env({"PATH": "/bin", "HOME": "/root"})
    assert settings.public_url == "http://127.0.0.1:8000"
    assert settings.log_origin == "127.0.0.1:8000/log"
    assert settings.database_url == f"sqlite:///{settings.data_dir}/register.sqlite"
    assert settings.data_dir == Path(".data").absolute()
    assert settings.practice is False
    assert settings.trusted_proxies == 0
    assert settings.workers >= 2
    assert settings.receipt_max_age_s == 30 * 86_400


def test_everything_given_is_used() -> None:
    settings = from_env(**GOOD)
    assert settings == Settings(
        data_dir=Path("/srv/objection"),
        public_url="https://register.example/base",
        database_url="postgresql+psycopg://user:pass@db.example/objection",
        log_origin="register.example/log/2026",
        rate_limit_storage_url="redis://cache.example:6379",
        record_rate="5 per second",
        read_rate="100 per day",
        tile_rate="200 per second",
        mail_domains=("facebookmail.com", "example.org"),
        known_mails=Path("/srv/known-mails.toml"),
        dns_servers=("127.0.0.1:5353", "9.9.9.9"),
        receipt_max_age_s=3600,
        work=500,
        trusted_proxies=2,
        practice=True,
        log_requests=True,
        anchors=Path("/srv/anchors.toml"),
        worker=False,
        bind="unix:/run/objection.sock",
        workers=8,
    )


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_bad_value_is_named(name: str, value: str) -> None:
    """Those that may hold a password without the value."""
    said = refusal(**GOOD | {name: value})
    assert (
        f"OBJECTION_{name}" + (": " if name in {"DATABASE_URL", "RATE_LIMIT_STORAGE_URL"} else f"={value!r}: ") in said
    )


def test_all_problems_at_once() -> None:
    message = refusal(**{name: values[-1] for name, values in BAD.items()}, PORT="80", SECRET="x")
    for name in [*BAD, "PORT", "SECRET"]:
        assert f"OBJECTION_{name}" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["DATABSE_URL", "PUBLIC_URLS", "public_url", ""])
def test_an_unknown_variable_is_refused(name: str) -> None:
    assert f"OBJECTION_{name}: no such setting" in refusal(**{name: "x"})


def test_the_longest_names_make_tokens_that_verify(tmp_path: Path) -> None:
    """A name that settings take and verifiers do not would spoil every proof, and nobody would notice for years."""
    printable = "".join(chr(code) for code in range(0x21, 0x7F))
    host = "https://[2001:db8::1]:8443/"
    url = (host + printable.replace("?", "").replace("#", "")).ljust(200, "x")
    origin = printable.replace("+", "").ljust(255, "x")
    with running(make_settings(tmp_path, public_url=url, log_origin=origin)) as app:
        policy = parse_trust_policy(app.test_client().get("/v1/policy").data)
        response = post(app, Holder().objection({}))
        assert response.status_code == 201
        claims = verify_token(json.loads(response.data)["token"], policy).claims
    assert (claims["iss"], claims["log"]["origin"]) == (url, origin)


def test_files_are_the_same_ones_for_a_process_in_another_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    given = {
        "OBJECTION_DATA_DIR": "data",
        "OBJECTION_ANCHORS": "anchors.toml",
        "OBJECTION_KNOWN_MAILS": "mails.toml",
        "OBJECTION_DATABASE_URL": "sqlite:///register.sqlite",
    }
    settings = Settings.from_env(given)
    assert settings.data_dir == here / "data"
    assert settings.database_url == f"sqlite:///{here}/register.sqlite"
    monkeypatch.chdir(tmp_path)
    assert Settings.from_env(given | settings.paths()) == settings
    assert settings.paths().keys() == given.keys()
    assert Settings.from_env({"OBJECTION_DATABASE_URL": "postgresql://u@h/d"}).paths().keys() == {"OBJECTION_DATA_DIR"}


def test_every_setting_can_be_given() -> None:
    assert {name.lower() for name in GOOD} == set(Settings.__dataclass_fields__)


def run(*command: str, **given: str) -> subprocess.CompletedProcess[str]:
    environment = bare_environment() | {f"OBJECTION_{name}": value for name, value in given.items()}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False
    )


def expect_one_line(process: subprocess.CompletedProcess[str], code: str) -> None:
    assert process.stderr.startswith(f"objection: {code}: "), process.stderr
    ours = [line for line in process.stderr.splitlines() if line.startswith("objection: ")]
    assert len(ours) == 1, process.stderr
    assert "Traceback" not in process.stderr
    assert process.stdout == ""


def test_gunicorn_ends_with_one_line_on_bad_settings(tmp_path: Path) -> None:
    process = run(
        "-m", "gunicorn", "-c", "python:server.gunicorn_conf", "wsgi:application", DATA_DIR=str(tmp_path), WORKERS="0"
    )
    expect_one_line(process, "settings_invalid")
    assert process.returncode == GIVE_UP


NOBODY = "postgresql://nobody@127.0.0.1:1/none"


def test_the_application_ends_with_one_line_on_bad_settings(tmp_path: Path) -> None:
    process = run("-c", "import wsgi", DATA_DIR=str(tmp_path), WORKERS="0", NOTHING="x")
    expect_one_line(process, "settings_invalid")
    assert process.returncode == GIVE_UP


def test_the_application_ends_with_one_line_on_storage_that_is_not_fit() -> None:
    process = run("-c", "import wsgi", DATA_DIR="/dev/null/x")
    expect_one_line(process, "storage_unusable")
    assert process.returncode == GIVE_UP


def test_the_application_ends_for_gunicorn_to_start_it_again_while_there_is_no_database(tmp_path: Path) -> None:
    process = run("-c", "import wsgi", DATA_DIR=str(tmp_path), DATABASE_URL=NOBODY)
    expect_one_line(process, "database_unavailable")
    assert process.returncode == 1


def test_the_application_does_not_ask_an_absent_database_too_often(tmp_path: Path) -> None:
    environment = bare_environment() | {"OBJECTION_DATABASE_URL": NOBODY}
    command = [sys.executable, "-c", "import wsgi"]
    environment["OBJECTION_DATA_DIR"] = str(tmp_path)
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        process.stderr.readline()
        told = time.monotonic()
        assert process.wait(30) == 1
        assert time.monotonic() - told > 0.9


def test_gunicorn_gives_up_when_its_workers_cannot_start(tmp_path: Path) -> None:
    """Exit, not an endless loop of workers that die; keys that others may read are the case here."""
    run("-c", "import wsgi; wsgi.application.extensions['objection'].close()", DATA_DIR=str(tmp_path))
    (tmp_path / "keys/log-1.key").chmod(0o644)
    options = {"DATA_DIR": str(tmp_path), "WORKERS": "1", "BIND": f"unix:{tmp_path}/socket"}
    process = run(
        "-m", "gunicorn", "-c", "python:server.gunicorn_conf", "--log-level", "critical", "wsgi:application", **options
    )
    assert process.returncode != 0
    assert "objection: keys_exposed: " in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(("switch", "lines"), [("on", 1), ("off", 0)])
def test_requests_are_logged_only_when_asked_for_and_without_path(
    switch: str, lines: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(make_settings(tmp_path, log_requests=switch)) as app:
        app.test_client().get(f"/v1/receipts/{'a' * 64}", environ_base={"REMOTE_ADDR": "192.0.2.77"})
    logged = [record.getMessage() for record in caplog.records if record.name == "objection.access"]
    assert len(logged) == lines
    assert not any("aaaa" in line or "192.0.2" in line for line in logged)
