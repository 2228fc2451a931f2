"""The verifier in Chromium, as a file and served by a register: the same findings as the command, and no network."""

import base64
import json
import os
import re
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from server.bundles.verifier import PATH
from server.core.encoding import format_base64url, sha256
from server.core.policies import TrustPolicy, format_trust_policy, policy_fingerprint
from server.core.statuslists import ERASED, WITHDRAWN
from server.errors import ParseError
from server.usecases.verification_report import Report
from server.usecases.verify_bundle import verify_file
from tests.bundles.test_documents import rebuilt, signed_in_another_name, with_annotations
from tests.e2e.stage import CHROMIUM, ROOT
from tests.fixtures.authorities import Authorities
from tests.fixtures.holders import Holder
from tests.fixtures.lasting import DOMAIN as MAIL_DOMAIN
from tests.fixtures.lasting import SELECTOR as MAIL_SELECTOR
from tests.fixtures.lasting import Lasting, bundle_of, finding, key_record, signed_mail
from tests.fixtures.pdfs import Objects
from tests.fixtures.pdfs import rewrite as rewrite_pdf
from tests.fixtures.ports import free_port
from tests.fixtures.records import SIGNED_AT, Record, TestRegister, make_record
from tests.fixtures.servers import Gunicorn
from tests.fixtures.verifier_samples import World, sign_pdf, unsigned_pdf
from tests.fixtures.zips import Member, members_of, rewrite, write_zip
from tests.usecases.test_recognise import OF_BOTH, OF_CONTAINERS, OF_PDFS, OTHERS, signed_certificate
from tests.usecases.test_verify_bundle import TAMPERED
from tests.usecases.test_verify_lasting import FORGED

pytestmark = pytest.mark.e2e
AXE = ROOT / "extension/node_modules/axe-core/axe.min.js"
if (CHROMIUM is None or not AXE.exists() or not PATH.exists()) and not os.environ.get("CI"):
    pytestmark = pytest.mark.skip("needs Chromium, the extension's node_modules, and the verifier's page built")

SHOTS = Path(os.environ.get("SCREENSHOTS", tempfile.gettempdir())) / "verify-page"
LOOKS = [(1280, "light"), (375, "dark")]
FOUND = """() => [...document.querySelectorAll('[data-check]')]
  .map(({ dataset }) => [dataset.check, dataset.outcome, dataset.code ?? null])"""


@dataclass
class Verifier:
    """The page in a tab of its own, and every address that it asked for."""

    page: Page
    asked: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def check(self, raw: bytes, name: str = "proof.asice") -> str:
        """Give it a file, and return the verdict."""
        self.page.evaluate("document.querySelector('[data-verdict]')?.remove()")
        self.page.set_input_files("#file", {"name": name, "mimeType": "", "buffer": raw})
        return self.verdict

    def trust(self, policy: TrustPolicy) -> None:
        self.page.evaluate("document.querySelector('.trust').open = true")
        buffer = format_trust_policy(policy)
        self.page.set_input_files("#policy-file", {"name": "p.json", "mimeType": "", "buffer": buffer})
        self.page.wait_for_selector(".trust code")

    @property
    def verdict(self) -> str:
        verdict = self.page.wait_for_selector("[data-verdict]", timeout=20_000).get_attribute("data-verdict")
        assert verdict is not None
        return verdict

    @property
    def found(self) -> list[list[str | None]]:
        rows: list[list[str | None]] = self.page.evaluate(FOUND)
        return rows

    def shoot(self, name: str) -> None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, chromium_sandbox=False)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(locale="en-GB")
    yield context
    context.close()


def open_verifier(context: BrowserContext, address: str = PATH.as_uri()) -> Verifier:
    verifier = Verifier(context.new_page())
    verifier.page.on("request", lambda request: verifier.asked.append(request.url))
    verifier.page.on("pageerror", lambda error: verifier.broken.append(str(error)))
    verifier.page.on("console", lambda line: verifier.broken.append(line.text) if line.type == "error" else None)
    verifier.page.goto(address)
    verifier.page.wait_for_selector("h1")
    return verifier


