"""The offline verifier. One table: each part changed in turn, and the check that must notice."""

import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from server.bundles.asice import unpack_container, verify_container
from server.core.encoding import format_base64url, format_json, parse_json
from server.core.jws import sign_jws
from server.core.merkle import TileTree, leaf_hash
from server.core.notes import Checkpoint, format_checkpoint, sign_note
from server.core.policies import TrustPolicy, format_trust_policy, policy_fingerprint
from server.core.proofs import format_proof
from server.core.receipts import verify_receipt
from server.core.tokens import format_disclosure
from server.errors import ParseError
from server.usecases import verify_bundle
from server.usecases.verification_report import FAILED, NOT_CHECKED, NOT_PRESENT, PASSED, Check, Report
from tests.fixtures.holders import Holder
from tests.fixtures.records import PARTS, SIGNED_AT, Record, TestRegister, make_record, no_tile
from tests.fixtures.zips import Member, members_of, rewrite, write_zip

IDS = (
    *("container", "files", "container-time", "policy", "pinned", "receipt", "evidence", "token", "disclosures"),
    *("token-receipt", "log", "witnesses", "anchor", "later", "mail", "status", "holder"),
)
verify_file = partial(verify_bundle.verify_file, now=SIGNED_AT + 2 * 86_400)


@pytest.fixture(scope="module")
def record() -> Record:
    return make_record()


@pytest.fixture(scope="module")
def policy(record: Record) -> TrustPolicy:
    return record.register.policy


def check(report: Report, check_id: str) -> Check:
    (found,) = [item for item in report.checks if item.id == check_id]
    return found


def failures(report: Report) -> dict[str, str | None]:
    return {item.id: item.code for item in report.checks if item.outcome == FAILED}


def unchecked(report: Report) -> set[str]:
    return {item.id for item in report.checks if item.outcome == NOT_CHECKED}


def test_a_bundle_verifies_and_says_what_it_shows(record: Record, policy: TrustPolicy) -> None:
    report = verify_file(record.bundle(), policy=policy)
    assert report.valid
    assert tuple(item.id for item in report.checks) == IDS
    absent = {item.id for item in report.checks if item.outcome == NOT_PRESENT}
    assert absent == {"disclosures", "holder", "witnesses", "anchor", "later", "mail"}
    assert check(report, "anchor").reason == "recorded: no clock stamped it yet"
    assert "UNTRUSTED" in check(report, "container-time").reason
    assert "proves nothing alone" in check(report, "container-time").reason
    facts = {
        "platform": "facebook",
        "right": "eu-gdpr:A21",
        "objected_at": record.receipt.iat,
        "received_at": record.receipt.iat + 2,
        "receipt_sha256": record.receipt.sha256.hex(),
        "log_origin": "register.example/log",
        "log_index": 5,
        "log_size": 11,
        "issuer": "https://register.example",
        "disclosed": {},
        "keys_from": "policy",
    }
    assert facts.items() <= report.facts.items()
    assert len(report.shows) == 2
    assert "That Meta received the objection." in report.does_not_show


def test_without_a_policy_the_keys_are_the_bundles_own_and_that_is_said(record: Record) -> None:
    report = verify_file(record.bundle(), policy=None)
    assert report.valid
    assert report.facts["keys_from"] == "bundle"
    pinned = check(report, "pinned")
    assert pinned.outcome == NOT_PRESENT
    assert policy_fingerprint(record.register.policy) in pinned.reason
    assert any(
        "log, witnesses and time authorities are genuine: their keys were taken from the bundle itself" in sentence
        for sentence in report.does_not_show
    )


@pytest.mark.parametrize(
    ("entries", "index"), [(1, 0), (2, 1), (3, 2), (8, 7), (9, 8), (255, 0), (257, 256), (600, 300)]
)
def test_any_place_in_a_log_of_any_size(entries: int, index: int) -> None:
    record = make_record(entries=entries, index=index)
    assert verify_file(record.bundle(), policy=record.register.policy).valid


