"""The OpenAPI 3.1 description of the register: ``python -m schemas.openapi > schemas/openapi.json`` writes it."""

import json
import sys
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin

from schemas import campaigns, proofs, receipts, releases, work
from schemas import vocabulary as words
from schemas.receipts import no_repeats
from schemas.strict import Variant

_COMPONENTS = {
    "ObjectionReceipt": receipts.ObjectionReceipt,
    "SupplementReceipt": receipts.SupplementReceipt,
    "WithdrawalReceipt": receipts.WithdrawalReceipt,
    "ErasureReceipt": receipts.ErasureReceipt,
    "TokenClaims": proofs.TokenClaims,
    "SubmissionAnswer": proofs.SubmissionAnswer,
    "AcknowledgementClaims": proofs.AcknowledgementClaims,
    "StatusListClaims": proofs.StatusListClaims,
    "Policy": proofs.Policy,
    "BundleManifest": proofs.BundleManifest,
    "VerificationReport": proofs.VerificationReport,
    "WorkChallenge": work.WorkChallenge,
    "WorkProof": work.WorkProof,
    "Campaigns": campaigns.Campaigns,
    "ReleaseClaims": releases.ReleaseClaims,
    "PublishedRelease": releases.PublishedRelease,
    "Counts": releases.Counts,
    "Releases": releases.Releases,
    "Problem": proofs.Problem,
}


def describe() -> dict[str, Any]:
    """Return the whole description: components from the schemas, paths from the table below."""
    plugin = MarshmallowPlugin()
    spec = APISpec(
        title="Proof of Objection register",
        version="1",
        openapi_version="3.1.0",
        info={"description": "Records signed GDPR objections and proves that it did. See docs/formats.md."},
        plugins=[plugin],
    )
    converter: Any = plugin.converter  # apispec leaves it untyped
    converter.add_attribute_function(_variants)
    converter.add_attribute_function(_unique_items)
    for name, schema in _COMPONENTS.items():
        spec.components.schema(name, schema=schema)
    spec.components.security_scheme(
        "holder",
        {
            "type": "http",
            "scheme": "DPoP",
            "description": "The proof-of-objection token, with a DPoP proof (RFC 9449) by the key in its cnf claim.",
        },
    )
    spec.components.security_scheme(
        "campaign",
        {"type": "http", "scheme": "bearer", "description": "A consumer group's API key, for its campaign's figures."},
    )
    for path, operations in _paths().items():
        spec.path(path=path, operations=operations)
    described: dict[str, Any] = spec.to_dict()
    return described


def _variants(converter: Any, field: object, **_: object) -> dict[str, Any]:
    if not isinstance(field, Variant):
        return {}
    distinct = {type(schema): schema for schema in field.schemas.values()}
    return {"oneOf": [converter.resolve_nested_schema(schema) for schema in distinct.values()]}


def _unique_items(_converter: Any, field: Any, **_: object) -> dict[str, Any]:
    return {"uniqueItems": True} if no_repeats in field.validators else {}


