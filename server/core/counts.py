"""What is counted, at which price in privacy: the declaration in ``schemas/counts.toml``, read and checked."""

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from itertools import product
from statistics import NormalDist
from typing import Any

from schemas import vocabulary as words
from schemas.releases import EPSILON
from server.core.encoding import format_json, sha256

TOTAL = "_T"  # SDMX: not broken down by this dimension
DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    "geo": words.COUNTRIES,
    "platform": words.PLATFORMS,
    "channel": words.CHANNELS,
    "outcome": words.OUTCOMES,
}
EPOCHS = ("week", "month", "quarter")
CAMPAIGN_PREFIX = "campaign-"
CONFIDENCE = Fraction(95, 100)  # of the intervals that are published
MAX_CONVOLVED = 32
_EPSILON = re.compile(EPSILON)

Cell = tuple[str, ...]


@dataclass(frozen=True)
class Declared:
    """A table: for each of its epochs one number a cell. ``domain``: for each dimension its closed list of values."""

    name: str
    title: str
    epoch: str
    dimensions: tuple[str, ...]
    domain: tuple[tuple[str, ...], ...]
    epsilon: Fraction

    @property
    def campaign(self) -> str | None:
        """The campaign whose table this is."""
        return self.name.removeprefix(CAMPAIGN_PREFIX) if self.name.startswith(CAMPAIGN_PREFIX) else None

    def cells(self) -> list[Cell]:
        """Return every cell, in the order in which a release lists them."""
        return list(product(*self.domain))


@dataclass(frozen=True)
class Country:
    name: str
    inhabitants: int | None


