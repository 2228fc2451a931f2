"""Signed notes, checkpoints, log policies, and the proof file around them."""

import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from server.core.encoding import sha256
from server.core.log_policies import LogPolicy
from server.core.merkle import leaf_hash
from server.core.notes import (
    COSIGNATURE,
    Checkpoint,
    VerifierKey,
    format_base64,
    format_checkpoint,
    format_verifier_key,
    parse_base64,
    parse_checkpoint,
    parse_verifier_key,
    sign_cosignature,
    sign_note,
    verify_checkpoint,
    verify_cosignatures,
    verify_note,
)
from server.core.proofs import format_entry, format_proof, parse_proof, verify_proof
from server.errors import ObjectionError, ParseError, VerificationError

KEY = Ed25519PrivateKey.from_private_bytes(b"1" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"2" * 32)
LOG = VerifierKey("log.example/1", KEY.public_key())
CHECKPOINT = Checkpoint(LOG.name, 1, b"r" * 32)
NOTE = sign_note(format_checkpoint(CHECKPOINT), LOG.name, KEY)


def test_signed_checkpoint_comes_back() -> None:
    assert verify_checkpoint(NOTE, trusted=LOG) == CHECKPOINT


def test_example_key_of_the_specification() -> None:
    """The verifier key that Go's sumdb/note package documents."""
    text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert format_verifier_key(parse_verifier_key(text)) == text
    note = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
        "\n"
        "\u2014 PeterNeumann "
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    assert verify_note(note, trusted=parse_verifier_key(text)) == note.partition("\n\n")[0] + "\n"


@given(st.integers(0, len(NOTE) - 1), st.characters(exclude_categories=["Cs"]))
def test_note_with_any_character_altered_is_refused(at: int, character: str) -> None:
    altered = NOTE[:at] + character + NOTE[at + 1 :]
    if altered == NOTE:
        return
    with pytest.raises(ObjectionError) as caught:
        verify_checkpoint(altered, trusted=LOG)
    assert caught.value.code in {"note_malformed", "note_unverified", "checkpoint_malformed"}


@given(st.integers(0, len(NOTE) - 1))
def test_note_cut_short_is_refused(end: int) -> None:
    with pytest.raises(ObjectionError) as caught:
        verify_checkpoint(NOTE[:end], trusted=LOG)
    assert caught.value.code in {"note_malformed", "note_unverified"}


def test_signature_of_another_name_or_key_does_not_count() -> None:
    text = format_checkpoint(CHECKPOINT)
    for note in (sign_note(text, LOG.name, OTHER), sign_note(text, "witness.example", KEY)):
        with pytest.raises(VerificationError) as caught:
            verify_checkpoint(note, trusted=LOG)
        assert caught.value.code == "note_unverified"


def test_checkpoint_of_another_log_signed_by_ours_is_refused() -> None:
    note = sign_note(format_checkpoint(Checkpoint("other.example", 1, b"r" * 32)), LOG.name, KEY)
    with pytest.raises(VerificationError) as caught:
        verify_checkpoint(note, trusted=LOG)
    assert caught.value.code == "note_unverified"


@given(st.integers(0, 10**19 - 1), st.binary(min_size=32, max_size=32))
def test_checkpoint_text_comes_back(size: int, root: bytes) -> None:
    checkpoint = Checkpoint("log.example", size, root)
    assert parse_checkpoint(format_checkpoint(checkpoint)) == checkpoint


@given(st.text(alphabet="0123456789+- abc=\n", max_size=20))
def test_checkpoint_size_has_one_spelling(size: str) -> None:
    text = f"log.example\n{size}\n{format_base64(b'r' * 32)}\n"
    try:
        checkpoint = parse_checkpoint(text)
    except ParseError:
        return
    assert format_checkpoint(checkpoint) == text


@given(st.binary(max_size=50), st.text(alphabet="AQgw=+/-_ \n", max_size=8))
def test_base64_has_one_spelling(data: bytes, text: str) -> None:
    assert parse_base64(format_base64(data), "note_malformed") == data
    try:
        read = parse_base64(text, "note_malformed")
    except ParseError:
        return
    assert format_base64(read) == text


