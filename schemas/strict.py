"""Fields that accept one spelling of a value and nothing else."""

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate


class StrictSchema(Schema):
    """Unknown members are refused, at every level."""

    class Meta:
        unknown = RAISE


class Integer(fields.Integer):
    """A JSON integer: no booleans, no numbers in strings."""

    def __init__(self, *, minimum: int, maximum: int, **kwargs: Any) -> None:
        super().__init__(strict=True, validate=validate.Range(minimum, maximum), **kwargs)

    def _validated(self, value: Any) -> int:
        if type(value) is not int:
            raise self.make_error("invalid", input=value)
        return value


class Flag(fields.Boolean):
    """A JSON boolean: no numbers, no words."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if type(value) is not bool:
            raise self.make_error("invalid", input=value)
        return value


class Variant(fields.Field[dict[str, Any]]):
    """An object whose member ``by`` decides which of ``schemas`` it must satisfy."""

    def __init__(self, by: str, schemas: Mapping[str, type[StrictSchema]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.by = by
        self.schemas = {value: schema() for value, schema in schemas.items()}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValidationError("must be an object")
        kind = value.get(self.by)
        schema = self.schemas.get(kind) if isinstance(kind, str) else None
        if schema is None:
            raise ValidationError({self.by: [f"must be one of: {', '.join(self.schemas)}"]})
        loaded: dict[str, Any] = schema.load(value)
        return loaded


class Pattern(validate.Validator):
    """The whole text must match; ``$`` alone would let a final newline pass. apispec reads ``regex``."""

    def __init__(self, pattern: str) -> None:
        self.regex = re.compile(f"^{pattern}$")

    def __call__(self, value: str) -> str:
        if self.regex.fullmatch(value) is None:
            raise ValidationError(f"must match {self.regex.pattern}")
        return value


def text(pattern: str, **kwargs: Any) -> fields.String:
    """A required string that matches ``pattern`` as a whole; further arguments go to the field."""
    return fields.String(validate=Pattern(pattern), **{"required": True, **kwargs})


def constant(value: str) -> fields.String:
    return fields.String(required=True, validate=validate.OneOf([value]))


def choice(*values: str) -> fields.String:
    return fields.String(required=True, validate=validate.OneOf(values))


def hex_sha256(**kwargs: Any) -> fields.String:
    return text("[0-9a-f]{64}", **kwargs)


def digest() -> fields.String:
    """32 bytes in base64url: 43 characters, the last of which has two unused zero bits."""
    return text("[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


def time() -> Integer:
    """Whole seconds since 1970, until the year 9999."""
    return Integer(required=True, minimum=0, maximum=253402300799)


def refuse_repeats(values: list[Any], what: str) -> None:
    if len(set(values)) != len(values):
        raise ValidationError(f"{what} must not repeat")
