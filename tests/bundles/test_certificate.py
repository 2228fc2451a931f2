"""The certificate's page: every language and state, hostile texts and pictures, dates, and what is attached."""

import io
import re
import string
import subprocess
import unicodedata
from dataclasses import replace
from typing import Any

import pikepdf
import pytest
from PIL import Image

from schemas.vocabulary import ASSURANCES, FINDINGS, MAIL_KINDS, UNKNOWN_MAIL
from server.bundles.certificate import Anchor, Mail, one_month_after, set_certificate, verify_url
from server.bundles.document_cache import DocumentCache, content_key
from server.bundles.linked_data import format_linked_data
from server.bundles.pictures import make_picture
from server.bundles.readme import format_readme
from server.bundles.words import _PRINTABLE, LANGUAGES, load_words, settable
from server.errors import VerificationError
from tests.fixtures.documents import INDEPENDENT, LOCAL, MAILED, NASTY, NOTICE, WITHDRAWAL, make_case, screenshot
from tests.fixtures.records import SIGNED_AT, make_record


def text_of(pdf: bytes) -> str:
    """Return the text twice: as it stands on the page, and column by column."""
    shown = ""
    for mode in ("-layout", "-raw"):
        command = ["pdftotext", mode, "-", "-"]
        shown += subprocess.run(command, input=pdf, capture_output=True, check=True, timeout=60).stdout.decode()
    return " ".join(shown.replace("\u200b", "").split())


