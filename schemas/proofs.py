"""What the register gives back: answer, token claims, policy, bundle manifest, problem details."""

from marshmallow import fields, validate

from schemas import vocabulary as words
from schemas.receipts import SelfAsserted, data_categories, evidence_name, no_repeats
from schemas.strict import (
    Flag,
    Integer,
    Pattern,
    ShortList,
    StrictSchema,
    Variant,
    choice,
    constant,
    digest,
    hex_sha256,
    text,
    time,
)

_MAX_INDEX = 2**53 - 1
_ORIGIN = "[!-*,-~]{1,255}"  # printable ASCII without +
_URL = 'https?://[!"$->@-~]{1,255}'  # printable ASCII without ? and #


class PublicKey(StrictSchema):
    kty = constant("EC")
    crv = constant("P-256")
    x = digest()
    y = digest()


class Confirmation(StrictSchema):
    jwk = fields.Nested(PublicKey, required=True)


class StatusReference(StrictSchema):
    idx = Integer(required=True, minimum=0, maximum=_MAX_INDEX)
    uri = text(_URL)


class Status(StrictSchema):
    status_list = fields.Nested(StatusReference, required=True)


class LogPosition(StrictSchema):
    origin = text(_ORIGIN)
    index = Integer(required=True, minimum=0, maximum=_MAX_INDEX)


class TokenEvidence(StrictSchema):
    name = evidence_name()
    media_type = choice(*words.MEDIA_TYPES)
    sha256 = hex_sha256()


class TokenClaims(StrictSchema):
    """Claims of the proof-of-objection token (SD-JWT VC), all in plain text but for the three self-asserted slots."""

    _sd_alg = constant("sha-256")
    iss = text(_URL)
    vct = text(_URL)
    iat = time()
    cnf = fields.Nested(Confirmation, required=True)
    status = fields.Nested(Status, required=True)
    controller = constant(words.CONTROLLER)
    platform = choice(*words.PLATFORMS)
    right = constant(words.RIGHT)
    contested_basis = constant(words.CONTESTED_BASIS)
    data_categories = data_categories()
    objected_at = time()
    received_at = time()
    receipt_sha256 = hex_sha256()
    log = fields.Nested(LogPosition, required=True)
    evidence = ShortList(fields.Nested(TokenEvidence), required=True, minimum=0, maximum=words.MAX_EVIDENCE_ITEMS)
    assurance = choice(*words.ASSURANCES)
    self_asserted = fields.Nested(SelfAsserted, required=True)


class _AboutSignature(StrictSchema):
    domain = text("[a-z0-9.-]{1,253}")
    selector = text("[A-Za-z0-9._-]{1,253}")


class SignedMail(_AboutSignature):
    """A signature by a domain on the register's list held when the register received the mail."""

    finding = constant("signed")
    signed_at = Integer(minimum=0, maximum=253402300799)
    # The domain of the From header.
    from_ = fields.String(required=True, data_key="from", validate=Pattern("[a-z0-9.-]{1,253}"))
    subject = fields.String(required=True, validate=validate.Length(0, 998))
    date = Integer(minimum=0, maximum=253402300799)
    key_sha256 = hex_sha256()
    known = text("[a-z0-9][a-z0-9-]{0,63}")
    kind = choice(*words.MAIL_KINDS, words.UNKNOWN_MAIL)


class KeyedMail(_AboutSignature):
    """A signature that did not hold by the key that the register saw."""

    finding = choice(*(name for name in words.KEYED_FINDINGS if name != "signed"))
    key_sha256 = hex_sha256()


class KeylessMail(_AboutSignature):
    """A signature by which the register could not tell anything, or need not ask for its key."""

    finding = choice(*words.SIGNATURE_FINDINGS)


class UnsignedMail(StrictSchema):
    """A mail without a signature that can be read."""

    finding = choice(*words.MAIL_FINDINGS)


def mail_finding() -> Variant:
    """What the register saw of a mail's own signature when it received the mail."""
    kinds: dict[str, type[StrictSchema]] = {"signed": SignedMail}
    kinds |= {name: KeyedMail for name in words.KEYED_FINDINGS if name not in kinds}
    kinds |= dict.fromkeys(words.SIGNATURE_FINDINGS, KeylessMail) | dict.fromkeys(words.MAIL_FINDINGS, UnsignedMail)
    return Variant("finding", kinds)


class AcknowledgedEvidence(TokenEvidence):
    """``dkim``: of each mail, and of nothing else."""

    dkim = mail_finding()


