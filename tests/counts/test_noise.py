"""The noise is discrete Laplace noise of the scale that the budget says: whoever draws it."""

import math
from collections import Counter
from fractions import Fraction

import pytest

from server.outside.noise import add_noise

DRAWS = 40_000


@pytest.mark.parametrize("epsilon", [Fraction(1), Fraction(1, 2), Fraction(1, 4)])
def test_its_distribution_fits(epsilon: Fraction) -> None:
    """Pearson's chi-square against the probabilities of the textbook; a fair sampler fails once in 10^7 runs."""
    drawn = Counter(add_noise([0] * DRAWS, epsilon))
    alpha = math.exp(-epsilon)
    reach = next(k for k in range(200) if DRAWS * (1 - alpha) / (1 + alpha) * alpha**k < 8)
    bins = [(drawn[k], (1 - alpha) / (1 + alpha) * alpha ** abs(k)) for k in range(-reach, reach + 1)]
    bins.append((DRAWS - sum(seen for seen, _ in bins), 1 - sum(mass for _, mass in bins)))
    statistic = sum((seen - DRAWS * mass) ** 2 / (DRAWS * mass) for seen, mass in bins)
    freedom = len(bins) - 1
    # Wilson and Hilferty: the cube root of chi-square over its freedom is nearly normal.
    deviation = ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
    assert deviation < 5.2


def test_one_person_changes_no_probability_by_more_than_e_to_the_epsilon() -> None:
    with_person = Counter(add_noise([1] * DRAWS, Fraction(1)))
    without = Counter(add_noise([0] * DRAWS, Fraction(1)))
    for value in range(-3, 5):
        ratio = with_person[value] / without[value]
        slack = 5 * math.sqrt(1 / with_person[value] + 1 / without[value])  # five standard deviations of the log
        assert abs(math.log(ratio)) < 1 + slack


def test_the_value_itself_is_kept_in_the_middle() -> None:
    drawn = add_noise([1_000_000] * DRAWS, Fraction(1))
    assert abs(sum(drawn) / DRAWS - 1_000_000) < 0.05
    assert len(set(drawn)) > 10
