"""The offline verifier on an anchored proof with all that was added later: each part changed, swapped, dropped."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask import Flask

from schemas.vocabulary import KEYED_FINDINGS, MAIL_FINDINGS, MAIL_KINDS, SIGNATURE_FINDINGS, UNKNOWN_MAIL
from server.bundles.asice import write_container
from server.bundles.contents import MANIFEST
from server.bundles.documents import read_document
from server.core.encoding import sha256
from server.core.log_policies import Group, LogPolicy
from server.core.merkle import TileTree, leaf_hash
from server.core.notes import COSIGNATURE, VerifierKey, sign_cosignature
from server.core.policies import TimeAuthority, TrustPolicy, format_trust_policy, policy_fingerprint
from server.core.proofs import format_entry, format_proof
from server.core.statuslists import ERASED, STANDS, WITHDRAWN
from server.core.tokens import format_disclosure
from server.usecases import verify_bundle
from server.usecases.verification_report import FAILED, NOT_PRESENT, PASSED, Check, Report
from tests.fixtures.anchoring import TestAuthority, anchoring_of, http_server, witnessing, write_anchors
from tests.fixtures.authorities import Authorities
from tests.fixtures.holders import Holder, Submission
from tests.fixtures.lasting import DOMAIN as MAIL_DOMAIN
from tests.fixtures.lasting import SELECTOR as MAIL_SELECTOR
from tests.fixtures.lasting import Lasting, LaterPart, bundle_of, bundled, finding, key_record, signed_mail
from tests.fixtures.reading import download
from tests.fixtures.records import SIGNED_AT, STATUS_INDEX, WITNESS, TestRegister, no_tile
from tests.fixtures.servers import make_settings, post, register_of, running
from tests.fixtures.zips import Member, members_of, write_zip

verify_file = partial(verify_bundle.verify_file, now=SIGNED_AT + 2 * 86_400)
Files = dict[str, bytes]
Roots = dict[str, str]


@pytest.fixture(scope="module")
def lasting() -> Lasting:
    return Lasting()


@pytest.fixture(scope="module")
def files(lasting: Lasting) -> Files:
    return lasting.files()


@pytest.fixture(scope="module")
def others(lasting: Lasting) -> Files:
    """Another holder's proof by the same register: each of its parts is genuine, in its own place."""
    evidence = {"notice.txt": b"another notice", "screenshot.jpg": b"another screenshot"}
    return Lasting(lasting.register, words="perhaps", evidence=evidence).files()


@pytest.fixture(scope="module")
def policy(lasting: Lasting) -> TrustPolicy:
    return lasting.register.policy


def check(report: Report, check_id: str) -> Check:
    (found,) = [item for item in report.checks if item.id == check_id]
    return found


def roots(report: Report) -> Roots:
    return {item.id: item.code or "" for item in report.checks if item.outcome == FAILED}


def naively(genuine: bytes, changed: Files) -> bytes:
    """Put the ``changed`` files into a container whose manifests still list the ``genuine`` ones."""
    members = [member for member in members_of(genuine) if member.name.decode() in changed or _is_form(member)]
    known = {member.name.decode() for member in members}
    for member in members:
        member.data = changed.get(member.name.decode(), member.data)
    members += [Member(name.encode(), data) for name, data in changed.items() if name not in known]
    return write_zip(members)


def _is_form(member: Member) -> bool:
    return member.name in {b"mimetype", MANIFEST.encode()} or member.name.startswith(b"META-INF/")


def test_everything_present_holds(lasting: Lasting, files: Files, policy: TrustPolicy) -> None:
    report = verify_file(bundle_of(files, lasting.register), policy=policy)
    assert report.verdict == "valid", report.checks
    assert {item.id for item in report.checks if item.outcome == NOT_PRESENT} == {"holder"}
    assert report.facts["state"] == "anchored"
    assert report.facts["anchored_at"] == SIGNED_AT + 90, "the trusted one's time, not the register's own"
    assert report.facts["witnesses"] == [{"name": "w1", "at": SIGNED_AT + 30}]
    assert [(each["kind"], each["received_at"]) for each in report.facts["later"]] == [
        ("supplement", SIGNED_AT + 11),
        ("supplement", SIGNED_AT + 12),
    ]
    assert [mail["name"] for mail in report.facts["mails"]] == ["mail.eml"]
    assert "the register's own clock, which is not independent" in check(report, "anchor").reason
    assert check(report, "witnesses").outcome == check(report, "anchor").outcome == PASSED
    assert not any("no authority that is known to be independent" in sentence for sentence in report.does_not_show)


