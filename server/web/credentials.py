"""What a caller shows in ``Authorization``."""

from flask import request


def credentials_of(scheme: str) -> str | None:
    """Return what stands behind ``scheme``, which has no case; None when the caller shows nothing of that scheme.

    (RFC 9110, sections 11.1 and 11.4.)
    """
    named, separator, credentials = request.headers.get("Authorization", "").partition(" ")
    return credentials.strip(" ") if separator and named.lower() == scheme.lower() else None
