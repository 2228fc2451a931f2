"""Certificates made lately, kept in memory and sealed: a thief of the memory still needs the holder's share."""

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from server.bundles.contents import BundledFile
from server.core.encoding import sha256
from server.core.envelopes import NONCE_SIZE, open_sealed, seal

_PURPOSE = b"objection document cache"


def content_key(files: Mapping[str, BundledFile], language: str) -> bytes:
    """Return what a certificate is cached under: the hash of all that goes into it, and of its language."""
    parts = [language.encode()]
    for name, file in sorted(files.items()):
        parts += [sha256(name.encode()), sha256(file.media_type.encode()), sha256(file.data)]
    return sha256(b"".join(parts))


class DocumentCache:
    """The newest certificates, ``max_bytes`` in all, each sealed under a key derived from its record's data key.

    Safe to share between threads; every process has its own.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._sealed: OrderedDict[bytes, bytes] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def get(self, key: bytes, data_key: bytes) -> bytes | None:
        """Return the document under ``key``, if it is here. Raises VerificationError when ``data_key`` is another's."""
        with self._lock:
            sealed = self._sealed.get(key)
            if sealed is None:
                return None
            self._sealed.move_to_end(key)
        (document,) = open_sealed(sealed, _derive(data_key, key), key)
        return document

    def put(self, key: bytes, data_key: bytes, document: bytes) -> None:
        """Keep ``document``, and let go of those not asked for longest. One that is larger than all is not kept."""
        sealed = seal([document], _derive(data_key, key), secrets.token_bytes(NONCE_SIZE), key)
        if len(sealed) > self._max_bytes:
            return
        with self._lock:
            self._size += len(sealed) - len(self._sealed.pop(key, b""))
            self._sealed[key] = sealed
            while self._size > self._max_bytes:
                _, dropped = self._sealed.popitem(last=False)
                self._size -= len(dropped)


def _derive(data_key: bytes, key: bytes) -> bytes:
    """The record's own key seals the record once; this one is for nothing but the cache."""
    return HKDF(SHA256(), 32, salt=None, info=_PURPOSE + key).derive(data_key)
