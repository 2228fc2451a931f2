"""A consumer group's campaign, as it is stored and as anyone may read it."""

from marshmallow import fields, validate

from schemas import vocabulary as words
from schemas.receipts import no_repeats
from schemas.strict import Pattern, StrictSchema, choice

SLUG = "[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?"
_LINK = 'https://[!"$->@-~]{1,255}'


class CampaignDescription(StrictSchema):
    """``names``: what the group calls it, by language; English, French or German, at least one."""

    names = fields.Dict(
        keys=fields.String(validate=Pattern("[a-z]{2}")),
        values=fields.String(validate=[validate.Length(1, 80), Pattern(r"[^\x00-\x1f\x7f]*")]),
        required=True,
        validate=validate.Length(1, 24),
    )
    countries = fields.List(
        choice(*words.EU_COUNTRIES, *words.EEA_COUNTRIES), required=True, validate=[validate.Length(1, 30), no_repeats]
    )
    link = fields.String(required=True, validate=Pattern(_LINK))
    contact = fields.String(required=True, validate=[validate.Length(1, 254), Pattern(r"[^\s@]+@[^\s@]+")])
