"""What a holder may read: the answer again, and the bundle."""

from dataclasses import dataclass

from server.core.dpop import MAX_AGE_S, verify_dpop
from server.core.jws import thumbprint
from server.core.tokens import verify_token
from server.errors import Forbidden, NotFound, ObjectionError, Unauthorised, VerificationError
from server.store import records
from server.usecases.log_writer import find_logged
from server.usecases.open_record import OpenedRecord, open_record
from server.usecases.record_objection import RecordAnswer, answer
from server.usecases.register import Register, holder_scoped


@dataclass(frozen=True)
class HolderRequest:
    """A request as it came: the token and the DPoP proof from its headers, the method and URL that were asked."""

    raw_token: str
    dpop_proof: str
    holder_share: bytes
    method: str
    url: str


def read_record(register: Register, receipt_sha256: bytes, request: HolderRequest) -> tuple[RecordAnswer, OpenedRecord]:
    """Return the answer for a record, with a fresh proof, and the record opened.

    Raises Unauthorised unless the caller holds the key of the token; Forbidden when the token is of another record, or
    the share does not open this one; NotFound when there is none.
    """
    _verify_holder(register, receipt_sha256, request)
    with register.database.reading() as connection:
        logged = find_logged(connection, receipt_sha256, policy=register.keyring.policy)
    if logged is None:
        raise NotFound("record_not_found", "there is no such record here")
    try:
        opened = open_record(register, logged.record, request.holder_share)
    except VerificationError as error:
        raise Forbidden(error.code, str(error)) from error
    return answer(register, opened.receipt, logged), opened


def _verify_holder(register: Register, receipt_sha256: bytes, request: HolderRequest) -> None:
    now = register.clock()
    try:
        token = verify_token(request.raw_token, register.keyring.policy)
    except ObjectionError as error:
        raise Unauthorised("token_refused", f"the token does not hold: {error}") from error
    jti = verify_dpop(request.dpop_proof, token, request.raw_token, method=request.method, url=request.url, now=now)
    # Looked at before the replay cache is written: a stranger must not fill it.
    if token.receipt_sha256 != receipt_sha256.hex():
        raise Forbidden("not_the_holder", "this token is of another record")
    proof_id = holder_scoped(thumbprint(token.holder_jwk), jti)
    with register.database.writing() as connection:
        fresh = records.spend_dpop_proof(connection, proof_id, now=now, expires_at=now + 2 * MAX_AGE_S)
    if not fresh:
        raise Unauthorised("dpop_replayed", "this DPoP proof was used before; sign a new one")