DKIM = "dkim/KEY.txt"
MISSING, MISMATCH = "bundle_file_missing", "bundle_file_mismatch"
_OF_RECEIPT = {
    "evidence": "evidence_mismatch",
    "token-receipt": "token_receipt_mismatch",
    "log": "proof_mismatch",
    "later": "later_mismatch",
}
# File → what fails when it is flipped; is another proof's genuine one; is dropped. Under a container that agrees.
TAMPERED: dict[str, tuple[Roots, Roots, Roots | None]] = {
    "receipt.jws": ({"receipt": "signature_invalid"}, _OF_RECEIPT, None),
    "token.sd-jwt": (
        {"token": "signature_invalid"},
        {"token-receipt": "token_receipt_mismatch"},
        {"files": MISSING, "token": MISSING},
    ),
    "proof.tlog-proof": ({"log": "proof_mismatch"}, {"log": "proof_mismatch"}, {"files": MISSING, "log": MISSING}),
    "checkpoint.txt": ({"log": "proof_mismatch"}, {"log": "proof_mismatch"}, {"files": MISSING, "log": MISSING}),
    "status.jwt": ({"status": "signature_invalid"}, {}, {"files": MISSING, "status": MISSING}),
    "evidence/notice.txt": (
        {"evidence": "evidence_mismatch"},
        {"evidence": "evidence_mismatch"},
        {"evidence": "evidence_missing"},
    ),
    "evidence/screenshot.jpg": (
        {"evidence": "evidence_mismatch"},
        {"evidence": "evidence_mismatch"},
        {"evidence": "evidence_missing"},
    ),
    "anchors/local.tst": ({"anchor": "timestamp_invalid"}, {"anchor": "timestamp_invalid"}, {}),
    "anchors/tsa.tst": ({"anchor": "timestamp_invalid"}, {"anchor": "timestamp_invalid"}, {}),
    "later/01-supplement.jws": (
        {"later": "signature_invalid"},
        {"later": "later_mismatch"},
        {"later": "later_mismatch"},
    ),
    "later/01-supplement.ack": (
        {"later": "signature_invalid"},
        {"later": "token_receipt_mismatch"},
        {"later": MISSING},
    ),
    "later/01-supplement.tlog-proof": ({"later": "proof_mismatch"}, {"later": "proof_mismatch"}, {"later": MISSING}),
    "later/01/reply.txt": (
        {"later": "evidence_mismatch"},
        {"later": "evidence_mismatch"},
        {"later": "evidence_missing"},
    ),
    "later/02-supplement.jws": (
        {"later": "signature_invalid"},
        {"later": "later_mismatch"},
        {"later": "later_mismatch"},
    ),
    "later/02-supplement.ack": (
        {"later": "signature_invalid"},
        {"later": "token_receipt_mismatch"},
        {"later": MISSING},
    ),
    "later/02-supplement.tlog-proof": ({"later": "proof_mismatch"}, {"later": "proof_mismatch"}, {"later": MISSING}),
    "later/02/mail.eml": (
        {"later": "evidence_mismatch"},
        {"later": "evidence_mismatch"},
        {"later": "evidence_missing"},
    ),
    DKIM: ({"mail": "dkim_mismatch"}, {}, {"later": MISSING}),
}


def _flipped(name: str, data: bytes) -> bytes:
    """Change one thing in what the file says: in a signature, a hash of a path, a disclosure, a byte."""
    if name.endswith((".jws", ".ack", ".jwt")):
        at = data.rindex(b".") + 1
    elif name.endswith(".tlog-proof"):
        at = data.index(b"\n", data.index(b"index ")) + 1
    elif name.endswith(".sd-jwt"):
        at = data.rindex(b".") + 1  # before the disclosures
    elif name.endswith(".tst"):
        at = len(data) - 1  # in the signature: its middle holds certificates, which nobody signs
    else:
        at = len(data) // 2
    changed = b"A" if data[at : at + 1] != b"A" else b"B"
    return data[:at] + changed + data[at + 1 :]


ROWS = {
    f"{name} {how}": (name, how, expected)
    for name, row in TAMPERED.items()
    for how, expected in zip(("flipped", "swapped", "dropped"), row, strict=True)
}


@pytest.mark.parametrize("row", ROWS)
def test_each_part_in_turn(row: str, lasting: Lasting, files: Files, others: Files) -> None:
    """What is genuine in its new place, too, leaves the proof valid; naively tampered, nothing does."""
    name, how, expected = ROWS[row]
    path, policy = _path(name, files), lasting.register.policy
    changed = dict(files)
    if how == "dropped":
        del changed[path]
    else:
        changed[path] = others[path] if how == "swapped" else _flipped(path, files[path])
    report = verify_file(naively(bundle_of(files, lasting.register), changed), policy=policy)
    inner = {"receipt": MISSING} if expected is None else expected
    if changed != files:
        assert roots(report) == inner | {"files": MISSING if how == "dropped" else MISMATCH}
        assert report.verdict == "invalid"
        assert report.shows == []
    if expected is not None:
        report = verify_file(bundle_of(changed, lasting.register), policy=policy)
        assert roots(report) == expected
        assert report.verdict == ("invalid" if expected else "valid")


def _path(name: str, files: Files) -> str:
    return next(each for each in files if each.startswith("dkim/")) if name == DKIM else name


def test_the_table_names_every_file_that_proves_something(files: Files) -> None:
    words = {"policy.json", "README.txt", "objection.jsonld"}
    assert {_path(name, files) for name in TAMPERED} == files.keys() - words


@pytest.mark.parametrize("name", [MANIFEST, "META-INF/ASiCManifest.xml", "META-INF/timestamp.tst", "more.txt"])
def test_manifests_and_strangers(name: str, lasting: Lasting, files: Files, policy: TrustPolicy) -> None:
    genuine = bundle_of(files, lasting.register)
    added = naively(genuine, files | {name: b"x"})
    dropped = write_zip([member for member in members_of(genuine) if member.name.decode() != name])
    assert check(verify_file(added, policy=policy), "files" if name != "META-INF/timestamp.tst" else "container-time")
    assert verify_file(added, policy=policy).verdict == "invalid"
    if name != "more.txt":
        report = verify_file(dropped, policy=policy)
        assert check(report, "files").code == MISSING
        assert report.verdict == "invalid"
    else:
        assert roots(verify_file(added, policy=policy)) == {"files": "bundle_unlisted_file"}


def _replace_ack(**changes: Any) -> Callable[[Lasting, Files], None]:
    def change(lasting: Lasting, files: Files) -> None:
        files["later/01-supplement.ack"] = lasting.later[0].acknowledgement(lasting.register, **changes)

    return change


def _add_later(kind: str, *, holder: Holder | None = None, **changes: Any) -> Callable[[Lasting, Files], None]:
    """Put a third later receipt in, acknowledged and logged like the others."""

    def change(lasting: Lasting, files: Files) -> None:
        own = lasting.record.holder
        lasting.record.holder = holder or own
        lasting.add(kind, {"a.txt": b"x"} if kind == "supplement" else {}, {}, **changes)
        lasting.record.holder = own
        _put(lasting, files, 3, lasting.later.pop(), kind)

    return change


def _put(
    lasting: Lasting, files: Files, number: int, part: LaterPart, kind: str, *, stamps: Files | None = None
) -> None:
    """Put in a later receipt under a newer checkpoint than the others'. ``stamps``: over it, by authority."""
    note = lasting.register.cosigned(lasting.register.checkpoint(lasting.record.tree))
    stem = f"later/{number:02}-{kind}"
    files[f"{stem}.jws"] = part.receipt.raw
    files[f"{stem}.consistency"] = lasting.consistency()
    files |= {f"{stem}/{name}.tst": stamp for name, stamp in (stamps or {}).items()}
    files[f"{stem}.ack"] = part.acknowledgement(lasting.register)
    files[f"{stem}.tlog-proof"] = lasting.proof(part.index, part.salt, note)
    files |= {f"later/{number:02}/{name}": data for name, data in part.evidence.items()}


