"""The operators' commands: what they print, what they refuse in one line, and that a preview reads no true count."""

import re
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from server.cli import main
from server.core.counts import declaration
from server.store.tallies import hour_of
from tests.fixtures.counting import BEGAN, GRACE_S, contribute, counting_since, release_until
from tests.fixtures.servers import PUBLIC_URL, make_settings, register_of

WEEK_S = 7 * 86_400
ADD = ["campaigns", "add", "fair-ai", "--name", "en=Fair AI", "--country", "DE"]
ADD += ["--link", "https://group.example/", "--contact", "a@group.example"]


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A register that has released a week, named by the environment."""
    with counting_since(make_settings(tmp_path)) as app:
        register = register_of(app)
        contribute(register, declaration().burst_caps["MT"] + 3, country="MT", hour=BEGAN + WEEK_S)
        contribute(register, 9, country="MT", hour=BEGAN + WEEK_S + 3600)
        release_until(register, tmp_path, BEGAN + WEEK_S + GRACE_S)
    monkeypatch.setenv("OBJECTION_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("OBJECTION_PUBLIC_URL", PUBLIC_URL)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def refused(*arguments: str) -> str:
    """Return the one line on standard error."""
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    [line] = done.stderr.splitlines()
    return line


def test_a_campaign_and_its_keys(tmp_path: Path) -> None:
    done = run(*ADD, "--name", "de=Faire KI")
    assert done.exit_code == 0, done.output
    [key] = re.findall(r"objection_[A-Za-z0-9_-]{43}", done.output)
    assert "cannot be shown" not in done.output
    assert "nobody can show it again" in done.output
    assert f"{PUBLIC_URL}/counts/campaigns/fair-ai" in done.output
    assert "Fair AI  DE  figures by key  running" in run("campaigns", "list").output
    second = run("campaigns", "add-key", "fair-ai", "--name", "press")
    assert key not in second.output
    listed = run("campaigns", "keys", "fair-ai").output.splitlines()
    assert [line.split()[-1] for line in listed] == ["first", "press"]
    fingerprint = listed[1].split()[0]
    assert run("campaigns", "revoke-key", "fair-ai", fingerprint).exit_code == 0
    assert "revoked" in run("campaigns", "keys", "fair-ai").output.splitlines()[1]
    assert key.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert run("campaigns", "end", "fair-ai").exit_code == 0
    assert "ended" in run("campaigns", "list").output


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([*ADD[:2], "Fair AI", *ADD[3:]], "slug_malformed"),
        ([*ADD, "--country", "US"], "field_invalid"),
        ([*ADD, "--link", "http://group.example/"], "field_invalid"),
        ([*ADD, "--contact", "nobody"], "field_invalid"),
        ([*ADD, "--logo", "/etc/hostname"], "logo_refused"),
        ([*ADD, "--logo", "/nonexistent"], "file_unreadable"),
        (["campaigns", "end", "none"], "campaign_not_found"),
        (["campaigns", "keys", "none"], "campaign_not_found"),
        (["campaigns", "add-key", "none", "--name", "x"], "campaign_not_found"),
        (["campaigns", "revoke-key", "none", "00"], "api_key_not_found"),
        (["releases", "admit", "2026-01-12T05", "MT", "facebook", "in-app", "--reason", "x"], "burst_not_found"),
        (["releases", "verify", "/nonexistent"], "file_unreadable"),
        (["releases", "import", "/etc/hostname"], "jws_malformed"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments: list[str], code: str) -> None:
    assert refused(*arguments).startswith(f"objection: {code}: ")


def test_a_slug_is_taken_for_ever() -> None:
    assert run(*ADD).exit_code == 0
    assert run("campaigns", "end", "fair-ai").exit_code == 0
    assert refused(*ADD).startswith("objection: campaign_exists: ")


def test_a_name_needs_its_language() -> None:
    done = run(*ADD, "--name", "Fair AI")
    assert (done.exit_code, "LANGUAGE=NAME" in done.stderr) == (2, True)


def test_the_budget_adds_up() -> None:
    told = run("releases", "budget").output
    assert re.findall(r"epsilon (\S+)", told)[:4] == ["1", "1/2", "1/4", "1/4"]
    assert "for life: epsilon 2: no result gets more than 7.4 times likelier" in told
    assert "epsilon 3: no more than 20 times" in told
    assert declaration().sha256 in told


def test_a_preview_reads_no_true_count(data_dir: Path) -> None:
    """Where the contributions cannot be read at all, it is the same."""
    with sqlite3.connect(data_dir / "register.sqlite") as connection:
        connection.execute("DROP TABLE contributions")
    done = run("releases", "preview")
    assert done.exit_code == 0, done.output
    assert "made up: noise over zeros" in done.output
    assert "due now   countries-2026-W03" in done.output
    numbers = [int(number) for number in re.findall(r"(-?[0-9]+)$", done.output, re.MULTILINE)]
    assert len(numbers) >= 60
    assert max(abs(number) for number in numbers) < 120


def test_a_burst_is_shown_and_admitted_once() -> None:
    cap = declaration().burst_caps["MT"]
    assert hour_of(BEGAN) == BEGAN
    told = run("releases", "quarantine").output
    place = "MT facebook in-app"
    tables = "countries, platforms, europe, outcomes"
    assert told.startswith("2026-01-12T00:00Z")
    assert place in told
    assert f"{cap + 3} registrations, counted up to {cap}, usual 9  held back from {tables}" in told
    admit = ["releases", "admit", "2026-01-12T00", "MT", "facebook", "in-app", "--reason", "a call on television"]
    assert run(*admit).output == f"{cap + 3} registrations of {place} count in {tables}\n"
    assert f"admitted to {tables}: a call on television" in run("releases", "quarantine").output
    assert refused(*admit).startswith("objection: burst_admitted: ")


def test_a_release_is_verified_offline(data_dir: Path, tmp_path: Path) -> None:
    signed = data_dir / "releases/countries-2026-W02.jws"
    policy = tmp_path / "policy.json"
    policy.write_text(run("keys", "policy").output)
    for options in ([], ["--policy", str(policy)]):
        done = run("releases", "verify", str(signed), *options)
        assert done.exit_code == 0, done.output
        assert "✓ countries-2026-W02" in done.output
        assert "31 cells, epsilon 1: the noise is within ±3" in done.output
    text = signed.read_text()
    tampered = tmp_path / "tampered.jws"
    tampered.write_text(text[:-5] + ("A" if text[-5] != "A" else "B") + text[-4:])
    done = run("releases", "verify", str(tampered))
    assert (done.exit_code, done.stderr.startswith("✗ signature_invalid: ")) == (1, True)
    assert run("releases", "import", str(signed)).output == "countries-2026-W02 is known\n"
