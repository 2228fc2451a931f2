"""Keys over time: newer ones are used, older ones still serve what they made."""

import hmac
import json
import secrets
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from server.app import create_app
from server.core.encoding import parse_base64url
from server.core.tokens import verify_token
from server.errors import OperatorError
from server.settings import Settings
from server.store import records
from server.store.keys import KeyFolder
from server.usecases.keyring import Keyring, create_keys, load_keys
from server.usecases.open_record import open_record
from server.usecases.register import Register
from tests.fixtures.holders import Holder, Submission
from tests.fixtures.servers import PUBLIC_URL, make_settings, post, register_of, running


def fresh(folder: Path) -> KeyFolder:
    keys = KeyFolder(folder)
    create_keys(keys, issuer=PUBLIC_URL, now=datetime.now(UTC))
    return keys


def load(keys: KeyFolder) -> Keyring:
    return load_keys(keys, issuer=PUBLIC_URL, log_name="register.example/log")


def add_newer_keys(settings: Settings, scratch: Path) -> None:
    """Do what an operator does to rotate: put a second issuer key and a second key-encryption key beside the first."""
    fresh(scratch)
    keys = settings.data_dir / "keys"
    for suffix in ("key", "crt"):
        shutil.copy(scratch / f"issuer-1.{suffix}", keys / f"issuer-2.{suffix}")
    (keys / "kek-2.key").touch(0o600)
    (keys / "kek-2.key").write_bytes(secrets.token_bytes(32))


def version_of(register: Register, submission: Submission) -> int:
    with register.database.reading() as connection:
        record = records.find_record(connection, bytes.fromhex(submission.sha256))
    assert record is not None
    opened = open_record(register, record, parse_base64url(submission.holder_share))
    assert opened.evidence == submission.evidence
    return int.from_bytes(record.wrapped_share[:4])


def test_new_keys_serve_new_records_and_old_keys_old_ones(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "data")
    old, new = Holder().objection(), Holder().objection()
    with running(settings) as app:
        first = json.loads(post(app, old).data)["token"]
        old_kid = register_of(app).keyring.issuer_kid
    add_newer_keys(settings, tmp_path / "scratch")
    with running(settings) as app:
        register = register_of(app)
        assert register.keyring.issuer_kid != old_kid
        again = post(app, old)
        assert (again.status_code, json.loads(again.data)["token"]) == (200, first)
        token = json.loads(post(app, new).data)["token"]
        assert verify_token(token, register.keyring.policy).kid == register.keyring.issuer_kid
        assert verify_token(first, register.keyring.policy).kid == old_kid
        assert (version_of(register, old), version_of(register, new)) == (1, 2)
        assert len(register.keyring.policy.issuer_keys) == 2


def test_a_key_encryption_key_that_is_gone_is_said_to_be_missing(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "data")
    submission = Holder().objection()
    with running(settings) as app:
        assert post(app, submission).status_code == 201
    add_newer_keys(settings, tmp_path / "scratch")
    kek = settings.data_dir / "keys/kek-1.key"
    kept = kek.read_bytes()
    kek.unlink()
    with pytest.raises(OperatorError) as caught:
        create_app(settings)
    assert caught.value.code == "keys_missing"
    kek.write_bytes(kept)
    kek.chmod(0o600)
    with running(settings) as app:
        assert version_of(register_of(app), submission) == 1


def test_creating_keys_again_changes_none(tmp_path: Path) -> None:
    keys = fresh(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    create_keys(keys, issuer=PUBLIC_URL, now=datetime.now(UTC))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_certificate_of_another_key_is_refused(tmp_path: Path) -> None:
    keys = fresh(tmp_path / "one")
    fresh(tmp_path / "two")
    shutil.copy(tmp_path / "two/issuer-1.crt", tmp_path / "one/issuer-1.crt")
    with pytest.raises(OperatorError) as caught:
        load(keys)
    assert caught.value.code == "keys_invalid"


def test_a_log_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    keys = fresh(tmp_path)
    (tmp_path / "log-1.key").write_bytes((tmp_path / "issuer-1.key").read_bytes())
    with pytest.raises(OperatorError) as caught:
        load(keys)
    assert caught.value.code == "keys_invalid"


def test_two_registers_share_no_key(tmp_path: Path) -> None:
    one, other = load(fresh(tmp_path / "one")), load(fresh(tmp_path / "two"))
    assert one.issuer_kid != other.issuer_kid
    assert one.key_encryption_keys != other.key_encryption_keys
    assert one.rate_limit_secret != other.rate_limit_secret
    assert one.log_key.private_bytes_raw() != other.log_key.private_bytes_raw()


def test_each_purpose_has_a_key_of_its_own_and_none_is_the_file(tmp_path: Path) -> None:
    keyring = load(fresh(tmp_path))
    secret = (tmp_path / "kek-1.key").read_bytes()
    derived = [*keyring.key_encryption_keys.values(), keyring.rate_limit_secret, keyring.work_secret]
    assert len({secret, *derived}) == 4
    info = b"objection register: wrap server shares"  # HKDF (RFC 5869) by hand: extract with no salt, one block
    extracted = hmac.digest(bytes(32), secret, "sha256")
    assert keyring.key_encryption_keys[1] == hmac.digest(extracted, info + b"\x01", "sha256")
    assert load(KeyFolder(tmp_path)).work_secret == keyring.work_secret


def test_the_policy_is_made_once_and_anew_for_other_keys(tmp_path: Path) -> None:
    keyring = load(fresh(tmp_path))
    assert keyring.policy is keyring.policy
    other = load(fresh(tmp_path / "other"))
    changed = replace(keyring, issuer_keys=other.issuer_keys)
    assert changed.policy.issuer_keys.keys() == other.issuer_keys.keys() != keyring.policy.issuer_keys.keys()


def test_the_issuers_certificate_names_it_and_is_signed_by_its_root(tmp_path: Path) -> None:
    fresh(tmp_path)
    root, leaf = (
        x509.load_pem_x509_certificate((tmp_path / name).read_bytes()) for name in ("issuer-root.crt", "issuer-1.crt")
    )
    leaf.verify_directly_issued_by(root)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [PUBLIC_URL]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    key = serialization.load_pem_private_key((tmp_path / "issuer-1.key").read_bytes(), None)
    assert key.public_key() == leaf.public_key()
