"""Verify the time stamps over a checkpoint, and tell what they are worth to a policy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.bundles.readme import format_time
from server.core.log_policies import quorum_met, verify_witnesses
from server.core.policies import TimeAuthority, TrustPolicy
from server.core.receipts import CLOCK_SKEW_S
from server.core.timestamps import Timestamp, TrustedAuthority, verify_timestamp
from server.errors import VerificationError

MAX_NAME = 200
_LOCAL = "local"


@dataclass(frozen=True)
class Stamped:
    """What the stamps over one checkpoint say.

    ``first_at``: when the first authority that the policy trusts stamped it, in seconds; None where none did, or where
    the policy's quorum of witnesses did not see the checkpoint. ``facts``: authority, at, trusted, for each that the
    policy knows. ``words``: one for each stamp.
    """

    first_at: int | None
    facts: list[dict[str, Any]]
    words: list[str]


def verify_stamps(stamps: Mapping[str, bytes], note: str, policy: TrustPolicy, *, received_at: int) -> Stamped:
    """Return what ``stamps``, by authority, say of the checkpoint in ``note`` and of what was received before.

    Raises ParseError ``timestamp_malformed``; VerificationError ``timestamp_invalid`` when a stamp under the name of a
    known authority does not hold, or a trusted one is from before ``received_at``.
    """
    known = {authority.name: authority for authority in policy.time_authorities}
    words: list[str] = []
    facts: list[dict[str, Any]] = []
    for name, stamp in sorted(stamps.items()):
        if name not in known:
            words.append(f"{name} stamped it, whom the policy does not know")
            continue
        trusted = TrustedAuthority.from_der(known[name].certificates)
        seen_by = verify_timestamp(stamp, note.encode(), trusted=trusted)
        if known[name].trusted:
            refuse_early(seen_by.at, received_at)
        facts.append({"authority": name, "at": seen_by.at, "trusted": known[name].trusted})
        words.append(f"{format_time(seen_by.at)} by {_describe(known[name], seen_by)}")
    times = [fact["at"] for fact in facts if fact["trusted"]]
    seen = quorum_met(policy.log, [name for name, _ in verify_witnesses(note, policy.log)])
    return Stamped(min(times) if times and seen else None, facts, words)


def refuse_early(stamped_at: int, received_at: int) -> None:
    """Raise VerificationError ``timestamp_invalid`` for a stamp from before what it covers was received."""
    if stamped_at + CLOCK_SKEW_S < received_at:
        raise VerificationError("timestamp_invalid", "stamped before it was received")


def _describe(listed: TimeAuthority, stamp: Timestamp) -> str:
    if listed.name == _LOCAL and not listed.trusted:
        return f"{listed.name}, the register's own clock, which is not independent"
    named = f"{listed.name} ({stamp.authority[:MAX_NAME]})"
    if not listed.trusted:
        return f"{named}, which the policy does not count as independent"
    return f"{named}, which says that it is qualified" if stamp.says_qualified else named
