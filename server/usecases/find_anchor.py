"""Find what vouches for a place in the log: a checkpoint that was cosigned and stamped, as the policy asks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from server.core.encoding import sha256
from server.core.log_policies import quorum_met, verify_witnesses
from server.core.notes import VerifierKey, format_verifier_key
from server.core.policies import TimeAuthority, TrustPolicy
from server.errors import ObjectionError
from server.store import anchors
from server.store.anchors import AnchoredCheckpoint
from server.usecases.known_stamps import stamped_at

_MAX_TRIES = 8


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
    """Return the smallest checkpoint that covers leaf ``index`` and that ``policy`` calls anchored.

    Whatever is anchored later changes nothing: the checkpoint stays, and with it the earliest independent time. What
    only an untrusted clock stamped is returned where there is nothing better, as the smallest such checkpoint. None
    where nobody stamped, or no checkpoint has the policy's quorum.
    """
    covering = anchors.find_covering(connection, index)
    for independent in (True, False):
        fitting = [size for size, vouchers in covering if _may_fit(vouchers, policy, independent=independent)]
        # The first one fits, unless the storage was tampered with, or an authority's chain is now written down wrongly.
        for size in fitting[:_MAX_TRIES]:
            anchor = _fit(anchors.read_anchored(connection, size), policy)
            if anchor is not None and (anchor.independent or not independent):
                return anchor
    return None


def vouchers_of(policy: TrustPolicy, cosigned: Iterable[str], stamped: Iterable[str]) -> frozenset[str]:
    """Return ids of the witnesses in ``cosigned`` and the authorities in ``stamped``, which have names of ``policy``.

    An id is that of a key, so that a name with another key is somebody else.
    """
    authorities = {authority.name: authority for authority in policy.time_authorities}
    witnesses = {_witness_id(policy.log.witnesses[name]) for name in cosigned}
    return frozenset(witnesses | {_authority_id(authorities[name]) for name in stamped})


def _may_fit(vouchers: frozenset[str], policy: TrustPolicy, *, independent: bool) -> bool:
    cosigned = [name for name, key in policy.log.witnesses.items() if _witness_id(key) in vouchers]
    stamped = any(
        _authority_id(authority) in vouchers and (authority.trusted or not independent)
        for authority in policy.time_authorities
    )
    return stamped and quorum_met(policy.log, cosigned)


def _witness_id(key: VerifierKey) -> str:
    return _short_hash(format_verifier_key(key).encode())


def _authority_id(authority: TimeAuthority) -> str:
    return _short_hash(authority.certificates[0])


def _short_hash(data: bytes) -> str:
    return sha256(data).hex()[:16]  # only finds candidates, all of which are verified


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
