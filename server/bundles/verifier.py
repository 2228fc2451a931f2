"""The verifier as one HTML file, as ``npm run build:verifier`` writes it: served at ``/verify``, put into bundles."""

from functools import cache
from pathlib import Path

from schemas.vocabulary import MAX_EVIDENCE_BYTES

PATH = Path(__file__).parents[1] / "assets/verify.html"


@cache
def verifier_page() -> bytes | None:
    """Return the file as it is for offline use; None on a machine where it was not built.

    Read once a process: the bundles that one process makes all carry the same bytes.
    """
    try:
        page = PATH.read_bytes()
    except FileNotFoundError:
        return None
    if not 0 < len(page) <= MAX_EVIDENCE_BYTES:
        return None  # a build that broke off: a bundle could not list it
    return page
