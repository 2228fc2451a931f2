"""Gather what a certificate tells about a record, from what the register itself can verify of it."""

from schemas.vocabulary import UNKNOWN_MAIL
from server.bundles.certificate import Anchor as StampedBy
from server.bundles.certificate import CertificateFacts, LaterReceipt, Mail, Witness
from server.core.encoding import JsonObject
from server.core.log_policies import verify_witnesses
from server.core.notes import verify_checkpoint
from server.core.proofs import parse_proof
from server.usecases.find_anchor import Anchor
from server.usecases.known_stamps import stamped_at
from server.usecases.read_record import HeldRecord, LaterRecord
from server.usecases.register import Register

_MAX_NAME = 200


def describe_record(register: Register, held: HeldRecord, *, status_at: int) -> CertificateFacts:
    """Return the facts of the record as it stands. Names and accounts are not among them: only the holder has those."""
    policy = register.keyring.policy
    proof = parse_proof(held.answer.proof)
    checkpoint = verify_checkpoint(proof.checkpoint_note, trusted=policy.log.key)
    cosigned = verify_witnesses(proof.checkpoint_note, policy.log)
    return CertificateFacts(
        receipt=held.opened.receipt,
        received_at=held.answer.received_at,
        register=register.public_url,
        register_keys=sorted(policy.issuer_keys),
        log_origin=checkpoint.origin,
        log_index=proof.index,
        log_size=checkpoint.size,
        log_root=checkpoint.root,
        assurance=held.assurance,
        status=held.answer.status,
        status_at=status_at,
        anchors=_stamps(register, held.anchor),
        witnesses=[Witness(policy.log.witnesses[name].name, at) for name, at in cosigned],
        later=[_describe_later(register, number, later) for number, later in enumerate(held.later, 1)],
    )


def _stamps(register: Register, anchor: Anchor | None) -> list[StampedBy]:
    stamps: list[StampedBy] = []
    if anchor is None:
        return stamps
    for listed in register.keyring.policy.time_authorities:
        token = anchor.tokens.get(listed.name)
        if token is None:
            continue
        stamp = stamped_at(token, anchor.checkpoint_note, listed.certificates)
        qualified = listed.trusted and stamp.says_qualified
        stamps.append(StampedBy(stamp.authority[:_MAX_NAME], stamp.at, listed.trusted, qualified))
    return stamps


def _describe_later(register: Register, number: int, later: LaterRecord) -> LaterReceipt:
    receipt = later.opened.receipt
    mails = [_describe_mail(name, mail["finding"]) for name, mail in later.opened.findings.get("dkim", {}).items()]
    return LaterReceipt(
        kind=receipt.kind,
        receipt_sha256=receipt.sha256,
        signed_at=receipt.iat,
        received_at=later.received_at,
        log_index=parse_proof(later.proof).index,
        files=[f"later/{number:02}/{item.name}" for item in receipt.evidence],
        mails=mails,
        anchors=_stamps(register, later.anchor),
    )


def _describe_mail(name: str, claims: JsonObject) -> Mail:
    return Mail(
        name=name,
        finding=claims["finding"],
        domain=claims.get("domain", ""),
        from_domain=claims.get("from", ""),
        subject=claims.get("subject", ""),
        signed_at=claims.get("signed_at"),
        kind=claims.get("kind", UNKNOWN_MAIL),
    )
