"""What is no proof as it is: copies that programs changed, by real programs; and what was never a proof."""

import base64
import gzip
import io
import quopri
import re
import subprocess
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from functools import partial
from pathlib import Path

import pikepdf
import pytest
import typst

from server.bundles.certificate import set_certificate
from server.bundles.signing import sign_document
from server.errors import ParseError
from server.usecases import verify_bundle
from server.usecases.recognise import refuse_other
from server.usecases.verification_report import FAILED
from tests.fixtures.documents import make_case, make_signer
from tests.fixtures.records import SIGNED_AT, make_record
from tests.fixtures.zips import members_of, write_zip

Change = Callable[[bytes, Path], bytes]
verify_file = partial(verify_bundle.verify_file, policy=None, now=SIGNED_AT)


@pytest.fixture(scope="module")
def container() -> bytes:
    return make_record().bundle()


@pytest.fixture(scope="module")
def certificate() -> bytes:
    return signed_certificate("en")


def signed_certificate(language: str) -> bytes:
    case = make_case()
    return _signed(set_certificate(case.facts, case.files, language))


def _signed(pdf: bytes) -> bytes:
    with ThreadPoolExecutor(1) as pool:  # pyHanko wants a thread without an event loop, and Playwright has one
        return pool.submit(partial(sign_document, pdf, signer=make_signer(), at=SIGNED_AT)).result()


def _tool(*command: str) -> Change:
    """Return what changes a file by ``command``, in which IN and OUT stand for the files."""

    def run(raw: bytes, folder: Path) -> bytes:
        (folder / "in").write_bytes(raw)
        paths = {"IN": str(folder / "in"), "OUT": str(folder / "out")}
        subprocess.run([paths.get(word, word) for word in command], check=True, capture_output=True, cwd=folder)
        return (folder / "out").read_bytes()

    return run


def _zip_again(*options: str, inside: str = ".") -> Change:
    def run(raw: bytes, folder: Path) -> bytes:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            archive.extractall(folder / inside)
        subprocess.run(["zip", "-q", "-r", *options, "out.zip", "."], check=True, cwd=folder)
        return (folder / "out.zip").read_bytes()

    return run


def _zip_as_java_does(raw: bytes, _: Path) -> bytes:
    """As ``java.util.zip`` writes: in order, all of it compressed, the sizes behind each file."""
    members = members_of(raw)
    for member in members:
        member.stored, member.flags = False, 8
    return write_zip(members)


