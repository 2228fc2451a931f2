"""Rate limits per network prefix, which is never written down."""

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections.abc import Callable
from functools import lru_cache

from flask import Flask, request
from flask_limiter import Limiter
from limits import parse_many

from server.web.windows import ProcessWindows

COSTLY = ("receipts.record", "receipts.bundle", "verifications.verify")
TILES = ("log.tile", "log.entries")  # immutable and small: an auditor reads all of them, one after another
_DAY_S = 86_400
_STORAGE_TIMEOUT_S = 1  # a shared storage that hangs must not hang the register with it


def limit_requests(
    app: Flask, *, storage_url: str, record_rate: str, read_rate: str, tile_rate: str, shared_secret: bytes
) -> None:
    """Limit every route of ``app``; in this process's memory, too, while the shared storage does not answer.

    Networks are hashed with ``shared_secret`` where processes share the storage, which must have the same one to count
    together; where none is shared, with a secret that ends with this process.
    """
    shared = not storage_url.startswith("memory://")
    rates = dict.fromkeys(COSTLY, record_rate) | dict.fromkeys(TILES, tile_rate)
    network_key = _network_key(shared_secret if shared else secrets.token_bytes(32))
    limiter = Limiter(
        network_key,
        storage_uri=storage_url if shared else f"{ProcessWindows.STORAGE_SCHEME[0]}://",
        storage_options={"socket_timeout": _STORAGE_TIMEOUT_S} if shared else {},
        strategy="fixed-window",
        # One limit a route, chosen here: a decorator on top of defaults would have each request looked up twice.
        default_limits=[lambda: rates.get(request.endpoint or "", read_rate)],
        headers_enabled=True,
        in_memory_fallback_enabled=shared,
    )
    limiter.init_app(app)
    parsed = {rate: parse_many(rate) for rate in (record_rate, read_rate, tile_rate)}
    first_choice = limiter.limiter

    @limiter.request_filter
    def within_limit() -> bool:
        """Count the request, and exempt it from all further looks when it is not one too many.

        Flask-Limiter looks for decorators, blueprints' limits and exemptions, of which there are none here, and that
        takes longer than the counting. It is left to refuse, and to deal with a storage that fails.
        """
        if limiter.limiter is not first_choice:
            return False
        endpoint = request.endpoint or ""
        try:
            return all(
                first_choice.hit(limit, network_key(), endpoint) for limit in parsed[rates.get(endpoint, read_rate)]
            )
        except Exception:
            # The first request that the storage fails has Flask-Limiter give it up; the others need not fail, too.
            if limiter.limiter is first_choice:
                raise
            return False


def _network_key(secret: bytes) -> Callable[[], str]:
    """Return the function that gives today's keyed hash of the caller's /24 or /48."""

    @lru_cache(maxsize=4096)
    def hash_of(remote_address: str, day: int) -> str:
        today = hmac.digest(secret, str(day).encode(), "sha256")
        return hmac.new(today, _network(remote_address).encode(), hashlib.sha256).hexdigest()

    return lambda: hash_of(request.remote_addr or "", int(time.time()) // _DAY_S)


def _network(remote_address: str) -> str:
    try:
        address = ipaddress.ip_address(remote_address)
    except ValueError:  # a UNIX socket, or what a proxy wrote who does not know either: they share one limit
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return ipaddress.ip_network((address.packed, 24 if address.version == 4 else 48), strict=False).compressed