def test_no_evidence_is_fine_when_the_holder_signed_for_none() -> None:
    record = make_record(evidence={})
    report = verify_file(record.bundle(), policy=None)
    assert report.valid
    assert check(report, "evidence").reason == "the holder signed for no files"


def test_a_signature_of_long_ago_is_no_defect() -> None:
    assert verify_file(make_record(iat=1_600_000_000).bundle(), policy=None).valid


@pytest.mark.parametrize(("delay_s", "valid"), [(-300, True), (-301, False)])
def test_an_objection_is_not_received_before_it_is_made(delay_s: int, valid: bool) -> None:
    report = verify_file(make_record(delay_s=delay_s).bundle(), policy=None)
    assert failures(report) == ({} if valid else {"token-receipt": "token_receipt_mismatch"})


def test_disclosures_in_a_bundle(record: Record, policy: TrustPolicy) -> None:
    report = verify_file(record.bundle(token=record.presentation("account", "person").encode()), policy=policy)
    assert report.valid
    assert report.facts["disclosed"] == {"account": "@anna.example", "person": "Anna Example"}
    assert check(report, "disclosures").outcome == PASSED


def test_another_policy_than_the_bundles_is_the_one_that_counts(record: Record) -> None:
    report = verify_file(record.bundle(), policy=TestRegister().policy)
    assert failures(report) == {"token": "token_issuer_unknown"}
    assert unchecked(report) == {"disclosures", "token-receipt", "log", "witnesses", "status"}
    assert "NOT the one you gave" in check(report, "policy").reason
    assert report.shows == []


def test_a_bundle_with_somebody_elses_policy_inside_holds_under_the_right_one(
    record: Record, policy: TrustPolicy
) -> None:
    raw = record.bundle(policy=format_trust_policy(TestRegister().policy))
    assert verify_file(raw, policy=policy).valid
    assert failures(verify_file(raw, policy=None))["token"] == "token_issuer_unknown"


def test_a_whole_made_up_register_falls_only_with_a_policy(record: Record, policy: TrustPolicy) -> None:
    raw = make_record().bundle()  # the same names, other keys
    assert verify_file(raw, policy=None).valid
    assert not verify_file(raw, policy=policy).valid


# The forger below writes containers, manifests and stamps that agree with whatever they hold: `Record.bundle` does it.


def _resigned_receipt(record: Record, **changes: Any) -> bytes:
    return record.holder.sign(record.receipt.payload | changes).encode()


def _flip(data: bytes, at: int = -1) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at:][1:]


def _flip_signature(jws: bytes) -> bytes:
    head, dot, rest = jws.rpartition(b".")
    first = b"A" if rest[:1] != b"A" else b"B"
    return head + dot + first + rest[1:]


def _claims(**changes: Any) -> Callable[[Record], dict[str, Any]]:
    return lambda r: {"token": r.register.sign_token(r.claims | changes).encode()}


def _proof(**changes: Any) -> Callable[[Record], dict[str, Any]]:
    def changed(record: Record) -> dict[str, Any]:
        parts: dict[str, Any] = {
            "salt": record.salt,
            "index": record.index,
            "path": record.tree.path(record.index),
            "checkpoint_note": record.register.checkpoint(record.tree),
        }
        made = {name: change(parts[name], record) for name, change in changes.items()}
        return {"proof": format_proof(**(parts | made)).encode()}

    return changed


def _other_tree(record: Record) -> str:
    tree = TileTree(0, no_tile)
    tree.append(leaf_hash(bytes([n])) for n in range(record.tree.size))
    return record.register.checkpoint(tree)


def _other_log(record: Record) -> str:
    """The register's log key signs under another name."""
    text = format_checkpoint(Checkpoint("other.example/log", record.tree.size, record.tree.root()))
    return sign_note(text, record.register.origin, record.register.log_key)


