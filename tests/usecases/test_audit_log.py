"""The audit of a log from outside: an honest one passes at every size, and nothing else does."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.core.log_policies import Group, LogPolicy
from server.core.notes import COSIGNATURE, Checkpoint, VerifierKey, format_checkpoint, sign_cosignature, sign_note
from server.core.tiles import TilePath, format_entries, format_tile_path, width_at
from server.errors import Equivocation, ObjectionError, ParseError, VerificationError
from server.usecases.audit_log import Audit, audit_log
from tests.core import naive_merkle
from tests.fixtures.auditor import tiles_of

NAME = "log.example"
KEY = Ed25519PrivateKey.from_private_bytes(b"1" * 32)
WITNESS = Ed25519PrivateKey.from_private_bytes(b"2" * 32)
POLICY = LogPolicy(VerifierKey(NAME, KEY.public_key()))
WATCHED = LogPolicy(POLICY.key, {"w": VerifierKey("w.example", WITNESS.public_key(), COSIGNATURE)}, quorum="w")
ENTRIES = [hashlib.sha256(f"{n}".encode()).hexdigest().encode() for n in range(66_000)]
SIZES = [0, 1, 2, 255, 256, 257, 300, 511, 512, 700, 1023]


@dataclass
class Log:
    """A published log, made by the letter of the specification. ``files`` may be tampered with."""

    entries: list[bytes]
    key: Ed25519PrivateKey = KEY
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        leaves = [naive_merkle.leaf_hash(entry) for entry in self.entries]
        size = len(leaves)
        self.text = format_checkpoint(Checkpoint(NAME, size, naive_merkle.root(leaves)))
        self.note = sign_note(self.text, NAME, self.key)
        for (level, number), hashes in tiles_of(leaves).items():
            self.files[format_tile_path(TilePath(level, number, len(hashes) // 32))] = hashes
        for number in range(-(-size // 256)):
            path = format_tile_path(TilePath(None, number, width_at(size, None, number)))
            self.files[path] = format_entries(self.entries[number * 256 : number * 256 + 256])
        self.files["checkpoint"] = self.note.encode()

    def read(self, path: str, *, max_bytes: int) -> bytes:
        self.asked.append(path)
        if path not in self.files:
            raise VerificationError("tile_missing", path)
        assert len(self.files[path]) <= max_bytes
        return self.files[path]


def audit(log: Log, *, last: str | None = None, policy: LogPolicy = POLICY) -> Audit:
    return audit_log(log.read, policy=policy, last_note=last, progress=lambda _done, _total: None)


@pytest.mark.parametrize("size", SIZES)
def test_an_honest_log_passes(size: int) -> None:
    found = audit(Log(ENTRIES[:size]))
    assert (found.checkpoint.size, found.new_entries) == (size, size)


@pytest.mark.parametrize("old", SIZES)
def test_it_goes_on_where_the_last_audit_ended(old: int) -> None:
    last = Log(ENTRIES[:old]).note
    for size in (size for size in SIZES if size >= old):
        log = Log(ENTRIES[:size])
        found = audit(log, last=last)
        assert (found.checkpoint.size, found.new_entries) == (size, size - old)
        bundles = [path for path in log.asked if "entries" in path]
        assert len(bundles) == (-(-size // 256) - old // 256 if size > old else 0)


def test_a_log_of_three_levels() -> None:
    last = Log(ENTRIES[:65_536])
    assert audit(last).new_entries == 65_536
    log = Log(ENTRIES)
    assert audit(log, last=last.note).new_entries == 66_000 - 65_536
    assert len(log.asked) < 30


def test_memory_does_not_grow_with_the_log() -> None:
    """Each file is asked for once, and in order."""
    log = Log(ENTRIES[:1023])
    audit(log)
    assert log.asked[0] == "checkpoint/anchored"  # there is none
    assert len(log.asked) == len(set(log.asked)) == len(log.files) + 1


def _flip(raw: bytes, at: int = -1) -> bytes:
    altered = bytearray(raw)
    altered[at] ^= 1
    return bytes(altered)


@pytest.mark.parametrize("size", [1, 300, 700])
def test_any_altered_file_is_caught(size: int) -> None:
    for path in Log(ENTRIES[:size]).files:
        if path == "checkpoint":
            continue
        log = Log(ENTRIES[:size])
        log.files[path] = _flip(log.files[path])
        with pytest.raises(VerificationError) as caught:
            audit(log)
        assert caught.value.code == "tile_mismatch", path


def _shorter_tile(log: Log) -> None:
    log.files["tile/0/000"] = log.files["tile/0/000"][:-32]


def _cut_entry(log: Log) -> None:
    log.files["tile/entries/000"] = log.files["tile/entries/000"][:-1]


def _one_more_entry(log: Log) -> None:
    log.files["tile/entries/000"] += format_entries([b"more"])


def _missing(log: Log) -> None:
    del log.files["tile/entries/001.p/44"]


def _other_root(log: Log) -> None:
    log.files["checkpoint"] = sign_note(format_checkpoint(Checkpoint(NAME, 300, b"r" * 32)), NAME, KEY).encode()


def _other_key(log: Log) -> None:
    log.files["checkpoint"] = sign_note(log.text, NAME, WITNESS).encode()


def _other_name(log: Log) -> None:
    log.files["checkpoint"] = sign_note(log.text.replace(NAME, "other"), NAME, KEY).encode()


def _no_text(log: Log) -> None:
    log.files["checkpoint"] = b"\xff"


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (_shorter_tile, "tile_mismatch"),
        (_cut_entry, "entries_malformed"),
        (_one_more_entry, "entries_malformed"),
        (_missing, "tile_missing"),
        (_other_root, "checkpoint_mismatch"),
        (_other_key, "note_unverified"),
        (_other_name, "note_unverified"),
        (_no_text, "note_malformed"),
    ],
)
def test_a_log_that_does_not_hold(tamper: Callable[[Log], None], code: str) -> None:
    log = Log(ENTRIES[:300])
    tamper(log)
    with pytest.raises(ObjectionError) as caught:
        audit(log)
    assert caught.value.code == code


@pytest.mark.parametrize(("old", "size"), [(256, 300), (300, 301), (300, 700), (300, 300), (1, 2), (257, 512)])
@pytest.mark.parametrize("changed", ["first", "last"])
def test_a_fork_is_reported_with_both_checkpoints(old: int, size: int, changed: str) -> None:
    last = Log(ENTRIES[:old])
    entries = ENTRIES[:size]
    entries[0 if changed == "first" else old - 1] = b"rewritten"
    forked = Log(entries)
    with pytest.raises(Equivocation, match="FORK") as caught:
        audit(forked, last=last.note)
    assert caught.value.code == "consistency_mismatch"
    assert caught.value.notes == (last.note, forked.note)


def test_an_entry_changed_behind_the_tiles_of_the_last_audit_is_caught() -> None:
    last, log = Log(ENTRIES[:300]), Log(ENTRIES[:400])
    entries = [*ENTRIES[256:299], b"rewritten", *ENTRIES[300:400]]
    log.files["tile/entries/001.p/144"] = format_entries(entries)
    with pytest.raises(VerificationError, match="last audit") as caught:
        audit(log, last=last.note)
    assert caught.value.code == "tile_mismatch"


def test_a_log_that_shrank() -> None:
    last = Log(ENTRIES[:300])
    with pytest.raises(Equivocation, match="SHRUNK") as caught:
        audit(Log(ENTRIES[:299]), last=last.note)
    assert caught.value.code == "log_shrunk"


@pytest.mark.parametrize("state", ["", "nothing", Log(ENTRIES[:3], WITNESS).note])
def test_a_state_that_the_log_never_signed(state: str) -> None:
    with pytest.raises(ParseError) as caught:
        audit(Log(ENTRIES[:5]), last=state)
    assert caught.value.code == "state_malformed"


def _cosigned(log: Log) -> bytes:
    return (log.note + sign_cosignature(log.text, "w.example", WITNESS, time=7)).encode()


def test_a_quorum_on_the_newest_checkpoint() -> None:
    log = Log(ENTRIES[:300])
    log.files["checkpoint"] = _cosigned(log)
    found = audit(log, policy=WATCHED)
    assert (found.cosigned, found.witnessed_size) == ([("w", 7)], 300)


@pytest.mark.parametrize("size", [1, 256, 299])
def test_a_quorum_on_an_earlier_checkpoint_of_the_same_log(size: int) -> None:
    log = Log(ENTRIES[:300])
    log.files["checkpoint/anchored"] = _cosigned(Log(ENTRIES[:size]))
    found = audit(log, policy=WATCHED)
    assert (found.cosigned, found.witnessed_size, found.checkpoint.size) == ([("w", 7)], size, 300)


def test_witnesses_who_saw_another_log() -> None:
    log = Log(ENTRIES[:300])
    log.files["checkpoint/anchored"] = _cosigned(Log(ENTRIES[1:200]))
    with pytest.raises(Equivocation, match="FORK"):
        audit(log, policy=WATCHED)


def test_an_anchored_checkpoint_of_another_log_is_a_fork_whoever_asks() -> None:
    log = Log(ENTRIES[:300])
    log.files["checkpoint"] = _cosigned(log)
    for entries in (ENTRIES[1:200], ENTRIES[1:301]):
        log.files["checkpoint/anchored"] = Log(entries).note.encode()
        for policy in (POLICY, WATCHED):
            with pytest.raises(Equivocation, match="FORK"):
                audit(log, policy=policy)
    log.files["checkpoint/anchored"] = Log(ENTRIES[:256]).note.encode()
    assert audit(log).checkpoint.size == 300


def test_an_empty_log_has_the_root_of_nothing() -> None:
    log = Log([])
    text = format_checkpoint(Checkpoint(NAME, 0, b"\x07" * 32))
    log.files["checkpoint"] = sign_note(text, NAME, KEY).encode()
    with pytest.raises(VerificationError) as caught:
        audit(log)
    assert caught.value.code == "checkpoint_mismatch"


def test_a_quorum_that_is_missed() -> None:
    log = Log(ENTRIES[:300])
    other = VerifierKey("v.example", KEY.public_key(), COSIGNATURE)
    both = LogPolicy(POLICY.key, WATCHED.witnesses | {"v": other}, (Group("g", 2, ("w", "v")),), "g")
    for note, policy in [(log.note.encode(), WATCHED), (_cosigned(log), both)]:
        log.files["checkpoint"] = note
        with pytest.raises(VerificationError) as caught:
            audit(log, policy=policy)
        assert caught.value.code == "quorum_missed"


def test_a_tile_cut_off_under_the_last_audit() -> None:
    last, log = Log(ENTRIES[:300]), Log(ENTRIES[:400])
    log.files["tile/1/000.p/1"] = b""
    with pytest.raises(VerificationError, match="has not 1 hashes") as caught:
        audit(log, last=last.note)
    assert caught.value.code == "tile_mismatch"
