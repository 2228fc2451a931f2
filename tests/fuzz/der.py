"""DER as a tree that a test can spoil in every way, and a time authority whose tokens are such trees. Deterministic."""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA224, SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from server.core.encoding import sha256

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
SHA256_ALGORITHM = bytes.fromhex("300b0609608648016503040201")
ECDSA_SHA256, _RSA = bytes.fromhex("300a06082a8648ce3d040302"), bytes.fromhex("300d06092a864886f70d0101010500")
SIGNED_DATA, _TST_INFO = bytes.fromhex("06092a864886f70d010702"), bytes.fromhex("060b2a864886f70d0109100104")
CONTENT_TYPE, DIGEST = bytes.fromhex("06092a864886f70d010903"), bytes.fromhex("06092a864886f70d010904")
_SIGNING_TIME = bytes.fromhex("06092a864886f70d010905")
CERTIFICATE_V2 = bytes.fromhex("060b2a864886f70d010910022f")
_DEEPEST = 40


@dataclass
class Element:
    """A tag, and either ``children`` or ``content``. ``length``: minimal, long, longer, or indefinite."""

    tag: int
    content: bytes = b""
    children: "list[Element] | None" = None
    length: str = "minimal"

    def encode(self) -> bytes:
        body = self.content if self.children is None else b"".join(each.encode() for each in self.children)
        if self.length == "indefinite":
            return bytes([self.tag, 0x80]) + body + b"\0\0"
        return bytes([self.tag]) + _length(len(body), self.length) + body


