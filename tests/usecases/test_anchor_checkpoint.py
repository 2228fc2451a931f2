"""Anchoring, round by round: what others answer, when they are asked, and what is stored of it."""

import json
import logging
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from flask import Flask
from sqlalchemy import event, text

from server.core.log_policies import quorum_met, verify_witnesses
from server.core.notes import VerifierKey, verify_checkpoint
from server.core.proofs import format_entry, parse_proof, verify_proof
from server.core.timestamps import TrustedAuthority, verify_timestamp
from server.errors import LogInconsistent, OperatorError
from server.outside.timestamps import create_local_authority
from server.store import anchors
from server.store.anchors import AnchoredCheckpoint, TimeToken
from server.usecases.check_log import check_log
from server.usecases.find_anchor import find_anchor
from server.usecases.log_writer import Logged, find_logged
from server.usecases.register import Register
from server.usecases.row_sums import changing_sums
from tests.fixtures.anchoring import (
    Clock,
    TestAuthority,
    TestWitness,
    anchoring_of,
    http_server,
    openssl_verifies,
    witnessing,
    write_anchors,
)
from tests.fixtures.holders import Holder
from tests.fixtures.sealed import append_many, sealed_receipt
from tests.fixtures.servers import make_settings, post, register_of, running, storage_of


def append(register: Register, count: int = 1) -> list[Logged]:
    return [register.log_writer.append(sealed_receipt(kid=register.keyring.issuer_kid)) for _ in range(count)]


def stored(register: Register) -> list[AnchoredCheckpoint]:
    with register.database.reading() as connection:
        return [anchored for anchored, _ in anchors.stream_anchored(connection)]


def expect_consistent(register: Register) -> None:
    """Everything stored holds: each note is of the log, cosigned as asked, and each token verifies over it."""
    policy = register.keyring.policy
    by_name = {authority.name: authority for authority in policy.time_authorities}
    for anchored in stored(register):
        assert verify_checkpoint(anchored.note, trusted=policy.log.key).size == anchored.size
        assert quorum_met(policy.log, [name for name, _ in verify_witnesses(anchored.note, policy.log)])
        assert anchored.tokens
        for name, token in anchored.tokens.items():
            trusted = TrustedAuthority.from_der(by_name[name].certificates)
            stamp = verify_timestamp(token.token, anchored.note.encode(), trusted=trusted)
            assert stamp.at == token.stamped_at
    found = check_log(storage_of(register), progress=lambda _d, _t: None)
    assert found.problems == []


def expect_anchored_proof(register: Register, logged: Logged) -> Logged:
    """The proof of a record leads to an anchored checkpoint, and holds."""
    record = logged.record
    with register.database.reading() as connection:
        anchor = find_anchor(connection, record.log_index, register.keyring.policy)
        found = find_logged(connection, record.receipt_sha256, anchor=anchor)
    assert found is not None
    assert found.anchor is not None
    proof = parse_proof(found.proof)
    assert proof.checkpoint_note == found.anchor.checkpoint_note
    entry = format_entry(
        kind=record.kind, salt=record.salt, receipt_sha256=record.receipt_sha256, received_at=record.received_at
    )
    assert verify_proof(proof, entry=entry, log=register.keyring.policy.log).size == found.anchor.size
    assert found.anchor.size > record.log_index
    return found


def log_key(data_dir: Path, storage_settings: dict[str, str]) -> VerifierKey:
    """Start once, so that the log has its key."""
    with running(make_settings(data_dir, **storage_settings)) as app:
        return register_of(app).keyring.log_verifier


@contextmanager
def outside(
    tmp_path: Path,
    storage_settings: dict[str, str],
    *,
    witnesses: int = 0,
    quorum: str = "none",
    groups: str = "",
    authorities: tuple[TestAuthority, ...] = (),
) -> Iterator[tuple[dict[str, str], list[TestWitness]]]:
    """Yield settings of a register with these around it: witnesses w0, w1, …, and authorities tsa-0, tsa-1, …"""
    with ExitStack() as stack:
        key = log_key(tmp_path / "data", storage_settings)
        running_witnesses = [
            stack.enter_context(witnessing(tmp_path / "witnesses", key, name=f"w{i}")) for i in range(witnesses)
        ]
        listed = []
        for i, authority in enumerate(authorities):
            server = stack.enter_context(http_server(authority))
            listed.append((f"tsa-{i}", server.url, authority.write_pem(tmp_path, f"tsa-{i}")))
        path = write_anchors(
            tmp_path / "anchors.toml", witnesses=running_witnesses, quorum=quorum, groups=groups, authorities=listed
        )
        yield storage_settings | {"anchors": str(path)}, running_witnesses


