"""JSON as text that a test can spoil: numbers, escapes, keys and white space that no serialiser would write."""

import json
import random
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass
class Raw:
    """A number, string or word, as it is to be written."""

    text: str


@dataclass
class Array:
    items: "list[Value]" = field(default_factory=list)


@dataclass
class Object:
    """``members``: keys as they are to be written, quotes included."""

    members: "list[tuple[str, Value]]" = field(default_factory=list)


Value = Raw | Array | Object

_NUMBERS = (
    *("9007199254740990", "9007199254740991", "9007199254740992", "9007199254740993", "-9007199254740991"),
    *("-9007199254740992", "-9007199254740993", "9999999999999999", "10000000000000000", "18446744073709551616"),
    *("1e400", "-1e400", "1e5", "1E0", "1.0", "0.5", "-0", "0", "-1", "1", "01", "+1", ".5", "1.", "0x10", "NaN"),
    *("Infinity", "-Infinity", "253402300799", "253402300800", "4294967296", "65536", "2147483648", "4194305"),
    *("9" * 400, "-" + "9" * 5000, "--1", "1_0", "٣"),
)
_STRINGS = (
    *('""', '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\u0061"', '"\\/"', '"\x7f"', '"\\n"'),
    *('"\\"', '"\\x41"', '"\t"', '"\u2028"', '"\ufeff"', '"\ufffd"', '"é"', '"e\u0301"', '"\U0001f600"', '"\\U0041"'),
    *('"__proto__"', '"constructor"', '"a\\u0000b"', '"\\u00e9"', "'a'", '"' + "x" * 400 + '"', '"\\ud83d"', '"ſ"'),
)
_WORDS = ("true", "false", "null", "[]", "{}", "[[]]", '[""]', "[0]", "True", "undefined", "", "nul", "tru")
_KEYS = (
    '"__proto__"',
    '"constructor"',
    '"toString"',
    '"x"',
    '""',
    '"\\u0000"',
    '"\\ud800"',
    '"hasOwnProperty"',
    '"length"',
)
_SPACES = (" ", "\n", "\t", "\r", "\r\n", "\x0b", "\x0c", "\u00a0", "\ufeff", "\u2028", "/**/", "\0", ",")


def parse(text: str) -> Value:
    """Return JSON ``text`` as a tree. Raises ValueError."""
    return _tree(json.loads(text, object_pairs_hook=_Pairs))


class _Pairs(list[tuple[str, object]]):
    pass


def _tree(value: object) -> Value:
    if isinstance(value, _Pairs):
        return Object([(json.dumps(key, ensure_ascii=False), _tree(member)) for key, member in value])
    if isinstance(value, list):
        return Array([_tree(item) for item in value])
    return Raw(json.dumps(value, ensure_ascii=False))


def format_value(value: Value) -> str:
    if isinstance(value, Object):
        return "{" + ",".join(f"{key}:{format_value(member)}" for key, member in value.members) + "}"
    if isinstance(value, Array):
        return "[" + ",".join(map(format_value, value.items)) + "]"
    return value.text


def _places(value: Value) -> list[Value]:
    inner = value.items if isinstance(value, Array) else []
    inner = [member for _, member in value.members] if isinstance(value, Object) else inner
    return [value, *(place for each in inner for place in _places(each))]


def spoil(raw: bytes, choose: random.Random) -> tuple[bytes, str]:
    """Return the JSON in ``raw`` with one thing changed, or its bytes when it is none; and what was changed."""
    if choose.random() < 0.12:
        return spoil_bytes(raw, choose)
    try:
        root = parse(raw.decode())
    except (ValueError, RecursionError):
        return spoil_bytes(raw, choose)
    places = _places(root)
    for _ in range(8):
        place = choose.choice(places)
        what = (
            _spoil_array(place, choose)
            if isinstance(place, Array)
            else (_spoil_object(place, choose) if isinstance(place, Object) else _spoil_scalar(place, choose))
        )
        if what:
            return format_value(root).encode("utf-8", "surrogatepass"), what
    return spoil_bytes(raw, choose)


def _spoil_scalar(place: Raw, choose: random.Random) -> str:
    old = place.text
    ways = [choose.choice(_NUMBERS), choose.choice(_NUMBERS), choose.choice(_STRINGS), choose.choice(_WORDS)]
    if old.startswith('"'):
        inner = old[1:-1]
        at = choose.randrange(len(inner) + 1)
        character = inner[at : at + 1]
        escaped = (
            f"\\u{ord(character):04x}" if character and ord(character) < 0x10000 and character != "\\" else "\\u0041"
        )
        ways += [
            f'"{inner[:at]}{escaped}{inner[at + 1 :]}"',
            *(f'"{inner}{end}"' for end in choose.sample(["\\n", " ", "\\u0000", "/", "=", "A", "x", "\\r", "é"], 3)),
            f'"{inner[:-1]}"',
            f'"{inner.upper()}"',
            f'"{inner.swapcase()}"',
            f'" {inner}"',
            f'"{inner[:at]}{inner[at + 1 :]}"',
            f'"{inner * 40}"',
            f'"{inner[:at]}{choose.choice("Aa0-_./:?#@+ %~é")}{inner[at + 1 :]}"',
        ]
    else:
        with suppress(ValueError):
            ways += [str(int(old) + step) for step in (-301, -300, -1, 1, 300, 301, 86_400, -86_400)]
        ways += [f'"{old}"', old + ".0", old + "e0", "-" + old, "0" + old]
    place.text = choose.choice(ways)
    return f"{old[:40]} becomes {place.text[:40]}"