def _length(size: int, form: str) -> bytes:
    octets = b"" if size < 0x80 and form == "minimal" else size.to_bytes(max(1, (size.bit_length() + 7) // 8))
    octets = b"\0" * (form == "longer") + octets
    return bytes([0x80 | len(octets)]) + octets if octets else bytes([size])


def der(tag: int, *parts: bytes) -> bytes:
    return Element(tag, b"".join(parts)).encode()


def sequence(*parts: bytes) -> bytes:
    return der(0x30, *parts)


_CERTIFICATE_V1 = bytes.fromhex("060b2a864886f70d010910020c")
HASHES = {"sha1": SHA1(), "sha224": SHA224(), "sha256": SHA256(), "sha384": SHA384(), "sha512": SHA512()}
DIGESTS = {
    "sha1": bytes.fromhex("300906052b0e03021a0500"),
    "sha224": bytes.fromhex("300b0609608648016503040204"),
    "sha256": SHA256_ALGORITHM,
    "sha384": bytes.fromhex("300b0609608648016503040202"),
    "sha512": bytes.fromhex("300b0609608648016503040203"),
}
_ECDSA = {
    "sha1": bytes.fromhex("300906072a8648ce3d0401"),
    "sha224": bytes.fromhex("300a06082a8648ce3d040301"),
    "sha256": ECDSA_SHA256,
    "sha384": bytes.fromhex("300a06082a8648ce3d040303"),
    "sha512": bytes.fromhex("300a06082a8648ce3d040304"),
}
# What a token may say that it is signed with, whether it is or not.
ALGORITHMS = (
    *_ECDSA.values(),
    *(
        sequence(bytes.fromhex(f"06092a864886f70d0101{last}"), null)
        for last in ("01", "0b", "0c", "0d", "05", "0a")
        for null in (b"\5\0", b"")
    ),
    *(DIGESTS["sha256"], sequence(bytes.fromhex("06072a8648ce3d0201")), sequence(bytes.fromhex("06032b6570"))),
    sequence(ECDSA_SHA256[2:], b"\5\0"),
)


def parse(raw: bytes, depth: int = 0) -> Element:
    """Return the element that ``raw`` is. Raises ValueError for what is no DER."""
    element, end = _parse(raw, 0, depth)
    if end != len(raw):
        raise ValueError("something follows")
    return element


def _parse(raw: bytes, at: int, depth: int) -> tuple[Element, int]:
    if at + 2 > len(raw) or depth > _DEEPEST:
        raise ValueError("no element")
    tag, size, start = raw[at], raw[at + 1], at + 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(raw[at + 2 : start])
    end = start + size
    if end > len(raw):
        raise ValueError("an element ends too late")
    if not tag & 0x20:
        return Element(tag, raw[start:end]), end
    children = []
    while start < end:
        child, start = _parse(raw[:end], start, depth + 1)
        children.append(child)
    return Element(tag, children=children), end


def elements(element: Element) -> Iterator[Element]:
    yield element
    for child in element.children or ():
        yield from elements(child)


_TAGS = (0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0C, 0x13, 0x14, 0x16, 0x17, 0x18, 0x1C, 0x1E, 0x30, 0x31, 0xA0, 0x80)
_TIMES = (
    *(b"261123103320Z", b"20261123103320Z", b"20261123103320.5Z", b"20261123103320.50Z", b"20261123103320,5Z"),
    *(b"202611231033Z", b"20261123103320+0000", b"20261123103360Z", b"20261323103320Z", b"99991231235959Z"),
    *(b"00000101000000Z", b"20261123103320", b"20261123103320z", b"500101000000Z", b"491231235959Z"),
    *(b"20260229000000Z", b"20261123240000Z", b"19700101000000Z", b"19691231235959Z", b"20261123103320.000001Z"),
)
_CONTENTS = (
    b"",
    b"\0",
    b"\xff",
    b"\0\0",
    b"\x80",
    b"\x7f",
    b"\x01",
    b"\xd8\x3d\xde\0",
    b"\xd8\x3d",
    b"\xc3\xa9",
    b"\xff\xfe",
)


def spoil(root: Element, choose: random.Random) -> str:
    """Change one thing somewhere in ``root``; return what."""
    every = list(elements(root))
    target = choose.choice(every)
    way = choose.choice(_WAYS)
    return f"{way.__name__[1:]} at {every.index(target)}: {way(target, choose)}"


def _tag(target: Element, choose: random.Random) -> str:
    before, target.tag = target.tag, choose.choice(_TAGS)
    return f"{before:#x} becomes {target.tag:#x}"


def _length_form(target: Element, choose: random.Random) -> str:
    target.length = choose.choice(["long", "longer", "indefinite"])
    return target.length


def _duplicate(target: Element, choose: random.Random) -> str:
    if not target.children:
        return _content(target, choose)
    child = choose.choice(target.children)
    target.children.insert(choose.randrange(len(target.children) + 1), child)
    return "a child"


def _delete(target: Element, choose: random.Random) -> str:
    if not target.children:
        return _content(target, choose)
    del target.children[choose.randrange(len(target.children))]
    return "a child"


def _reorder(target: Element, choose: random.Random) -> str:
    if not target.children or len(target.children) < 2:
        return _content(target, choose)
    choose.shuffle(target.children)
    return "children"


def _insert(target: Element, choose: random.Random) -> str:
    if target.children is None:
        return _content(target, choose)
    extra = choose.choice(
        [b"\x05\0", b"\x02\x01\0", b"\x04\0", b"\x30\0", b"\x31\0", b"\xa0\0", b"\xa5\x02\x05\0", b"\x80\0"]
    )
    target.children.insert(choose.randrange(len(target.children) + 1), parse(extra))
    return extra.hex()


def _empty(target: Element, _choose: random.Random) -> str:
    target.content = b""
    if target.children is not None:
        target.children = []
    return "emptied"


def _many(target: Element, choose: random.Random) -> str:
    if not target.children:
        return _content(target, choose)
    target.children += [choose.choice(target.children)] * choose.choice([3, 40])
    return "children"


def _content(target: Element, choose: random.Random) -> str:
    if target.children is not None:
        return _empty(target, choose)
    old = target.content
    new = choose.choice(
        [
            *(old[:-1], b"\0" + old, b"\xff" + old, old + b"\0", old[1:], b"\x80" + old, old + old, old.upper()),
            *(choose.choice(_CONTENTS), choose.choice(_CONTENTS), choose.choice(_TIMES), choose.choice(_TIMES)),
            *(flip(old, choose), flip(old, choose)),
        ]
    )
    target.content = new
    return f"{old.hex()[:40]} becomes {new.hex()[:40]}"


def flip(data: bytes, choose: random.Random) -> bytes:
    if not data:
        return b"\1"
    changed = bytearray(data)
    changed[choose.randrange(len(changed))] ^= 1 << choose.randrange(8)
    return bytes(changed)


_WAYS: tuple[Callable[[Element, random.Random], str], ...] = (
    *(_tag, _length_form, _duplicate, _delete, _reorder, _insert, _empty, _many, _content, _content, _content),
)


def spoil_raw(raw: bytes, choose: random.Random) -> tuple[bytes, str]:
    """Return ``raw`` with one thing changed, in the tree or, when it is none, in a byte; and what."""
    try:
        root = parse(raw)
    except ValueError:
        return flip(raw, choose), "a bit"
    what = spoil(root, choose)
    return root.encode(), what


Change = Callable[[Element], Any]


def nothing(_element: Element) -> None:
    pass


@dataclass(frozen=True)
class Shape:
    """What a certificate says beside names and key. ``valid``: seconds from the authority's time, first and last."""

    signs: bool = True
    usage: bool = True
    purposes: tuple[str, ...] = ("1.3.6.1.5.5.7.3.8",)
    critical: bool = True
    constraints: bool = True
    path_length: int | None = None
    valid: tuple[int, int] = (-9 * 86_400, 999 * 86_400)
    more: tuple[tuple[str, bytes, bool], ...] = ()
    digest: str = "sha256"


@dataclass(frozen=True)
class Manner:
    """How a token is signed. ``digest``, ``imprint``: of the signature, of the data. ``names``: its certificate, how.

    ``algorithm``: what it says that it is signed with (DER), if not what is so. ``carries``: certificates, in this
    order.
    """

    digest: str = "sha256"
    imprint: str = "sha256"
    names: str = "v2"
    algorithm: bytes | None = None
    carries: tuple[bytes, ...] | None = None
    certificate_hash: str = "sha256"


_PLAINLY = Manner()


@dataclass
class Authority:
    """Stamps as any RFC 3161 authority does; each part may be changed before it is signed.

    Stands where the register's tests have a ``LocalAuthority``: ``certificates``, ``timestamp``.
    """

    name: str
    key: Key
    root_key: ec.EllipticCurvePrivateKey
    at: datetime
    between: ec.EllipticCurvePrivateKey | None = None
    own: Shape = Shape()
    above: Shape = Shape()

    @cached_property
    def chain(self) -> list[bytes]:
        """DER, its own first, its root last."""
        top, above = f"{self.name} root", self.root_key
        chain = [self._certificate(top, top, above, above, ca=True)]
        if self.between is not None:
            chain.insert(0, self._certificate(f"{self.name} between", top, self.between, above, ca=True))
            top, above = f"{self.name} between", self.between
        return [self._certificate(self.name, top, self.key, above, ca=False), *chain]

    @property
    def certificates(self) -> tuple[bytes, ...]:
        return tuple(self.chain)

    def timestamp(self, data: bytes, *, now: datetime, **_: object) -> bytes:
        return self.token(data, now)

    def token(
        self,
        data: bytes,
        at: datetime,
        *,
        info: Change = nothing,
        attributes: Change = nothing,
        whole: Change = nothing,
        own: bytes | None = None,
        manner: Manner = _PLAINLY,
    ) -> bytes:
        """Return a TimeStampToken. The changes are made before what they concern is signed; ``whole`` after.

        ``own``: a certificate (DER) to name and carry instead of its own.
        """
        own = self.chain[0] if own is None else own
        said = sequence(
            der(2, b"\1"),
            bytes.fromhex("06032a0304"),
            sequence(DIGESTS[manner.imprint], der(4, hashlib.new(manner.imprint, data).digest())),
            der(2, b"\1" + sha256(b"serial" + data)[:7]),
            der(0x18, at.strftime("%Y%m%d%H%M%SZ").encode()),
        )
        raw_info = changed(said, info)
        signed = changed(
            der(
                0x31,
                sequence(CONTENT_TYPE, der(0x31, _TST_INFO)),
                sequence(_SIGNING_TIME, der(0x31, der(0x17, at.strftime("%y%m%d%H%M%SZ").encode()))),
                sequence(DIGEST, der(0x31, der(4, hashlib.new(manner.digest, raw_info).digest()))),
                *_naming(own, manner),
            ),
            attributes,
        )
        issuer, serial = named_in(own)
        plain = _RSA if isinstance(self.key, rsa.RSAPrivateKey) else _ECDSA[manner.digest]
        carried = sorted([own, *self.chain[1:]]) if manner.carries is None else manner.carries
        signer = sequence(
            der(2, b"\1"),
            sequence(issuer, serial),
            DIGESTS[manner.digest],
            b"\xa0" + signed[1:],
            manner.algorithm or plain,
            der(4, sign(self.key, signed, manner.digest)),
        )
        content = sequence(
            der(2, b"\3"),
            der(0x31, DIGESTS[manner.digest]),
            sequence(_TST_INFO, der(0xA0, der(4, raw_info))),
            *([der(0xA0, *carried)] if carried else []),
            der(0x31, signer),
        )
        return changed(sequence(SIGNED_DATA, der(0xA0, content)), whole)

    def _certificate(self, subject: str, issuer: str, key: Key, signer: Key, *, ca: bool) -> bytes:
        others = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
        )
        shape = self.above if ca else self.own
        signs = {"digital_signature": shape.signs and not ca, "key_cert_sign": shape.signs and ca}
        usage = x509.KeyUsage(crl_sign=not shape.signs, decipher_only=False, **signs, **others)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name(issuer))
            .public_key(key.public_key())
            .serial_number(int.from_bytes(sha256(subject.encode())[:8]) >> 1)
            .not_valid_before(self.at + timedelta(seconds=shape.valid[0]))
            .not_valid_after(self.at + timedelta(seconds=shape.valid[1]))
        )
        if shape.constraints:
            builder = builder.add_extension(
                x509.BasicConstraints(ca, shape.path_length if ca else None), critical=shape.critical
            )
        if shape.usage:
            builder = builder.add_extension(usage, critical=shape.critical)
        if not ca and shape.purposes:
            purposes = x509.ExtendedKeyUsage([x509.ObjectIdentifier(each) for each in shape.purposes])
            builder = builder.add_extension(purposes, critical=shape.critical)
        for name, value, critical in shape.more:
            extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(name), value)
            builder = builder.add_extension(extension, critical=critical)
        deterministic = True if isinstance(signer, ec.EllipticCurvePrivateKey) else None
        signed = builder.sign(signer, HASHES[shape.digest], ecdsa_deterministic=deterministic)
        return signed.public_bytes(Encoding.DER)


