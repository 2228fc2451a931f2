"""Practice proofs: made with a notice, or with a register, that nobody but its own computer can reach."""

import re

_LOOPBACK = re.compile(
    r"https?://(?:(?:[a-z0-9-]+\.)*localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?(?:/.*)?", re.IGNORECASE
)


def is_for_practice(*addresses: str | None) -> bool:
    """Tell whether one of ``addresses`` leads to the reader's own computer.

    They are the notice's, as its holder signed it, and the issuer's, as the register signed it; None: it has none.
    """
    return any(address is not None and _LOOPBACK.fullmatch(address) for address in addresses)
