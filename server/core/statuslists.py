"""Whether objections still stand, two bits each (Token Status List, draft 21)."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.proofs import StatusListClaims
from server.core.encoding import JsonObject, format_base64url, parse_base64url
from server.core.jws import PrivateKey
from server.core.policies import TrustPolicy, sign_issued, verify_issued
from server.errors import FieldError, ParseError

STATUS_LIST_TYPE = "statuslist+jwt"
STATUS_LIST_SIZE = 1 << 16
STANDS, ERASED, WITHDRAWN = 0, 1, 2
_PER_BYTE = 4
_BYTES = STATUS_LIST_SIZE // _PER_BYTE
_CLAIMS = StatusListClaims()
_MAX_CHARACTERS = 65_536


@dataclass(frozen=True)
class StatusList:
    """A status list that its issuer signed at ``iat``, seconds. ``uri`` names it; tokens point there."""

    uri: str
    iat: int
    packed: bytes

    def status(self, index: int) -> int:
        """Return ``STANDS``, ``ERASED`` or ``WITHDRAWN``. Raises ParseError ``status_malformed`` for anything else."""
        if not 0 <= index < STATUS_LIST_SIZE:
            raise ParseError("status_malformed", f"the list has no entry {index}")
        value = self.packed[index // _PER_BYTE] >> 2 * (index % _PER_BYTE) & 3
        if value not in {STANDS, ERASED, WITHDRAWN}:
            raise ParseError("status_malformed", f"entry {index} has a value that means nothing")
        return value


def status_list_claims(statuses: Mapping[int, int], *, uri: str, now: int, life_s: int, ttl_s: int) -> JsonObject:
    """Return the claims of a list. ``statuses``: what is not ``STANDS``, by index within the list."""
    packed = bytearray(_BYTES)
    for index, value in statuses.items():
        packed[index // _PER_BYTE] |= value << 2 * (index % _PER_BYTE)
    lst = format_base64url(zlib.compress(bytes(packed), 9))
    return {"sub": uri, "iat": now, "exp": now + life_s, "ttl": ttl_s, "status_list": {"bits": 2, "lst": lst}}


def sign_status_list(claims: JsonObject, *, key: PrivateKey, certificate: str) -> str:
    """Return the list as a compact JWS. ``certificate``: base64 DER of the key's certificate."""
    return sign_issued(claims, typ=STATUS_LIST_TYPE, key=key, certificate=certificate)


def verify_status_list(text: str, policy: TrustPolicy) -> StatusList:
    """Return the list once an issuer key of ``policy`` signed it. How old it may be, the caller decides.

    Raises ParseError ``status_malformed`` and the codes of JSON and JWS, FieldError, VerificationError
    ``token_issuer_unknown``, ``signature_invalid``.
    """
    if len(text) > _MAX_CHARACTERS:
        raise ParseError("status_malformed", "the status list is too long")
    claims, _ = verify_issued(text, policy, typ=STATUS_LIST_TYPE)
    if problems := _CLAIMS.refusals(claims):
        raise FieldError.from_messages(problems)
    return StatusList(claims["sub"], claims["iat"], _inflate(parse_base64url(claims["status_list"]["lst"])))


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        packed = inflater.decompress(data, _BYTES + 1)
    except zlib.error as error:
        raise ParseError("status_malformed", "the list does not unpack") from error
    if len(packed) != _BYTES or not inflater.eof or inflater.unused_data:
        raise ParseError("status_malformed", f"the list has not {STATUS_LIST_SIZE} entries")
    return packed
