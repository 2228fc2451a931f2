"""The tables and their epsilons cannot change under live data: who was counted was promised the old ones."""

from pathlib import Path

import pytest
from sqlalchemy import select, update

from schemas import vocabulary as words
from server.core.counts import DIMENSIONS, Declaration, declaration, parse_declaration
from server.errors import OperatorError
from server.store.tables import counting
from server.usecases.tally import keep_budget
from tests.core.test_counts import RAW
from tests.fixtures.servers import make_settings, register_of, running


def declared(old: bytes = b"", new: bytes = b"", *more: tuple[bytes, bytes]) -> Declaration:
    raw = RAW
    for before, after in ((old, new), *more):
        assert before in raw
        raw = raw.replace(before, after, 1)
    return parse_declaration(raw)


@pytest.mark.parametrize(
    "other",
    [
        declared(
            b'epsilon = "1"\n\n[tables.platforms]',
            b'epsilon = "1/2"\n\n[tables.platforms]',
            (b'"1/2"\n\n[tables.eu', b'"1"\n\n[tables.eu'),
        ),
        declared(b'campaign_epsilon = "1" ', b'campaign_epsilon = "2" '),
        declared(b"[tables.europe]", b"[tables.all-of-europe]"),
        declared(b'epoch = "month"', b'epoch = "week"'),
        declared(b'["platform", "channel"]', b'["platform"]'),
    ],
)
def test_another_budget_has_another_hash(other: Declaration) -> None:
    assert other.budget_sha256 != declaration().budget_sha256


def test_other_cells_are_another_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that counts other outcomes is another table, though its name and its epsilon are the same."""
    before = declared().budget_sha256
    monkeypatch.setitem(DIMENSIONS, "outcome", tuple(name for name in words.OUTCOMES if name != "meta-mail"))
    assert declared().budget_sha256 != before


@pytest.mark.parametrize(("old", "new"), [(b"meta-mail =", b"other-mail ="), (b'meta-mail = "', b'x = "" #')])
def test_the_outcomes_that_are_declared_are_those_that_are_counted(old: bytes, new: bytes) -> None:
    with pytest.raises(ValueError, match="outcomes"):
        declared(old, new)


def test_titles_inhabitants_and_caps_are_no_budget() -> None:
    other = declared(b"all countries", b"everywhere", (b"9_159_000", b"9_200_000"), (b"least = 20", b"least = 30"))
    assert other.sha256 != declaration().sha256
    assert other.budget_sha256 == declaration().budget_sha256


def test_a_register_does_not_start_with_another_budget(tmp_path: Path, storage_settings: dict[str, str]) -> None:
    settings = make_settings(tmp_path, **storage_settings)
    with running(settings) as app, register_of(app).database.writing() as connection:
        assert connection.execute(select(counting.c.budget_sha256)).scalar_one() == declaration().budget_sha256
        connection.execute(update(counting).values(budget_sha256=bytes(32)))
    with pytest.raises(OperatorError) as caught, running(settings):
        pass
    assert caught.value.code == "budget_changed"


def test_a_register_of_before_takes_its_own(tmp_path: Path, storage_settings: dict[str, str]) -> None:
    settings = make_settings(tmp_path, **storage_settings)
    with running(settings) as app, register_of(app).database.writing() as connection:
        connection.execute(update(counting).values(budget_sha256=None))
    with running(settings) as app, register_of(app).database.writing() as connection:
        assert connection.execute(select(counting.c.budget_sha256)).scalar_one() == declaration().budget_sha256
        with pytest.raises(OperatorError, match="other tables or epsilons"):
            keep_budget(connection, bytes(32))