def leaves(texts: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in texts.items():
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": str(value)}
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_languages_say_the_same_things(language: str) -> None:
    english, other = leaves(load_words("en").texts), leaves(load_words(language).texts)
    assert english.keys() == other.keys()
    for name, text in other.items():
        holes = {field for _, field, _, _ in string.Formatter().parse(text) if field}
        assert holes == {field for _, field, _, _ in string.Formatter().parse(english[name]) if field}, name
        assert not re.search(r"TODO|XXX|\?\?", text)
    assert len(load_words(language).texts["dates"]["months"]) == 12


@pytest.mark.parametrize(("language", "mark"), [("en", "PRACTICE"), ("de", "ÜBUNG"), ("fr", "EXERCICE")])
def test_practice_is_said_on_each_page(language: str, mark: str) -> None:
    """By the notice that the holder signed, or by the register's address: a cut-out shows it, too."""
    notice = {**make_record().receipt.payload["notice"], "url": "http://127.0.0.1:8000/practice"}
    for case in (make_case(receipt_changes={"notice": notice}), make_case(register="http://127.0.0.1:8000")):
        assert b"PRACTICE" in format_readme(
            case.facts.receipt,
            received_at=0,
            log_origin="x",
            log_index=0,
            issuer=case.facts.register,
            anchored_at=None,
        )
        pdf = set_certificate(case.facts, case.files, language)
        with pikepdf.open(io.BytesIO(pdf)) as opened:
            assert str(opened.docinfo["/Title"]).startswith(mark)
            pages = len(opened.pages)
        assert pages > 1
        for number in range(1, pages + 1):
            command = ["pdftotext", "-f", str(number), "-l", str(number), "-", "-"]
            shown = subprocess.run(command, input=pdf, capture_output=True, check=True).stdout.decode()
            assert mark in shown, number
            assert "Meta" in shown
    assert mark not in text_of(set_certificate(make_case().facts, make_case().files, language))
    assert b"PRACTICE" not in make_record().readme()


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_tells_the_facts(language: str) -> None:
    case, words = make_case(evidence={"notice.txt": NOTICE}), load_words(language)
    shown = text_of(set_certificate(case.facts, case.files, language))
    for fact in (
        words.time(SIGNED_AT),
        words.time(SIGNED_AT + 2),
        words.say("status.stands"),
        words.say("status.recorded"),
        words.say("complaint.name"),
        "Meta Platforms Ireland Limited",
        words.format_day(one_month_after(SIGNED_AT)),
        case.record.receipt.sha256.hex(),
    ):
        assert fact in shown
    assert words.say("status.anchored") not in shown


@pytest.mark.parametrize("assurance", ASSURANCES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_what_stands_behind_the_signature_is_told(language: str, assurance: str) -> None:
    case = make_case(evidence={}, assurance=assurance)
    shown, words = text_of(set_certificate(case.facts, case.files, language)), load_words(language)
    for other in ASSURANCES:
        assert (words.say(f"technical.assurance_{other}") in shown) == (other == assurance)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_only_the_register_stamped_is_recorded(language: str) -> None:
    case = make_case(evidence={}, anchors=(LOCAL,))
    shown, words = text_of(set_certificate(case.facts, case.files, language)), load_words(language)
    told = f"{words.say('label.recorded')} {words.say('fact.recorded')}"
    assert f"{told} · {words.say('fact.own_clock', time=words.time(LOCAL.at))}" in shown
    assert words.say("shows_not.time") in shown
    assert words.say("status.anchored") not in shown


def test_the_independent_stamp_is_the_one_that_is_told() -> None:
    case = make_case(evidence={}, anchors=(LOCAL, INDEPENDENT))
    shown = text_of(set_certificate(case.facts, case.files, "en"))
    assert "Anchored 18 November 2026, 11:07:55 UTC · no later than this, by the stamp of Example Time" in shown
    assert "Recorded No independent clock" not in shown
    assert "no independent clock" not in shown


def test_what_came_later_has_a_time_of_its_own() -> None:
    stamped = replace(INDEPENDENT, at=SIGNED_AT + 951_000)
    later = (MAILED, replace(WITHDRAWAL, anchors=(LOCAL, stamped)))
    case = make_case(evidence={}, anchors=(LOCAL, INDEPENDENT), later=later)
    shown = text_of(set_certificate(case.facts, case.files, "en"))
    first, _, annex = shown.partition("ANNEX C: ")
    assert "Anchored 18 November 2026, 11:07:55 UTC" in first
    added, _, withdrawn = annex.partition("Objection withdrawn")
    assert "Recorded No independent clock has stamped it yet" in added
    assert "Anchored 29 November 2026" in withdrawn
    assert "Anchored 29 November 2026" not in first


def test_a_withdrawal_and_a_confirmation_are_told() -> None:
    later = (MAILED, WITHDRAWAL)
    case = make_case(evidence={}, status="withdrawn", status_at=SIGNED_AT + 960_000, later=later)
    shown = text_of(set_certificate(case.facts, case.files, "en"))
    assert "Withdrawn on 29 November 2026" in shown
    assert "The objection stands" not in shown
    assert "18 December 2026" not in shown
    assert "E-mail signed by facebookmail.com" in shown
    assert "That Meta received it, beyond what" in shown


def test_only_a_signed_and_known_confirmation_says_that_meta_confirmed() -> None:
    [mail] = MAILED.mails
    others = [replace(mail, kind=kind) for kind in (*MAIL_KINDS, UNKNOWN_MAIL) if kind != "confirmation"]
    for other in (*others, replace(mail, finding="unchecked")):
        shown = shown_of(other, language="en")
        assert "Only a confirmation by Meta shows that" in shown
        assert "beyond what" not in shown


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_finding_is_told_and_with_it_no_signature_of_metas(language: str) -> None:
    words = load_words(language)
    mails = [Mail(f"{number}.eml", finding, "facebookmail.com") for number, finding in enumerate(FINDINGS) if number]
    shown = shown_of(*mails, language=language)
    flat = "".join(shown.split())
    told = [words.say(f"finding.{mail.finding}", domain="facebookmail.com") for mail in mails]
    assert len(set(told)) == len(FINDINGS) - 1
    for text in told:
        assert "".join(text.split()) in flat
    assert words.say("shows.mail", domain="facebookmail.com") not in shown


def shown_of(*mails: Mail, language: str) -> str:
    case = make_case(evidence={}, later=(replace(MAILED, mails=mails),))
    return text_of(set_certificate(case.facts, case.files, language))


def test_texts_from_outside_are_never_markup() -> None:
    case = make_case(
        evidence={}, anchors=(Anchor(NASTY, SIGNED_AT, trusted=True),), disclosed={"person": NASTY, "contact": NASTY}
    )
    shown = text_of(set_certificate(case.facts, case.files, "en"))
    assert "#emph[x] $x^2$ \\u{41} *b* _i_ `raw` <label> @ref" in shown
    assert "[U+1F600] [U+202E][U+0000]" in shown


def test_every_character_that_is_set_can_be_set() -> None:
    every = "".join(chr(code) for code in range(0x3000) if _PRINTABLE.fullmatch(chr(code)))
    assert {"é", "ß", "Ž", "Ω", "Я", "ش", "ש", "€", "„"} <= set(every)
    # In order, and each behind what nothing combines with.
    for text in (every, "?".join(every)):
        case = make_case(evidence={"all.txt": text.encode()})
        set_certificate(case.facts, case.files, "en")
    assert not any(unicodedata.category(character).startswith("M") for character in every)
    assert settable("a\u202eb\ud800c\x07\u00ad") == "a[U+202E]b[U+D800]c[U+0007][U+00AD]"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_same_facts_give_the_same_bytes(language: str) -> None:
    case = make_case(evidence={"notice.txt": NOTICE})
    assert set_certificate(case.facts, case.files, language) == set_certificate(case.facts, case.files, language)
    other = set_certificate(replace(case.facts, log_index=77), case.files, language)
    assert other != set_certificate(case.facts, case.files, language)


def test_a_proof_with_a_screenshot_stays_small() -> None:
    case = make_case()
    raw = set_certificate(case.facts, case.files, "en")
    assert len(raw) < 3_000_000
    with pikepdf.open(io.BytesIO(raw)) as opened:
        assert opened.attachments.keys() == case.files.keys()
        assert str(opened.attachments["receipt.jws"].relationship) == "/Source"
        assert opened.attachments["receipt.jws"].description == "the objection, signed by its holder"


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-11-18", "2026-12-18"),
        ("2026-12-31", "2027-01-31"),
        ("2027-01-31", "2027-02-28"),
        ("2028-01-30", "2028-02-29"),
    ],
)
def test_one_month_is_a_month_of_the_calendar(start: str, end: str) -> None:
    from datetime import datetime

    assert one_month_after(int(datetime.fromisoformat(f"{start}T23:59:59+00:00").timestamp())).date().isoformat() == end


