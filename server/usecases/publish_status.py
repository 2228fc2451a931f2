"""The register's status lists: which objections no longer stand."""

from server.core.statuslists import STATUS_LIST_SIZE, sign_status_list, status_list_claims
from server.errors import NotFound
from server.store import records
from server.usecases.register import Register

LIFE_S = 86_400
TTL_S = 300
_MINUTE_S = 60
_MAX_NUMBER = 1 << 32  # what databases can count is more


def publish_status(register: Register, list_number: int) -> tuple[str, int]:
    """Return status list ``list_number`` as of now, signed, and its date. It takes a millisecond, so it is made anew.

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
    claims = status_list_claims(
        {index - start: value for index, value in statuses.items()},
        uri=uri,
        now=now,
        life_s=LIFE_S,
        ttl_s=TTL_S,
    )
    issuer = register.keyring.issuer_keys[register.keyring.issuer_kid]
    return sign_status_list(claims, key=issuer.key, certificate=issuer.certificate), now
