"""The compiled check of a schema says yes to exactly what marshmallow accepts, whatever is wrong, and wherever."""

import copy
import importlib
import json
import pkgutil
import re
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
from marshmallow import fields, validate

import schemas
import server
from schemas.proofs import AcknowledgementClaims, StatusListClaims, TokenClaims
from schemas.receipts import RECEIPTS
from schemas.strict import Flag, StrictSchema, _compiled, _compiled_field, text
from server.core.encoding import parse_base64url, parse_json
from server.core.receipts import verify_receipt
from server.errors import ParseError
from tests.fixtures.holders import Holder
from tests.fixtures.make_vectors import FOLDER

VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 7, 2**53, 10**15, 1.5, "", "a", "facebook", "0" * 64, "A" * 43, "x" * 600, "a\n"),
    *([], {}, [1], ["a"], ["a", "a"], {"a": 1}, [[]], [{}], {"_sd": []}, {"channel": "none"}, {"channel": []}),
]
Path_ = tuple[str | int, ...]


def paths(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Yield where each member of ``value`` is, at every depth."""
    children: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from paths(child, (*path, key))


def parent_of(value: Any, path: Path_) -> Any:
    for key in path[:-1]:
        value = value[key]
    return value


def damaged(value: Any) -> Iterator[Any]:
    """Yield ``value`` with one member replaced, left out, doubled, or one too many."""
    for path in paths(value):
        for replacement in VALUES:
            changed = copy.deepcopy(value)
            parent_of(changed, path)[path[-1]] = replacement
            yield changed
        changed = copy.deepcopy(value)
        parent = parent_of(changed, path)
        if isinstance(parent, list):
            parent.append(copy.deepcopy(parent[int(path[-1])]))
            yield copy.deepcopy(changed)
        parent.pop(path[-1])
        yield changed
        changed = copy.deepcopy(value)
        parent = parent_of(changed, path)
        if isinstance(parent, dict):
            parent["more"] = 1
            yield changed


def vector_payloads(folder: str, member: str) -> list[Any]:
    found = []
    for file in sorted((FOLDER / folder).glob("*.json")):
        parts = json.loads(file.read_bytes()).get(member, "").partition("~")[0].split(".")
        try:
            found.append(parse_json(parse_base64url(parts[1])))
        except (IndexError, ParseError):  # many vectors are not even JSON
            continue
    return found


def samples() -> list[tuple[StrictSchema, Any]]:
    seen = verify_receipt(Holder().objection().receipt.encode()).payload
    unseen = seen | {"notice": {"channel": "none"}, "campaign": "a-group"}
    later = {name: seen[name] for name in ("jti", "iat", "controller")} | {"objection_sha256": "0" * 64}
    return [
        (RECEIPTS["objection"](), seen),
        (RECEIPTS["objection"](), unseen),
        (RECEIPTS["supplement"](), later | {"kind": "supplement", "evidence": seen["evidence"]}),
        (RECEIPTS["withdrawal"](), later | {"kind": "withdrawal"}),
        (RECEIPTS["erasure"](), later | {"kind": "erasure"}),
    ]


@pytest.mark.parametrize(("schema", "payload"), samples())
def test_compiled_and_marshmallow_agree(schema: StrictSchema, payload: Any) -> None:
    accepts = _compiled(type(schema))
    assert accepts(payload)
    assert schema.validate(payload) == {}
    verdicts = {True: 0, False: 0}
    for changed in [*damaged(payload), *VALUES]:
        if not isinstance(changed, dict):
            assert not accepts(changed)
            continue
        fine = schema.validate(changed) == {}
        assert accepts(changed) == fine, changed
        assert (schema.refusals(changed) == {}) == fine
        verdicts[fine] += 1
    assert verdicts[False] > 100


@pytest.mark.parametrize(
    ("schema", "payloads"),
    [
        (TokenClaims(), vector_payloads("tokens", "token")),
        (StatusListClaims(), vector_payloads("statuslists", "status_list")),
        (AcknowledgementClaims(), vector_payloads("acknowledgements", "acknowledgement")),
    ],
)
def test_they_agree_on_the_vectors_of_other_formats(schema: StrictSchema, payloads: list[Any]) -> None:
    assert len(payloads) > 5
    assert any(schema.validate(payload) == {} for payload in payloads)
    for payload in payloads:
        assert _compiled(type(schema))(payload) == (schema.validate(payload) == {}), payload


@pytest.mark.parametrize(("low", "high"), [(None, None), (0, 0), (0, 1), (1, None), (None, 2)])
def test_they_agree_on_the_length_of_lists(low: int | None, high: int | None) -> None:
    class Listing(StrictSchema):
        items = fields.List(text("[a-z]"), required=True, validate=validate.Length(min=low, max=high))

    for count in range(4):
        payload = {"items": ["a"] * count}
        assert _compiled(Listing)(payload) == (Listing().validate(payload) == {}), count


def test_no_schema_has_hooks_of_its_own() -> None:
    for file in (FOLDER.parent).glob("*.py"):
        hooks = re.findall(r"@(?:validates|validates_schema|pre_load|post_load|pre_dump|post_dump)\b", file.read_text())
        assert len(hooks) == 2 * (file.name == "strict.py"), file.name


def test_a_field_of_another_kind_is_checked_by_itself() -> None:
    class Odd(StrictSchema):
        flag = Flag(required=True)
        lists = fields.Nested(RECEIPTS["erasure"], many=True)
        nothing = text("a", required=False, allow_none=True)
        bound = fields.String(validate=[lambda value: value, text("a").validators[0]])

    accepts = _compiled(Odd)
    assert accepts({"flag": True, "bound": "a"})
    assert accepts({"flag": True, "lists": [], "nothing": None})
    assert not accepts({"flag": True, "lists": {}})
    assert not accepts({"flag": True, "nothing": "b"})
    assert not accepts({"flag": 1})
    assert not accepts({"flag": True, "bound": "b"})


def every_schema() -> set[type[StrictSchema]]:
    """Return all schemas of this project, those of settings' files and the like included."""
    for package in (schemas, server):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "migrations" not in module.name:
                importlib.import_module(module.name)
    found, left = set(), [StrictSchema]
    while left:
        left += left.pop().__subclasses__()
        found.update(left)
    return {schema for schema in found if schema.__module__.startswith(("schemas.", "server."))}


def left_to_marshmallow(field: fields.Field[Any], name: str) -> Iterator[str]:
    """Yield the names of what is judged by marshmallow itself, of ``field`` and its items."""
    if _compiled_field(field) is None:
        yield f"{name}: {type(field).__name__}"
    if isinstance(field, fields.List):
        yield from left_to_marshmallow(field.inner, f"{name}[]")


def test_marshmallow_judges_these_fields_and_no_others() -> None:
    # What is not here must be compiled: a change of marshmallow's took three members of each receipt out, unseen.
    left = {
        name
        for schema in every_schema()
        for member, field in schema().fields.items()
        for name in left_to_marshmallow(field, f"{schema.__name__}.{member}")
    }
    assert left == {
        "CampaignDescription.names: ShortDict",  # an operator's file
        "_Mail.from_: _Day",  # an operator's file
        "_Mail.until: _Day",
        "CountedFigure.release_id: String",  # what we answer, and never read
        "VerificationReport.valid: Boolean",
        "VerificationReport.facts: Dict",
    }


def test_what_is_well_formed_never_reaches_marshmallow() -> None:
    receipt = Holder().objection().receipt.encode()
    verify_receipt(receipt)  # compiles
    reached = []

    def seen(frame: FrameType, event: str, _argument: object) -> None:
        if (
            event == "call"
            and "/marshmallow/" in frame.f_code.co_filename
            and "validate.py" not in frame.f_code.co_filename
        ):
            reached.append(frame.f_code.co_qualname)

    sys.setprofile(seen)
    try:
        verify_receipt(receipt)
    finally:
        sys.setprofile(None)
    assert reached == []