def _swap_order(_: Lasting, files: Files) -> None:
    first = {name: files.pop(name) for name in list(files) if name.startswith("later/01")}
    second = {name: files.pop(name) for name in list(files) if name.startswith("later/02")}
    files |= {name.replace("later/01", "later/02"): data for name, data in first.items()}
    files |= {name.replace("later/02", "later/01"): data for name, data in second.items()}


def _rename(old: str, new: str) -> Callable[[Lasting, Files], None]:
    def change(_: Lasting, files: Files) -> None:
        for name in [name for name in files if name.startswith(old)]:
            files[name.replace(old, new)] = files.pop(name)

    return change


def _with_note(change: Callable[[TestRegister, str], str]) -> Callable[[Lasting, Files], None]:
    """Proof and stamps over a checkpoint note that was changed."""

    def changed(lasting: Lasting, files: Files) -> None:
        register, record = lasting.register, lasting.record
        bare = lasting.note.rpartition("— " + WITNESS)[0]
        note = change(register, bare)
        files["proof.tlog-proof"] = lasting.proof(record.index, record.salt, note)
        files["checkpoint.txt"] = note.encode()
        files["anchors/tsa.tst"] = register.anchor(note.encode())
        files["anchors/local.tst"] = register.stamp(note.encode())

    return changed


def _cosigned_by(name: str, key: Any) -> Callable[[TestRegister, str], str]:
    return lambda _, note: note + sign_cosignature(note.partition("\n\n")[0] + "\n", name, key, time=SIGNED_AT)


def _cosigned_badly(register: TestRegister, note: str) -> str:
    return note + sign_cosignature("another text\n", WITNESS, register.witness_key, time=SIGNED_AT)


def _stamped(lasting: Lasting, after_s: int) -> bytes:
    """The independent stamp, but ``after_s`` seconds after the objection was signed; it was received 2 s after that."""
    at = datetime.fromtimestamp(SIGNED_AT + after_s, UTC)
    return lasting.register.authority.timestamp(lasting.note.encode(), now=at)


def _fork(size: Callable[[int], int]) -> Callable[[Lasting, Files], None]:
    """The first supplement's proof, under another state of the log than the objection's, signed by the log."""

    def change(lasting: Lasting, files: Files) -> None:
        (part, *_), register = lasting.later, lasting.register
        claims = part.claims(register)
        entry = format_entry(
            kind="supplement",
            salt=part.salt,
            receipt_sha256=part.receipt.sha256,
            received_at=claims["received_at"],
        )
        fork = TileTree(0, no_tile)
        fork.append(leaf_hash(entry if n == part.index else bytes([n])) for n in range(size(lasting.record.tree.size)))
        files["later/01-supplement.tlog-proof"] = format_proof(
            salt=part.salt, index=part.index, path=fork.path(part.index), checkpoint_note=register.checkpoint(fork)
        ).encode()

    return change


def _at(after_s: int) -> datetime:
    return datetime.fromtimestamp(SIGNED_AT + after_s, UTC)


def _grown(
    *,
    fork: bool = False,
    old: int = 0,
    drop: str = "",
    consistency: bytes = b"",
    stamp: Callable[[Lasting, bytes], bytes] | None = None,
) -> Callable[[Lasting, Files], None]:
    """A third supplement, received at 13 s, under a newer checkpoint: with a fork before it, or parts that are bad."""

    def change(lasting: Lasting, files: Files) -> None:
        lasting.add("supplement", {"a.txt": b"x"}, {})
        part, tree = lasting.later.pop(), lasting.record.tree
        if fork:
            claims = part.claims(lasting.register)
            entry = format_entry(
                kind="supplement",
                salt=part.salt,
                receipt_sha256=part.receipt.sha256,
                received_at=claims["received_at"],
            )
            lasting.record.tree = TileTree(0, no_tile)
            lasting.record.tree.append(
                leaf_hash(entry if n == part.index else bytes([n])) for n in range(part.index + 1)
            )
        note = lasting.register.cosigned(lasting.register.checkpoint(lasting.record.tree))
        stamps = {"tsa": stamp(lasting, note.encode())} if stamp else {}
        _put(lasting, files, 3, part, "supplement", stamps=stamps)
        lasting.record.tree = tree
        if old:
            files["later/03-supplement.consistency"] = lasting.consistency(lasting.size + old)
        if drop:
            del files[f"later/03-supplement.{drop}"]
        if consistency:
            files["later/03-supplement.consistency"] = consistency

    return change


def _set(**parts: Callable[[Lasting], bytes]) -> Callable[[Lasting, Files], None]:
    names = {"status": "status.jwt", "stranger": "anchors/stranger.tst", "tsa": "anchors/tsa.tst"}

    def change(lasting: Lasting, files: Files) -> None:
        files |= {names[part]: make(lasting) for part, make in parts.items()}

    return change


def _forged_mail(lasting: Lasting, files: Files) -> None:
    """The holder adds a mail that Meta never signed; the register's acknowledgement says that it saw a signature."""
    forged = signed_mail("No").replace(b"We honour it", b"You have won ")
    lasting.add("supplement", {"mail.eml": forged}, {"mail.eml": finding("No")})
    _put(lasting, files, 3, lasting.later.pop(), "supplement")


def _found(claims: dict[str, Any], mail: bytes | None = None) -> Callable[[Lasting, Files], None]:
    """The register says of a mail that Meta signed, or of ``mail``, what the mail contradicts."""

    def change(lasting: Lasting, files: Files) -> None:
        lasting.add("supplement", {"mail.eml": mail or signed_mail("No")}, {"mail.eml": claims})
        _put(lasting, files, 3, lasting.later.pop(), "supplement")

    return change


