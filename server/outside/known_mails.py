"""The mails of Meta's that a register knows: those that come with it, and those that its operator adds."""

import tomllib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from marshmallow import ValidationError, fields, validate

from schemas import vocabulary as words
from schemas.strict import ShortList, StrictSchema, choice, text
from server.errors import FieldError, OperatorError

_MAX_FILE_BYTES = 1 << 18
_MAX_MAILS = 1_000


@dataclass(frozen=True)
class KnownMail:
    """``subjects`` in the form in which they are compared; ``first`` and ``last``: the days of its Date, in UTC."""

    id: str
    kind: str
    subjects: frozenset[str]
    first: date
    last: date


class _Day(fields.Field[date]):
    """A local date of TOML."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> date:
        if type(value) is not date:  # not a time, which is a date, too
            raise ValidationError("must be a day: 2025-04-14")
        return value


class _Mail(StrictSchema):
    id = text("[a-z0-9][a-z0-9-]{0,63}")
    kind = choice(*words.MAIL_KINDS)
    subjects = ShortList(fields.String(validate=validate.Length(1, 998)), required=True, minimum=1, maximum=100)
    from_ = _Day(required=True, data_key="from")
    until = _Day(required=True)
    source = fields.String(required=True, validate=validate.Length(1, 500))
    confidence = choice("P", "Q", "R")


class _File(StrictSchema):
    mails = ShortList(fields.Nested(_Mail), required=True, minimum=1, maximum=_MAX_MAILS)


def load_known_mails(added: Path | None) -> tuple[KnownMail, ...]:
    """Return what is known. ``added``: the operator's file, whose mails come first.

    Raises OperatorError ``known_mails_invalid`` for a file that cannot be read, breaks the form, names an id twice, or
    has one subject on one day mean two things.
    """
    shipped = _parse((resources("server.outside") / "known-mails.toml").read_bytes(), "the register's own list")
    mails = (*(_parse(_read(added), str(added)) if added else ()), *shipped)
    _refuse_contradictions(mails)
    return mails


def find_known(known: Sequence[KnownMail], *, subject: str, date: int | None) -> KnownMail | None:
    """Return the known mail with this ``subject``, sent at ``date`` (seconds), if there is one."""
    if date is None:
        return None
    day, plain = datetime.fromtimestamp(date, UTC).date(), _plain(subject)
    return next((mail for mail in known if plain in mail.subjects and mail.first <= day <= mail.last), None)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _invalid(f"{path}: {error.strerror}") from error


def _parse(raw: bytes, name: str) -> tuple[KnownMail, ...]:
    if len(raw) > _MAX_FILE_BYTES:
        raise _invalid(f"{name}: at most {_MAX_FILE_BYTES} bytes")
    try:
        data = tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid(f"{name}: not TOML: {error}") from error
    listed = data.get("mails")
    if isinstance(listed, list) and len(listed) > _MAX_MAILS:
        raise _invalid(f"{name}: at most {_MAX_MAILS} mails")
    if problems := _File().validate(data):
        raise _invalid(f"{name}: {FieldError.from_messages(problems)}")
    return tuple(
        KnownMail(
            id=mail["id"],
            kind=mail["kind"],
            subjects=frozenset(map(_plain, mail["subjects"])),
            first=mail["from"],
            last=mail["until"],
        )
        for mail in data["mails"]
    )


def _refuse_contradictions(mails: Sequence[KnownMail]) -> None:
    seen: dict[str, KnownMail] = {}
    for mail in mails:
        if mail.id == "none":
            raise _invalid("no mail can have the id none: it says that a mail is not known")
        if "" in mail.subjects:
            raise _invalid(f"{mail.id}: a subject is empty")
        if mail.first > mail.last:
            raise _invalid(f"{mail.id}: until is before from")
        if mail.id in seen:
            raise _invalid(f"two mails have the id {mail.id}")
        for other in seen.values():
            if mail.subjects & other.subjects and mail.first <= other.last and other.first <= mail.last:
                raise _invalid(f"{mail.id} and {other.id} have a subject and days in common")
        seen[mail.id] = mail


def _plain(subject: str) -> str:
    """Return ``subject`` without what mail programs change: case, spaces, kinds of apostrophe."""
    return " ".join(unicodedata.normalize("NFKC", subject).replace("’", "'").casefold().split())


def _invalid(why: str) -> OperatorError:
    return OperatorError("known_mails_invalid", " ".join(why.split()))