@pytest.fixture
def verifier(context: BrowserContext) -> Iterator[Verifier]:
    """The file, opened from the disk. Whatever it was given, it asked nobody, and nothing broke."""
    verifier = open_verifier(context)
    yield verifier
    assert verifier.asked == [PATH.as_uri()]
    assert verifier.broken == []


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def record() -> Record:
    return make_record()


def expected(report: Report) -> list[list[str | None]]:
    return [[check.id, check.outcome, check.code] for check in report.checks]


def agree(verifier: Verifier, raw: bytes, policy: TrustPolicy | None) -> str:
    """Return the verdict of the command, once the page is seen to have the same one, and the same checks.

    Of what gets no report: the code instead.
    """
    try:
        report = verify_file(raw, policy=policy, now=SIGNED_AT + 2 * 86_400)
    except ParseError as error:
        code = error.code
    else:
        assert verifier.check(raw) == report.verdict
        assert verifier.found == expected(report)
        return report.verdict
    assert verifier.check(raw) == "unusable"
    assert verifier.page.locator("[data-verdict]").get_attribute("data-code") == code
    return code


def swap(raw: bytes, old: bytes, new: bytes) -> bytes:
    assert old in raw
    assert len(old) == len(new)
    return raw.replace(old, new, 1)


def _status(**changes: Any) -> Callable[[World], bytes]:
    def bundle(world: World) -> bytes:
        return world.bundle(world.files(status=world.status_list(**changes)))

    return bundle


PROOFS: dict[str, tuple[Callable[[World], bytes], str]] = {
    "bundle, anchored": (lambda w: w.bundle(), "valid"),
    "bundle, recorded": (
        lambda w: w.bundle(w.files(anchors={}, checkpoint=w.checkpoint(cosigned_by=()))),
        "valid",
    ),
    "bundle, supplement": (lambda w: w.bundle(w.files() | w.later("supplement")), "valid"),
    "bundle, supplement anchored": (lambda w: w.bundle(w.files() | w.later("supplement", stamped=True)), "valid"),
    "bundle, all anchored": (
        lambda w: w.bundle(
            w.files() | w.later("supplement", stamped=True) | w.later("withdrawal", number=2, index=12, stamped=True)
        ),
        "withdrawn",
    ),
    "bundle, supplement in a fork": (lambda w: w.bundle(w.files() | w.later("supplement", fork=True)), "invalid"),
    "bundle, withdrawn": (lambda w: w.bundle(w.files() | w.later("withdrawal")), "withdrawn"),
    "bundle, one clock": (
        lambda w: w.bundle(w.files(anchors={"local": w.register.stamp(w.checkpoint().encode())})),
        "valid",
    ),
    "bundle, unknown clock": (
        lambda w: w.bundle(w.files(anchors={"stranger": w.authority.stamp(w.checkpoint().encode())})),
        "valid",
    ),
    "bundle, wrong clock": (
        lambda w: w.bundle(w.files(anchors={"independent": w.register.stamp(w.checkpoint().encode())})),
        "invalid",
    ),
    "bundle, stamp of other bytes": (
        lambda w: w.bundle(w.files(anchors={"independent": w.authority.stamp(b"other")})),
        "invalid",
    ),
    "bundle, stamp unreadable": (lambda w: w.bundle(w.files(anchors={"independent": b"no stamp"})), "invalid"),
    "bundle, a witness missing": (
        lambda w: w.bundle(w.files(checkpoint=w.checkpoint(cosigned_by=("first.example",)))),
        "valid",
    ),
    "bundle, list erased": (_status(status=ERASED), "erased"),
    "bundle, list withdrawn": (_status(status=WITHDRAWN), "withdrawn"),
    "bundle, list senseless": (_status(status=3), "invalid"),
    "bundle, another list": (_status(sub="https://register.example/status/2"), "invalid"),
    "bundle, later by another": (
        lambda w: w.bundle(w.files() | World().later("withdrawal")),
        "invalid",
    ),
    "bundle, later with a gap": (lambda w: w.bundle(w.files() | w.later("supplement", number=2)), "invalid"),
    "bundle, later twice withdrawn": (
        lambda w: w.bundle(w.files() | w.later("withdrawal") | w.later("withdrawal", number=2, index=12)),
        "invalid",
    ),
    "pdf": (lambda w: w.pdf(), "valid"),
    "pdf, withdrawn": (lambda w: w.pdf(w.files() | w.later("withdrawal")), "withdrawn"),
    "pdf, by another": (lambda w: w.pdf(signed_by=World().register.issuer_key), "invalid"),
    "pdf, unsigned": (lambda w: unsigned_pdf(w.files()), "invalid"),
    "pdf, longer": (lambda w: w.pdf() + b"\n", "invalid"),
    "pdf, a word changed": (lambda w: swap(w.pdf(), b"/Lang(en", b"/Lang(fr"), "invalid"),
    "pdf, cut": (lambda w: w.pdf()[:-1000], "invalid"),
    "token": (lambda w: w.record.token.encode(), "valid"),
    "presentation": (lambda w: w.record.presentation("person", "account").encode(), "valid"),
    "token, changed": (lambda w: w.record.token[:-9].encode() + b"AAAAAAAA~", "invalid"),
}


