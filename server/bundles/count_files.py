"""Released figures as files: CSV, Parquet, a Frictionless data package, CSVW, and a feed."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from server.core.counts import Declaration, Declared, half_width
from server.core.encoding import JsonObject, format_json, sha256

Row = Mapping[str, str | int | None]
LICENCES = {"CC-BY-4.0": ("Creative Commons Attribution 4.0", "https://creativecommons.org/licenses/by/4.0/")}
_ATOM = "http://www.w3.org/2005/Atom"


@dataclass(frozen=True)
class Column:
    """``type``: ``string`` or ``integer``, as Frictionless and CSVW both call it."""

    name: str
    type: str
    title: str


COLUMNS = (
    Column("epoch", "string", "ISO 8601 week, month as YYYY-MM or quarter as YYYY-Qn, in UTC; first/last of a sum"),
    Column(
        "geo",
        "string",
        "ISO 3166-1 alpha-2; ZZ for elsewhere or not told, in a campaign's table also for countries it is not for; "
        "_T for all",
    ),
    Column("platform", "string", "Platform, _T for all"),
    Column("channel", "string", "Where the notice was seen, _T for all"),
    Column(
        "outcome",
        "string",
        "What had become of the objection when its quarter was released: acknowledged stands, and a mail that Meta's "
        "servers signed was added, which the register knows as Meta's confirmation; meta-mail stands with another mail "
        "that they signed; recorded stands without one; withdrawn; _T for all",
    ),
    Column("value_noisy", "integer", "Registrations, with random noise: unbiased, may be negative"),
    Column(
        "ci95_low",
        "integer",
        "Lower end of the interval that holds the count without noise (bursts capped) in 95 of 100 cells",
    ),
    Column("ci95_high", "integer", "Upper end of that interval"),
    Column(
        "obs_status",
        "string",
        "SDMX observation status: A normal; U unreliable: under 10, or its interval touches zero",
    ),
    Column("release_id", "string", "The signed release; none for a sum over several"),
    Column("cells", "integer", "How many released cells this is the sum of"),
)
_KEY = ["epoch", "geo", "platform", "channel", "outcome"]


def format_csv(rows: Sequence[Row]) -> bytes:
    """Return the rows under a header, RFC 4180, UTF-8."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(column.name for column in COLUMNS)
    writer.writerows([row[column.name] for column in COLUMNS] for row in rows)
    return text.getvalue().encode()


def format_parquet(rows: Sequence[Row], *, licence: str) -> bytes:
    """Return the rows as Parquet, with the columns' titles and the licence in its metadata."""
    import pyarrow  # 60 MB in memory and half a second: only for those who ask for it
    import pyarrow.parquet

    types = {"string": pyarrow.string(), "integer": pyarrow.int64()}
    fields = [pyarrow.field(column.name, types[column.type], metadata={"title": column.title}) for column in COLUMNS]
    schema = pyarrow.schema(fields, metadata={"licence": licence})
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows], schema=schema), buffer)
    return buffer.getvalue()