# --- the embedded default ---------------------------------------------------------------------------------------------


def test_without_anybody_outside_the_local_authority_stamps(tmp_path: Path, storage_settings: dict[str, str]) -> None:
    with running(make_settings(tmp_path, **storage_settings)) as app:
        register, clock = register_of(app), Clock()
        anchoring = anchoring_of(app, clock)
        assert anchoring.run_once() is None, "an empty log"
        (first,) = append(register)
        anchored = anchoring.run_once()
        assert anchored is not None
        assert (anchored.size, list(anchored.tokens)) == (1, ["local"])
        clock.now += 100
        assert anchoring.run_once() is None, "nothing new"
        later = append(register, 3)
        assert anchoring.run_once() is not None
        append(register)
        assert anchoring.run_once() is None, "too early"
        clock.now += 2
        assert anchoring.run_once() is not None
        assert [anchored.size for anchored in stored(register)] == [1, 4, 5]
        for logged, size in [(first, 1), *((each, 4) for each in later)]:
            found = expect_anchored_proof(register, logged)
            assert found.anchor is not None
            assert (found.anchor.size, found.anchor.independent) == (size, False)
        expect_consistent(register)


def test_what_is_only_recorded_is_said_to_be(tmp_path: Path, storage_settings: dict[str, str]) -> None:
    with running(make_settings(tmp_path, **storage_settings)) as app:
        register = register_of(app)
        (logged,) = append(register)
        with register.database.reading() as connection:
            anchor = find_anchor(connection, 0, register.keyring.policy)
            assert anchor is None
            found = find_logged(connection, logged.record.receipt_sha256, anchor=anchor)
        assert found is not None
        assert found.anchor is None
        assert found.proof == logged.proof


# --- time authorities -------------------------------------------------------------------------------------------------


def test_recording_goes_on_while_others_are_waited_for(tmp_path: Path, storage_settings: dict[str, str]) -> None:
    from threading import Thread

    authority = TestAuthority(delay_s=2)
    with (
        outside(tmp_path, storage_settings, witnesses=1, quorum="w0", authorities=(authority,)) as (settings, _),
        running(make_settings(tmp_path / "data", **settings)) as app,
    ):
        register = register_of(app)
        (first,) = append(register)
        anchoring = anchoring_of(app)
        round_ = Thread(target=anchoring.run_once)
        round_.start()
        while not authority.asked:
            assert round_.is_alive()
        later = append(register, 3)
        assert [post(app, Holder().objection({})).status_code for _ in range(2)] == [201, 201]
        assert round_.is_alive(), "recorded while the authority thought"
        assert stored(register) == []
        round_.join()
        assert [anchored.size for anchored in stored(register)] == [1]
        expect_anchored_proof(register, first)
        with register.database.reading() as connection:
            assert find_anchor(connection, later[0].record.log_index, register.keyring.policy) is None


def test_two_authorities_stamp_the_same_bytes(tmp_path: Path, storage_settings: dict[str, str]) -> None:
    authorities = (TestAuthority(), TestAuthority())
    with (
        outside(tmp_path, storage_settings, authorities=authorities) as (settings, _),
        running(make_settings(tmp_path / "data", **settings)) as app,
    ):
        register = register_of(app)
        (logged,) = append(register)
        anchored = anchoring_of(app).run_once()
        assert anchored is not None
        assert list(anchored.tokens) == ["tsa-0", "tsa-1"], "the local clock is not asked where there are others"
        found = expect_anchored_proof(register, logged)
        assert found.anchor is not None
        assert found.anchor.independent
        assert found.anchor.tokens.keys() == {"tsa-0", "tsa-1"}
        expect_consistent(register)
        if shutil.which("openssl"):
            token, note = anchored.tokens["tsa-0"].token, anchored.note.encode()
            root = authorities[0].authority.root.public_bytes(Encoding.PEM)
            assert openssl_verifies(token, note, root, tmp_path)
            assert not openssl_verifies(token, note.replace(b"\n1\n", b"\n2\n"), root, tmp_path)
            assert not openssl_verifies(token[:-1] + bytes([token[-1] ^ 1]), note, root, tmp_path)


