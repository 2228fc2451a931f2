"""The OpenAPI 3.1 description of the register: ``python -m schemas.openapi > schemas/openapi.json`` writes it."""

import json
import sys
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin

from schemas import proofs, receipts
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
    record = [_path_parameter("receipt_sha256", "[0-9a-f]{64}"), _header("DPoP"), _header("Objection-Holder-Share")]
    return {
        "/v1/receipts": {
            "post": {
                "summary": "Record an objection, add evidence to it, withdraw it, or have it erased",
                "description": "Answers once the receipt is durably logged. The same receipt again: the same answer.",
                "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _SUBMISSION}}},
                "responses": {
                    "201": _json("Recorded now", "SubmissionAnswer"),
                    "200": _json("Was recorded before", "SubmissionAnswer"),
                    **_problems("400", "403", "404", "409", "410", "413", "415", "422", "429", "503"),
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
        "/v1/verifications": {
            "post": {
                "summary": "Check a proof against this register's keys; nothing of it is kept",
                "description": "Whatever is wrong with the proof stands in the report; the status is 200 all the same.",
                "requestBody": {
                    "required": True,
                    "description": "A certificate (PDF), a bundle (ASiC-E), or a token",
                    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
                },
                "responses": {
                    "200": _json("What was found", "VerificationReport"),
                    **_problems("400", "413", "415", "429"),
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
                "parameters": [_path_parameter("list_number", "(?:0|[1-9][0-9]*)")],
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
                "parameters": [_path_parameter("level", "(0|[1-9][0-9]?)"), _path_parameter("number", _TILE_NUMBER)],
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
                "responses": {"200": _binary("JSON-LD", "application/ld+json"), **_problems("429")},
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


_TILE_NUMBER = r"(x[0-9]{3}/){0,5}[0-9]{3}(\.p/[1-9][0-9]{0,2})?"
_SUBMISSION = {
    "type": "object",
    "required": ["receipt", "holder_share"],
    "additionalProperties": False,
    "properties": {
        "receipt": {
            "type": "string",
            "maxLength": words.MAX_RECEIPT_BYTES,
            "description": "JWS compact, typ objection-receipt+jwt; its payload is a receipt of any kind",
        },
        "holder_share": {
            "type": "string",
            "pattern": "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$",
            "description": "32 random bytes, base64url; never stored",
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


def _header(name: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}


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
    return {
        status: {"description": "A problem; its codes are listed at /errors", "content": content} for status in statuses
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(describe(), indent=2, sort_keys=True) + "\n")
