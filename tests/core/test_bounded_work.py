"""What it costs to refuse something grows with what a format allows, never with what was sent.

Every list and every object of every schema is found by reflection, so that a new one is measured by itself.
"""

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from marshmallow import fields

import schemas
import server
from schemas.strict import ShortDict, ShortList, StrictSchema, Variant
from server.bundles.contents import MANIFEST, verify_manifest
from server.core.encoding import MAX_JSON_BYTES, parse_json
from server.core.jws import parse_jws
from server.core.policies import parse_trust_policy
from server.errors import FieldError, ObjectionError, ParseError

_ROOM = 40  # calls: what one more digit in a message, or a warm cache, may make a difference


def every_schema() -> list[type[StrictSchema]]:
    for package in (schemas, server):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "migrations" not in module.name:
                importlib.import_module(module.name)
    found: dict[str, type[StrictSchema]] = {}
    left = [StrictSchema]
    while left:
        for schema in left.pop().__subclasses__():
            if schema.__module__.partition(".")[0] in {"schemas", "server"}:
                found[f"{schema.__module__}.{schema.__name__}"] = schema
            left.append(schema)
    return [found[name] for name in sorted(found)]


def members() -> Iterator[tuple[str, type[StrictSchema], str, fields.Field[Any]]]:
    for schema in every_schema():
        for name, field in schema().fields.items():
            yield f"{schema.__name__}.{name}", schema, field.data_key or name, field


LISTS = [each for each in members() if isinstance(each[3], fields.List)]
DICTS = [each for each in members() if isinstance(each[3], fields.Dict) and each[3].value_field is not None]


def calls(work: Callable[[], object]) -> int:
    """Return how many functions, Python's and C's, ``work`` calls; what it raises is its answer."""
    count = 0

    def counted(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(counted)
    try:
        work()
    except ObjectionError:
        pass
    finally:
        sys.setprofile(None)
    return count


def refuse(schema: type[StrictSchema], member: str, value: object) -> int:
    """Return what it costs to refuse ``value`` in one member of an object, the words for people included."""
    made = schema()
    wrong = {member: value}
    made.validate(wrong)  # whatever is made once is made now

    def work() -> None:
        problems = made.validate(wrong)
        assert member in problems
        raise FieldError.from_messages(problems)

    return min(calls(work) for _ in range(2))


def test_lists_are_found() -> None:
    assert {"BundleManifest.files", "Policy.issuer_keys", "TimeAuthority.certificates", "ReleaseClaims.cells"} <= {
        name for name, *_ in LISTS
    }


@pytest.mark.parametrize(("_name", "schema", "member", "field"), LISTS, ids=[name for name, *_ in LISTS])
@pytest.mark.parametrize("item", [{}, 7, "x", []], ids=["object", "number", "text", "list"])
def test_items_beyond_the_maximum_of_a_list_are_not_judged(
    _name: str, schema: type[StrictSchema], member: str, field: fields.Field[Any], item: object
) -> None:
    assert isinstance(field, ShortList), "fields.List judges each item before it counts them"
    maximum = field.length.max
    assert maximum is not None
    cost = refuse(schema, member, [item] * (10 * maximum + 1))
    assert cost <= refuse(schema, member, [item] * (maximum + 1)) + _ROOM
    assert cost <= refuse(schema, member, 7) + 3 * _ROOM, "no item was judged"


@pytest.mark.parametrize(("_name", "schema", "member", "field"), DICTS, ids=[name for name, *_ in DICTS])
def test_members_beyond_the_maximum_of_a_mapping_are_not_judged(
    _name: str, schema: type[StrictSchema], member: str, field: fields.Field[Any]
) -> None:
    assert isinstance(field, ShortDict)
    maximum = field.length.max
    assert maximum is not None
    few, many = ({f"x{n}": 7 for n in range(count)} for count in (maximum + 1, 10 * maximum + 1))
    assert refuse(schema, member, many) <= refuse(schema, member, few) + _ROOM


@pytest.mark.parametrize("schema", every_schema(), ids=lambda schema: schema.__name__)
def test_strange_members_are_not_named_one_by_one(schema: type[StrictSchema]) -> None:
    made = schema()

    def cost(count: int) -> int:
        wrong = {f"x{n}": n for n in range(count)}
        made.validate(wrong)

        def work() -> None:
            raise FieldError.from_messages(made.validate(wrong))

        return min(calls(work) for _ in range(2))

    assert cost(5000) <= cost(500) + _ROOM


def test_variants_bound_their_members_too() -> None:
    variants = [field for *_, field in members() if isinstance(field, Variant)]
    assert variants
    for field in variants:
        for schema in field.schemas.values():
            assert isinstance(schema, StrictSchema)


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(ParseError) as error:
        work()
    return error.value.code


def test_json_is_bounded_before_it_is_parsed() -> None:
    def document(size: int) -> bytes:
        return b'{"a":[' + b"0," * ((size - 9) // 2) + b"0]}"

    assert refusal(lambda: parse_json(document(MAX_JSON_BYTES + 2))) == "json_malformed"
    small, large = (calls(lambda size=size: parse_json(document(size))) for size in (MAX_JSON_BYTES + 2, 10**7))
    assert large == small
    assert refusal(lambda: parse_trust_policy(document(10**7))) == "json_malformed"
    assert refusal(lambda: verify_manifest({MANIFEST: document(10**7)})) == "bundle_malformed"
    assert refusal(lambda: parse_jws("e" * 10**7, typ="x", members=frozenset())) == "jws_malformed"


def test_ten_times_as_many_files_cost_no_more_to_refuse() -> None:
    def manifest(count: int) -> bytes:
        return b'{"files":[' + b"{}," * count + b'{}],"receipt_sha256":"","state":"","v":1}'

    def cost(count: int) -> int:
        return min(calls(lambda: verify_manifest({MANIFEST: manifest(count)})) for _ in range(2))

    json_alone = calls(lambda: parse_json(manifest(4000))) - calls(lambda: parse_json(manifest(400)))
    assert cost(4000) <= cost(400) + json_alone + _ROOM
