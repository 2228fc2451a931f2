"""Witnesses of the log, asked over HTTP (C2SP tlog-witness)."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from server.core.log_policies import LogPolicy, verify_witnesses
from server.core.notes import VerifierKey
from server.core.witnessing import ADD_CHECKPOINT, SIZE_TYPE, Cosigned, Stale, format_add_checkpoint, parse_size
from server.errors import ParseError, Unavailable, VerificationError
from server.outside.http import Answer, post


@dataclass(frozen=True)
class Witness:
    """A witness by the policy's ``name`` for it; ``url`` is its submission prefix, without a trailing slash."""

    name: str
    key: VerifierKey
    url: str


def add_checkpoint(
    witness: Witness, note: str, *, log: VerifierKey, old_size: int, path: Sequence[bytes], timeout_s: float
) -> Cosigned | Stale:
    """Ask ``witness`` to cosign the checkpoint in ``note``; return its verified signature lines, or how far it is.

    Raises Unavailable ``witness_unavailable`` when it does not answer, ParseError ``reply_malformed`` when it answers
    with something else; VerificationError ``consistency_mismatch`` when it finds that our log does not begin with what
    it has seen before, ``witness_refused`` for its other refusals, ``note_unverified`` when its signature is not good.
    """
    answer = post(
        f"{witness.url}{ADD_CHECKPOINT}",
        format_add_checkpoint(old_size=old_size, path=path, checkpoint_note=note),
        media_type="text/plain; charset=utf-8",
        accept="text/plain",
        timeout_s=timeout_s,
        code="witness_unavailable",
    )
    if answer.status == HTTPStatus.CONFLICT and answer.media_type == SIZE_TYPE:
        return Stale(parse_size(answer.body))
    if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        raise VerificationError("consistency_mismatch", f"{witness.name} has seen another log under our name")
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        raise Unavailable("witness_unavailable", f"{witness.name} answers {answer.status}")
    if answer.status != HTTPStatus.OK:
        raise VerificationError("witness_refused", f"{witness.name} refuses our checkpoint with {answer.status}")
    return Cosigned(_own_lines(witness, note, answer, log=log))


def _own_lines(witness: Witness, note: str, answer: Answer, *, log: VerifierKey) -> str:
    """Return the lines of the answer that ``witness`` signed; those of others prove nothing to us, and are dropped."""
    try:
        lines = answer.body.decode()
    except UnicodeDecodeError as error:
        raise ParseError("reply_malformed", f"{witness.name} answers with something else than text") from error
    alone = LogPolicy(log, {witness.name: witness.key})
    own = [line for line in lines.splitlines(keepends=True) if verify_witnesses(note + line, alone)]
    if len(own) != 1:
        raise VerificationError("note_unverified", f"{witness.name} did not sign, once, with the key that we know")
    return own[0]
