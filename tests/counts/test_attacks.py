"""Attacks on the counts: none learns more about one person than the declared budget allows.

The strongest attacker is assumed: one who knows everybody but the target, reads everything that is ever published, and
asks only whether the target is in it.
"""

import json
import math
import random
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import text

from server.core.counts import declaration
from server.outside.noise import add_noise
from server.usecases.epochs import parse_epoch
from server.usecases.register import Register
from server.usecases.release_counts import count
from tests.counts.test_api import read
from tests.fixtures.counting import BEGAN, GRACE_S, contribute, counting_since, release_until
from tests.fixtures.holders import Holder
from tests.fixtures.servers import make_settings, post, register_of, running

WEEK_S = 7 * 86_400
TRIALS = 3000


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    folder = tmp_path_factory.mktemp("register")
    with counting_since(make_settings(folder)) as app:
        contribute(register_of(app), 200, hour=BEGAN)
        release_until(register_of(app), folder, BEGAN + 30 * WEEK_S)
        yield app


def belief(value: int, without_target: int, epsilon: Fraction) -> float:
    """Return the log of how much likelier ``value`` is with the target than without: discrete Laplace."""
    return float(epsilon) * (abs(value - without_target) - abs(value - without_target - 1))


def success(wins: int) -> float:
    """Return the share of right guesses, less five standard deviations of chance."""
    share = wins / TRIALS
    return share - 5 * math.sqrt(share * (1 - share) / TRIALS)


def bound(epsilon: Fraction) -> float:
    """Return how often any guess between two equally likely worlds can be right at most."""
    return math.exp(epsilon) / (1 + math.exp(epsilon))


def test_averaging_by_repeated_queries(app: Flask) -> None:
    """Noise that is drawn for each answer averages away in a thousand of them; drawn once, it stays."""
    client = app.test_client()
    answers = {
        client.get(f"/v1/counts?table=countries&by=geo&limit={31 + number}").data.partition(b'"table"')[0]
        for number in range(200)
    }
    assert len(answers) == 1


def test_differencing_by_filters(app: Flask) -> None:
    """Whatever range and breakdown is asked for, the answer is a sum of released cells: it can be made from those."""
    client = app.test_client()
    source = random.Random(4)
    for name, table in declaration().tables.items():
        cells = read(client, f"/v1/counts?table={name}&limit=10000")["rows"]
        epochs = sorted({row["epoch"] for row in cells})
        for _ in range(15):
            by = [column for column in ("epoch", *table.dimensions) if source.random() < 0.5]
            first, last = sorted(source.choices(epochs, k=2))
            rows = read(client, f"/v1/counts?table={name}&by={','.join(by)}&from={first}&to={last}&limit=10000")["rows"]
            for row in rows:
                parts = [
                    cell["value_noisy"]
                    for cell in cells
                    if first <= cell["epoch"] <= last and all(cell[column] == row[column] for column in by)
                ]
                assert row["value_noisy"] == sum(parts)
            assert sum(row["cells"] for row in rows) == sum(first <= cell["epoch"] <= last for cell in cells)


def test_two_filters_that_differ_by_one_country_tell_its_released_cell_and_no_more(app: Flask) -> None:
    client = app.test_client()
    [total] = read(client, "/v1/counts?table=countries&by=")["rows"]
    rows = read(client, "/v1/counts?table=countries&by=geo")["rows"]
    for country in rows:
        others = sum(row["value_noisy"] for row in rows if row["geo"] != country["geo"])
        assert total["value_noisy"] - others == country["value_noisy"]


def test_joining_all_tables_that_a_person_is_in() -> None:
    """The best guess from one cell of each table at once: the likelihood ratio of all of them."""
    epsilons = [table.epsilon for table in declaration().tables.values()]
    source = random.Random(7)
    noise = {epsilon: iter(add_noise([0] * TRIALS * epsilons.count(epsilon), epsilon)) for epsilon in set(epsilons)}
    wins = 0
    for _ in range(TRIALS):
        present = source.random() < 0.5
        ratio = sum(belief(100 + present + next(noise[epsilon]), 100, epsilon) for epsilon in epsilons)
        assert abs(ratio) <= declaration().lifetime_epsilon + 1e-9
        wins += (ratio > 0) == present if ratio else source.random() < 0.5
    assert wins / TRIALS > 0.6, "the attack works as far as it may"
    assert success(wins) <= bound(declaration().lifetime_epsilon)


