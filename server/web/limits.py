"""Rate limits per network prefix, which is never written down."""

import hashlib
import hmac
import ipaddress
import secrets
import time
from functools import lru_cache

from flask import request
from flask_limiter import Limiter

_PROCESS_SECRET = secrets.token_bytes(32)
_DAY_S = 86_400


def network_key() -> str:
    """Return today's keyed hash of the caller's /24 or /48. The key lives in this process's memory and ends with it."""
    return _network_key(request.remote_addr or "0.0.0.0", time.time() // _DAY_S)  # noqa: S104 (one shared bucket)


@lru_cache(maxsize=4096)
def _network_key(remote_address: str, day: float) -> str:
    address = ipaddress.ip_address(remote_address)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    network = ipaddress.ip_network((address, 24 if address.version == 4 else 48), strict=False)
    today = hmac.digest(_PROCESS_SECRET, str(day).encode(), "sha256")
    return hmac.new(today, network.compressed.encode(), hashlib.sha256).hexdigest()


def create_limiter(*, storage_url: str, read_rate: str) -> Limiter:
    """Return the limiter; it falls back to this process's memory when the shared storage does not answer."""
    shared = not storage_url.startswith("memory://")
    return Limiter(
        network_key,
        storage_uri=storage_url,
        strategy="fixed-window",
        default_limits=[read_rate],
        headers_enabled=True,
        in_memory_fallback_enabled=shared,
    )