@pytest.mark.parametrize("name", PROOFS)
def test_page_and_command_agree(name: str, world: World, verifier: Verifier) -> None:
    make, verdict = PROOFS[name]
    raw = make(world)
    verifier.trust(world.policy)
    assert agree(verifier, raw, world.policy) == verdict
    if name in {"bundle, anchored", "pdf"}:
        open_one = open_verifier(verifier.page.context)
        assert agree(open_one, raw, None) == "valid"
        assert open_one.page.locator(".warning code").inner_text() == policy_fingerprint(world.policy)
        assert open_one.page.locator("#verdict").inner_text() == "Valid, keys not pinned"
        assert "independent" not in open_one.page.locator(".shows").inner_text()


def test_page_and_command_agree_on_each_changed_part(record: Record, verifier: Verifier) -> None:
    policy = record.register.policy
    verifier.trust(policy)
    for tamper, _ in TAMPERED.values():
        assert agree(verifier, record.bundle(**tamper(record)), policy) == "invalid"


def test_page_and_command_agree_on_what_could_be_forged(verifier: Verifier) -> None:
    register = TestRegister()
    verifier.trust(register.policy)
    for change, roots in FORGED.values():
        lasting = Lasting(register)
        files = lasting.files()
        change(lasting, files)
        assert agree(verifier, bundle_of(files, register), register.policy) == ("invalid" if roots else "valid")


def test_page_and_command_agree_on_what_was_found_of_mails(verifier: Verifier) -> None:
    lasting = lasting_with_mails()
    verifier.trust(lasting.register.policy)
    assert agree(verifier, bundle_of(lasting.files(), lasting.register), lasting.register.policy) == "valid"
    verifier.page.evaluate("document.querySelector('[data-check=mail] details').open = true")
    shown = verifier.page.locator("[data-check=mail]").text_content() or ""
    for words in ("footer", "[EXTERNAL]", "had no key for it", "does not list this domain", "has no signature"):
        assert words in shown
    verifier.shoot("mails")


