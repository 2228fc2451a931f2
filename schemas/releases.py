"""A release of counts, as it is signed."""

from marshmallow import fields, validate

from schemas import vocabulary as words
from schemas.receipts import no_repeats
from schemas.strict import Integer, StrictSchema, choice, hex_sha256, text, time

MAX_CELLS = 1024
EPOCH = "[0-9]{4}-(?:W[0-9]{2}|Q[1-4]|[0-9]{2})"
TABLE = "[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?"
EPSILON = "[1-9](?:/[1-9][0-9]?)?"  # so small that no interval takes long to compute, nor overflows
_URL = 'https?://[!"$->@-~]{1,255}'


class ReleasedCell(StrictSchema):
    """One number, with its noise. What a table does not break down by is not there."""

    geo = fields.String(validate=validate.OneOf(words.COUNTRIES))
    platform = fields.String(validate=validate.OneOf(words.PLATFORMS))
    channel = fields.String(validate=validate.OneOf(words.CHANNELS))
    outcome = fields.String(validate=validate.OneOf(words.OUTCOMES))
    value = Integer(required=True, minimum=-(2**53), maximum=2**53)


class ReleaseClaims(StrictSchema):
    """Every cell of one table for one epoch. ``ci95``: the noise is within ± this many in at least 95 % of cells."""

    iss = text(_URL)
    iat = time()
    id = text(f"{TABLE}-{EPOCH}")
    table = text(TABLE)
    epoch = text(EPOCH)
    starts_at = time()
    ends_at = time()
    mechanism = choice("discrete-laplace")
    epsilon = text(EPSILON)
    ci95 = Integer(required=True, minimum=0, maximum=1_000_000)
    dimensions = fields.List(
        choice("geo", "platform", "channel", "outcome"), required=True, validate=[validate.Length(0, 4), no_repeats]
    )
    cells = fields.List(fields.Nested(ReleasedCell), required=True, validate=validate.Length(1, MAX_CELLS))
    declaration_sha256 = hex_sha256()