def _unsaid(lasting: Lasting, files: Files) -> None:
    """The register says nothing of a mail."""
    lasting.add("supplement", {"mail.eml": signed_mail("No")}, {})
    _put(lasting, files, 3, lasting.later.pop(), "supplement")


def _text_as_mail(lasting: Lasting, files: Files) -> None:
    lasting.add("supplement", {"mail.txt": signed_mail("No")}, {"mail.txt": finding("No")})
    _put(lasting, files, 3, lasting.later.pop(), "supplement")


# The forger has keys here that no forger has: each row shows that one check, and no other, stands in the way.
FORGED: dict[str, tuple[Callable[[Lasting, Files], None], Roots]] = {
    "acknowledgement: of another kind": (_replace_ack(kind="withdrawal"), {"later": "token_receipt_mismatch"}),
    "acknowledgement: of another objection": (
        _replace_ack(objection_sha256="0" * 64),
        {"later": "token_receipt_mismatch"},
    ),
    "acknowledgement: for another key": (
        _replace_ack(cnf={"jwk": Holder().jwk}),
        {"later": "token_receipt_mismatch"},
    ),
    "acknowledgement: in another name": (_replace_ack(iss="https://x.example"), {"later": "token_issuer_unknown"}),
    "acknowledgement: received at another time": (
        _replace_ack(received_at=SIGNED_AT + 12, iat=SIGNED_AT + 12),
        {"later": "proof_mismatch"},
    ),
    "acknowledgement: issued at another time": (_replace_ack(iat=1), {"later": "token_receipt_mismatch"}),
    "acknowledgement: another place": (
        _replace_ack(log={"origin": "register.example/log", "index": 3}),
        {"later": "proof_mismatch"},
    ),
    "acknowledgement: another log": (
        _replace_ack(log={"origin": "x.example/log", "index": 12}),
        {"later": "proof_mismatch"},
    ),
    "acknowledgement: a field too many": (_replace_ack(more=1), {"later": "field_invalid"}),
    "disclosure: another value": (
        lambda lasting, files: files.update(
            {"token.sd-jwt": f"{lasting.record.token}{format_disclosure(bytes(16), 'account', '@x')}~".encode()}
        ),
        {"token": "disclosure_unreferenced"},
    ),
    "disclosure: another holder's": (
        lambda lasting, files: files.update(
            {"token.sd-jwt": f"{lasting.record.token}{Lasting().record.disclosures['person']}~".encode()}
        ),
        {"token": "disclosure_unreferenced"},
    ),
    "later: about another objection": (
        _add_later("supplement", objection_sha256="0" * 64),
        {"later": "later_mismatch"},
    ),
    "later: signed by another key": (_add_later("supplement", holder=Holder()), {"later": "later_mismatch"}),
    "later: under the name of another kind": (
        _rename("later/02-supplement", "later/02-withdrawal"),
        {"later": "later_mismatch"},
    ),
    "later: not in the order of the log": (_swap_order, {"later": "proof_mismatch"}),
    "later: numbers with a gap": (_rename("later/02", "later/03"), {"later": "later_mismatch"}),
    "later: files of none": (
        lambda _, files: files.update({"later/07/a.txt": b"x"}),
        {"later": "later_mismatch"},
    ),
    "later: a key record of no mail": (
        lambda _, files: files.update({f"dkim/{'0' * 64}.txt": b"x"}),
        {"later": "later_mismatch"},
    ),
    "mail: not what was signed": (_forged_mail, {"mail": "dkim_mismatch"}),
    **{
        f"mail: signed, and said to be {name}": (_found({"finding": name}), {"mail": "dkim_mismatch"})
        for name in MAIL_FINDINGS
    },
    **{
        f"mail: signed, and said to be {name}": (
            _found({"finding": name, "domain": MAIL_DOMAIN, "selector": MAIL_SELECTOR}),
            {"mail": "dkim_mismatch"},
        )
        for name in ("body-changed", "not-covered")
    },
    **{
        f"mail: signed, and said to be {name}": (
            _found(
                {
                    "finding": name,
                    "domain": MAIL_DOMAIN,
                    "selector": MAIL_SELECTOR,
                    "key_sha256": sha256(key_record()).hex(),
                }
            ),
            {"mail": "dkim_mismatch"},
        )
        for name in KEYED_FINDINGS
        if name != "signed"
    },
    "mail: unsigned, and said to have lost its key": (
        _found(
            {"finding": "key-gone", "domain": MAIL_DOMAIN, "selector": MAIL_SELECTOR},
            b"From: a@b.example\r\nSubject: x\r\nDate: x\r\n\r\nx\r\n",
        ),
        {"mail": "dkim_mismatch"},
    ),
    "mail: nothing said of it": (_unsaid, {"later": "token_receipt_mismatch"}),
    "mail: no mail at all": (_text_as_mail, {"later": "token_receipt_mismatch"}),
    # Neither is a forgery: the quorum may have changed since. But such a proof counts as recorded (the test below).
    "witnesses: none": (_with_note(lambda _, note: note), {}),
    "witnesses: an unknown one": (_with_note(_cosigned_by("stranger.example", TestRegister().witness_key)), {}),
    "witnesses: a known name with another key": (_with_note(_cosigned_by(WITNESS, TestRegister().witness_key)), {}),
    "witnesses: a bad cosignature": (_with_note(_cosigned_badly), {"log": "note_unverified"}),
    "anchor: over other bytes": (
        _set(tsa=lambda each: each.register.anchor(each.note.encode() + b"\n")),
        {"anchor": "timestamp_invalid"},
    ),
    "anchor: by the register's own clock, in another's name": (
        _set(tsa=lambda each: each.register.stamp(each.note.encode())),
        {"anchor": "timestamp_invalid"},
    ),
    "anchor: stamped before it was received": (
        _set(tsa=lambda each: _stamped(each, -299)),
        {"anchor": "timestamp_invalid"},
    ),
    "anchor: stamped by a clock that is as late as it may be": (
        _set(tsa=lambda each: _stamped(each, -298)),
        {"later": "timestamp_invalid"},
    ),
    "anchor: stamped before what was added later was received": (
        _set(tsa=lambda each: _stamped(each, -290)),
        {"later": "timestamp_invalid"},
    ),
    "later: under a fork of the log": (_fork(lambda size: size), {"later": "consistency_mismatch"}),
    "later: under a fork that grew": (_grown(fork=True), {"later": "consistency_mismatch"}),
    "later: under a log that grew": (_grown(), {}),
    "later: in a log that grew from elsewhere": (_grown(old=-1), {"later": "proof_mismatch"}),
    "later: that it only grew is not proved": (_grown(drop="consistency"), {"later": MISSING}),
    "later: that it only grew is no proof": (_grown(consistency=b"old 1\nx\n"), {"later": "proof_malformed"}),
    "later: that it only grew is no text": (_grown(consistency=b"\xff"), {"later": "proof_malformed"}),
    "later: a consistency proof without need": (
        lambda lasting, files: files.update({"later/01-supplement.consistency": lasting.consistency(3)}),
        {"later": "later_mismatch"},
    ),
    "later: its own stamp over other bytes": (
        _grown(stamp=lambda each, note: each.register.anchor(note + b"\n")),
        {"later": "timestamp_invalid"},
    ),
    "later: its own stamp from before it was received": (
        _grown(stamp=lambda each, note: each.register.authority.timestamp(note, now=_at(-288))),
        {"later": "timestamp_invalid"},
    ),
    "later: its own stamp from hardly before it was received": (
        _grown(stamp=lambda each, note: each.register.authority.timestamp(note, now=_at(-287))),
        {},
    ),
    "later: its own stamp by the register, in another's name": (
        _grown(stamp=lambda each, note: each.register.stamp(note)),
        {"later": "timestamp_invalid"},
    ),
    "later: a stamp where the objection's counts": (
        lambda lasting, files: files.update({"later/01-supplement/tsa.tst": files["anchors/tsa.tst"]}),
        {"later": "later_mismatch"},
    ),
    "later: under an older state of the log": (_fork(lambda size: size - 1), {"later": "proof_mismatch"}),
    "anchor: no time stamp": (_set(tsa=lambda _: b"x"), {"anchor": "timestamp_malformed"}),
    "status: of another list": (
        _set(status=lambda each: each.register.status_list(sub=f"{each.register.issuer}/status/2")),
        {"status": "status_mismatch"},
    ),
    "status: from before the objection": (
        _set(status=lambda each: each.register.status_list(iat=SIGNED_AT + 2 - 361)),
        {"status": "status_mismatch"},
    ),
    "status: as old as the objection": (
        _set(status=lambda each: each.register.status_list(iat=SIGNED_AT + 2 - 360)),
        {},
    ),
    "status: by another register": (
        _set(status=lambda _: TestRegister().status_list()),
        {"status": "token_issuer_unknown"},
    ),
    "status: a value that means nothing": (
        _set(status=lambda each: each.register.status_list({STATUS_INDEX: 3})),
        {"status": "status_malformed"},
    ),
}


