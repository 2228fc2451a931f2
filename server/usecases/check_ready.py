"""Whether the register can record: what a recording would be refused for, without one."""

import logging

from server.errors import LogInconsistent, Unavailable
from server.store import log
from server.store.database import Database
from server.store.log import Head
from server.usecases.log_writer import clock_behind, is_clock_behind, refuse_halted, writable_head
from server.usecases.register import Register
from server.usecases.row_sums import RowSums

_log = logging.getLogger("objection.log")
_USUAL_EVIDENCE_BYTES = 1 << 20  # the text of a notice and a screenshot


def check_ready(register: Register) -> Head:
    """Return the log's head. Raises Unavailable or LogInconsistent with the code that a usual objection would get now.

    It takes a turn among the log's writers, and waits for it as they do.
    """
    with register.database.reading() as connection:
        refuse_halted(log.read_head(connection))  # before all else: no other cause would pass and leave it ready
    if not register.log_writer.alive():
        raise Unavailable("log_unavailable", "the log cannot be written")
    register.blobs.refuse_unwritable()
    register.blobs.refuse_without_room(_USUAL_EVIDENCE_BYTES)
    register.database.refuse_without_room()
    with register.database.writing() as connection:
        try:
            head = writable_head(connection)
            RowSums(register.keyring.row_macs, head.sums)  # what is malformed takes no record
        except LogInconsistent as error:
            if error.code == "log_halted":
                raise
            raise Unavailable("log_unavailable", "the log cannot be written") from error
        if is_clock_behind(head, now=register.clock()):
            raise clock_behind()
        log.write_nothing(connection)
    return head


def warn_of_halt(database: Database) -> None:
    """Log why the log is halted, if it is: at each start, for what is recorded can be read meanwhile."""
    with database.reading() as connection:
        head = log.read_head(connection)
    if head is not None and head.halted is not None:
        _log.critical("log_halted: the log signs nothing any more: %s; docs/anchoring.md says what to do", head.halted)
