"""Add evidence to an objection: Meta's reply, a screenshot found later."""

import base64
from collections.abc import Mapping

from schemas.vocabulary import MAX_EVIDENCE_TOTAL_BYTES
from server.core.encoding import JsonObject
from server.core.receipts import VerifiedReceipt, verify_evidence, verify_freshness
from server.errors import TooLarge
from server.store import records
from server.usecases.answer_holder import Answer, answer_later, status_of
from server.usecases.open_objection import open_objection
from server.usecases.open_record import open_for_its_holder
from server.usecases.register import Register
from server.usecases.seal_receipt import seal_receipt


def add_supplement(
    register: Register, receipt: VerifiedReceipt, *, holder_share: bytes, evidence: Mapping[str, bytes]
) -> Answer:
    """Return once the supplement is durably recorded; the same receipt again returns the original record.

    Raises what ``open_objection`` raises, what receipt and evidence are refused for, TooLarge ``evidence_too_large``
    and Conflict ``too_many_supplements``. A mail whose signature cannot be checked now is kept as it is.
    """
    verify_freshness(receipt, now=register.clock(), max_age_s=register.receipt_max_age_s)
    verify_evidence(receipt, evidence)
    objection = open_objection(register, receipt, holder_share)
    with register.database.reading() as connection:
        known = records.find_record(connection, receipt.sha256)
        later = records.find_later(connection, objection.record.receipt_sha256)
        status = status_of(connection, objection.record)
    if known is None:
        kept = [objection.receipt, *(open_for_its_holder(register, record, holder_share).receipt for record in later)]
        _refuse_too_much([*kept, receipt])
        findings = _look_at_mails(register, receipt, evidence)
    else:
        findings = open_for_its_holder(register, known, holder_share).findings
    sealed = seal_receipt(
        register,
        receipt,
        holder_share,
        evidence,
        findings=findings,
        objection_sha256=objection.record.receipt_sha256,
    )
    logged = register.log_writer.append(sealed)
    if logged.repeated:  # perhaps by the same request, sent twice at once: what was sealed first counts
        findings = open_for_its_holder(register, logged.record, holder_share).findings
    return answer_later(register, receipt, logged, status=status, findings=findings)


def _refuse_too_much(receipts: list[VerifiedReceipt]) -> None:
    if sum(item.size for receipt in receipts for item in receipt.evidence) > MAX_EVIDENCE_TOTAL_BYTES:
        raise TooLarge(
            "evidence_too_large", f"an objection holds at most {MAX_EVIDENCE_TOTAL_BYTES} bytes of evidence in all"
        )


def _look_at_mails(register: Register, receipt: VerifiedReceipt, evidence: Mapping[str, bytes]) -> JsonObject:
    """Return, by evidence name, what the register saw of the mails' own signatures, and the keys it saw it by."""
    seen = {}
    for item in receipt.evidence:
        finding = register.check_mail(evidence[item.name]) if item.media_type == "message/rfc822" else None
        if finding is not None:
            record = base64.b64encode(finding.key_record).decode()
            seen[item.name] = {"finding": finding.as_json(), "key_record": record}
    return {"dkim": seen} if seen else {}
