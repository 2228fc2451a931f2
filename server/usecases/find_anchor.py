"""Find what vouches for a place in the log: a checkpoint that was cosigned and stamped, as the policy asks."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from server.core.log_policies import quorum_met, verify_witnesses
from server.core.policies import TrustPolicy
from server.errors import ObjectionError
from server.store import anchors
from server.store.anchors import AnchoredCheckpoint
from server.usecases.known_stamps import stamped_at

_CANDIDATES = 8


@dataclass(frozen=True)
class Anchor:
    """``tokens``: DER TimeStampTokens over the bytes of ``checkpoint_note``, by the policy's names of authorities.

    ``independent``: whether one of them is by an authority that the policy trusts.
    """

    size: int
    checkpoint_note: str
    tokens: Mapping[str, bytes]
    independent: bool


def find_anchor(connection: Connection, index: int, policy: TrustPolicy) -> Anchor | None:
    """Return the smallest anchored checkpoint that covers leaf ``index`` and meets ``policy``, or None.

    One that an independent authority stamped is preferred. What was anchored before the operator changed witnesses or
    authorities may not meet the policy of today; the newest one then covers the old leaves, too.
    """
    candidates = anchors.find_anchored(connection, index, limit=_CANDIDATES)
    if len(candidates) == _CANDIDATES and (newest := anchors.newest_anchored(connection)) is not None:
        candidates.append(newest)
    hopes_for_more = any(authority.trusted for authority in policy.time_authorities)
    found = None
    for candidate in candidates:
        anchor = _fit(candidate, policy)
        if anchor is not None and (anchor.independent or not hopes_for_more):
            return anchor
        found = found or anchor
    return found


def _fit(candidate: AnchoredCheckpoint, policy: TrustPolicy) -> Anchor | None:
    """Return the candidate with those of its tokens that hold under ``policy``; None when it proves nothing there."""
    tokens, independent = {}, False
    try:
        cosigned = verify_witnesses(candidate.note, policy.log)
    except ObjectionError:
        return None
    if not quorum_met(policy.log, [name for name, _ in cosigned]):
        return None
    for authority in policy.time_authorities:
        stored = candidate.tokens.get(authority.name)
        if stored is None:
            continue
        try:
            stamped_at(stored.token, candidate.note, authority.certificates)
        except ObjectionError:  # another certificate under that name by now; verifiers would call the proof broken
            continue
        tokens[authority.name] = stored.token
        independent = independent or authority.trusted
    return Anchor(candidate.size, candidate.note, tokens, independent) if tokens else None
