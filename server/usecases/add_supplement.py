"""Add evidence to an objection: Meta's reply, a screenshot found later."""

import base64
from collections.abc import Mapping

from server.core.encoding import JsonObject
from server.core.receipts import VerifiedReceipt, verify_evidence
from server.errors import Unavailable
from server.usecases.answer_holder import Answer, answer_later, status_of
from server.usecases.open_objection import open_objection
from server.usecases.open_record import open_for_its_holder
from server.usecases.recorded_before import recorded_before, refuse_stale, refuse_without_room
from server.usecases.register import Register
from server.usecases.seal_receipt import seal_receipt

_LOOK_S = 5  # until when a look at another mail may begin; it may itself take as long (server/app.py)


def add_supplement(
    register: Register, receipt: VerifiedReceipt, *, holder_share: bytes, evidence: Mapping[str, bytes]
) -> Answer:
    """Return once the supplement is durably recorded; the same receipt again returns the original record.

    Raises what ``open_objection`` raises, what receipt and evidence are refused for, TooLarge ``evidence_too_large``
    and Conflict ``too_many_supplements``: the log writer counts, for several may come at once. A mail whose signature
    cannot be checked now is kept as it is.
    """
    refuse_stale(register, receipt)
    verify_evidence(receipt, evidence)
    refuse_without_room(register, receipt)
    objection = open_objection(register, receipt, holder_share)
    with register.database.reading() as connection:
        status = status_of(connection, objection.record)
    findings = {} if recorded_before(register, receipt) else _look_at_mails(register, receipt, evidence)
    sealed = seal_receipt(
        register,
        receipt,
        holder_share,
        evidence,
        findings=findings,
        objection_sha256=objection.record.receipt_sha256,
        acknowledged=any(mail["finding"]["known"] == "none" for mail in findings.get("dkim", {}).values()),
    )
    logged = register.log_writer.append(sealed)
    if logged.repeated:  # what was seen and sealed the first time counts
        findings = open_for_its_holder(register, logged.record, holder_share).findings
    return answer_later(register, receipt, logged, status=status, findings=findings)


def _look_at_mails(register: Register, receipt: VerifiedReceipt, evidence: Mapping[str, bytes]) -> JsonObject:
    """Return, by evidence name, what the register saw of the mails' own signatures, and the keys it saw it by.

    Not all of them are looked at when the DNS is silent or slow: the holder waits for it.
    """
    seen = {}
    last_look_at = register.clock() + _LOOK_S
    for item in receipt.evidence:
        if item.media_type != "message/rfc822" or register.clock() > last_look_at:
            continue
        try:
            finding = register.check_mail(evidence[item.name])
        except Unavailable:
            break
        if finding is not None:
            record = base64.b64encode(finding.key_record).decode()
            seen[item.name] = {"finding": finding.as_json(), "key_record": record}
    return {"dkim": seen} if seen else {}
