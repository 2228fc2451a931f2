"""The certificate: a page for people, with the whole proof attached. Unsigned PDF/A-3a, set by typst.

Texts from outside reach typst as CBOR strings, never as markup, and nothing touches the disk.
"""

import calendar
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import segno
import typst

from server.bundles.cbor import format_cbor
from server.bundles.contents import BundledFile
from server.bundles.pictures import FORMATS, MAX_PIXELS, Picture, make_picture
from server.bundles.words import Words, breakable, load_words, settable
from server.core.encoding import format_base64url, sha256
from server.core.jws import thumbprint
from server.core.practice import is_for_practice
from server.core.receipts import VerifiedReceipt

_STATEMENTS: dict[str, dict[str, str]] = json.loads(
    (resources("schemas") / "statements.json").read_text(encoding="utf-8")
)
_MANIFEST = "manifest.json"
_MAX_QR_VERSION = 6
_QR_MASK = 2
_ON_FIRST_PAGE = 8
_MAX_PICTURES = 12
_MAX_PICTURE_BYTES = 3_000_000  # all together: the evidence itself may take 8 MiB of the 16 of a document
_MAX_EXCERPT = 1600
_NO_RELATION = "data"
_RELATIONS = {"receipt": "source", "description": "alternative", "evidence": "supplement"}


@dataclass(frozen=True)
class Anchor:
    """A time stamp over the log's state. ``trusted``: by the policy; ``qualified``: by its certificate."""

    authority: str
    at: int
    trusted: bool
    qualified: bool = False


@dataclass(frozen=True)
class Witness:
    name: str
    at: int


@dataclass(frozen=True)
class Mail:
    """An e-mail among the evidence, and what the register found of its signature (docs/formats.md) on receipt.

    ``domain``: of the signature that the finding is about. What else it tells is there for a signed mail only.
    """

    name: str
    finding: str
    domain: str = ""
    from_domain: str = ""
    subject: str = ""
    signed_at: int | None = None
    kind: str = "unknown"

    @property
    def signed(self) -> bool:
        return self.finding == "signed"

    @property
    def confirms(self) -> bool:
        """Whether Meta signed it, and the register knows it as Meta's confirmation."""
        return self.signed and self.kind == "confirmation"


@dataclass(frozen=True)
class LaterReceipt:
    """A supplement or a withdrawal. ``files``: its evidence, by the names in the bundle.

    ``anchors``: those over the log's state that its own proof leads to.
    """

    kind: str
    receipt_sha256: bytes
    signed_at: int
    received_at: int
    log_index: int
    files: Sequence[str] = ()
    mails: Sequence[Mail] = ()
    anchors: Sequence[Anchor] = ()

    @property
    def anchor(self) -> Anchor | None:
        """The earliest stamp of an independent authority."""
        return _independent(self.anchors)


@dataclass(frozen=True)
class CertificateFacts:
    """What the certificate tells. The caller has verified all of it.

    ``status``: stands, withdrawn or erased, as the register said at ``status_at``. ``anchors``: those over the log's
    state that the proof leads to. ``assurance``: device or work. ``disclosed``: what the holder opened, by slot;
    usually nothing.
    """

    receipt: VerifiedReceipt
    received_at: int
    register: str
    register_keys: Sequence[str]
    log_origin: str
    log_index: int
    log_size: int
    log_root: bytes
    assurance: str
    status: str
    status_at: int
    anchors: Sequence[Anchor] = ()
    witnesses: Sequence[Witness] = ()
    later: Sequence[LaterReceipt] = ()
    disclosed: Mapping[str, str] = field(default_factory=dict)

    @property
    def as_of(self) -> int:
        """The newest time in it: the date of the document, so that the same facts give the same bytes."""
        stamps = [*self.anchors, *(anchor for later in self.later for anchor in later.anchors)]
        times = [anchor.at for anchor in stamps] + [later.received_at for later in self.later]
        return max(self.received_at, self.status_at, *times)

    @property
    def anchor(self) -> Anchor | None:
        """The earliest stamp of an independent authority: with it the objection is anchored, without it recorded."""
        return _independent(self.anchors)

    @property
    def practice(self) -> bool:
        """Whether it was made for practice, as what is signed in it says."""
        return is_for_practice(self.receipt.payload["notice"].get("url"), self.register)

    @property
    def withdrawn_at(self) -> int:
        """When the register received the withdrawal, or first said so."""
        return min((item.received_at for item in self.later if item.kind == "withdrawal"), default=self.status_at)


