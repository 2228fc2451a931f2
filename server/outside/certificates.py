"""X.509 certificates that the register makes for its own keys, for readers who know certificates and not our policy."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

LIFE = timedelta(days=3652)
_CLOCK_SKEW = timedelta(minutes=5)

Extension = tuple[x509.ExtensionType, bool]  # the extension, and whether it is critical


def make_root(common_name: str, key: ec.EllipticCurvePrivateKey, *, now: datetime) -> x509.Certificate:
    """Return a self-signed certificate for a key that signs nothing but certificates."""
    return _sign(common_name, key, None, key, now=now, extensions=[])


def make_leaf(
    common_name: str,
    key: ec.EllipticCurvePrivateKey,
    *,
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    now: datetime,
    extensions: Sequence[Extension],
) -> x509.Certificate:
    """Return a certificate under ``root`` for a key that signs anything but certificates."""
    return _sign(common_name, key, root, root_key, now=now, extensions=extensions)


def _sign(
    common_name: str,
    key: ec.EllipticCurvePrivateKey,
    root: x509.Certificate | None,
    root_key: ec.EllipticCurvePrivateKey,
    *,
    now: datetime,
    extensions: Sequence[Extension],
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if root is None else root.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + LIFE)
        .add_extension(x509.BasicConstraints(ca=root is None, path_length=0 if root is None else None), critical=True)
        .add_extension(_key_usage(signs_certificates=root is None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(root_key, SHA256())


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
