"""``/verify``: the verifier's one file, with this register's policy in it and a network it may ask: this register's."""

import re
from dataclasses import dataclass

from server.errors import OperatorError

_META = re.compile(rb'<meta http-equiv="Content-Security-Policy" content="([^"]+)">\n<!--policy-->')


@dataclass(frozen=True)
class ServedVerifier:
    """The page as served, and the policy (CSP) that allows exactly its script and its style."""

    page: bytes
    content_security_policy: str


def serve_verifier(page: bytes, *, policy: bytes) -> ServedVerifier:
    """Return ``page`` for serving. ``policy``: the register's trust policy, canonical JSON.

    The file's own CSP forbids every connection; the served page may ask the register that serves it, when told to.
    Raises OperatorError ``verifier_unusable`` when the file is not one that our build wrote.
    """
    found = _META.search(page)
    if found is None:
        raise OperatorError("verifier_unusable", "the verifier's page is not as `npm run build:verifier` writes it")
    # "<" could end the element; JSON reads the escape as the same character.
    data = policy.replace(b"<", b"\\u003c")
    block = b'<script type="application/json" id="policy">' + data + b"</script>"
    served = page[: found.start()] + block + page[found.end() :]
    own = found.group(1).decode("ascii")
    return ServedVerifier(served, f"{own}; connect-src 'self'; frame-ancestors 'none'")
