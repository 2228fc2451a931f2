"""Count what is recorded: in the log's own transaction, each holder once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from schemas.vocabulary import OUTCOMES
from server.core.receipts import VerifiedReceipt
from server.errors import OperatorError
from server.store import campaigns, tallies
from server.store.tallies import Contribution
from server.usecases.epochs import epoch_at
from server.usecases.keyring import Keyring
from server.usecases.row_sums import RowSums


@dataclass(frozen=True)
class Countable:
    """What an objection would count for, and the marks by which its holder is counted once: keyed hashes, 32 bytes."""

    receipt_sha256: bytes
    country: str
    platform: str
    channel: str
    campaign: str | None
    mark: bytes
    campaign_mark: bytes


def countable(keyring: Keyring, receipt: VerifiedReceipt) -> Countable:
    """Return what ``receipt``, an objection, would count for."""
    payload = receipt.payload
    return Countable(
        receipt_sha256=receipt.sha256,
        country=payload["country"],
        platform=payload["platform"],
        channel=payload["notice"]["channel"],
        campaign=payload.get("campaign"),
        mark=keyring.counting_mark(receipt.holder_jwk, "general"),
        campaign_mark=keyring.counting_mark(receipt.holder_jwk, "campaign"),
    )


def count_recorded(connection: Connection, recorded: Sequence[Countable], sums: RowSums, *, received_at: int) -> None:
    """Count ``recorded`` objections of holders that were not counted before; once generally, once for a campaign.

    A campaign that does not exist, or has ended, is as none. What comes after its epoch was closed counts for the next.
    """
    named = [each.campaign for each in recorded if each.campaign]
    running = campaigns.running_campaigns(connection, named) if named else set()
    spent = tallies.find_marks(connection, [mark for each in recorded for mark in (each.mark, each.campaign_mark)])
    hour = max(tallies.hour_of(received_at), tallies.read_counting(connection).closed_until)
    counted = []
    marks = set()
    for each in recorded:
        in_general = each.mark not in spent
        campaign = each.campaign if each.campaign in running and each.campaign_mark not in spent else None
        if not in_general and campaign is None:
            continue
        new = ({each.mark} if in_general else set()) | ({each.campaign_mark} if campaign else set())
        spent |= new
        marks |= new
        counted.append(
            Contribution(
                receipt_sha256=each.receipt_sha256,
                hour=hour,
                country=each.country,
                platform=each.platform,
                channel=each.channel,
                outcome="recorded",
                in_general=in_general,
                campaign=campaign,
            )
        )
    if counted:
        tallies.insert_contributions(connection, marks, counted)
        sums.add("counted_holders", [(mark,) for mark in marks])
        sums.add("contributions", [vars(each).values() for each in counted])


def note_outcome(connection: Connection, receipt_sha256: bytes, outcome: str, sums: RowSums) -> None:
    """Note what became of an objection, unless more was noted before: outcomes never go back."""
    contribution = tallies.find_contribution(connection, receipt_sha256)
    if contribution is not None and contribution.outcome in OUTCOMES[: OUTCOMES.index(outcome)]:
        _change(connection, contribution, replace(contribution, outcome=outcome), sums)


def uncount(connection: Connection, receipt_sha256: bytes, sums: RowSums) -> None:
    """Take an erased objection out of what is still to be counted."""
    contribution = tallies.find_contribution(connection, receipt_sha256)
    if contribution is not None:
        tallies.delete_contribution(connection, receipt_sha256)
        sums.remove("contributions", [vars(contribution).values()])


def uncount_campaign(connection: Connection, receipt_sha256: bytes, sums: RowSums) -> bool:
    """See that an objection counts for no campaign; return False when its week is closed, or it counts for nothing.

    What else was closed in that week does not matter: a campaign has one table, and its epochs are weeks.
    """
    open_since = epoch_at("week", tallies.read_counting(connection).closed_until).start
    contribution = tallies.find_contribution(connection, receipt_sha256)
    if contribution is None or contribution.hour < open_since:
        return False
    _change(connection, contribution, replace(contribution, campaign=None), sums)
    return True


def _change(connection: Connection, old: Contribution, new: Contribution, sums: RowSums) -> None:
    tallies.change_contribution(connection, new)
    sums.remove("contributions", [vars(old).values()])
    sums.add("contributions", [vars(new).values()])


def keep_budget(connection: Connection, budget_sha256: bytes) -> None:
    """Raises OperatorError ``budget_changed`` when this register has counted by other tables or epsilons.

    Those who were counted were promised the old ones: with new ones they might pay twice.
    """
    stored = tallies.read_budget(connection)
    if stored is None:
        tallies.write_budget(connection, budget_sha256)
    elif stored != budget_sha256:
        raise OperatorError(
            "budget_changed", "schemas/counts.toml has other tables or epsilons than this register has counted by"
        )
