"""Signed releases: one table of counts for one epoch, every cell of it, as it was drawn."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from schemas.releases import ReleaseClaims
from server.core.counts import DIMENSIONS, TOTAL, Cell, Declared, half_width
from server.core.encoding import JsonObject
from server.core.jws import PrivateKey
from server.core.policies import TrustPolicy, sign_issued, verify_issued
from server.errors import FieldError, VerificationError

_MAX_CHARACTERS = 262_144  # 1,024 cells come to some 140,000
RELEASE_TYPE = "objection-release+jwt"
MECHANISM = "discrete-laplace"
_CLAIMS = ReleaseClaims()


@dataclass(frozen=True)
class VerifiedRelease:
    """A release whose signature, form and inner agreement hold. ``raw``: the JWS."""

    raw: str
    claims: JsonObject

    @property
    def id(self) -> str:
        return str(self.claims["id"])

    @property
    def cells(self) -> dict[Cell, int]:
        """Noisy values by (geo, platform, channel, outcome), ``_T`` where the table does not break down by it."""
        return {
            tuple(cell.get(name, TOTAL) for name in DIMENSIONS): int(cell["value"]) for cell in self.claims["cells"]
        }


def release_id(table: str, epoch: str) -> str:
    """Return the permanent id: ``countries-2026-W47``."""
    return f"{table}-{epoch}"


def release_claims(
    table: Declared,
    values: Mapping[Cell, int],
    *,
    epoch: str,
    starts_at: int,
    ends_at: int,
    issuer: str,
    drawn_at: int,
    declaration_sha256: str,
) -> JsonObject:
    """Return the claims. ``values``: noisy, one for each cell of ``table``."""
    return {
        "iss": issuer,
        "iat": drawn_at,
        "id": release_id(table.name, epoch),
        "table": table.name,
        "epoch": epoch,
        "starts_at": starts_at,
        "ends_at": ends_at,
        "mechanism": MECHANISM,
        "epsilon": str(table.epsilon),
        "ci95": half_width(table.epsilon),
        "dimensions": list(table.dimensions),
        "cells": [dict(zip(table.dimensions, cell, strict=True)) | {"value": values[cell]} for cell in table.cells()],
        "declaration_sha256": declaration_sha256,
    }


def sign_release(claims: JsonObject, *, key: PrivateKey, certificate: str) -> str:
    """Return the release as a compact JWS. ``certificate``: base64 DER of the key's certificate."""
    return sign_issued(claims, typ=RELEASE_TYPE, key=key, certificate=certificate)


def verify_release(text: str, policy: TrustPolicy) -> VerifiedRelease:
    """Return the release once an issuer key of ``policy`` signed it and its parts agree with each other.

    Raises ParseError and VerificationError with the codes of a token; FieldError; VerificationError
    ``release_inconsistent`` when id, dimensions, cells or interval contradict each other.
    """
    claims, _ = verify_issued(text, policy, typ=RELEASE_TYPE, max_characters=_MAX_CHARACTERS)
    if problems := _CLAIMS.refusals(claims):
        raise FieldError.from_messages(problems)
    if claims["iss"] != policy.issuer:
        raise VerificationError("token_issuer_unknown", "issued under another name than the policy's")
    release = VerifiedRelease(text, claims)
    members = {*claims["dimensions"], "value"}
    if (
        claims["id"] != release_id(claims["table"], claims["epoch"])
        or claims["starts_at"] >= claims["ends_at"]
        or claims["ci95"] != half_width(Fraction(claims["epsilon"]))
        or any(cell.keys() != members for cell in claims["cells"])
        or len(release.cells) != len(claims["cells"])
    ):
        raise VerificationError("release_inconsistent", "the release contradicts itself")
    return release
