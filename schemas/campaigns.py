"""A consumer group's campaign, as it is stored and as anyone may read it."""

from marshmallow import fields, validate

from schemas import vocabulary as words
from schemas.receipts import no_repeats
from schemas.releases import EPSILON
from schemas.strict import Flag, Pattern, ShortDict, ShortList, StrictSchema, choice, text

SLUG = "[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?"
_LINK = 'https://[!"$->@-~]{1,255}'


class CampaignDescription(StrictSchema):
    """``names``: what the group calls it, by ISO 639-1 code of its language; in one at least."""

    names = ShortDict(
        keys=fields.String(validate=Pattern("[a-z]{2}")),
        values=fields.String(validate=[validate.Length(1, 80), Pattern(r"[^\x00-\x1f\x7f]*")]),
        required=True,
        minimum=1,
        maximum=24,
    )
    countries = ShortList(
        choice(*words.EU_COUNTRIES, *words.EEA_COUNTRIES), required=True, minimum=1, maximum=30, also=no_repeats
    )
    link = fields.String(required=True, validate=Pattern(_LINK))
    contact = fields.String(required=True, validate=[validate.Length(1, 254), Pattern(r"[^\s@]+@[^\s@]+")])


class CampaignName(StrictSchema):
    language = text("[a-z]{2}")
    name = fields.String(required=True, validate=validate.Length(1, 80))


class JoinableCampaign(StrictSchema):
    slug = text(SLUG)
    names = ShortList(fields.Nested(CampaignName), required=True, minimum=1, maximum=24)
    countries = ShortList(choice(*words.COUNTRIES), required=True, minimum=1, maximum=30, also=no_repeats)
    link = text(_LINK)
    contact = fields.String(required=True, validate=validate.Length(1, 254))
    open_figures = Flag(required=True)


class Campaigns(StrictSchema):
    """What an objection may count for besides the general counts. ``epsilon``: what joining adds to a budget."""

    campaigns = ShortList(fields.Nested(JoinableCampaign), required=True, minimum=0, maximum=1000)
    epsilon = text(EPSILON)
