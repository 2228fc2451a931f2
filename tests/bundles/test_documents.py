"""The signed certificate: what independent readers see in it, and what ours refuses."""

import dataclasses
import io
import random
import re
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pikepdf
import pytest
from asn1crypto import cms
from cryptography.hazmat.primitives.asymmetric import ec
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader

from server.bundles import documents
from server.bundles.certificate import set_certificate
from server.bundles.documents import DocumentContents, read_document, verify_document_signature
from server.bundles.pdf import MAX_DOCUMENT_BYTES, Name, parse_pdf, same_value
from server.bundles.signing import DocumentSigner, make_document, sign_document
from server.core import der
from server.core.timestamps import embedded_authority, verify_timestamp
from server.errors import ObjectionError, ParseError, VerificationError
from tests.fixtures import make_stamp_vectors as stamp_vectors
from tests.fixtures.documents import Case, make_case, make_signer
from tests.fixtures.liars import pyhanko_signer, sign_anything
from tests.fixtures.pdfs import Objects, add, find, objects_of, replace, rewrite
from tests.fixtures.records import SIGNED_AT

AT = SIGNED_AT + 200_000


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case()


@pytest.fixture(scope="module")
def signer() -> DocumentSigner:
    return make_signer()


@pytest.fixture(scope="module")
def unsigned() -> bytes:
    small = make_case(evidence={"notice.txt": b"A notice."})
    return set_certificate(small.facts, small.files, "en")


@pytest.fixture(scope="module")
def document(case: Case, signer: DocumentSigner) -> bytes:
    return make_document(case.facts, case.files, "en", signer=signer, at=AT)


@pytest.fixture(scope="module")
def small(unsigned: bytes, signer: DocumentSigner) -> bytes:
    return sign_document(unsigned, signer=signer, at=AT)


def code_of(raw: bytes) -> str:
    with pytest.raises(ObjectionError) as caught:
        read_document(raw)
    assert isinstance(caught.value, ParseError | VerificationError)
    return caught.value.code


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def test_what_was_signed_is_read_back(case: Case, signer: DocumentSigner, document: bytes) -> None:
    found = read_document(document)
    assert found.files == {name: file.data for name, file in case.files.items()}
    assert found.signer_key == signer.key.public_key()


def test_the_time_stamp_is_over_the_signature(document: bytes) -> None:
    found = read_document(document)
    assert found.timestamp is not None
    trusted = embedded_authority(found.timestamp)
    assert verify_timestamp(found.timestamp, found.signature, trusted=trusted).at == SIGNED_AT
    with pytest.raises(VerificationError):
        verify_timestamp(found.timestamp, b"other bytes", trusted=trusted)


def test_poppler_sees_one_valid_signature_over_the_whole_file(document: bytes, tmp_path: Path) -> None:
    (tmp_path / "proof.pdf").write_bytes(document)
    seen = run("pdfsig", "-nocert", str(tmp_path / "proof.pdf"))
    assert seen.count("Signature #") == 1
    for fact in ("Signature is Valid", "Total document signed", "ETSI.CAdES.detached", "SHA-256", "CN=Test register"):
        assert fact in seen
    altered = document.replace(b"(Register)", b"(Registar)")
    assert altered != document
    (tmp_path / "altered.pdf").write_bytes(altered)
    assert "Signature is Valid" not in run("pdfsig", "-nocert", str(tmp_path / "altered.pdf"))
    assert code_of(altered) == "document_altered"


def test_qpdf_finds_no_fault(document: bytes, tmp_path: Path) -> None:
    (tmp_path / "proof.pdf").write_bytes(document)
    assert "No syntax or stream encoding errors" in run("qpdf", "--check", str(tmp_path / "proof.pdf"))