FAULTS = {
    "down": {"says": (503, "text/plain", b"")},
    "garbage": {"says": (200, "application/timestamp-reply", b"garbage")},
    "wrong nonce": {"nonce_error": 1},
    "wrong certificate": {"signs_with": create_local_authority(now=__import__("datetime").datetime.now().astimezone())},
    "other data": {"over": b"something else"},
}
HEALTHY: dict[str, object] = {"says": None, "nonce_error": 0, "signs_with": None, "over": None}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_authority_leaves_nothing_and_is_asked_again(
    tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    authority, clock = TestAuthority(), Clock()
    vars(authority).update(FAULTS[fault])
    with (
        outside(tmp_path, {}, authorities=(authority,)) as (settings, _),
        running(make_settings(tmp_path / "data", **settings)) as app,
    ):
        register = register_of(app)
        anchoring = anchoring_of(app, clock)
        (logged,) = append(register)
        with caplog.at_level(logging.WARNING, "objection.anchors"):
            assert anchoring.run_once() is None
        assert "tsa-0: timestamp_" in caplog.text
        assert stored(register) == []
        append(register, 2)
        vars(authority).update(HEALTHY)
        clock.now += 29
        assert anchoring.run_once() is None, "it failed once: not before 30 s"
        clock.now += 1
        anchored = anchoring.run_once()
        assert anchored is not None
        assert anchored.size == 3
        expect_anchored_proof(register, logged)
        expect_consistent(register)


def test_the_pause_doubles_with_each_failure_up_to_a_cap() -> None:
    from server.usecases.anchor_checkpoint import Turn

    turn, now, pauses = Turn(15), 1_000_000, []
    for _ in range(20):
        assert turn.due(now)
        turn.done(now, failed=True)
        pause = next(seconds for seconds in range(2000) if turn.due(now + seconds))
        pauses.append(pause)
        now += pause
    assert pauses[:7] == [30, 60, 120, 240, 480, 900, 900]
    assert set(pauses[5:]) == {900}
    turn.done(now, failed=False)
    assert not turn.due(now + 14)
    assert turn.due(now + 15)
    assert turn.due(now - 1_000_000), "a clock set back silences nobody for ever"


def test_no_authority_is_asked_more_than_every_15_s(tmp_path: Path) -> None:
    authority, clock = TestAuthority(), Clock()
    with (
        outside(tmp_path, {}, authorities=(authority,)) as (settings, _),
        running(make_settings(tmp_path / "data", **settings)) as app,
    ):
        register = register_of(app)
        anchoring = anchoring_of(app, clock)
        append(register)
        assert anchoring.run_once() is not None
        append(register)
        clock.now += 14
        assert anchoring.run_once() is None
        clock.now += 1
        assert anchoring.run_once() is not None
        append(register)
        clock.now = stored(register)[-1].tokens["tsa-0"].stamped_at + 14
        assert anchoring_of(app, clock).run_once() is None, "another leader does not begin anew"
        clock.now += 1
        assert anchoring_of(app, clock).run_once() is not None


def test_who_could_not_stamp_then_stamps_later(tmp_path: Path) -> None:
    one, other, clock = TestAuthority(), TestAuthority(says=(500, "text/plain", b"")), Clock()
    with (
        outside(tmp_path, {}, authorities=(one, other)) as (settings, _),
        running(make_settings(tmp_path / "data", **settings)) as app,
    ):
        register = register_of(app)
        anchoring = anchoring_of(app, clock)
        append(register)
        anchored = anchoring.run_once()
        assert anchored is not None
        assert list(anchored.tokens) == ["tsa-0"]
        other.says = None
        clock.now += 30
        assert anchoring.run_once() is not None
        (anchored,) = stored(register)
        assert anchored.tokens.keys() == {"tsa-0", "tsa-1"}
        clock.now += 1000
        assert anchoring.run_once() is None, "now it is complete"
        expect_consistent(register)


# --- witnesses --------------------------------------------------------------------------------------------------------


def test_witnesses_cosign_what_is_then_stamped(tmp_path: Path, storage_settings: dict[str, str]) -> None:
    clock = Clock()
    groups = '[[group]]\nname = "g"\nneeded = "2"\nmembers = ["w0", "w1", "w2"]'
    with (
        outside(tmp_path, storage_settings, witnesses=3, quorum="g", groups=groups) as (settings, witnesses),
        running(make_settings(tmp_path / "data", **settings)) as app,
    ):
        register = register_of(app)
        policy = register.keyring.policy
        anchoring = anchoring_of(app, clock)
        logged = append(register, 5)
        anchored = anchoring.run_once()
        assert anchored is not None
        assert [name for name, _ in verify_witnesses(anchored.note, policy.log)] == ["w0", "w1", "w2"]
        append_many(register, 300)
        witnesses[1].outage = 503
        clock.now += 15
        anchored = anchoring.run_once()
        assert anchored is not None
        assert [name for name, _ in verify_witnesses(anchored.note, policy.log)] == ["w0", "w2"]
        witnesses[0].outage = 503
        append(register)
        clock.now += 30
        assert anchoring.run_once() is None, "one of three is no quorum"
        assert append(register), "recording goes on"
        witnesses[0].outage = witnesses[1].outage = None
        clock.now += 1000
        anchored = anchoring.run_once()
        assert anchored is not None
        assert anchored.size == 307
        assert [witness.seen(policy.log.key.name) for witness in witnesses] == [307] * 3
        expect_anchored_proof(register, logged[0])
        expect_consistent(register)


def test_witnesses_that_failed_at_other_times_meet_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, groups = Clock(), '[[group]]\nname = "g"\nneeded = "all"\nmembers = ["w0", "w1"]'
    with (
        outside(tmp_path, {}, witnesses=2, quorum="g", groups=groups) as (settings, witnesses),
        running(make_settings(tmp_path / "data", **settings)) as app,
    ):
        register = register_of(app)
        anchoring = anchoring_of(app, clock)
        append(register)
        witnesses[0].asked = 0
        witnesses[1].outage = 503
        caplog.clear()
        for second in range(100):
            if anchoring.run_once() is not None:
                break
            if second == 7:
                witnesses[1].outage = None
            clock.now += 1
        assert 30 <= second <= 45
        assert witnesses[0].asked <= 4, "once a round"
        assert caplog.text.count("the quorum of witnesses is missed") <= 3


def test_a_witness_that_returns_is_noticed_while_nothing_is_recorded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def said() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "objection.anchors"]

    key = log_key(tmp_path / "data", {})
    with witnessing(tmp_path / "witness", key) as witness:
        file = write_anchors(tmp_path / "anchors.toml", witnesses=[witness])
        witness.outage = 503
        with running(make_settings(tmp_path / "data", anchors=str(file))) as app:
            append(register_of(app))
            clock = Clock()
            anchoring = anchoring_of(app, clock)
            caplog.clear()
            assert anchoring.run_once() is not None
            assert [line.partition(":")[0] for line in said()] == ["w"]
            witness.outage = None
            for _ in range(3):
                clock.now += 1000
                assert anchoring.run_once() is None
            assert said()[1:] == ["w: in order again"]
            assert witness.seen("register.example/log") == 1


