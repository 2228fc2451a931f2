"""Released figures as people see them: charts' data, the same numbers as tables, and a sentence for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from schemas.vocabulary import ELSEWHERE
from server.core.counts import CONFIDENCE, Declared, declaration, half_width
from server.core.encoding import JsonObject
from server.usecases.campaigns import Campaign
from server.usecases.epochs import parse_epoch
from server.usecases.read_counts import SMALL, CountRow, make_query, read_counts

_ALL = 100_000
WORDS: Mapping[str, str] = {
    "facebook": "Facebook",
    "instagram": "Instagram",
    "threads": "Threads",
    "messenger": "Messenger",
    "whatsapp": "WhatsApp",
    "in-app": "in-app dialog",
    "notification-list": "notification list",
    "form": "objection form",
    "email": "e-mail",
    "none": "no notice seen",
    "recorded": "no mail signed by Meta",
    "meta-mail": "another mail signed by Meta",
    "acknowledged": "acknowledged by Meta",
    "withdrawn": "withdrawn",
}


@dataclass(frozen=True)
class Figure:
    """A chart with everything beside it. ``rows``: the table's cells under ``columns``. ``data``: what is drawn.

    ``sentence``: what the chart shows, for who does not see it. ``table``: where its numbers are to be had.
    ``named_by``: the columns whose cells say what a row is about.
    """

    name: str
    title: str
    sentence: str
    table: str
    columns: tuple[str, ...]
    named_by: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    data: Sequence[JsonObject]


@dataclass(frozen=True)
class Total:
    """All registrations released so far: as shown, with its interval, and the weeks that it covers."""

    shown: str
    interval: str
    epochs: str


def read_total(connection: Connection, table: Declared) -> Total | None:
    """Return the sum over every released epoch; None before the first."""
    rows = _read(connection, table, by=())
    return Total(shown(rows[0].value_noisy), interval(rows[0]), rows[0].epoch.replace("/", " to ")) if rows else None


def general_figures(connection: Connection) -> list[Figure]:
    """Return the figures about everybody, each from its own table."""
    tables = declaration().tables
    countries = _read(connection, tables["countries"], by=("geo",))
    return [
        _weeks(tables["europe"], _read(connection, tables["europe"], by=("epoch",))),
        _countries("map", "Registrations per million inhabitants, on the map", tables["countries"], countries),
        _countries("ranking", "Countries by registrations per million inhabitants", tables["countries"], countries),
        _platforms(tables["platforms"], _read(connection, tables["platforms"], by=("platform", "channel"))),
        _outcomes(_read(connection, tables["outcomes"], by=("epoch", "outcome"))),
    ]


def campaign_figures(connection: Connection, campaign: Campaign) -> list[Figure]:
    """Return the figures of a campaign, from its table alone."""
    table = campaign.table
    return [
        _weeks(table, _read(connection, table, by=("epoch",))),
        _countries("ranking", "By country, per million inhabitants", table, _read(connection, table, by=("geo",))),
    ]


def shown(value: int) -> str:
    """Return a figure as people see it: small ones are mostly noise."""
    return f"{value:,}" if value >= SMALL else f"<{SMALL}"


def interval(row: CountRow) -> str:
    """Return the 95 % interval, without what cannot be."""
    return f"{max(row.ci95_low, 0):,} to {max(row.ci95_high, 0):,}"


def _read(connection: Connection, table: Declared, *, by: Sequence[str]) -> list[CountRow]:
    return read_counts(connection, make_query(table, by=by, start=None, end=None), limit=_ALL)


def _stands_out(table: Declared, row: CountRow, *, among: int) -> bool:
    """Tell whether a figure that was picked out of ``among`` is more than noise.

    Of thirty intervals of 95 % one or two miss, and it is their countries that would come first. So each must hold with
    so much more confidence that all of them together hold in 95 % of cases (Bonferroni).
    """
    confidence = 1 - (1 - CONFIDENCE) / among
    return row.value_noisy >= max(SMALL, half_width(table.epsilon, row.cells, confidence=confidence) + 1)


def _weeks(table: Declared, rows: list[CountRow]) -> Figure:
    sentence = "Nothing is released yet."
    if rows:
        newest, most = rows[-1], max(rows, key=lambda row: row.value_noisy)
        highest = "no week has enough yet to be called the one with the most"
        if _stands_out(table, most, among=len(rows)):
            highest = f"the most in one week were {shown(most.value_noisy)}, in {most.epoch}"
        sentence = (
            f"In the newest week, {newest.epoch}, {shown(newest.value_noisy)} registrations ({interval(newest)}); "
            f"{highest}."
        )
    return Figure(
        name="weeks",
        title="Registrations by week",
        sentence=sentence,
        table=table.name,
        columns=("Week", "Registrations", "95 % interval"),
        named_by=("Week",),
        rows=[(row.epoch, shown(row.value_noisy), interval(row)) for row in rows],
        data=[{"date": _day(row.epoch), **_plain(row)} for row in rows],
    )


def _countries(name: str, title: str, table: Declared, rows: list[CountRow]) -> Figure:
    """Rank the countries whose figures stand out; of the others nobody can say where they stand."""
    declared = declaration()
    known = declared.countries
    rates = {row.geo: _per_million(row, known[row.geo].inhabitants) for row in rows}
    countries = [row for row in rows if row.geo != ELSEWHERE]
    standing_out = [row for row in countries if _stands_out(table, row, among=len(countries))]
    ranked = sorted(standing_out, key=lambda row: -rates[row.geo])
    others = [row for row in rows if row not in ranked]
    sentence = "No country has enough registrations yet to be ranked."
    if ranked:
        first = ", ".join(f"{known[row.geo].name} ({rates[row.geo]:.1f})" for row in ranked[:3])
        sentence = f"Most registrations per million inhabitants: {first}{_too_few(len(countries) - len(ranked))}."
        if name == "map":
            sentence += " A stronger colour is more; uncoloured countries have too few."
    return Figure(
        name=name,
        title=title,
        sentence=sentence,
        table=table.name,
        columns=("Rank", "Country", "Per million", "Registrations", "95 % interval"),
        named_by=("Country",),
        rows=[
            (
                str(rank) if rank <= len(ranked) else "–",
                declared.place_name(table, row.geo),
                f"{rates[row.geo]:.1f}" if rank <= len(ranked) else "–",
                shown(row.value_noisy),
                interval(row),
            )
            for rank, row in enumerate([*ranked, *others], 1)
        ],
        data=[
            {
                "geo": row.geo,
                "name": known[row.geo].name,
                "ranked": rank <= len(ranked),
                "inhabitants": known[row.geo].inhabitants or 0,
                **_plain(row),
            }
            for rank, row in enumerate([*ranked, *others], 1)
            if row.geo != ELSEWHERE
        ],
    )


def _too_few(number: int) -> str:
    return f"; {number} {'has' if number == 1 else 'have'} too few to rank" if number else ""


def _platforms(table: Declared, rows: list[CountRow]) -> Figure:
    sentence = f"Nothing is released yet: months are released {declaration().grace_hours} hours after their end."
    if rows:
        most = max(rows, key=lambda row: row.value_noisy)
        sentence = "No platform and notice has enough registrations yet to be called the one with the most."
        if _stands_out(table, most, among=len(rows)):
            sentence = (
                f"Most registrations: {WORDS[most.platform]}, {WORDS[most.channel]}, with {shown(most.value_noisy)} "
                f"({interval(most)})."
            )
    return Figure(
        name="platforms",
        title="By platform, and where the notice was seen",
        sentence=sentence,
        table=table.name,
        columns=("Platform", "Notice", "Registrations", "95 % interval"),
        named_by=("Platform", "Notice"),
        rows=[(WORDS[row.platform], WORDS[row.channel], shown(row.value_noisy), interval(row)) for row in rows],
        data=[{"platform": WORDS[row.platform], "channel": WORDS[row.channel], **_plain(row)} for row in rows],
    )


def _outcomes(rows: list[CountRow]) -> Figure:
    hours = declaration().grace_hours
    sentence = f"Nothing is released yet: quarters are released {hours} hours after their end."
    if rows:
        newest = [row for row in rows if row.epoch == rows[-1].epoch]
        parts = ", ".join(f"{shown(row.value_noisy)} {WORDS[row.outcome]}" for row in newest)
        sentence = f"Of the registrations of {rows[-1].epoch}: {parts}. Those that are not withdrawn stand."
    return Figure(
        name="outcomes",
        title=f"What had become of them {hours} hours after the quarter",
        sentence=sentence,
        table="outcomes",
        columns=("Quarter", "Outcome", "Registrations", "95 % interval"),
        named_by=("Quarter", "Outcome"),
        rows=[(row.epoch, WORDS[row.outcome], shown(row.value_noisy), interval(row)) for row in rows],
        data=[{"outcome": WORDS[row.outcome], **_plain(row)} for row in rows],
    )


def _plain(row: CountRow) -> JsonObject:
    return {"epoch": row.epoch, "value": row.value_noisy, "low": row.ci95_low, "high": row.ci95_high}


def _per_million(row: CountRow, inhabitants: int | None) -> float:
    return row.value_noisy * 1_000_000 / inhabitants if inhabitants else 0.0


def _day(epoch: str) -> str:
    return datetime.fromtimestamp(parse_epoch(epoch).start, UTC).date().isoformat()
