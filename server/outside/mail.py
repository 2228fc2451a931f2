"""The signature under a mail (DKIM, RFC 6376)."""

import dkim

from server.errors import VerificationError


def recheck_mail(raw: bytes, *, key_record: bytes, domain: str, selector: str) -> None:
    """Raise VerificationError ``dkim_mismatch`` unless ``domain`` signed the mail with the key in ``key_record``."""
    name = f"{selector}._domainkey.{domain}.".encode()

    def fetch(asked: bytes, timeout: int = 5) -> bytes | None:
        return key_record if asked == name else None

    try:
        if dkim.DKIM(raw).verify(dnsfunc=fetch):
            return
    except dkim.DKIMException as error:
        raise VerificationError("dkim_mismatch", "the mail's signature cannot be read") from error
    raise VerificationError("dkim_mismatch", f"the signature of {domain} under the mail does not hold")
