"""What gunicorn does with more connections than it can serve."""

import resource
import socket
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from tests.fixtures.servers import serving
from tests.test_worker import children, until

FILE_LIMIT = 600  # room for the connections that gunicorn may have and what else is open in a process at rest
CLIENTS = 700


def test_idle_connections_do_not_use_up_file_descriptors(tmp_path: Path) -> None:
    with serving(tmp_path) as server, ExitStack() as idle:
        assert server.process is not None
        (worker,) = children(server.process.pid, "gunicorn")
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (FILE_LIMIT, FILE_LIMIT))
        for _ in range(CLIENTS):
            connection = idle.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", server.port))
        until(lambda: len(list(Path(f"/proc/{worker}/fd").iterdir())) > 512)
        time.sleep(1)  # for as many again, were there no bound
        idle.close()
        with urllib.request.urlopen(f"{server.url}/readyz", timeout=30) as response:
            assert response.status == 200
        assert children(server.process.pid, "gunicorn") == [worker]
        assert "Too many open files" not in server.logged()
