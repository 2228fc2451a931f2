"""Whom the register asks to vouch for its log: witnesses and time authorities, named in one TOML file."""

import base64
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from marshmallow import fields

from schemas.strict import Flag, ShortList, StrictSchema, text
from server.core.log_policies import MAX_WITNESSES, NO_QUORUM, LogPolicy, parse_log_policy
from server.core.notes import VerifierKey, format_verifier_key
from server.core.policies import TimeAuthority
from server.core.timestamps import TrustedAuthority
from server.errors import FieldError, ObjectionError, OperatorError
from server.outside.witnesses import Witness

LOCAL_AUTHORITY = "local"  # the register's own clock, in policies and bundles
_MAX_FILE_BYTES = 1 << 16
_MAX_AUTHORITIES = 7  # a policy names eight, and one of them is the local one
_MAX_CERTIFICATES = 4
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@dataclass(frozen=True)
class RemoteAuthority:
    """A time authority as the policy names it. Without ``url`` it is asked no more, and its old stamps still count."""

    listed: TimeAuthority
    trusted: TrustedAuthority
    url: str | None


@dataclass(frozen=True)
class Anchors:
    """``log``: the policy that proofs shall meet, witnesses and quorum included."""

    log: LogPolicy
    witnesses: tuple[Witness, ...] = ()
    authorities: tuple[RemoteAuthority, ...] = ()


class _Witness(StrictSchema):
    name = text("[!-~]{1,64}")
    vkey = text("[^\\s]{1,512}")
    url = text("[!-~]{1,512}")


class _Group(StrictSchema):
    name = text("[!-~]{1,64}")
    needed = text("any|all|[1-9][0-9]?")
    members = ShortList(text("[!-~]{1,64}"), required=True, minimum=1, maximum=32)


class _Authority(StrictSchema):
    name = text("[a-z0-9][a-z0-9-]{0,31}")
    url = text("[!-~]{1,512}", required=False)
    certificates = ShortList(fields.String(), required=True, minimum=1, maximum=_MAX_CERTIFICATES)
    trusted = Flag(load_default=True)


class _File(StrictSchema):
    quorum = text("[!-~]{1,64}", required=False, load_default=NO_QUORUM)
    witness = ShortList(fields.Nested(_Witness), load_default=list, minimum=0, maximum=MAX_WITNESSES)
    group = ShortList(fields.Nested(_Group), load_default=list, minimum=0, maximum=MAX_WITNESSES)
    authority = ShortList(fields.Nested(_Authority), load_default=list, minimum=0, maximum=_MAX_AUTHORITIES)


def load_anchors(path: Path | None, *, log: VerifierKey) -> Anchors:
    """Return what the file says for the log of this register; without a file: nobody outside is asked.

    Raises OperatorError ``anchors_invalid``, which says where and why.
    """
    if path is None:
        return Anchors(LogPolicy(log))
    try:
        return _parse_anchors(path, log)
    except OperatorError:
        raise
    except (OSError, ValueError, ObjectionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise OperatorError("anchors_invalid", f"{path}: {reason}") from error


def _parse_anchors(path: Path, log: VerifierKey) -> Anchors:
    raw = path.read_bytes()
    if len(raw) > _MAX_FILE_BYTES:
        raise _invalid(f"{path} is larger than {_MAX_FILE_BYTES} bytes")
    found = tomllib.loads(raw.decode())
    if problems := _File().validate(found):
        raise FieldError.from_messages(problems)
    loaded = _File().load(found)
    policy = parse_log_policy(_format_policy(log, loaded))
    witnesses = tuple(
        Witness(each["name"], policy.witnesses[each["name"]], _witness_url(each["url"])) for each in loaded["witness"]
    )
    authorities = tuple(_load_authority(each, path.parent) for each in loaded["authority"])
    names = [LOCAL_AUTHORITY, *(authority.listed.name for authority in authorities)]
    if len(set(names)) != len(names):
        raise _invalid(f"each authority needs a name of its own, and {LOCAL_AUTHORITY!r} is taken")
    return Anchors(policy, witnesses, authorities)


def _format_policy(log: VerifierKey, loaded: Mapping[str, Any]) -> str:
    lines = [f"log {format_verifier_key(log)}"]
    lines += [f"witness {each['name']} {each['vkey']}" for each in loaded["witness"]]
    lines += [f"group {each['name']} {each['needed']} {' '.join(each['members'])}" for each in loaded["group"]]
    return "\n".join([*lines, f"quorum {loaded['quorum']}"])


def _witness_url(url: str) -> str:
    # How far a witness is, it says unsigned: whoever could change that on the way could halt the log.
    parts = _checked_url(url)
    if parts[0] != "https" and parts[1] not in _LOOPBACK:
        raise _invalid(f"{url}: a witness is asked over https")
    return url.rstrip("/")


def _checked_url(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.fragment or "@" in parts.netloc:
        raise _invalid(f"{url}: must be http(s)://host[:port]/path")
    _ = parts.port  # raises ValueError where it is no number
    return parts.scheme, parts.hostname


def _load_authority(given: Mapping[str, Any], folder: Path) -> RemoteAuthority:
    certificates = tuple(der for name in given["certificates"] for der in _read_certificates(folder / name))
    if len(certificates) > _MAX_CERTIFICATES:
        raise _invalid(f"{given['name']}: more than {_MAX_CERTIFICATES} certificates")
    url = given.get("url")
    if url is not None:
        _checked_url(url)
    listed = TimeAuthority(given["name"], certificates, given["trusted"])
    try:
        trusted = TrustedAuthority.from_der(certificates)
    except ObjectionError as error:
        raise _invalid(f"{given['name']}: {error}") from error
    return RemoteAuthority(listed, trusted, url)


def _read_certificates(path: Path) -> Sequence[bytes]:
    try:
        found = [base64.b64decode(text, validate=False) for text in _PEM.findall(path.read_bytes())]
    except OSError as error:
        raise _invalid(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise _invalid(f"{path}: a PEM certificate that is not base64") from error
    if not found:
        raise _invalid(f"{path}: no PEM certificates")
    return found


def _invalid(message: str) -> OperatorError:
    return OperatorError("anchors_invalid", message)