def test_others_extract_the_same_files(case: Case, document: bytes, tmp_path: Path) -> None:
    wanted = {name: file.data for name, file in case.files.items()}
    with pikepdf.open(io.BytesIO(document)) as opened:
        assert {name: item.get_file().read_bytes() for name, item in opened.attachments.items()} == wanted
        types = {name: item.get_file().mime_type for name, item in opened.attachments.items()}
    assert types == {name: file.media_type.partition(";")[0] for name, file in case.files.items()}
    (tmp_path / "proof.pdf").write_bytes(document)
    listed = run("pdfdetach", "-list", str(tmp_path / "proof.pdf"))
    assert {line.partition(": ")[2] for line in listed.splitlines()[1:]} == wanted.keys()
    run("pdfdetach", "-savefile", "evidence/screenshot.png", "-o", str(tmp_path / "x"), str(tmp_path / "proof.pdf"))
    assert (tmp_path / "x").read_bytes() == wanted["evidence/screenshot.png"]


def test_pyhanko_agrees(document: bytes) -> None:
    (signature,) = PdfFileReader(io.BytesIO(document)).embedded_regular_signatures
    signature.compute_integrity_info()
    assert signature.evaluate_signature_coverage().name == "ENTIRE_FILE"
    assert signature.compute_digest() == signature.signer_info["signed_attrs"][1]["values"][0].native


def test_reading_needs_neither_typesetter_nor_signer_nor_web() -> None:
    """Nor a parser in native code: a panic there is no Exception, and would end the verifier."""
    script = (
        "import sys, server.usecases.verify_bundle;"
        "print([m for m in ('typst', 'pyhanko', 'segno', 'PIL', 'flask', 'sqlalchemy', 'aiohttp', 'urllib3',"
        " 'asn1crypto', 'cryptography.x509') if m in sys.modules])"
    )
    assert run(sys.executable, "-c", script) == "[]\n"


def test_what_is_not_signed_is_refused(unsigned: bytes) -> None:
    assert code_of(unsigned) == "document_signature_invalid"


def test_whatever_is_added_after_signing_is_noticed(small: bytes, signer: DocumentSigner) -> None:
    assert code_of(small + b"x") == "document_malformed"
    assert code_of(small + b"\n") == "document_malformed"
    writer = IncrementalPdfFileWriter(io.BytesIO(small))
    writer.root["/Extra"] = writer.root["/Lang"]
    writer.update_root()
    writer.write_in_place()
    assert code_of(writer.prev.stream.getvalue()) == "document_altered"  # type: ignore[attr-defined]


def test_a_second_signature_is_refused(small: bytes, signer: DocumentSigner) -> None:
    writer = IncrementalPdfFileWriter(io.BytesIO(small))
    from pyhanko.sign import fields, signers

    metadata = signers.PdfSignatureMetadata(field_name="Second", md_algorithm="sha256")
    out = signers.PdfSigner(metadata, pyhanko_signer(signer), new_field_spec=fields.SigFieldSpec("Second")).sign_pdf(
        writer
    )
    assert code_of(out.getvalue()) == "document_altered"


def test_but_for_the_time_stamp_a_signed_document_is_a_function_of_what_went_in(
    unsigned: bytes, signer: DocumentSigner
) -> None:
    signers = (signer, make_signer())
    fixed, other = (dataclasses.replace(each, stamp=lambda _: bytes.fromhex("3000")) for each in signers)
    first, of_another, again = (sign_document(unsigned, signer=each, at=AT) for each in (fixed, other, fixed))
    assert first == again != of_another
    assert sign_document(unsigned, signer=fixed, at=AT + 1) != first
    assert read_document(of_another).signer_key == other.key.public_key()


def test_what_is_signed_already_or_is_no_document_is_not_signed(small: bytes, signer: DocumentSigner) -> None:
    for raw in (small, b"%PDF-1.7\n", small[:-100]):
        with pytest.raises(ParseError) as caught:
            sign_document(raw, signer=signer, at=AT)
        assert caught.value.code == "document_malformed"


def test_another_kind_of_key_is_refused(unsigned: bytes) -> None:
    raw = sign_document(unsigned, signer=make_signer(key=ec.generate_private_key(ec.SECP384R1())), at=AT)
    assert code_of(raw) == "document_signature_invalid"