def format_countries(table: Declared, declaration: Declaration) -> bytes:
    """Return codes, names as ``table`` has them and inhabitants as CSV: what rates per million are made with."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["geo", "name", "inhabitants"])
    writer.writerows(
        [code, declaration.place_name(table, code), country.inhabitants]
        for code, country in declaration.countries.items()
    )
    return text.getvalue().encode()


def describe_package(
    table: Declared, declaration: Declaration, *, counts: bytes, address: str, newest: tuple[str, int] | None
) -> bytes:
    """Return ``datapackage.json`` (Frictionless Data Package 1) for ``counts.csv`` and ``countries.csv`` beside it.

    ``newest``: id and time of the newest release in it. ``address``: of the folder that holds the files.
    """
    fields = [
        {"name": column.name, "type": column.type, "title": column.title}
        | ({"constraints": {"required": True}} if column.name in _KEY else {})
        for column in COLUMNS
    ]
    countries = format_countries(table, declaration)
    package: JsonObject = {
        "profile": "tabular-data-package",
        "name": table.name,
        "title": table.title,
        "description": noise_note(table),
        "homepage": address,
        "licenses": [_licence(declaration.licence)],
        "sources": [{"title": "Proof of Objection register", "path": address}],
        "keywords": ["GDPR", "Article 21", "AI training", "differential privacy"],
        "resources": [
            _resource("counts", counts, {"fields": fields, "primaryKey": _KEY, "missingValues": [""]}),
            _resource(
                "countries",
                countries,
                {
                    "fields": [
                        {"name": "geo", "type": "string"},
                        {"name": "name", "type": "string"},
                        {
                            "name": "inhabitants",
                            "type": "integer",
                            "title": "Eurostat, 1 January 2024, rounded; not compared since",
                        },
                    ],
                    "primaryKey": ["geo"],
                    "missingValues": [""],
                },
            ),
        ],
    }
    if newest is not None:
        package |= {"version": newest[0], "created": _iso(newest[1])}
    return format_json(package)


def describe_csv(table: Declared, declaration: Declaration) -> bytes:
    """Return ``counts.csv-metadata.json`` (CSV on the Web, W3C 2015)."""
    return format_json(
        {
            "@context": ["http://www.w3.org/ns/csvw", {"@language": "en"}],
            "url": "counts.csv",
            "dc:title": table.title,
            "dc:description": noise_note(table),
            "dc:license": {"@id": _licence(declaration.licence)["path"]},
            "tableSchema": {
                "primaryKey": _KEY,
                "columns": [
                    {
                        "name": column.name,
                        "titles": column.name,
                        "dc:description": column.title,
                        "datatype": column.type,
                    }
                    for column in COLUMNS
                ],
            },
        }
    )


@dataclass(frozen=True)
class FeedEntry:
    """A release. ``time``: when it was drawn. ``page``: the path at which people read it."""

    release_id: str
    title: str
    time: int
    page: str


def format_feed(entries: Sequence[FeedEntry], *, address: str, home: str, now: int) -> bytes:
    """Return an Atom feed (RFC 4287). ``entries``: the newest first."""
    ET.register_namespace("", _ATOM)
    feed = ET.Element(f"{{{_ATOM}}}feed")
    _element(feed, "title", "Registered objections to AI training by Meta: releases of counts")
    _element(feed, "id", address)
    _element(feed, "updated", _iso(max((each.time for each in entries), default=now)))
    _element(feed, "link", rel="self", href=address)
    _element(feed, "link", rel="alternate", href=f"{home}/counts")
    _element(_element(feed, "author"), "name", "Proof of Objection register")
    for each in entries:
        entry = _element(feed, "entry")
        _element(entry, "title", each.title)
        _element(entry, "id", f"{home}/v1/releases/{each.release_id}")
        _element(entry, "updated", _iso(each.time))
        _element(entry, "link", rel="alternate", href=f"{home}{each.page}")
        _element(entry, "summary", "Every cell of the table, with its noise: drawn once, signed, and final.")
    document: bytes = ET.tostring(feed, encoding="utf-8", xml_declaration=True)
    return document


def noise_note(table: Declared) -> str:
    """Return what a reader of the figures must know."""
    return (
        f"Registrations, not people. Each figure contains random noise (discrete Laplace, epsilon {table.epsilon}): "
        f"in 95 of 100 cells it is within ±{half_width(table.epsilon)} of the count without it. Values may be "
        "negative; they are kept as drawn, so that sums and averages stay unbiased."
    )


def _resource(name: str, data: bytes, schema: JsonObject) -> JsonObject:
    return {
        "profile": "tabular-data-resource",
        "name": name,
        "path": f"{name}.csv",
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "bytes": len(data),
        "hash": f"sha256:{sha256(data).hex()}",
        "schema": schema,
    }


def _licence(name: str) -> dict[str, str]:
    title, path = LICENCES[name]
    return {"name": name, "title": title, "path": path}


def _iso(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat().replace("+00:00", "Z")


def _element(parent: ET.Element, name: str, text: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, f"{{{_ATOM}}}{name}", attributes)
    element.text = text
    return element