def test_a_witness_that_forgot_or_is_ahead_of_what_we_remember_recovers(tmp_path: Path) -> None:
    clock = Clock()
    with (
        outside(tmp_path, {}, witnesses=1, quorum="w0") as (settings, (witness,)),
        running(make_settings(tmp_path / "data", **settings)) as app,
    ):
        register = register_of(app)
        append(register, 4)
        assert anchoring_of(app, clock).run_once() is not None
        for remembered in (0, 2, 4):  # as after a crash between the witness's answer and our note of it
            with (
                register.database.writing() as connection,
                changing_sums(connection, register.keyring.row_macs) as sums,
                sums.following(connection, "witness_states"),
            ):
                connection.execute(text(f"UPDATE witness_states SET size = {remembered}"))
            append(register)
            clock.now += 15
            assert anchoring_of(app, clock).run_once() is not None
        with sqlite3.connect(tmp_path / "witnesses" / "w0.sqlite") as forgotten:
            forgotten.execute("DELETE FROM logs")
        append(register)
        clock.now += 15
        assert anchoring_of(app, clock).run_once() is not None
        assert witness.seen(register.keyring.log_name) == 8
        expect_consistent(register)


@pytest.mark.parametrize("lie", ["other key", "other checkpoint", "garbage"])
def test_a_lying_witness_leaves_nothing(tmp_path: Path, lie: str) -> None:
    from server.core.notes import sign_cosignature

    clock = Clock()
    with outside(tmp_path, {}, witnesses=1, quorum="w0") as (settings, (witness,)):
        key = witness.service.key

        def answer(_path: str, body: bytes) -> tuple[int, str, bytes]:
            note_text = body.decode().split("\n\n")[1] + "\n"
            said = note_text.replace("\n1\n", "\n2\n") if lie == "other checkpoint" else note_text
            signer = create_signer() if lie == "other key" else key
            line = sign_cosignature(said, witness.service.name, signer, time=clock())
            return 200, "text/plain", b"garbage" if lie == "garbage" else line.encode()

        with http_server(answer) as liar:
            witness.url, honest = liar.url, witness.url
            write_anchors(Path(settings["anchors"]), witnesses=[witness], quorum="w0")
            with running(make_settings(tmp_path / "data", **settings)) as app:
                register = register_of(app)
                append(register)
                assert anchoring_of(app, clock).run_once() is None
                assert stored(register) == []
                assert append(register), "recording goes on"
        witness.url = honest
        write_anchors(Path(settings["anchors"]), witnesses=[witness], quorum="w0")
        with running(make_settings(tmp_path / "data", **settings)) as app:
            assert anchoring_of(app, clock).run_once() is not None
            expect_consistent(register_of(app))


