"""gunicorn's settings; every number with its reason."""

from server.settings import load_settings

_settings = load_settings()

bind = _settings.bind
# A process a core, and one more: while one has the log, the others verify and seal.
workers = _settings.workers
# A recording thread mostly waits for its group's commit, so many share a process.
worker_class = "gthread"
threads = 32
# A request may wait 25 s for the log (usecases/log_writer.py) and must then still get its answer.
timeout = 60
graceful_timeout = 30
# Below the 60 s at which common load balancers drop idle connections: we never close one they are about to reuse.
keepalive = 75
# The longest legal header is a token (16 kB of it) with its DPoP proof.
limit_request_field_size = 32_768
# Access logs are written by the application, without addresses.
accesslog = None
# Heartbeats on a disk can stall with it.
worker_tmp_dir = "/dev/shm"  # noqa: S108
# No second way to steer the process than signals.
control_socket_disable = True