def _log_at(record: Record, **changes: Any) -> dict[str, Any]:
    return {"token": record.register.sign_token(record.claims | {"log": record.claims["log"] | changes}).encode()}


def _issuer_of_another_name(record: Record) -> dict[str, Any]:
    return {
        "token": TestRegister(issuer_key=record.register.issuer_key)
        .sign_token(record.claims | {"iss": "https://x.example"})
        .encode()
    }


def _disclosing(*disclosures: str) -> Callable[[Record], dict[str, Any]]:
    return lambda r: {"token": (r.token + "".join(f"{item}~" for item in disclosures)).encode()}


TAMPERED: dict[str, tuple[Callable[[Record], dict[str, Any]], dict[str, str]]] = {
    "receipt: signature": (
        lambda r: {"receipt": _flip_signature(r.receipt.raw)},
        {
            "receipt": "signature_invalid",
        },
    ),
    "receipt: another algorithm": (
        lambda r: {"receipt": sign_jws({"alg": "none", "jwk": r.holder.jwk, "typ": "x"}, {}, r.holder.key).encode()},
        {
            "receipt": "algorithm_refused",
        },
    ),
    "receipt: signed again by its holder, with another platform": (
        lambda r: {"receipt": _resigned_receipt(r, platform="instagram")},
        {"token-receipt": "token_receipt_mismatch", "log": "proof_mismatch"},
    ),
    "receipt: signed again by its holder, the same words": (
        lambda r: {"receipt": _resigned_receipt(r, jti=format_base64url(bytes(16)))},
        {"token-receipt": "token_receipt_mismatch", "log": "proof_mismatch"},
    ),
    "receipt: by another holder": (
        lambda r: {"receipt": Holder().sign(r.receipt.payload).encode()},
        {"token-receipt": "token_receipt_mismatch", "log": "proof_mismatch"},
    ),
    "receipt: a field too many": (
        lambda r: {"receipt": _resigned_receipt(r, note="x")},
        {"receipt": "field_invalid"},
    ),
    "receipt: a withdrawal": (
        lambda r: {
            "receipt": r.holder.sign(
                {name: r.receipt.payload[name] for name in ("jti", "iat", "controller")}
                | {"kind": "withdrawal", "objection_sha256": "0" * 64}
            ).encode()
        },
        {
            "receipt": "receipt_kind_refused",
        },
    ),
    "receipt: not ASCII": (
        lambda r: {"receipt": b"\xff" + r.receipt.raw},
        {"receipt": "jws_malformed"},
    ),
    "evidence: changed": (
        lambda r: {"evidence": {**r.evidence, "notice.txt": b"You have no right to object."}},
        {"evidence": "evidence_mismatch"},
    ),
    "evidence: one byte": (
        lambda r: {"evidence": {**r.evidence, "screenshot.jpg": _flip(r.evidence["screenshot.jpg"])}},
        {"evidence": "evidence_mismatch"},
    ),
    "evidence: swapped": (
        lambda r: {"evidence": dict(zip(r.evidence, reversed(list(r.evidence.values())), strict=True))},
        {"evidence": "evidence_mismatch"},
    ),
    "evidence: one missing": (
        lambda r: {"evidence": {"notice.txt": r.evidence["notice.txt"]}},
        {"evidence": "evidence_missing"},
    ),
    "evidence: one more": (
        lambda r: {"evidence": {**r.evidence, "more.txt": b"x"}},
        {"evidence": "evidence_unexpected"},
    ),
    "token: signature": (
        lambda r: {"token": _flip_signature(r.token[:-1].encode()) + b"~"},
        {
            "token": "signature_invalid",
        },
    ),
    "token: by an unknown key": (
        lambda r: {"token": TestRegister().sign_token(r.claims).encode()},
        {
            "token": "token_issuer_unknown",
        },
    ),
    "token: under another issuer's name": (
        _issuer_of_another_name,
        {
            "token": "token_issuer_unknown",
        },
    ),
    "token: not ASCII": (
        lambda r: {"token": "ÿ".encode() + r.token.encode()},
        {"token": "jws_malformed"},
    ),
    "token: of another record": (
        lambda r: {"token": make_record(register=r.register).token.encode()},
        {"token-receipt": "token_receipt_mismatch"},
    ),
    "token: another platform": (_claims(platform="threads"), {"token-receipt": "token_receipt_mismatch"}),
    "token: objected earlier": (_claims(objected_at=1), {"token-receipt": "token_receipt_mismatch"}),
    "token: fewer evidence files": (_claims(evidence=[]), {"token-receipt": "token_receipt_mismatch"}),
    "token: received at another time": (
        _claims(iat=1_795_000_003, received_at=1_795_000_003),
        {"log": "proof_mismatch"},
    ),
    "token: issued at another time than received": (
        _claims(iat=1),
        {"token": "field_invalid"},
    ),
    "token: of another type": (
        _claims(vct="https://register.example/vct/something-else/1"),
        {"token": "field_invalid"},
    ),
    "token: another index": (lambda r: _log_at(r, index=6), {"log": "proof_mismatch"}),
    "token: another log": (lambda r: _log_at(r, origin="other.example/log"), {"log": "proof_mismatch"}),
    "disclosure: of no slot": (
        _disclosing(format_disclosure(bytes(16), "person", "Somebody Else")),
        {
            "token": "disclosure_unreferenced",
        },
    ),
    "disclosure: not even JSON": (
        _disclosing("AAAA"),
        {"token": "json_malformed"},
    ),
    "proof: another salt": (_proof(salt=lambda salt, _: _flip(salt)), {"log": "proof_mismatch"}),
    "proof: another index": (_proof(index=lambda index, _: index + 1), {"log": "proof_mismatch"}),
    "proof: a changed path": (
        _proof(path=lambda path, _: [_flip(path[0]), *path[1:]]),
        {"log": "proof_mismatch"},
    ),
    "proof: a short path": (_proof(path=lambda path, _: path[:-1]), {"log": "proof_mismatch"}),
    "proof: a long path": (_proof(path=lambda path, _: [*path, bytes(32)]), {"log": "proof_mismatch"}),
    "proof: another state of the log": (
        _proof(checkpoint_note=lambda _, r: _other_tree(r)),
        {"log": "proof_mismatch"},
    ),
    "proof: checkpoint by another key": (
        _proof(checkpoint_note=lambda _, r: TestRegister().checkpoint(r.tree)),
        {"log": "note_unverified"},
    ),
    "proof: checkpoint of another log": (
        _proof(checkpoint_note=lambda _, r: _other_log(r)),
        {"log": "note_unverified"},
    ),
    "proof: checkpoint changed": (
        _proof(checkpoint_note=lambda note, _: note.replace("\n11\n", "\n12\n")),
        {"log": "note_unverified"},
    ),
    "proof: not one": (lambda r: {"proof": b"hello\n\nworld"}, {"log": "proof_malformed"}),
    "proof: not UTF-8": (lambda r: {"proof": b"\xff\n\nx", "checkpoint": b"x"}, {"log": "proof_malformed"}),
    "checkpoint: another one": (lambda r: {"checkpoint": _other_tree(r).encode()}, {"log": "proof_mismatch"}),
    "stamp: over something else": (
        lambda r: {"stamp": lambda _: r.register.stamp(b"something else")},
        {"container-time": "timestamp_invalid"},
    ),
    "stamp: none": (lambda r: {"stamp": lambda _: b"none"}, {"container-time": "timestamp_malformed"}),
    "policy: not one": (lambda r: {"policy": b"[]"}, {"policy": "json_malformed"}),
    "policy: a key under another's id": (
        lambda r: {
            "policy": format_json(
                parse_json(format_trust_policy(r.register.policy))
                | {
                    "issuer_keys": [
                        parse_json(format_trust_policy(TestRegister().policy))["issuer_keys"][0]
                        | {"kid": next(iter(r.register.policy.issuer_keys))}
                    ]
                }
            )
        },
        {"policy": "policy_malformed"},
    ),
}