class AcknowledgementClaims(StrictSchema):
    """The register's signed word that it recorded a later receipt, and what it saw in it."""

    iss = text(_URL)
    iat = time()
    cnf = fields.Nested(Confirmation, required=True)
    kind = choice("supplement", "withdrawal", "erasure")
    objection_sha256 = hex_sha256()
    receipt_sha256 = hex_sha256()
    signed_at = time()
    received_at = time()
    log = fields.Nested(LogPosition, required=True)
    evidence = ShortList(
        fields.Nested(AcknowledgedEvidence), required=True, minimum=0, maximum=words.MAX_EVIDENCE_ITEMS
    )


class StatusBits(StrictSchema):
    bits = Integer(required=True, minimum=2, maximum=2)
    lst = text("[A-Za-z0-9_-]{1,32768}")


class StatusListClaims(StrictSchema):
    """Token Status List, draft 21: two bits a token."""

    sub = text(_URL)
    iat = time()
    exp = time()
    ttl = Integer(required=True, minimum=1, maximum=31_536_000)
    status_list = fields.Nested(StatusBits, required=True)


class SubmissionAnswer(StrictSchema):
    receipt_sha256 = hex_sha256()
    kind = choice(*words.KINDS)
    received_at = time()
    state = choice("recorded", "anchored")
    status = choice("stands", "withdrawn", "erased")
    token = fields.String(required=True, validate=validate.Length(max=16_384))
    proof = fields.String(required=True, validate=validate.Length(max=16_384))
    remains = ShortList(choice(*words.REMAINS), minimum=0, maximum=len(words.REMAINS), also=no_repeats)
    anchored_entries = Integer(minimum=0, maximum=words.MAX_ENTRIES)


class IssuerKey(PublicKey):
    kid = digest()


class TimeAuthority(StrictSchema):
    """A time authority by its certificates (DER, base64): its own first, its root last."""

    name = text("[a-z0-9][a-z0-9-]{0,31}")
    certificates = ShortList(fields.String(validate=validate.Length(1, 8192)), required=True, minimum=1, maximum=4)
    trusted = Flag(required=True)


class Policy(StrictSchema):
    """Whom a verifier trusts: the issuer's keys, the log as a C2SP tlog-policy, authorities for time."""

    v = Integer(required=True, minimum=1, maximum=1)
    issuer = text(_URL)
    issuer_keys = ShortList(fields.Nested(IssuerKey), required=True, minimum=1, maximum=64)
    log = fields.String(required=True, validate=validate.Length(1, 16_384))
    time_authorities = ShortList(fields.Nested(TimeAuthority), required=True, minimum=0, maximum=8)


class BundledFile(StrictSchema):
    name = text(r"(?:[a-z]{1,16}/(?:[0-9]{2}(?:-[a-z]{1,16})?/)?)?[a-z0-9A-Z][A-Za-z0-9-]{0,63}\.[a-z0-9-]{1,16}")
    role = choice(*words.BUNDLE_ROLES)
    media_type = text(r"[a-z]+/[a-z0-9.+-]{1,100}(?:; charset=utf-8)?")
    size = Integer(required=True, minimum=1, maximum=words.MAX_EVIDENCE_BYTES)
    sha256 = hex_sha256()


class BundleManifest(StrictSchema):
    """Every file of a bundle but this list itself and what the container form adds."""

    v = Integer(required=True, minimum=1, maximum=1)
    receipt_sha256 = hex_sha256()
    state = choice("recorded", "anchored")
    files = ShortList(fields.Nested(BundledFile), required=True, minimum=1, maximum=words.MAX_BUNDLE_FILES)


class Check(StrictSchema):
    """One line of a report; ``code`` when it failed."""

    id = fields.String(required=True)
    title = fields.String(required=True)
    outcome = choice("passed", "failed", "not-checked", "not-present")
    reason = fields.String(required=True)
    code = fields.String()


class VerificationReport(StrictSchema):
    """What a verifier found. ``facts`` mean something only beside the verdict."""

    verdict = choice("valid", "invalid", "withdrawn", "erased")
    valid = fields.Boolean(required=True)
    checks = ShortList(fields.Nested(Check), required=True, minimum=1, maximum=32)
    facts = fields.Dict(required=True)
    shows = ShortList(fields.String(), required=True, minimum=0, maximum=32)
    does_not_show = ShortList(fields.String(), required=True, minimum=0, maximum=32)


class FieldProblem(StrictSchema):
    field = fields.String(required=True)
    problem = fields.String(required=True)


class Problem(StrictSchema):
    """RFC 9457 problem details. ``code`` is stable."""

    type = fields.String(required=True)
    title = fields.String(required=True)
    status = Integer(required=True, minimum=400, maximum=599)
    detail = fields.String(required=True)
    code = fields.String(required=True)
    request_id = fields.String(required=True)
    errors = ShortList(fields.Nested(FieldProblem), minimum=1, maximum=20)