def _paths() -> dict[str, Any]:
    record = [
        _path_parameter("receipt_sha256", "[0-9a-f]{64}"),
        _header("DPoP", {"type": "string", "maxLength": 4096}, "A proof of possession (RFC 9449), used once"),
        _header("Objection-Holder-Share", _SHARE, "The holder share of the objection; never stored"),
    ]
    return {
        "/v1/receipts": {
            "post": {
                "summary": "Record an objection, add evidence to it, withdraw it, or have it erased",
                "description": "Answers once the receipt is durably logged. The same receipt again: the same answer.",
                "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _SUBMISSION}}},
                "responses": {
                    "201": _json("Recorded now", "SubmissionAnswer"),
                    "200": _json("Was recorded before", "SubmissionAnswer"),
                    **_problems("400", "403", "404", "408", "409", "410", "413", "415", "422", "429", "503"),
                },
            }
        },
        "/v1/receipts/{receipt_sha256}": {
            "get": {
                "summary": "The answer again, for the holder",
                "parameters": record,
                "security": [{"holder": []}],
                "responses": {
                    "200": _json("The record", "SubmissionAnswer"),
                    **_problems("400", "401", "403", "404", "410", "429", "503"),
                },
            }
        },
        "/v1/receipts/{receipt_sha256}/bundle": {
            "get": {
                "summary": "The proof, for the holder: an ASiC-E container, or a certificate (PDF) if Accept says so",
                "parameters": record,
                "security": [{"holder": []}],
                "responses": {
                    "200": _binary("The bundle", "application/vnd.etsi.asic-e+zip", "application/pdf"),
                    **_problems("400", "401", "403", "404", "410", "429", "503"),
                },
            }
        },
        "/v1/receipts/{receipt_sha256}/campaign": {
            "delete": {
                "summary": "Leave the campaign that the objection counts for, while that week is open; for the holder",
                "parameters": record,
                "security": [{"holder": []}],
                "responses": {
                    "204": {"description": "It counts for no campaign any more"},
                    **_problems("400", "401", "403", "404", "429", "503"),
                },
            }
        },
        **_count_paths(),
        "/v1/work/{receipt_sha256}": {
            "get": {
                "summary": "A challenge for the work proof (ALTCHA) that may go with the receipt of this hash",
                "parameters": [_path_parameter("receipt_sha256", "[0-9a-f]{64}")],
                "responses": {"200": _json("The challenge", "WorkChallenge"), **_problems("404", "429")},
            }
        },
        "/v1/verifications": {
            "post": {
                "summary": "Check a proof against this register's keys; nothing of it is kept",
                "description": "Whatever is wrong with the proof stands in the report; the status is 200 all the same. "
                "400: what is no proof (`file_unrecognised`), or a copy that a program has changed (`file_resaved`).",
                "requestBody": {
                    "required": True,
                    "description": "A certificate (PDF), a bundle (ASiC-E), or a token",
                    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
                },
                "responses": {
                    "200": _json("What was found", "VerificationReport"),
                    **_problems("400", "408", "413", "415", "429", "503"),
                },
            }
        },
        "/v1/policy": {
            "get": {
                "summary": "The register's public keys, as a verifier's policy",
                "responses": {"200": _json("The policy", "Policy"), **_problems("429")},
            }
        },
        "/checkpoint": {
            "get": {
                "summary": "The newest signed checkpoint of the log",
                "responses": {"200": _binary("A signed note", "text/plain; charset=utf-8"), **_problems("429", "503")},
            }
        },
        "/v1/status-lists/{list_number}": {
            "get": {
                "summary": "Which objections no longer stand (Token Status List)",
                "parameters": [_path_parameter("list_number", "(?:0|[1-9][0-9]{0,9})")],
                "responses": {
                    "200": _binary("A signed status list", "application/statuslist+jwt"),
                    "304": {"description": "Still the list of that ETag"},
                    **_problems("404", "429", "503"),
                },
            }
        },
        "/checkpoint/anchored": {
            "get": {
                "summary": "The newest checkpoint that was cosigned by witnesses and stamped",
                "responses": {
                    "200": _binary("A signed note", "text/plain; charset=utf-8"),
                    **_problems("404", "429", "503"),
                },
            }
        },
        "/tile/{level}/{number}": {
            "get": {
                "summary": "A tile of the log's hashes (C2SP tlog-tiles)",
                "description": "number is spelled as C2SP says, with slashes in it; /tile/0/x001/067.p/5 for example.",
                "parameters": [
                    _path_parameter("level", "(0|[1-9]|[1-5][0-9]|6[0-3])"),
                    _path_parameter("number", _TILE_NUMBER),
                ],
                "responses": {
                    "200": _binary("Hashes of 32 bytes", "application/octet-stream"),
                    **_problems("404", "429", "503"),
                },
            }
        },
        "/tile/entries/{number}": {
            "get": {
                "summary": "A bundle of the log's entries (C2SP tlog-tiles)",
                "parameters": [_path_parameter("number", _TILE_NUMBER)],
                "responses": {
                    "200": _binary("Each entry after its length in two bytes", "application/octet-stream"),
                    **_problems("404", "429", "503"),
                },
            }
        },
        "/.well-known/jwt-vc-issuer": {
            "get": {
                "summary": "The issuer's keys (SD-JWT VC)",
                "responses": {"200": _object("Issuer metadata"), **_problems("429")},
            }
        },
        "/vct/proof-of-objection/1": {
            "get": {
                "summary": "Type metadata of the token (SD-JWT VC)",
                "responses": {"200": _object("Type metadata"), **_problems("429")},
            }
        },
        "/profiles/objection/1": {
            "get": {
                "summary": "What the terms of objection.jsonld mean",
                "responses": {"200": _files("JSON-LD", "application/ld+json"), **_problems("429")},
            }
        },
        "/healthz": {
            "get": {"summary": "The process answers", "responses": {"200": _object("Alive"), **_problems("429")}}
        },
        "/readyz": {
            "get": {
                "summary": "The register can record",
                "responses": {"200": _object("Ready"), **_problems("429", "503")},
            }
        },
        "/openapi.json": {
            "get": {"summary": "This description", "responses": {"200": _object("OpenAPI 3.1"), **_problems("429")}}
        },
    }


