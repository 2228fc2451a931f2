"""docs/verifying.md, run as it stands on real bundles: what it promises to print is printed."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.fixtures.records import Record, make_record
from tests.fixtures.zips import members_of, write_zip

PAGE = Path(__file__).parents[1] / "docs/verifying.md"
BLOCKS = re.findall(r"^```bash( asice| pdf)?\n(.*?)^```", PAGE.read_text(), re.S | re.M)


def run(folder: Path, *, form: str = " asice") -> str:
    """Run every command of the page in order, as a reader would; return what they saw."""
    script = "".join(commands for of_form, commands in BLOCKS if of_form in {"", form})
    private = script.replace("/tmp/", f"{folder}/")
    done = subprocess.run(["bash"], check=False, input=private, cwd=folder, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def record() -> Record:
    return make_record()


def test_a_genuine_proof_passes_every_step(record: Record, tmp_path: Path) -> None:
    (tmp_path / "proof.asice").write_bytes(record.bundle())
    seen = run(tmp_path)
    assert seen.count("Verified OK") == 2, seen
    assert seen.count(": OK") >= 2
    for line in ("same receipt", "Signature Verified Successfully", "in the log"):
        assert line in seen, seen


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("name", "at", "missing"),
    [
        ("receipt.jws", 500, "same receipt"),
        ("receipt.jws", -20, "in the log"),
        ("token.sd-jwt", -20, None),
        ("evidence/notice.txt", 0, None),
        ("checkpoint.txt", 3, "Signature Verified Successfully"),
        ("proof.tlog-proof", 40, "in the log"),
    ],
)
def test_an_altered_part_is_noticed(name: str, at: int, missing: str | None, record: Record, tmp_path: Path) -> None:
    members = members_of(record.bundle())
    for member in members:
        if member.name == name.encode():
            member.data = _flip(member.data, at)
    (tmp_path / "proof.asice").write_bytes(write_zip(members))
    seen = run(tmp_path)
    if missing:
        assert missing not in seen
    else:
        assert "Verification failure" in seen or "FAILED" in seen, seen
