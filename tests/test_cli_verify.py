"""``objection verify``, as a person at a terminal meets it."""

import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from server.cli import main
from server.core.encoding import format_base64url
from server.core.policies import format_trust_policy
from server.core.presentations import sign_presentation
from server.core.tokens import disclosure_digest
from tests.fixtures.records import Record, TestRegister, make_record

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def record() -> Record:
    return make_record()


@pytest.fixture(scope="module")
def files(record: Record, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("proofs")
    bundle = record.bundle()
    (folder / "good.asice").write_bytes(bundle)
    (folder / "bad.asice").write_bytes(record.bundle(evidence={**record.evidence, "notice.txt": b"other"}))
    (folder / "cut.asice").write_bytes(bundle[:-1])
    (folder / "token.txt").write_text(record.presentation("person") + "\n")
    (folder / "policy.json").write_bytes(format_trust_policy(record.register.policy))
    (folder / "other.json").write_bytes(format_trust_policy(make_record().register.policy))
    return folder


def verify(*arguments: str | Path, stdin: bytes = b"") -> Result:
    result = CliRunner().invoke(main, ["verify", *map(str, arguments)], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_a_good_bundle(files: Path) -> None:
    result = verify(files / "good.asice")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == " 1. ✓ passed       The file can be read, and hides nothing"
    assert "11. ✓ passed       The receipt stands in the log" in lines
    assert "VALID, KEYS NOT PINNED: its parts fit together; whose they are, only you can tell" in lines
    assert "objected_at      18 November 2026, 11:06:40 UTC (the holder's clock)" in lines
    assert "log_index        5" in lines
    assert "keys_from        bundle" in lines
    assert "  - That Meta received the objection." in lines
    assert result.stderr == ""
    assert "\x1b" not in result.stdout


def test_a_bad_bundle(files: Path) -> None:
    result = verify(files / "bad.asice")
    assert result.exit_code == 1
    assert " 7. ✗ FAILED       The evidence is what the holder signed for" in result.stdout
    assert "notice.txt is not the file that the receipt names [evidence_mismatch]" in result.stdout
    assert "NOT VALID" in result.stdout
    assert "It shows" not in result.stdout


def test_a_damaged_bundle_is_not_valid(files: Path) -> None:
    result = verify(files / "cut.asice")
    assert result.exit_code == 1
    assert "[bundle_malformed]" in result.stdout


def test_a_policy_of_ones_own(files: Path) -> None:
    pinned = verify("--policy", files / "policy.json", files / "good.asice")
    assert pinned.exit_code == 0
    assert "VALID" in pinned.stdout.splitlines()
    result = verify("--policy", files / "other.json", files / "good.asice")
    assert result.exit_code == 1
    assert "[token_issuer_unknown]" in result.stdout


def test_json(files: Path) -> None:
    for name, valid in (("good.asice", True), ("bad.asice", False)):
        result = verify("--json", files / name)
        report = json.loads(result.stdout)
        assert report["valid"] is valid
        assert result.exit_code == (0 if valid else 1)
        assert report.keys() == {"verdict", "valid", "checks", "facts", "shows", "does_not_show"}
        assert {"id", "title", "outcome", "reason"} <= report["checks"][0].keys()
        assert {check["outcome"] for check in report["checks"]} <= {"passed", "failed", "not-checked", "not-present"}
        assert all(("code" in check) == (check["outcome"] == "failed") for check in report["checks"])
        assert report["facts"]["platform"] == "facebook"


def test_a_token_as_file_as_input_and_as_argument(files: Path, record: Record) -> None:
    token, policy = record.presentation("person"), files / "policy.json"
    for result in (
        verify("--policy", policy, files / "token.txt"),
        verify("--policy", policy, "-", stdin=token.encode()),
        verify("--policy", policy, token),
        verify("--policy", policy, f" \t\r\n{token}\r\n "),
        verify("--policy", policy, "-", stdin=f"\n\t {token}\r\n".encode()),
    ):
        assert result.exit_code == 0
        assert "person           Anna Example (declared by the holder, not verified)" in result.stdout


@pytest.mark.parametrize("odd", ["\x0b", "\x0c", "\u00a0", "\ufeff"])
def test_other_characters_around_a_token_are_no_white_space(files: Path, record: Record, odd: str) -> None:
    result = verify("--policy", files / "policy.json", "-", stdin=(odd + record.presentation("person")).encode())
    assert result.exit_code == 2
    assert "file_unrecognised" in result.stderr


def test_a_token_without_a_policy_is_not_valid(files: Path) -> None:
    result = verify(files / "token.txt")
    assert result.exit_code == 1
    assert "the register's policy is needed" in result.stdout


def test_a_bundle_on_standard_input(files: Path) -> None:
    assert verify("-", stdin=(files / "good.asice").read_bytes()).exit_code == 0


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 500, b"hello\n", b"\x7fELF" + bytes(99)])
def test_what_is_no_proof_is_unusable(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(content)
    for result in (verify(tmp_path / "junk"), verify("-", stdin=content)):
        _is_unusable(result)


def test_what_cannot_be_read_is_unusable(files: Path, tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(32 * 1024 * 1024 + 1)
    assert "larger than" in verify(tmp_path / "huge").stderr
    for result in (
        verify(tmp_path),
        verify(tmp_path / "nothing"),
        verify(tmp_path / "huge"),
        verify("x" * 5000),
        verify("--policy", tmp_path / "nothing", files / "good.asice"),
        verify("--policy", tmp_path, files / "good.asice"),
        verify("--policy", files / "good.asice", files / "good.asice"),
    ):
        _is_unusable(result)


def test_a_wrong_call_is_unusable() -> None:
    assert verify().exit_code == 2
    assert verify("--what", "x").exit_code == 2


def test_several_proofs_give_a_line_each_and_the_worst_exit_status(files: Path, tmp_path: Path) -> None:
    (tmp_path / "invoice.pdf").write_bytes(b"%PDF-1.4\n")
    (tmp_path / "mail.txt").write_bytes(base64.b64encode((files / "good.asice").read_bytes()))
    unpinned = "VALID, KEYS NOT PINNED: its parts fit together; whose they are, only you can tell"
    result = verify(files / "good.asice", files / "good.asice")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{files / 'good.asice'}: {unpinned}",
        f"{files / 'good.asice'}: {unpinned}",
        "2 of 2 valid; the checks of one: objection verify FILE",
    ]
    assert verify(files / "good.asice", files / "bad.asice").exit_code == 1
    names = (tmp_path / "nothing", files / "bad.asice", tmp_path / "invoice.pdf", tmp_path / "mail.txt")
    result = verify(*names, files / "good.asice")
    assert result.exit_code == 2
    lines = result.stdout.splitlines()
    assert [line.removeprefix(f"{name}: ").partition(":")[0] for line, name in zip(lines, names, strict=False)] == [
        *("UNREADABLE", "NOT VALID", "NOT A PROOF", "CHANGED COPY")
    ]
    assert lines[4:] == [
        f"{files / 'good.asice'}: {unpinned}",
        "1 of 5 valid; the checks of one: objection verify FILE",
    ]
    assert result.stderr == ""


def test_several_proofs_as_json_are_a_list(files: Path, tmp_path: Path) -> None:
    result = verify("--json", files / "good.asice", tmp_path / "nothing", files / "bad.asice")
    assert result.exit_code == 2
    good, missing, bad = json.loads(result.stdout)
    assert (good["file"], good["valid"], bad["valid"]) == (str(files / "good.asice"), True, False)
    assert (missing["file"], missing["code"]) == (str(tmp_path / "nothing"), "file_unreadable")
    assert "verdict" not in missing


def test_one_unusable_file_as_json(tmp_path: Path) -> None:
    (tmp_path / "invoice.pdf").write_bytes(b"%PDF-1.4\n")
    result = verify("--json", tmp_path / "invoice.pdf")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["code"] == "file_unrecognised"
    assert result.stderr.startswith("objection: file_unrecognised: not a proof of objection")


def test_a_proof_for_practice_says_so(record: Record, files: Path, tmp_path: Path) -> None:
    """By what is signed: the notice's address in the receipt, or the address of the register in the token."""
    line = "PRACTICE: this records no objection to Meta"
    seen = record.receipt.payload["notice"] | {"url": "http://127.0.0.1:8000/practice"}
    noticed = make_record(notice=seen)
    local = make_record(register=TestRegister(issuer="http://127.0.0.1:8000"))
    (tmp_path / "policy.json").write_bytes(format_trust_policy(local.register.policy))
    (tmp_path / "noticed.asice").write_bytes(noticed.bundle())
    (tmp_path / "token.txt").write_text(local.token)
    for result in (
        verify(tmp_path / "noticed.asice"),
        verify("--policy", tmp_path / "policy.json", tmp_path / "token.txt"),
    ):
        assert result.exit_code == 0
        lines = result.stdout.splitlines()
        assert lines[lines.index(line) + 1].startswith("VALID")
    assert f": {line}. VALID" in verify(tmp_path / "noticed.asice", files / "good.asice").stdout.splitlines()[0]
    assert json.loads(verify("--json", tmp_path / "noticed.asice").stdout)["facts"]["practice"] is True
    good = verify(files / "good.asice")
    assert line not in good.stdout
    assert "practice" not in json.loads(verify("--json", files / "good.asice").stdout)["facts"]


def _is_unusable(result: Result) -> None:
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("objection: ")
    assert result.stderr.count("\n") == 1
    assert len(result.stderr) < 400


def _present(value: str, folder: Path) -> tuple[str, Path]:
    """Return a token that discloses ``value``, and the policy for it."""
    disclosure = format_base64url(json.dumps([format_base64url(bytes(16)), "person", value]).encode())
    slots = {slot: {"_sd": [disclosure_digest(slot)]} for slot in ("account", "contact")}
    record = make_record(self_asserted=slots | {"person": {"_sd": [disclosure_digest(disclosure)]}})
    (folder / "p.json").write_bytes(format_trust_policy(record.register.policy))
    return f"{record.token}{disclosure}~", folder / "p.json"


def test_a_strangers_text_cannot_write_on_the_screen(tmp_path: Path) -> None:
    """A disclosed value is any string: it must not forge lines, hide text or turn its direction."""
    hostile = "x\nVALID\n\x1b[2J\u202eend"
    token, policy = _present(hostile, tmp_path)
    result = verify("--policy", policy, token)
    assert result.exit_code == 0
    assert r"person           x\nVALID\n\x1b[2J\u202eend (declared by the holder" in result.stdout
    assert "\x1b" not in result.stdout
    as_json = verify("--json", "--policy", policy, token)
    assert json.loads(as_json.stdout)["facts"]["disclosed"] == {"person": hostile}
    assert as_json.stdout.isascii()


def test_half_a_surrogate_pair_ends_in_a_report(tmp_path: Path) -> None:
    token, policy = _present("\ud800", tmp_path)
    for arguments in ((), ("--json",)):
        result = verify(*arguments, "--policy", policy, token)
        assert result.exit_code == 1
        assert "json_malformed" in result.stdout


def test_help_says_what_the_exit_status_means() -> None:
    result = verify("--help")
    assert result.exit_code == 0
    for word in ("Exit status: 0", "--policy", "standard input", "objection verify proof.pdf"):
        assert word in result.stdout


def _run(*arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "server.cli", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        check=False,
    )


def test_a_terminal_without_our_marks(files: Path) -> None:
    done = _run("verify", files / "good.asice", PYTHONIOENCODING="latin-1")
    assert done.returncode == 0, done.stderr
    assert b"? passed       The receipt stands in the log" in done.stdout


def test_a_library_that_wonders_about_a_certificate_writes_nothing(record: Record, tmp_path: Path) -> None:
    def negative_serial(data: bytes) -> bytes:
        token = record.register.stamp(data)
        serial = token.index(b"\xa0\x03\x02\x01\x02\x02") + 7
        return token[:serial] + b"\x80" + token[serial + 1 :]

    (tmp_path / "odd.asice").write_bytes(record.bundle(stamp=negative_serial))
    done = _run("verify", tmp_path / "odd.asice")
    assert done.returncode in {0, 1}  # an altered root is still a root: nobody but the token vouches for it
    assert b"The container's own time stamp" in done.stdout
    assert done.stderr == b""


def test_it_starts_without_what_is_slow_to_load(files: Path) -> None:
    program = (
        "import sys\nfrom server.cli import main\n"
        "_SLOW = ('flask', 'sqlalchemy', 'server.store', 'dns', 'dkim', 'pyhanko', 'typst', 'PIL', 'urllib3')\n"
        "try: main(['verify', sys.argv[1]])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not [name for name in sys.modules if name.startswith(_SLOW)]"
    )
    subprocess.run([sys.executable, "-c", program, files / "good.asice"], cwd=ROOT, check=True, capture_output=True)


def test_a_presentation_answers_the_nonce(record: Record, files: Path) -> None:
    asked = ("--policy", files / "policy.json", "--audience", "https://asker.example", "--nonce")
    token = record.presentation("person")
    (files / "presentation.txt").write_text(
        sign_presentation(
            token, key=record.holder.key, audience="https://asker.example", nonce="n-1", now=int(time.time())
        )
    )
    good = verify(files / "presentation.txt", *asked, "n-1")
    assert good.exit_code == 0
    assert "presented to 'https://asker.example'" in good.stdout
    assert verify(files / "presentation.txt", *asked, "n-2").exit_code == 1
    assert "[binding_missing]" in verify(files / "token.txt", *asked, "n-1").stdout
    assert verify(files / "presentation.txt", "--policy", files / "policy.json", "--nonce", "n-1").exit_code == 2
