"""Quorums: the evaluator against the words of the specification."""

from collections.abc import Iterator, Mapping
from itertools import combinations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from server.core.log_policies import Group, LogPolicy, format_log_policy, parse_log_policy, quorum_met
from server.core.notes import COSIGNATURE, VerifierKey

KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32).public_key() for i in range(1, 8)]
LOG = VerifierKey("log.example", KEYS[0])
WITNESSES = {f"w{i}": VerifierKey(f"w{i}.example", key, COSIGNATURE) for i, key in enumerate(KEYS[1:])}


@st.composite
def policies(draw: st.DrawFn) -> LogPolicy:
    """Any policy: groups of what is still free, and a quorum of anything defined."""
    names = list(WITNESSES)[: draw(st.integers(0, len(WITNESSES)))]
    free, groups = list(names), list[Group]()
    while free and draw(st.booleans()) and len(groups) < 16:
        members = draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
        groups.append(Group(f"g{len(groups)}", draw(st.integers(1, len(members))), tuple(members)))
        free = [name for name in free if name not in members] + [groups[-1].name]
    defined = ["none", *names, *(group.name for group in groups)]
    return LogPolicy(LOG, {name: WITNESSES[name] for name in names}, tuple(groups), draw(st.sampled_from(defined)))


def subsets(policy: LogPolicy) -> Iterator[tuple[str, ...]]:
    for size in range(len(policy.witnesses) + 1):
        yield from combinations(policy.witnesses, size)


def met_by_the_book(name: str, groups: Mapping[str, Group], cosigned: tuple[str, ...]) -> bool:
    if name == "none" or name in cosigned:
        return True
    group = groups.get(name)
    return group is not None and group.needed <= len(
        [member for member in group.members if met_by_the_book(member, groups, cosigned)]
    )


@given(policies())
def test_a_policy_comes_back(policy: LogPolicy) -> None:
    assert format_log_policy(parse_log_policy(format_log_policy(policy))) == format_log_policy(policy)
    assert parse_log_policy(format_log_policy(policy)).groups == policy.groups


@given(policies())
def test_a_quorum_is_met_as_the_specification_says(policy: LogPolicy) -> None:
    groups = {group.name: group for group in policy.groups}
    for cosigned in subsets(policy):
        assert quorum_met(policy, cosigned) == met_by_the_book(policy.quorum, groups, cosigned)
