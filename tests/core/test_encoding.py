"""One value, one spelling."""

import base64
import json
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from server.core.encoding import format_base64url, format_json, parse_base64url, parse_json, parse_json_array
from server.errors import ParseError

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=5)


def _code(parse: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(ParseError) as caught:
        parse(*args, **kwargs)
    return caught.value.code


@given(st.binary(max_size=200))
def test_base64url_comes_back(data: bytes) -> None:
    text = format_base64url(data)
    assert text == base64.urlsafe_b64encode(data).decode().rstrip("=")
    assert parse_base64url(text) == data


@given(st.text(alphabet=ALPHABET + "+/= \n\u00e9", max_size=12))
def test_base64url_accepts_one_spelling_only(text: str) -> None:
    try:
        data = parse_base64url(text)
    except ParseError:
        return
    assert format_base64url(data) == text


@given(st.binary(min_size=1, max_size=40), st.integers(1, 15))
def test_base64url_refuses_unused_bits(data: bytes, bits: int) -> None:
    unused = {0: 0, 1: 4, 2: 2}[len(data) % 3]
    assume(0 < bits < 1 << unused)
    text = format_base64url(data)
    altered = text[:-1] + ALPHABET[ALPHABET.index(text[-1]) | bits]
    assert _code(parse_base64url, altered) == "base64url_malformed"


def test_base64url_of_another_size_is_refused() -> None:
    assert parse_base64url("AAAA", size=3) == b"\x00\x00\x00"
    assert _code(parse_base64url, "AAAA", size=4) == "base64url_malformed"


@given(OBJECTS)
def test_json_comes_back_and_is_canonical(value: dict[str, Any]) -> None:
    assume(_depth(value) <= 16)
    raw = format_json(value)
    assert parse_json(raw) == value
    assert format_json(dict(reversed(value.items()))) == raw
    assert format_json(parse_json(json.dumps(value, indent=2).encode())) == raw


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((_depth(inner) for inner in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((_depth(inner) for inner in value), default=0)
    return 0


@given(st.lists(st.tuples(TEXT, st.integers(0, 9)), min_size=1, max_size=5), st.data())
def test_json_refuses_a_key_named_twice_wherever_it_stands(members: list[tuple[str, int]], data: st.DataObject) -> None:
    members.append((data.draw(st.sampled_from(members))[0], 0))
    inner = ",".join(f"{json.dumps(key)}:{value}" for key, value in data.draw(st.permutations(members)))
    for text in (f"{{{inner}}}", f'{{"a":[{{"b":{{{inner}}}}}]}}'):
        assert _code(parse_json, text.encode()) == "json_duplicate_key"


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_json_refuses_every_float(number: float) -> None:
    assert _code(parse_json, json.dumps({"a": number}).encode()) == "json_number_refused"


@given(st.integers())
@example(2**53 - 1)
@example(2**53)
@example(2**53 + 1)
@example(-(2**53))
def test_json_reads_the_integers_that_javascript_can_tell_apart(number: int) -> None:
    raw = b'{"a":%d}' % number
    if abs(number) < 2**53:
        assert parse_json(raw) == {"a": number}
    else:
        assert _code(parse_json, raw) == "json_number_refused"


@given(st.binary(max_size=80))
def test_json_of_any_bytes_is_read_or_refused(raw: bytes) -> None:
    try:
        value = parse_json(raw)
    except ParseError:
        return
    assert parse_json(format_json(value)) == value


@pytest.mark.parametrize("levels", [1, 15, 16, 17, 500, 20_000])
def test_json_reads_sixteen_levels(levels: int) -> None:
    raw = b'{"a":' * levels + b"1" + b"}" * levels
    if levels <= 16:
        assert _depth(parse_json(raw)) == levels
    else:
        assert _code(parse_json, raw) == "json_malformed"


@pytest.mark.parametrize("decoy", ["]" * 5000, "}" * 5000, '\\"' + "]" * 5000, "\\\\"])
def test_json_nesting_is_not_hidden_by_brackets_in_strings(decoy: str) -> None:
    raw = f'{{"a":"{decoy}","b":{"[" * 5000}{"]" * 5000}}}'.encode()
    assert _code(parse_json, raw) == "json_malformed"


@given(st.text(alphabet='[]{}"\\ ', max_size=60))
def test_json_brackets_in_strings_do_not_nest(text: str) -> None:
    assert parse_json(format_json({text: text})) == {text: text}


@pytest.mark.parametrize("raw", [b'{"a":"\\ud800"}', b'{"\\udfff":1}', b'{"a":["\\udc00\\ud800"]}'])
def test_json_refuses_half_a_surrogate_pair(raw: bytes) -> None:
    assert _code(parse_json, raw) == "json_malformed"
    assert parse_json(b'{"a":"\\ud83d\\udc22"}') == {"a": "\U0001f422"}


def test_top_level_is_what_the_caller_asked_for() -> None:
    assert parse_json_array(b"[1]") == [1]
    assert _code(parse_json_array, b"{}") == "json_malformed"
    assert _code(parse_json, b"[]") == "json_malformed"
