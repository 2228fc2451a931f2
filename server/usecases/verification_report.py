"""What a verifier tells: numbered checks, facts, and the sentences of what the proof shows and does not show.

The in-browser verifier (``extension/src/core/verification.ts``) writes the same report; docs/formats.md has its rules.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from server.errors import ObjectionError

PASSED, FAILED, NOT_CHECKED, NOT_PRESENT = "passed", "failed", "not-checked", "not-present"
VALID, INVALID, WITHDRAWN, ERASED = "valid", "invalid", "withdrawn", "erased"
# In the order in which a report has them.
TITLES = {
    "container": "The file can be read, and hides nothing",
    "files": "It holds exactly the files that it lists, with their hashes",
    "container-time": "The container's own time stamp",
    "document": "The certificate is as the register signed it",
    "policy": "The bundle's own policy names the register's keys",
    "pinned": "The register's keys are pinned from outside",
    "receipt": "The receipt is signed by its holder",
    "evidence": "The evidence is what the holder signed for",
    "token": "The token is signed by the register",
    "disclosures": "What the holder disclosed",
    "token-receipt": "The token is about this receipt",
    "log": "The receipt stands in the log",
    "witnesses": "Witnesses saw the log's state",
    "anchor": "An independent clock stamped the log's state",
    "later": "What the holder added later",
    "mail": "Meta's own signature on a mail",
    "status": "The objection still stands",
    "holder": "The presenter holds the key now",
}
_ORDER = list(TITLES)
_NEEDS_EARLIER = "needs what an earlier check, which failed, would have shown"
_STATUS_VERDICTS = {"objection_withdrawn": WITHDRAWN, "objection_erased": ERASED}


@dataclass(frozen=True)
class Check:
    """One line of the report. ``code`` is set when it failed."""

    id: str
    title: str
    outcome: str
    reason: str
    code: str | None = None


@dataclass
class Saying:
    """What a check that did not fail has to say."""

    reason: str = ""
    present: bool = True

    def absent(self, reason: str) -> None:
        """What was to be checked is not there, which is no failure."""
        self.reason, self.present = reason, False


@dataclass
class Report:
    """``facts``: what the proof says, as far as it holds; shown only with the verdict beside it."""

    checks: list[Check] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """``valid`` when everything present holds and nothing required is missing.

        ``withdrawn`` and ``erased``: the proof is genuine, but the objection no longer stands. Else ``invalid``.
        """
        failed = [check for check in self.checks if check.outcome in (FAILED, NOT_CHECKED)]
        if not self.checks or any(check.code not in _STATUS_VERDICTS for check in failed):
            return INVALID
        return _STATUS_VERDICTS[failed[0].code or ""] if failed else VALID

    @property
    def valid(self) -> bool:
        return self.verdict == VALID

    @property
    def genuine(self) -> bool:
        """Whether the proof holds, whether or not the objection still stands."""
        return self.verdict != INVALID

    @property
    def shows(self) -> list[str]:
        """What the proof shows, in sentences; nothing when it is not genuine."""
        if not self.genuine:
            return []
        if self._passed("receipt"):
            sentences = [
                "The holder of one key signed this objection, and the register's key states when it was received.",
                "It stands in the register's log, and every evidence file is the one that was signed for.",
            ]
        else:
            sentences = [
                "The register states, signed, that it received an objection by the holder of one key, and when."
            ]
        if self._independent("anchor"):
            sentences.append("The objection existed when an independent time authority stamped the log's state.")
        if self._independent("witnesses"):
            sentences.append("Independent witnesses saw the log as this proof shows it.")
        if self._passed("mail"):
            sentences.append(
                "A mail among the evidence is unaltered since a domain signed it that the register lists as Meta's."
            )
        if self._confirmed:
            sentences.append(
                "The register knows such a mail as Meta's confirmation of an objection, by its subject and its day."
            )
        if self.facts.get("disclosed"):
            sentences.append("What the holder disclosed was fixed when the objection was recorded.")
        if self._passed("holder"):
            sentences.append("Whoever presented it holds the key now.")
        return sentences

    @property
    def does_not_show(self) -> list[str]:
        """What no reader should take from it."""
        sentences = [
            "That Meta received the objection, beyond what its confirmation says: read it."
            if self._confirmed
            else "That Meta received the objection.",
            "Who holds the key: nothing that the holder says about themselves was verified.",
        ]
        if not self._independent("anchor"):
            sentences.append(
                "That the time is right, without trusting the register's clock: no authority that is known to be "
                "independent stamped it."
            )
        sentences.append("Whether the objection stands today: the register's status list tells.")
        if self._passed("receipt"):
            sentences.append(
                "What only README.txt, objection.jsonld or verify.html say: take a verifier from elsewhere."
            )
        else:
            sentences.append("The objection as its holder signed it, and its place in the log: the bundle shows them.")
        if self.facts.get("keys_from") == "bundle":
            sentences.append(
                "That register, log, witnesses and time authorities are genuine: their keys were taken from the bundle "
                "itself."
            )
        return sentences

    @contextmanager
    def check(self, check_id: str) -> Iterator[Saying]:
        """Add a check with what the block says; it failed if the block raises one of our errors."""
        saying = Saying()
        try:
            yield saying
        except ObjectionError as error:
            self._add(check_id, FAILED, str(error), error.code)
        else:
            self._add(check_id, PASSED if saying.present else NOT_PRESENT, saying.reason)

    def not_present(self, check_id: str, reason: str) -> None:
        self._add(check_id, NOT_PRESENT, reason)

    def unchecked(self, *check_ids: str) -> None:
        """Add checks that cannot run, because an earlier one failed."""
        for check_id in check_ids:
            self._add(check_id, NOT_CHECKED, _NEEDS_EARLIER)

    def as_json(self) -> dict[str, Any]:
        checks = [{name: value for name, value in vars(check).items() if value is not None} for check in self.checks]
        return {
            "verdict": self.verdict,
            "valid": self.valid,
            "checks": checks,
            "facts": self.facts,
            "shows": self.shows,
            "does_not_show": self.does_not_show,
        }

    def _add(self, check_id: str, outcome: str, reason: str, code: str | None = None) -> None:
        self.checks.append(Check(check_id, TITLES[check_id], outcome, reason, code))
        self.checks.sort(key=lambda check: _ORDER.index(check.id))

    def _independent(self, check_id: str) -> bool:
        """Whether it passed by keys that the proof itself did not bring."""
        return self._passed(check_id) and self.facts.get("keys_from") == "policy"

    @property
    def _confirmed(self) -> bool:
        """Whether a mail is signed that the register knows as Meta's confirmation."""
        mails = self.facts.get("mails", [])
        return self._passed("mail") and any(mail.get("kind") == "confirmation" for mail in mails)

    def _passed(self, check_id: str) -> bool:
        return any(check.id == check_id and check.outcome == PASSED for check in self.checks)
