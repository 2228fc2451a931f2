"""Go on with a halted log: where nothing was lost, or where the operator accepts in public that something was."""

from dataclasses import dataclass
from pathlib import Path

from server.core.notes import verify_checkpoint
from server.errors import LogInconsistent, OperatorError
from server.store import log
from server.store.log import Loss
from server.usecases.check_witnesses import check_witnesses
from server.usecases.register import Storage, check_kept


@dataclass(frozen=True)
class Resumed:
    """``reason``: why the log was halted, if it was. ``loss``: what is stated publicly from now on."""

    size: int
    reason: str | None
    loss: Loss | None
    aside: Path | None


def resume_log(storage: Storage, *, accept_loss: bool, now: int) -> Resumed:
    """Let the log be signed again. ``storage``: opened although it may be behind the checkpoint kept outside.

    Raises OperatorError ``log_behind_witness`` whatever is accepted: no witness would cosign any more, and each would
    halt the log again. LogInconsistent ``log_behind_checkpoint`` unless ``accept_loss``; OperatorError
    ``log_not_halted`` when there is nothing to do; Unavailable.
    """
    check_witnesses(storage)
    kept = storage.kept
    note = kept.read() if kept else None
    with storage.database.writing() as connection:
        head = log.read_head(connection, lock=True)
        if head is None:
            raise LogInconsistent("log_inconsistent", "the log has no head")
        signed: int | None = None
        try:
            check_kept(connection, head, storage.keyring, note)
        except LogInconsistent as error:
            if error.code != "log_behind_checkpoint" or not accept_loss or note is None:
                raise
            signed = verify_checkpoint(note, trusted=storage.keyring.log_verifier).size
        if head.halted is None and signed is None:
            raise OperatorError(
                "log_not_halted", f"the log is not halted, and has the {head.size} entries that we know of"
            )
        loss = Loss(head.size, signed, now) if accept_loss else None
        if loss is not None:
            log.insert_loss(connection, loss)
        log.resume(connection)
    # A crash before this leaves the larger checkpoint in its place: the start is refused, and this is run again.
    aside = kept.set_aside(head.checkpoint) if kept and accept_loss else None
    return Resumed(head.size, head.halted, loss, aside)
