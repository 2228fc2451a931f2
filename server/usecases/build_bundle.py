"""Make what a holder keeps: everything needed to verify the objection without us, as ASiC-E or inside a certificate."""

import base64
from datetime import UTC, datetime

from server.bundles.asice import write_container
from server.bundles.certificate import CertificateFacts
from server.bundles.contents import BundledFile, bundled_file, format_manifest, with_manifest
from server.bundles.document_cache import content_key
from server.bundles.linked_data import format_linked_data
from server.bundles.readme import format_readme
from server.bundles.signing import DocumentSigner, make_document
from server.bundles.verifier import verifier_page
from server.core.encoding import sha256
from server.core.policies import format_trust_policy
from server.core.proofs import parse_proof
from server.core.statuslists import STATUS_LIST_SIZE
from server.usecases.describe_record import describe_record
from server.usecases.find_anchor import Anchor
from server.usecases.open_record import OpenedRecord
from server.usecases.publish_status import publish_status
from server.usecases.read_record import HeldRecord, LaterRecord
from server.usecases.register import Register


def build_container(register: Register, held: HeldRecord) -> bytes:
    """Return the ASiC-E container for a record that its holder opened."""
    _, files = _collect(register, held)
    return write_container(files, recorded_at=held.answer.received_at, timestamp=lambda data: _stamp(register, data))


def build_certificate(register: Register, held: HeldRecord, *, language: str) -> bytes:
    """Return the signed PDF in ``language``, with the same files attached; made once for the same content."""
    facts, files = _collect(register, held)
    key = content_key(files, language)
    document = register.documents.get(key, held.data_key)
    if document is None:
        issuer = register.keyring.issuer_keys[register.keyring.issuer_kid]
        signer = DocumentSigner(
            issuer.key,
            base64.b64decode(issuer.certificate),
            [issuer.root],
            lambda data: _stamp(register, data),
        )
        document = make_document(
            facts, with_manifest(files, format_manifest(files)), language, signer=signer, at=register.clock()
        )
        register.documents.put(key, held.data_key, document)
    return document


def _stamp(register: Register, data: bytes) -> bytes:
    now = datetime.fromtimestamp(register.clock(), UTC)
    return register.keyring.time_authority.timestamp(data, now=now)


def _collect(register: Register, held: HeldRecord) -> tuple[CertificateFacts, dict[str, BundledFile]]:
    """Return what the record tells, and every file of the proof by name, in the order of its manifest."""
    keyring, answer, receipt = register.keyring, held.answer, held.opened.receipt
    proof = parse_proof(answer.proof)
    status_list, status_at = publish_status(register, held.status_index // STATUS_LIST_SIZE)
    facts = describe_record(register, held, status_at=status_at)
    parts = {
        "receipt.jws": receipt.raw,
        "token.sd-jwt": answer.token.encode("ascii"),
        "proof.tlog-proof": answer.proof.encode(),
        "checkpoint.txt": proof.checkpoint_note.encode(),
        "policy.json": format_trust_policy(keyring.policy),
        "status.jwt": status_list.encode("ascii"),
        "objection.jsonld": format_linked_data(facts),
        "README.txt": format_readme(
            receipt,
            received_at=answer.received_at,
            log_origin=keyring.log_name,
            log_index=proof.index,
            issuer=keyring.issuer,
            anchored_at=facts.anchor.at if facts.anchor is not None else None,
        ),
    }
    page = verifier_page()
    if page is not None:
        parts["verify.html"] = page
    parts |= _stamps("anchors", held.anchor)
    files = {name: bundled_file(name, data) for name, data in parts.items()}
    files |= _evidence_files("evidence", held.opened)
    for number, later in enumerate(held.later, 1):
        name = f"later/{number:02}-{later.opened.receipt.kind}"
        forms = {
            "jws": later.opened.receipt.raw,
            "ack": later.acknowledgement.encode("ascii"),
            "tlog-proof": later.proof.encode(),
        }
        if later.consistency is not None:
            forms["consistency"] = later.consistency.encode()
        files |= {f"{name}.{form}": bundled_file(f"{name}.{form}", data) for form, data in forms.items()}
        files |= _later_stamps(name, later, held.anchor)
        files |= _evidence_files(f"later/{number:02}", later.opened)
        files |= _mail_keys(later.opened)
    return facts, files


def _stamps(folder: str, anchor: Anchor | None) -> dict[str, bytes]:
    return {f"{folder}/{name}.tst": token for name, token in sorted(anchor.tokens.items())} if anchor else {}


def _later_stamps(folder: str, later: LaterRecord, objections: Anchor | None) -> dict[str, BundledFile]:
    """The stamps over the checkpoint of a later receipt, where it is another one than the objection's."""
    if later.anchor is None or (objections is not None and later.anchor.size == objections.size):
        return {}
    return {name: bundled_file(name, data) for name, data in _stamps(folder, later.anchor).items()}


def _evidence_files(folder: str, opened: OpenedRecord) -> dict[str, BundledFile]:
    files = {}
    for item in opened.receipt.evidence:
        name = f"{folder}/{item.name}"
        files[name] = bundled_file(name, opened.evidence[item.name], signed_type=item.media_type)
    return files


def _mail_keys(opened: OpenedRecord) -> dict[str, BundledFile]:
    """The DNS records of the keys by which the register judged the mails: they are gone from the DNS one day."""
    files = {}
    for mail in opened.findings.get("dkim", {}).values():
        if "key_record" not in mail:
            continue
        record = base64.b64decode(mail["key_record"])
        name = f"dkim/{sha256(record).hex()}.txt"
        files[name] = bundled_file(name, record)
    return files