def _zip_as_epub(raw: bytes, folder: Path) -> bytes:
    """As guides to EPUB and ASiC say: ``mimetype`` first, plainly; then the others."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        archive.extractall(folder / "files")
    for options in (["-X", "-0", "../out.zip", "mimetype"], ["-r", "-D", "../out.zip", ".", "-x", "mimetype"]):
        subprocess.run(["zip", "-q", *options], check=True, cwd=folder / "files")
    return (folder / "out.zip").read_bytes()


def _zip_as_old_windows(raw: bytes, _: Path) -> bytes:
    members = members_of(raw)
    for member in members:
        member.name = b"proof\\" + member.name.replace(b"/", b"\\")
    return write_zip(members)


def _save(raw: bytes, **how: object) -> bytes:
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(raw)) as opened:
        opened.save(out, **how)  # type: ignore[arg-type]
    return out.getvalue()


def _add_to(raw: bytes, _: Path) -> bytes:
    """As PDF programs save a comment: behind what is there, with a table in a stream, which is not ours."""
    return raw + b"\n7 0 obj\n<</Type/XRef>>\nstream\n\nendstream\nendobj\nstartxref\n%d\n%%%%EOF\n" % (len(raw) + 1)


def _mail(raw: bytes, _: Path) -> bytes:
    mail = EmailMessage()
    mail["Subject"] = "My proof"
    mail.set_content("Please find it attached.")
    mail.add_attachment(b"%PDF-1.4 an invoice", maintype="application", subtype="pdf", filename="invoice.pdf")
    mail.add_attachment(raw, maintype="application", subtype="octet-stream", filename="proof")
    return mail.as_bytes()


def _tar(raw: bytes, _: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("proof")
        member.size = len(raw)
        archive.addfile(member, io.BytesIO(raw))
    return out.getvalue()


def _zip_around(name: str, data: bytes, *others: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for other in others:
            archive.writestr(other, b"something else")
        archive.writestr(name, data)
    return out.getvalue()


OF_BOTH: dict[str, tuple[Change, str]] = {
    "lines as on Windows": (lambda raw, _: raw.replace(b"\n", b"\r\n"), "line ends"),
    "lines as on old Macs": (lambda raw, _: raw.replace(b"\n", b"\r"), "line ends"),
    "taken for Latin-1": (lambda raw, _: raw.decode("latin-1").encode(), "as if it were text"),
    "taken for UTF-8": (lambda raw, _: raw.decode(errors="replace").encode(), "as if it were text"),
    "base64": (lambda raw, _: base64.b64encode(raw), "base64"),
    "base64 in lines": (lambda raw, _: base64.encodebytes(raw), "base64"),
    "base64 in an address": (lambda raw, _: b"data:x/y;base64," + base64.b64encode(raw), "base64"),
    "a whole mail": (_mail, "base64"),
    "gzip": (lambda raw, _: gzip.compress(raw), "gzip"),
    "a tape archive": (_tar, "before or around"),
    "a byte order mark": (lambda raw, _: b"\xef\xbb\xbf" + raw, "before or around"),
    "UTF-8 with a mark": (lambda raw, _: raw.decode("latin-1").encode("utf-8-sig"), "before or around"),
    "UTF-16": (lambda raw, _: b"\xff\xfe" + raw.decode("latin-1").encode("utf-16-le"), "as if it were text"),
    "UTF-16, big-endian": (lambda raw, _: b"\xfe\xff" + raw.decode("cp437").encode("utf-16-be"), "as if it were text"),
    "a mail in quoted-printable": (
        lambda raw, _: b"Subject: x\n\n" + quopri.encodestring(raw).replace(b"\n", b"\r\n"),
        "as if it were text",
    ),
    "base64, quoted": (lambda raw, _: base64.encodebytes(raw).replace(b"\n", b" \n> "), "base64"),
    "base64url": (lambda raw, _: base64.urlsafe_b64encode(raw), "base64"),
    "a ZIP around it": (lambda raw, _: _zip_around("proof.asice", raw), "check 'proof.asice'"),
    "a ZIP around it, renamed": (lambda raw, _: _zip_around("dir/document-1.bin", raw, "a.txt"), "dir/document-1.bin"),
    "a ZIP around a ZIP": (lambda raw, _: _zip_around("a.zip", _zip_around("b.asice", raw)), "check 'a.zip'"),
}
OF_CONTAINERS: dict[str, tuple[Change, str]] = {
    "zipped again": (_zip_again(), "zipped again"),
    "zipped again, plainly": (_zip_again("-X", "-D"), "zipped again"),
    "zipped again, in a folder": (_zip_again("-X", "-D", inside="proof"), "zipped again"),
    "zipped again, mimetype first": (_zip_as_epub, "zipped again"),
    "zipped again, on old Windows": (_zip_as_old_windows, "zipped again"),
    "zipped again, by Java": (_zip_as_java_does, "zipped again"),
}
OF_PDFS: dict[str, tuple[Change, str]] = {
    "lines as on Unix": (lambda raw, _: raw.replace(b"\r\n", b"\n"), "line ends"),
    "qpdf": (_tool("qpdf", "IN", "OUT"), "saved it anew"),
    "qpdf, readable": (_tool("qpdf", "--qdf", "IN", "OUT"), "saved it anew"),
    "linearised": (_tool("qpdf", "--linearize", "IN", "OUT"), "saved it anew"),
    "objects in streams": (_tool("qpdf", "--object-streams=generate", "IN", "OUT"), "saved it anew"),
    "pikepdf": (lambda raw, _: _save(raw), "saved it anew"),
    "an older version": (lambda raw, _: _save(raw, force_version="1.4"), "saved it anew"),
    "added to": (_add_to, "added to it"),
    "printed": (_tool("pdftocairo", "-pdf", "IN", "OUT"), "print"),
    "printed, in part": (_tool("pdftocairo", "-pdf", "-l", "1", "IN", "OUT"), "print"),
}


@pytest.mark.parametrize("name", [*OF_BOTH, *OF_CONTAINERS])
def test_a_changed_container_is_told_from_a_false_one(name: str, container: bytes, tmp_path: Path) -> None:
    change, noticed = (OF_BOTH | OF_CONTAINERS)[name]
    _is_a_copy(change(container, tmp_path), noticed)


@pytest.mark.parametrize("name", [*OF_BOTH, *OF_PDFS])
def test_a_changed_certificate_is_told_from_a_false_one(name: str, certificate: bytes, tmp_path: Path) -> None:
    change, noticed = (OF_BOTH | OF_PDFS)[name]
    _is_a_copy(change(certificate, tmp_path), noticed)


@pytest.mark.parametrize("language", ["de", "fr"])
def test_prints_are_known_in_each_language(language: str, tmp_path: Path) -> None:
    _is_a_copy(_tool("pdftocairo", "-pdf", "IN", "OUT")(signed_certificate(language), tmp_path), "print")


def _is_a_copy(raw: bytes, noticed: str) -> None:
    with pytest.raises(ParseError, match=re.escape(noticed)) as caught:
        verify_file(raw)
    assert caught.value.code == "file_resaved"


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw + b"x",
        lambda raw: raw[: len(raw) // 2] + b"~" + raw[len(raw) // 2 + 1 :],
    ],
)
def test_damage_alone_stays_a_verdict(change: Callable[[bytes], bytes], container: bytes, certificate: bytes) -> None:
    for raw in (container, certificate):
        report = verify_file(change(raw))
        assert report.verdict == "invalid"
        assert [check.id for check in report.checks if check.outcome == FAILED] in (["container"], ["document"])


def _invoice(**options: object) -> bytes:
    pdf: bytes = typst.compile(b"= Invoice\nPlease pay 12 EUR, and verify the amount.", **options)
    return pdf


OTHERS: dict[str, Callable[[], bytes]] = {
    "an invoice": _invoice,
    "an invoice, as PDF/A": lambda: _invoice(pdf_standards=["a-3a"]),
    "an invoice, signed": lambda: _signed(_invoice(pdf_standards=["a-3a"])),
    "an invoice, saved again": lambda: _save(_invoice()),
    "an invoice, in base64": lambda: base64.encodebytes(_invoice()),
    "an invoice, in gzip": lambda: gzip.compress(_invoice()),
    "an invoice in a ZIP": lambda: _zip_around("invoice.pdf", _invoice()),
    "the head of a PDF": lambda: b"%PDF-1.7\n",
    "the head of a ZIP": lambda: b"PK\x03\x04",
    "a ZIP of texts": lambda: _zip_around("a.txt", b"x"),
    "another's ASiC-E": lambda: _zip_around(
        "META-INF/manifest.xml", b"<x/>", "mimetype", "contract.pdf", "META-INF/signatures0.xml"
    ),
    "a text": lambda: b"Dear Sir or Madam,\n" * 50,
    "our own description": (Path(__file__).parents[2] / "docs/formats.md").read_bytes,
    "a file out of a proof": lambda: make_record().readme(),
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_was_never_a_proof_is_said_to_be_none(name: str) -> None:
    with pytest.raises(ParseError, match="not a proof of objection") as caught:
        verify_file(OTHERS[name]())
    assert caught.value.code == "file_unrecognised"


def _stream(data: bytes) -> bytes:
    return b"1 0 obj\n<<>>\nstream\n" + data + b"\nendstream\nendobj\n"


_MIB = 1 << 20
_BOMB = b"<</FlateDecode>>stream\n" + zlib.compress(bytes(_MIB - 1)) + b"\nendstream\n"
_TOO_LARGE = b"<</FlateDecode>>stream\n" + zlib.compress(bytes(_MIB + 1)) + b"\nendstream\n"
_RANGES = b"beginbfrange " + b"<0000> <ffff> <0000>\n" * 12_000 + b"endbfrange"


def _zip_of(number: int, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in range(number):
            archive.writestr(f"{each}.pdf", data)
    return out.getvalue()


_ENTRY = b"PK\x01\x02" + bytes(6) + b"\0\0\x08\0" + bytes(8) + b"\0\0\0\x01" + bytes(4) + b"\1\0" + bytes(16) + b"x"
HOSTILE = {
    "streams that do not end": b"%PDF-1.7\n" + b"stream\n" * (2 * _MIB),
    "streams that end once": b"%PDF-1.7\n" + b"stream\n" * (2 * _MIB) + b"endstream",
    "brackets": b"%PDF-1.7\n" + _stream(b"Tj " + b"(" * _MIB) + _stream(b"Tj " + b"<0" * _MIB),
    "ranges": b"%PDF-1.7\n" + _stream(b"beginbfrange " + b"<0000> <ffff> <0000>\n" * 40_000 + b"endbfrange") * 8,
    "nested base64": base64.b64encode(base64.b64encode(b"%PDF-" * 1_000_000)),
    "bombs": b"%PDF-1.7\n" + b"<</FlateDecode>>stream\n" + zlib.compress(bytes(200 * _MIB)) + b"\nendstream",
    "bombs that are too large": b"%PDF-1.7\n" + _TOO_LARGE * 4000,
    "bombs in PDFs in a ZIP": _zip_of(1000, b"%PDF-1.7\n" + _BOMB * 16),
    "ranges in PDFs in a ZIP": _zip_of(40, b"%PDF-1.7\n" + _stream(_RANGES)),
    "strings that do not end": b"%PDF-1.7\n" + _stream(b"Tj " + b"(\\" * (_MIB // 2)),
    "a string that does not end": b"%PDF-1.7\n" + _stream(b"Tj " + b"(x" + b"\\(" * (_MIB // 2 - 4) + b"\\"),
    "lists that do not end": b"%PDF-1.7\n" + _stream(b"beginbfchar " * 20_000),
    "lists of lists that do not end": b"%PDF-1.7\n" + _stream(b"beginbfrange " + b"<00><00>[" * 28_000 + b"endbfrange"),
    "a directory of one place": b"PK\x03\x04"
    + bytes(8 * _MIB)
    + _ENTRY * 1024
    + b"PK\x05\x06"
    + bytes(4)
    + b"\0\4\0\4"
    + bytes(4)
    + (8 * _MIB + 4).to_bytes(4, "little")
    + b"\0\0",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_looking_is_bounded(name: str) -> None:
    """The worst cost less than half a second here; a whole proof costs a tenth of one."""
    start = time.process_time()
    with pytest.raises(ParseError):
        refuse_other(HOSTILE[name])
    assert time.process_time() - start < 3


def test_a_print_is_known_where_resources_name_pictures_and_spaces_do_not_break() -> None:
    """As many programs write: ``/ProcSet`` before the page, and the space's glyph taken for a no-break space."""
    letters = {letter: f"{at:04x}" for at, letter in enumerate(sorted(set("objection verify")), 1)}
    listed = " ".join(f"<{code}> <{ord(letter):04x}>" for letter, code in letters.items()).replace("<0020>", "<00A0>")
    shown = "".join(letters[letter] for letter in "objection verify")
    resources = b"3 0 obj\n<</ProcSet[/PDF/Text/ImageB/ImageC/ImageI]>>\nendobj\n"
    page = resources + _stream(f"[<{shown}>] TJ".encode())
    font = resources + _stream(f"beginbfchar {listed} endbfchar".encode())
    _is_a_copy(b"%PDF-1.4\n" + page + font, "print")
    with pytest.raises(ParseError, match="not a proof"):
        verify_file(b"%PDF-1.4\n" + page + font.replace(b"<0001>", b"<0011>"))
