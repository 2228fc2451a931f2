"""gunicorn's settings; every number with its reason."""

from server.settings import load_settings

_settings = load_settings()

bind = _settings.bind
# Two processes a core: while one has the log, another verifies and seals. Fewer stand idle, more make small groups.
workers = _settings.workers
# A recording thread mostly waits for its group's commit. More threads in one process fight over the interpreter lock.
worker_class = "gthread"
threads = 16
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
