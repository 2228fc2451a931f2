"""At the start: has any witness seen more of this log than there is here? Then the database is an old backup."""

import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from server.core.witnessing import Stale
from server.errors import ObjectionError, OperatorError, VerificationError
from server.outside.witnesses import Witness
from server.store import anchors, log
from server.usecases.anchor_checkpoint import ask_witness
from server.usecases.register import Storage

_log = logging.getLogger("objection.anchors")
_TIMEOUT_S = 2


def check_witnesses(storage: Storage) -> None:
    """Ask each witness, all at once, and again where it is not where we remember it.

    Those that do not answer are only warned of. Raises OperatorError ``log_behind_witness``: to sign on from here would
    fork the log.
    """
    witnesses = storage.keyring.anchors.witnesses
    if not witnesses:
        return
    with ThreadPoolExecutor(len(witnesses)) as pool:
        for witness, seen in zip(witnesses, pool.map(lambda each: _seen(storage, each), witnesses), strict=True):
            with storage.database.reading() as connection:
                head = log.read_head(connection)
            # Read after the answer: other replicas may have grown the log meanwhile.
            if seen is not None and head is not None and seen > head.size:
                raise OperatorError(
                    "log_behind_witness",
                    f"{witness.name} has seen {seen} entries of this log, here are {head.size}: an old backup? "
                    "See docs/anchoring.md",
                )


def _seen(storage: Storage, witness: Witness) -> int | None:
    """Return how many entries ``witness`` has seen, as far as it tells.

    Raises OperatorError ``log_behind_witness`` when it saw another log than this one.
    """
    with storage.database.reading() as connection:
        head = log.read_head(connection)
        old_size = anchors.read_witness_size(connection, witness.key.name)
    if head is None:
        return None
    ask = partial(ask_witness, storage.database, storage.keyring, witness, head, timeout_s=_TIMEOUT_S)
    try:
        answer = ask(min(old_size, head.size))
        if isinstance(answer, Stale) and answer.size <= head.size:
            # Only a proof from where it is shows whether it saw this log, or a fork of it.
            seen = answer.size
            answer = ask(seen)
            if isinstance(answer, Stale) and answer.size == seen:
                raise VerificationError("consistency_mismatch", f"{witness.name} has seen another log under our name")
    except ObjectionError as error:
        if error.code == "consistency_mismatch":
            raise OperatorError("log_behind_witness", f"{error}: an old backup? See docs/anchoring.md") from error
        _log.warning("%s: %s: %s", witness.name, error.code, error)
        return None
    return answer.size if isinstance(answer, Stale) else head.size
