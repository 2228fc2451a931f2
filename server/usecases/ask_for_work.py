"""Ask a sender for work before its objection is counted."""

from server.core.encoding import JsonObject
from server.errors import NotFound
from server.outside.work import create_challenge
from server.usecases.register import Register


def ask_for_work(register: Register, receipt_sha256: bytes) -> JsonObject:
    """Return a challenge for this one receipt. Raises NotFound ``work_off`` where none is asked for."""
    if register.work == 0:
        raise NotFound("work_off", "this register asks for no work")
    secret, now = register.keyring.work_secret, register.clock()
    return create_challenge(receipt_sha256, secret=secret, cost=register.work, now=now)
