"""The signed certificate, read as a sceptic reads it: one signature, over every byte, and the files that it carries.

Needs neither typst nor a network, and trusts nobody: whose key signed is for the caller to compare.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from schemas.vocabulary import MAX_EVIDENCE_TOTAL_BYTES
from server.bundles.pdf import Name, PdfObject, Reference, Section, malformed, parse_pdf, same_value, walk
from server.core.certificates import Certificate, is_named_by, parse_certificate
from server.core.cms import (
    CONTENT_TYPE,
    MESSAGE_DIGEST,
    SIGNING_CERTIFICATE_V2,
    UnverifiedCms,
    names_certificate,
    parse_cms,
    read_attribute,
    verify_cms,
)
from server.core.der import Der, Members
from server.core.jws import PublicKey
from server.core.signatures import parse_key
from server.errors import ObjectionError, VerificationError

PDF_MAGIC = b"%PDF-"
# What may unpack is bounded as a whole: evidence, and what the register adds to it.
MAX_UNPACKED_BYTES = MAX_EVIDENCE_TOTAL_BYTES + 4_194_304
MAX_FILES = 512
_FILE_NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9./-]{0,119}")
_DATE = re.compile(rb"D:([0-9]{14})Z")
_TRAILER = {"Size", "Root", "Info", "ID"}
# What makes a document act, or look different from what was signed. We write none of it.
_ACTIVE = {"JS", "JavaScript", "AA", "OpenAction", "XFA", "RichMedia", "Encrypt", "OCProperties", "Collection"}
_DATA, _SIGNATURE_TIME = "1.2.840.113549.1.7.1", "1.2.840.113549.1.9.16.2.14"
_SIGNED_ATTRIBUTES = {CONTENT_TYPE, MESSAGE_DIGEST, SIGNING_CERTIFICATE_V2}
_DIGEST_BYTES = 32
_MAX_CERTIFICATES = 16


@dataclass(frozen=True)
class DocumentContents:
    """What a signed document holds.

    ``files``: the attached files by name, ``manifest.json`` among them; compare them with it. ``signer_key``: compare
    it with the policy. ``timestamp``: a TimeStampToken over ``signature``, or None.
    """

    files: Mapping[str, bytes]
    signer_key: PublicKey
    signature: bytes
    timestamp: bytes | None


def read_document(raw: bytes) -> DocumentContents:
    """Return what the certificate in ``raw`` holds, once its one signature holds for the whole file.

    Raises ParseError ``document_malformed`` for what we do not write; VerificationError ``document_altered`` when bytes
    were changed or added after signing, ``document_signature_invalid`` when it is not signed, or not as it should be.
    """
    sections = parse_pdf(raw)
    if len(sections) > 2:
        raise VerificationError("document_altered", "something was added after the document was signed")
    if len(sections) < 2:
        raise VerificationError("document_signature_invalid", "the document is not signed")
    page, update = sections
    objects = {number: item for section in sections for number, item in section.objects.items()}
    field = _verify_update(page, update, objects)
    signature = _dictionary(objects, field.get("V"))
    _refuse_bad_date(signature.get("M"))
    covered, der = _verify_coverage(raw, update, field["V"], signature)
    signer = verify_document_signature(der, covered)
    everything = [item for section in sections for item in section.objects.values()]
    files = _read_files(objects, _dictionary(objects, update.trailer["Root"]), everything)
    return DocumentContents(
        files=files,
        signer_key=signer.key,
        signature=signer.signature,
        timestamp=signer.timestamp,
    )


def _dictionary(objects: Mapping[int, PdfObject], reference: object) -> dict[str, Any]:
    """Return the dictionary that ``reference`` leads to; it must be a reference, and to a plain dictionary."""
    item = objects.get(reference.number) if isinstance(reference, Reference) else None
    if item is None or not isinstance(item.value, dict) or item.stream is not None:
        raise malformed("a part of the document leads nowhere")
    return item.value


def _verify_update(page: Section, update: Section, objects: Mapping[int, PdfObject]) -> dict[str, Any]:
    """Return the signature's field once the update adds a signature to the page, and changes nothing else."""
    if page.trailer.keys() != _TRAILER or update.trailer.keys() != _TRAILER | {"Prev"}:
        raise malformed("a trailer says more or less than it should")
    root = update.trailer["Root"]
    if root != page.trailer["Root"] or update.trailer["Info"] != page.trailer["Info"]:
        raise malformed("the signature's update replaces the document")
    old, new = _dictionary(page.objects, root), _dictionary(objects, root)
    form = _dictionary(objects, new.get("AcroForm"))
    fields: Any = form.get("Fields")
    if (
        not same_value(new, old | {"AcroForm": new["AcroForm"]})
        or form.keys() != {"Fields", "SigFlags"}
        or not _is_one(fields)
    ):
        raise malformed("the document has more forms than one signature")
    field = _dictionary(objects, fields[0])
    if field.get("FT") != "Sig" or not isinstance(field.get("V"), Reference) or "Kids" in field:
        raise malformed("the document's form is not a signature")
    for number in update.objects.keys() & page.objects.keys() - {root.number}:
        before, after = (_dictionary(section.objects, Reference(number)) for section in (page, update))
        annotations = before.get("Annots", [])
        if before.get("Type") != "Page" or not isinstance(annotations, list):
            raise malformed("the signature's update changes more than the page's list of fields")
        if not same_value(after, before | {"Annots": [*annotations, fields[0]]}):
            raise malformed("the signature's update changes more than the page's list of fields")
    for item in (*page.objects.values(), *update.objects.values()):
        for dictionary in walk(item.value):
            _refuse_unwritten(dictionary, is_signature=item.number == field["V"].number)
    return field


