"""What is remembered of stamps: taken for the same bytes alone, and never for a refusal."""

from datetime import UTC, datetime

import pytest

from server.errors import VerificationError
from server.outside.timestamps import create_local_authority
from server.usecases.known_stamps import authority_of, stamped_at

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def test_a_stamp_is_verified_once_and_for_its_own_bytes_alone() -> None:
    authority, other = create_local_authority(now=NOW), create_local_authority(now=NOW)
    token = authority.timestamp(b"note", now=NOW)
    stamped_at.cache_clear()
    for _ in range(3):
        assert stamped_at(token, "note", authority.certificates).at == NOW.timestamp()
    assert stamped_at.cache_info()[:2] == (2, 1)  # taken twice, verified once
    for wrong in (
        (token, "another note", authority.certificates),
        (token, "note", other.certificates),
        (other.timestamp(b"other", now=NOW), "note", authority.certificates),
    ):
        for _ in range(2):
            with pytest.raises(VerificationError):
                stamped_at(*wrong)
    assert stamped_at.cache_info().currsize == 1
    assert authority_of(authority.certificates) is authority_of(tuple(authority.certificates))
    assert authority_of(other.certificates) != authority_of(authority.certificates)
