"""The anchors file: what it may say, and what is said when it says something else."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.core.log_policies import format_log_policy
from server.core.notes import COSIGNATURE, VerifierKey, format_verifier_key
from server.core.policies import format_trust_policy, parse_trust_policy
from server.errors import OperatorError
from server.usecases.anchors import load_anchors
from tests.fixtures.anchoring import TestAuthority
from tests.fixtures.servers import ROOT, make_settings, register_of, running

LOG = VerifierKey("log.example", Ed25519PrivateKey.from_private_bytes(b"1" * 32).public_key())
VKEYS = [
    format_verifier_key(
        VerifierKey(f"w{i}.example", Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32).public_key(), COSIGNATURE)
    )
    for i in range(2, 5)
]
WITNESS = f'''
[[witness]]
name = "a"
vkey = "{VKEYS[0]}"
url = "https://a.example/witness/"
'''
GROUP = """
[[group]]
name = "g"
needed = "any"
members = ["a"]
"""
AUTHORITY = """
[[authority]]
name = "tsa"
url = "http://tsa.example/stamp?x=1"
certificates = ["tsa-certificate.pem", "tsa-root.pem"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    TestAuthority().write_pem(tmp_path)
    return tmp_path


def load(folder: Path, text: str):  # type: ignore[no-untyped-def]
    (folder / "anchors.toml").write_text(text)
    return load_anchors(folder / "anchors.toml", log=LOG)


def test_everything_that_it_may_say(folder: Path) -> None:
    found = load(folder, f'quorum = "g"\n{WITNESS}{GROUP}{AUTHORITY}')
    assert format_log_policy(found.log) == (
        f"log {format_verifier_key(LOG)}\nwitness a {VKEYS[0]}\ngroup g any a\nquorum g\n"
    )
    (witness,) = found.witnesses
    assert (witness.name, witness.url) == ("a", "https://a.example/witness")
    (authority,) = found.authorities
    assert (authority.listed.name, authority.listed.trusted) == ("tsa", True)
    assert authority.url == "http://tsa.example/stamp?x=1"
    assert len(authority.listed.certificates) == 2


def test_nothing_at_all(folder: Path) -> None:
    for found in (load(folder, ""), load_anchors(None, log=LOG)):
        assert format_log_policy(found.log) == f"log {format_verifier_key(LOG)}\nquorum none\n"
        assert (found.witnesses, found.authorities) == ((), ())


def test_an_authority_that_is_asked_no_more(folder: Path) -> None:
    (authority,) = load(folder, AUTHORITY.replace("url =", "# url =")).authorities
    assert authority.url is None


def test_one_file_may_hold_the_chain(folder: Path) -> None:
    chain = (folder / "tsa-certificate.pem").read_bytes() + (folder / "tsa-root.pem").read_bytes()
    (folder / "chain.pem").write_bytes(chain)
    (authority,) = load(folder, AUTHORITY.replace('"tsa-certificate.pem", "tsa-root.pem"', '"chain.pem"')).authorities
    root = authority.trusted.chain.certificates[-1]
    assert root.subject == root.issuer


BAD = {
    "no TOML": "quorum = ",
    "unknown member": "timeout = 5",
    "unknown member of a witness": WITNESS + "pause = 5\n",
    "witness without address": WITNESS.replace("url =", "# url ="),
    "witness without key": WITNESS.replace("vkey =", "# vkey ="),
    "witness with a log's key": WITNESS.replace(VKEYS[0], format_verifier_key(LOG)),
    "witness with another id": WITNESS.replace(VKEYS[0], VKEYS[0].replace(VKEYS[0].split("+")[1], "00000000")),
    "witness twice": WITNESS * 2,
    "witness over plain HTTP": WITNESS.replace("https:", "http:"),
    "witness by file": WITNESS.replace("https:", "file:"),
    "witness with a password": WITNESS.replace("https://", "https://u:p@"),
    "witness at no port": WITNESS.replace("a.example/", "a.example:no/"),
    "a word as a number": WITNESS.replace('"a"', "5"),
    "unknown quorum": 'quorum = "b"' + WITNESS,
    "group of strangers": WITNESS + GROUP.replace('["a"]', '["b"]'),
    "group that needs too many": WITNESS + GROUP.replace('"any"', '"2"'),
    "group by a number": WITNESS + GROUP.replace('"any"', "1"),
    "group with spaces": WITNESS + GROUP.replace('"g"', '"g h"'),
    "name that ends the line": WITNESS.replace('"a"', '"a\\nquorum none"'),
    "authority without certificates": AUTHORITY.replace('["tsa-certificate.pem", "tsa-root.pem"]', "[]"),
    "authority with five certificates": AUTHORITY.replace(
        '"tsa-root.pem"', '"tsa-root.pem","tsa-root.pem","tsa-root.pem","tsa-root.pem"'
    ),
    "authority alone": AUTHORITY.replace(', "tsa-root.pem"', ""),
    "authority behind its root": AUTHORITY.replace(
        '"tsa-certificate.pem", "tsa-root.pem"', '"tsa-root.pem", "tsa-certificate.pem"'
    ),
    "authority with a missing file": AUTHORITY.replace("tsa-root", "nothing"),
    "authority with another file": AUTHORITY.replace("tsa-root.pem", "anchors.toml"),
    "authority twice": AUTHORITY * 2,
    "authority named local": AUTHORITY.replace('"tsa"', '"local"'),
    "authority with capitals": AUTHORITY.replace('"tsa"', '"TSA"'),
    "authority by FTP": AUTHORITY.replace("http:", "ftp:"),
    "eight authorities": "".join(AUTHORITY.replace('"tsa"', f'"tsa-{i}"') for i in range(8)),
    "trusted by a word": AUTHORITY + 'trusted = "yes"\n',
    "too large": "#" * 70_000,
}


@pytest.mark.parametrize("name", BAD)
def test_anything_else_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(OperatorError) as caught:
        load(folder, BAD[name])
    assert caught.value.code == "anchors_invalid"
    assert str(caught.value)


def test_a_file_that_is_not_there(folder: Path) -> None:
    with pytest.raises(OperatorError) as caught:
        load_anchors(folder / "nothing.toml", log=LOG)
    assert caught.value.code == "anchors_invalid"


def test_the_published_policy_names_them(folder: Path) -> None:
    (folder / "anchors.toml").write_text(
        f'quorum = "none"\n{WITNESS.replace("https://a.example", "http://127.0.0.1:1")}{AUTHORITY}'
    )
    with running(make_settings(folder / "data", anchors=str(folder / "anchors.toml"))) as app:
        raw = app.test_client().get("/v1/policy").data
        policy = parse_trust_policy(raw)
        assert format_trust_policy(policy) == format_trust_policy(register_of(app).keyring.policy) == raw
    assert list(policy.log.witnesses) == ["a"]
    assert [(each.name, each.trusted) for each in policy.time_authorities] == [("local", False), ("tsa", True)]


def test_the_documented_example_is_one(folder: Path) -> None:
    """But for its keys and certificates, which nobody should copy."""
    page = (ROOT / "docs/anchoring.md").read_text()
    example = page.partition("```toml\n")[2].partition("```")[0]
    for i, vkey in enumerate(VKEYS):
        example = example.replace(f"VKEY-{i + 1}", vkey)
    for name in ("first-tsa.pem", "first-root.pem", "second-tsa.pem", "second-root.pem"):
        (folder / name).write_bytes((folder / f"tsa-{'root' if 'root' in name else 'certificate'}.pem").read_bytes())
    found = load(folder, example)
    assert len(found.witnesses) == 3
    assert len(found.authorities) == 2
