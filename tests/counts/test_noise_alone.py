"""What the pages say of a register that counted nobody: nothing, however the noise falls."""

from collections.abc import Callable

import pytest

from schemas.vocabulary import ELSEWHERE
from server.core.counts import DIMENSIONS, TOTAL, Declared, declaration, half_width
from server.outside.noise import add_noise
from server.usecases import show_counts
from server.usecases.read_counts import CountRow
from server.usecases.show_counts import Figure

RUNS = 200
# A figure that stands out among many does so by chance in at most 2.5 % of runs: 5 are expected, and five standard
# deviations more are 16. An interval of 95 % for each by itself gave 60 and more.
BY_CHANCE = 16


def rows_of_nobody(table: Declared, epochs: int) -> list[CountRow]:
    """Return a row for each cell, summed over ``epochs`` of noise."""
    cells = table.cells()
    noise = add_noise([0] * len(cells) * epochs, table.epsilon)
    width = half_width(table.epsilon, epochs)
    rows = []
    for index, cell in enumerate(cells):
        value = sum(noise[index :: len(cells)])
        names = dict.fromkeys(DIMENSIONS, TOTAL) | dict(zip(table.dimensions, cell, strict=True))
        rows.append(
            CountRow(
                "2026-W02",
                **names,
                value_noisy=value,
                ci95_low=value - width,
                ci95_high=value + width,
                obs_status="U",
                release_id=None,
                cells=epochs,
            )
        )
    return rows


@pytest.mark.parametrize("epochs", [1, 4, 52])
def test_no_country_is_ranked(epochs: int) -> None:
    table = declaration().tables["countries"]
    figures = [show_counts._countries("ranking", "", table, rows_of_nobody(table, epochs)) for _ in range(RUNS)]
    ranked = [figure for figure in figures if any(country["ranked"] for country in figure.data)]
    assert len(ranked) <= BY_CHANCE
    for figure in figures:
        assert (figure in ranked) == figure.sentence.startswith("Most registrations per million inhabitants")
        assert [row[0] != "–" for row in figure.rows if row[1] != "Elsewhere or not told"] == [
            country["ranked"] for country in figure.data
        ]


def weeks(epochs: int) -> Figure:
    table = declaration().tables["europe"]
    return show_counts._weeks(table, [row for _ in range(epochs) for row in rows_of_nobody(table, 1)])


def platforms(epochs: int) -> Figure:
    table = declaration().tables["platforms"]
    return show_counts._platforms(table, rows_of_nobody(table, epochs))


@pytest.mark.parametrize("epochs", [1, 12, 40])
@pytest.mark.parametrize("draw", [weeks, platforms])
def test_no_maximum_is_named(draw: Callable[[int], Figure], epochs: int) -> None:
    sentences = [draw(epochs).sentence for _ in range(RUNS)]
    assert sum("has enough" not in sentence for sentence in sentences) <= BY_CHANCE


def test_what_is_there_is_ranked_and_named() -> None:
    table = declaration().tables["countries"]
    rows = [
        CountRow("2026-W02", geo, TOTAL, TOTAL, TOTAL, value, value - 3, value + 3, "A", None, 1)
        for geo, value in {"DE": 900, "MT": 12, "LI": 7, ELSEWHERE: 5000}.items()
    ]
    figure = show_counts._countries("ranking", "", table, rows)
    assert [row[:2] for row in figure.rows] == [
        ("1", "Malta"),
        ("2", "Germany"),
        ("–", "Liechtenstein"),
        ("–", "Elsewhere or not told"),
    ]
    assert [country["ranked"] for country in figure.data] == [True, True, False]
    first = "Most registrations per million inhabitants: Malta (21.3), Germany (10.8); "
    assert figure.sentence == f"{first}1 has too few to rank."


@pytest.mark.parametrize(
    ("values", "end"),
    [
        ({"DE": 900, "MT": 12}, "Germany (10.8). A stronger colour is more; uncoloured countries have too few."),
        ({"DE": 900, "MT": 12, "LI": 7, "LU": 8}, "Germany (10.8); 2 have too few to rank. A stronger"),
        ({"LI": 7}, "No country has enough registrations yet to be ranked."),
    ],
)
def test_the_map_says_what_is_on_it(values: dict[str, int], end: str) -> None:
    rows = [
        CountRow("2026-W02", geo, TOTAL, TOTAL, TOTAL, value, value - 3, value + 3, "A", None, 1)
        for geo, value in values.items()
    ]
    sentence = show_counts._countries("map", "", declaration().tables["countries"], rows).sentence
    assert end in sentence
    assert ("colour" in sentence) == ("Germany" in sentence)