def _independent(anchors: Sequence[Anchor]) -> Anchor | None:
    return min((anchor for anchor in anchors if anchor.trusted), key=lambda anchor: anchor.at, default=None)


def set_certificate(facts: CertificateFacts, files: Mapping[str, BundledFile], language: str) -> bytes:
    """Return the unsigned certificate, with every file of ``files`` attached under its name.

    ``language``: one of ``words.LANGUAGES``. The same arguments give the same bytes.
    """
    page = _page(facts, files, load_words(language))
    with _in_memory(format_cbor(page)) as (root, name):
        return typst.compile(  # type: ignore[type-var]  # the stubs want source and folder to be of one type
            _template(),
            root=root,
            sys_inputs={"data": name},
            font_paths=_fonts(),
            ignore_system_fonts=True,
            pdf_standards=["a-3a", "ua-1"],
            timestamp=facts.as_of,
        )


def one_month_after(seconds: int) -> datetime:
    """Return the same day of the next month, or its last day. (Regulation (EEC, Euratom) 1182/71, Article 3(2)(c).)"""
    start = datetime.fromtimestamp(seconds, UTC)
    year, month = (start.year + 1, 1) if start.month == 12 else (start.year, start.month + 1)
    return start.replace(year=year, month=month, day=min(start.day, calendar.monthrange(year, month)[1]))


def verify_url(register: str, receipt_sha256: bytes) -> str:
    """Return the address in the QR code. The hash stands in the fragment, which browsers do not send."""
    return f"{register}/verify#{format_base64url(receipt_sha256)}"


@cache
def _template() -> bytes:
    return (resources("server.bundles") / "certificate.typ").read_bytes()


@cache
def _fonts() -> typst.Fonts:
    """The fonts in typst itself, looked through once a process: it takes a sixth of the time that a page takes."""
    return typst.Fonts(include_system_fonts=False)


@contextmanager
def _in_memory(data: bytes) -> Iterator[tuple[str, str]]:
    """Give ``data`` to typst as a file: folder and name. Never on disk where the system allows: it holds evidence."""
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        descriptor = os.memfd_create("certificate")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            yield "/proc/self/fd", str(descriptor)
    else:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "page").write_bytes(data)
            yield folder, "page"


def _page(facts: CertificateFacts, files: Mapping[str, BundledFile], words: Words) -> dict[str, Any]:
    say = words.say
    payload = facts.receipt.payload
    moment = datetime.fromtimestamp(facts.as_of, UTC)
    previews = _previews(files, words)
    url = verify_url(facts.register, facts.receipt.sha256)
    practice = {name: say(f"practice.{name}") if facts.practice else "" for name in ("mark", "text")}
    before = f"{practice['mark']} · " if facts.practice else ""
    return {
        "language": words.language,
        "practice": practice,
        "title": before + say("title"),
        "subtitle": say("subtitle"),
        "document_title": before
        + say("document_title", platform=say(f"platform.{payload['platform']}"), day=words.day(facts.receipt.iat)),
        "date": {part: getattr(moment, part) for part in ("year", "month", "day", "hour", "minute", "second")},
        "footer": say(
            "footer", short_hash=facts.receipt.sha256.hex()[:16], register=breakable(settable(facts.register))
        ),
        "page": say("page"),
        "heading": words.texts["heading"],
        "pills": _pills(facts, words),
        "qr": {"data": _qr_code(url), "alt": say("check.qr_alt", url=url), "caption": say("check.qr_caption")},
        "statement": _statement(facts, words),
        "facts": _facts(facts, words),
        "evidence": previews[:_ON_FIRST_PAGE],
        "more": say("evidence.more", count=len(previews) - _ON_FIRST_PAGE) if len(previews) > _ON_FIRST_PAGE else "",
        "no_files": say("evidence.no_files"),
        "shows": _shows(facts, words),
        "shows_not": _shows_not(facts, words),
        "deadline": _deadline(facts, words),
        "check": [
            {"title": say("check.web_title"), "mono": False, "text": _check_web(facts, words)},
            {"title": say("check.command_title"), "mono": True, "text": say("check.command")},
            {"title": say("check.hand_title"), "mono": False, "text": say("check.hand")},
        ],
        "complaint": _complaint(facts, words),
        "technical": _technical(facts, words),
        "technical_notes": [say("technical.signature"), say("technical.explains")],
        "later": [_later(item, words) for item in facts.later],
        "files_lead": say("files.lead"),
        "files_header": [say(f"files.{column}") for column in ("name", "purpose", "size", "sha256")],
        "files": [_listed(name, file, words) for name, file in files.items()],
        "pictures": [preview for preview in previews if preview["kind"] != "none"],
        "attachments": [_attachment(name, file, words) for name, file in files.items()],
    }