def lasting_with_mails() -> Lasting:
    """Return a proof with a mail of each finding that one can tell from the mail, and some that the register tells."""
    lasting = Lasting()
    signed = signed_mail("No")
    seen = {"key_sha256": sha256(key_record()).hex()}
    about = {"domain": MAIL_DOMAIN, "selector": MAIL_SELECTOR}
    plain = signed[signed.index(b"From:") :]
    mails: list[tuple[bytes, dict[str, str]]] = [
        (signed.replace(b"We honour", b"You honour"), {"finding": "body-changed"} | about),
        (signed.replace(b"Subject: No", b"Subject: [EXTERNAL] No"), {"finding": "signature-mismatch"} | about | seen),
        (signed, {"finding": "key-gone"} | about),
        (signed, {"finding": "domain-not-listed"} | about),
        (signed, {"finding": "unchecked"} | about),
        (plain, {"finding": "unsigned"}),
        (plain + b"\r", {"finding": "unreadable"}),
        (b"DKIM-Signature: v=1\r\n" + plain, {"finding": "signature-refused"}),
    ]
    evidence = {f"{number}.eml": mail for number, (mail, _) in enumerate(mails)}
    lasting.add("supplement", evidence, {f"{number}.eml": claims for number, (_, claims) in enumerate(mails)})
    lasting.add("supplement", {"yes.eml": signed_mail("Yes")}, {"yes.eml": finding("Yes", "confirmation")})
    lasting.note = lasting.register.cosigned(lasting.register.checkpoint(lasting.record.tree))
    return lasting


@pytest.mark.parametrize(
    ("space", "outcome"), [("\x85", "failed"), ("\xa0", "failed"), ("\u2028", "failed"), ("\ufeff", "passed")]
)
def test_page_and_command_agree_on_what_is_white_space(space: str, outcome: str, verifier: Verifier) -> None:
    """In a log's name. (No token takes such a name, so that all of these proofs are invalid.)"""
    record = make_record(register=TestRegister(origin=f"register.example/{space}log"))
    assert agree(verifier, record.bundle(), None) == "invalid"
    assert [found for check, found, _ in verifier.found if check == "policy"] == [outcome]


def test_page_and_command_agree_on_what_nobody_signs_in_a_pdf(world: World, verifier: Verifier) -> None:
    verifier.trust(world.policy)
    raw = world.pdf()
    own = base64.b64decode(world.register.certificate)
    assert agree(verifier, rebuilt(raw), world.policy) == "valid"
    assert agree(verifier, rebuilt(raw, certificates=[own, b"\x30\x04\x04\x02no"]), world.policy) == "valid"
    assert agree(verifier, rebuilt(raw, certificates=[own, own]), world.policy) == "invalid"
    assert agree(verifier, rebuilt(raw, certificates=[b"\x30\x04\x04\x02no"]), world.policy) == "invalid"
    assert agree(verifier, rebuilt(raw, behind=b"\xa1\x00"), world.policy) == "invalid"
    assert agree(verifier, signed_in_another_name(raw), world.policy) == "invalid"
    fraction = rewrite_pdf(unsigned_pdf(world.files()), _size_as_fraction)
    assert agree(verifier, sign_pdf(fraction, world.register, world.register.issuer_key), world.policy) == "invalid"
    for annotations in (b"5", b"true", b"null", b"<<>>"):
        assert agree(verifier, with_annotations(unsigned_pdf(world.files()), annotations), world.policy) == "invalid"


def _size_as_fraction(objects: Objects) -> None:
    """The same number, written as no reader of ours takes it for a length."""
    number = next(number for number, raw in objects.items() if b"/EmbeddedFile" in raw and b"/Params" in raw)
    objects[number] = re.sub(rb"(/Size [0-9]+)", rb"\1.0", objects[number], count=1)


def test_page_and_command_agree_on_time_authorities(record: Record, verifier: Verifier) -> None:
    authorities = Authorities()
    for name in authorities.chains:
        raw = authorities.bundle(name, record)
        assert agree(verifier, raw, None) == ("valid" if name in Authorities.FINE else "invalid"), name
        said = verifier.page.locator('[data-check="anchor"] p').first.text_content()
        assert ("qualified under eIDAS" in said) is (name in Authorities.QUALIFIED)
        agree(verifier, authorities.container_stamped(name, record), None)


