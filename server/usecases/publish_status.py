"""The register's status lists: which objections no longer stand."""

from functools import lru_cache

from server.core.statuslists import STATUS_LIST_SIZE, sign_status_list, status_list_claims
from server.errors import NotFound
from server.store import records
from server.usecases.keyring import IssuerKey
from server.usecases.register import Register

LIFE_S = 86_400
TTL_S = 300
_MINUTE_S = 60
_MAX_NUMBER = 1 << 32  # what databases can count is more


def publish_status(register: Register, list_number: int) -> tuple[str, int]:
    """Return status list ``list_number`` as of now, signed, and its date.

    It is dated back to the full minute: what is made twice within one has the same bytes.
    Raises NotFound ``not_found`` for a list that no record belongs to yet.
    """
    if list_number > _MAX_NUMBER:
        raise NotFound("not_found", "there is no such status list yet")
    start = list_number * STATUS_LIST_SIZE
    with register.database.reading() as connection:
        if not records.has_permutation(connection, list_number):
            raise NotFound("not_found", "there is no such status list yet")
        statuses = records.read_statuses(connection, start=start, end=start + STATUS_LIST_SIZE)
    _, uri = register.status_reference(start)
    now = register.clock() // _MINUTE_S * _MINUTE_S
    noted = tuple(sorted((index - start, value) for index, value in statuses.items()))
    issuer = register.keyring.issuer_keys[register.keyring.issuer_kid]
    return _signed(noted, uri, now, issuer), now


# What the database says is read for each request, and is part of the question: what is kept is never out of date.
@lru_cache(maxsize=4)
def _signed(noted: tuple[tuple[int, int], ...], uri: str, now: int, issuer: IssuerKey) -> str:
    claims = status_list_claims(dict(noted), uri=uri, now=now, life_s=LIFE_S, ttl_s=TTL_S)
    return sign_status_list(claims, key=issuer.key, certificate=issuer.certificate)