def _row(label: str, value: str, *, note: str = "", mono: bool = False, strong: bool = False) -> dict[str, Any]:
    """A line of a list: label, value (bounded and breakable), and a remark in small print."""
    return {"label": label, "value": breakable(settable(value)), "note": note, "mono": mono, "strong": strong}


def _pills(facts: CertificateFacts, words: Words) -> list[dict[str, str]]:
    standing = words.say(f"status.{facts.status}", day=words.day(facts.withdrawn_at))
    pills = [{"text": standing, "tone": "good" if facts.status == "stands" else "gone"}]
    if facts.anchor is None:
        return [*pills, {"text": words.say("status.recorded"), "tone": "wait"}]
    return [*pills, {"text": words.say("status.anchored"), "tone": "good"}]


def _statement(facts: CertificateFacts, words: Words) -> dict[str, str]:
    objection = facts.receipt.payload["objection"]
    versions = _STATEMENTS[objection["statement"]["template"]]
    signed = objection["statement"]["language"][:2]
    language = signed if signed in versions else "en"
    return {
        "language": language,
        "text": versions[language],
        "note": "" if language == words.language else words.say("statement.signed_in"),
        "covers": words.say("statement.covers"),
        "categories": words.say("statement.separator").join(
            words.say(f"category.{name}") for name in objection["data_categories"]
        )
        + ".",
    }


def _facts(facts: CertificateFacts, words: Words) -> list[dict[str, Any]]:
    say, payload = words.say, facts.receipt.payload
    country = payload["country"]
    rows = [
        _row(say("label.platform"), say(f"platform.{payload['platform']}"), strong=True),
        _row(say("label.controller"), say(f"controller.{payload['controller']}"), strong=True),
        _row(say("label.prompted"), say(f"channel.{payload['notice']['channel']}"), note=_where(payload["notice"])),
        _row(say("label.objected"), words.time(facts.receipt.iat), note=say("fact.holder_clock"), strong=True),
        _row(say("label.received"), words.time(facts.received_at), note=say("fact.register_clock"), strong=True),
        _anchored(facts, words),
        _row(say("label.status"), _standing(facts, words)),
        _row(say("label.recorded_by"), facts.register, note=say("fact.entry", index=words.number(facts.log_index))),
        _row(say("label.country"), say("fact.country_elsewhere") if country == "ZZ" else country),
    ]
    if "campaign" in payload:
        rows.append(_row(say("label.campaign"), payload["campaign"]))
    return rows


def _where(notice: Mapping[str, Any]) -> str:
    return breakable(settable(notice["url"], limit=80)) if "url" in notice else ""


def _anchored(facts: CertificateFacts, words: Words) -> dict[str, Any]:
    say, anchor = words.say, facts.anchor
    if anchor is None:
        own = min((stamp.at for stamp in facts.anchors), default=None)
        note = "" if own is None else say("fact.own_clock", time=words.time(own))
        return _row(say("label.recorded"), say("fact.recorded"), note=note)
    by = say("fact.anchored_by", authority=_name(anchor.authority))
    return _row(say("label.anchored"), words.time(anchor.at), note=by, strong=True)


def _standing(facts: CertificateFacts, words: Words) -> str:
    at = facts.status_at if facts.status == "stands" else facts.withdrawn_at
    return words.say(f"fact.{facts.status}", time=words.time(at))


def _shows(facts: CertificateFacts, words: Words) -> list[str]:
    shown = [words.say("shows.signed"), words.say("shows.logged")]
    if facts.anchor is not None:
        time, authority = words.time(facts.anchor.at), _name(facts.anchor.authority)
        shown.append(words.say("shows.anchored", time=time, authority=authority))
    domains = sorted({mail.domain for item in facts.later for mail in item.mails if mail.signed})
    return shown + [words.say("shows.mail", domain=breakable(settable(domain, limit=80))) for domain in domains[:3]]


def _shows_not(facts: CertificateFacts, words: Words) -> list[str]:
    confirmed = any(mail.confirms for item in facts.later for mail in item.mails)
    names = ["received_by_mail" if confirmed else "received", "identity"]
    if facts.anchor is None:
        names.append("time")
    return [words.say(f"shows_not.{name}") for name in [*names, "lawful"]]


