"""Add evidence to an objection: Meta's reply, a screenshot found later."""

import base64
import logging
from collections.abc import Mapping

from server.core.encoding import JsonObject
from server.core.mails import MAIL_TYPE
from server.core.receipts import VerifiedReceipt, verify_evidence
from server.errors import Unavailable
from server.outside.mail import MailFinding
from server.usecases.answer_holder import Answer, answer_later, status_of
from server.usecases.open_objection import open_objection
from server.usecases.open_record import open_for_its_holder
from server.usecases.recorded_before import recorded_before, refuse_stale, refuse_without_room
from server.usecases.register import Register
from server.usecases.seal_receipt import seal_receipt

_log = logging.getLogger("objection.mail")


def add_supplement(
    register: Register,
    receipt: VerifiedReceipt,
    *,
    holder_share: bytes,
    evidence: Mapping[str, bytes],
    unchecked: bool,
) -> Answer:
    """Return once the supplement is durably recorded; the same receipt again returns the original record.

    Raises what ``open_objection`` raises, what receipt and evidence are refused for, TooLarge ``evidence_too_large``
    and Conflict ``too_many_supplements``: the log writer counts, for several may come at once. Raises Unavailable
    ``dns_unavailable`` when a mail's signature might hold and nobody can look now, unless ``unchecked`` says to keep
    such mails as they are.
    """
    refuse_stale(register, receipt)
    verify_evidence(receipt, evidence)
    refuse_without_room(register, receipt)
    objection = open_objection(register, receipt, holder_share)
    with register.database.reading() as connection:
        status = status_of(connection, objection.record)
    found = {} if recorded_before(register, receipt) else _look_at_mails(register, receipt, evidence)
    if not unchecked and any(mail.finding == "unchecked" for mail in found.values()):
        raise Unavailable("dns_unavailable", "the DNS does not answer, so that a mail's signature cannot be checked")
    findings = _sealable(found)
    sealed = seal_receipt(
        register,
        receipt,
        holder_share,
        evidence,
        findings=findings,
        objection_sha256=objection.record.receipt_sha256,
        outcome=_outcome(found),
    )
    logged = register.log_writer.append(sealed)
    if logged.repeated:  # what was seen and sealed the first time counts
        findings = open_for_its_holder(register, logged.record, holder_share).findings
    return answer_later(register, receipt, logged, status=status, findings=findings)


def _look_at_mails(
    register: Register, receipt: VerifiedReceipt, evidence: Mapping[str, bytes]
) -> dict[str, MailFinding]:
    """Return, by evidence name, what the register found of each mail's own signature."""
    names = [item.name for item in receipt.evidence if item.media_type == MAIL_TYPE]
    found = dict(zip(names, register.check_mails([evidence[name] for name in names]), strict=True))
    for mail in found.values():
        _log.info("mail %s %s", mail.domain or "-", mail.finding)
    return found


def _outcome(found: Mapping[str, MailFinding]) -> str | None:
    """Return what the mails make of the objection in the counts. An unknown mail is no confirmation."""
    kinds = {mail.claims["kind"] for mail in found.values() if mail.finding == "signed"}
    if "confirmation" in kinds:
        return "acknowledged"
    return "meta-mail" if kinds else None


def _sealable(found: Mapping[str, MailFinding]) -> JsonObject:
    """Return what is sealed with the supplement: the findings, and the keys they were made by."""
    sealed: dict[str, JsonObject] = {}
    for name, mail in found.items():
        sealed[name] = {"finding": mail.claims}
        if mail.key_record is not None:
            sealed[name]["key_record"] = base64.b64encode(mail.key_record).decode()
    return {"dkim": sealed} if sealed else {}
