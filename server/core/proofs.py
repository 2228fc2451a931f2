"""Inclusion of a receipt in the log: the entry, and the proof file (C2SP tlog-proof)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from server.core.encoding import format_base64url, format_json, sha256
from server.core.log_policies import LogPolicy, verify_witnesses
from server.core.merkle import HASH_SIZE, leaf_hash, root_from_path, verify_consistency
from server.core.notes import Checkpoint, format_base64, parse_base64, verify_checkpoint
from server.errors import ParseError, VerificationError

SALT_SIZE = 32
_HEADER = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,15})")
_OLD_SIZE = re.compile(r"old ([1-9][0-9]{0,15})")
_MAX_PATH = 63
_MAX_PROOF_CHARACTERS = 131_072


def format_entry(*, kind: str, salt: bytes, receipt_sha256: bytes, received_at: int) -> bytes:
    """Return the log entry of a receipt. Without ``salt`` nothing leads from it back to the receipt."""
    commitment = format_base64url(sha256(salt + receipt_sha256))
    return format_json({"v": 1, "kind": kind, "commitment": commitment, "time": received_at})


@dataclass(frozen=True)
class Proof:
    """What a proof file says; nothing of it is checked yet."""

    salt: bytes
    index: int
    path: tuple[bytes, ...]
    checkpoint_note: str


def format_proof(*, salt: bytes, index: int, path: Sequence[bytes], checkpoint_note: str) -> str:
    hashes = "".join(f"{format_base64(node)}\n" for node in path)
    return f"{_HEADER}\nextra {format_base64(salt)}\nindex {index}\n{hashes}\n{checkpoint_note}"


def parse_proof(text: str) -> Proof:
    """Read a proof file with our 32-byte salt in its ``extra`` line; raises ParseError ``proof_malformed``."""
    head, blank, checkpoint_note = text.partition("\n\n")
    lines = head.split("\n")
    if len(text) > _MAX_PROOF_CHARACTERS or not blank or len(lines) < 3 or lines[0] != _HEADER:
        raise ParseError("proof_malformed", f"a proof starts with {_HEADER} and ends with a checkpoint")
    if not lines[1].startswith("extra "):
        raise ParseError("proof_malformed", "the extra line with the salt is missing")
    salt = parse_base64(lines[1].removeprefix("extra "), "proof_malformed")
    index = _INDEX.fullmatch(lines[2])
    path = tuple(parse_base64(line, "proof_malformed") for line in lines[3:])
    if len(salt) != SALT_SIZE or index is None or len(path) > _MAX_PATH or any(len(h) != HASH_SIZE for h in path):
        raise ParseError("proof_malformed", "salt, index or path are out of bounds")
    return Proof(salt, int(index[1]), path, checkpoint_note)


@dataclass(frozen=True)
class Consistency:
    """That a log begins with its first ``old_size`` entries; nothing of it is checked yet."""

    old_size: int
    path: tuple[bytes, ...]


def format_consistency(old_size: int, path: Sequence[bytes]) -> str:
    """Return the lines by which C2SP tlog-witness tells the same, without the checkpoint behind them."""
    return f"old {old_size}\n" + "".join(f"{format_base64(node)}\n" for node in path)


def parse_consistency(text: str) -> Consistency:
    """Read a consistency proof; raises ParseError ``proof_malformed``."""
    first, *hashes = text.split("\n")
    old_size = _OLD_SIZE.fullmatch(first)
    if old_size is None or not hashes or hashes.pop() or len(hashes) > _MAX_PATH:
        raise ParseError("proof_malformed", "a consistency proof is the old size and up to 63 hashes, a line each")
    path = tuple(parse_base64(line, "proof_malformed") for line in hashes)
    if any(len(node) != HASH_SIZE for node in path):
        raise ParseError("proof_malformed", "a hash of a consistency proof has 32 bytes")
    return Consistency(int(old_size[1]), path)


def verify_growth(text: str, *, before: Checkpoint, after: Checkpoint) -> None:
    """Make sure by a consistency proof that the log under ``after`` begins with the one under ``before``.

    Raises ParseError ``proof_malformed``; VerificationError ``proof_mismatch`` when it starts at another size, and
    ``consistency_mismatch`` when the two are not one log, or the second is no larger.
    """
    proof = parse_consistency(text)
    if proof.old_size != before.size:
        raise VerificationError("proof_mismatch", "the consistency proof starts elsewhere")
    if after.size <= before.size:
        raise VerificationError("consistency_mismatch", "the log did not grow")
    verify_consistency(old_size=before.size, old_root=before.root, size=after.size, root=after.root, path=proof.path)


def verify_proof(proof: Proof, *, entry: bytes, log: LogPolicy) -> Checkpoint:
    """Return the signed checkpoint under which ``entry`` stands in the log at the proof's index.

    The cosignatures of known witnesses hold then, too; whether they suffice is for the caller to ask: what was only
    recorded has none yet.
    Raises ParseError for a malformed note or checkpoint, VerificationError ``note_unverified`` or ``proof_mismatch``.
    """
    leaf = leaf_hash(entry)
    checkpoint = verify_checkpoint(proof.checkpoint_note, trusted=log.key)
    verify_witnesses(proof.checkpoint_note, log)
    if root_from_path(leaf, proof.index, checkpoint.size, proof.path) != checkpoint.root:
        raise VerificationError("proof_mismatch", "the path does not lead from this receipt to the checkpoint's root")
    return checkpoint