def _deadline(facts: CertificateFacts, words: Words) -> dict[str, str]:
    if facts.status != "stands":
        text = words.say("deadline.withdrawn", day=words.day(facts.withdrawn_at))
        return {"before": text, "date": "", "after": ""}
    day = words.format_day(one_month_after(facts.receipt.iat))
    return {"before": words.say("deadline.stands"), "date": day, "after": words.say("deadline.after")}


def _check_web(facts: CertificateFacts, words: Words) -> str:
    return words.say("check.web", url=breakable(settable(f"{facts.register}/verify")))


def _complaint(facts: CertificateFacts, words: Words) -> dict[str, Any]:
    say, payload = words.say, facts.receipt.payload
    contact = facts.disclosed.get("contact") or facts.disclosed.get("account", "")
    declared = {"name": facts.disclosed.get("person", ""), "contact": contact}
    return {
        "lead": say("complaint.lead"),
        "who": say("complaint.who"),
        "lines": [
            {"label": say(f"complaint.{slot}"), "value": breakable(settable(value)), "note": say("complaint.declared")}
            for slot, value in declared.items()
        ],
        "controller_label": say("complaint.controller"),
        "controller": say(f"controller.{payload['controller']}"),
        "happened_label": say("complaint.happened"),
        "happened": say(
            "complaint.happened_text",
            day=words.day(facts.receipt.iat),
            platform=say(f"platform.{payload['platform']}"),
            channel=say(f"channel.{payload['notice']['channel']}"),
        ),
    }


def _technical(facts: CertificateFacts, words: Words) -> list[dict[str, Any]]:
    say, payload = words.say, facts.receipt.payload
    notice, objection = payload["notice"], payload["objection"]
    rows = [
        _row(say("technical.receipt"), facts.receipt.sha256.hex(), mono=True),
        _row(say("technical.holder_key"), thumbprint(facts.receipt.holder_jwk), mono=True),
        _row(say("technical.assurance"), say(f"technical.assurance_{facts.assurance}")),
        _row(say("technical.issuer"), facts.register),
        _row(say("technical.issuer_keys"), " ".join(facts.register_keys), mono=True),
        _row(say("technical.log"), facts.log_origin),
        _row(say("technical.index"), words.number(facts.log_index)),
        _row(say("technical.size"), words.number(facts.log_size)),
        _row(say("technical.root"), facts.log_root.hex(), mono=True),
    ]
    witnesses = [
        say("technical.witness", name=_name(witness.name), time=words.time(witness.at)) for witness in facts.witnesses
    ]
    rows += _list(say("technical.witnesses"), witnesses or [say("none")])
    authorities = [
        say(
            "technical.authority",
            name=_name(anchor.authority),
            time=words.time(anchor.at),
            trust=say(f"technical.{_trust(anchor)}"),
        )
        for anchor in facts.anchors
    ]
    rows += _list(say("technical.authorities"), authorities or [say("none")])
    if "url" in notice:
        rule = say("technical.notice_rule_value", rule=notice["rule"], ruleset=notice["ruleset"])
        rows += [
            _row(say("technical.notice_url"), "", mono=True) | {"value": breakable(settable(notice["url"], limit=512))},
            _row(say("technical.notice_language"), notice["language"]),
            _row(say("technical.notice_rule"), rule),
            _row(say("technical.notice_text"), notice["text_sha256"], mono=True),
        ]
    statement = objection["statement"]
    return [
        *rows,
        _row(
            say("technical.statement"),
            say("technical.statement_value", template=statement["template"], language=statement["language"]),
        ),
        _row(say("technical.right"), f"{objection['right']}, {objection['contested_basis']}", mono=True),
        _row(say("technical.made"), words.time(facts.as_of)),
    ]


def _list(label: str, values: Sequence[str]) -> list[dict[str, Any]]:
    return [_row(label if first else "", value) for first, value in zip([True] + [False] * 99, values, strict=False)]


def _trust(anchor: Anchor) -> str:
    if not anchor.trusted:
        return "untrusted"
    return "qualified" if anchor.qualified else "trusted"


def _later(item: LaterReceipt, words: Words) -> dict[str, Any]:
    say = words.say
    line = say(
        "later.line",
        signed=words.time(item.signed_at),
        received=words.time(item.received_at),
        index=words.number(item.log_index),
    )
    rows = [_later_state(item, words), _row(say("later.receipt"), item.receipt_sha256.hex(), mono=True)]
    rows += _list(say("later.files"), item.files)
    return {
        "title": say(f"later.{item.kind}"),
        "line": line,
        "rows": rows,
        "mails": [_mail(mail, words) for mail in item.mails],
    }


