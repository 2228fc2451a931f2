"""`make install`: a tree that runs in any folder, and needs nothing of the one in which it was built."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.fixtures.ports import free_port
from tests.fixtures.records import make_record
from tests.fixtures.servers import ROOT
from tests.test_worker import children

# Whoever imports one of these from the folder that a command was called in ends with its name.
SHADOWS = ("server", "schemas", "wsgi", "flask", "gunicorn_conf")
BARE = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}

UNITS = ("proof-of-objection", "proof-of-objection-worker")

pytestmark = pytest.mark.timeout(900)  # fetches every library anew


@pytest.fixture(scope="module")
def prefix() -> Iterator[Path]:
    """Staged in another folder than the one it is made for, as a package is built, and moved there."""
    with TemporaryDirectory() as folder:
        stage, prefix = Path(folder, "stage"), Path(folder, "opt")
        command = ["make", "install", f"PREFIX={prefix}", f"DESTDIR={stage}", f"PYTHON={sys.executable}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, umask=0o077, check=False)
        assert done.returncode == 0, done.stderr
        assert not prefix.exists()
        shutil.move(f"{stage}{prefix}", prefix)
        shutil.rmtree(stage)
        yield prefix


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} of the folder that we were called in')\n")
    return tmp_path


def objection(prefix: Path, folder: Path, *arguments: str, **given: str) -> "subprocess.CompletedProcess[str]":
    command = [prefix / "bin/objection", *arguments]
    return subprocess.run(
        command, cwd=folder, env=BARE | given, capture_output=True, text=True, timeout=60, check=False
    )


def test_serves_and_verifies_in_another_folder(prefix: Path, elsewhere: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    given = {"OBJECTION_BIND": address, "OBJECTION_PUBLIC_URL": f"http://{address}", "OBJECTION_WORKERS": "1"}
    with subprocess.Popen(
        [prefix / "bin/objection", "serve", "--practice"], cwd=elsewhere, env=BARE | given, stderr=subprocess.PIPE
    ) as server:
        try:
            assert json.loads(read(f"http://{address}/readyz", server)) == {"status": "ready", "log_size": 0}
            for page, word in {"verify": b"<title>", "counts/charts.js": b"function", "practice": b"notice"}.items():
                assert word in read(f"http://{address}/{page}", server), page
            (worker,) = children(server.pid, "server.cli")
            assert b"worker" in Path(f"/proc/{worker}/cmdline").read_bytes().split(b"\0")
        finally:
            server.send_signal(signal.SIGTERM)
            _, said = server.communicate(timeout=60)
    assert server.returncode == 0, said
    assert (elsewhere / ".data/register.sqlite").is_file()

    fresh = objection(prefix, elsewhere, "log", "check", **given)
    assert (fresh.returncode, fresh.stdout.splitlines()[-1]) == (0, "✓ the log is consistent"), fresh.stderr
    (elsewhere / "proof.asice").write_bytes(make_record().bundle())
    verified = objection(prefix, elsewhere, "verify", "proof.asice")
    assert verified.returncode == 0, verified.stderr
    assert "VALID, KEYS NOT PINNED" in verified.stdout


def test_is_for_a_user_who_may_not_write_there(prefix: Path) -> None:
    code = prefix / "lib/proof-of-objection"
    for path in prefix.rglob("*"):
        assert path.is_symlink() or path.stat().st_mode & 0o044 == 0o044, path
    (compiled,) = code.glob("lib/python*/site-packages/server/__pycache__/cli.*.pyc")
    assert os.fsencode(f"{prefix}/lib/proof-of-objection/lib") in compiled.read_bytes()
    for script in [*(code / "bin").iterdir(), code / "pyvenv.cfg"]:
        if not script.is_symlink():
            assert b"/stage/" not in script.read_bytes(), script
            assert b".new" not in script.read_bytes(), script
    assert not list(code.glob("lib/python*/site-packages/pip"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_knows_all_that_the_units_say(prefix: Path) -> None:
    units = [prefix / f"share/proof-of-objection/{name}.service" for name in UNITS]
    for unit in units:
        text = unit.read_text()
        assert f"ExecStart={prefix}/bin/objection " in text
        (page,) = [line.removeprefix("Documentation=file://") for line in text.splitlines() if "file://" in line]
        assert Path(page).is_file()
    told = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")


def read(url: str, server: "subprocess.Popen[bytes]") -> bytes:
    """Return what stands there, once the server answers."""
    while server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=60) as response:
                content: bytes = response.read()
                return content
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.1)
    assert server.stderr is not None
    pytest.fail(f"the server ended: {server.stderr.read().decode()}")
