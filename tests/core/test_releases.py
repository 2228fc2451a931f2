"""Signed releases: what holds, and each way in which one may contradict itself."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from server.core.counts import declaration
from server.core.jws import format_public_jwk, thumbprint
from server.core.log_policies import LogPolicy
from server.core.policies import TrustPolicy
from server.core.releases import release_claims, sign_release, verify_release
from server.errors import FieldError, ObjectionError, VerificationError
from tests.core.test_tokens import POLICY as OTHER_POLICY

ISSUER = "https://register.example"
KEY = ec.generate_private_key(ec.SECP256R1())
LOG: LogPolicy = OTHER_POLICY.log
POLICY = TrustPolicy(ISSUER, {thumbprint(format_public_jwk(KEY.public_key())): KEY.public_key()}, LOG, ())
OUTCOMES = declaration().tables["outcomes"]


def claims() -> dict[str, Any]:
    return release_claims(
        OUTCOMES,
        {cell: -3 + number for number, cell in enumerate(OUTCOMES.cells())},
        epoch="2026-Q4",
        starts_at=1_790_812_800,
        ends_at=1_798_761_600,
        issuer=ISSUER,
        drawn_at=1_798_934_400,
        declaration_sha256=declaration().sha256,
    )


def signed(**changes: Any) -> str:
    return sign_release(claims() | changes, key=KEY, certificate="AA==")


def code_of(text: str, policy: TrustPolicy = POLICY) -> str:
    with pytest.raises(ObjectionError) as caught:
        verify_release(text, policy)
    return caught.value.code


def test_a_release_holds() -> None:
    release = verify_release(signed(), POLICY)
    assert release.id == "outcomes-2026-Q4"
    assert release.cells == {
        ("_T", "_T", "_T", "recorded"): -3,
        ("_T", "_T", "_T", "meta-mail"): -2,
        ("_T", "_T", "_T", "acknowledged"): -1,
        ("_T", "_T", "_T", "withdrawn"): 0,
    }


CELLS = claims()["cells"]


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "outcomes-2026-Q3"},
        {"epoch": "2026-Q3"},
        {"table": "europe"},
        {"ci95": 11},
        {"epsilon": "1/2"},
        {"dimensions": []},
        {"dimensions": ["geo"]},
        {"cells": [*CELLS[:2], CELLS[0]]},
        {"cells": [*CELLS[:2], {"value": 4}]},
        {"cells": [*CELLS[:2], CELLS[2] | {"geo": "DE"}]},
        {"ends_at": 1_790_812_800},
    ],
)
def test_a_release_that_contradicts_itself(changes: dict[str, Any]) -> None:
    assert code_of(signed(**changes)) == "release_inconsistent"


@pytest.mark.parametrize(
    "changes",
    [
        {"cells": []},
        {"cells": [CELLS[0] | {"value": "4"}]},
        {"cells": [CELLS[0] | {"outcome": "lost"}]},
        {"mechanism": "gaussian"},
        {"epsilon": "0.25"},
        {"people": 5},
    ],
)
def test_a_release_with_other_fields(changes: dict[str, Any]) -> None:
    with pytest.raises(FieldError):
        verify_release(signed(**changes), POLICY)


def test_a_release_of_somebody_else() -> None:
    assert code_of(signed(iss="https://other.example")) == "token_issuer_unknown"
    assert code_of(signed(), OTHER_POLICY) == "token_issuer_unknown"
    header, payload, signature = signed().split(".")
    with pytest.raises(VerificationError):
        verify_release(f"{header}.{payload}.{signature[:-4]}AAAA", POLICY)
