"""Verify what the holder added to an objection later: supplements, a withdrawal, and mails with their signatures."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from server.bundles.readme import format_time
from server.core.acknowledgements import verify_acknowledgement
from server.core.encoding import JsonObject, sha256
from server.core.mails import recheck_finding
from server.core.notes import Checkpoint
from server.core.policies import TrustPolicy
from server.core.proofs import format_entry, parse_proof, verify_growth, verify_proof
from server.core.receipts import VerifiedReceipt, verify_evidence, verify_receipt
from server.errors import ParseError, VerificationError
from server.usecases.verification_report import Report
from server.usecases.verify_stamps import refuse_early, verify_stamps

_NO_MAIL = "no mail is among what was added"
_RECEIPT = re.compile(r"later/([0-9]{2})-(supplement|withdrawal)\.jws")

# Who wrote what, and when, is for the reader of the mail. ``kind`` is the register's word.
_REPEATED = ("finding", "domain", "selector", "key_sha256", "kind")
_FINDINGS = {
    "signed": "signed by {domain}, which the register lists as Meta's, with the key that it says it saw{kind}",
    "unchecked": "not checked: the register says that it could not ask the DNS for the key of {domain}",
    "body-changed": "a signature in the name of {domain} does not fit the text; usual causes are "
    "a mailing list's footer, rewritten links, and another encoding",
    "signature-mismatch": "a signature in the name of {domain} does not fit headers or key; the usual cause is a "
    "tag in the subject, such as [EXTERNAL]",
    "expired": "a signature in the name of {domain} had expired, says the register, when it received the mail",
    "test-key": "a signature in the name of {domain} was made with a key that is marked as one for tests",
    "key-unusable": "a signature in the name of {domain} has a key that does not count: weak, of another kind, or for "
    "another use",
    "key-gone": "a signature in the name of {domain} had no key in the DNS, says the register",
    "not-covered": "a signature in the name of {domain} does not cover the whole mail, its sender, subject and date",
    "sender-mismatch": "a signature in the name of {domain} is not by the domain of the sender",
    "domain-not-listed": "a signature names {domain}, which the register does not list as Meta's",
    "unsigned": "no signature",
    "unreadable": "not a mail that every program reads in one way",
    "signature-refused": "a signature that cannot be read, or is made in a way that does not count",
}
_KINDS = {
    "notice": "; the register knows it as Meta's notice",
    "confirmation": "; the register knows it as Meta's confirmation of an objection",
    "answer": "; the register knows it as an answer of Meta's",
    "other": "; the register knows it as another mail of Meta's",
    "unknown": "; the register does not know it",
}


@dataclass(frozen=True)
class AddedMail:
    """A mail among what was added. ``dkim``: what the register found of its signature, as the contract has it.

    ``key_record``: the DNS record by which the register judged the signature, where it saw one.
    """

    name: str
    raw: bytes
    dkim: JsonObject
    key_record: bytes | None


@dataclass(frozen=True)
class Place:
    """Where a receipt stands: ``index`` in the log, under the ``checkpoint`` in ``note`` if that holds.

    ``stamped_at``: when the first clock that the policy trusts stamped that checkpoint, in seconds; None if none did.
    """

    index: int
    note: str | None
    checkpoint: Checkpoint | None
    stamped_at: int | None


@dataclass
class Later:
    """What was added, as far as it holds."""

    supplements: int = 0
    withdrawn_at: int | None = None
    mails: list[AddedMail] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)


def verify_later(
    report: Report,
    files: Mapping[str, bytes],
    media_types: Mapping[str, str] | None,
    objection: VerifiedReceipt | None,
    policy: TrustPolicy | None,
    *,
    objection_at: Place,
) -> Later:
    """Add the checks ``later`` and ``mail``. ``files``: those of the whole bundle, by name; ``objection_at``: where the
    objection stands, behind which all of them must stand, in the same log.
    """
    later = Later()
    names = [name for name in files if name.startswith(("later/", "dkim/"))]
    if not names:
        report.not_present("later", "nothing")
        report.not_present("mail", _NO_MAIL)
        return later
    if objection is None:
        report.unchecked("later", "mail")
        return later
    with report.check("later") as saying:
        if policy is None:
            raise VerificationError("policy_malformed", "without a policy there is no register to trust")
        receipts = sorted(name for name in names if _RECEIPT.fullmatch(name))
        known: set[str] = set()
        place = objection_at
        for number, name in enumerate(receipts, 1):
            added = _Added(files, media_types, name, number)
            place = _verify_one(added, objection, policy, later, before=place, main=objection_at)
            if place.stamped_at is not None and report.facts["keys_from"] == "policy":
                later.facts[-1]["anchored_at"] = place.stamped_at
            known |= added.known
        if strangers := set(names) - known:
            raise VerificationError("later_mismatch", f"belongs to no later receipt: {', '.join(sorted(strangers))}")
        withdrawal = " and a withdrawal" if later.withdrawn_at is not None else ""
        saying.reason = f"{later.supplements} supplement(s){withdrawal}: signed by the holder, acknowledged, in the log"
        saying.reason += "".join(f"; {number}: {_state(fact)}" for number, fact in enumerate(later.facts, 1))
        report.facts["later"] = later.facts
    _verify_mails(report, later)
    return later


def stamps_under(files: Mapping[str, bytes], folder: str) -> dict[str, bytes]:
    """Return the time stamps in a folder by authority."""
    return {
        name.removeprefix(folder).removesuffix(".tst"): data for name, data in files.items() if name.startswith(folder)
    }


def _state(fact: Mapping[str, Any]) -> str:
    return f"anchored on {format_time(fact['anchored_at'])}" if "anchored_at" in fact else "recorded"


class _Added:
    """The files that belong to one later receipt."""

    def __init__(
        self, files: Mapping[str, bytes], media_types: Mapping[str, str] | None, name: str, number: int
    ) -> None:
        found = _RECEIPT.fullmatch(name)
        if found is None or int(found[1]) != number:
            raise VerificationError("later_mismatch", f"{name}: later receipts are numbered 01, 02, … without a gap")
        self.kind = found[2]
        self.name = name
        self.known = {name}
        self._files = files
        folder = f"later/{found[1]}/"
        self.evidence = {path.removeprefix(folder): data for path, data in files.items() if path.startswith(folder)}
        self.known |= {folder + path for path in self.evidence}
        self.media_types = (
            None if media_types is None else {path: media_types.get(folder + path, "") for path in self.evidence}
        )

    def stamps(self) -> dict[str, bytes]:
        """Return the stamps over this receipt's own checkpoint."""
        folder = self.name.removesuffix(".jws") + "/"
        self.known |= {path for path in self._files if path.startswith(folder)}
        return stamps_under(self._files, folder)

    def file(self, suffix: str) -> bytes:
        return self.named(self.name.removesuffix(".jws") + suffix)

    def optional(self, suffix: str) -> None:
        """Take a file that cannot be checked here, if there is one, for one of this receipt's."""
        self.known.add(self.name.removesuffix(".jws") + suffix)

    def named(self, name: str) -> bytes:
        if name not in self._files:
            raise VerificationError("bundle_file_missing", f"{name} is not in the bundle")
        self.known.add(name)
        return self._files[name]


