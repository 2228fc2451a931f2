"""Time authorities and stamps that this process has verified before.

The same few stamps vouch for every proof, and to verify one takes longer than all else that a holder's poll needs.
Everything the answer depends on is an argument, compared byte by byte: what is remembered cannot become wrong.
"""

from functools import lru_cache

from server.core.timestamps import Timestamp, TrustedAuthority, verify_timestamp


@lru_cache(maxsize=64)
def authority_of(certificates: tuple[bytes, ...]) -> TrustedAuthority:
    """Return the authority that a policy lists with these ``certificates``; raises as ``from_der`` does."""
    return TrustedAuthority.from_der(certificates)


@lru_cache(maxsize=256)
def stamped_at(token: bytes, note: str, certificates: tuple[bytes, ...]) -> Timestamp:
    """Return the stamp of the authority with these ``certificates`` over ``note``; raises as ``verify_timestamp`` does.

    Refusals are not remembered.
    """
    return verify_timestamp(token, note.encode(), trusted=authority_of(certificates))
