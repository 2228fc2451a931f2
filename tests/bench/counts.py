"""What the counts are worth, and what a release costs: campaigns of three sizes, simulated over a year.

Registrations are put into the database directly (recording is measured elsewhere); everything after that is the real
thing: SQLite, aggregation, OpenDP, store, signature. Closing a week is compared, as a ratio, with reading its rows into
Python and counting them there, in the same run.
"""

import math
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import insert, select

from schemas.vocabulary import OUTCOMES
from server.core.counts import declaration
from server.store import tallies
from server.store.tables import contributions
from server.usecases.epochs import Epoch, epochs, parse_epoch
from server.usecases.read_counts import make_query, read_counts
from server.usecases.register import Register
from server.usecases.release_counts import Releasing, count
from tests.fixtures.counting import GRACE_S, counting_since
from tests.fixtures.servers import make_settings, register_of, storage_of

SIZES = (50, 5_000, 5_000_000)
START, END = parse_epoch("2026-W02").start, parse_epoch("2026-W53").end
CHUNK = 50_000


def main() -> None:
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder, counting_since(make_settings(Path(folder)), START) as app:
            simulate(register_of(app), Path(folder), size)


def simulate(register: Register, folder: Path, size: int) -> None:
    source = random.Random(size)
    began = time.perf_counter()
    for rows in registrations(source, size):
        with register.database.writing() as connection:
            connection.execute(insert(contributions), rows)
        if sys.stderr.isatty():
            sys.stderr.write(".")
    print(f"\n## {size:,} registrations in a year (put in within {time.perf_counter() - began:.0f} s)")
    with register.database.reading() as connection:
        truth = {
            name: {epoch.name: count(connection, table, epoch) for epoch in epochs(table.epoch, since=START, until=END)}
            for name, table in declaration().tables.items()
        }
        held_back = (
            sum(
                burst.registrations - burst.cap
                for burst in tallies.find_bursts(connection, caps=declaration().burst_caps)
            )
            if size <= 5_000
            else "not looked for"
        )
    costs(register, parse_epoch("2026-W20"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    drawn = Releasing(storage_of(register, folder), clock=lambda: END + GRACE_S).run_once()
    elapsed = time.perf_counter() - began
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{drawn} releases of the year in {elapsed:.1f} s; memory grew by {grown / 1024:.0f} MB at most")
    print(f"held back as bursts: {held_back}")
    errors(register, truth)
    ranking(register, truth["countries"])


def registrations(source: random.Random, size: int) -> Iterator[list[dict[str, object]]]:
    """Yield rows: countries by inhabitants and a temper of their own, more in some weeks and by day than by night."""
    declared = declaration()
    codes = list(declared.countries)
    tempers = {code: source.lognormvariate(0, 0.7) for code in codes}
    weights = [(declared.countries[code].inhabitants or 500_000) * tempers[code] for code in codes]
    weeks = [epoch.start for epoch in epochs("week", since=START, until=END)]
    busy = [source.lognormvariate(0, 0.8) for _ in weeks]
    hours = [1 if 7 <= hour < 23 else 0.15 for hour in range(24)]
    for offset in range(0, size, CHUNK):
        number = min(CHUNK, size - offset)
        yield [
            {
                "receipt_sha256": os.urandom(32),
                "hour": week + 86_400 * source.randrange(7) + 3600 * hour,
                "country": country,
                "platform": platform,
                "channel": channel,
                "outcome": outcome,
                "in_general": True,
                "campaign": None,
            }
            for week, hour, country, platform, channel, outcome in zip(
                source.choices(weeks, busy, k=number),
                source.choices(range(24), hours, k=number),
                source.choices(codes, weights, k=number),
                source.choices(
                    ["facebook", "instagram", "threads", "messenger", "whatsapp"], [5, 6, 1, 1, 2], k=number
                ),
                source.choices(["in-app", "notification-list", "form", "email", "none"], [6, 2, 3, 3, 1], k=number),
                source.choices(OUTCOMES, [80, 12, 7, 1], k=number),
                strict=True,
            )
        ]


def costs(register: Register, week: Epoch) -> None:
    """Print what closing one week takes, against counting its rows in Python."""
    table = declaration().tables["countries"]
    with register.database.reading() as connection:
        began = time.perf_counter()
        count(connection, table, week)
        in_database = time.perf_counter() - began
        began = time.perf_counter()
        within = (contributions.c.hour >= week.start) & (contributions.c.hour < week.end)
        rows = connection.execute(select(contributions).where(within)).all()
        Counter(row.country for row in rows)
        in_python = time.perf_counter() - began
    ratio = in_database / in_python
    print(f"one week, {len(rows):,} rows: {in_database * 1000:.1f} ms in the database, {ratio:.2f} of reading them")


def errors(register: Register, truth: dict[str, dict[str, dict[tuple[str, ...], int]]]) -> None:
    print("table      cells   mean |error|  95 % of them within  mean true value  mean error, share")
    for name, table in declaration().tables.items():
        with register.database.reading() as connection:
            rows = read_counts(connection, make_query(table, by=None, start=None, end=None), limit=1_000_000)
        pairs = [
            (row.value_noisy, truth[name].get(row.epoch, {}).get(tuple(getattr(row, d) for d in table.dimensions), 0))
            for row in rows
        ]
        wrong = sorted(abs(noisy - true) for noisy, true in pairs)
        mean = sum(wrong) / len(wrong)
        true_mean = sum(true for _, true in pairs) / len(pairs)
        share = f"{mean / true_mean:>17.1%}" if true_mean else ""
        within = wrong[math.ceil(0.95 * len(wrong)) - 1]
        print(f"{name:<10} {len(pairs):>5} {mean:>13.2f} {within:>20} {true_mean:>16.1f} {share}")


def ranking(register: Register, truth: dict[str, dict[tuple[str, ...], int]]) -> None:
    """Print whether the year's ranking of countries per million survives: Kendall's tau, and the first five."""
    countries = {code: c.inhabitants for code, c in declaration().countries.items() if c.inhabitants}
    table = declaration().tables["countries"]
    with register.database.reading() as connection:
        rows = read_counts(connection, make_query(table, by=["geo"], start=None, end=None), limit=1000)
    noisy = {row.geo: row.value_noisy / countries[row.geo] for row in rows if row.geo in countries}
    true = {
        code: sum(week.get((code,), 0) for week in truth.values()) / inhabitants
        for code, inhabitants in countries.items()
    }
    large = [code for code, inhabitants in countries.items() if inhabitants > 1_000_000]
    for label, codes in {"all 30": list(countries), f"{len(large)} with over a million inhabitants": large}.items():
        first = [sorted(codes, key=lambda code: -rate[code])[:5] for rate in (true, noisy)]
        print(f"ranking per million, {label}: tau {tau(true, noisy, codes):.2f}; first five {first[0]} → {first[1]}")


def tau(a: dict[str, float], b: dict[str, float], codes: list[str]) -> float:
    """Return Kendall's tau-a: 1 for the same order, 0 for none."""
    pairs = [(x, y) for i, x in enumerate(codes) for y in codes[:i]]
    signs = [math.copysign(1, a[x] - a[y]) * math.copysign(1, b[x] - b[y]) for x, y in pairs if a[x] != a[y]]
    return sum(signs) / len(pairs)


if __name__ == "__main__":
    main()
