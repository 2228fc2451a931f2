"""A release of counts, as it is signed."""

from marshmallow import fields, validate

from schemas import vocabulary as words
from schemas.receipts import no_repeats
from schemas.strict import Integer, Pattern, ShortList, StrictSchema, choice, hex_sha256, text, time

MAX_CELLS = 1024
MAX_ROWS = 10_000  # of one page
ALL = "_T"  # SDMX: what is summed over
EPOCH = "[1-9][0-9]{3}-(?:W(?:0[1-9]|[1-4][0-9]|5[0-3])|Q[1-4]|0[1-9]|1[0-2])"  # ISO 8601: a week, quarter or month
TABLE = "[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?"
EPSILON = "[1-9](?:/[1-9][0-9]?)?"  # so small that no interval takes long to compute, nor overflows
_URL = 'https?://[!"$->@-~]{1,255}'


class ReleasedCell(StrictSchema):
    """One number, with its noise. What a table does not break down by is not there."""

    geo = fields.String(validate=validate.OneOf(words.COUNTRIES))
    platform = fields.String(validate=validate.OneOf(words.PLATFORMS))
    channel = fields.String(validate=validate.OneOf(words.CHANNELS))
    outcome = fields.String(validate=validate.OneOf(words.OUTCOMES))
    value = Integer(required=True, minimum=-(2**53) + 1, maximum=2**53 - 1)


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
    dimensions = ShortList(
        choice("geo", "platform", "channel", "outcome"), required=True, minimum=0, maximum=4, also=no_repeats
    )
    cells = ShortList(fields.Nested(ReleasedCell), required=True, minimum=1, maximum=MAX_CELLS)
    declaration_sha256 = hex_sha256()


class PublishedRelease(ReleaseClaims):
    """A release as it is read out. ``signed``: the JWS that says the same, and proves it."""

    signed = fields.String(required=True, validate=validate.Length(1, 131_072))


class CountedFigure(StrictSchema):
    """One figure: a sum of ``cells`` released ones. ``release_id``: of a figure of one epoch."""

    epoch = text(f"{EPOCH}(?:/{EPOCH})?")
    geo = choice(*words.COUNTRIES, ALL)
    platform = choice(*words.PLATFORMS, ALL)
    channel = choice(*words.CHANNELS, ALL)
    outcome = choice(*words.OUTCOMES, ALL)
    value_noisy = Integer(required=True, minimum=-(2**53) + 1, maximum=2**53 - 1)
    ci95_low = Integer(required=True, minimum=-(2**53) + 1, maximum=2**53 - 1)
    ci95_high = Integer(required=True, minimum=-(2**53) + 1, maximum=2**53 - 1)
    obs_status = choice("A", "U")
    release_id = fields.String(required=True, allow_none=True, validate=Pattern(f"{TABLE}-{EPOCH}"))
    cells = Integer(required=True, minimum=1, maximum=2**53 - 1)


class Counts(StrictSchema):
    """A page of figures. ``next``: the address of the following page, where there is one."""

    table = text(TABLE)
    by = ShortList(
        choice("epoch", "geo", "platform", "channel", "outcome"), required=True, minimum=0, maximum=5, also=no_repeats
    )
    rows = ShortList(fields.Nested(CountedFigure), required=True, minimum=0, maximum=MAX_ROWS)
    licence = text("[A-Za-z0-9.-]{1,64}")
    next = fields.String(validate=validate.Length(1, 512))


class ListedRelease(StrictSchema):
    id = text(f"{TABLE}-{EPOCH}")
    table = text(TABLE)
    epoch = text(EPOCH)
    released_at = time()
    href = fields.String(required=True, validate=validate.Length(1, 256))


class Releases(StrictSchema):
    """A page of the list of releases, the newest first."""

    releases = ShortList(fields.Nested(ListedRelease), required=True, minimum=0, maximum=1000)
    next = fields.String(validate=validate.Length(1, 512))
