"""CBOR (RFC 8949), as much as the certificate needs to hand its data to typst: written, never read."""

import struct
from collections.abc import Mapping, Sequence


def format_cbor(value: object) -> bytes:
    """Return ``value`` (texts, bytes, whole and broken numbers, truth values, lists, mappings by text) as CBOR."""
    out = bytearray()
    _write(value, out)
    return bytes(out)


def _write(value: object, out: bytearray) -> None:
    match value:
        case bool():
            out.append(0xF5 if value else 0xF4)
        case int() if value >= 0:
            out += _head(0, value)
        case float():
            out += b"\xfb" + struct.pack(">d", value)
        case bytes():
            out += _head(2, len(value)) + value
        case str():
            encoded = value.encode()
            out += _head(3, len(encoded)) + encoded
        case Mapping():
            out += _head(5, len(value))
            for key, item in value.items():
                _write(str(key), out)
                _write(item, out)
        case Sequence():
            out += _head(4, len(value))
            for item in value:
                _write(item, out)
        case _:
            raise TypeError(f"no CBOR for {type(value).__name__}")


def _head(major: int, number: int) -> bytes:
    return bytes([major << 5 | 27]) + struct.pack(">Q", number)
