"""``make fuzz``: give both verifiers the same spoiled proofs for some time, and compare what they find.

Prints each finding once a kind, and one line of counts at the end. Exit status: 0 when the verifiers agreed about
everything and neither crashed nor hung, else 1. The same seed gives the same cases.
"""

import argparse
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.fixtures.lasting import bundled
from tests.fuzz.documents import Document, make_document
from tests.fuzz.minimise import minimised
from tests.fuzz.mutations import make_draft
from tests.fuzz.verifiers import Case, Found, NodeVerifier, verify_here
from tests.fuzz.world import World

_MAX_KEPT = 5  # of one kind: more of them say nothing new


def worlds() -> list[World]:
    """Return proofs in every shape that an objection can have."""
    unseen = {"notice": {"channel": "none"}, "country": "ZZ", "campaign": "noyb"}
    return [
        World(),
        World("standing", withdrawn=False),
        World("unseen", payload=unseen, evidence={}, withdrawn=False),
    ]


def documents(every: list[World]) -> list[Document]:
    return [make_document(world, bundled(world.files)) for world in every[:2]]


@dataclass(frozen=True)
class Spoiled:
    """A proof in which something was changed: ``did`` says what, ``kinds`` of which kinds."""

    number: int
    case: Case
    did: list[str]
    kinds: list[str]


def spoiled_proofs(seed: int, only: Collection[str] = ()) -> Iterator[Spoiled]:
    """Yield the proofs of ``seed``, without end. ``only``: kinds of mutations to choose from, if not from all."""
    made = worlds()
    papers = documents(made)
    for number in count():
        draft, kinds = make_draft(made, papers, random.Random(f"{seed}/{number}"), only)
        yield Spoiled(number, draft.case(), draft.did, kinds)


def differences(here: Found, there: Found) -> list[str]:
    """Return in what the two findings differ, each as a short text; crashes and hangs are such differences."""
    words = []
    for name, found in (("Python", here), ("TypeScript", there)):
        words += [f"{name} {way}: {_last(found[way])}" for way in ("crash", "hang") if way in found]
    if words:
        return words
    if "refused" in here or "refused" in there:
        return [] if here == there else [f"refused: {here.get('refused')} and {there.get('refused')}"]
    if here["verdict"] != there["verdict"]:
        words.append(f"verdict: {here['verdict']} and {there['verdict']}")
    ours, theirs = ({check[0]: tuple(check[1:]) for check in found["checks"]} for found in (here, there))
    for check in sorted(ours.keys() | theirs.keys()):
        if ours.get(check) != theirs.get(check):
            words.append(f"{check}: {_said(ours.get(check))} and {_said(theirs.get(check))}")
    if [check[0] for check in here["checks"]] != [check[0] for check in there["checks"]]:
        words.append("the order of the checks")
    for fact in sorted(here["facts"].keys() | there["facts"].keys()):
        if here["facts"].get(fact) != there["facts"].get(fact):
            words.append(f"fact {fact}")
    return words


def _said(check: tuple[str, str | None] | None) -> str:
    return "nothing" if check is None else check[1] or check[0]


def _last(words: str) -> str:
    return re.sub(r"0x[0-9a-f]+|[0-9]+", "N", words.strip().splitlines()[-1][:160])


@dataclass
class Tally:
    """What was seen so far. ``kinds``: of mutations; ``failures``: by what differed, and after which mutation."""

    seed: int
    folder: Path
    only: Collection[str] = ()
    cases: int = 0
    crashes: int = 0
    hangs: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def differences(self) -> int:
        return self.failures.total() - self.crashes - self.hangs

    def add(self, spoiled: Spoiled, node: NodeVerifier) -> None:
        case = spoiled.case
        node.send(case)
        here = verify_here(case)
        there = node.receive()
        self.cases += 1
        self.kinds.update(spoiled.kinds)
        self.verdicts[here.get("verdict", "refused")] += 1
        if words := differences(here, there):
            self._fail(spoiled, words, node)

    def _fail(self, spoiled: Spoiled, words: list[str], node: NodeVerifier) -> None:
        self.crashes += any(" crash: " in word for word in words)
        self.hangs += any(" hang: " in word for word in words)
        kind = spoiled.kinds[0] if len(spoiled.kinds) == 1 else "several"
        failure = f"{kind} | {'; '.join(words)}"
        self.failures[failure] += 1
        if self.failures[failure] > _MAX_KEPT:
            return
        print(f"case {spoiled.number}: {'; '.join(words)}\n    {'; '.join(spoiled.did)}", flush=True)
        smallest = minimised(spoiled.case, words, node, differences)
        folder = self.folder / f"{self.seed}-{spoiled.number}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, raw in (("file", smallest.raw), ("policy.json", smallest.policy), ("status.jwt", smallest.status)):
            if raw is not None:
                (folder / name).write_bytes(raw)
        again = f"make fuzz SEED={self.seed} CASE={spoiled.number} ONLY={','.join(self.only)}".removesuffix(" ONLY=")
        said = {"again": again, "now": smallest.now, "did": spoiled.did, "differs": words}
        (folder / "found.json").write_text(json.dumps(said, indent=1) + "\n")

    def summary(self) -> str:
        lines = [f"{times:>6}  {failure}" for failure, times in self.failures.most_common()]
        lines.append(f"mutations: {_counts(self.kinds)}")
        lines.append(f"verdicts: {_counts(self.verdicts)}")
        found = f"{self.differences} differences, {self.crashes} crashes, {self.hangs} hangs"
        return "\n".join([*lines, f"fuzz: seed {self.seed}, {self.cases} cases, {found}"])


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {times}" for name, times in sorted(counter.items()))


def main() -> int:
    options = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--case", type=int, help="only this case of the seed, with all that was found")
    options.add_argument("--only", default="", help="kinds of mutations, by comma: other cases than those of all kinds")
    options.add_argument("--folder", type=Path, default=Path(".fuzz"), help="where failing cases are written")
    asked = options.parse_args()
    only = [kind for kind in asked.only.split(",") if kind]
    tally = Tally(asked.seed, asked.folder, only)
    with NodeVerifier() as node:
        if asked.case is not None:
            spoiled = next(each for each in spoiled_proofs(asked.seed, only) if each.number == asked.case)
            tally.add(spoiled, node)
            node.send(spoiled.case)
            found = {"python": verify_here(spoiled.case), "typescript": node.receive()}
            print(json.dumps({"did": spoiled.did} | found, indent=1))
        else:
            proofs = spoiled_proofs(asked.seed, only)
            next(proofs)  # what all proofs are made of is made now
            end = time.monotonic() + asked.seconds
            for spoiled in proofs:
                if time.monotonic() > end:
                    break
                tally.add(spoiled, node)
    print(tally.summary())
    return 1 if tally.failures or not tally.cases else 0


if __name__ == "__main__":
    sys.exit(main())