def _count_paths() -> dict[str, Any]:
    """What consumer groups read. A campaign's own figures need its API key, unless the group opened them."""
    keyed: dict[str, Any] = {"security": [{}, {"campaign": []}]}
    table = _query("table", releases.TABLE, "A table of /v1/tables, or campaign-<slug>", "countries")
    first = "The first epoch: of the kind that the table has. There is a 53rd week only in years that have one"
    offset = _number("offset", "Rows to pass over; JSON only", least=0, most=10**9, default=0)
    figures = {
        "table": "countries",
        "by": ["epoch", "geo"],
        "licence": "CC-BY-4.0",
        "rows": [
            {
                "epoch": "2026-W47",
                "geo": "DE",
                "platform": "_T",
                "channel": "_T",
                "outcome": "_T",
                "value_noisy": 412,
                "ci95_low": 409,
                "ci95_high": 415,
                "obs_status": "A",
                "release_id": "countries-2026-W47",
                "cells": 1,
            }
        ],
    }
    href = "/v1/releases/countries-2026-W47"
    release = {"id": "countries-2026-W47", "table": "countries", "epoch": "2026-W47", "released_at": 1795564800}
    return {
        "/v1/counts": {
            "get": {
                "summary": "Released figures: sums of cells that were drawn once; _T is all together",
                "parameters": [
                    table | {"schema": table["schema"] | {"default": "countries"}},
                    {
                        "name": "by",
                        "in": "query",
                        "description": "What to break down by: epoch, and dimensions that the table has",
                        "style": "form",
                        "explode": False,
                        "schema": {"type": "array", "items": {"enum": _DIMENSIONS}, "uniqueItems": True},
                        "example": ["epoch", "geo"],
                    },
                    _query("from", releases.EPOCH, first, "2026-W40"),
                    _query("to", releases.EPOCH, "The last epoch, likewise", "2026-W47"),
                    _number(
                        "limit",
                        "Rows at most; the next ones are in Link, and in next. JSON only: a file is whole",
                        least=1,
                        most=releases.MAX_ROWS,
                        default=1000,
                    ),
                    offset,
                    _choice("format", "Instead of Accept", "json", "csv", "parquet"),
                ],
                **keyed,
                "responses": {
                    "200": _figures("The figures", "Counts", figures, "text/csv", "application/vnd.apache.parquet"),
                    "304": {"description": "Still the figures of that ETag"},
                    **_problems("400", "401", "403", "404", "429", "503"),
                },
            }
        },
        "/v1/tables": {
            "get": {
                "summary": "What is counted, and what it costs each person in privacy",
                "responses": {
                    "200": _object("The declaration"),
                    "304": {"description": "Still the declaration of that ETag"},
                    **_problems("429"),
                },
            }
        },
        "/v1/tables/{name}/{file}": {
            "get": {
                "summary": "A whole table as a Frictionless data package, CSV with its CSVW, or Parquet",
                "parameters": [
                    _path_parameter("name", releases.TABLE),
                    _path_parameter(
                        "file",
                        r"(counts\.csv|counts\.parquet|countries\.csv|datapackage\.json|counts\.csv-metadata\.json)",
                    ),
                ],
                **keyed,
                "responses": {
                    "200": _files(
                        "The file",
                        *("text/csv", "application/vnd.apache.parquet", "application/json", "application/csvm+json"),
                    ),
                    "304": {"description": "Still the file of that ETag"},
                    **_problems("400", "401", "403", "404", "429", "503"),
                },
            }
        },
        "/v1/releases": {
            "get": {
                "summary": "The releases, the newest first",
                "parameters": [
                    table,
                    _number("limit", "Releases at most; the next ones are in next", least=1, most=1000, default=100),
                    offset,
                ],
                **keyed,
                "responses": {
                    "200": _figures("The list", "Releases", {"releases": [release | {"href": href}]}),
                    "304": {"description": "Still the list of that ETag"},
                    **_problems("400", "401", "403", "404", "429", "503"),
                },
            }
        },
        "/v1/releases.atom": {
            "get": {
                "summary": "The releases as an Atom feed",
                **keyed,
                "responses": {
                    "200": _binary("Atom: the newest fifty", "application/atom+xml"),
                    "304": {"description": "Still the feed of that ETag"},
                    **_problems("401", "429", "503"),
                },
            }
        },
        "/v1/releases/{release_id}": {
            "get": {
                "summary": "A release, for ever the same: read out, or as it was signed",
                "parameters": [
                    _path_parameter("release_id", f"{releases.TABLE}-{releases.EPOCH}"),
                    _choice("format", "Instead of Accept", "json", "jws"),
                ],
                **keyed,
                "responses": {
                    "200": {
                        "description": "The release read out, or the JWS alone, of which ReleaseClaims is the payload",
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/PublishedRelease"}},
                            "application/objection-release+jwt": {"schema": {"type": "string"}},
                        },
                    },
                    "304": {"description": "Still that release"},
                    **_problems("400", "401", "403", "404", "429", "503"),
                },
            }
        },
        "/v1/campaigns": {
            "get": {
                "summary": "The campaigns that an objection may count for",
                "responses": {
                    "200": _json("Those that run", "Campaigns"),
                    "304": {"description": "Still the campaigns of that ETag"},
                    **_problems("429", "503"),
                },
            }
        },
    }


