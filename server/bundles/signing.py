"""PAdES B-T (ETSI EN 319 142-1): the register's signature on the certificate, over the whole file."""

import asyncio
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from asn1crypto import cms, keys
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives import serialization
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import fields, signers
from pyhanko.sign.signers import cms_embedder
from pyhanko_certvalidator.registry import SimpleCertificateStore

from server.core.jws import PrivateKey

_FIELD = "Register"
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
        token = cms.ContentInfo.load(self.stamp(signature))
        return cms.CMSAttributes([cms.CMSAttribute({"type": "signature_time_stamp_token", "values": [token]})])


def _signer(signer: DocumentSigner) -> _Stamping:
    der = signer.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain = SimpleCertificateStore()
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
