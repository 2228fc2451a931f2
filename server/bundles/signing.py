"""PAdES B-T (ETSI EN 319 142-1): the register's signature on the certificate, over the whole file."""

import asyncio
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from asn1crypto import keys
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives import serialization
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import fields, signers
from pyhanko.sign.signers import cms_embedder
from pyhanko_certvalidator.registry import SimpleCertificateStore

from server.bundles.certificate import CertificateFacts, set_certificate
from server.bundles.contents import BundledFile
from server.core.cms import parse_cms
from server.core.der import SEQUENCE, SET, Members, context, format_der, parse_der
from server.core.jws import PrivateKey

_FIELD = "Register"
_TIMESTAMP_ATTRIBUTE = bytes.fromhex("060b2a864886f70d010910020e")  # id-aa-timeStampToken
_DEPTH_OF_SIGNER = 4  # ContentInfo, [0], SignedData, the set of signers, the signer
_RESERVED_DIGITS = 16_384  # hex digits: a signature with two certificates and a time token has about 3 kB


@dataclass(frozen=True)
class DocumentSigner:
    """Who signs: the register's key, its certificate (DER), the certificates above it, and a clock.

    ``stamp`` returns a TimeStampToken (DER) over the bytes it is given.
    """

    key: PrivateKey
    certificate: bytes
    chain: Sequence[bytes]
    stamp: Callable[[bytes], bytes]


def sign_document(unsigned: bytes, *, signer: DocumentSigner, at: int) -> bytes:
    """Return the PDF with one invisible signature dated ``at``, appended as its only update."""
    return asyncio.run(_sign(unsigned, signer, datetime.fromtimestamp(at, UTC)))


async def _sign(unsigned: bytes, signer: DocumentSigner, at: datetime) -> bytes:
    # typst ends without a line break, and what pyHanko appends must not stand on the line of %%EOF.
    writer = _PlainUpdate(io.BytesIO(unsigned.rstrip(b"\n") + b"\n"))
    steps = cms_embedder.PdfCMSEmbedder(fields.SigFieldSpec(_FIELD)).write_cms(field_name=_FIELD, writer=writer)
    next(steps)
    placeholder = signers.SignatureObject(
        timestamp=at, subfilter=fields.SigSeedSubFilter.PADES, bytes_reserved=_RESERVED_DIGITS
    )
    steps.send(cms_embedder.SigObjSetup(sig_placeholder=placeholder))
    prepared, out = steps.send(cms_embedder.SigIOSetup(md_algorithm="sha256", in_place=True))
    signature = await _signer(signer).async_sign(prepared.document_digest, "sha256", use_pades=True)
    steps.send(_with_timestamp(signature.dump(), signer.stamp))
    signed: bytes = out.getvalue()
    return signed


class _PlainUpdate(IncrementalPdfFileWriter):
    """Leaves the metadata alone: rewritten by pyHanko, its PDF/A extension schemas no longer read as PDF/A wants."""

    def _update_meta(self) -> None:
        pass


def _with_timestamp(signature: bytes, stamp: Callable[[bytes], bytes]) -> bytes:
    """Return the CMS structure with a time token over its signature value, as unsigned attribute of its one signer.

    Put in by hand: asn1crypto, once it has parsed a token, writes every level of it anew for each level above, twice;
    with ten levels that takes half a minute, now and then. pyHanko would also give the clock only a digest.
    """
    stamped = format_der(SET, stamp(parse_cms(signature).signature))
    attribute = format_der(SEQUENCE, _TIMESTAMP_ATTRIBUTE, stamped)
    return _append_to_last(signature, _DEPTH_OF_SIGNER, format_der(context(1), attribute))


def _append_to_last(element: bytes, depth: int, extra: bytes) -> bytes:
    """Return ``element`` with ``extra`` behind what its last child's last child … (``depth`` times) contains."""
    parent = parse_der(element)
    if depth == 0:
        return format_der(parent.tag, parent.content, extra)
    *before, last = Members(parent).rest()
    return format_der(parent.tag, *(each.raw for each in before), _append_to_last(last.raw, depth - 1, extra))


def _signer(signer: DocumentSigner) -> signers.SimpleSigner:
    der = signer.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain = SimpleCertificateStore()  # type: ignore[no-untyped-call]
    for certificate in signer.chain:
        chain.register(asn1_x509.Certificate.load(certificate))
    return signers.SimpleSigner(
        signing_cert=asn1_x509.Certificate.load(signer.certificate),
        signing_key=keys.PrivateKeyInfo.load(der),
        cert_registry=chain,
        embed_roots=True,
    )


def make_document(
    facts: CertificateFacts, files: Mapping[str, BundledFile], language: str, *, signer: DocumentSigner, at: int
) -> bytes:
    """Return the signed certificate, ``files`` attached. ``at``: now, by the register's clock.

    Everything but the signature, its date and the file's id is a function of the first three arguments.
    """
    return sign_document(set_certificate(facts, files, language), signer=signer, at=at)
