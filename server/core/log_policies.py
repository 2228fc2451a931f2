"""Which log to trust, and which of its witnesses must have cosigned (C2SP tlog-policy)."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from server.core.notes import COSIGNATURE, VerifierKey, format_verifier_key, parse_verifier_key, verify_cosignatures
from server.errors import ParseError

NO_QUORUM = "none"
MAX_WITNESSES = 16
_MAX_GROUPS = 16
_MAX_CHARACTERS = 16_384
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_SPACE = re.compile(r"[ \t]+")
_NAME = re.compile(r"[!-~]{1,255}")
_THRESHOLD = re.compile(r"[1-9][0-9]?")
_COMMENT = "#"


@dataclass(frozen=True)
class Group:
    """Counts as one witness once ``needed`` of its ``members`` (witnesses or earlier groups) have cosigned."""

    name: str
    needed: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class LogPolicy:
    """``key``: the log's; its name is the log's origin. ``witnesses`` by the policy's names for them.

    ``quorum`` names the witness or group that must have cosigned, or is ``none``.
    """

    key: VerifierKey
    witnesses: Mapping[str, VerifierKey] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()
    quorum: str = NO_QUORUM


def parse_log_policy(text: str) -> LogPolicy:
    """Read a tlog-policy with exactly one log; addresses in it are ignored. Raises ParseError ``policy_malformed``."""
    lines = _meaningful_lines(text)
    if not lines or lines[-1][0] != "quorum" or [line[0] for line in lines].count("log") != 1:
        raise _malformed("a log policy has exactly one log, and one quorum, which comes last")
    reader = _Reader()
    for keyword, *items in lines:
        reader.read(keyword, items)
    return reader.policy()


def format_log_policy(policy: LogPolicy) -> str:
    lines = [f"log {format_verifier_key(policy.key)}"]
    lines += [f"witness {name} {format_verifier_key(key)}" for name, key in policy.witnesses.items()]
    lines += [f"group {group.name} {_format_threshold(group)} {' '.join(group.members)}" for group in policy.groups]
    return "".join(f"{line}\n" for line in [*lines, f"quorum {policy.quorum}"])


def verify_witnesses(note: str, policy: LogPolicy) -> list[tuple[str, int]]:
    """Return (name, earliest time) of each witness of ``policy`` that cosigned ``note``, in the policy's order.

    Whether they suffice says ``quorum_met``; the log's own signature is checked by ``verify_checkpoint``.
    Raises ParseError ``note_malformed``; VerificationError ``note_unverified`` when the signature of a known witness
    does not hold. Signatures of unknown ones are ignored.
    """
    cosigned = {name: verify_cosignatures(note, trusted=key) for name, key in policy.witnesses.items()}
    return [(name, min(times)) for name, times in cosigned.items() if times]


def quorum_met(policy: LogPolicy, cosigned: Collection[str]) -> bool:
    """Tell whether the witnesses named in ``cosigned`` are those that the policy asks for."""
    satisfied = {NO_QUORUM, *cosigned}
    for group in policy.groups:  # members are defined before their group
        if sum(member in satisfied for member in group.members) >= group.needed:
            satisfied.add(group.name)
    return policy.quorum in satisfied


class _Reader:
    """Collects the definitions of a policy, line by line."""

    def __init__(self) -> None:
        self._log: VerifierKey | None = None
        self._witnesses: dict[str, VerifierKey] = {}
        self._groups: list[Group] = []
        self._names: set[str] = set()
        self._members: set[str] = set()
        self._quorum: str | None = None

    def read(self, keyword: str, items: Sequence[str]) -> None:
        if keyword == "log" and len(items) in {1, 2}:
            self._log = parse_verifier_key(items[0])
        elif keyword == "witness" and len(items) in {2, 3}:
            self._add_witness(items[0], parse_verifier_key(items[1], signature_type=COSIGNATURE))
        elif keyword == "group" and len(items) >= 3:
            self._add_group(items[0], items[1], items[2:])
        elif keyword == "quorum" and len(items) == 1 and self._quorum is None:
            if items[0] not in {NO_QUORUM, *self._names}:
                raise _malformed("the quorum names nothing that was defined")
            self._quorum = items[0]
        else:
            raise _malformed(f"not a line of a log policy: {keyword}")

    def policy(self) -> LogPolicy:
        if self._log is None or self._quorum is None:
            raise _malformed("a log policy has one log and one quorum")
        return LogPolicy(self._log, self._witnesses, tuple(self._groups), self._quorum)

    def _add_witness(self, name: str, key: VerifierKey) -> None:
        self._define(name)
        # Under two names one witness would count twice.
        if key.raw in {known.raw for known in self._witnesses.values()}:
            raise _malformed("two witnesses have one key")
        if len(self._witnesses) == MAX_WITNESSES:
            raise _malformed(f"more than {MAX_WITNESSES} witnesses")
        self._witnesses[name] = key

    def _add_group(self, name: str, threshold: str, members: Sequence[str]) -> None:
        if len(set(members)) != len(members) or not set(members) <= self._names - self._members:
            raise _malformed("a group's members are defined before it, and belong to one group, once")
        needed = {"any": 1, "all": len(members)}.get(threshold) or _parse_threshold(threshold)
        if needed > len(members) or len(self._groups) == _MAX_GROUPS:
            raise _malformed(f"a group needs more members than it has, or there are more than {_MAX_GROUPS} groups")
        self._define(name)
        self._members.update(members)
        self._groups.append(Group(name, needed, tuple(members)))

    def _define(self, name: str) -> None:
        if not _NAME.fullmatch(name) or name == NO_QUORUM or name in self._names:
            raise _malformed("a name is printable ASCII, is not 'none', and is defined once")
        self._names.add(name)


def _meaningful_lines(text: str) -> list[list[str]]:
    if len(text) > _MAX_CHARACTERS or _CONTROL.search(text):
        raise _malformed("too long, or with control characters")
    lines = [line.strip(" \t") for line in text.split("\n")]
    return [_SPACE.split(line) for line in lines if line and not line.startswith(_COMMENT)]


def _parse_threshold(text: str) -> int:
    if not _THRESHOLD.fullmatch(text):
        raise _malformed("a group needs any, all, or a number of its members")
    return int(text)


def _format_threshold(group: Group) -> str:
    return {1: "any", len(group.members): "all"}.get(group.needed, str(group.needed))


def _malformed(message: str) -> ParseError:
    return ParseError("policy_malformed", message)
