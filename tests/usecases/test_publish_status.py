"""Status lists: the same bytes within a minute, and never one that the database no longer says."""

import dataclasses
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from server.core.policies import TrustPolicy
from server.core.statuslists import ERASED, STANDS, WITHDRAWN, verify_status_list
from server.errors import NotFound
from server.store import records
from server.usecases import publish_status
from server.usecases.register import Register
from tests.fixtures.holders import Holder
from tests.fixtures.servers import make_settings, post, register_of, running

NOW = 1_795_392_000


def status_in(raw: str, policy: TrustPolicy, index: int = 7) -> int:
    return verify_status_list(raw, policy).status(index)


def write(register: Register, value: int) -> None:
    with register.database.writing() as connection:
        records.write_status(connection, 7, value)


def test_a_list_is_signed_once_a_minute_and_anew_for_every_change(tmp_path: Path) -> None:
    with running(make_settings(tmp_path)) as app:
        now = [NOW]
        register = dataclasses.replace(register_of(app), clock=lambda: now[0])
        with pytest.raises(NotFound):
            publish_status.publish_status(register, 0)
        assert post(app, Holder().objection({})).status_code == 201
        policy = register.keyring.policy

        publish_status._signed.cache_clear()
        first, at = publish_status.publish_status(register, 0)
        now[0] += 59
        assert publish_status.publish_status(register, 0) == (first, at)
        assert publish_status._signed.cache_info()[:2] == (1, 1)
        now[0] += 1
        next_minute, later = publish_status.publish_status(register, 0)
        assert (next_minute != first, later) == (True, at + 60)
        assert status_in(next_minute, policy) == STANDS

        for value in (WITHDRAWN, ERASED):  # within one minute
            write(register, value)
            assert status_in(publish_status.publish_status(register, 0)[0], policy) == value

        kid, issuer = register.keyring.issuer_kid, register.keyring.issuer_keys[register.keyring.issuer_kid]
        key = ec.generate_private_key(ec.SECP256R1())
        other = dataclasses.replace(register.keyring, issuer_keys={kid: dataclasses.replace(issuer, key=key)})
        rotated = dataclasses.replace(register, keyring=other)
        raw, _ = publish_status.publish_status(rotated, 0)
        assert raw != publish_status.publish_status(register, 0)[0]