def test_the_code_leads_to_the_receipt() -> None:
    assert verify_url("https://register.example", bytes(32)) == f"https://register.example/verify#{'A' * 43}"


BOMB = io.BytesIO()
Image.new("1", (8_000, 5_000)).save(BOMB, "PNG")
HOSTILE = {
    "bomb": (BOMB.getvalue(), "image/png"),
    "no picture": (b"hello", "image/png"),
    "cut": (screenshot()[:3000], "image/png"),
    "another format": (screenshot(kind="JPEG"), "image/png"),
    "text": (b"hello", "text/plain"),
    "nothing": (b"", "image/webp"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_picture_that_cannot_be_shown_is_left_out(kind: str) -> None:
    assert make_picture(*HOSTILE[kind]) is None


def test_a_picture_is_reduced_and_keeps_nothing_but_pixels() -> None:
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    Image.new("RGBA", (3000, 2000), (10, 200, 30, 0)).save(out, "PNG", exif=exif)
    picture = make_picture(out.getvalue(), "image/png")
    assert picture is not None
    assert (picture.width, picture.height, picture.pixels) == (1280, 853, 6_000_000)
    assert b"secret" not in picture.jpeg
    with Image.open(io.BytesIO(picture.jpeg)) as shown:
        assert shown.getpixel((5, 5)) == (255, 255, 255)


def test_the_cache_keeps_nothing_readable_and_forgets_the_oldest() -> None:
    case, cache = make_case(evidence={}), DocumentCache(max_bytes=2500)
    key = content_key(case.files, "en")
    assert key != content_key(case.files, "fr")
    cache.put(key, b"k" * 32, b"plain" * 200)
    assert cache.get(key, b"k" * 32) == b"plain" * 200
    assert b"plain" not in repr(vars(cache)).encode()
    with pytest.raises(VerificationError):
        cache.get(key, b"x" * 32)
    for number in range(2):
        cache.put(bytes([number]) * 32, b"k" * 32, bytes(1000))
    assert cache.get(key, b"k" * 32) is None
    assert cache.get(bytes([1]) * 32, b"k" * 32) == bytes(1000)
    cache.put(key, b"k" * 32, bytes(5000))
    assert cache.get(key, b"k" * 32) is None


def test_the_description_is_json_ld_in_dpv_terms() -> None:
    import json

    from pyld import jsonld

    case = make_case(anchors=(INDEPENDENT,), later=(MAILED,))
    raw = format_linked_data(case.facts)
    assert raw == format_linked_data(case.facts)

    def refuse(url: str, _options: object) -> None:
        raise AssertionError(f"must not fetch {url}")

    (node,) = jsonld.expand(json.loads(raw), {"documentLoader": refuse})
    dpv = "https://w3id.org/dpv#"
    assert node["@type"] == [f"{dpv}RightExerciseActivity", "http://www.w3.org/ns/prov#Activity"]
    assert node[f"{dpv}hasRight"] == [{"@id": "https://w3id.org/dpv/legal/eu/gdpr#A21"}]
    assert node[f"{dpv}hasApplicableLaw"] == [{"@id": "https://w3id.org/dpv/legal/eu#law-GDPR"}]
    assert node[f"{dpv}hasProcessing"] == [{"@id": "https://w3id.org/dpv/ai#ModelTraining"}]
    assert node[f"{dpv}hasStatus"] == [{"@id": f"{dpv}RequestAcknowledged"}]
    assert node["http://purl.org/dc/terms/conformsTo"] == [{"@id": "https://register.example/profiles/objection/1"}]
    assert all(":" in key or key.startswith("@") for key in node)
    assert len(node) == len(json.loads(raw)) - 1  # nothing was dropped but the context