def test_joining_a_campaign_costs_what_the_screen_says() -> None:
    declared = declaration()
    epsilons = [*(table.epsilon for table in declared.tables.values()), declared.campaign_epsilon]
    for _ in range(200):
        ratio = sum(belief(100 + add_noise([1], epsilon)[0], 100, epsilon) for epsilon in epsilons)
        assert abs(ratio) <= 3 + 1e-9


def test_summing_what_lies_within_each_other(app: Flask) -> None:
    """Three estimates of one total (all countries, Europe, all platforms) have independent noise: they can be averaged.

    That is what the budget pays for: the average is better than each, and never exact.
    """
    quarter = parse_epoch("2026-Q1")
    alpha = {name: math.exp(-table.epsilon) for name, table in declaration().tables.items()}
    variance = {name: 2 * a / (1 - a) ** 2 for name, a in alpha.items()}
    weeks = (quarter.end - quarter.start) // WEEK_S
    estimates = [
        weeks * len(declaration().tables["countries"].cells()) * variance["countries"],
        weeks * variance["europe"],
        3 * len(declaration().tables["platforms"].cells()) * variance["platforms"],
        3 * variance["outcomes"],
    ]
    best = 1 / sum(1 / each for each in estimates)
    assert math.sqrt(best) > 5, "a quarter's total stays uncertain by several registrations"


def test_erasing_and_recording_again_changes_nothing_that_is_to_come(tmp_path: Path) -> None:
    """Else an attacker who can have a victim's record made anew each week would see it week after week."""
    with running(make_settings(tmp_path)) as app:
        holder = Holder()
        seen = []
        for _ in range(3):
            objection = holder.objection()
            assert post(app, objection).status_code == 201
            seen.append(counted(register_of(app)))
            assert post(app, holder.later("erasure", objection)).status_code == 201
            seen.append(counted(register_of(app)))
    assert seen == [1, 0, 0, 0, 0, 0]


def counted(register: Register) -> int:
    with register.database.reading() as connection:
        return int(connection.execute(text("SELECT count(*) FROM contributions")).scalar_one())


def test_the_log_tells_how_many_and_when_and_nothing_else(tmp_path: Path) -> None:
    """How many entries of which kind came when is public, exact, and outside the promise; no more is told."""
    with running(make_settings(tmp_path)) as app:
        holder = Holder()
        objections = [
            holder.objection(country="MT", platform="threads"),
            Holder().objection({}, country="DE", campaign="group"),
        ]
        for submission in [*objections, holder.later("withdrawal", objections[0])]:
            assert post(app, submission).status_code == 201
        entries = app.test_client().get("/tile/entries/000.p/3").data
        [size] = re.findall(rb"(?m)^([0-9]+)$", app.test_client().get("/checkpoint").data)
    assert size == b"3"
    told = [json.loads(entry) for entry in re.findall(rb"\{[^}]*\}", entries)]
    assert [entry.keys() for entry in told] == [{"v", "kind", "commitment", "time"}] * 3
    for secret in (b"MT", b"DE", b"threads", b"group", bytes.fromhex(objections[0].sha256)):
        assert secret not in re.sub(rb'"commitment":"[^"]*"', b"", entries)


def test_when_a_release_comes_tells_nothing(tmp_path: Path) -> None:
    """A release is due by the calendar: not sooner or later, and not longer, for what was recorded."""
    sizes = []
    for name, registrations in {"none": 0, "many": 3000}.items():
        with counting_since(make_settings(tmp_path / name)) as app:
            register = register_of(app)
            if registrations:
                contribute(register, registrations, hour=BEGAN, country="FR")
            over = BEGAN + WEEK_S + GRACE_S
            assert release_until(register, tmp_path / name, over - 1) == 0
            assert release_until(register, tmp_path / name, over) == 2
            release = read(app.test_client(), "/v1/releases/countries-2026-W02")
            assert release["iat"] == over
            sizes.append(len(release["cells"]))
    assert sizes == [31, 31]


def test_true_counts_leave_the_register_nowhere(app: Flask) -> None:
    """The only true figure in a published file would be a coincidence of the noise: seen over 30 weeks."""
    register = register_of(app)
    client = app.test_client()
    published = [row["value_noisy"] for row in read(client, "/v1/counts?table=countries&limit=10000")["rows"]]
    with register.database.reading() as connection:
        true = count(connection, declaration().tables["countries"], parse_epoch("2026-W20"))
    assert true == {}, "nobody came that week, and yet its cells are not all zero"
    assert 0.35 < sum(value == 0 for value in published) / len(published) < 0.57  # (1-α)/(1+α) = 0.46 at epsilon 1
