"""All settings, read once at the edge: environment variables ``OBJECTION_…`` (docs/operating.md explains each)."""

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import urlsplit

from server.errors import OperatorError

GIVE_UP = 4  # the exit status by which gunicorn knows that another worker would fail in the same way
T = TypeVar("T")
_PREFIX = "OBJECTION_"
# No wider than what tokens may carry (schemas/proofs.py): else every verifier would refuse whatever is issued here.
_PUBLIC_URL = re.compile(r"(?=.{1,200}$)https?://[A-Za-z0-9._:\[\]-]+(?:/[!\"$->@-~]*)?")
_ORIGIN = re.compile(r"[!-*,-~]{1,255}")
_DOMAIN = re.compile(r"[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})+")
_SERVER = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?::[0-9]{1,5})?")
_MOST_WORK = 100_000  # PBKDF2 iterations a try: minutes on a phone
# Meta names them as the only ones from which it writes about accounts (docs/operating.md).
_MAIL_DOMAINS = "facebookmail.com,facebook.com,instagram.com,fb.com,meta.com,metamail.com"
_SQLITE = "sqlite:///"
_MOST_PORT = 65_535
_SECRET = {"DATABASE_URL", "RATE_LIMIT_STORAGE_URL"}  # may hold a password: never repeated
_RATE = re.compile(r"[1-9][0-9]* per (?:second|minute|hour|day)")


@dataclass(frozen=True)
class Settings:
    """``public_url`` is the issuer's name in every token: without a trailing slash, and never to change."""

    data_dir: Path
    public_url: str
    database_url: str
    log_origin: str
    rate_limit_storage_url: str
    record_rate: str
    read_rate: str
    tile_rate: str
    receipt_max_age_s: int
    work: int
    trusted_proxies: int
    practice: bool
    log_requests: bool
    anchors: Path | None
    worker: bool
    mail_domains: tuple[str, ...]
    known_mails: Path | None
    dns_servers: tuple[str, ...]
    bind: str
    workers: int

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Raises OperatorError ``settings_invalid`` that names every bad or unknown variable at once."""
        reader = _Reader(environ)
        data_dir = reader.read("DATA_DIR", _path, ".data")
        public_url = reader.read("PUBLIC_URL", _url, "http://127.0.0.1:8000")
        settings = cls(
            data_dir=data_dir,
            public_url=public_url,
            database_url=reader.read("DATABASE_URL", _database_url, f"{_SQLITE}{data_dir}/register.sqlite"),
            log_origin=reader.read("LOG_ORIGIN", _origin, f"{urlsplit(public_url).netloc}/log"),
            rate_limit_storage_url=reader.read("RATE_LIMIT_STORAGE_URL", _rate_storage, "memory://"),
            record_rate=reader.read("RECORD_RATE", _rate, "30 per minute"),
            read_rate=reader.read("READ_RATE", _rate, "240 per minute"),
            tile_rate=reader.read("TILE_RATE", _rate, "6000 per minute"),
            receipt_max_age_s=reader.read("RECEIPT_MAX_AGE_S", _positive, str(30 * 86_400)),
            work=reader.read("WORK", _work, "4000"),
            trusted_proxies=reader.read("TRUSTED_PROXIES", _count, "0"),
            practice=reader.read("PRACTICE", _switch, "off"),
            log_requests=reader.read("LOG_REQUESTS", _switch, "off"),
            anchors=reader.read("ANCHORS", _optional_path, ""),
            worker=reader.read("WORKER", _switch, "on"),
            mail_domains=reader.read("MAIL_DOMAINS", _domains, _MAIL_DOMAINS),
            known_mails=reader.read("KNOWN_MAILS", _optional_path, ""),
            dns_servers=reader.read("DNS_SERVERS", _servers, ""),
            bind=reader.read("BIND", _bind, "127.0.0.1:8000"),
            workers=reader.read("WORKERS", _positive, str(len(os.sched_getaffinity(0)))),
        )
        reader.refuse_problems()
        return settings

    def paths(self) -> dict[str, str]:
        """Return the variables that name files, in full: for a process that starts in another folder than this one."""
        named = {
            "DATA_DIR": self.data_dir,
            "ANCHORS": self.anchors,
            "KNOWN_MAILS": self.known_mails,
            "DATABASE_URL": self.database_url if self.database_url.startswith(_SQLITE) else None,
        }
        return {_PREFIX + name: str(value) for name, value in named.items() if value is not None}


def load_settings() -> Settings:
    """Read this process's environment, or leave the process with one line that says what is wrong."""
    try:
        return Settings.from_env(os.environ)
    except OperatorError as error:
        sys.stderr.write(f"objection: {error.code}: {error}\n")
        sys.exit(GIVE_UP)