@pytest.mark.parametrize("row", FORGED)
def test_what_somebody_with_keys_could_forge(row: str) -> None:
    change, expected = FORGED[row]
    lasting = Lasting()
    files = lasting.files()
    change(lasting, files)
    report = verify_file(bundle_of(files, lasting.register), policy=lasting.register.policy)
    assert roots(report) == expected
    assert report.verdict == ("invalid" if expected else "valid")


def test_received_long_before_it_was_signed_is_refused() -> None:
    lasting = Lasting()
    files = lasting.files()
    lasting.add("supplement", {"a.txt": b"x"}, {}, iat=SIGNED_AT + 1000)
    part = lasting.later.pop()
    _put(lasting, files, 3, part, "supplement")
    at = SIGNED_AT + 1000 - 301
    files["later/03-supplement.ack"] = part.acknowledgement(lasting.register, received_at=at, iat=at)
    report = verify_file(bundle_of(files, lasting.register), policy=lasting.register.policy)
    assert roots(report) == {"later": "token_receipt_mismatch"}


def test_a_media_type_other_than_the_supplements_is_noticed(lasting: Lasting, files: Files) -> None:
    listed = bundled(files)
    listed["later/01/reply.txt"] = replace(listed["later/01/reply.txt"], media_type="image/png")
    raw = write_container(listed, recorded_at=SIGNED_AT, timestamp=lasting.register.stamp)
    assert roots(verify_file(raw, policy=lasting.register.policy)) == {"later": "evidence_mismatch"}


def test_two_withdrawals_are_one_too_many() -> None:
    lasting = Lasting(withdrawn=True)
    files = lasting.files()
    lasting.add("withdrawal", {}, {})
    _put(lasting, files, 4, lasting.later.pop(), "withdrawal")
    report = verify_file(bundle_of(files, lasting.register), policy=lasting.register.policy)
    assert roots(report)["later"] == "later_mismatch"
    assert report.verdict == "invalid"


def test_stamps_of_strangers_say_nothing(lasting: Lasting, files: Files, policy: TrustPolicy) -> None:
    alone = {name: data for name, data in files.items() if not name.startswith("anchors/")}
    alone["anchors/stranger.tst"] = b"whatever"
    report = verify_file(bundle_of(alone, lasting.register), policy=policy)
    assert report.verdict == "valid"
    anchor = check(report, "anchor")
    assert (anchor.outcome, "whom the policy does not know" in anchor.reason) == (NOT_PRESENT, True)
    assert "anchored_at" not in report.facts
    assert any("no authority that is known to be independent" in sentence for sentence in report.does_not_show)


def test_the_registers_own_clock_alone_anchors_nothing(lasting: Lasting, files: Files, policy: TrustPolicy) -> None:
    alone = {name: data for name, data in files.items() if name != "anchors/tsa.tst"}
    report = verify_file(bundle_of(alone, lasting.register), policy=policy)
    assert check(report, "anchor").outcome == NOT_PRESENT
    assert "anchored_at" not in report.facts