def _verify_one(
    added: _Added, objection: VerifiedReceipt, policy: TrustPolicy, later: Later, *, before: Place, main: Place
) -> Place:
    """Check one later receipt with all that belongs to it; return its place, which is behind ``before``.

    ``main``: the objection's place, whose stamps count for whatever stands under the same checkpoint.
    """
    receipt = verify_receipt(added.file(".jws"))
    if receipt.kind != added.kind or receipt.payload["objection_sha256"] != objection.sha256.hex():
        raise VerificationError("later_mismatch", f"{added.name} is about something else")
    if receipt.holder_jwk != objection.holder_jwk:
        raise VerificationError("later_mismatch", f"{added.name} is signed by another key than the objection")
    verify_evidence(receipt, added.evidence)
    types = {item.name: item.media_type for item in receipt.evidence}
    if added.media_types is not None and added.media_types != types:
        raise VerificationError("evidence_mismatch", "manifest.json gives other media types than the receipt")
    acknowledged = verify_acknowledgement(_text(added.file(".ack")), receipt, policy)
    log = acknowledged.claims["log"]
    proof = parse_proof(_text(added.file(".tlog-proof")))
    received_at = acknowledged.received_at
    entry = format_entry(kind=receipt.kind, salt=proof.salt, receipt_sha256=receipt.sha256, received_at=received_at)
    checkpoint = verify_proof(proof, entry=entry, log=policy.log)
    if (checkpoint.origin, proof.index) != (log["origin"], log["index"]) or proof.index <= before.index:
        raise VerificationError("proof_mismatch", f"{added.name}: the acknowledgement names another place in the log")
    _verify_growth(added, before.checkpoint, checkpoint)
    stamped_at = _verify_stamps(added, proof.checkpoint_note, policy, received_at, main)
    told = {"receipt_sha256": receipt.sha256.hex(), "signed_at": receipt.iat, "received_at": received_at}
    later.facts.append({"kind": receipt.kind} | told)
    if receipt.kind == "supplement":
        later.supplements += 1
        for name, dkim in acknowledged.dkim.items():
            record = added.named(f"dkim/{dkim['key_sha256']}.txt") if "key_sha256" in dkim else None
            later.mails.append(AddedMail(name, added.evidence[name], dkim, record))
    elif later.withdrawn_at is not None:
        raise VerificationError("later_mismatch", "an objection is withdrawn once")
    else:
        later.withdrawn_at = received_at
    return Place(proof.index, proof.checkpoint_note, checkpoint, stamped_at)


