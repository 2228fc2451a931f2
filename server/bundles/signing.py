"""PAdES B-T (ETSI EN 319 142-1): the register's signature on the certificate, over the whole file.

Written by hand, as an update behind what typst wrote, in the one form that ``documents.py`` reads. A general signer
reads and rebuilds every structure several times on the way: for each proof, that took longer than to set its pages.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from server.bundles.certificate import CertificateFacts, set_certificate
from server.bundles.contents import BundledFile
from server.bundles.pdf import LastSection, PdfObject, malformed, read_last_section
from server.core.certificates import parse_certificate
from server.core.der import OCTET_STRING, SEQUENCE, SET, context, format_der
from server.core.encoding import sha256
from server.core.jws import PrivateKey

_FIELD = "Register"
_RESERVED_BYTES = 8_192  # a signature with two certificates and a time token has about 3 kB
_RANGE_WIDTH = 48  # of /ByteRange, whose numbers are known last
_PRINTED, _LOCKED = 4, 128  # flags of an annotation
_SIGNATURES_EXIST_AND_APPEND_ONLY = 3

_DATA = bytes.fromhex("06092a864886f70d010701")
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
_CONTENT_TYPE = bytes.fromhex("06092a864886f70d010903")
_MESSAGE_DIGEST = bytes.fromhex("06092a864886f70d010904")
_SIGNING_CERTIFICATE_V2 = bytes.fromhex("060b2a864886f70d010910022f")
_TIMESTAMP_TOKEN = bytes.fromhex("060b2a864886f70d010910020e")
_SHA256 = bytes.fromhex("300d06096086480165030402010500")
_ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
_VERSION_1 = bytes.fromhex("020101")


@dataclass(frozen=True)
class DocumentSigner:
    """Who signs: the register's key, its certificate (DER), the certificates above it, and a clock.

    ``stamp`` returns a TimeStampToken (DER) over the bytes it is given.
    """

    key: PrivateKey
    certificate: bytes
    chain: Sequence[bytes]
    stamp: Callable[[bytes], bytes]


def make_document(
    facts: CertificateFacts, files: Mapping[str, BundledFile], language: str, *, signer: DocumentSigner, at: int
) -> bytes:
    """Return the signed certificate, ``files`` attached. ``at``: now, by the register's clock.

    Everything but the time stamp is a function of the arguments.
    """
    return sign_document(set_certificate(facts, files, language), signer=signer, at=at)


def sign_document(unsigned: bytes, *, signer: DocumentSigner, at: int) -> bytes:
    """Return the PDF with one invisible signature dated ``at``, appended as its only update.

    Raises ParseError ``document_malformed`` for a PDF that typst would not write, or that has a form.
    """
    # typst ends without a line break, and what is appended must not stand on the line of %%EOF.
    prepared, first, second = _with_place_for_signature(unsigned.rstrip(b"\n") + b"\n", datetime.fromtimestamp(at, UTC))
    signature = _sign(sha256(prepared[:first] + prepared[second:]), signer)
    if len(signature) > _RESERVED_BYTES:
        raise ValueError(f"the signature has {len(signature)} bytes, and its place {_RESERVED_BYTES}")
    # In the only place that the hash leaves out: the signature in capital hex digits, and zeros.
    written = signature.hex().upper().ljust(2 * _RESERVED_BYTES, "0").encode()
    return prepared[: first + 1] + written + prepared[second - 1 :]


def _with_place_for_signature(unsigned: bytes, at: datetime) -> tuple[bytes, int, int]:
    """Return the document with an empty signature, and where the place for it begins and ends, brackets included."""
    last = read_last_section(unsigned)
    catalog, page = last.read(last.root), _first_page(last)
    size = last.size
    form, field, signature = size, size + 1, size + 2
    objects = {
        page.number: _with_entry(unsigned, page, f"/Annots[{field} 0 R]"),
        catalog.number: _with_entry(unsigned, catalog, f"/AcroForm {form} 0 R"),
        form: f"<</Fields[{field} 0 R]/SigFlags {_SIGNATURES_EXIST_AND_APPEND_ONLY}>>".encode(),
        field: (
            f"<</Type/Annot/Subtype/Widget/FT/Sig/T({_FIELD})/F {_PRINTED | _LOCKED}/Rect[0 0 0 0]"
            f"/P {page.number} 0 R/V {signature} 0 R>>"
        ).encode(),
        signature: (
            f"<</Type/Sig/Filter/Adobe.PPKLite/SubFilter/ETSI.CAdES.detached/M(D:{at:%Y%m%d%H%M%S}Z)"
            f"/ByteRange {' ' * _RANGE_WIDTH}/Contents <{'0' * 2 * _RESERVED_BYTES}>>>"
        ).encode(),
    }
    out, offsets = bytearray(unsigned), {}
    for number, body in objects.items():
        offsets[number] = len(out)
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    first = out.index(b"/Contents <", offsets[signature]) + len("/Contents ")
    second = first + 2 * _RESERVED_BYTES + len("<>")
    out += _format_table(offsets, last, start=len(out), identity=sha256(b"%b%d" % (unsigned, int(at.timestamp()))))
    numbers = f"[0 {first} {second} {len(out) - second}]".ljust(_RANGE_WIDTH).encode()
    at_range = out.index(b"/ByteRange ", offsets[signature]) + len("/ByteRange ")
    out[at_range : at_range + _RANGE_WIDTH] = numbers
    return bytes(out), first, second


def _first_page(last: LastSection) -> PdfObject:
    node = last.read(last.read(last.root).value.get("Pages"))
    while "Kids" in node.value:
        node = last.read(next(iter(node.value["Kids"]), None))
    return node


def _with_entry(raw: bytes, item: PdfObject, entry: str) -> bytes:
    """Return the dictionary ``item`` as it is written in ``raw``, with one more entry at its end."""
    key = entry[1:].partition(" ")[0].partition("[")[0]
    if not isinstance(item.value, dict) or item.stream is not None or key in item.value:
        raise malformed(f"the document has {key} before it is signed, or is built in another way")
    begin, end = raw.index(b"<<", item.start), raw.rindex(b">>", item.start, item.end)
    return raw[begin:end] + entry.encode() + b">>"


def _format_table(offsets: Mapping[int, int], last: LastSection, *, start: int, identity: bytes) -> bytes:
    lines = ["xref\n", "0 1\n0000000000 65535 f \n"]
    lines += [f"{number} 1\n{offset:010} 00000 n \n" for number, offset in sorted(offsets.items())]
    lines += [
        f"trailer\n<</Size {max(offsets) + 1}/Root {last.root.number} 0 R/Info {last.info.number} 0 R",
        f"/ID[<{last.identity.hex()}><{identity[:16].hex()}>]/Prev {last.start}>>\nstartxref\n{start}\n%%EOF\n",
    ]
    return "".join(lines).encode()


def _sign(digest: bytes, signer: DocumentSigner) -> bytes:
    """Return the CMS SignedData (DER) over a document with this ``digest``, its value stamped. (RFC 5652, RFC 5035.)"""
    certificates, name, signing_certificate = _named(signer.certificate, tuple(signer.chain))
    attributes = _set(
        [
            _attribute(_CONTENT_TYPE, _DATA),
            _attribute(_MESSAGE_DIGEST, format_der(OCTET_STRING, digest)),
            _attribute(_SIGNING_CERTIFICATE_V2, signing_certificate),
        ]
    )
    value = signer.key.sign(attributes, ec.ECDSA(SHA256(), deterministic_signing=True))
    signer_info = _sequence(
        _VERSION_1,
        name,
        _SHA256,
        _retag(context(0), attributes),
        _ECDSA_WITH_SHA256,
        format_der(OCTET_STRING, value),
        format_der(context(1), _attribute(_TIMESTAMP_TOKEN, signer.stamp(value))),
    )
    signed_data = _sequence(_VERSION_1, _set([_SHA256]), _sequence(_DATA), certificates, _set([signer_info]))
    return _sequence(_SIGNED_DATA, format_der(context(0), signed_data))


@lru_cache(maxsize=4)
def _named(certificate: bytes, chain: tuple[bytes, ...]) -> tuple[bytes, bytes, bytes]:
    """Return, in DER: the certificates, by whom they are issued and under what number, the SigningCertificateV2."""
    read = parse_certificate(certificate)
    issuer, number = read.issuer, read.serial
    issuer_serial = _sequence(_sequence(format_der(context(4), issuer)), number)
    signing_certificate = _sequence(_sequence(_sequence(format_der(OCTET_STRING, sha256(certificate)), issuer_serial)))
    return _retag(context(0), _set([certificate, *chain])), _sequence(issuer, number), signing_certificate


def _attribute(kind: bytes, value: bytes) -> bytes:
    return _sequence(kind, _set([value]))


def _sequence(*elements: bytes) -> bytes:
    return format_der(SEQUENCE, *elements)


def _set(elements: Sequence[bytes]) -> bytes:
    return format_der(SET, *sorted(elements))


def _retag(tag: int, element: bytes) -> bytes:
    return bytes([tag]) + element[1:]