def test_page_and_command_agree_on_odd_containers(record: Record, verifier: Verifier) -> None:
    raw, policy = record.bundle(), record.register.policy
    verifier.trust(policy)
    odd = [write_zip([member for member in members_of(raw) if member.name != one.name]) for one in members_of(raw)]
    odd += [record.bundle(more={f"later/01/{number}.txt": b"x" for number in range(count)}) for count in (256, 500)]
    odd += [rewrite(raw, lambda members: members.append(Member(b"META-INF/more.xml", b"x")))]
    odd += [rewrite(raw, lambda members: members.append(Member(b"bomb.txt", bytes(9_000_000))))]
    odd += [rewrite(raw, lambda members: members.append(Member(b"link", b"/etc/passwd", attributes=0o120777 << 16)))]
    odd += [raw + b"x", raw[:-1], raw[:200], raw[:4], rewrite(raw, lambda _: None, comment=b"hello")]
    odd += [rewrite(raw, lambda members: setattr(members[1], "packed", _deflated(members[1].data) + b"junk"))]
    for container in odd:
        agree(verifier, container, policy)


def _deflated(data: bytes) -> bytes:
    import zlib

    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def test_hostile_files_end_in_a_verdict(world: World, verifier: Verifier) -> None:
    pdf = world.pdf()
    xref = pdf.rindex(b"startxref")
    hostile = {
        "not a proof": (b"hello", "unusable"),
        "empty": (b"", "unusable"),
        "noise": (bytes(range(256)) * 4000, "unusable"),
        "loop of tables": (swap(pdf, pdf[xref : xref + 14], b"startxref\n0000")[:], "invalid"),
        "deep": (b"%PDF-1.7\n%\x80\x80\x80\x80\n" + b"1 0 obj\n" + b"[" * 100_000 + b"receipt.jws", "invalid"),
        "long name": (b"%PDF-1.7\n" + b"/" + b"A" * 1_000_000, "unusable"),
        "zip of nothing": (b"PK\x03\x04" + bytes(5000), "unusable"),
        "too large": (b"%PDF-" + bytes(16_777_216), "unusable"),
        "nested ZIP of zeros": (rewrite(world.bundle(), lambda m: m.append(Member(b"z", bytes(4_000_000)))), "invalid"),
    }
    for name, (raw, verdict) in hostile.items():
        assert verifier.check(raw) == verdict, name
        if verdict == "invalid":
            with_command = verify_file(raw, policy=None, now=SIGNED_AT)
            assert verifier.found == expected(with_command), name
        else:
            with pytest.raises(ParseError):
                verify_file(raw, policy=None, now=SIGNED_AT)


def test_copies_and_other_files_get_the_answer_that_the_command_gives(verifier: Verifier, tmp_path: Path) -> None:
    container, certificate = make_record().bundle(), signed_certificate("en")
    changes = [(container, change) for change, _ in (OF_BOTH | OF_CONTAINERS).values()]
    changes += [(certificate, change) for change, _ in (OF_BOTH | OF_PDFS).values()]
    files: list[bytes] = [other() for other in OTHERS.values()]
    for number, (raw, change) in enumerate(changes):
        (folder := tmp_path / str(number)).mkdir()
        files.append(change(raw, folder))
    for number, raw in enumerate(files):
        with pytest.raises(ParseError) as caught:
            verify_file(raw, policy=None, now=SIGNED_AT)
        assert verifier.check(raw) == "unusable"
        result = verifier.page.locator("[data-verdict]")
        assert result.get_attribute("data-code") == caught.value.code, number
        assert ("proof of objection" in result.inner_text()) == (caught.value.code == "file_unrecognised")
    verifier.shoot("copy")


