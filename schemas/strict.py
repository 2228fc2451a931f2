"""Fields that accept one spelling of a value and nothing else.

Nearly all that comes is well-formed, and marshmallow takes three times as long to say so as its signature takes to
verify. So each schema is also compiled, from the same fields, into a check that says yes to exactly what marshmallow
accepts; where it says no, marshmallow is asked and words the refusal.
"""

import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar

from marshmallow import RAISE, Schema, ValidationError, fields, pre_load, validate, validates_schema

Check = Callable[[Any], bool]
_MAX_STRANGERS = 16  # unknown members of an object that are named one by one


class StrictSchema(Schema):
    """Unknown members are refused, at every level. ``rules`` raise ValidationError on what no single field can tell.

    They take the place of marshmallow's own hooks, of which the compiled check knows nothing.
    """

    rules: ClassVar[tuple[Callable[[Mapping[str, Any]], None], ...]] = ()

    class Meta:
        unknown = RAISE

    def refusals(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is wrong with ``value``, as marshmallow's ``validate`` does, which this is faster than."""
        return {} if _compiled(type(self))(value) else self.validate(value)

    @pre_load
    def refuse_crowds(self, data: Any, **_: object) -> Any:
        """Stop before each of very many members is judged and worded."""
        if isinstance(data, Mapping) and len(data) > len(self.fields) + _MAX_STRANGERS:
            raise ValidationError(f"has {len(data)} members")
        return data

    @validates_schema
    def keep_rules(self, data: Mapping[str, Any], **_: object) -> None:
        for rule in self.rules:
            rule(data)


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


class ShortList(fields.List[Any]):
    """A list of at most ``maximum`` items, counted before any of them is judged: wording each is costly.

    ``also``: validators of the whole list, once each item holds.
    """

    def __init__(
        self,
        item: fields.Field[Any],
        *,
        minimum: int,
        maximum: int,
        also: Callable[[list[Any]], None] | None = None,
        **kwargs: Any,
    ) -> None:
        self.length = validate.Length(minimum, maximum)
        super().__init__(item, validate=[self.length, also] if also else self.length, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if isinstance(value, list):
            self.length(value)
        return super()._deserialize(value, attr, data, **kwargs)


class ShortDict(fields.Dict):
    """A mapping of at most ``maximum`` members, counted before any of them is judged."""

    def __init__(self, *, minimum: int, maximum: int, **kwargs: Any) -> None:
        self.length = validate.Length(minimum, maximum)
        super().__init__(validate=self.length, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, Mapping):
            self.length(value)
        return super()._deserialize(value, attr, data, **kwargs)  # type: ignore[no-untyped-call]


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


@cache
def _compiled(schema: type[StrictSchema]) -> Check:
    return _object_check(schema())


def _object_check(schema: StrictSchema) -> Check:
    members = {field.data_key or name: _field_check(field) for name, field in schema.fields.items()}
    required = {field.data_key or name for name, field in schema.fields.items() if field.required}
    rules = [_holds(rule) for rule in schema.rules]

    def accepts(value: Any) -> bool:
        if type(value) is not dict or not required <= value.keys():
            return False
        for name, member in value.items():
            check = members.get(name)
            if check is None or not check(member):
                return False
        return all(rule(value) for rule in rules)

    return accepts


def _field_check(field: fields.Field[Any]) -> Check:
    return _compiled_field(field) or _holds(field.deserialize)


def _compiled_field(field: fields.Field[Any]) -> Check | None:  # noqa: PLR0911 (one a kind of field)
    """Return the check of ``field`` alone, or None for a kind that marshmallow itself must judge, slowly."""
    if field.allow_none:
        return None
    match field, field.validators:
        case fields.String(), [Pattern(regex=regex)]:
            return lambda value: type(value) is str and regex.fullmatch(value) is not None
        case fields.String(), [validate.OneOf(choices=choices)]:
            return lambda value: type(value) is str and value in choices
        case fields.String(), validators:
            checks = [_holds(validator) for validator in validators]
            return lambda value: type(value) is str and all(check(value) for check in checks)
        case Integer(), [validate.Range(min=low, max=high)]:
            return lambda value: type(value) is int and low <= value <= high
        case Flag(), []:
            return lambda value: type(value) is bool
        case fields.List(), [validate.Length() as length, *others]:
            return _list_check(_field_check(field.inner), length, [_holds(validator) for validator in others])
        # ``many``: None where nobody said, which is marshmallow's default.
        case fields.Nested(schema=StrictSchema(many=False) as schema, many=None | False, unknown=None), [] if not (
            field.only or field.exclude
        ):
            return _object_check(schema)
        case Variant(), []:
            return _variant_check(field.by, {kind: _object_check(schema) for kind, schema in field.schemas.items()})
        case _:
            return None


def _list_check(item: Check, length: validate.Length, others: list[Check]) -> Check:
    low, high = length.min or 0, math.inf if length.max is None else length.max
    if length.equal is not None:
        low = high = length.equal

    def accepts(value: Any) -> bool:
        # Each item first: what a validator of the whole list may take for granted, as marshmallow has it.
        return (
            type(value) is list
            and low <= len(value) <= high
            and all(map(item, value))
            and all(check(value) for check in others)
        )

    return accepts


def _variant_check(by: str, variants: Mapping[str, Check]) -> Check:
    def accepts(value: Any) -> bool:
        kind = value.get(by) if type(value) is dict else None
        return type(kind) is str and kind in variants and variants[kind](value)

    return accepts


def _holds(check: Callable[[Any], Any]) -> Check:
    """Return whether ``check`` raises no ValidationError."""

    def holds(value: Any) -> bool:
        try:
            check(value)
        except ValidationError:
            return False
        return True

    return holds
