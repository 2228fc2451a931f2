"""Every error this project raises on purpose.

    ObjectionError                    code, title; the public message is its argument
    ├── ParseError                    the bytes are not what their format allows
    │   └── FieldError                shape is right, fields are not; lists them
    ├── VerificationError             well-formed, but it does not hold
    │   ├── FreshnessError            signed too long ago, or in the future
    │   └── Equivocation              a log signed two things that contradict each other; holds both
    ├── RequestError                  an HTTP request that is not ours to accept
    │   └── TooLarge
    ├── Unauthorised                  the holder's proof of possession is missing or wrong
    ├── Forbidden                     somebody else's record
    ├── NotFound
    ├── Gone                          its holder had it erased
    ├── Conflict                      contradicts what is already recorded
    ├── Unavailable                   this register cannot answer now; try again
    └── OperatorError                 settings, keys or storage are not fit to run on; refuses to start
        └── LogInconsistent           the stored log contradicts itself; halts

``code`` is stable and public (docs/formats.md lists those that the TypeScript verifier shares). HTTP numbers live in
``server/web/problems.py`` only.
"""

from collections.abc import Mapping, Sequence

_MAX_PROBLEMS = 20  # told at once: who sends thousands must not get back a hundred times what they sent


class ObjectionError(Exception):
    """Base of all. ``code`` is for programs, ``str(error)`` for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ParseError(ObjectionError):
    """Raised by ``parse_…``: the bytes are not what their format allows."""


class FieldError(ParseError):
    """Fields are missing, unknown or out of bounds; ``problems`` names the first twenty, the message says how many more
    there are."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = tuple(problems[:_MAX_PROBLEMS])
        named = [f"{field}: {problem}" for field, problem in self.problems]
        if more := len(problems) - len(self.problems):
            named.append(f"and {more} more")
        super().__init__("field_invalid", "; ".join(named))

    @classmethod
    def from_messages(cls, messages: Mapping[str, object]) -> "FieldError":
        """Flatten marshmallow's nested messages into dotted names."""
        return cls(list(_flatten(messages, "")))


class VerificationError(ObjectionError):
    """Raised by ``verify_…``: well-formed, but it does not hold."""


class FreshnessError(VerificationError):
    """Signed too long ago, or in the future."""


class Equivocation(VerificationError):
    """A log signed two checkpoints that contradict each other. ``notes``: both, the earlier one first."""

    def __init__(self, code: str, message: str, *, notes: tuple[str, str]) -> None:
        super().__init__(code, message)
        self.notes = notes


class RequestError(ObjectionError):
    """An HTTP request that is not ours to accept."""


class TooLarge(RequestError):
    """The body, or a part of it, is over its limit."""


class Unauthorised(ObjectionError):
    """The holder's proof of possession is missing or wrong."""


class Forbidden(ObjectionError):
    """The caller proved to hold a key, but not the one of this record."""


class NotFound(ObjectionError):
    """No such record, or it was erased."""


class Gone(ObjectionError):
    """Its holder had it erased."""


class Conflict(ObjectionError):
    """Contradicts what is already recorded."""


class Unavailable(ObjectionError):
    """This register cannot answer now; the same request may succeed later."""


class OperatorError(ObjectionError):
    """Settings, keys or storage are not fit to run on."""


class LogInconsistent(OperatorError):
    """The stored log contradicts itself. Nothing may be signed any more."""


def _flatten(messages: object, prefix: str) -> list[tuple[str, str]]:
    if isinstance(messages, Mapping):
        flat: list[tuple[str, str]] = []
        for key, value in messages.items():
            name = prefix if key == "_schema" else f"{prefix}.{key}" if prefix else str(key)
            flat += _flatten(value, name)
        return flat
    if isinstance(messages, list):
        return [(prefix or "(top)", str(message)) for message in messages]
    return [(prefix or "(top)", str(messages))]
