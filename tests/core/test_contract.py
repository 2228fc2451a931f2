"""The documents, the schemas, the vectors and the code say the same."""

import json
import re
from pathlib import Path

import pytest

from schemas import vocabulary as words
from schemas.openapi import describe
from tests.core.test_vectors import PATHS

ROOT = Path(__file__).parents[2]
FORMATS = (ROOT / "docs" / "formats.md").read_text()
SHARED_CODES = re.findall(
    r"`([a-z0-9_]+)`", FORMATS.partition("## Error codes both verifiers share\n")[2].partition("\n\n")[0]
)
EXPECTED = {json.loads(path.read_bytes())["expect"] for path in PATHS}
# No vector has evidence files, or a bundle.
WITHOUT_VECTOR = {
    code
    for code in SHARED_CODES
    if code.startswith(("evidence_", "bundle_", "document_", "timestamp_", "later_", "objection_", "dkim_", "quorum_"))
} | {"status_mismatch"}


def test_openapi_json_is_what_the_schemas_say() -> None:
    written = json.loads((ROOT / "schemas" / "openapi.json").read_bytes())
    assert written == json.loads(json.dumps(describe())), "run python -m schemas.openapi > schemas/openapi.json"


def test_there_are_shared_codes() -> None:
    assert len(SHARED_CODES) > 30
    assert len(set(SHARED_CODES)) == len(SHARED_CODES)


@pytest.mark.parametrize("code", SHARED_CODES)
def test_shared_code_is_raised_somewhere(code: str) -> None:
    sources = [path.read_text() for path in (ROOT / "server").rglob("*.py")]
    assert any(f'"{code}"' in source for source in sources)


@pytest.mark.parametrize("code", sorted(set(SHARED_CODES) - WITHOUT_VECTOR))
def test_shared_code_has_a_vector(code: str) -> None:
    assert code in EXPECTED


def test_vectors_expect_documented_codes_only() -> None:
    assert set(SHARED_CODES) | {"valid"} >= EXPECTED


def test_core_raises_documented_codes_only() -> None:
    """Core's own errors are shared, but for those that only a register can have."""
    register_only = {"dpop_refused", "holder_share_wrong", "keys_missing", "share_damaged", "log_inconsistent"}
    register_only |= {"tile_not_found", "entries_malformed"}
    register_only |= {"request_malformed", "reply_malformed"}  # between logs and witnesses
    register_only |= {"release_inconsistent", "sums_malformed"}
    translated = {"der_malformed", "certificate_malformed", "certificate_invalid"}  # told as timestamp_… or document_…
    raised = {
        code
        for path in (ROOT / "server" / "core").glob("*.py")
        for code in re.findall(r'(?:Error|Unauthorised|Inconsistent)\(\s*"([a-z0-9_]+)"', path.read_text())
    }
    assert raised - register_only - translated <= set(SHARED_CODES)


@pytest.mark.parametrize(
    "word",
    [
        *(words.CONTROLLER, words.RIGHT, words.CONTESTED_BASIS, words.ELSEWHERE),
        *(*words.PLATFORMS, *words.SEEN_CHANNELS, *words.UNSEEN_CHANNELS, *words.DATA_CATEGORIES, *words.KINDS),
        *(*words.MEDIA_TYPES, *words.STATEMENT_TEMPLATES),
    ],
)
def test_every_word_is_documented(word: str) -> None:
    assert re.search(rf"[`\"]{re.escape(word)}[`\"]", FORMATS)


def test_limits_are_documented() -> None:
    for limit in (words.MAX_EVIDENCE_BYTES, words.MAX_EVIDENCE_TOTAL_BYTES):
        assert f"{limit:,}".replace(",", " ") in FORMATS
    assert f"At most {words.MAX_RECEIPT_BYTES // 1024} KiB" in FORMATS
    assert f"at most {words.MAX_BODY_BYTES // 1024**2} MiB" in FORMATS
    assert f"0 to {words.MAX_EVIDENCE_ITEMS} ×" in FORMATS


def test_statements_have_a_text_for_every_template() -> None:
    statements = json.loads((ROOT / "schemas" / "statements.json").read_bytes())
    assert set(statements) == set(words.STATEMENT_TEMPLATES)
    for texts in statements.values():
        assert {"en"} < set(texts)
        assert all(re.fullmatch("[a-z]{2}(-[A-Z]{2})?", language) and text for language, text in texts.items())


def test_countries_are_the_27_and_the_3() -> None:
    assert len(set(words.EU_COUNTRIES)) == 27
    assert len(set(words.EEA_COUNTRIES)) == 3
    assert words.ELSEWHERE not in words.EU_COUNTRIES + words.EEA_COUNTRIES
