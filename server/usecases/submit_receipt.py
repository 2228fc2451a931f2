"""Take a receipt of any kind from its holder."""

from collections.abc import Mapping

from server.core.receipts import verify_evidence, verify_receipt
from server.errors import RequestError
from server.usecases.add_supplement import add_supplement
from server.usecases.answer_holder import Answer
from server.usecases.erase import erase
from server.usecases.record_objection import record_objection
from server.usecases.register import Register
from server.usecases.withdraw import withdraw


def submit_receipt(
    register: Register,
    *,
    raw_receipt: bytes,
    holder_share: bytes,
    evidence: Mapping[str, bytes],
    work: str | None,
    unchecked: bool,
) -> Answer:
    """Do what the receipt asks for, durably, and answer for it. ``work``: a work proof, which only an objection has.

    ``unchecked``: a supplement's mails are kept even when nobody can look at their signatures now.

    Raises ParseError and FieldError for what is no receipt, and what the use case of its kind raises.
    """
    receipt = verify_receipt(raw_receipt)
    if unchecked and receipt.kind != "supplement":
        raise RequestError("part_unexpected", "mails go with a supplement only")
    if receipt.kind == "objection":
        return record_objection(register, receipt, holder_share=holder_share, evidence=evidence, work=work)
    if work is not None:
        raise RequestError("part_unexpected", "a work proof goes with an objection only")
    if receipt.kind == "supplement":
        return add_supplement(register, receipt, holder_share=holder_share, evidence=evidence, unchecked=unchecked)
    verify_evidence(receipt, evidence)
    if receipt.kind == "withdrawal":
        return withdraw(register, receipt, holder_share=holder_share)
    return erase(register, receipt, holder_share=holder_share)
