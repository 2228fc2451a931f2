"""The published log: one address a tile, right to the byte, kept for ever by caches; and audited from outside."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from server.core.log_policies import LogPolicy
from server.core.notes import format_verifier_key
from server.core.tiles import TilePath, format_tile_path, parse_entries
from server.errors import VerificationError
from server.usecases.audit_log import audit_log
from tests.core import naive_merkle
from tests.fixtures.auditor import audit, tiles_of
from tests.fixtures.holders import Holder
from tests.fixtures.servers import ROOT, make_settings, post, register_of, running, serving

SIZE = 5


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    with running(make_settings(tmp_path_factory.mktemp("register"))) as app:
        for _ in range(SIZE):
            assert post(app, Holder().objection({})).status_code == 201
        yield app


def test_every_partial_tile_of_every_published_size(app: Flask) -> None:
    leaves = audit(register_of(app)).leaves
    for size in range(1, SIZE + 1):
        response = app.test_client().get(f"/tile/0/000.p/{size}")
        assert response.data == b"".join(leaves[:size]) == tiles_of(leaves[:size])[0, 0]
        bundle = app.test_client().get(f"/tile/entries/000.p/{size}")
        assert [naive_merkle.leaf_hash(entry) for entry in parse_entries(bundle.data, count=size)] == leaves[:size]
        for found in (response, bundle):
            assert found.content_type == "application/octet-stream"
            assert found.headers["Cache-Control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    "path",
    [
        *("/tile/0/000", "/tile/0/000.p/6", "/tile/0/001.p/1", "/tile/1/000", "/tile/1/000.p/1", "/tile/entries/000"),
        *("/tile/0/000.p/0", "/tile/0/000.p/05", "/tile/0/0.p/5", "/tile/00/000.p/5", "/tile/0/x000/000.p/5"),
        *("/tile/0//000.p/5", "/tile//0/000.p/5", "//tile/0/000.p/5", "/tile/0/000.p/5/", "/tile/0/../0/000.p/5"),
        *("/tile/entries/000.p/6", "/tile/entries//000.p/5", "/tile/data/000.p/5", "/tile/64/000", "/tile", "/tile/"),
        "/tile/0/x999/x999/x999/x999/x999/999",
    ],
)
def test_what_is_no_tile_is_not_found(app: Flask, path: str) -> None:
    response = app.test_client().get(path)
    assert response.status_code == 404
    assert response.content_type == "application/problem+json"
    assert response.json is not None
    assert response.json["code"] in {"tile_not_found", "not_found"}
    assert "immutable" not in response.headers.get("Cache-Control", "")


def test_a_tile_that_is_missing_is_not_remembered(app: Flask) -> None:
    assert app.test_client().get("/tile/0/000.p/9").headers["Cache-Control"] == "no-store"


def test_the_checkpoint_is_kept_for_seconds(app: Flask) -> None:
    response = app.test_client().get("/checkpoint")
    assert response.content_type == "text/plain; charset=utf-8"
    assert response.headers["Cache-Control"] == "public, max-age=5"


def test_no_checkpoint_was_anchored_yet(app: Flask) -> None:
    response = app.test_client().get("/checkpoint/anchored")
    assert (response.status_code, response.json and response.json["code"]) == (404, "checkpoint_not_anchored")


def test_tiles_have_a_limit_of_their_own(tmp_path: Path) -> None:
    with running(make_settings(tmp_path, read_rate="1 per hour", tile_rate="3 per hour")) as app:
        client = app.test_client()
        for path in ("/tile/0/000.p/1", "/tile/entries/000.p/1"):
            assert [client.get(path).status_code for _ in range(4)] == [404, 404, 404, 429]
        refused = client.get("/tile/0/000.p/1")
        assert 0 < int(refused.headers["Retry-After"]) <= 3600


def test_an_auditor_follows_the_growing_log(tmp_path: Path) -> None:
    with running(make_settings(tmp_path)) as app:
        register = register_of(app)
        policy = LogPolicy(register.keyring.log_verifier)

        def read(path: str, *, max_bytes: int) -> bytes:
            response = app.test_client().get(f"/{path}")
            if response.status_code == 404 and path == "checkpoint/anchored":
                raise VerificationError("log_unreadable", "nothing is anchored yet")
            assert response.status_code == 200, path
            assert len(response.data) <= max_bytes
            return response.data

        note = None
        for size in range(4):
            found = audit_log(read, policy=policy, last_note=note, progress=lambda _done, _total: None)
            assert (found.checkpoint.size, found.new_entries) == (size, min(size, 1))
            note = found.note
            assert post(app, Holder().objection({})).status_code == 201


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "server.cli", "log", "audit", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_audits_over_http(tmp_path: Path) -> None:
    state = tmp_path / "seen"
    with serving(tmp_path / "register") as server:
        for _ in range(3):
            assert server.post(Holder().objection({}))[0] == 201
        with running(make_settings(tmp_path / "register")) as app:
            key = format_verifier_key(register_of(app).keyring.log_verifier)
        arguments = (server.url, "--key", key, "--state", str(state))
        first = _command(*arguments)
        assert first.returncode == 0, first.stderr
        assert "3 entries, root" in first.stdout
        seen = state.read_text()
        assert server.post(Holder().objection({}))[0] == 201
        again = _command(*arguments)
        assert "it begins with the 3 entries" in again.stdout
        assert state.read_text() != seen
        assert list(tmp_path.glob("seen*")) == [state]

        missing = _command(f"{server.url}/elsewhere", "--key", key)
        assert (missing.returncode, "tile_missing" in missing.stderr) == (1, True)
    gone = _command(*arguments)
    assert gone.returncode == 2
    assert gone.stderr.startswith("objection: log_unavailable: ")
    assert gone.stderr.count("\n") == 1

    with serving(tmp_path / "other") as server:  # another log answers there
        other = _command(server.url, "--key", key, "--state", str(state))
    assert (other.returncode, "note_unverified" in other.stderr) == (1, True)


@pytest.mark.parametrize("tile", [TilePath(0, 0, 1), TilePath(None, 0, 1)])
def test_an_empty_log_has_no_tiles(tmp_path: Path, tile: TilePath) -> None:
    with running(make_settings(tmp_path)) as app:
        assert app.test_client().get(f"/{format_tile_path(tile)}").status_code == 404