def contents_of(raw: bytes) -> tuple[int, int]:
    """Return where the signature's digits begin and end."""
    digits = re.search(rb"/Contents <([0-9A-F]+)>", raw)
    assert digits is not None
    return digits.span(1)


def with_cms(raw: bytes, der: bytes) -> bytes:
    start, end = contents_of(raw)
    return raw[:start] + der.hex().upper().encode().ljust(end - start, b"0") + raw[end:]


def cms_of(raw: bytes) -> bytes:
    start, end = contents_of(raw)
    padded = bytes.fromhex(raw[start:end].decode())
    return padded[: documents._der_length(padded)]


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_a_signature_that_does_not_hold_is_refused(small: bytes) -> None:
    # Put in by hand: asn1crypto may take minutes to write anew what holds a time token.
    der, value = cms_of(small), read_document(small).signature
    assert der.count(value) == 1
    other = with_cms(small, der.replace(value, flip(value, 20)))
    assert code_of(other) in {"document_signature_invalid", "document_malformed"}


def test_a_signature_over_another_document_is_refused(small: bytes, document: bytes) -> None:
    assert code_of(with_cms(small, cms_of(document))) == "document_altered"


def test_bytes_behind_the_signature_are_refused(small: bytes) -> None:
    der = cms_of(small)
    assert code_of(with_cms(small, der + b"\x01")) == "document_altered"
    start, end = contents_of(small)
    assert code_of(small[:start] + small[start:end].lower() + small[end:]) == "document_altered"


def test_a_range_that_leaves_out_more_is_refused(small: bytes) -> None:
    ranges = re.search(rb"/ByteRange \[0 ([0-9]+) ([0-9]+) ([0-9]+)\]", small)
    assert ranges is not None
    first, second, rest = (int(number) for number in ranges.groups())
    for changed in ((first - 1, second, rest), (first, second + 1, rest - 1), (first, second, rest - 1)):
        text = b"/ByteRange [0 %d %d %d]" % changed
        raw = small.replace(ranges[0], text.ljust(len(ranges[0]))[: len(ranges[0])])
        assert len(raw) == len(small)
        assert code_of(raw) == "document_altered"


def test_a_signature_without_a_time_stamp_is_read(small: bytes) -> None:
    der = cms_of(small)
    content = cms.ContentInfo.load(der)
    stamp = content["content"]["signer_infos"][0]["unsigned_attrs"].dump()
    assert der.endswith(stamp)
    bare = der.removesuffix(stamp)
    # Every SEQUENCE and SET around it becomes shorter by as much; they all have lengths of two bytes.
    for at in [found.start() for found in re.finditer(rb"[\x30\x31\xa0]\x82", bare)]:
        length = int.from_bytes(bare[at + 2 : at + 4])
        if at + 4 + length == len(der):
            bare = bare[: at + 2] + (length - len(stamp)).to_bytes(2) + bare[at + 4 :]
    assert read_document(with_cms(small, bare)).timestamp is None


def rebuilt(raw: bytes, *, certificates: Sequence[bytes] | None = None, behind: bytes = b"") -> bytes:
    """Return the document with other certificates in its signature, and with more behind them; nobody signs either."""
    info = cms.ContentInfo.load(cms_of(raw))
    signed = info["content"]
    kept = [each.dump() for each in signed["certificates"]] if certificates is None else certificates
    parts = [signed[name].dump() for name in ("version", "digest_algorithms", "encap_content_info")]
    parts += [_der(0xA0, b"".join(sorted(kept))), behind, signed["signer_infos"].dump()]
    return with_cms(raw, _der(0x30, info["content_type"].dump() + _der(0xA0, _der(0x30, b"".join(parts)))))


def _der(tag: int, body: bytes) -> bytes:
    return bytes([tag, 0x82]) + len(body).to_bytes(2) + body if len(body) > 255 else bytes([tag, len(body)]) + body


