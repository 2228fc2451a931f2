"""Make the bundle that a holder keeps: everything needed to verify the objection without us."""

from datetime import UTC, datetime

from server.bundles.asice import write_container
from server.bundles.contents import bundled_file
from server.bundles.readme import format_readme
from server.core.policies import format_trust_policy
from server.core.proofs import parse_proof
from server.usecases.open_record import OpenedRecord
from server.usecases.record_objection import RecordAnswer
from server.usecases.register import Register


def build_bundle(register: Register, recorded: RecordAnswer, opened: OpenedRecord) -> bytes:
    """Return the ASiC-E container for a record that its holder opened."""
    keyring = register.keyring
    proof = parse_proof(recorded.proof)
    parts = {
        "receipt.jws": opened.receipt.raw,
        "token.sd-jwt": recorded.token.encode("ascii"),
        "proof.tlog-proof": recorded.proof.encode(),
        "checkpoint.txt": proof.checkpoint_note.encode(),
        "policy.json": format_trust_policy(keyring.policy),
        "README.txt": format_readme(
            opened.receipt,
            received_at=recorded.received_at,
            log_origin=keyring.log_name,
            log_index=proof.index,
            issuer=keyring.issuer,
            issuer_kids=sorted(keyring.issuer_keys),
        ),
    }
    files = {name: bundled_file(name, data) for name, data in parts.items()}
    for item in opened.receipt.evidence:
        name = f"evidence/{item.name}"
        files[name] = bundled_file(name, opened.evidence[item.name], signed_type=item.media_type)
    now = datetime.fromtimestamp(register.clock(), UTC)
    return write_container(
        files,
        recorded_at=recorded.received_at,
        timestamp=lambda data: keyring.time_authority.timestamp(data, now=now),
    )