@pytest.mark.parametrize("part", TAMPERED)
def test_each_changed_part_is_refused_for_the_right_reason(part: str, record: Record, policy: TrustPolicy) -> None:
    """Also that nothing else fails: one bad part does not hide what the others show."""
    tamper, expected = TAMPERED[part]
    report = verify_file(record.bundle(**tamper(record)), policy=policy)
    assert failures(report) == expected
    assert not report.valid
    assert report.shows == []
    assert tuple(item.id for item in report.checks) == IDS
    assert all(item.reason for item in report.checks)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("receipt.jws", {"receipt"}),
        ("token.sd-jwt", {"token"}),
        ("status.jwt", {"status"}),
        ("proof.tlog-proof", {"log"}),
        ("checkpoint.txt", {"log"}),
        ("policy.json", {"policy"}),
        ("README.txt", set()),
        ("evidence/notice.txt", {"evidence"}),
        ("manifest.json", set()),
        ("META-INF/ASiCManifest.xml", {"container-time"}),
        ("META-INF/timestamp.tst", {"container-time"}),
    ],
)
def test_a_missing_file_stops_no_check_that_can_still_run(
    name: str, expected: set[str], record: Record, policy: TrustPolicy
) -> None:
    members = [member for member in members_of(record.bundle()) if member.name != name.encode()]
    report = verify_file(write_zip(members), policy=policy)
    assert failures(report).keys() == expected | {"files"}
    assert check(report, "files").code == "bundle_file_missing"
    assert tuple(item.id for item in report.checks) == IDS