def _own_certificate(raw: bytes, signer: DocumentSigner) -> bytes:
    (own,) = [
        each.dump()
        for each in cms.ContentInfo.load(cms_of(raw))["content"]["certificates"]
        if each.dump() == signer.certificate
    ]
    return own


def test_lists_of_revoked_certificates_are_refused_for_anything_could_be_in_them(small: bytes) -> None:
    hidden = _der(0xA1, _der(0xA1, b"\x06\x02\x2a\x03" + _der(0x04, b"HIDDEN TEXT " * 20)))
    assert rebuilt(small) == small
    assert code_of(rebuilt(small, behind=hidden)) == "document_malformed"
    assert code_of(rebuilt(small, behind=b"\xa1\x00")) == "document_malformed"


@pytest.mark.parametrize("count", [17, 2_000, 400_000])
def test_many_certificates_cost_no_more_than_a_thousand(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is counted in values that were read, not in seconds."""
    read, value_at = [0], der._value_at

    def counted(raw: bytes, at: int) -> der.Der:
        read[0] += 1
        return value_at(raw, at)

    monkeypatch.setattr(der, "_value_at", counted)
    own = stamp_vectors.OWN
    message = stamp_vectors.cms(
        b"covered",
        content_type=stamp_vectors.PLAIN_DATA,
        detached=True,
        certificates=stamp_vectors.tlv(0xA0, own, b"\x30\x00" * count),
    )
    with pytest.raises(ParseError) as caught:
        verify_document_signature(message, b"covered")
    assert caught.value.code == "document_malformed"
    assert read[0] < 1_100


def test_a_certificate_above_that_cannot_be_read_is_not_read(small: bytes, signer: DocumentSigner) -> None:
    junk = _der(0x30, _der(0x04, b"no certificate"))
    assert survives(rebuilt(small, certificates=[_own_certificate(small, signer), junk])) is not None


def test_a_signer_named_otherwise_than_its_certificate_is_refused(small: bytes) -> None:
    assert code_of(signed_in_another_name(small)) == "document_malformed"


def signed_in_another_name(raw: bytes) -> bytes:
    """Return the document with another serial number of its signer, which nobody signs."""
    der = cms_of(raw)
    name = cms.ContentInfo.load(der)["content"]["signer_infos"][0]["sid"].chosen.dump()
    assert der.count(name) == 1
    return with_cms(raw, flip(der, der.index(name) + len(name) - 1))


# Documents that somebody wrote with care and signed with their own key: the signature holds, the document lies.
def _names(objects: Objects, old: bytes, new: bytes) -> None:
    replace(objects, b"/Type/Catalog", old, new)


def _hidden_file(objects: Objects) -> None:
    stream = add(objects, b"<</Type/EmbeddedFile/Params<</Size 1>>/Length 1>>\nstream\nx\nendstream")
    add(objects, b"<</Type/Filespec/F(x.txt)/UF(x.txt)/EF<</F %d 0 R/UF %d 0 R>>>>" % (stream, stream))


def _hidden_stream(objects: Objects) -> None:
    add(objects, b"<</Type/EmbeddedFile/Params<</Size 1>>/Length 1>>\nstream\nx\nendstream")


def _notice(objects: Objects) -> bytes:
    """Return the reference to the attached notice's stream, as written."""
    found = re.search(rb"/EF<</F ([0-9]+) 0 R", objects[find(objects, b"/UF(evidence/notice.txt)")])
    assert found is not None
    return found[1]


def _stream(objects: Objects, dictionary: bytes, data: bytes) -> None:
    number = int(_notice(objects))
    objects[number] = b"%d 0 obj\n<</Type/EmbeddedFile%s/Length %d>>\nstream\n%s\nendstream\nendobj\n" % (
        number,
        dictionary,
        len(data),
        data,
    )


def _two_names_one_file(objects: Objects) -> None:
    receipt = re.search(rb"/EF<</F ([0-9]+) 0 R", objects[find(objects, b"/UF(receipt.jws)")])
    assert receipt is not None
    number = find(objects, b"/UF(evidence/notice.txt)")
    objects[number] = objects[number].replace(_notice(objects) + b" 0 R", receipt[1] + b" 0 R")


def _add_to_catalog(text: bytes) -> Callable[[Objects], object]:
    return lambda objects: _names(objects, b"/Type/Catalog", b"/Type/Catalog" + text)


BOMB = zlib.compress(bytes(30_000_000))
LIES: dict[str, Callable[[Objects], object]] = {
    "file that is not listed": _hidden_file,
    "stream that is not listed": _hidden_stream,
    "two names for one file": _two_names_one_file,
    "name twice": lambda o: _names(o, b"(evidence/notice.txt)", b"(receipt.jws)"),
    "name of the tree is not the file's": lambda o: replace(o, b"/UF(evidence/notice.txt)", b"/F(ev", b"/F(xv"),
    "unicode name is another": lambda o: replace(o, b"/UF(evidence/notice.txt)", b"/UF(ev", b"/UF(xv"),
    "name with a backslash": lambda o: [
        _names(o, b"(evidence/notice.txt)", b"(evidence\\\\notice.txt)"),
        replace(o, b"/UF(evidence/notice.txt)", b"(evidence/notice.txt)", b"(evidence\\\\notice.txt)"),
    ],
    "not associated": lambda o: _names(o, b"/AF[", b"/AF[1 0 R "),
    "list in two parts": lambda o: _names(o, b"/EmbeddedFiles<</Names[", b"/EmbeddedFiles<</Kids[]/Names["),
    "no files": lambda o: _names(o, b"/EmbeddedFiles", b"/EmbeddedFilez"),
    "script": _add_to_catalog(b"/OpenAction<</S/JavaScript/JS(app.alert\\(1\\))>>"),
    "script under another spelling": _add_to_catalog(b"/#4fpen#41ction<</S/JavaScript>>"),
    "launches a program": lambda o: add(o, b"<</Type/Action/S/Launch/F(calc.exe)>>"),
    "form of another kind": _add_to_catalog(b"/AcroForm<</Fields[]/XFA 1>>"),
    "encrypted": _add_to_catalog(b"/Encrypt 1 0 R"),
    "layers": _add_to_catalog(b"/OCProperties<<>>"),
    "object stream": lambda o: add(o, b"<</Type/ObjStm/N 1/First 4/Length 9>>\nstream\n9 0 <<>> \n\nendstream"),
    "range of a second signature": lambda o: add(o, b"<</Type/Sig/ByteRange[0 1 2 3]>>"),
    "bomb": lambda o: _stream(o, b"/Filter/FlateDecode/Params<</Size 30000000>>", BOMB),
    "bomb that says it is small": lambda o: _stream(o, b"/Filter/FlateDecode/Params<</Size 9>>", BOMB),
    "smaller than it says": lambda o: _stream(o, b"/Params<</Size 10>>", b"A notice."),
    "no size": lambda o: _stream(o, b"", b"A notice."),
    "negative size": lambda o: _stream(o, b"/Params<</Size -1>>", b"A notice."),
    "packed twice": lambda o: _stream(o, b"/Filter[/FlateDecode/FlateDecode]/Params<</Size 9>>", b"A notice."),
    "packed in another way": lambda o: _stream(o, b"/Filter/LZWDecode/Params<</Size 9>>", b"A notice."),
    "predictor": lambda o: _stream(o, b"/DecodeParms<<>>/Params<</Size 9>>", b"A notice."),
    "kept elsewhere": lambda o: _stream(o, b"/F(http://example.org)/Params<</Size 9>>", b"A notice."),
    "no deflate stream": lambda o: _stream(o, b"/Filter/FlateDecode/Params<</Size 9>>", b"A notice."),
    "bytes behind the deflate stream": lambda o: _stream(
        o, b"/Filter/FlateDecode/Params<</Size 9>>", zlib.compress(b"A notice.") + b"more"
    ),
}


@pytest.mark.parametrize("annotations", [b"5", b"true", b"1.5", b"null", b"7 0 R", b"<<>>"])
def test_a_page_whose_annotations_are_no_list_is_refused(annotations: bytes, unsigned: bytes) -> None:
    assert code_of(with_annotations(unsigned, annotations)) == "document_malformed"


def with_annotations(unsigned: bytes, annotations: bytes) -> bytes:
    """Return the document with such a page, and an update like a signature's: no tool would sign it."""
    page = re.compile(rb"/Type ?/Page(?!s)")

    def change(objects: Objects) -> None:
        (number, *_) = [number for number, raw in objects.items() if page.search(raw)]
        objects[number] = page.sub(b"/Type /Page/Annots " + annotations, objects[number], count=1)

    raw = rewrite(unsigned, change)
    (section,) = parse_pdf(raw)
    root, new = section.trailer["Root"].number, max(section.objects) + 1
    (paper, *_) = [number for number, item in objects_of(raw).items() if page.search(item)]
    objects = {number: raw[section.objects[number].start : section.objects[number].end] for number in (root, paper)}
    objects[root] = objects[root].replace(b"<<", b"<</AcroForm %d 0 R" % new, 1)
    for number, body in enumerate(
        (b"<</Fields[%d 0 R]/SigFlags 3>>" % (new + 1), b"<</FT/Sig/V %d 0 R>>" % (new + 2), b"<</Type/Sig>>")
    ):
        objects[new + number] = b"%d 0 obj\n%s\nendobj\n" % (new + number, body)
    before = int(raw.rsplit(b"startxref\n", 1)[1].split()[0])
    whole, table = raw + b"\n", b"xref\n"
    for number in sorted(objects):
        table += b"%d 1\n%010d 00000 n\r\n" % (number, len(whole))
        whole += objects[number]
    (trailer,) = re.findall(rb"trailer\n(.*)\nstartxref", raw, re.DOTALL)
    trailer = re.sub(rb"/Size [0-9]+", b"/Size %d" % (new + 3), trailer).replace(b"<<", b"<</Prev %d" % before, 1)
    whole += table + b"trailer\n%s\nstartxref\n%d\n%%%%EOF\n" % (trailer, len(whole))
    assert len(parse_pdf(whole)) == 2
    return whole


def test_values_that_python_takes_for_equal_are_not() -> None:
    values = [True, 1, 1.0, [1], {"A": 1}, {"A": True}, Name("1"), b"1", None]
    for one in values:
        assert [other for other in values if same_value(one, other)] == [one]
    assert same_value({"A": [1, {"B": 2.0}]}, {"A": [1, {"B": 2.0}]})


@pytest.mark.parametrize("lie", LIES)
def test_a_document_that_lies_is_refused_however_well_signed(lie: str, unsigned: bytes, signer: DocumentSigner) -> None:
    honest = sign_anything(rewrite(unsigned, lambda objects: None), signer=signer, at=AT)
    assert read_document(honest).files.keys() > {"receipt.jws", "evidence/notice.txt"}
    raw = rewrite(unsigned, LIES[lie])
    try:
        raw = sign_anything(raw, signer=signer, at=AT)
    except Exception:  # noqa: BLE001 (pyHanko refuses some of these itself; a liar would use another tool)
        assert code_of(raw) in {"document_malformed", "document_signature_invalid"}
        return
    tracemalloc.start()
    assert code_of(raw) == "document_malformed"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


def test_the_bomb_is_not_inflated_further_than_allowed(unsigned: bytes, signer: DocumentSigner) -> None:
    many = [b"/Filter/FlateDecode/Params<</Size %d>>" % size for size in (30_000_000, 9)]
    for parameters in many:
        raw = sign_anything(rewrite(unsigned, lambda o, p=parameters: _stream(o, p, BOMB)), signer=signer, at=AT)
        assert code_of(raw) == "document_malformed"


# Files that are no such documents at all.
def _deep(objects: Objects) -> None:
    add(objects, b"[" * 100_000 + b"]" * 100_000)


def _long(objects: Objects) -> None:
    add(objects, b"[" + b"0 " * 1_500_000 + b"]")


MALFORMED: dict[str, Callable[[Objects], object]] = {
    "nested deeply": _deep,
    "nested dictionaries": lambda o: add(o, b"<</A" * 50_000 + b">>" * 50_000),
    "endless string": lambda o: add(o, b"(" + b"(" * 1_000_000),
    "long list": _long,
    "comment": lambda o: add(o, b"% hello\n<<>>"),
    "key twice": lambda o: add(o, b"<</A 1/A 2>>"),
    "no name as key": lambda o: add(o, b"<<1 2>>"),
    "odd hexadecimal string": lambda o: add(o, b"<ABC>"),
    "unknown word": lambda o: add(o, b"endobj"),
    "stream longer than it is": lambda o: add(o, b"<</Length 99>>\nstream\nx\nendstream"),
    "stream of unknown length": lambda o: add(o, b"<</Length 1 0 R>>\nstream\nx\nendstream"),
    "object of another number": lambda o: o.__setitem__(1, o[1].replace(b"1 0 obj", b"9 0 obj")),
    "many objects": lambda o: [add(o, b"0") for _ in range(20_001)],
}


@pytest.mark.parametrize("defect", MALFORMED)
def test_what_the_register_does_not_write_is_refused_in_bounded_time(defect: str, unsigned: bytes) -> None:
    raw = rewrite(unsigned, MALFORMED[defect])
    start = time.perf_counter()
    assert code_of(raw) == "document_malformed"
    assert time.perf_counter() - start < 60


def test_bytes_between_objects_are_refused(unsigned: bytes) -> None:
    assert code_of(rewrite(unsigned, lambda objects: None, between=b"x")) == "document_malformed"


@pytest.mark.parametrize("raw", [b"", b"%PDF-", b"%PDF-1.7\n%\x80\x80\x80\x80\n", b"PK\x03\x04" * 9, bytes(1000)])
def test_what_is_no_document_is_refused(raw: bytes) -> None:
    assert code_of(raw) == "document_malformed"


def test_a_huge_file_is_refused(small: bytes) -> None:
    with pytest.raises(ParseError, match="at most 16777216 bytes"):
        read_document(small[:8] + bytes(MAX_DOCUMENT_BYTES))


def survives(raw: bytes) -> DocumentContents | None:
    try:
        return read_document(raw)
    except (ParseError, VerificationError):
        return None


def test_altered_documents_raise_nothing_but_our_errors(small: bytes) -> None:
    chance, start, honest = random.Random(32000), len(small) - 20_000, read_document(small)
    for round_number in range(160):
        altered = bytearray(small)
        for _ in range(chance.choice((1, 1, 4))):
            # Half of them in the signature and the tables behind it, where the reader decides most.
            altered[chance.randrange(start if round_number % 2 else 0, len(altered))] = chance.randrange(256)
        if round_number % 9 == 0:
            del altered[chance.randrange(len(altered)) :]
        found = survives(bytes(altered))
        # What nobody signed may change: the certificates above the signer's, and the time stamp.
        assert found is None or (found.files, found.signer_key) == (honest.files, honest.signer_key)


def test_altered_signatures_raise_nothing_but_our_errors(small: bytes) -> None:
    chance, der = random.Random(5652), cms_of(small)
    begin = time.perf_counter()
    for _ in range(120):
        altered = bytearray(der)
        for _ in range(chance.choice((1, 1, 3))):
            altered[chance.randrange(len(altered))] = chance.randrange(256)
        found = survives(with_cms(small, bytes(altered)))
        # What nobody signed may change: the certificates above the signer's, and the time stamp.
        assert found is None or found.files == read_document(small).files
    assert time.perf_counter() - begin < 120
