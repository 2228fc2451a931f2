"""docs/verifying.md, run as it stands on real proofs: what it promises to print is printed."""

import re
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shlex import quote

import pytest
from flask import Flask

from server.outside.timestamps import create_local_authority
from tests.fixtures.anchoring import anchoring_of
from tests.fixtures.holders import Holder, Submission
from tests.fixtures.records import Record, TestRegister, make_record
from tests.fixtures.servers import PUBLIC_URL, make_settings, running
from tests.fixtures.zips import members_of, write_zip
from tests.usecases.test_later_receipts import sent

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


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with running(make_settings(tmp_path / "register")) as app:  # of its own: one register stamps every two seconds
        yield app


def proof_of(app: Flask, holder: Holder, objection: Submission, token: str, media_type: str) -> bytes:
    address = f"/v1/receipts/{objection.sha256}/bundle"
    headers = {
        "Authorization": f"DPoP {token}",
        "DPoP": holder.dpop(token, "GET", PUBLIC_URL + address),
        "Objection-Holder-Share": objection.holder_share,
        "Accept": media_type,
    }
    response = app.test_client().get(address, headers=headers)
    assert response.mimetype == media_type
    return response.data


@pytest.mark.parametrize("form", ["asice", "pdf"])
def test_a_real_anchored_proof_passes_every_step(form: str, app: Flask, tmp_path: Path) -> None:
    holder = Holder()
    objection = holder.objection()
    token = sent(app, objection)["token"]
    sent(app, holder.later("supplement", objection))
    anchoring_of(app, lambda: int(time.time())).run_once()
    media_type = {"asice": "application/vnd.etsi.asic-e+zip", "pdf": "application/pdf"}[form]
    (tmp_path / f"proof.{form}").write_bytes(proof_of(app, holder, objection, token, media_type))
    seen = run(tmp_path, form=f" {form}")
    assert seen.count("Verified OK") == 2, seen
    assert seen.count(": OK") >= 2
    for line in ("same receipt", "Signature Verified Successfully", "in the log", "Verification: OK", "status: 0"):
        assert line in seen, seen
    if form == "pdf":
        assert "Signature is Valid" in seen
        assert "Total document signed" in seen
    sent(app, holder.later("withdrawal", objection))
    anchoring_of(app, lambda: int(time.time()) + 20).run_once()
    (tmp_path / "later").mkdir()
    (tmp_path / f"later/proof.{form}").write_bytes(proof_of(app, holder, objection, token, media_type))
    seen = run(tmp_path / "later", form=f" {form}")
    assert "status: 2" in seen
    stamps = [line for line in seen.splitlines() if line.endswith("local.tst")]
    assert stamps == ["anchors/local.tst", "later/02-withdrawal/local.tst"], seen
    assert seen.count("Verification: OK") == 2


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    """What `pdfdetach` would write anywhere; the page's own case statement stands in its way."""
    (tmp_path / "reader").mkdir()
    names = [
        "../../outside",
        "/outside",
        "a/../../outside",
        "./x",
        "a//b",
        "~/x",
        "$(id)",
        "a b",
        "receipt.jws",
        "later/01/a.txt",
    ]
    listed = "".join(f"printf '%s\\n' {quote(f'{number}: {name}')}\n" for number, name in enumerate(names, 1))
    wrote = 'shift 3; mkdir -p "$(dirname "$1")"; echo x > "$1"; echo "wrote $1"'
    fakes = f'pdfsig() {{ :; }}\npdfdetach() {{ if [ "$1" = -list ]; then {listed}else {wrote}; fi; }}\n'
    (commands,) = (commands for of_form, commands in BLOCKS if of_form == " pdf")
    seen = subprocess.run(
        ["bash"],
        check=False,
        input=fakes + commands,
        cwd=tmp_path / "reader",
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.splitlines()
    assert [line for line in seen if line.startswith("wrote")] == [
        "wrote proof/receipt.jws",
        "wrote proof/later/01/a.txt",
    ]
    assert [line for line in seen if line.startswith("refused")] == [f"refused: {name}" for name in names[:-2]]
    assert not list(tmp_path.glob("outside*"))


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at:][1:]


@pytest.mark.parametrize(
    ("name", "at", "missing"),
    [
        ("receipt.jws", 500, "same receipt"),
        ("receipt.jws", -20, "in the log"),
        ("token.sd-jwt", -20, None),
        ("evidence/notice.txt", 0, None),
        ("checkpoint.txt", 3, "Signature Verified Successfully"),
        ("checkpoint.txt", -10, "Verification: OK"),
        ("proof.tlog-proof", 40, "in the log"),
    ],
)
def test_an_altered_part_is_noticed(name: str, at: int, missing: str | None, record: Record, tmp_path: Path) -> None:
    members = members_of(record.bundle(**record.anchored()))
    for member in members:
        if member.name == name.encode():
            member.data = _flip(member.data, at)
    (tmp_path / "proof.asice").write_bytes(write_zip(members))
    seen = run(tmp_path)
    if missing:
        assert missing not in seen
    else:
        assert any(words in seen for words in ("Verification failure", "FAILED", "Verification: FAILED")), seen


def test_a_stamp_is_judged_at_its_time_not_today(tmp_path: Path) -> None:
    """The certificate ran out long ago, as every one will; and a stamp from before it was in force stays refused."""
    old = datetime(2016, 5, 1, tzinfo=UTC)
    register = TestRegister(authority=create_local_authority(now=old))
    record = make_record(register=register)
    changes = record.anchored()
    note = changes["proof"].partition(b"\n\n")[2]
    for number, (at, fine) in enumerate(
        ((old + timedelta(days=9, seconds=0.5), True), (old - timedelta(days=9), False))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        changes["more"] = {"anchors/tsa.tst": register.authority.timestamp(note, now=at)}
        (folder / "proof.asice").write_bytes(record.bundle(**changes))
        seen = run(folder)
        assert ("Verification: OK" in seen) is fine, seen
        assert f"Time stamp: May {10 if fine else 22}" in seen or not fine


def test_an_altered_time_stamp_is_not_ok(record: Record, tmp_path: Path) -> None:
    changes = record.anchored()
    stamps = changes["more"]
    (tmp_path / "proof.asice").write_bytes(record.bundle(**changes))
    assert run(tmp_path).count("Verification: OK") == len(stamps) == 2
    token = stamps["anchors/tsa.tst"]
    changes["more"] = stamps | {"anchors/tsa.tst": _flip(token, token.index(b"20261118") + 7)}
    (tmp_path / "altered").mkdir()
    (tmp_path / "altered/proof.asice").write_bytes(record.bundle(**changes))
    assert run(tmp_path / "altered").count("Verification: OK") == 1
