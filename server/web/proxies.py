"""One warning when requests do not come through as many proxies as the settings say: limits would count wrongly."""

import logging

from flask import Flask, request

_log = logging.getLogger("objection.proxies")
_ASKED_WITHOUT_PROXY = {"/healthz", "/readyz"}  # by whoever watches the machine


def warn_of_proxies(app: Flask, *, trusted: int) -> None:
    """Warn once in this process. No address is logged, and nothing of the header but how many entries it has."""
    said = False

    def compare() -> None:
        nonlocal said
        if said or request.path in _ASKED_WITHOUT_PROXY:
            return
        entries = sum(len(line.split(",")) for line in request.headers.getlist("X-Forwarded-For"))
        if trusted == 0 and entries:
            said = True
            _log.warning(
                "a request came with X-Forwarded-For, and OBJECTION_TRUSTED_PROXIES is 0: behind a proxy all callers "
                "share one rate limit; set it to the number of proxies, or have the proxy leave the header out"
            )
        elif entries < trusted:
            said = True
            _log.warning(
                "a request came with %d entries in X-Forwarded-For, and OBJECTION_TRUSTED_PROXIES is %d: it is limited "
                "by the last proxy's address, or callers choose their own; set it to the number of proxies that "
                "append to the header",
                *(entries, trusted),
            )

    app.before_request(compare)