def create_signer():  # type: ignore[no-untyped-def]
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate()


# --- forks ------------------------------------------------------------------------------------------------------------


def expect_halted(app: Flask) -> None:
    register = register_of(app)
    with pytest.raises(LogInconsistent) as caught:
        append(register)
    assert caught.value.code == "log_halted"
    response = post(app, Holder().objection({}))
    assert (response.status_code, json.loads(response.data)["code"]) == (503, "log_halted")
    assert b"witness" not in response.data
    ready = app.test_client().get("/readyz")
    assert (ready.status_code, json.loads(ready.data)["code"]) == (503, "log_halted")
    assert app.test_client().get("/checkpoint").status_code == 200, "what was signed stays readable"


def backup(data_dir: Path) -> None:
    with (
        sqlite3.connect(data_dir / "register.sqlite") as source,
        sqlite3.connect(data_dir / "backup.sqlite") as target,
    ):
        source.backup(target)


def restore(data_dir: Path) -> None:
    for leftover in data_dir.glob("register.sqlite*"):
        leftover.unlink()
    shutil.copy(data_dir / "backup.sqlite", data_dir / "register.sqlite")
    (data_dir / "newest-checkpoint").unlink()  # it went back, too: else the start would notice without a witness


def test_an_old_backup_signs_nothing(tmp_path: Path) -> None:
    """Restored while the witness is away, so that the start cannot notice; then it comes back."""
    data_dir, clock = tmp_path / "data", Clock()
    with outside(tmp_path, {}, witnesses=1, quorum="w0") as (settings, (witness,)):
        with running(make_settings(data_dir, **settings)) as app:
            append(register_of(app), 3)
            assert anchoring_of(app, clock).run_once() is not None
            backup(data_dir)
            append(register_of(app), 3)
            clock.now += 15
            assert anchoring_of(app, clock).run_once() is not None
        restore(data_dir)
        with pytest.raises(OperatorError) as caught, running(make_settings(data_dir, **settings)):
            pass
        assert caught.value.code == "log_behind_witness"
        witness.outage = 503
        with running(make_settings(data_dir, **settings)) as app:
            append(register_of(app))
            witness.outage = None
            clock.now += 15
            assert anchoring_of(app, clock).run_once() is None
            expect_halted(app)
            assert anchoring_of(app, clock).run_once() is None
            assert [anchored.size for anchored in stored(register_of(app))] == [3]
        witness.outage = 503
        with running(make_settings(data_dir, **settings)) as app:
            expect_halted(app)


