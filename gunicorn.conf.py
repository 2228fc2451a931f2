"""Read by ``gunicorn wsgi:application`` in this folder; ``objection serve`` names the module itself."""

from server.gunicorn_conf import *  # noqa: F403