def test_cosignature_is_the_documented_bytes() -> None:
    """By the letter of the specification: key id, time, and the message that is signed."""
    witness = VerifierKey("w.example", OTHER.public_key(), COSIGNATURE)
    line = sign_cosignature("log.example\n1\ncm9vdA==\n", witness.name, OTHER, time=1679315147)
    raw = parse_base64(line.split(" ")[2].strip(), "note_malformed")
    assert raw[:4] == witness.id == sha256(b"w.example\n\x04" + OTHER.public_key().public_bytes_raw())[:4]
    assert int.from_bytes(raw[4:12]) == 1679315147
    OTHER.public_key().verify(raw[12:], b"cosignature/v1\ntime 1679315147\nlog.example\n1\ncm9vdA==\n")


@given(st.integers(0, 253402300799))
def test_cosignature_comes_back(time: int) -> None:
    witness = VerifierKey("w.example", OTHER.public_key(), COSIGNATURE)
    note = NOTE + sign_cosignature(format_checkpoint(CHECKPOINT), witness.name, OTHER, time=time)
    assert verify_cosignatures(note, trusted=witness) == [time]
    assert verify_cosignatures(NOTE, trusted=witness) == []
    assert verify_checkpoint(note, trusted=LOG) == CHECKPOINT


@given(st.data())
def test_cosignature_with_any_character_altered_does_not_count(data: st.DataObject) -> None:
    witness = VerifierKey("w.example", OTHER.public_key(), COSIGNATURE)
    note = NOTE + sign_cosignature(format_checkpoint(CHECKPOINT), witness.name, OTHER, time=5)
    at = data.draw(st.integers(len(NOTE), len(note) - 1))
    altered = note[:at] + data.draw(st.sampled_from("Aaz09+/= \n.—")) + note[at + 1 :]
    if altered == note:
        return
    with contextlib.suppress(ObjectionError):
        assert verify_cosignatures(altered, trusted=witness) == []


def test_a_key_serves_for_one_type_of_signature() -> None:
    for key in (LOG, VerifierKey("w.example", OTHER.public_key(), COSIGNATURE)):
        text = format_verifier_key(key)
        assert format_verifier_key(parse_verifier_key(text, signature_type=key.signature_type)) == text
        with pytest.raises(ParseError) as caught:
            parse_verifier_key(text, signature_type=5 - key.signature_type)
        assert caught.value.code == "policy_malformed"


@given(st.integers(0, 7), st.sampled_from("0123456789abcdef"))
def test_verifier_key_with_another_id_is_refused(at: int, digit: str) -> None:
    name, key_id, key = format_verifier_key(LOG).split("+", 2)
    altered = key_id[:at] + digit + key_id[at + 1 :]
    if altered == key_id:
        return
    with pytest.raises(ParseError) as caught:
        parse_verifier_key(f"{name}+{altered}+{key}")
    assert caught.value.code == "policy_malformed"


def _proof(salt: bytes = b"s" * 32) -> tuple[str, bytes]:
    entry = format_entry(kind="objection", salt=salt, receipt_sha256=b"h" * 32, received_at=5)
    note = sign_note(format_checkpoint(Checkpoint(LOG.name, 1, leaf_hash(entry))), LOG.name, KEY)
    return format_proof(salt=salt, index=0, path=[], checkpoint_note=note), entry


def test_entry_is_the_documented_bytes() -> None:
    # The SHA-256 of 64 zero bytes, from sha256sum.
    digest = bytes.fromhex("f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b")
    commitment = format_base64(digest).replace("+", "-").rstrip("=")
    entry = format_entry(kind="objection", salt=bytes(32), receipt_sha256=bytes(32), received_at=7)
    assert entry.decode() == f'{{"commitment":"{commitment}","kind":"objection","time":7,"v":1}}'


def test_proof_holds_for_its_entry_alone() -> None:
    text, entry = _proof()
    assert verify_proof(parse_proof(text), entry=entry, log=LogPolicy(LOG)).size == 1
    with pytest.raises(VerificationError) as caught:
        verify_proof(parse_proof(text), entry=entry + b" ", log=LogPolicy(LOG))
    assert caught.value.code == "proof_mismatch"


@given(
    st.binary(min_size=32, max_size=32),
    st.integers(0, 10**16 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63),
)
def test_proof_text_comes_back(salt: bytes, index: int, path: list[bytes]) -> None:
    proof = parse_proof(format_proof(salt=salt, index=index, path=path, checkpoint_note=NOTE))
    assert (proof.salt, proof.index, list(proof.path), proof.checkpoint_note) == (salt, index, path, NOTE)
