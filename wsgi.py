"""gunicorn's entry: ``gunicorn wsgi:application``."""

import logging
import os
import sys
import time

from server.app import create_app
from server.errors import ObjectionError, Unavailable
from server.settings import GIVE_UP, load_settings

logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)

os.umask(0o077)  # database, its write-ahead log and releases are for this user alone, in whatever folder they lie
_PAUSE_S = 1  # before another process asks a database that did not answer this one

try:
    application = create_app(load_settings())
except ObjectionError as error:
    # gunicorn would print a stack trace; the operator needs the sentence.
    sys.stderr.write(f"objection: {error.code}: {error}\n")
    if isinstance(error, Unavailable):
        time.sleep(_PAUSE_S)
        sys.exit(1)  # gunicorn starts another worker
    sys.exit(GIVE_UP)
