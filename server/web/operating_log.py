"""What gunicorn may write about requests: which error ended one, never what the client sent or where it is."""

import logging
import sys
import threading
import traceback


def leave_out_client_data(record: logging.LogRecord) -> bool:
    """Reword ``record`` of gunicorn's log when it is about a request; a filter for ``logging``, which lets all pass.

    gunicorn quotes addresses, paths and headers in some messages and in the text of its errors: neither is kept, only
    the class of the error that is being handled, and the lines of code that it passed.
    """
    # Requests are read and answered by the other threads; the main one tells of processes, sockets and signals.
    if record.thread != threading.main_thread().ident:
        kind, _, trace = sys.exc_info()
        lines = ["a request ended with ", kind.__name__ if kind else "no error"]
        if record.exc_info:
            lines += ["\n", *traceback.format_tb(trace)]
        record.msg, record.args, record.exc_info = "".join(lines).rstrip(), (), None
    return True
