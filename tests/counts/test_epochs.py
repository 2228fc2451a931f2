"""Epochs by their ISO 8601 names."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import ParseError
from server.usecases.epochs import epoch_at, epochs, parse_epoch

KINDS = ["week", "month", "quarter"]


@given(st.sampled_from(KINDS), st.integers(0, 4_000_000_000))
def test_every_second_lies_in_one_epoch(kind: str, time: int) -> None:
    epoch = epoch_at(kind, time)
    assert epoch.start <= time < epoch.end
    assert parse_epoch(epoch.name) == epoch
    assert epoch_at(kind, epoch.end).start == epoch.end


def test_the_turn_of_a_year() -> None:
    new_year = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())
    assert [epoch_at(kind, new_year).name for kind in KINDS] == ["2026-W53", "2027-01", "2027-Q1"]
    assert [epoch_at(kind, new_year - 1).name for kind in KINDS] == ["2026-W53", "2026-12", "2026-Q4"]


def test_only_what_is_over_is_listed() -> None:
    week = parse_epoch("2026-W47")
    names = [epoch.name for epoch in epochs("week", since=week.start + 5, until=week.end)]
    assert names == ["2026-W47"]
    assert list(epochs("week", since=week.start, until=week.end - 1)) == []


@pytest.mark.parametrize(
    "name",
    ["", "2026", "2026-W00", "2026-W54", "2025-W53", "2026-13", "2026-00", "2026-Q5", "2026-W1", "26-W10", "0000-01"],
)
def test_what_is_no_epoch_is_refused(name: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_epoch(name)
    assert caught.value.code == "epoch_malformed"