def _is_one(fields: object) -> bool:
    return isinstance(fields, list) and len(fields) == 1


# Compared with tuples, not sets: what stands in a document may be a list, which has no hash.
def _refuse_unwritten(dictionary: Mapping[str, Any], *, is_signature: bool) -> None:
    if found := _ACTIVE & dictionary.keys():
        raise malformed(f"the document contains {', '.join(sorted(found))}, which the register does not write")
    if dictionary.get("Type") in ("ObjStm", "XRef") or dictionary.get("S") in ("Launch", "SubmitForm", "ImportData"):
        raise malformed("the document is built in another way than the register's")
    if "ByteRange" in dictionary and not is_signature:
        raise malformed("the document has more than one signature")


def _refuse_bad_date(value: object) -> None:
    date = _DATE.fullmatch(value) if isinstance(value, bytes) else None
    if date is None:
        raise malformed("the signature has no date in UTC")
    try:
        datetime.strptime(date[1].decode(), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError as error:
        raise malformed("the signature's date is none") from error


def _verify_coverage(
    raw: bytes, update: Section, reference: Reference, signature: Mapping[str, Any]
) -> tuple[bytes, bytes]:
    """Return all bytes but the signature's own, and the signature: the only ones that it leaves out."""
    form = {"Type", "Filter", "SubFilter", "Contents", "ByteRange", "M"}
    if signature.keys() != form or signature["SubFilter"] != "ETSI.CAdES.detached" or signature["Type"] != "Sig":
        raise malformed("the signature is not of the form that PAdES wants")
    holder, contents, ranges = update.objects.get(reference.number), signature["Contents"], signature["ByteRange"]
    if holder is None or not isinstance(contents, bytes) or not _are_numbers(ranges):
        raise malformed("the signature is not of the form that PAdES wants")
    start, first, second, rest = ranges
    if start != 0 or not holder.start < first < second < holder.end or second + rest != len(raw):
        raise VerificationError("document_altered", "the signature does not cover the whole document")
    der = contents[: _der_length(contents)]
    # As it was written, to the letter: nothing else may hide in the only place that the hash leaves out.
    if raw[first:second] != b"<" + der.hex().upper().encode() + b"0" * (2 * (len(contents) - len(der))) + b">":
        raise VerificationError("document_altered", "the signature leaves out more than itself")
    return raw[:first] + raw[second:], der


def _are_numbers(ranges: object) -> bool:
    return isinstance(ranges, list) and len(ranges) == 4 and all(type(n) is int and n >= 0 for n in ranges)


def _der_length(data: bytes) -> int:
    """Return how long the DER SEQUENCE at the start of ``data`` is: zeros fill the place kept for it."""
    octets = data[1] & 0x7F if data[:1] == b"\x30" and len(data) > 4 and 0x81 <= data[1] <= 0x83 else 0
    length = 2 + octets + int.from_bytes(data[2 : 2 + octets])
    if not octets or length > len(data):
        raise malformed("the signature is no CMS structure")
    return length


@dataclass(frozen=True)
class DocumentSigner:
    """Who signed a document. ``timestamp``: a TimeStampToken over ``signature``; nobody signs that it is there."""

    key: PublicKey
    signature: bytes
    timestamp: bytes | None


def verify_document_signature(der: bytes, covered: bytes) -> DocumentSigner:
    """Return who signed ``covered``, once the CMS in ``der`` is a PAdES signature as docs/formats.md has it.

    Raises the codes of ``read_document``.
    """
    try:
        cms = parse_cms(der)
        _refuse_unusual(cms)
        timestamp = _timestamp(cms.unsigned)
        certificate = _signer_certificate(cms)
    except ObjectionError as error:
        raise malformed(f"the signature is no CMS structure such as PAdES wants: {error}") from error
    try:
        key = parse_key(certificate.public_key_info)
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise VerificationError("document_signature_invalid", "signed with another kind of key than P-256")
        invalid, altered = "document_signature_invalid", "document_altered"
        verify_cms(cms, certificate, key, covered, code=invalid, other=altered)
    except ObjectionError as error:
        code = error.code if error.code.startswith("document_") else "document_signature_invalid"
        raise VerificationError(code, f"the document's signature: {error}") from error
    return DocumentSigner(key, cms.signature, timestamp)


def _refuse_unusual(cms: UnverifiedCms) -> None:
    if cms.content_type != _DATA or cms.content is not None:
        raise malformed("it carries content")
    if cms.revocations is not None:  # nobody signs them: anything could be in there
        raise malformed("it carries lists of revoked certificates")
    if cms.attributes.keys() != _SIGNED_ATTRIBUTES or any(len(values) != 1 for values in cms.attributes.values()):
        raise malformed("it signs other attributes than PAdES wants")
    digests = cms.attributes[MESSAGE_DIGEST]
    if len(digests[0].content) != _DIGEST_BYTES:
        raise malformed("it signs another digest than SHA-256")


def _signer_certificate(cms: UnverifiedCms) -> Certificate:
    """Return the one certificate, of those carried, whose hash the signature names. The others are not read."""
    carried = [] if cms.certificates is None else Members(cms.certificates).rest()
    if len(carried) > _MAX_CERTIFICATES:
        raise malformed(f"it carries more than {_MAX_CERTIFICATES} certificates")
    wanted = [each.raw for each in carried if names_certificate(cms, each.raw)]
    if len(wanted) != 1:
        raise malformed("it does not carry the one certificate that it names")
    certificate = parse_certificate(wanted[0])
    if not is_named_by(certificate, cms.identifier):
        raise malformed("it calls its signer otherwise than the certificate does")
    return certificate


def _timestamp(unsigned: Der | None) -> bytes | None:
    if unsigned is None:
        return None
    attributes = [read_attribute(each) for each in Members(unsigned).rest()]
    if [name for name, _ in attributes] != [_SIGNATURE_TIME] or len(attributes[0][1]) != 1:
        raise malformed("it has unsigned attributes other than one time stamp")
    return attributes[0][1][0].raw


def _read_files(
    objects: Mapping[int, PdfObject], catalog: Mapping[str, Any], everything: list[PdfObject]
) -> dict[str, bytes]:
    """Return the files attached to the document by name, once they are all that is embedded anywhere in it."""
    names = catalog.get("Names")
    tree = names.get("EmbeddedFiles") if isinstance(names, dict) else None
    pairs = tree.get("Names") if isinstance(tree, dict) and tree.keys() == {"Names"} else None
    if not isinstance(pairs, list) or len(pairs) % 2 or not 0 < len(pairs) <= 2 * MAX_FILES:
        raise malformed(f"the document does not list its 1 to {MAX_FILES} files in one list")
    files: dict[str, bytes] = {}
    streams: set[int] = set()
    left = MAX_UNPACKED_BYTES
    for name, reference in zip(pairs[::2], pairs[1::2], strict=True):
        if not isinstance(name, bytes) or not _FILE_NAME.fullmatch(name) or name.decode() in files:
            raise malformed("a file has a name twice, or one that is not plain")
        stream = _file_stream(objects, name, _dictionary(objects, reference))
        if stream.number in streams:
            raise malformed("two names lead to one file")
        streams.add(stream.number)
        files[name.decode()] = _inflate(stream, name.decode(), left)
        left -= len(files[name.decode()])
    listed = catalog.get("AF")
    if not isinstance(listed, list) or sorted(listed, key=repr) != sorted(pairs[1::2], key=repr):
        raise malformed("the files are not those associated with the document")
    _refuse_other_files(everything, len(files))
    return files


def _file_stream(objects: Mapping[int, PdfObject], name: bytes, specification: Mapping[str, Any]) -> PdfObject:
    embedded = specification.get("EF")
    if specification.get("Type") != "Filespec" or not isinstance(embedded, dict) or embedded.keys() != {"F", "UF"}:
        raise malformed("a file is not attached as PDF/A-3 wants")
    if specification.get("F") != name or specification.get("UF") != name or embedded["F"] != embedded["UF"]:
        raise malformed("a file is known by two names")
    stream = objects.get(embedded["F"].number) if isinstance(embedded["F"], Reference) else None
    if stream is None or stream.stream is None or stream.value.get("Type") != "EmbeddedFile":
        raise malformed("a file's name leads to no file")
    return stream


def _inflate(stream: PdfObject, name: str, left: int) -> bytes:
    packed, how, parameters = stream.stream or b"", stream.value.get("Filter"), stream.value.get("Params")
    size = parameters.get("Size") if isinstance(parameters, dict) else None
    if type(size) is not int or not 0 <= size <= left or how not in (None, Name("FlateDecode")):
        raise malformed(f"the files unpack to more than {MAX_UNPACKED_BYTES} bytes, or not by deflate")
    if "DecodeParms" in stream.value or "F" in stream.value:
        raise malformed(f"{name} is packed in another way than the register packs")
    data = packed
    if how is not None:
        inflater = zlib.decompressobj()
        try:
            data = inflater.decompress(packed, size + 1)
        except zlib.error as error:
            raise malformed(f"{name} does not unpack") from error
        if not inflater.eof or inflater.unused_data:
            raise malformed(f"{name} has another size than it says")
    if len(data) != size:
        raise malformed(f"{name} has another size than it says")
    return data


def _refuse_other_files(everything: list[PdfObject], count: int) -> None:
    """Older versions of an object count, too: nothing may be embedded that the list does not name."""
    embedded = sum(item.stream is not None and item.value.get("Type") == "EmbeddedFile" for item in everything)
    specified = sum("EF" in dictionary for item in everything for dictionary in walk(item.value))
    if embedded != count or specified != count:
        raise malformed("the document embeds files that it does not list")
