"""The work proof (ALTCHA, version 2): a challenge bound to one receipt, and its solution."""

from marshmallow import fields

from schemas.strict import Integer, StrictSchema, constant, hex_sha256, text, time

ALGORITHM = "PBKDF2/SHA-256"
MAX_WORK_CHARACTERS = 2048


class WorkData(StrictSchema):
    receipt_sha256 = hex_sha256()


class WorkParameters(StrictSchema):
    """The spelling is ALTCHA's. ``cost``: PBKDF2 iterations a try. ``keyPrefix``: of the key to be found, hex."""

    algorithm = constant(ALGORITHM)
    nonce = text("[0-9a-f]{32}")
    salt = text("[0-9a-f]{32}")
    cost = Integer(required=True, minimum=1, maximum=10_000_000)
    keyLength = Integer(required=True, minimum=32, maximum=32)  # noqa: N815
    keyPrefix = text("[0-9a-f]{32}")  # noqa: N815
    keySignature = hex_sha256()  # noqa: N815
    expiresAt = time()  # noqa: N815
    data = fields.Nested(WorkData, required=True)


class WorkChallenge(StrictSchema):
    parameters = fields.Nested(WorkParameters, required=True)
    signature = hex_sha256()


class WorkSolution(StrictSchema):
    """``counter``: the try that found the key. ``derivedKey``: that key, hex."""

    counter = Integer(required=True, minimum=0, maximum=2**32 - 1)
    derivedKey = hex_sha256()  # noqa: N815


class WorkProof(StrictSchema):
    challenge = fields.Nested(WorkChallenge, required=True)
    solution = fields.Nested(WorkSolution, required=True)
