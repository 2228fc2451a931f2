"""The signed PDF for the fuzzer to spoil: its objects, its bytes, and the CMS structure in the hole of its signature.

typst lays it out and pyHanko makes room for the signature; the signature itself is put together here, so that each part
of it can be changed before it is signed, and so that the same seed gives the same bytes.
"""

import base64
import random
import re
from dataclasses import dataclass
from typing import Any

from server.core.encoding import sha256
from tests.fixtures import pdfs
from tests.fixtures.records import SIGNED_AT
from tests.fixtures.verifier_samples import sign_pdf, unsigned_pdf
from tests.fuzz.der import (
    CERTIFICATE_V2,
    CONTENT_TYPE,
    DIGEST,
    ECDSA_SHA256,
    SHA256_ALGORITHM,
    SIGNED_DATA,
    Change,
    Element,
    changed,
    der,
    flip,
    named_in,
    nothing,
    sequence,
    sign,
    signed_again,
    spoil,
)
from tests.fuzz.world import World

_DATA = bytes.fromhex("06092a864886f70d010701")
_TIMESTAMP = bytes.fromhex("060b2a864886f70d010910020e")
_HOLE = re.compile(rb"/Contents <([0-9A-F]+)>")
_TOKENS = (
    *(
        (b"/Type", b"/Tipe"),
        (b"/Sig ", b"/Sog "),
        (b"obj", b"obi"),
        (b"0 R", b"1 R"),
        (b"/Prev", b"/Prew"),
        (b"true", b"null"),
    ),
    *(
        (b"/Size", b"/Sise"),
        (b"/AF", b"/AG"),
        (b"xref", b"xreg"),
        (b"<<", b"[ "),
        (b"endstream", b"endstreem"),
        (b" n", b" f"),
    ),
    *((b"/Names", b"/Nemes"), (b"\n", b"\r"), (b"\n", b" "), (b"/", b"#"), (b" ", b"\0"), (b" ", b"\t"), (b" ", b"%")),
    *(
        (b"/EmbeddedFile", b"/EmbeddedFil#"),
        (b"/Filespec", b"/F#69lespe"),
        (b"0", b"+"),
        (b"1", b"-"),
        (b"0", b"."),
        (b"(", b"<"),
    ),
    *(
        (b"/Annots", b"/annots"),
        (b"/FlateDecode", b"/LZWxxDecode"),
        (b"/UF", b"/FU"),
        (b"%%EOF", b"%%EOG"),
        (b"1.7", b"1.6"),
    ),
)
_ENTRIES = (
    *(
        b"/AA <<>>",
        b"/OpenAction 1 0 R",
        b"/JS (x)",
        b"/J#53 (x)",
        b"/X [[[[[[[[[[]]]]]]]]]]",
        b"/X <<>>",
        b"/X (\\",
        b"/X 1.5",
    ),
    *(
        b"/X -0",
        b"/X +1",
        b"/X 00",
        b"/X .5",
        b"/X 1e3",
        b"/X 99999999999999999999",
        b"/X <4",
        b"/X <41>",
        b"/X (\\101)",
        b"/X null",
    ),
    *(
        b"/X (a\\\nb)",
        b"/X ((()))",
        b"/X (()",
        b"/X /#00",
        b"/X /",
        b"/X /#",
        b"/X [1 2 R]",
        b"/X 0 0 R",
        b"/X 1 1 R",
        b"/X %c\n 1",
    ),
    *(
        b"/Type /X",
        b"/X true/Y false",
        b"/X\0 1",
        b"/X 9007199254740993",
        b"/X " + b"[" * 40 + b"]" * 40,
        b"/X -",
        b"/X --1",
    ),
)


