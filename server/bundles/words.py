"""What the certificate says, per language: texts from ``languages/``, dates, sizes, and characters that can be set."""

import re
import tomllib
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

LANGUAGES = ("en", "fr", "de")
# Blocks that the fonts in typst cover completely (a test sets them all). Anything else would stop typst:
# PDF/A allows no missing glyph, and some format characters make it panic. Left out with intent: what changes direction,
# combines with what stands before it, or is invisible, but for the zero-width space: so breakable() marks places.
_PRINTABLE = re.compile(
    "[ -~\u00a1-\u00ac\u00ae-\u024f\u0370-\u0377\u037a-\u037f\u0384-\u038a\u038c\u038e-\u03a1\u03a3-\u0482\u048a-\u04ff"
    "\u05d0-\u05ea\u0621-\u063a\u0641-\u064a\u1e00-\u1eff\u200b\u2010-\u2027\u2030-\u2040\u20a0-\u20bf]"
)
_MAX_TEXT = 400
_UNBROKEN = re.compile(r"\S{25,}")
_PIECE = re.compile(r"[^/._@-]{1,18}[/._@-]*|[/._@-]{1,18}")


@dataclass(frozen=True)
class Words:
    """The texts of one language; ``say`` takes a dotted name."""

    language: str
    texts: dict[str, Any]

    def say(self, name: str, /, **values: object) -> str:
        """Return the text called ``name`` with its ``{holes}`` filled. A missing one is a KeyError: a bug."""
        found: Any = self.texts
        for part in name.split("."):
            found = found[part]
        return str(found).format(**values) if values else str(found)

    def day(self, seconds: int) -> str:
        """Return the day in UTC."""
        return self.format_day(datetime.fromtimestamp(seconds, UTC))

    def format_day(self, day: datetime) -> str:
        number = self.say("dates.first_day") if day.day == 1 else str(day.day)
        return self.say("dates.day", day=number, month=self.texts["dates"]["months"][day.month - 1], year=day.year)

    def time(self, seconds: int) -> str:
        """Return date and time in UTC, and say that it is UTC."""
        moment = datetime.fromtimestamp(seconds, UTC)
        return self.say("dates.time", date=self.day(seconds), clock=f"{moment:%H:%M:%S}")

    def number(self, value: int) -> str:
        return f"{value:,}".replace(",", self.say("size.thousands"))

    def size(self, octets: int) -> str:
        for unit, factor in (("megabytes", 1_000_000), ("kilobytes", 1_000)):
            if octets >= factor:
                return self.say(f"size.{unit}", size=f"{octets / factor:.1f}".replace(".", self.say("size.decimal")))
        return self.say("size.bytes", size=octets)


@cache
def load_words(language: str) -> Words:
    """``language`` is one of LANGUAGES."""
    text = (files("server.bundles") / "languages" / f"{language}.toml").read_text(encoding="utf-8")
    return Words(language, tomllib.loads(text))


def settable(text: str, *, limit: int = _MAX_TEXT) -> str:
    """Return ``text`` from outside as it can be set: one line, bounded, unknown characters by their number."""
    composed = " ".join(unicodedata.normalize("NFC", text[:limit]).split())
    shown = "".join(c if _PRINTABLE.fullmatch(c) else f"[U+{ord(c):04X}]" for c in composed)
    return f"{shown} …" if len(text) > limit else shown


def breakable(text: str) -> str:
    """Return ``text`` with places to break in words that are longer than a line may be: after / . _ @ - if possible."""
    return _UNBROKEN.sub(lambda word: "\u200b".join(_PIECE.findall(word[0])), text)