def _later_state(item: LaterReceipt, words: Words) -> dict[str, Any]:
    say = words.say
    if item.anchor is None:
        return _row(say("label.recorded"), say("fact.recorded"))
    by = say("fact.anchored_by", authority=_name(item.anchor.authority))
    return _row(say("label.anchored"), words.time(item.anchor.at), note=by)


def _mail(mail: Mail, words: Words) -> dict[str, str]:
    say = words.say
    if not mail.signed:
        text = say(f"finding.{mail.finding}", domain=breakable(settable(mail.domain)))
        return {"title": say("later.mail_file", name=breakable(settable(mail.name))), "time": "", "detail": text}
    signed_at = mail.signed_at
    return {
        "title": say("later.mail", domain=breakable(settable(mail.domain))),
        "time": say("later.mail_no_time") if signed_at is None else say("later.mail_time", time=words.time(signed_at)),
        "detail": say(
            "later.mail_detail",
            from_domain=breakable(settable(mail.from_domain)),
            subject=breakable(settable(mail.subject)),
        )
        + " "
        + say(f"mail_kind.{mail.kind}"),
    }


def _listed(name: str, file: BundledFile, words: Words) -> dict[str, str]:
    return {
        "name": breakable(settable(name)),
        "purpose": _purpose(file, words),
        "size": words.size(len(file.data)),
        "sha256": sha256(file.data).hex(),
    }


def _attachment(name: str, file: BundledFile, words: Words) -> dict[str, Any]:
    return {
        "name": name,
        "data": file.data,
        "relationship": _RELATIONS.get(file.role, _NO_RELATION),
        # typst takes no parameters here; manifest.json keeps them
        "mime": file.media_type.partition(";")[0],
        "description": _purpose(file, words),
    }


def _purpose(file: BundledFile, words: Words) -> str:
    return words.say(f"role.{file.role if file.role in words.texts['role'] else 'other'}")


def _previews(files: Mapping[str, BundledFile], words: Words) -> list[dict[str, Any]]:
    """Return one card for each evidence file. All pictures together are bounded, in pixels and in bytes."""
    pixels_left, bytes_left = 2 * MAX_PIXELS, _MAX_PICTURE_BYTES
    cards: list[dict[str, Any]] = []
    for name, file in files.items():
        if file.role != "evidence":
            continue
        picture: Picture | None = None
        if file.media_type in FORMATS and len(cards) < _MAX_PICTURES and bytes_left > 0:
            picture = make_picture(file.data, file.media_type, max_pixels=min(MAX_PIXELS, pixels_left))
        if picture is not None:
            pixels_left, bytes_left = pixels_left - picture.pixels, bytes_left - len(picture.jpeg)
        cards.append(_card(name, file, picture, words))
    return cards


def _card(name: str, file: BundledFile, picture: Picture | None, words: Words) -> dict[str, Any]:
    shown = breakable(settable(name.rpartition("/")[2]))
    card: dict[str, Any] = {
        "kind": "none",
        "text": words.say("evidence.no_preview"),
        "caption": words.say("evidence.caption", name=shown, size=words.size(len(file.data))),
        "title": breakable(settable(name)),
        "alt": words.say("evidence.picture_alt", name=name),
    }
    if picture is not None:
        return card | {"kind": "picture", "data": picture.jpeg, "ratio": picture.height / picture.width}
    if file.media_type == "text/plain":
        beginning = file.data[: 4 * _MAX_EXCERPT].decode("utf-8", "replace")
        text = breakable(settable(beginning, limit=_MAX_EXCERPT))
        return card | {"kind": "text", "text": text, "title": words.say("evidence.excerpt", name=card["title"])}
    return card


def _name(text: str) -> str:
    return breakable(settable(text, limit=100))


def _qr_code(url: str) -> bytes:
    """Return an SVG. Version 6 at most, so that a telephone reads it from a bad print; a longer address needs more."""
    # One mask for all: to try all eight took longer than all else that Python does for a page, and a hash needs none.
    code = segno.make_qr(url, error="m", boost_error=False, mask=_QR_MASK)
    if int(code.version) > _MAX_QR_VERSION:
        code = segno.make_qr(url, error="l", boost_error=False, mask=_QR_MASK)
    out = io.BytesIO()
    code.save(out, kind="svg", border=1, xmldecl=False, dark="#1b1f24")
    return out.getvalue()