_TILE_NUMBER = r"(x[0-9]{3}/){0,5}[0-9]{3}(\.p/(?:[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5]))?"
_SHARE = {"type": "string", "pattern": "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$"}
_DIMENSIONS = ["epoch", "geo", "platform", "channel", "outcome"]
_SUBMISSION = {
    "type": "object",
    "required": ["receipt", "holder_share"],
    "additionalProperties": False,
    "properties": {
        "receipt": {
            "type": "string",
            "maxLength": words.MAX_RECEIPT_BYTES,
            "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$",
            "description": "JWS compact, typ objection-receipt+jwt; its payload is a receipt of any kind",
        },
        "holder_share": _SHARE
        | {
            "description": "32 random bytes, base64url; never stored",
        },
        "work": {
            "type": "string",
            "maxLength": work.MAX_WORK_CHARACTERS,
            "description": "Optional: a WorkProof about this receipt, as JSON; then the token's assurance is work",
        },
        "mails": {
            "type": "string",
            "enum": ["unchecked"],
            "description": "Optional, with a supplement: its mails are recorded even while the DNS is silent",
        },
        "evidence": {
            "type": "array",
            "maxItems": words.MAX_EVIDENCE_ITEMS,
            "items": {"type": "string", "format": "binary"},
            "description": "One file for each evidence item, with its name as file name",
        },
    },
}


def _path_parameter(name: str, pattern: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": f"^{pattern}$"}}


def _query(name: str, pattern: str, description: str, example: str) -> dict[str, Any]:
    schema = {"type": "string", "pattern": f"^(?:{pattern})$"}
    return {"name": name, "in": "query", "description": description, "schema": schema, "example": example}


def _number(name: str, description: str, *, least: int, most: int, default: int) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": least, "maximum": most, "default": default}
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _choice(name: str, description: str, *values: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string", "enum": [*values]}}


def _figures(description: str, component: str, example: object, *media_types: str) -> dict[str, Any]:
    described = _json(description, component)
    described["content"]["application/json"]["example"] = example
    described["content"] |= _binary(description, *media_types)["content"]
    return described


def _files(description: str, *media_types: str) -> dict[str, Any]:
    described = _binary(description, *media_types)
    for media_type in described["content"]:
        if "json" in media_type:
            described["content"][media_type] = {"schema": {"type": "object"}}
    return described


def _header(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": True, "description": description, "schema": schema}


def _json(description: str, component: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{component}"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _object(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": {"type": "object"}}}}


def _binary(description: str, *media_types: str) -> dict[str, Any]:
    schema = {"schema": {"type": "string", "format": "binary"}}
    return {"description": description, "content": dict.fromkeys(media_types, schema)}


def _problems(*statuses: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    content = {"application/problem+json": {"schema": schema}}
    described = {"description": "A problem; its codes are listed at /errors", "content": content}
    return dict.fromkeys((*statuses, "500"), described)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(describe(), indent=2, sort_keys=True) + "\n")
