"""gunicorn's settings; every number with its reason."""

import ctypes
import gc
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from server.settings import load_settings
from server.web.operating_log import leave_out_client_data

# Until the server's own handlers are there, a stop ends the process, and leaves no stack trace. `objection serve` holds
# one back for as long as Python starts.
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

_settings = load_settings()
_cores = sorted(os.sched_getaffinity(0))
_CODE = Path(__file__).parents[1]
_M_ARENA_MAX = -8  # of mallopt(3), which glibc has and other C libraries do not need

bind = _settings.bind
# A process a core: verifying, sealing and signing keep Python's interpreter lock busy.
workers = _settings.workers
worker_class = "gthread"
# A recording thread mostly waits for its group's commit, so many share a process.
threads = 32
# With the files and database connections beside them (70 under load) they must stay well below 1024 descriptors, the
# usual limit: at the limit accept() fails, and the process ends with all that it was doing.
worker_connections = 512
# For a process whose main loop hangs. It ends no slow request, neither one that trickles in nor one that takes long:
# the proxy has to (docs/operating.md).
timeout = 60
graceful_timeout = 30
# Above the 60 s at which common load balancers drop idle connections: we never close one they are about to reuse.
keepalive = 75
# The longest legal header is a token (16 kB of it) with its DPoP proof.
limit_request_field_size = 32_768
# Access logs are written by the application, without addresses.
accesslog = None
# Heartbeats on a disk can stall with it.
worker_tmp_dir = "/dev/shm"  # noqa: S108
# No second way to steer the process than signals.
control_socket_disable = True


def on_starting(server: Any) -> None:
    """Keep what clients sent out of gunicorn's log, at any level; workers inherit it. Then try whether all is there to
    start with, before any process tries, so that what is wrong is said once."""
    logging.getLogger("gunicorn.error").addFilter(leave_out_client_data)
    read_end, write_end = os.pipe()
    started = _run("-m", "server.start", stdin=read_end)
    if status := started.wait():
        sys.exit(status)
    os.close(write_end)


def when_ready(server: Any) -> None:
    """Start the worker beside the server. It ends with us, however we end: the pipe that it reads from closes then."""
    if _settings.worker:
        read_end, server.worker_pipe = os.pipe()
        server.worker_process = _run("-m", "server.cli", "worker", "--until-eof", stdin=read_end)


def _run(*arguments: str, stdin: int) -> subprocess.Popen[bytes]:
    """Start a Python that ends with its standard input. Ctrl-C, which a terminal sends to all, is left to us."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        environment = os.environ | _settings.paths()
        return subprocess.Popen([sys.executable, *arguments], stdin=stdin, cwd=_CODE, env=environment)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(stdin)


def pre_fork(server: Any, worker: Any) -> None:
    """Choose the core that the fewest processes have."""
    taken = [other.core for other in server.WORKERS.values()]
    worker.core = min(_cores, key=taken.count)


def post_fork(server: Any, worker: Any) -> None:
    """Stay on one core: its threads hand the interpreter lock to each other dozens of times a request, and to wake
    another core each time cost a quarter of the throughput."""
    os.sched_setaffinity(0, {worker.core})
    if _settings.worker:
        os.close(server.worker_pipe)  # only the arbiter's end may keep the worker alive
    # Else each thread has a heap of its own, and keeps in it what its largest request took: after 32 of 8 MiB a process
    # had 500 MiB more than before (server/web/room.py bounds how many there are at once); with two heaps it has 160.
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_ARENA_MAX, 2)


def post_worker_init(worker: Any) -> None:
    """Keep what was loaded at the start out of garbage collections. It stays for ever, and to walk through it took a
    quarter of a second each time, in which nobody was answered and the log stood still."""
    gc.collect()
    gc.freeze()