def signed_again(certificate: bytes, key: ec.EllipticCurvePrivateKey, change: Change) -> bytes:
    """Return ``certificate`` with what it says changed, and signed again by ``key`` (ECDSA with SHA-256)."""
    root = parse(certificate)
    assert root.children is not None
    change(root.children[0])
    signature = der(3, b"\0", sign(key, root.children[0].encode()))
    return sequence(root.children[0].encode(), root.children[1].encode(), signature)


def named_in(certificate: bytes) -> tuple[bytes, bytes]:
    """Return issuer and serial number (DER) of a certificate, or something in their place."""
    try:
        fields = (parse(certificate).children or [Element(0x30)])[0].children or []
    except ValueError:
        fields = []
    return (fields[3].encode(), fields[1].encode()) if len(fields) > 3 else (b"\x30\0", b"\2\1\1")


def _naming(own: bytes, manner: Manner) -> list[bytes]:
    """Return the signed attributes that name the signer's certificate."""
    value = der(4, hashlib.new(manner.certificate_hash, own).digest())
    told = [] if manner.certificate_hash == "sha256" else [DIGESTS[manner.certificate_hash]]
    second = sequence(CERTIFICATE_V2, der(0x31, sequence(sequence(sequence(*told, value)))))
    digest = der(4, hashlib.sha1(own).digest())
    first = sequence(_CERTIFICATE_V1, der(0x31, sequence(sequence(sequence(digest)))))
    issuer, serial = named_in(own)
    longer = sequence(*told, value, sequence(sequence(der(0xA4, issuer)), serial))
    third = sequence(CERTIFICATE_V2, der(0x31, sequence(sequence(longer))))
    twice = sequence(CERTIFICATE_V2, der(0x31, sequence(sequence(sequence(value), sequence(value)))))
    return {"v2": [second], "v1": [first], "both": [first, second], "none": [], "issuer": [third], "twice": [twice]}[
        manner.names
    ]


def sign(key: Key, data: bytes, digest: str = "sha256") -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), HASHES[digest])
    return key.sign(data, ec.ECDSA(HASHES[digest], deterministic_signing=True))


def changed(raw: bytes, change: Change) -> bytes:
    if change is nothing:
        return raw
    root = parse(raw)
    change(root)
    return root.encode()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
