"""Signed notes, checkpoints and cosignatures (C2SP signed-note, tlog-checkpoint, tlog-cosignature)."""

import base64
import binascii
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from server.core.encoding import sha256
from server.core.merkle import HASH_SIZE
from server.errors import ParseError, VerificationError

ED25519 = 1
COSIGNATURE = 4
# No white space, as Unicode has it: Python's own class takes U+001C to U+001F for some.
_NAME = re.compile("[^\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000+]+")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
_MAX_NOTE_BYTES = 65_536
_MAX_SIGNATURES = 100
_TIME_SIZE = 8
MAX_TIME_S = 253_402_300_799  # the year 9999: what no calendar can write is no time


@dataclass(frozen=True)
class VerifierKey:
    """A note signer's public key, under its name. ``signature_type``: ``ED25519``, or a witness's ``COSIGNATURE``."""

    name: str
    key: Ed25519PublicKey
    signature_type: int = ED25519

    @property
    def raw(self) -> bytes:
        return bytes([self.signature_type]) + self.key.public_bytes_raw()

    @property
    def id(self) -> bytes:
        """The four bytes by which a signature line names the key."""
        return sha256(self.name.encode() + b"\n" + self.raw)[:4]


def parse_verifier_key(text: str, *, signature_type: int = ED25519) -> VerifierKey:
    """Read ``name+hex id+base64(type ‖ key)``; raises ParseError ``policy_malformed``, also for another type."""
    parts = text.split("+", 2)
    if len(parts) != 3 or not _NAME.fullmatch(parts[0]):
        raise ParseError("policy_malformed", "a verifier key is name+id+key")
    raw = parse_base64(parts[2], "policy_malformed")
    if raw[:1] != bytes([signature_type]) or len(raw) != 33:
        raise ParseError("policy_malformed", f"the verifier key is not Ed25519 for signatures of type {signature_type}")
    key = VerifierKey(parts[0], Ed25519PublicKey.from_public_bytes(raw[1:]), signature_type)
    if key.id.hex() != parts[1]:
        raise ParseError("policy_malformed", "the verifier key's id does not fit it")
    return key


def format_verifier_key(key: VerifierKey) -> str:
    return f"{key.name}+{key.id.hex()}+{format_base64(key.raw)}"


@dataclass(frozen=True)
class Checkpoint:
    """The log's state: ``size`` leaves under ``root``."""

    origin: str
    size: int
    root: bytes


def format_checkpoint(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.origin}\n{checkpoint.size}\n{format_base64(checkpoint.root)}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a checkpoint without extension lines; raises ParseError ``checkpoint_malformed``."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or not _NAME.fullmatch(lines[0]) or not _DECIMAL.fullmatch(lines[1]):
        raise ParseError("checkpoint_malformed", "a checkpoint is origin, size and root, a line each")
    root = parse_base64(lines[2], "checkpoint_malformed")
    if len(root) != HASH_SIZE:
        raise ParseError("checkpoint_malformed", "the root must be 32 bytes")
    return Checkpoint(lines[0], int(lines[1]), root)


def sign_note(text: str, name: str, key: Ed25519PrivateKey) -> str:
    """Return ``text`` (which ends in a newline) as a note signed by ``key`` under ``name``."""
    key_id = VerifierKey(name, key.public_key()).id
    return f"{text}\n— {name} {format_base64(key_id + key.sign(text.encode()))}\n"


def verify_note(note: str, *, trusted: VerifierKey) -> str:
    """Return the text of ``note`` once ``trusted`` is seen to have signed it; signatures of others are ignored.

    Raises ParseError ``note_malformed``; VerificationError ``note_unverified`` when ``trusted`` did not sign, or a
    signature under its name and id does not hold.
    """
    text, signatures = _parse_note(note)
    own = [signature for name, signature in signatures if name == trusted.name and signature[:4] == trusted.id]
    if not own:
        raise VerificationError("note_unverified", f"not signed by the trusted key {format_verifier_key(trusted)}")
    for signature in own:
        try:
            trusted.key.verify(signature[4:], text.encode())
        except InvalidSignature as error:
            raise VerificationError("note_unverified", f"the signature of {trusted.name} does not hold") from error
    return text


def verify_checkpoint(note: str, *, trusted: VerifierKey) -> Checkpoint:
    """Return the checkpoint in ``note`` once the log's key is seen to have signed it, and it names that log."""
    checkpoint = parse_checkpoint(verify_note(note, trusted=trusted))
    if checkpoint.origin != trusted.name:
        raise VerificationError("note_unverified", "the checkpoint is of another log")
    return checkpoint


def sign_cosignature(text: str, name: str, key: Ed25519PrivateKey, *, time: int) -> str:
    """Return the line by which a witness says: at ``time`` this checkpoint was the newest of its log that I know."""
    key_id = VerifierKey(name, key.public_key(), COSIGNATURE).id
    signature = time.to_bytes(_TIME_SIZE) + key.sign(_cosigned(text, time))
    return f"— {name} {format_base64(key_id + signature)}\n"


def verify_cosignatures(note: str, *, trusted: VerifierKey) -> list[int]:
    """Return the times at which the witness ``trusted`` cosigned ``note``, in the note's order; none when it did not.

    Says nothing about the log's own signature. Raises ParseError ``note_malformed``; VerificationError
    ``note_unverified`` when a signature under the witness's name and id does not hold.
    """
    text, signatures = _parse_note(note)
    own = [signature[4:] for name, signature in signatures if name == trusted.name and signature[:4] == trusted.id]
    times = []
    for signature in own:
        time = int.from_bytes(signature[:_TIME_SIZE])
        if time > MAX_TIME_S:
            raise VerificationError("note_unverified", f"the cosignature of {trusted.name} names no time")
        try:
            trusted.key.verify(signature[_TIME_SIZE:], _cosigned(text, time))
        except InvalidSignature as error:
            raise VerificationError("note_unverified", f"the cosignature of {trusted.name} does not hold") from error
        times.append(time)
    return times


def format_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def parse_base64(text: str, code: str) -> bytes:
    """Return the bytes of padded standard base64 in its one canonical spelling; raises ParseError ``code``."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ParseError(code, "not base64") from error
    if format_base64(data) != text:
        raise ParseError(code, "not canonical base64")
    return data


def _cosigned(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _parse_note(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    if len(note.encode()) > _MAX_NOTE_BYTES:
        raise ParseError("note_malformed", "the note is too large")
    if any(ord(character) < 0x20 and character != "\n" for character in note):
        raise ParseError("note_malformed", "control characters in a note")
    text, blank, tail = note.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise ParseError("note_malformed", "a note is a text, a blank line and signature lines")
    lines = tail[:-1].split("\n")
    if len(lines) > _MAX_SIGNATURES:
        raise ParseError("note_malformed", "too many signatures")
    return text + "\n", [_parse_signature_line(line) for line in lines]


def _parse_signature_line(line: str) -> tuple[str, bytes]:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "—" or not _NAME.fullmatch(parts[1]):
        raise ParseError("note_malformed", "a signature line is dash, name and base64")
    signature = parse_base64(parts[2], "note_malformed")
    if len(signature) < 5:
        raise ParseError("note_malformed", "a signature is too short")
    return parts[1], signature
