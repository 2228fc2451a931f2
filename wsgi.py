"""gunicorn's entry: ``gunicorn wsgi:application``."""

import logging
import sys

from server.app import create_app
from server.errors import ObjectionError
from server.settings import GIVE_UP, load_settings

logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)

try:
    application = create_app(load_settings())
except ObjectionError as error:
    # gunicorn would print a stack trace; the operator needs the sentence.
    sys.stderr.write(f"objection: {error.code}: {error}\n")
    sys.exit(GIVE_UP)