def test_a_policy_inside_says_nothing_against_the_one_given(lasting: Lasting, files: Files) -> None:
    """The bundle's own calls the register's clock independent, and asks for no witness."""
    register = lasting.register
    own = TrustPolicy(
        register.policy.issuer,
        register.policy.issuer_keys,
        LogPolicy(register.policy.log.key),
        (TimeAuthority("local", register.clock.certificates, trusted=True),),
    )
    changed = {name: data for name, data in files.items() if name != "anchors/tsa.tst"}
    changed["policy.json"] = format_trust_policy(own)
    _with_note(lambda _, note: note)(lasting, changed)
    del changed["anchors/tsa.tst"]
    raw = bundle_of(changed, register)
    report = verify_file(raw, policy=register.policy)
    assert report.verdict == "valid"
    assert check(report, "anchor").outcome == NOT_PRESENT
    assert (report.facts["state"], "anchored_at" in report.facts) == ("recorded", False)
    assert "NOT the one you gave" in check(report, "policy").reason
    assert verify_file(raw, policy=None).facts["keys_from"] == "bundle"


def test_a_policy_put_in_the_registers_place_vouches_for_nothing(lasting: Lasting, files: Files) -> None:
    """Issuer keys and token are genuine; log, witness and a clock of months before are the holder's own."""
    record, genuine = lasting.record, lasting.register
    forger = TestRegister(issuer_key=genuine.issuer_key)  # for its other keys: nothing here is signed with this one
    early = SIGNED_AT + 60
    entry = format_entry(
        kind="objection",
        salt=record.salt,
        receipt_sha256=record.receipt.sha256,
        received_at=record.claims["received_at"],
    )
    tree = TileTree(0, no_tile)
    tree.append(leaf_hash(entry if n == record.index else bytes([n])) for n in range(7))
    note = forger.cosigned(forger.checkpoint(tree))
    path = tree.path(record.index)
    proof = format_proof(salt=record.salt, index=record.index, path=path, checkpoint_note=note).encode()
    stamp = forger.authority.timestamp(note.encode(), now=datetime.fromtimestamp(early, UTC))
    policy = format_trust_policy(forger.policy)
    raw = record.bundle(proof=proof, policy=policy, status=genuine.status_list(), more={"anchors/tsa.tst": stamp})
    assert set(forger.policy.issuer_keys) == set(genuine.policy.issuer_keys)
    report = verify_file(raw, policy=None)
    assert report.valid
    assert policy_fingerprint(forger.policy) in check(report, "pinned").reason
    assert policy_fingerprint(forger.policy) != policy_fingerprint(genuine.policy)
    said = " ".join(report.shows)
    assert "independent" not in said.casefold()
    assert any("log, witnesses and time authorities are genuine" in each for each in report.does_not_show)
    assert any("no authority that is known to be independent" in each for each in report.does_not_show)
    assert "the bundle's own policy" in check(report, "anchor").reason
    assert roots(verify_file(raw, policy=genuine.policy))["log"] == "note_unverified"


def test_a_quorum_that_changed_makes_no_proof_false(lasting: Lasting, files: Files) -> None:
    policy = lasting.register.policy
    another = VerifierKey("w2.example", Ed25519PrivateKey.generate().public_key(), COSIGNATURE)
    both = Group("both", 2, ("w1", "w2"))
    log = replace(policy.log, witnesses={**policy.log.witnesses, "w2": another}, groups=(both,), quorum="both")
    report = verify_file(bundle_of(files, lasting.register), policy=replace(policy, log=log))
    assert report.verdict == "valid"
    assert {check(report, each).outcome for each in ("witnesses", "anchor")} == {NOT_PRESENT}
    assert check(report, "anchor").reason.startswith("recorded: stamped, but not seen by the witnesses")
    assert report.facts["state"] == "recorded"
    assert "anchored_at" not in report.facts
    assert anchored_times(report) == [None, None]


def anchored_times(report: Report) -> list[int | None]:
    return [each.get("anchored_at") for each in report.facts["later"]]


FIRST_AT, SECOND_AT = SIGNED_AT + 90, SIGNED_AT + 6_000


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ({}, None),
        ({"tsa": lambda each, note: each.authority.timestamp(note, now=_at(6_000))}, SECOND_AT),
        ({"local": lambda each, note: each.stamp(note)}, None),
        ({"stranger": lambda each, note: each.anchor(note)}, None),
    ],
)
def test_each_later_receipt_has_the_time_of_its_own_stamp(
    stamps: dict[str, Callable[[TestRegister, bytes], bytes]],
    expected: int | None,
    lasting: Lasting,
    policy: TrustPolicy,
) -> None:
    grown = Lasting(lasting.register)
    files = grown.files()
    grown.add("supplement", {"a.txt": b"x"}, {})
    note = grown.register.cosigned(grown.register.checkpoint(grown.record.tree)).encode()
    made = {name: stamp(grown.register, note) for name, stamp in stamps.items()}
    _put(grown, files, 3, grown.later.pop(), "supplement", stamps=made)
    report = verify_file(bundle_of(files, grown.register), policy=policy)
    assert report.verdict == "valid", report.checks
    assert report.facts["anchored_at"] == FIRST_AT
    assert anchored_times(report) == [FIRST_AT, FIRST_AT, expected]
    assert check(report, "later").reason.endswith("; 3: recorded") is (expected is None)
    unpinned = verify_file(bundle_of(files, grown.register), policy=None)
    assert anchored_times(unpinned) == [None, None, None]


def test_a_later_stamp_that_the_witnesses_did_not_see_counts_for_nothing(lasting: Lasting, policy: TrustPolicy) -> None:
    grown = Lasting(lasting.register)
    files = grown.files()
    grown.add("supplement", {"a.txt": b"x"}, {})
    part, register = grown.later.pop(), grown.register
    note = register.checkpoint(grown.record.tree)
    _put(grown, files, 3, part, "supplement", stamps={"tsa": register.anchor(note.encode())})
    files["later/03-supplement.tlog-proof"] = grown.proof(part.index, part.salt, note)
    report = verify_file(bundle_of(files, register), policy=policy)
    assert report.verdict == "valid", report.checks
    assert anchored_times(report) == [FIRST_AT, FIRST_AT, None]


