"""Strict base64url, hex and JSON: a value is accepted only if writing it again gives the same characters."""

import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import orjson

from server.errors import ParseError

JsonObject = dict[str, Any]

_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME

_TO_BASE64, _FROM_BASE64 = bytes.maketrans(b"-_", b"+/"), bytes.maketrans(b"+/", b"-_")
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,15}")
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[{}\[\]]', re.DOTALL)
_MAX_INTEGER = 2**53 - 1  # beyond, JavaScript takes two numbers for one
_MAX_DEPTH = 16
MAX_JSON_BYTES = 262_144


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def format_base64url(data: bytes) -> str:
    return _base64url(data).decode("ascii")


def parse_base64url(text: str, *, size: int | None = None) -> bytes:
    """Return the bytes of unpadded base64url ``text``; ``size`` (bytes) must match when given.

    Raises ParseError ``base64url_malformed``, also for unused trailing bits: two texts never stand for one value.
    """
    try:
        raw = text.encode("ascii")
        data = binascii.a2b_base64(raw.translate(_TO_BASE64) + b"==")  # lenient: what it passes over is missing below
    except (binascii.Error, ValueError) as error:
        raise ParseError("base64url_malformed", "not base64url") from error
    if _base64url(data) != raw:
        raise ParseError("base64url_malformed", "not canonical base64url")
    if size is not None and len(data) != size:
        raise ParseError("base64url_malformed", f"must be {size} bytes, is {len(data)}")
    return data


def _base64url(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_FROM_BASE64)


def format_json(value: Mapping[str, Any]) -> bytes:
    """Return canonical JSON: keys sorted, no white space, UTF-8. The same value gives the same bytes, always.

    What is signed holds objects, arrays, text, booleans and integers below 2^63, and no other numbers.
    """
    return orjson.dumps(value, option=_CANONICAL)


def parse_json(raw: bytes) -> JsonObject:
    """Return the object in ``raw``, which has at most 262,144 bytes.

    Raises ParseError: ``json_duplicate_key`` at any depth, ``json_number_refused`` for anything but canonical integers
    within ±(2^53 - 1), ``json_malformed`` for the rest, nesting beyond 16 levels included.
    """
    value = _parse_json_value(raw)
    if not isinstance(value, dict):
        raise ParseError("json_malformed", "the top level must be an object")
    return value


def parse_json_array(raw: bytes) -> list[Any]:
    """Return the array in ``raw``, as strictly as ``parse_json``."""
    value = _parse_json_value(raw)
    if not isinstance(value, list):
        raise ParseError("json_malformed", "the top level must be an array")
    return value


def _parse_json_value(raw: bytes) -> Any:
    if len(raw) > MAX_JSON_BYTES:  # before any of it is read: what packs well must not cost more than it may
        raise ParseError("json_malformed", f"at most {MAX_JSON_BYTES} bytes of JSON")
    try:
        text = raw.decode("utf-8", "strict")
        _refuse_deep_nesting(text)
        value = _DECODER.decode(text)
        if "\\u" in text:  # an escape can say half a surrogate pair: text that nothing could print or encode later
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except ParseError:
        raise
    except ValueError as error:
        raise ParseError("json_malformed", "not valid JSON in UTF-8") from error


def _refuse_deep_nesting(text: str) -> None:
    if text.count("{") + text.count("[") <= _MAX_DEPTH:
        return
    # Strings are passed over whole: "]]]]" in one would make room for a depth that exhausts the parser's stack.
    depth = 0
    for token in _STRING_OR_BRACKET.findall(text):
        if token in {"{", "["}:
            depth += 1
        elif token in {"}", "]"}:
            depth -= 1
        if depth > _MAX_DEPTH:
            raise ParseError("json_malformed", "nested too deeply")


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> JsonObject:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ParseError("json_duplicate_key", "an object names one key twice")
    return value


def _canonical_integer(digits: str) -> int:
    if not _INTEGER.fullmatch(digits) or not -_MAX_INTEGER <= (value := int(digits)) <= _MAX_INTEGER:
        raise ParseError("json_number_refused", "numbers must be plain integers within 2^53 - 1 of zero")
    return value


def _no_number(_text: str) -> int:
    raise ParseError("json_number_refused", "numbers must be plain integers")


# json.loads would make it anew at each call. It is what checks each number and object; orjson passes over too much.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object_without_duplicates,
    parse_int=_canonical_integer,
    parse_float=_no_number,
    parse_constant=_no_number,
)