@pytest.mark.parametrize(("language", "mark"), [("en", "PRACTICE: "), ("de", "ÜBUNG: "), ("fr", "EXERCICE : ")])
def test_a_proof_for_practice_says_so_first(browser: Browser, language: str, mark: str) -> None:
    notice = {**make_record().receipt.payload["notice"], "url": "http://127.0.0.1:8000/practice"}
    context = browser.new_context(locale=language)
    verifier = open_verifier(context)
    assert verifier.check(make_record(notice=notice).bundle()) == "valid"
    assert verifier.page.locator("#verdict").inner_text().startswith(mark)
    verifier.shoot(f"practice-{language}")
    record = make_record(register=TestRegister(issuer="http://127.0.0.1:8000"))
    verifier.trust(record.register.policy)
    assert verifier.check(record.token.encode()) == "valid"
    assert verifier.page.locator("#verdict").inner_text().startswith(mark)
    context.close()


def test_the_page_is_plain_html_with_an_icon_of_its_own(verifier: Verifier) -> None:
    page = PATH.read_text(encoding="utf-8")
    assert not re.findall(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", page)
    icon = verifier.page.locator("link[rel=icon]").get_attribute("href") or ""
    drawn = verifier.page.evaluate(
        """src => new Promise(done => {
          const image = new Image();
          Object.assign(image, { onload: () => done(true), onerror: () => done(false), src });
        })""",
        icon,
    )
    assert icon.startswith("data:image/svg+xml;base64,")
    assert drawn
    assert not verifier.broken


def test_a_strangers_text_cannot_dress_up_the_page(verifier: Verifier) -> None:
    from server.core.tokens import disclosure_digest

    hostile = "<img src=x onerror=document.title='owned'>\nVALID \u202egnihton"
    disclosure = format_base64url(json.dumps([format_base64url(bytes(16)), "person", hostile]).encode())
    slots = {slot: {"_sd": [disclosure_digest(slot)]} for slot in ("account", "contact")}
    record = make_record(self_asserted=slots | {"person": {"_sd": [disclosure_digest(disclosure)]}})
    verifier.trust(record.register.policy)
    assert verifier.check(f"{record.token}{disclosure}~".encode(), "<b>name</b>.txt") == "valid"
    shown = verifier.page.locator("[data-fact=slot_person] bdi").inner_text()
    assert shown == "<img src=x onerror=document.title='owned'>\\u{a}VALID \\u{202e}gnihton"
    assert verifier.page.locator(".result img").count() == 0
    assert "owned" not in verifier.page.title()


def test_a_link_names_the_one_proof_that_may_be_shown(world: World, context: BrowserContext) -> None:
    named = format_base64url(world.record.receipt.sha256)
    verifier = open_verifier(context, f"{PATH.as_uri()}#{named}")
    assert world.record.receipt.sha256.hex() in verifier.page.locator("#link").inner_text()
    assert verifier.check(world.bundle()) == "valid"
    assert "the proof that the link names" in verifier.page.locator(".verdict").inner_text()
    other = make_record()
    assert verifier.check(other.bundle()) == "mismatch"
    assert verifier.page.locator("#verdict").inner_text() == "Not the proof that the link names"
    verifier.page.get_by_role("button", name="Forget the link").click()
    assert verifier.verdict == "valid"
    assert "#" not in verifier.page.url
    assert verifier.asked == [PATH.as_uri()]


@pytest.mark.parametrize("fragment", ["x", "A" * 42, "A" * 42 + "B", "A" * 44, "%00" * 15])
def test_a_link_that_names_nothing_says_so(fragment: str, context: BrowserContext) -> None:
    verifier = open_verifier(context, f"{PATH.as_uri()}#{fragment}")
    assert "names no receipt" in verifier.page.locator("#link").inner_text()


def test_with_the_keyboard_alone(world: World, verifier: Verifier) -> None:
    page = verifier.page
    page.on("filechooser", lambda _: None)  # intercepted from now on: else the first could open for nobody
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the check"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "check"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    assert page.evaluate("getComputedStyle(document.querySelector('label[for=file]')).outlineStyle") == "solid"
    page.keyboard.press("Tab")
    page.keyboard.insert_text(f"https://register.example/verify#{format_base64url(world.record.receipt.sha256)}")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert world.record.receipt.sha256.hex() in page.locator("#link").inner_text()
    assert page.evaluate("document.activeElement.id") == "file"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files({"name": "proof.pdf", "mimeType": "", "buffer": world.pdf()})
    assert verifier.verdict == "valid"
    assert page.evaluate("document.activeElement.id") == "verdict"
    reached: set[str] = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.closest('[data-check]')?.dataset.check ?? ''"))
    assert {row[0] for row in verifier.found} <= reached


@pytest.mark.parametrize("language", ["en", "fr", "de"])
@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_axe_finds_nothing(browser: Browser, world: World, width: int, scheme: str, language: str) -> None:
    dark = "dark" if scheme == "dark" else "light"
    context = browser.new_context(
        bypass_csp=True, color_scheme=dark, locale=language, viewport={"width": width, "height": 800}
    )
    verifier = open_verifier(context)
    files = {
        "start": None,
        "valid": world.pdf(),
        "recorded": world.bundle(world.files(anchors={}, checkpoint=world.checkpoint(cosigned_by=()))),
        "withdrawn": world.bundle(world.files() | world.later("withdrawal")),
        "invalid": world.pdf(signed_by=World().register.issuer_key),
        "unusable": b"hello",
        "resaved": base64.b64encode(world.bundle()),
        "practice": make_record(register=TestRegister(issuer="http://127.0.0.1:8000")).bundle(),
        "damaged": world.bundle()[:-1],
    }
    for name, raw in files.items():
        if raw is not None:
            verifier.check(raw)
        assert verifier.page.evaluate("document.documentElement.lang") == language
        if name == "start":
            verifier.page.evaluate(AXE.read_text())
        verifier.page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        found = verifier.page.evaluate("axe.run().then(({ violations }) => violations.map(({ id }) => id))")
        assert found == [], name
        assert not verifier.page.evaluate("document.documentElement.scrollWidth > innerWidth"), name
        if language == "en" or name == "valid":
            verifier.shoot(f"{name}-{width}-{language}")
    context.close()


def test_on_paper_everything_is_unfolded(world: World, verifier: Verifier) -> None:
    verifier.check(world.bundle())
    closed = "document.querySelectorAll('.checks details:not([open])').length"
    assert verifier.page.evaluate(closed) > 0
    verifier.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert verifier.page.evaluate(closed) == 0
    verifier.page.emulate_media(media="print")
    assert not verifier.page.locator("form").is_visible()
    assert verifier.page.locator("#verdict").is_visible()
    verifier.shoot("print")


def test_the_report_can_be_saved(world: World, verifier: Verifier) -> None:
    raw = world.bundle()
    verifier.check(raw)
    with verifier.page.expect_download() as saved:
        verifier.page.get_by_role("button", name="Save the report").click()
    report = json.loads(Path(saved.value.path()).read_text())
    command = verify_file(raw, policy=None, now=SIGNED_AT).as_json()
    assert report.keys() == command.keys()
    assert report["facts"] == command["facts"]
    assert [check["id"] for check in report["checks"]] == [check["id"] for check in command["checks"]]


def test_speaks_another_language_when_asked(world: World, verifier: Verifier) -> None:
    verifier.trust(world.policy)
    verifier.check(world.bundle())
    verifier.page.get_by_role("button", name="Deutsch").click()
    assert verifier.page.locator("#verdict").inner_text() == "Gültig und verankert"
    assert verifier.page.evaluate("document.documentElement.lang") == "de"
    assert verifier.page.evaluate("document.activeElement.textContent") == "Deutsch"


def test_the_file_may_not_reach_anybody(verifier: Verifier) -> None:
    """The page's own policy stops what its code never tries."""
    policy = verifier.page.locator("meta[http-equiv]").get_attribute("content") or ""
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    blocked = verifier.page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'reached', ({ name }) => name)")
    assert blocked == "TypeError"
    assert any("Content Security Policy" in line for line in verifier.broken)
    verifier.broken.clear()
    verifier.asked[:] = [url for url in verifier.asked if "127.0.0.1:9" not in url]