def test_a_stranger_among_the_files_is_the_only_failure(record: Record, policy: TrustPolicy) -> None:
    raw = rewrite(record.bundle(), lambda members: members.append(Member(b"META-INF/more.xml", b"x")))
    assert failures(verify_file(raw, policy=policy)) == {"files": "bundle_unlisted_file"}


def test_a_media_type_other_than_the_receipts_is_noticed(record: Record, policy: TrustPolicy) -> None:
    types = [item | {"media_type": "text/plain"} for item in record.receipt.payload["evidence"]]
    receipt = verify_receipt(_resigned_receipt(record, evidence=types))
    raw = replace(record, receipt=receipt).bundle(receipt=record.receipt.raw)
    assert failures(verify_file(raw, policy=policy)) == {"evidence": "evidence_mismatch"}


def test_one_broken_byte_is_one_failed_check(record: Record, policy: TrustPolicy) -> None:
    """What could not be checked then has not failed; yet the proof is not valid."""
    raw = record.bundle()
    report = verify_file(raw[:-30] + bytes([raw[-30] ^ 1]) + raw[-29:], policy=policy)
    assert failures(report) == {"container": "bundle_malformed"}
    assert unchecked(report) == set(IDS) - {"container", "pinned", "later", "mail", "holder"}
    assert all(item.code is None for item in report.checks if item.outcome == NOT_CHECKED)
    assert report.verdict == "invalid"
    assert tuple(item.id for item in report.checks) == IDS


def test_what_was_not_checked_is_never_valid() -> None:
    report = Report()
    report.not_present("anchor", "nothing")
    report.unchecked("log")
    assert report.verdict == "invalid"


def test_a_token_alone(record: Record, policy: TrustPolicy) -> None:
    report = verify_file(f"\n{record.presentation('contact')}\n".encode(), policy=policy)
    assert report.valid
    assert report.facts["disclosed"] == {"contact": "anna@example.org"}
    assert report.facts["log_index"] == 5
    outcomes = {item.id: item.outcome for item in report.checks}
    assert {name for name, outcome in outcomes.items() if outcome == PASSED} == {"pinned", "token", "disclosures"}
    (states, fixed) = report.shows
    assert states.startswith("The register states"), "nobody saw the holder's signature here"
    assert "disclosed" in fixed


