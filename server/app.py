"""The Flask application: all wiring, nothing else."""

import itertools
import logging
import secrets
import time

from flask import Flask, Response, g, request
from werkzeug.middleware.proxy_fix import ProxyFix

from server.outside.known_mails import load_known_mails
from server.outside.mail import check_mails, resolver
from server.settings import Settings
from server.storage import open_storage_of
from server.usecases.check_witnesses import check_witnesses
from server.usecases.register import Register, start_register
from server.usecases.sweep_erased import try_to_sweep
from server.web import counts, log, pages, publication, receipts, releases, verifications
from server.web.limits import limit_requests
from server.web.problems import register_problem_handlers
from server.web.proxies import warn_of_proxies

_log = logging.getLogger("objection.access")
_DNS_TIMEOUT_S = 5.0  # for all mails of a supplement
_PROCESS = secrets.token_hex(6)
_REQUESTS = itertools.count(1)


def create_app(settings: Settings) -> Flask:
    """Return the application, its storage open and its log writer running.

    Raises OperatorError when settings, keys or storage are not fit to run on.
    """
    register = open_register(settings)
    app = Flask("server", static_folder=None)
    # Each thing has one address. To mend another spelling werkzeug would redirect to the Host that the caller names.
    app.url_map.merge_slashes = False
    app.config["PUBLIC_URL"] = register.public_url
    logging.getLogger("objection.mail").setLevel(logging.INFO)  # a domain and a finding: no person
    _log.setLevel(logging.INFO if settings.log_requests else logging.WARNING)
    app.extensions["objection"] = register
    if settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.trusted_proxies)  # type: ignore[method-assign]
    app.before_request(_begin)
    warn_of_proxies(app, trusted=settings.trusted_proxies)
    limit_requests(
        app,
        storage_url=settings.rate_limit_storage_url,
        record_rate=settings.record_rate,
        read_rate=settings.read_rate,
        tile_rate=settings.tile_rate,
        shared_secret=register.keyring.rate_limit_secret,
    )
    app.after_request(_finish)
    register_problem_handlers(app)
    app.register_blueprint(receipts.create_blueprint(register))
    app.register_blueprint(verifications.create_blueprint(register))
    app.register_blueprint(publication.create_blueprint(register))
    app.register_blueprint(log.create_blueprint(register))
    app.register_blueprint(counts.create_blueprint(register))
    app.register_blueprint(releases.create_blueprint(register))
    app.register_blueprint(pages.create_blueprint(register))
    return app


def open_register(settings: Settings) -> Register:
    known = load_known_mails(settings.known_mails)
    storage = open_storage_of(settings, create=True)
    check_witnesses(storage)
    try_to_sweep(storage, now=current_time())
    fetch_keys = resolver(settings.dns_servers)
    return start_register(
        storage,
        spent_proofs=settings.data_dir / "spent-proofs.sqlite",
        public_url=settings.public_url,
        receipt_max_age_s=settings.receipt_max_age_s,
        work=settings.work,
        practice=settings.practice,
        clock=current_time,
        check_mails=lambda mails: check_mails(
            mails,
            domains=settings.mail_domains,
            known=known,
            fetch_keys=fetch_keys,
            now=current_time(),
            timeout_s=_DNS_TIMEOUT_S,
        ),
    )


def current_time() -> int:
    return int(time.time())


def _begin() -> None:
    g.request_id = f"{_PROCESS}-{next(_REQUESTS):x}"
    g.started = time.perf_counter()


def _finish(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    # No cookies and no ambient authority here: any page may ask, and only a key holder gets more than the public does.
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Access-Control-Expose-Headers"] = "Date, ETag, Link, Retry-After"
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = "GET, POST, DELETE, OPTIONS"
        response.headers["Access-Control-Allow-Headers"] = "Authorization, DPoP, Objection-Holder-Share"
        response.headers["Access-Control-Max-Age"] = "7200"
    if _log.isEnabledFor(logging.INFO):
        # The route, not the path, and no address: nothing here points at a person or a record.
        elapsed_ms = (time.perf_counter() - g.started) * 1000
        _log.info(
            "%s %s %s %d %.1fms", g.request_id, request.method, request.url_rule, response.status_code, elapsed_ms
        )
    return response
