"""The payload of an objection receipt, all kinds. Each has the holder's clock, a nonce and the controller."""

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, validate

from schemas import vocabulary as words
from schemas.strict import (
    Integer,
    Pattern,
    ShortList,
    StrictSchema,
    Variant,
    choice,
    constant,
    digest,
    hex_sha256,
    refuse_repeats,
    text,
    time,
)

_HOSTS = r"(?:facebook\.com|instagram\.com|threads\.net|threads\.com|meta\.com|whatsapp\.com|messenger\.com)"
_PATH = '/[!"$->@-~]*'  # printable ASCII without ? and #
_NOTICE_URL = rf"(?:https://(?:[a-z0-9-]+\.)*{_HOSTS}{_PATH}|http://127\.0\.0\.1:[0-9]{{1,5}}/practice)"


def language() -> fields.String:
    return text("[a-z]{2}(?:-[A-Z]{2})?")


def evidence_name() -> fields.String:
    return text(r"[a-z0-9][a-z0-9-]{0,47}\.[a-z0-9]{1,8}")


def data_categories() -> ShortList:
    categories = words.DATA_CATEGORIES
    return ShortList(choice(*categories), required=True, minimum=1, maximum=len(categories), also=no_repeats)


def no_repeats(values: list[str]) -> None:
    refuse_repeats(values, "items")


class Evidence(StrictSchema):
    name = evidence_name()
    media_type = choice(*words.MEDIA_TYPES)
    size = Integer(required=True, minimum=1, maximum=words.MAX_EVIDENCE_BYTES)
    sha256 = hex_sha256()


class SeenNotice(StrictSchema):
    """A notice that the extension found on a page."""

    channel = choice(*words.SEEN_CHANNELS)
    language = language()
    rule = text("[a-z0-9][a-z0-9.-]{0,63}")
    ruleset = text(r"[0-9]{4}\.[0-9]{1,2}\.[0-9]{1,3}")
    url = fields.String(required=True, validate=[validate.Length(max=512), Pattern(_NOTICE_URL)])
    text_sha256 = hex_sha256()


class UnseenNotice(StrictSchema):
    """An objection to what was announced elsewhere: by e-mail, or nowhere that the extension looked."""

    channel = choice(*words.UNSEEN_CHANNELS)


class Statement(StrictSchema):
    template = choice(*words.STATEMENT_TEMPLATES)
    language = language()


class Objection(StrictSchema):
    right = constant(words.RIGHT)
    contested_basis = constant(words.CONTESTED_BASIS)
    data_categories = data_categories()
    statement = fields.Nested(Statement, required=True)


class Slot(StrictSchema):
    """One salted digest; only the holder can open it."""

    _sd = ShortList(digest(), required=True, minimum=1, maximum=1)


def distinct_digests(data: Mapping[str, Any]) -> None:
    refuse_repeats([data[slot]["_sd"][0] for slot in words.SLOTS], "digests")


class SelfAsserted(StrictSchema):
    """Always all three slots, so that nobody sees whether something was declared."""

    account = fields.Nested(Slot, required=True)
    contact = fields.Nested(Slot, required=True)
    person = fields.Nested(Slot, required=True)
    rules = (distinct_digests,)


class _Receipt(StrictSchema):
    jti = text("[A-Za-z0-9_-]{21}[AQgw]")
    iat = time()
    controller = constant(words.CONTROLLER)


def bounded_evidence(data: Mapping[str, Any]) -> None:
    refuse_repeats([item["name"] for item in data["evidence"]], "evidence names")
    if sum(item["size"] for item in data["evidence"]) > words.MAX_EVIDENCE_TOTAL_BYTES:
        raise ValidationError(f"at most {words.MAX_EVIDENCE_TOTAL_BYTES} bytes together", "evidence")


class ObjectionReceipt(_Receipt):
    kind = constant("objection")
    platform = choice(*words.PLATFORMS)
    notice = Variant(
        "channel",
        dict.fromkeys(words.SEEN_CHANNELS, SeenNotice) | dict.fromkeys(words.UNSEEN_CHANNELS, UnseenNotice),
        required=True,
    )
    objection = fields.Nested(Objection, required=True)
    country = choice(*words.COUNTRIES)
    campaign = text("[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?", required=False)
    evidence = ShortList(fields.Nested(Evidence), required=True, minimum=0, maximum=words.MAX_EVIDENCE_ITEMS)
    self_asserted = fields.Nested(SelfAsserted, required=True)
    rules = (bounded_evidence,)


class SupplementReceipt(_Receipt):
    kind = constant("supplement")
    objection_sha256 = hex_sha256()
    evidence = ShortList(fields.Nested(Evidence), required=True, minimum=1, maximum=words.MAX_EVIDENCE_ITEMS)
    rules = (bounded_evidence,)


class WithdrawalReceipt(_Receipt):
    kind = constant("withdrawal")
    objection_sha256 = hex_sha256()


class ErasureReceipt(_Receipt):
    kind = constant("erasure")
    objection_sha256 = hex_sha256()


RECEIPTS: dict[str, type[StrictSchema]] = {
    "objection": ObjectionReceipt,
    "supplement": SupplementReceipt,
    "withdrawal": WithdrawalReceipt,
    "erasure": ErasureReceipt,
}