def test_a_fork_that_outgrew_its_witness_is_noticed_too(tmp_path: Path) -> None:
    data_dir, clock = tmp_path / "data", Clock()
    for grown in (3, 7):  # to the size that the witness saw, and beyond
        with outside(tmp_path / str(grown), {}, witnesses=1, quorum="w0") as (settings, (witness,)):
            data_dir = tmp_path / str(grown) / "data"
            with running(make_settings(data_dir, **settings)) as app:
                append(register_of(app), 2)
                backup(data_dir)
                append(register_of(app), 3)
                assert anchoring_of(app, clock).run_once() is not None
            restore(data_dir)
            witness.outage = 503
            with running(make_settings(data_dir, **settings)) as app:
                append(register_of(app), grown)
            witness.outage = None
            with (
                pytest.raises(OperatorError, match="another log") as caught,
                running(make_settings(data_dir, **settings)),
            ):
                pass
            assert caught.value.code == "log_behind_witness"
            witness.outage = 503
            with running(make_settings(data_dir, **settings)) as app:
                witness.outage = None
                assert anchoring_of(app, clock).run_once() is None
                expect_halted(app)


def test_a_log_that_grew_while_the_witness_was_asked_is_not_halted(tmp_path: Path) -> None:
    """Another leader may have brought the witness further than the head that we read."""
    clock = Clock()
    with (
        outside(tmp_path, {}, witnesses=1) as (settings, (witness,)),
        running(make_settings(tmp_path / "data", **settings)) as app,
    ):
        register = register_of(app)
        append(register, 3)
        anchoring = anchoring_of(app, clock)
        with register.database.reading() as connection:
            from server.store import log

            old_head = log.read_head(connection)
        append(register, 2)
        assert anchoring_of(app, clock).run_once() is not None
        assert witness.seen(register.keyring.log_name) == 5
        assert old_head is not None
        assert anchoring._cosignatures(old_head, anchoring._witnesses) == ""
        assert append(register)


def test_an_unreachable_witness_does_not_keep_the_register_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with outside(tmp_path, {}, witnesses=1) as (settings, (witness,)):
        witness.outage = 503
        with running(make_settings(tmp_path / "data", **settings)) as app:
            assert "w0: witness_unavailable" in caplog.text
            assert append(register_of(app))


# --- changes of whom to ask, and crashes ------------------------------------------------------------------------------


def test_proofs_meet_the_policy_of_today(tmp_path: Path) -> None:
    """Anchored by the local clock first; then with a witness and an authority; then with another certificate."""
    clock, authority = Clock(), TestAuthority()
    with running(make_settings(tmp_path / "data")) as app:
        logged = []
        for _ in range(12):
            logged += append(register_of(app))
            clock.now += 2
            assert anchoring_of(app, clock).run_once() is not None
        assert expect_anchored_proof(register_of(app), logged[0]).anchor.size == 1  # type: ignore[union-attr]
    with (
        outside(tmp_path, {}, witnesses=1, quorum="w0", authorities=(authority,)) as (settings, _),
        running(make_settings(tmp_path / "data", **settings)) as app,
    ):
        register = register_of(app)
        with register.database.reading() as connection:
            assert find_anchor(connection, 0, register.keyring.policy) is None, "no witness saw those"
        append(register)
        clock.now += 60
        assert anchoring_of(app, clock).run_once() is not None
        anchor = expect_anchored_proof(register, logged[0]).anchor
        assert anchor is not None
        assert (anchor.size, anchor.independent, list(anchor.tokens)) == (13, True, ["tsa-0"])
        TestAuthority().write_pem(tmp_path, "tsa-0")
        with running(make_settings(tmp_path / "data", **settings)) as again:
            register = register_of(again)
            with register.database.reading() as connection:
                assert find_anchor(connection, 0, register.keyring.policy) is None, "no longer that authority's stamp"