def _spoil_array(place: Array, choose: random.Random) -> str:  # noqa: PLR0911 (one a way)
    items = place.items
    way = choose.randrange(9)
    if way == 0 and items:
        items.insert(choose.randrange(len(items) + 1), choose.choice(items))
        return "an item twice"
    if way == 1 and items:
        del items[choose.randrange(len(items))]
        return "an item gone"
    if way == 2:
        items.reverse()
        return "items reversed"
    if way == 3:
        items.clear()
        return "no items"
    if way == 4:
        items.append(Raw(choose.choice([*_NUMBERS, *_STRINGS, *_WORDS])))
        return "another item"
    if way == 5 and items:
        items.extend([choose.choice(items)] * choose.choice([1, 8, 40, 400]))
        return "many items"
    if way == 6 and items:
        at = choose.randrange(len(items))
        items[at] = _nested(items[at], choose.choice([1, 5, 11, 12, 13, 14, 15, 16, 17, 18, 2000]))
        return "nested"
    if way == 7 and len(items) > 1:
        choose.shuffle(items)
        return "items in another order"
    if items:
        items[0] = Raw(choose.choice(_WORDS))
        return "an item replaced"
    return ""


def _brackets(depth: int) -> tuple[str, str]:
    """Return what opens and what closes ``depth`` levels, objects and arrays in turn."""
    return "".join("[" if n % 2 else '{"a":' for n in range(depth)), "".join(
        "]" if n % 2 else "}" for n in reversed(range(depth))
    )


def _nested(value: Value, depth: int) -> Value:
    opening, closing = _brackets(depth)
    return Raw(opening + format_value(value) + closing)


def _spoil_object(place: Object, choose: random.Random) -> str:  # noqa: PLR0911 (one a way)
    members = place.members
    if not members:
        members.append(('"x"', Raw("1")))
        return "a member where none was"
    at = choose.randrange(len(members))
    key, value = members[at]
    way = choose.randrange(10)
    if way == 0:
        members.insert(choose.randrange(len(members) + 1), (key, value))
        return f"{key} twice"
    if way == 1:
        members.append((key, Raw(choose.choice([*_NUMBERS, *_STRINGS, *_WORDS]))))
        return f"{key} twice, another value"
    if way == 2:
        escaped = '"' + "".join(f"\\u{ord(character):04x}" for character in key[1:-1][:20]) + '"'
        members.append((escaped, value))
        return f"{key} twice, once in escapes"
    if way == 3:
        del members[at]
        return f"{key} gone"
    if way == 4:
        members.append((choose.choice(_KEYS), Raw(choose.choice(["1", '""', "{}", "null"]))))
        return "an unknown member"
    if way == 5:
        choose.shuffle(members)
        return "members in another order"
    if way == 6:
        members[at] = (choose.choice(_SPACES) + key + choose.choice(_SPACES), value)
        return "white space"
    if way == 7:
        members[at] = (key, _nested(value, choose.choice([1, 9, 11, 12, 13, 14, 15, 16, 17, 5000])))
        return f"{key} nested"
    if way == 8:
        members[at] = (key, Raw(choose.choice([*_WORDS, *_NUMBERS, *_STRINGS])))
        return f"{key} replaced"
    members[at] = (choose.choice([key[:-1] + '\\n"', key.upper(), key[:-1] + ' "', key.replace("_", "-"), "1"]), value)
    return f"{key} under another name"


def spoil_bytes(raw: bytes, choose: random.Random) -> tuple[bytes, str]:
    """Return ``raw``, any text, with one thing changed on the level of bytes; and what."""
    at = choose.randrange(len(raw) + 1)
    odd = choose.choice(
        [
            b"\xff",
            b"\xc0\xaf",
            b"\xed\xa0\x80",
            b"\xef\xbb\xbf",
            b"\0",
            b"\r\n",
            b" ",
            b"\n",
            b"\xf4\x90\x80\x80",
            b"\xc2\xa0",
        ]
    )
    bit = raw[:at] + bytes([raw[at] ^ 1 << choose.randrange(8)]) + raw[at + 1 :] if at < len(raw) else raw + b"\1"
    ways = {
        "a byte order mark before": b"\xef\xbb\xbf" + raw,
        "space before": choose.choice([b" ", b"\n", b"\t\r\n", b"\x0b", b"\x0c", b"\xc2\xa0"]) + raw,
        "something behind": raw
        + choose.choice([b" ", b"\n", b"\r\n", b"\0", b"x", b"\x0c", b"\x1f", b"\xc2\x85", raw]),
        "odd bytes": raw[:at] + odd + raw[at:],
        "a bit": bit,
        "cut short": raw[:at],
        "cut at the front": raw[at:],
        "CR LF": raw.replace(b"\n", b"\r\n"),
        "nothing left": b"",
        "UTF-16": raw.decode("latin-1").encode("utf-16"),
        "a slice twice": raw[:at] + raw[at : at + 9] + raw[at:],
    }
    what = choose.choice([*ways, "a bit", "odd bytes"])
    return ways[what], what