def test_a_clock_that_the_policy_does_not_trust_is_not_called_the_registers_own(lasting: Lasting, files: Files) -> None:
    policy = lasting.register.policy
    none = tuple(replace(each, trusted=False) for each in policy.time_authorities)
    report = verify_file(bundle_of(files, lasting.register), policy=replace(policy, time_authorities=none))
    reason = check(report, "anchor").reason
    assert "local, the register's own clock, which is not independent" in reason
    assert reason.count("the register's own clock") == 1
    assert "UNTRUSTED), which the policy does not count as independent" in reason.replace("\\", "")


@pytest.mark.parametrize("name", Authorities().chains)
def test_authorities_hold_here_as_they_do_on_the_page(name: str, lasting: Lasting) -> None:
    """The page's own test compares the two on the same chains."""
    record, authorities = lasting.record, Authorities()
    report = verify_file(authorities.bundle(name, record), policy=authorities.policy(name, record))
    assert roots(report) == ({} if name in Authorities.FINE else {"anchor": "timestamp_invalid"})
    assert ("says that it is qualified" in check(report, "anchor").reason) is (name in Authorities.QUALIFIED)


def test_a_container_may_be_stamped_by_a_name_that_is_no_text(lasting: Lasting, policy: TrustPolicy) -> None:
    raw = Authorities().container_stamped("a name that is no text", lasting.record)
    report = verify_file(raw, policy=policy)
    assert roots(report) == {}
    assert "calls itself ?;" in check(report, "container-time").reason


@pytest.mark.parametrize(("bundled_as", "given_as"), [(STANDS, WITHDRAWN), (WITHDRAWN, STANDS), (ERASED, WITHDRAWN)])
def test_of_two_lists_of_one_time_the_worse_counts(
    bundled_as: int, given_as: int, lasting: Lasting, files: Files, policy: TrustPolicy
) -> None:
    made = lasting.register.status_list
    raw = bundle_of({**files, "status.jwt": made({STATUS_INDEX: bundled_as})}, lasting.register)
    report = verify_file(raw, policy=policy, status=made({STATUS_INDEX: given_as}))
    assert report.verdict == ("erased" if ERASED in {bundled_as, given_as} else "withdrawn")


def test_two_clocks_the_earlier_counts(lasting: Lasting, files: Files) -> None:
    register = lasting.register
    both = tuple(TimeAuthority(each.name, each.certificates, True) for each in register.policy.time_authorities)
    policy = TrustPolicy(register.policy.issuer, register.policy.issuer_keys, register.policy.log, both)
    assert verify_file(bundle_of(files, register), policy=policy).facts["anchored_at"] == SIGNED_AT + 60


WITHDRAWN_CODE, ERASED_CODE = {"status": "objection_withdrawn"}, {"status": "objection_erased"}


@pytest.mark.parametrize(
    ("receipt", "bundled", "given", "verdict", "codes"),
    [
        (False, 0, None, "valid", {}),
        (False, WITHDRAWN, None, "withdrawn", WITHDRAWN_CODE),
        (False, ERASED, None, "erased", ERASED_CODE),
        (True, 0, None, "withdrawn", WITHDRAWN_CODE),
        (True, WITHDRAWN, None, "withdrawn", WITHDRAWN_CODE),
        (True, ERASED, None, "erased", ERASED_CODE),
        (False, 0, (WITHDRAWN, 200), "withdrawn", WITHDRAWN_CODE),
        (True, 0, (0, 200), "withdrawn", WITHDRAWN_CODE),
        (False, WITHDRAWN, (0, 50), "withdrawn", WITHDRAWN_CODE),
        (False, ERASED, (WITHDRAWN, 50), "erased", ERASED_CODE),
    ],
)
def test_the_verdict_by_list_and_receipt(
    receipt: bool, bundled: int, given: tuple[int, int] | None, verdict: str, codes: Roots
) -> None:
    """``given``: the value in a list that the verifier has, and its date; the bundle's is of 100."""
    lasting = Lasting(withdrawn=receipt)
    register = lasting.register
    files = lasting.files() | {"status.jwt": register.status_list({STATUS_INDEX: bundled})}
    raw_list = register.status_list({STATUS_INDEX: given[0]}, iat=SIGNED_AT + given[1]) if given else None
    report = verify_file(bundle_of(files, register), policy=register.policy, status=raw_list)
    assert (report.verdict, roots(report)) == (verdict, codes)
    assert report.valid is (verdict == "valid")
    assert report.genuine
    assert report.facts["status"] == {"valid": "stands"}.get(verdict, verdict)


def test_an_empty_list_given_is_no_list(lasting: Lasting, files: Files, policy: TrustPolicy) -> None:
    report = verify_file(bundle_of(files, lasting.register), policy=policy, status=b"")
    assert report.verdict == "invalid"
    assert check(report, "status").code == "jws_malformed"


def test_a_list_of_long_ago_is_read_and_its_age_told(lasting: Lasting, files: Files, policy: TrustPolicy) -> None:
    now = SIGNED_AT + 100 + 4000 * 86_400  # it expired after one day
    report = verify_bundle.verify_file(bundle_of(files, lasting.register), policy=policy, now=now)
    assert report.verdict == "valid"
    assert "4000 days ago" in check(report, "status").reason


def test_a_proof_only_recorded_needs_no_witness_yet(lasting: Lasting, files: Files, policy: TrustPolicy) -> None:
    changed = dict(files)
    _with_note(lambda _, note: note)(lasting, changed)
    changed = {name: data for name, data in changed.items() if not name.startswith("anchors/")}
    report = verify_file(bundle_of(changed, lasting.register), policy=policy)
    assert report.verdict == "valid"
    assert check(report, "witnesses").outcome == NOT_PRESENT
    assert report.facts["state"] == "recorded"