@dataclass
class Site:
    """A register that serves the page, with one objection recorded in it."""

    server: Gunicorn
    bundle: bytes
    token: str

    @property
    def address(self) -> str:
        return f"{self.server.url}/verify"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    port = free_port()
    settings = {"OBJECTION_PUBLIC_URL": f"http://127.0.0.1:{port}", "OBJECTION_PRACTICE": "on"}
    server = Gunicorn(tmp_path_factory.mktemp("register"), port, settings=settings)
    server.start()
    try:
        holder = Holder()
        submission = holder.objection()
        _, answer = server.post(submission)
        path = f"/v1/receipts/{submission.sha256}/bundle"
        request = urllib.request.Request(
            server.url + path,
            headers={
                "Authorization": f"DPoP {answer['token']}",
                "DPoP": holder.dpop(answer["token"], "GET", server.url + path),
                "Objection-Holder-Share": submission.holder_share,
            },
        )
        with urllib.request.urlopen(request) as response:
            bundle = response.read()
        yield Site(server, bundle, answer["token"])
    finally:
        server.kill()


def test_a_register_serves_it_with_its_own_keys(site: Site, world: World, context: BrowserContext) -> None:
    verifier = open_verifier(context, site.address)
    verifier.page.locator(".trust summary").click()
    assert site.server.url in verifier.page.locator(".trust").inner_text()
    assert verifier.check(site.bundle) == "valid"
    assert ["pinned", "passed", None] in verifier.found
    assert verifier.page.locator(".warning").count() == 0
    verifier.page.fill("#text", site.token)
    verifier.page.evaluate("document.querySelector('[data-verdict]').remove()")
    verifier.page.get_by_role("button", name="Check it").click()
    assert verifier.verdict == "valid"
    assert verifier.check(world.bundle()) == "invalid", "of another register"
    assert ["token", "failed", "token_issuer_unknown"] in verifier.found
    assert verifier.asked == [site.address]
    assert verifier.broken == []


