"""Makes a failing case a little smaller: what was given beside the file, and files of the bundle, one at a time."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.fixtures.zips import members_of, write_zip
from tests.fuzz.verifiers import Case, Found, NodeVerifier, verify_here

_MAX_TRIES = 40


def minimised(
    case: Case, words: list[str], node: NodeVerifier, differences: Callable[[Found, Found], list[str]]
) -> Case:
    """Return the smallest case found on the way that still differs in one of ``words``."""
    tries = 0
    changed = True
    while changed:
        changed = False
        for smaller in _smaller(case):
            tries += 1
            if tries > _MAX_TRIES:
                return case
            node.send(smaller)
            here = verify_here(smaller)
            if set(words) & set(differences(here, node.receive())):
                case, changed = smaller, True
                break
    return case


def _smaller(case: Case) -> Iterator[Case]:
    if case.status is not None:
        yield replace(case, status=None)
    if case.policy is not None:
        yield replace(case, policy=None)
    try:
        members = members_of(case.raw)
        assert write_zip(members)
    except Exception:  # noqa: BLE001 (whatever zipfile says of what is no ZIP, or a strange one)
        return
    for n in range(len(members) - 1, 0, -1):
        yield replace(case, raw=write_zip(members[:n] + members[n + 1 :]))