def _verify_growth(added: _Added, before: Checkpoint | None, checkpoint: Checkpoint) -> None:
    """Make sure that the log under ``checkpoint`` begins with the one ``before``, or is the same."""
    if before is None:  # another check failed, and says so
        added.optional(".consistency")
        return
    if checkpoint.size < before.size:
        raise VerificationError("proof_mismatch", f"{added.name}: under an older state of the log than what was before")
    if checkpoint.size > before.size:
        verify_growth(_text(added.file(".consistency"), "proof_malformed"), before=before, after=checkpoint)
    elif checkpoint.root != before.root:
        raise VerificationError("consistency_mismatch", f"{added.name}: in another log of the same size")


def _verify_stamps(added: _Added, note: str, policy: TrustPolicy, received_at: int, main: Place) -> int | None:
    """Return when a clock that the policy trusts first stamped what a later receipt stands under."""
    if note != main.note:
        return verify_stamps(added.stamps(), note, policy, received_at=received_at).first_at
    if main.stamped_at is not None:
        refuse_early(main.stamped_at, received_at)
    return main.stamped_at


def _verify_mails(report: Report, later: Later) -> None:
    if not later.mails:
        report.not_present("mail", _NO_MAIL)
        return
    with report.check("mail") as saying:
        for mail in later.mails:
            if mail.key_record is not None and sha256(mail.key_record).hex() != mail.dkim["key_sha256"]:
                raise VerificationError("dkim_mismatch", "the key record is not the one that the register saw")
            recheck_finding(mail.raw, mail.dkim, key_record=mail.key_record)
        reason = ". ".join(f"{mail.name}: {_describe(mail.dkim)}" for mail in later.mails)
        if any(mail.dkim["finding"] == "signed" for mail in later.mails):
            saying.reason = reason
        else:
            saying.absent(reason)
        report.facts["mails"] = [
            {"name": mail.name} | {fact: mail.dkim[fact] for fact in _REPEATED if fact in mail.dkim}
            for mail in later.mails
        ]


def _describe(dkim: JsonObject) -> str:
    words = _FINDINGS[dkim["finding"]]
    return words.format(domain=dkim.get("domain"), kind=_KINDS.get(str(dkim.get("kind")), ""))


def _text(raw: bytes, code: str = "jws_malformed") -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ParseError(code, "not text") from error
