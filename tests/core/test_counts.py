"""The declaration: its budget adds up, its domains are closed, its intervals hold."""

import math
import random
from fractions import Fraction
from importlib.resources import files

import pytest

from schemas import vocabulary as words
from server.core.counts import declaration, half_width, parse_declaration, times_likelier

RAW = files("schemas").joinpath("counts.toml").read_bytes()


def test_a_person_spends_what_is_declared() -> None:
    declared = declaration()
    assert sum(table.epsilon for table in declared.tables.values()) == declared.lifetime_epsilon == 2
    joined = declared.campaign_table("group", title="Group", countries=["DE"])
    assert declared.lifetime_epsilon + joined.epsilon == 3


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'lifetime_epsilon = "2"', b'lifetime_epsilon = "3"'),
        (b'epsilon = "1/2"', b'epsilon = "1"'),
        (b'dimensions = ["outcome"]', b'dimensions = ["mood"]'),
        (b'epoch = "quarter"', b'epoch = "hour"'),
        (b"MT = {", b"XX = {"),
        (b'campaign_epsilon = "1"', b'campaign_epsilon = "1/100"'),
        (b'campaign_epsilon = "1"', b'campaign_epsilon = "0"'),
    ],
)
def test_a_declaration_that_does_not_add_up_is_refused(old: bytes, new: bytes) -> None:
    assert old in RAW
    with pytest.raises(ValueError, match=r"\w"):
        parse_declaration(RAW.replace(old, new, 1))


def test_every_cell_is_declared_before_anyone_is_counted() -> None:
    tables = declaration().tables
    assert {name: len(table.cells()) for name, table in tables.items()} == {
        "countries": len(words.COUNTRIES),
        "platforms": len(words.PLATFORMS) * len(words.CHANNELS),
        "europe": 1,
        "outcomes": len(words.OUTCOMES),
    }
    assert declaration().campaign_table("group", title="", countries=["FR", "DE"]).cells() == [
        ("DE",),
        ("FR",),
        ("ZZ",),
    ]


@pytest.mark.parametrize(("epsilon", "width"), [(Fraction(1), 3), (Fraction(1, 2), 6), (Fraction(1, 4), 12)])
def test_the_interval_of_one_cell_is_the_smallest_that_holds(epsilon: Fraction, width: int) -> None:
    alpha = math.exp(-epsilon)
    outside = [2 * alpha ** (w + 1) / (1 + alpha) for w in (width - 1, width)]
    assert outside[0] > 0.05 >= outside[1]
    assert half_width(epsilon) == width


@pytest.mark.parametrize(
    "confidence", [Fraction(1, 2), Fraction(95, 100), 1 - Fraction(1, 600), 1 - Fraction(1, 10**6)]
)
@pytest.mark.parametrize("epsilon", [Fraction(9), Fraction(1), Fraction(1, 4), Fraction(1, 99)])
def test_the_closed_form_for_one_cell_is_the_sum_of_the_textbook(epsilon: Fraction, confidence: Fraction) -> None:
    alpha = math.exp(-epsilon)
    inside, width = (1 - alpha) / (1 + alpha), 0
    while inside < confidence:
        width += 1
        inside += 2 * (1 - alpha) / (1 + alpha) * alpha**width
    assert half_width(epsilon, confidence=confidence) == width


@pytest.mark.parametrize("confidence", [Fraction(95, 100), 1 - Fraction(5, 3000)])
@pytest.mark.parametrize("cells", [2, 5, 31, 32, 33, 60])
def test_the_interval_of_a_sum_holds_in_simulation(cells: int, confidence: Fraction) -> None:
    """Noise from this test's own generator: two geometric draws, as the textbook says; seeded."""
    source = random.Random(cells)
    alpha = math.exp(-0.5)

    def geometric() -> int:
        return int(math.log(1 - source.random()) / math.log(alpha))

    width = half_width(Fraction(1, 2), cells, confidence=confidence)
    draws = 4000
    outside = sum(abs(sum(geometric() - geometric() for _ in range(cells))) > width for _ in range(draws))
    expected = float(1 - confidence)
    slack = 4 * math.sqrt(expected / draws)
    # A width is a whole number, so that a little less than expected may lie outside: a fifth of it here.
    assert 0.8 * expected - slack < outside / draws < expected + slack


def test_how_much_likelier_is_told_to_two_digits() -> None:
    told = [times_likelier(Fraction(epsilon)) for epsilon in ("2", "3", "7/2", "1/4", "9")]
    assert told == ["7.4", "20", "33", "1.3", "8,100"]
