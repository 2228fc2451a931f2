"""Take an objection out of a campaign's count again, while the week that it counts for is open."""

from server.errors import NotFound
from server.usecases.read_record import HolderRequest, verify_holder
from server.usecases.register import Register
from server.usecases.row_sums import changing_sums
from server.usecases.tally import uncount_campaign


def leave_campaign(register: Register, receipt_sha256: bytes, request: HolderRequest) -> None:
    """Return once the objection counts for no campaign any more. What was released stays as it was released.

    Its holder does not count for another campaign by another objection: that would tell more than was promised.
    Safe to repeat while its week is open. Raises Unauthorised, Forbidden; NotFound ``campaign_not_joined`` when that is
    closed, or the objection is not counted at all.
    """
    verify_holder(register, receipt_sha256, request)
    with (
        register.database.writing() as connection,
        changing_sums(connection, register.keyring.row_macs) as sums,
    ):
        left = uncount_campaign(connection, receipt_sha256, sums)
    if not left:
        raise NotFound("campaign_not_joined", "what this objection counts for is released, or it is not counted")