@pytest.mark.parametrize("name", SIGNATURE_FINDINGS)
def test_what_only_the_register_could_see_is_its_word_and_no_signature_of_metas(name: str) -> None:
    lasting = Lasting()
    altered = signed_mail("No").replace(b"We honour it", b"You have won ")
    without = signed_mail("No").replace(b"subject :", b"", 1)
    mail = {"body-changed": altered, "not-covered": without}.get(name, signed_mail("No"))
    lasting.later = []
    lasting.add(
        "supplement",
        {"mail.eml": mail},
        {"mail.eml": {"finding": name, "domain": MAIL_DOMAIN, "selector": MAIL_SELECTOR}},
    )
    lasting.note = lasting.register.cosigned(lasting.register.checkpoint(lasting.record.tree))
    report = verify_file(bundle_of(lasting.files(), lasting.register), policy=lasting.register.policy)
    assert report.verdict == "valid", report.checks
    assert check(report, "mail").outcome == NOT_PRESENT
    assert MAIL_DOMAIN in check(report, "mail").reason
    assert [mail["finding"] for mail in report.facts["mails"]] == [name]
    assert not any("mail" in sentence.lower() for sentence in report.shows)


@pytest.mark.parametrize("kind", [*MAIL_KINDS, UNKNOWN_MAIL])
def test_only_a_known_confirmation_is_said_to_confirm(kind: str) -> None:
    lasting = Lasting()
    lasting.add("supplement", {"mail.eml": signed_mail("Yes")}, {"mail.eml": finding("Yes", kind)})
    lasting.note = lasting.register.cosigned(lasting.register.checkpoint(lasting.record.tree))
    report = verify_file(bundle_of(lasting.files(), lasting.register), policy=lasting.register.policy)
    assert report.verdict == "valid", report.checks
    confirmed = [sentence for sentence in report.shows if "confirmation" in sentence]
    plainly = "That Meta received the objection." in report.does_not_show
    assert (len(confirmed), plainly) == ((1, False) if kind == "confirmation" else (0, True))


def test_a_key_record_other_than_the_one_seen_is_refused_though_the_mail_holds(policy: TrustPolicy) -> None:
    """The record's bytes count, not only the key in it."""
    lasting = Lasting()
    files = lasting.files()
    name = next(each for each in files if each.startswith("dkim/"))
    files[name] = key_record() + b" "
    report = verify_file(bundle_of(files, lasting.register), policy=lasting.register.policy)
    assert roots(report) == {"mail": "dkim_mismatch"}


@contextmanager
def anchored_app(tmp_path: Path) -> Iterator[tuple[Flask, Holder, Submission]]:
    """A register with a witness and an authority, a supplement and a reply, all of it anchored."""
    authority = TestAuthority()
    with running(make_settings(tmp_path / "data")) as app:
        key = register_of(app).keyring.log_verifier
    with witnessing(tmp_path / "witness", key) as witness, http_server(authority) as server:
        path = write_anchors(
            tmp_path / "anchors.toml",
            witnesses=[witness],
            quorum="w",
            authorities=[("tsa", server.url, authority.write_pem(tmp_path))],
        )
        with running(make_settings(tmp_path / "data", anchors=str(path))) as app:
            holder = Holder()
            objection = holder.objection()
            assert post(app, objection).status_code == 201
            assert post(app, holder.later("supplement", objection)).status_code == 201
            anchoring_of(app).run_once()
            yield app, holder, objection


def test_what_is_added_later_costs_a_proof_no_stamp(tmp_path: Path) -> None:
    """An authority stamped the objection, but was away when the supplement came: another one did that counts less."""
    authority, other, now = TestAuthority(), TestAuthority(), int(time.time())
    with http_server(authority) as server, http_server(other) as other_server:
        listed = [("tsa", server.url, authority.write_pem(tmp_path))]
        (tmp_path / "other").mkdir()
        names = [f"other/{name}" for name in other.write_pem(tmp_path / "other")]
        listed.append(("other", other_server.url, names))
        path = write_anchors(tmp_path / "anchors.toml", authorities=listed)
        path.write_text(path.read_text() + "trusted = false\n")
        with running(make_settings(tmp_path / "data", anchors=str(path))) as app:
            holder = Holder()
            objection = holder.objection()
            assert post(app, objection).status_code == 201
            anchoring_of(app, lambda: now).run_once()
            authority.says = (500, "text/plain", b"")
            assert post(app, holder.later("supplement", objection)).status_code == 201
            anchored = anchoring_of(app, lambda: now + 20).run_once()
            assert anchored is not None
            assert (anchored.size, anchored.tokens.keys()) == (2, {"other"})
            raw = download(app, holder, objection, "application/vnd.etsi.asic-e+zip")
            report = verify_bundle.verify_file(raw, policy=register_of(app).keyring.policy, now=now)
    assert report.verdict == "valid", report.checks
    assert check(report, "anchor").outcome == PASSED
    assert anchored_times(report) == [None]


def test_a_certificate_as_the_register_makes_it(tmp_path: Path) -> None:
    with anchored_app(tmp_path) as (app, holder, objection):
        policy, now = register_of(app).keyring.policy, int(time.time())
        judge = partial(verify_bundle.verify_file, policy=policy, now=now)
        raw = download(app, holder, objection, "application/pdf")
        report = judge(raw)
        assert report.verdict == "valid", report.checks
        passed = {item.id for item in report.checks if item.outcome == PASSED}
        assert {"document", "files", "log", "witnesses", "anchor", "later", "status", "pinned"} <= passed
        container = judge(download(app, holder, objection, "application/vnd.etsi.asic-e+zip"))
        assert container.verdict == "valid", container.checks
        assert container.facts["anchors"] == report.facts["anchors"]

        files = read_document(raw).files
        chance = random.Random(3)
        places = [chance.randrange(len(raw)) for _ in range(60)]
        for at in places:
            altered = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
            if altered.startswith(b"%PDF-"):
                found = judge(altered)
                # CMS does not sign the certificates above the signer's and the time stamp; nobody reads those here.
                in_signature = raw.index(b"/Contents <") < at < raw.index(b">", raw.index(b"/Contents <"))
                assert found.verdict == "invalid" or (in_signature and found.facts == report.facts), at
        assert judge(raw + b"\n").verdict == "invalid"
        assert roots(judge(raw)) == {}
        assert check(verify_bundle.verify_file(raw, policy=TestRegister().policy, now=now), "document").code == (
            "document_signature_invalid"
        )
        assert {"anchors/tsa.tst", "later/01-supplement.ack", "status.jwt"} <= files.keys()