def test_a_token_alone_needs_a_policy(record: Record) -> None:
    report = verify_file(record.token.encode(), policy=None)
    assert failures(report) == {"token": "token_issuer_unknown"}
    assert unchecked(report) == {"disclosures"}
    assert "policy is needed" in check(report, "token").reason
    assert check(report, "pinned").outcome == NOT_PRESENT


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda r: r.token.replace("~", ""), "jws_malformed"),
        (lambda r: _flip_signature(r.token[:-1].encode()).decode() + "~", "signature_invalid"),
        (lambda r: r.presentation("person", "person"), "disclosure_duplicate"),
        (lambda r: r.token + "~", "json_malformed"),
        (lambda r: r.token + r.token, "base64url_malformed"),
    ],
)
def test_changed_tokens(change: Callable[[Record], str], code: str, record: Record, policy: TrustPolicy) -> None:
    assert failures(verify_file(change(record).encode(), policy=policy)).get("token") == code


def test_a_token_where_a_key_binding_would_stand(record: Record, policy: TrustPolicy) -> None:
    report = verify_file((record.token + record.token[:-1]).encode(), policy=policy)
    assert failures(report) == {"holder": "binding_mismatch"}


@pytest.mark.parametrize("raw", [b"", b"hello", bytes(range(256)), b"PK\x05\x06" + bytes(18), b"e" * 9])
def test_what_is_neither_bundle_nor_token_is_said_to_be_so(raw: bytes) -> None:
    with pytest.raises(ParseError) as caught:
        verify_file(raw, policy=None)
    assert caught.value.code == "file_unrecognised"


def test_a_bundle_in_which_any_byte_differs_never_says_something_else(record: Record, policy: TrustPolicy) -> None:
    raw, chance = record.bundle(), random.Random(7)
    honest = verify_file(raw, policy=policy)
    for _ in range(1500):
        altered = bytearray(raw)
        altered[chance.randrange(4, len(raw))] ^= chance.randrange(1, 256)
        try:
            report = verify_file(bytes(altered), policy=policy)
        except ParseError:
            continue
        if report.valid:
            assert report.facts == honest.facts
            assert verify_container(unpack_container(bytes(altered))) == record.files()


def test_every_altered_part_gives_a_report(record: Record, policy: TrustPolicy) -> None:
    """As above, under a container that agrees: the parsers behind it meet the altered bytes."""
    chance = random.Random(11)
    files = record.files()
    for name in ("receipt", "token", "proof", "checkpoint", "policy"):
        for _ in range(60):
            altered = bytearray(files[PARTS[name]].data)
            for _ in range(chance.choice((1, 2, 5))):
                altered[chance.randrange(len(altered))] = chance.randrange(256)
            changed = bytes(altered)
            report = verify_file(record.bundle(**{name: changed}, stamp=lambda _: b"x"), policy=policy)
            assert tuple(item.id for item in report.checks) == IDS
            if changed != files[PARTS[name]].data and name != "policy":
                assert len(failures(report)) > 1, name


def test_the_verifier_needs_no_server_and_no_network(record: Record, tmp_path: Path) -> None:
    (tmp_path / "a.asice").write_bytes(record.bundle())
    program = """
import socket, sys
def refuse(*_): raise AssertionError("network")
socket.socket.connect = socket.getaddrinfo = refuse
from server.usecases.verify_bundle import verify_file
assert verify_file(open(sys.argv[1], "rb").read(), policy=None, now=0).valid
unwanted = ("flask", "sqlalchemy", "server.store", "server.settings", "urllib.request", "http")
assert not [name for name in sys.modules if name.startswith(unwanted)]
"""
    subprocess.run([sys.executable, "-c", program, tmp_path / "a.asice"], check=True, cwd=Path(__file__).parents[2])
