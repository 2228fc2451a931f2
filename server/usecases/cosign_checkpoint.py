"""Be a witness: cosign a log's newest checkpoint once it is seen that the log only grew (C2SP tlog-witness)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.core.merkle import EMPTY_ROOT, verify_consistency
from server.core.notes import COSIGNATURE, VerifierKey, sign_cosignature, verify_checkpoint
from server.core.witnessing import Cosigned, Stale, parse_add_checkpoint
from server.errors import Forbidden, NotFound, ParseError, VerificationError
from server.store.witnessed import Witnessed, WitnessedLogs


@dataclass(frozen=True)
class WitnessService:
    """A witness: its name and key, the logs that it knows by their origin, and what it remembers of them."""

    name: str
    key: Ed25519PrivateKey
    logs: Mapping[str, VerifierKey]
    storage: WitnessedLogs
    clock: Callable[[], int]

    @property
    def verifier(self) -> VerifierKey:
        return VerifierKey(self.name, self.key.public_key(), COSIGNATURE)


def cosign_checkpoint(witness: WitnessService, raw_request: bytes) -> Cosigned | Stale:
    """Return the cosignature of the checkpoint in a log's request, once it is remembered; or where the log left off.

    Raises ParseError for what is no request, or has an old size above its checkpoint's; NotFound for an unknown log;
    Forbidden when its key did not sign; VerificationError ``consistency_mismatch`` when the log did not only grow.
    """
    request = parse_add_checkpoint(raw_request)
    origin, _, _ = request.checkpoint_note.partition("\n")
    log = witness.logs.get(origin)
    if log is None:
        raise NotFound("log_unknown", "this witness does not know that log")
    try:
        checkpoint = verify_checkpoint(request.checkpoint_note, trusted=log)
    except VerificationError as error:
        raise Forbidden("note_unverified", str(error)) from error
    if request.old_size > checkpoint.size:
        raise ParseError("request_malformed", "the old size is larger than the checkpoint's")
    with witness.storage.changing() as storage:
        seen = storage.read(origin) or Witnessed(0, EMPTY_ROOT)
        if request.old_size != seen.size or (seen.size == checkpoint.size and seen.root != checkpoint.root):
            return Stale(seen.size)
        verify_consistency(
            old_size=seen.size, old_root=seen.root, size=checkpoint.size, root=checkpoint.root, path=request.path
        )
        storage.write(origin, Witnessed(checkpoint.size, checkpoint.root))
    # Only now, when it is on disk: a witness that forgot what it signed would sign another log's growth from there.
    text = request.checkpoint_note.rpartition("\n\n")[0] + "\n"
    return Cosigned(sign_cosignature(text, witness.name, witness.key, time=witness.clock()))
