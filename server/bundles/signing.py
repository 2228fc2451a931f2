"""PAdES B-T (ETSI EN 319 142-1): the register's signature on the certificate, over the whole file."""

import asyncio
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from asn1crypto import cms, keys
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives import serialization
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import fields, signers
from pyhanko.sign.signers import cms_embedder
from pyhanko_certvalidator.registry import SimpleCertificateStore

from server.bundles.certificate import CertificateFacts, set_certificate
from server.bundles.contents import BundledFile
from server.core.jws import PrivateKey

_FIELD = "Register"
_TIMESTAMP_ATTRIBUTE = bytes.fromhex("060b2a864886f70d010910020e")  # id-aa-timeStampToken
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
    steps.send(signature)
    signed: bytes = out.getvalue()
    return signed


class _PlainUpdate(IncrementalPdfFileWriter):
    """Leaves the metadata alone: rewritten by pyHanko, its PDF/A extension schemas no longer read as PDF/A wants."""

    def _update_meta(self) -> None:
        pass


class _Stamping(signers.SimpleSigner):
    """Adds the time stamp itself: pyHanko's own way gives the clock a digest only, ours signs data."""

    stamp: Callable[[bytes], bytes]

    async def unsigned_attrs(
        self,
        digest_algorithm: str,
        signature: bytes,
        signed_attrs: cms.CMSAttributes,
        timestamper: object = None,
        dry_run: bool = False,
    ) -> cms.CMSAttributes:
        # Loaded from bytes and never looked into: what asn1crypto has parsed it writes anew at each of many copies,
        # every level twice, and a time token is ten levels deep. That can take minutes.
        attribute = _der(0x30, _TIMESTAMP_ATTRIBUTE + _der(0x31, self.stamp(signature)))
        return cms.CMSAttributes.load(_der(0x31, attribute))


def _der(tag: int, body: bytes) -> bytes:
    """Return an ASN.1 element; ``body`` has 256 to 65 535 bytes, as a time token has."""
    return bytes([tag, 0x82]) + len(body).to_bytes(2) + body


def _signer(signer: DocumentSigner) -> _Stamping:
    der = signer.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain = SimpleCertificateStore()  # type: ignore[no-untyped-call]
    for certificate in signer.chain:
        chain.register(asn1_x509.Certificate.load(certificate))
    stamping = _Stamping(
        signing_cert=asn1_x509.Certificate.load(signer.certificate),
        signing_key=keys.PrivateKeyInfo.load(der),
        cert_registry=chain,
        embed_roots=True,
    )
    stamping.stamp = signer.stamp
    return stamping


def make_document(
    facts: CertificateFacts, files: Mapping[str, BundledFile], language: str, *, signer: DocumentSigner, at: int
) -> bytes:
    """Return the signed certificate, ``files`` attached. ``at``: now, by the register's clock.

    Everything but the signature, its date and the file's id is a function of the first three arguments.
    """
    return sign_document(set_certificate(facts, files, language), signer=signer, at=at)
