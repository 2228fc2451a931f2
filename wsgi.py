"""gunicorn's entry: ``gunicorn wsgi:application``."""

import logging
import os
import sys

from server.app import create_app
from server.errors import OperatorError
from server.settings import Settings

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)

try:
    application = create_app(Settings.from_env(os.environ))
except OperatorError as error:
    # gunicorn would print a stack trace; the operator needs the sentence. 4 tells gunicorn not to try again.
    sys.stderr.write(f"objection: {error.code}: {error}\n")
    sys.exit(4)
