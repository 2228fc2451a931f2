"""The register: records signed objections, proves that it did, and opens them for their holders only."""

import signal
import sys

# Of a command, until it knows what to do with Ctrl-C: Python would answer with the stack of whatever is imported.
if sys.argv and (sys.argv[0] == "-m" or sys.argv[0].endswith("/objection")):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