def test_the_earliest_independent_anchor_stays_whatever_comes_later(tmp_path: Path) -> None:
    """Twelve times the register's own clock stamps; then an authority, too; then again the register's clock alone."""
    clock, authority = Clock(), TestAuthority()

    def anchor_more(app: Flask, times: int) -> None:
        for _ in range(times):
            append(register_of(app))
            clock.now += 60
            assert anchoring_of(app, clock).run_once() is not None

    with running(make_settings(tmp_path / "data")) as app:
        (first,) = append(register_of(app))
        anchor_more(app, 12)
    with outside(tmp_path, {}, authorities=(authority,)) as (settings, _):
        with running(make_settings(tmp_path / "data", **settings)) as app:
            anchor_more(app, 2)
            found = expect_anchored_proof(register_of(app), first).anchor
        with running(make_settings(tmp_path / "data")) as app:
            anchor_more(app, 12)
            alone = expect_anchored_proof(register_of(app), first).anchor
        with running(make_settings(tmp_path / "data", **settings)) as app:
            anchor_more(app, 2)
            again = expect_anchored_proof(register_of(app), first).anchor
    assert found is not None
    assert (found.size, found.independent) == (14, True)
    assert again == found
    assert alone is not None
    assert (alone.size, alone.independent) == (2, False), "that register trusts no authority now"


def test_an_anchor_is_found_among_many_that_do_not_fit(tmp_path: Path) -> None:
    """The last of the covering checkpoints fits; 30 before it, or 300, cost the same number of statements."""
    with running(make_settings(tmp_path / "data")) as app:
        register = register_of(app)
        append(register, 400)
        assert anchoring_of(app, Clock()).run_once() is not None
        counts = []
        for sizes in (range(2, 30), range(30, 300)):
            with register.database.writing() as connection:
                for size in sizes:
                    vouchers = frozenset({f"stranger-{size % 3}", f"other-{size % 17}"})
                    anchors.insert_anchored(
                        connection, AnchoredCheckpoint(size, "x\n", {"other": TimeToken(b"x", size)}, vouchers), mac=b""
                    )
            statements: list[str] = []
            with register.database.reading() as connection:
                event.listen(connection, "before_cursor_execute", lambda *given, seen=statements: seen.append(given[2]))
                anchor = find_anchor(connection, 0, register.keyring.policy)
            assert anchor is not None
            assert anchor.size == 400
            counts.append(len(statements))
    assert counts[0] == counts[1]
    assert counts[0] == 3


@pytest.mark.parametrize("statement", ["INSERT INTO anchored_checkpoints", "INSERT INTO time_tokens", "COMMIT"])
def test_a_crash_while_storing_leaves_all_or_nothing(
    tmp_path: Path, storage_settings: dict[str, str], statement: str
) -> None:
    class Crash(BaseException):
        pass

    clock = Clock()
    with running(make_settings(tmp_path, **storage_settings)) as app:
        register = register_of(app)
        append(register, 2)
        anchoring = anchoring_of(app, clock)
        engine = register.database.engine

        def crash(*arguments: object) -> None:
            if statement == "COMMIT" or str(arguments[2]).startswith(statement):
                raise Crash

        moment = "commit" if statement == "COMMIT" else "after_cursor_execute"
        if statement == "COMMIT":

            def crash_at_commit(connection: object) -> None:
                options = connection.get_execution_options()  # type: ignore[attr-defined]
                if options.get("objection_write"):
                    raise Crash

            crash = crash_at_commit
        event.listen(engine, moment, crash)
        with pytest.raises(Crash):
            anchoring.run_once()
        event.remove(engine, moment, crash)
        assert stored(register) == []
        clock.now += 5
        anchored = anchoring_of(app, clock).run_once()
        assert anchored is not None
        assert anchored.size == 2
        expect_consistent(register)