def test_asks_for_the_status_only_when_told_to(site: Site, context: BrowserContext) -> None:
    verifier = open_verifier(context, site.address)
    assert verifier.check(site.bundle) == "valid"
    assert verifier.asked == [site.address]
    ask = verifier.page.get_by_role("button", name="Ask the register")
    ask.click()
    verifier.page.get_by_text("The register’s answer").wait_for()
    assert verifier.verdict == "valid"
    assert [url for url in verifier.asked if url != site.address] == [f"{site.server.url}/v1/status-lists/0"]
    verifier.page.route("**/v1/status-lists/*", lambda route: route.fulfill(body="eyJ.nonsense.x"))
    ask.click()
    verifier.page.locator("#status-problem").wait_for()
    assert verifier.verdict == "valid", "what was known before stays"
    verifier.page.route("**/v1/status-lists/*", lambda route: route.abort())
    ask.click()
    verifier.page.get_by_text("could not be reached").wait_for()


def test_the_served_page_is_the_file_with_two_lines_changed(site: Site) -> None:
    with urllib.request.urlopen(site.address) as response:
        served, policy = response.read(), response.headers["Content-Security-Policy"]
    file = PATH.read_bytes()
    assert len(set(served.split(b"\n")) ^ set(file.split(b"\n"))) <= 3
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert policy.endswith("; connect-src 'self'; frame-ancestors 'none'")
    assert "unsafe" not in policy