@dataclass
class Document:
    """``raw``: the signed document. ``unsigned``: the same before it was signed."""

    world: World
    raw: bytes
    unsigned: bytes

    def copy(self) -> "Document":
        return Document(self.world, self.raw, self.unsigned)

    def spoil(self, choose: random.Random) -> str:
        """Change one thing; return what."""
        ways = [self._objects, self._same_length, self._cms, self._cms, self._cms, self._hole, self._behind, self._bit]
        return choose.choice(ways)(choose)

    def sign(self, **changes: Any) -> None:
        """Put another signature into the hole; ``changes`` as of ``signature``."""
        found = list(_HOLE.finditer(self.raw))
        if not found:
            return
        start, end = found[-1].start(1) - 1, found[-1].end(1) + 1
        digest = sha256(self.raw[:start] + self.raw[end:])
        self.fill(signature(self.world, digest, **changes))

    def fill(self, cms: bytes) -> None:
        found = list(_HOLE.finditer(self.raw))
        if not found:
            return
        start, end = found[-1].span(1)
        self.raw = (
            self.raw[:start] + cms.hex().upper().encode().ljust(end - start, b"0")[: end - start] + self.raw[end:]
        )

    def _cms(self, choose: random.Random) -> str:
        did = ""

        def change(element: Element) -> None:
            nonlocal did
            did = spoil(element, choose)

        where = choose.choice(["attributes", "attributes", "whole", "whole", "whole", "certificate", "stamp"])
        if where == "certificate":
            own = base64.b64decode(self.world.register.certificate)
            self.sign(own=signed_again(own, self.world.issuer_key, change))
        elif where == "stamp":
            self.sign(stamped={choose.choice(["info", "attributes", "whole"]): change})
        else:
            self.sign(**{where: change})
        return f"CMS, {where}: {did}"

    def _hole(self, choose: random.Random) -> str:
        found = list(_HOLE.finditer(self.raw))
        if not found:
            return "no hole"
        start, end = found[-1].span(1)
        old = self.raw[start:end]
        ways = {
            "lower case": old.lower(),
            "nothing": b"0" * len(old),
            "behind": old[:-2] + b"01",
            "white space": old[:-1] + b" ",
            "no hex": b"G" + old[1:],
            "empty element": b"3080" + old[4:],
            "long form": b"3084" + old[4:],
        }
        what = choose.choice(list(ways))
        self.raw = self.raw[:start] + ways[what] + self.raw[end:]
        return f"hole: {what}"

    def _same_length(self, choose: random.Random) -> str:
        """Change some token to one as long, and sign again: the tables still fit."""
        old, new = choose.choice(_TOKENS)
        places = [each.start() for each in re.finditer(re.escape(old), self.raw)]
        if choose.random() < 0.6:
            places = places[-12:]
        if not places:
            return "nothing"
        at = choose.choice(places)
        new = new.ljust(len(old))[: len(old)]
        self.raw = self.raw[:at] + new + self.raw[at + len(old) :]
        self.sign()
        return f"{old!r} becomes {new!r} at {at}"

    def _bit(self, choose: random.Random) -> str:
        """Flip a bit outside the streams, and sign again."""
        at = choose.choice([choose.randrange(len(self.raw)), -1 - choose.randrange(4000), choose.randrange(400)])
        at %= len(self.raw)
        self.raw = self.raw[:at] + flip(self.raw[at : at + 1], choose) + self.raw[at + 1 :]
        if choose.random() < 0.8:
            self.sign()
        return f"a bit at {at}"

    def _behind(self, choose: random.Random) -> str:
        extra = choose.choice([b"\n", b" ", b"\n%%EOF\n", b"\0", b"%", b"x" * 20, b"\r\n"])
        self.raw = choose.choice(
            [self.raw + extra, extra + self.raw, self.raw[:-1], self.raw.replace(b"\n", b"\r\n", 1)]
        )
        return f"{extra!r} around"

    def _objects(self, choose: random.Random) -> str:
        """Change an object of the page, write the table anew, and sign all of it."""
        did = ""

        def change(objects: pdfs.Objects) -> None:
            nonlocal did
            number = choose.choice(list(objects))
            raw = objects[number]
            at = raw.find(b"<<")
            way = choose.randrange(4)
            if at < 0 or way == 3:
                pdfs.add(
                    objects, choose.choice([b"null", b"<< /EF << >> >>", b"[ ]", b"<< /Type /ObjStm >>", b"(x)", b"1"])
                )
                did = "one more"
                return
            entry = choose.choice(_ENTRIES)
            if way == 1:
                lines = raw.split(b"\n")
                line = choose.randrange(len(lines))
                entry = lines[line][:60]
                lines.insert(line, lines[line])
                objects[number] = b"\n".join(lines)
            else:
                objects[number] = raw[: at + 2] + b" " + entry + b" " + raw[at + 2 :]
            did = f"{number}: {entry!r}"

        try:
            unsigned = pdfs.rewrite(self.unsigned, change)
            self.raw, self.unsigned = _signed(self.world, unsigned), unsigned
        except Exception:  # noqa: BLE001 (pyHanko cannot read it: then as a bit that was changed)
            return self._bit(choose)
        return f"object {did}"


def signature(
    world: World,
    digest: bytes,
    *,
    attributes: Change = nothing,
    whole: Change = nothing,
    own: bytes | None = None,
    stamped: dict[str, Change] | None = None,
) -> bytes:
    """Return the CMS of a PAdES B-T signature over ``digest``; changes as ``Authority.token`` takes them."""
    own = base64.b64decode(world.register.certificate) if own is None else own
    signed = changed(
        der(
            0x31,
            sequence(CONTENT_TYPE, der(0x31, _DATA)),
            sequence(DIGEST, der(0x31, der(4, digest))),
            sequence(CERTIFICATE_V2, der(0x31, sequence(sequence(sequence(der(4, sha256(own))))))),
        ),
        attributes,
    )
    value = sign(world.issuer_key, signed)
    issuer, serial = named_in(own)
    stamp = world.stamp("local", value, at=SIGNED_AT + 60, **(stamped or {}))
    signer = sequence(
        der(2, b"\1"),
        sequence(issuer, serial),
        SHA256_ALGORITHM,
        b"\xa0" + signed[1:],
        ECDSA_SHA256,
        der(4, value),
        der(0xA1, sequence(_TIMESTAMP, der(0x31, stamp))),
    )
    content = sequence(der(2, b"\1"), der(0x31, SHA256_ALGORITHM), sequence(_DATA), der(0xA0, own), der(0x31, signer))
    return changed(sequence(SIGNED_DATA, der(0xA0, content)), whole)


def make_document(world: World, files: dict[str, Any]) -> Document:
    unsigned = unsigned_pdf(files)
    return Document(world, _signed(world, unsigned), unsigned)


def _signed(world: World, unsigned: bytes) -> bytes:
    raw = sign_pdf(unsigned, world.register, world.issuer_key)
    # The second half of the file's id is random.
    raw = re.sub(rb"(/ID \[ <[0-9a-f]+> <)[0-9a-f]{32}(?=>)", rb"\g<1>" + b"0" * 32, raw)
    document = Document(world, raw, unsigned)
    document.sign()
    return document.raw
