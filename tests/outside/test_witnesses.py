"""Witnesses asked over HTTP: our own as the specification wants it, and those that lie."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.core.merkle import TileTree, leaf_hash
from server.core.notes import (
    COSIGNATURE,
    Checkpoint,
    VerifierKey,
    format_base64,
    format_checkpoint,
    sign_cosignature,
    sign_note,
    verify_cosignatures,
)
from server.core.witnessing import Cosigned, Stale, format_add_checkpoint
from server.errors import ObjectionError
from server.outside.witnesses import Witness, add_checkpoint
from tests.fixtures.anchoring import Reply, TestWitness, http_server, witnessing
from tests.fixtures.ports import free_port
from tests.fixtures.records import no_tile

KEY = Ed25519PrivateKey.from_private_bytes(b"1" * 32)
WITNESS_KEY = Ed25519PrivateKey.from_private_bytes(b"2" * 32)
LOG = VerifierKey("log.example/1", KEY.public_key())
LEAVES = [leaf_hash(b"%d" % i) for i in range(40)]


def tree_of(size: int, *, fork: bool = False) -> TileTree:
    tree = TileTree(0, no_tile)
    tree.append(LEAVES[:size] if not fork else [leaf_hash(b"other"), *LEAVES[1:size]])
    return tree


def note_of(tree: TileTree, key: Ed25519PrivateKey = KEY, origin: str = LOG.name) -> str:
    return sign_note(format_checkpoint(Checkpoint(origin, tree.size, tree.root())), origin, key)


def ask(witness: Witness, tree: TileTree, old_size: int) -> Cosigned | Stale:
    path = tree.consistency_path(old_size)
    return add_checkpoint(witness, note_of(tree), log=LOG, old_size=old_size, path=path, timeout_s=5)


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[TestWitness]:
    with witnessing(tmp_path, LOG) as running:
        yield running


def test_a_growing_log_is_cosigned(witness: TestWitness) -> None:
    old_size = 0
    for size in (0, 1, 2, 3, 3, 8, 9, 31, 40):
        answer = ask(witness.client, tree_of(size), old_size)
        assert isinstance(answer, Cosigned)
        (at,) = verify_cosignatures(note_of(tree_of(size)) + answer.lines, trusted=witness.client.key)
        assert abs(at - time.time()) < 5
        assert witness.seen(LOG.name) == size
        old_size = size


def test_one_that_is_elsewhere_says_where(witness: TestWitness) -> None:
    assert isinstance(ask(witness.client, tree_of(9), 0), Cosigned)
    for old_size in (0, 5, 8, 10):
        assert ask(witness.client, tree_of(20), old_size) == Stale(9)
    assert ask(witness.client, tree_of(5), 5) == Stale(9), "a log that shrank"
    assert witness.seen(LOG.name) == 9
    assert isinstance(ask(witness.client, tree_of(20), 9), Cosigned)


def test_a_fork_is_not_cosigned(witness: TestWitness) -> None:
    ask(witness.client, tree_of(9), 0)
    with pytest.raises(ObjectionError) as caught:
        ask(witness.client, tree_of(20, fork=True), 9)
    assert caught.value.code == "consistency_mismatch"
    assert ask(witness.client, tree_of(9, fork=True), 9) == Stale(9), "the same size with another root"
    assert witness.seen(LOG.name) == 9


def test_the_witness_remembers_over_a_restart(tmp_path: Path) -> None:
    with witnessing(tmp_path, LOG) as witness:
        ask(witness.client, tree_of(9), 0)
    with witnessing(tmp_path, LOG) as witness:
        assert ask(witness.client, tree_of(20), 0) == Stale(9)


def post_raw(witness: TestWitness, body: bytes) -> tuple[int, bytes]:
    from server.outside.http import post

    answer = post(
        f"{witness.url}/add-checkpoint", body, media_type="text/plain", accept="*/*", timeout_s=5, code="unavailable"
    )
    return answer.status, answer.body


def request_of(tree: TileTree, old_size: int, **changes: bytes) -> bytes:
    return format_add_checkpoint(old_size=old_size, path=tree.consistency_path(old_size), checkpoint_note=note_of(tree))


def test_refusals_have_the_numbers_of_the_specification(witness: TestWitness) -> None:
    good = request_of(tree_of(9), 0)
    stranger = sign_note(format_checkpoint(Checkpoint(LOG.name, 9, tree_of(9).root())), LOG.name, WITNESS_KEY)
    other_log = note_of(tree_of(9), origin="other.example")
    assert post_raw(witness, b"old 0\n\n" + stranger.encode())[0] == 403
    assert post_raw(witness, b"old 0\n\n" + other_log.encode())[0] == 404
    assert post_raw(witness, good.replace(b"old 0", b"old 10"))[0] == 400
    for bad in (b"", b"old\n\n", good.replace(b"old 0", b"old 00"), good.replace(b"old 0", b"new 0"), b"\xff\xfe"):
        assert post_raw(witness, bad)[0] in {400, 404}
    hashes = format_base64(b"h" * 32).encode() + b"\n"
    assert post_raw(witness, good.replace(b"old 0\n", b"old 0\n" + hashes * 64))[0] == 400
    assert post_raw(witness, good.replace(b"old 0\n", b"old 0\n" + hashes[4:]))[0] == 400
    assert post_raw(witness, good.replace(b"old 0\n", b"old 0\n" + hashes))[0] == 422, "a path from nothing"
    assert post_raw(witness, b"x" * 200_000)[0] == 413
    assert witness.seen(LOG.name) == 0
    status, lines = post_raw(witness, good)
    assert status == 200
    assert lines.startswith("\u2014 w.witness.example ".encode())
    assert post_raw(witness, good) == (409, b"9\n")
    assert post_raw(witness, request_of(tree_of(12), 9).replace(hashes[:4], b"AAAA"))[0] in {200, 422}


def test_two_requests_at_once_end_in_one_order(witness: TestWitness) -> None:
    from concurrent.futures import ThreadPoolExecutor

    for round_number in range(5):
        old_size = witness.seen(LOG.name)
        sizes = [old_size + 1 + round_number % 3, old_size + 4]
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda size: ask(witness.client, tree_of(size), old_size), sizes * 2))  # noqa: B023
        cosigned = {size for size, answer in zip(sizes * 2, answers, strict=True) if isinstance(answer, Cosigned)}
        assert len([answer for answer in answers if isinstance(answer, Cosigned)]) == 1
        assert cosigned == {witness.seen(LOG.name)}


def lying(reply: Reply) -> str:
    """Return the code that asking a witness with this answer ends in, or what came of it."""
    tree = tree_of(9)
    with http_server(lambda _path, _body: reply) as server:
        witness = Witness("w", VerifierKey("w.example", WITNESS_KEY.public_key(), COSIGNATURE), server.url)
        try:
            return type(ask(witness, tree, 0)).__name__
        except ObjectionError as error:
            return error.code


def signed(**changes: object) -> bytes:
    said = {
        "text": format_checkpoint(Checkpoint(LOG.name, 9, tree_of(9).root())),
        "name": "w.example",
        "key": WITNESS_KEY,
    }
    said |= changes
    return sign_cosignature(said["text"], said["name"], said["key"], time=5).encode()  # type: ignore[arg-type]


OTHER_TEXT = format_checkpoint(Checkpoint(LOG.name, 9, b"r" * 32))
LIES = {
    "honest": ((200, "text/plain", signed()), "Cosigned"),
    "strangers beside": (
        (200, "text/plain", signed(name="x.example", key=KEY) + signed() + signed(name="y.example", key=KEY)),
        "Cosigned",
    ),
    "other checkpoint": ((200, "text/plain", signed(text=OTHER_TEXT)), "note_unverified"),
    "other key": ((200, "text/plain", signed(key=KEY)), "note_unverified"),
    "stranger alone": ((200, "text/plain", signed(name="x.example")), "note_unverified"),
    "nothing": ((200, "text/plain", b""), "note_unverified"),
    "twice": ((200, "text/plain", signed() * 2), "note_unverified"),
    "garbage": ((200, "text/plain", b"garbage\n"), "note_malformed"),
    "no text": ((200, "text/plain", b"\xff\n"), "reply_malformed"),
    "no line break": ((200, "text/plain", signed()[:-1]), "note_malformed"),
    "no size": ((409, "text/x.tlog.size", b"nine\n"), "reply_malformed"),
    "size without line break": ((409, "text/x.tlog.size", b"9"), "reply_malformed"),
    "size": ((409, "text/x.tlog.size", b"9\n"), "Stale"),
    "conflict of another sort": ((409, "text/plain", b"9\n"), "witness_refused"),
    "unknown log": ((404, "text/plain", b""), "witness_refused"),
    "forbidden": ((403, "text/plain", b""), "witness_refused"),
    "bad request": ((400, "text/plain", b""), "witness_refused"),
    "bad proof": ((422, "text/plain", b""), "consistency_mismatch"),
    "too many": ((429, "text/plain", b""), "witness_unavailable"),
    "broken": ((500, "text/plain", b""), "witness_unavailable"),
    "redirect": ((301, "text/plain", b""), "witness_refused"),
}


@pytest.mark.parametrize("name", LIES)
def test_only_the_witness_itself_is_believed(name: str) -> None:
    reply, outcome = LIES[name]
    assert lying(reply) == outcome


def test_what_comes_back_is_its_own_line_alone() -> None:
    mixed = signed(name="x.example", key=KEY) + signed()
    with http_server(lambda _path, _body: (200, "text/plain", mixed)) as server:
        witness = Witness("w", VerifierKey("w.example", WITNESS_KEY.public_key(), COSIGNATURE), server.url)
        assert ask(witness, tree_of(9), 0) == Cosigned(signed().decode())


def test_nobody_there() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    witness = Witness("w", VerifierKey("w.example", WITNESS_KEY.public_key(), COSIGNATURE), url)
    with pytest.raises(ObjectionError) as caught:
        ask(witness, tree_of(9), 0)
    assert caught.value.code == "witness_unavailable"