@dataclass(frozen=True)
class Bursts:
    """Of one hour, country, platform and channel ``least`` count unseen, or ``per_million`` inhabitants if more."""

    least: int
    per_million: int

    def cap(self, inhabitants: int) -> int:
        return max(self.least, self.per_million * inhabitants // 1_000_000)


@dataclass(frozen=True)
class Declaration:
    """All that is ever released. ``sha256``: of the file, hex. ``grace_s``: from an epoch's end to its release.

    ``outcomes``: what each of them means, in the order in which an objection may come by them.
    """

    tables: Mapping[str, Declared]
    countries: Mapping[str, Country]
    lifetime_epsilon: Fraction
    campaign_epsilon: Fraction
    grace_s: int
    licence: str
    bursts: Bursts
    outcomes: Mapping[str, str]
    sha256: str

    @property
    def budget_sha256(self) -> bytes:
        """Return the hash of what cannot change while anybody is counted: tables, their cells, epsilons."""
        tables = {
            name: {
                "epoch": table.epoch,
                "dimensions": {name: list(values) for name, values in zip(table.dimensions, table.domain, strict=True)},
                "epsilon": str(table.epsilon),
            }
            for name, table in self.tables.items()
        }
        return sha256(format_json({"campaign_epsilon": str(self.campaign_epsilon), "tables": tables}))

    @property
    def grace_hours(self) -> int:
        return self.grace_s // 3600

    @property
    def burst_caps(self) -> Mapping[str, int]:
        """Return how many registrations an hour count unseen, by country."""
        return {code: self.bursts.cap(country.inhabitants or 0) for code, country in self.countries.items()}

    def place_name(self, table: Declared, geo: str) -> str:
        """Return what ``geo`` is called in ``table``: a campaign counts the countries that it is not for together."""
        if table.campaign is not None and geo == words.ELSEWHERE:
            return "Other countries, or not told"
        return self.countries[geo].name

    def campaign_table(self, slug: str, *, title: str, countries: Sequence[str]) -> Declared:
        """Return the table of a campaign: week by country, those of the campaign and all others together."""
        geo = (*sorted({*countries} - {words.ELSEWHERE}), words.ELSEWHERE)
        return Declared(f"{CAMPAIGN_PREFIX}{slug}", title, "week", ("geo",), (geo,), self.campaign_epsilon)


@cache
def declaration() -> Declaration:
    """Return what this register publishes."""
    return parse_declaration(files("schemas").joinpath("counts.toml").read_bytes())


def parse_declaration(raw: bytes) -> Declaration:
    """Read a declaration. Raises ValueError when its budget does not add up, or a list in it is not closed."""
    data = tomllib.loads(raw.decode())
    tables = {name: _table(name, fields) for name, fields in data["tables"].items()}
    lifetime = Fraction(data["lifetime_epsilon"])
    spent = sum((table.epsilon for table in tables.values()), Fraction())
    if spent != lifetime:
        raise ValueError(f"the tables cost {spent} a person; lifetime_epsilon says {lifetime}")
    countries = {code: Country(fields["name"], fields.get("inhabitants")) for code, fields in data["countries"].items()}
    if set(countries) != set(words.COUNTRIES):
        raise ValueError("the countries must be those of the receipts")
    if tuple(data["outcomes"]) != words.OUTCOMES:
        raise ValueError("the outcomes must be those of the vocabulary, in its order")
    return Declaration(
        tables=tables,
        countries=countries,
        lifetime_epsilon=lifetime,
        campaign_epsilon=_epsilon(data["campaign_epsilon"]),
        grace_s=data["grace_hours"] * 3600,
        licence=data["licence"],
        bursts=Bursts(**data["bursts"]),
        outcomes=data["outcomes"],
        sha256=sha256(raw).hex(),
    )


def _table(name: str, fields: Mapping[str, Any]) -> Declared:
    dimensions = tuple(fields["dimensions"])
    if fields["epoch"] not in EPOCHS or not set(dimensions) <= DIMENSIONS.keys():
        raise ValueError(f"table {name}: no such epoch or dimension")
    domain = tuple(DIMENSIONS[dimension] for dimension in dimensions)
    return Declared(name, fields["title"], fields["epoch"], dimensions, domain, _epsilon(fields["epsilon"]))


def _epsilon(text: str) -> Fraction:
    if not _EPSILON.fullmatch(text):
        raise ValueError(f"an epsilon is 1 to 9, or that divided by up to 99; {text} is not")
    return Fraction(text)


@cache
def half_width(epsilon: Fraction, cells: int = 1, *, confidence: Fraction = CONFIDENCE) -> int:
    """Return the smallest w such that the noise in a sum of ``cells`` cells is within ±w in ``confidence`` of draws.

    Exact for one cell in closed form, for up to 32 by convolution; for more by the normal distribution with the same
    variance.
    """
    alpha = math.exp(-epsilon)
    outside = float(1 - confidence)
    if cells == 1:  # beyond ±w lie 2α^(w+1)/(1+α) of draws
        return max(math.ceil(math.log(outside * (1 + alpha) / 2) / -float(epsilon)) - 1, 0)
    if cells > MAX_CONVOLVED:
        variance = 2 * alpha / (1 - alpha) ** 2  # of the discrete Laplace distribution
        return math.ceil(NormalDist().inv_cdf(1 - outside / 2) * math.sqrt(cells * variance) - 0.5)
    mass = _sum_mass(alpha, cells)
    middle = len(mass) // 2
    inside = mass[middle]
    width = 0
    while inside < confidence:
        width += 1
        inside += mass[middle - width] + mass[middle + width]
    return width


def times_likelier(epsilon: Fraction) -> str:
    """Return e to the ``epsilon``, to two digits: how much likelier one person can make a result at most."""
    return f"{float(format(math.exp(epsilon), '.2g')):,g}"


def _sum_mass(alpha: float, cells: int) -> list[float]:
    """Return the probabilities of a sum of discrete Laplace draws, from the smallest value to the largest.

    A sum of differences of geometric draws is a difference of negative binomial ones; what is cut off of their tails is
    far below what a width could show.
    """
    reach = math.ceil(cells * alpha / (1 - alpha) + 40 * math.sqrt(cells) / (1 - alpha))
    one_sided = [(1 - alpha) ** cells]
    for k in range(1, reach + 1):
        one_sided.append(one_sided[-1] * alpha * (cells + k - 1) / k)
    half = [
        sum(one_sided[k] * one_sided[k + shift] for k in range(reach + 1 - shift)) for shift in range(reach // 2 + 1)
    ]
    return half[:0:-1] + half