class _Reader:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._given = {name: value for name, value in environ.items() if name.startswith(_PREFIX)}
        self._problems: list[str] = []

    def read(self, name: str, parse: Callable[[str], T], default: str) -> T:
        text = self._given.pop(_PREFIX + name, default)
        try:
            return parse(text)
        except ValueError as error:
            shown = f"{_PREFIX}{name}" if name in _SECRET else f"{_PREFIX}{name}={text!r}"
            self._problems.append(f"{shown}: {error}")
            return parse(default)

    def refuse_problems(self) -> None:
        self._problems += [f"{name}: no such setting" for name in sorted(self._given)]
        if self._problems:
            raise OperatorError("settings_invalid", "; ".join(self._problems))


def _path(text: str) -> Path:
    if not text:
        raise ValueError("must name a folder")
    return Path(text).absolute()


def _optional_path(text: str) -> Path | None:
    return Path(text).absolute() if text else None


def _url(text: str) -> str:
    if not _PUBLIC_URL.fullmatch(text) or not urlsplit(text).hostname or text.endswith("/"):
        raise ValueError("must be http(s)://host[:port][/path] in at most 200 plain characters, no trailing slash")
    return text


def _database_url(text: str) -> str:
    if text.startswith("postgresql://"):
        _check_address(text)
        if not urlsplit(text).path.strip("/"):
            raise ValueError("must end with the database's name: postgresql://user@host:5432/name")
        return text.replace("postgresql://", "postgresql+psycopg://", 1)
    if text.startswith(_SQLITE) and text != _SQLITE:
        return _SQLITE + str(Path(text.removeprefix(_SQLITE)).absolute())
    raise ValueError("must start with sqlite:/// and a file, or postgresql://")


def _origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        raise ValueError("must be a name in ASCII without spaces and '+'")
    return text


def _rate_storage(text: str) -> str:
    if not text.startswith(("memory://", "redis://", "rediss://", "redis+unix://")):
        raise ValueError("must start with memory://, redis://, rediss:// or redis+unix://")
    _check_address(text)
    return text


def _check_address(url: str) -> None:
    """Raises ValueError without a word of ``url``, which may hold a password."""
    try:
        port = urlsplit(url).port
        if urlsplit(url).netloc.count("@") > 1:  # else a part of the password would be taken for the host, and told
            raise ValueError
    except ValueError as error:
        raise ValueError(
            f"host and port are not understood; a port is 1 to {_MOST_PORT}, and '/', '@' and ':' in a password are "
            "written %2F, %40 and %3A"
        ) from error
    if port == 0:
        raise ValueError(f"a port is 1 to {_MOST_PORT}")


def _rate(text: str) -> str:
    if not _RATE.fullmatch(text):
        raise ValueError("must look like '30 per minute'")
    return text


def _domains(text: str) -> tuple[str, ...]:
    domains = tuple(text.split(","))
    if not all(_DOMAIN.fullmatch(domain) for domain in domains):
        raise ValueError("must be domain names in lower case, separated by commas")
    return domains


def _servers(text: str) -> tuple[str, ...]:
    servers = tuple(text.split(",")) if text else ()
    if not all(_SERVER.fullmatch(server) for server in servers):
        raise ValueError("must be IPv4 addresses, separated by commas, each with :port if it is not 53")
    return servers


def _bind(text: str) -> str:
    if not re.fullmatch(r"(?:\S+:[0-9]{1,5}|unix:\S+)", text):
        raise ValueError("must be host:port or unix:path")
    if not text.startswith("unix:") and not 0 < int(text.rpartition(":")[2]) <= _MOST_PORT:
        raise ValueError(f"a port is 1 to {_MOST_PORT}")
    return text


def _work(text: str) -> int:
    if _count(text) > _MOST_WORK:
        raise ValueError(f"must be at most {_MOST_WORK}")
    return int(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError("must be a whole number")
    return int(text)


def _positive(text: str) -> int:
    if _count(text) == 0:
        raise ValueError("must be more than 0")
    return int(text)


def _switch(text: str) -> bool:
    if text not in {"on", "off"}:
        raise ValueError("must be on or off")
    return text == "on"
