"""What can be wrong with a proof, layer by layer. What is around a change is mended, so that the change is reached.

A ``Draft`` is a proof that is still being spoiled; each mutation changes it and says what it did.
"""

import base64
import gzip
import json
import quopri
import random
import struct
import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.vocabulary import FINDINGS, KEYED_FINDINGS, SIGNATURE_FINDINGS
from server.bundles.asice import ASIC_MANIFEST, MIME_TYPE, TIMESTAMP, _format_asic_manifest
from server.bundles.contents import BundledFile, bundled_file, format_manifest, with_manifest
from server.core.encoding import format_base64url, format_json, parse_base64url, sha256
from server.core.mails import findings_about
from server.core.merkle import TileTree, leaf_hash
from server.core.notes import sign_note
from server.core.proofs import format_entry, format_proof
from server.core.statuslists import ERASED, STANDS, WITHDRAWN
from server.errors import ParseError
from tests.fixtures import make_mail_vectors as mails
from tests.fixtures.lasting import DOMAIN, SELECTOR, TYPES
from tests.fixtures.make_vectors import compact, ec_key, sign_text
from tests.fixtures.records import SIGNED_AT, STATUS_INDEX, no_tile
from tests.fixtures.zips import Member, members_of, write_zip
from tests.fuzz import json_text
from tests.fuzz.der import (
    ALGORITHMS,
    Authority,
    Element,
    Key,
    Manner,
    Shape,
    flip,
    moment,
    signed_again,
    spoil,
    spoil_raw,
)
from tests.fuzz.documents import Document
from tests.fuzz.verifiers import Case
from tests.fuzz.world import AUTHORITIES, NOW, WITNESSES, World, mail_of

Bytes = Callable[[bytes], bytes]
_STAMPING = "1.3.6.1.5.5.7.3.8"


@dataclass
class Draft:
    """``raw``: a token, or None where ``files`` are packed: as ASiC-E, or as ``document`` when there is one.

    ``manifest``, ``members``, ``outer``: what is to be changed of the manifest, of the ZIP's members, of the whole.
    """

    world: World
    choose: random.Random
    files: dict[str, bytes]
    raw: bytes | None = None
    document: Document | None = None
    policy: bytes | None = None
    status: bytes | None = None
    manifest: list[Bytes] = field(default_factory=list)
    members: list[Callable[[list[Member]], None]] = field(default_factory=list)
    outer: list[Bytes] = field(default_factory=list)
    did: list[str] = field(default_factory=list)

    def case(self) -> Case:
        raw = self.raw if self.raw is not None else self.document.raw if self.document else self._container()
        for change in self.outer:
            raw = change(raw)
        return Case(raw, self.policy, self.status, NOW)

    def _container(self) -> bytes:
        listed = {name: _listed(name, data) for name, data in self.files.items()}
        missing = {name: BundledFile(b"", "", "") for name in _NEEDED if name not in listed}
        told = json.loads(format_manifest(listed | missing))
        manifest = format_json(told | {"files": [each for each in told["files"] if each["name"] in listed]})
        for change in self.manifest:
            manifest = change(manifest)
        every = with_manifest(listed, manifest)
        asic = _format_asic_manifest(every)
        members = [Member(b"mimetype", MIME_TYPE.encode(), stored=True)]
        members += [Member(name.encode(), file.data) for name, file in every.items()]
        members.append(Member(ASIC_MANIFEST.encode(), asic))
        members.append(Member(TIMESTAMP.encode(), self.world.stamp("local", asic)))
        for alter in self.members:
            alter(members)
        return write_zip(members)


# A manifest is made from these files. A proof without them has a manifest, too, which does not list them.
_NEEDED = ("receipt.jws", "policy.json")
Mutation = Callable[[Draft], str | None]
# By kind: how often, and for which forms. A mutation that finds nothing to change returns None.
MUTATIONS: list[tuple[int, str, Mutation]] = []


def mutation(weight: int, kind: str) -> Callable[[Mutation], Mutation]:
    def register(change: Mutation) -> Mutation:
        MUTATIONS.append((weight, kind, change))
        return change

    return register


def _listed(name: str, data: bytes) -> BundledFile:
    try:
        return bundled_file(name, data, signed_type=TYPES.get(name.rpartition(".")[2], "text/plain"))
    except ParseError:
        return BundledFile(data, "text/plain", "evidence")


# --- JWS --------------------------------------------------------------------------------------------------------------


def _signer(draft: Draft, name: str) -> ec.EllipticCurvePrivateKey:
    return (
        draft.world.holder.key
        if name == "receipt.jws" or (name.startswith("later/") and name.endswith(".jws"))
        else (draft.world.register.issuer_key)
    )


def _spoiled_jws(text: str, key: ec.EllipticCurvePrivateKey, choose: random.Random) -> tuple[str, str]:
    """Return the JWS with one thing in it changed; signed again where that is what makes the change visible."""
    header, payload, signature = text.split(".")
    way = choose.randrange(10)
    if way < 5:
        changed, what = json_text.spoil(parse_base64url(payload), choose)
        return compact(parse_base64url(header), changed, key), f"payload: {what}"
    if way < 7:
        changed, what = json_text.spoil(parse_base64url(header), choose)
        return compact(changed, parse_base64url(payload), key), f"header: {what}"
    if way == 7:
        return f"{header}.{payload}.{_odd_signature(parse_base64url(signature), choose)}", "signature"
    if way == 8:
        key = ec_key("fuzz stranger")
        return sign_text(f"{header}.{payload}", key), "signed by somebody else"
    odd = choose.choice(["=", ".", "\n", " ", "+", "/", "A", "\u00e9", "\0", "~", "..", "%"])
    at = choose.randrange(len(text) + 1)
    return text[:at] + odd + text[at + choose.randrange(2) :], f"{odd!r} at {at}"


_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def _odd_signature(raw: bytes, choose: random.Random) -> str:
    r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
    pairs = [(r, _ORDER - s), (0, s), (r, 0), (0, 0), (_ORDER, s), (r, _ORDER), (2**256 - 1, 2**256 - 1), (s, r)]
    parts = [each[0].to_bytes(32) + each[1].to_bytes(32) for each in pairs]
    return format_base64url(choose.choice([*parts, raw + b"\0", raw[:-1], b"", b"\0" + raw, flip(raw, choose)]))


def _spoiled_token(text: str, draft: Draft) -> tuple[str, str]:
    choose, record = draft.choose, draft.world.lasting.record
    signed, *rest = text.split("~")
    disclosures, binding = rest[:-1], rest[-1]
    way = choose.randrange(6)
    if way < 3:
        signed, what = _spoiled_jws(signed, draft.world.issuer_key, choose)
    elif way == 3 and binding:
        binding, what = _spoiled_jws(binding, draft.world.holder.key, choose)
    elif way == 4:
        every = list(record.disclosures.values())
        odd, what = json_text.spoil(parse_base64url(choose.choice(every)), choose)
        disclosures.insert(choose.randrange(len(disclosures) + 1), choose.choice([*every, format_base64url(odd), ""]))
        what = f"a disclosure more: {what}"
    else:
        ways = ["~", "", "~~", "\n", "x", "~x", "=", "~ey.ey.ey"]
        end = choose.choice(ways)
        return "~".join([signed, *disclosures, binding]) + end, f"{end!r} behind"
    return "~".join([signed, *disclosures, binding]), what


def _again_asserted(draft: Draft) -> str:
    """Give a slot an odd disclosure whose digest the token holds: what a dishonest holder can do."""
    choose, record = draft.choose, draft.world.lasting.record
    slot = choose.choice(["account", "contact", "person"])
    raw = parse_base64url(record.disclosures[slot])
    odd, what = json_text.spoil(raw, choose)
    digest = format_base64url(sha256(format_base64url(odd).encode()))
    asserted = record.claims["self_asserted"] | {slot: {"_sd": [digest]}}
    token = draft.world.register.sign_token(record.claims | {"self_asserted": asserted})
    _put_token(draft, token + format_base64url(odd) + "~")
    return f"disclosed {slot}: {what}"


def _put_token(draft: Draft, text: str) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    if draft.raw is not None:
        draft.raw = raw
    else:
        draft.files["token.sd-jwt"] = raw


@mutation(6, "token")
def _token(draft: Draft) -> str | None:
    text = (draft.raw or draft.files.get("token.sd-jwt", b"")).decode("latin-1")
    if draft.document or text.count("~") < 1 or text.partition("~")[0].count(".") != 2:
        return None
    if draft.choose.random() < 0.2:
        return _again_asserted(draft)
    try:
        changed, what = _spoiled_token(text, draft)
    except ParseError:  # spoiled before
        return None
    _put_token(draft, changed)
    return what


@mutation(8, "jws")
def _jws(draft: Draft) -> str | None:
    names = [name for name in draft.files if name.endswith((".jws", ".ack", ".jwt"))]
    if draft.document or draft.raw is not None:
        if draft.status is None:
            return None
        names = ["--status"]
    if not names:
        return None
    name = draft.choose.choice(names)
    raw = draft.status if name == "--status" else draft.files[name]
    try:
        changed, what = _spoiled_jws((raw or b"").decode(), _signer(draft, name), draft.choose)
    except (ParseError, ValueError):
        return None
    encoded = changed.encode("utf-8", "surrogatepass")
    if name == "--status":
        draft.status = encoded
    else:
        draft.files[name] = encoded
    return f"{name}: {what}"


@mutation(3, "receipt")
def _receipt_all_the_way(draft: Draft) -> str | None:
    """Another receipt, with the token, log and time stamps that a register would give it."""
    if draft.document or draft.raw is not None or "receipt.jws" not in draft.files:
        return None
    record, world = draft.world.lasting.record, draft.world
    payload, what = json_text.spoil(format_json(dict(record.receipt.payload)), draft.choose)
    header = {"alg": "ES256", "jwk": world.holder.jwk, "typ": "objection-receipt+jwt"}
    raw = compact(header, payload, world.holder.key).encode()
    entry = format_entry(
        kind="objection", salt=record.salt, receipt_sha256=sha256(raw), received_at=record.claims["received_at"]
    )
    tree = TileTree(0, no_tile)
    tree.append(leaf_hash(entry if n == record.index else bytes([n])) for n in range(record.tree.size))
    note = world.cosigned(world.register.checkpoint(tree))
    proof = format_proof(salt=record.salt, index=record.index, path=tree.path(record.index), checkpoint_note=note)
    token = world.register.sign_token(record.claims | {"receipt_sha256": sha256(raw).hex()})
    draft.files |= {"receipt.jws": raw, "token.sd-jwt": token.encode()}
    put_note(draft, proof.encode(), note.encode())
    return what


# --- status list ------------------------------------------------------------------------------------------------------


@mutation(5, "status")
def _status(draft: Draft) -> str:
    choose = draft.choose
    value = choose.choice([STANDS, ERASED, WITHDRAWN, 3])
    bits = bytearray(16_384)
    bits[STATUS_INDEX // 4] |= value << STATUS_INDEX % 4 * 2
    changes: dict[str, Any] = {"status_list": {"bits": 2, "lst": format_base64url(_odd_zlib(bytes(bits), choose))}}
    if choose.random() < 0.5:
        changes["iat"] = SIGNED_AT + choose.choice([-361, -360, -359, 0, 100, 10**6, -(10**6)])
    raw = draft.world.status_list(**changes)
    if draft.document or draft.raw is not None or choose.random() < 0.4:
        draft.status = raw
    else:
        draft.files["status.jwt"] = raw
    return f"says {value}, {list(changes)}"


def _odd_zlib(bits: bytes, choose: random.Random) -> bytes:
    level = choose.choice([0, 1, 6, 9])
    good = zlib.compress(bits, level)
    window = zlib.compressobj(9, zlib.DEFLATED, choose.choice([9, 10, 12, 15]))
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    gzip = zlib.compressobj(9, zlib.DEFLATED, 31)
    known = zlib.compressobj(9, zlib.DEFLATED, 15, 8, 0, bits[:100])
    flushed = zlib.compressobj()
    parts = flushed.compress(bits[:9000]) + flushed.flush(zlib.Z_FULL_FLUSH) + flushed.compress(bits[9000:])
    return choose.choice(
        [
            *(good, good, good, window.compress(bits) + window.flush(), raw.compress(bits) + raw.flush()),
            *(gzip.compress(bits) + gzip.flush(), known.compress(bits) + known.flush(), parts + flushed.flush()),
            *(zlib.compress(bits + b"\0"), zlib.compress(bits[:-1]), zlib.compress(b""), good + b"\0", good + good),
            *(good[:-1], good[:-4] + b"\0\0\0\0", flip(good, choose), flip(good, choose), b"", b"\x78\x9c"),
            *(zlib.compress(bytes(10**6)), b"\x78\x9d" + good[2:], b"\x88\x1c" + good[2:], b"\x78\xbb" + good[2:]),
            *(good[:2] + b"\0\0\0\xff\xff" + good[2:], bytes([good[0], good[1] ^ 1]) + good[2:]),
        ]
    )


# --- log: notes, proofs, cosignatures, witnesses ----------------------------------------------------------------------


_LINES = (
    *(
        "",
        " ",
        "\t",
        "\u2014 x AAAA",
        "\u2014 log AAAAAAAAAAAA",
        "extra AAAA",
        "index 5",
        "0",
        "-",
        "\r",
        "\u00a0",
        "x y",
        "\0",
    ),
    *("\u2014 register.example/log ", "\u2014  ", "\u2014", "- register.example/log AAAAAAAA"),
)


def _spoiled_text(text: str, choose: random.Random) -> tuple[str, str]:
    """Return text of lines with one thing changed; and what."""
    lines = text.split("\n")
    at = choose.randrange(len(lines))
    way = choose.randrange(11)
    what = f"line {at}"
    if way == 0:
        lines.insert(at, lines[at])
        what += " twice"
    elif way == 1:
        del lines[at]
        what += " gone"
    elif way == 2:
        other = choose.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
        what += f" and {other} swapped"
    elif way == 3:
        lines.insert(at, choose.choice(_LINES))
        what += " inserted"
    elif way == 4:
        lines[at] += choose.choice([" ", "\t", "\r", "=", "A", "\u00a0", " x", "\u2028", "\0", "/", "%", "~"])
        what += " longer"
    elif way == 5:
        lines[at] = choose.choice([" ", "\t", "0", "-", "+", "\ufeff"]) + lines[at]
        what += " begins otherwise"
    elif way == 6:
        lines[at] = lines[at][:-1]
        what += " shorter"
    elif way == 7:
        lines[at] = choose.choice(
            [
                "0",
                "00",
                "-1",
                "1e3",
                "9007199254740993",
                "18446744073709551615",
                "18446744073709551616",
                "9" * 30,
                "\u0661",
                "1_0",
            ]
        )
        what += " is a number"
    elif way == 8 and lines[at]:
        column = choose.randrange(len(lines[at]))
        odd = choose.choice("Aa0 +/=.-\u2014\u00e9\t_\u0661\uff11")
        lines[at] = lines[at][:column] + odd + lines[at][column + 1 :]
        what += f" has {odd!r}"
    elif way == 9:
        return text.replace("\n", "\r\n"), "CR LF"
    else:
        words = lines[at].split(" ")
        words.insert(choose.randrange(len(words) + 1), choose.choice(["", "x", *words]))
        lines[at] = " ".join(words)
        what += " has another word"
    return "\n".join(lines), what


def put_note(draft: Draft, proof: bytes, note: bytes) -> None:
    """Put another checkpoint under the proof; its stamps are made anew."""
    draft.files |= {"proof.tlog-proof": proof, "checkpoint.txt": note}
    for name in draft.files:
        if name.startswith("anchors/") and name[8:-4] in AUTHORITIES:
            draft.files[name] = draft.world.stamp(name[8:-4], note)


@mutation(6, "note")
def _note(draft: Draft) -> str | None:
    """The checkpoint's text, signed again by the log; or the lines of its signatures."""
    proof = draft.files.get("proof.tlog-proof", b"")
    if draft.document or draft.raw is not None or b"\n\n" not in proof:
        return None
    choose, world = draft.choose, draft.world
    head, _, note = proof.decode("utf-8", "replace").partition("\n\n")
    text, _, signatures = note.partition("\n\n")
    way = choose.randrange(4)
    if way == 0:
        changed, what = _spoiled_text(text, choose)
        note = world.cosigned(sign_note(changed + "\n", world.register.origin, world.register.log_key))
    elif way == 1:
        changed, what = _spoiled_text(signatures, choose)
        note = f"{text}\n\n{changed}"
    elif way == 2:
        note, what = _oddly_signed(draft, text + "\n")
    else:
        changed, what = _spoiled_text(head, choose)
        head = changed
    raw = note.encode("utf-8", "surrogatepass")
    put_note(draft, f"{head}\n\n".encode("utf-8", "surrogatepass") + raw, raw)
    return what


_TIMES = (0, 1, 253402300799, 253402300800, 2**53, 2**63 - 1, 2**63, 2**64 - 1, SIGNED_AT)


def _oddly_signed(draft: Draft, text: str) -> tuple[str, str]:
    choose, world = draft.choose, draft.world
    note = sign_note(text, world.register.origin, world.register.log_key)
    lines = note.partition("\n\n")[2].splitlines()
    time = choose.choice(_TIMES)
    name = choose.choice(WITNESSES)
    key = choose.choice([world.witnesses[name], world.witnesses[WITNESSES[0]], world.register.log_key])
    kind = choose.choice([1, 4, 4, 4, 2, 6])
    body = choose.choice([f"cosignature/v1\ntime {time}\n{text}", text, f"cosignature/v1\ntime {time + 1}\n{text}"])
    signature = choose.choice([struct.pack(">Q", time), b"", struct.pack("<Q", time)]) + key.sign(body.encode())
    key_id = sha256(f"{name}\n".encode() + bytes([kind]) + _public(key))[:4]
    line = f"\u2014 {name} {base64.b64encode(key_id + signature).decode()}"
    good = world.cosigned(note).partition("\n\n")[2].splitlines()
    lines = choose.choice([[*good, line], [line, *good], [*lines, line], [*good[:2], line], [line], [*good[::-1]]])
    lines = lines * choose.choice([1, 1, 1, 2, 30])
    return f"{text}\n" + "\n".join(lines) + "\n", f"cosigned at {time}"


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


@mutation(4, "proof")
def _proofs(draft: Draft) -> str | None:
    names = [name for name in draft.files if name.endswith((".tlog-proof", "checkpoint.txt"))]
    if not names or draft.document or draft.raw is not None:
        return None
    name = draft.choose.choice(names)
    text = draft.files[name].decode("utf-8", "replace")
    if draft.choose.random() < 0.2:
        draft.files[name], what = json_text.spoil_bytes(draft.files[name], draft.choose)
        return f"{name}: {what}"
    changed, what = _spoiled_text(text, draft.choose)
    draft.files[name] = changed.encode("utf-8", "surrogatepass")
    return f"{name}: {what}"


# --- policy -----------------------------------------------------------------------------------------------------------


def _policies(draft: Draft) -> list[str]:
    names = ["policy.json"] if draft.raw is None and not draft.document and "policy.json" in draft.files else []
    return names + (["--policy"] if draft.policy is not None else [])


def _change_policy(draft: Draft, change: Callable[[bytes], tuple[bytes, str]]) -> str | None:
    names = _policies(draft)
    if not names:
        return None
    name = draft.choose.choice(names)
    if name == "--policy":
        draft.policy, what = change(draft.policy or b"")
    else:
        draft.files[name], what = change(draft.files[name])
    return f"{name}: {what}"


@mutation(5, "policy")
def _policy(draft: Draft) -> str | None:
    return _change_policy(draft, lambda raw: json_text.spoil(raw, draft.choose))


def _in_policy(raw: bytes, change: Callable[[json_text.Object], str]) -> tuple[bytes, str]:
    try:
        root = json_text.parse(raw.decode())
        if not isinstance(root, json_text.Object):
            return raw, "nothing"
        what = change(root)
    except (ValueError, IndexError, KeyError, AttributeError):
        return raw, "nothing"
    return json_text.format_value(root).encode("utf-8", "surrogatepass"), what


@mutation(4, "log policy")
def _log_policy(draft: Draft) -> str | None:
    def change(root: json_text.Object) -> str:
        at = [key for key, _ in root.members].index('"log"')
        text, what = _spoiled_text(draft.world.log_policy, draft.choose)
        if draft.choose.random() < 0.4:
            text = draft.world.log_policy.replace("group two 2 w1 w2 w3\nquorum two\n", draft.choose.choice(_QUORUMS))
            what = "another quorum"
        quoted = json_text.format_value(json_text.parse(format_json({"a": text}).decode()))
        root.members[at] = ('"log"', json_text.Raw(quoted[5:-1]))
        return f"log: {what}"

    return _change_policy(draft, lambda raw: _in_policy(raw, change))


_QUORUMS = (
    *(
        "quorum none\n",
        "quorum w1\n",
        "quorum w9\n",
        "group a any w1 w2\nquorum a\n",
        "group a all w1 w2 w3\nquorum a\n",
    ),
    *(
        "group a 0 w1\nquorum a\n",
        "group a 2 w1\nquorum a\n",
        "group a 4 w1 w2 w3\nquorum a\n",
        "group a 01 w1\nquorum a\n",
    ),
    *("group a any w1 w1\nquorum a\n", "group a any a\nquorum a\n", "group a any w1\ngroup b any w1\nquorum b\n"),
    *(
        "group a any w1\ngroup b all a w2\nquorum b\n",
        "quorum w1\nquorum w1\n",
        "quorum none\n# x\n",
        "# x\nquorum none\n",
    ),
    *(
        "quorum  none\n",
        "quorum\tnone\n",
        " quorum none\n",
        "quorum none",
        "quorum none\r\n",
        "quorum none \n",
        "quorum\n",
    ),
    *(
        "group none any w1\nquorum none\n",
        "group w1 any w2\nquorum w1\n",
        "group a any\nquorum a\n",
        "group a all\nquorum a\n",
    ),
    *(
        "group a 3 w1 w2 w3\nquorum a\n",
        "group a 1 w1 w2\nquorum a\n",
        "group a +1 w1\nquorum a\n",
        "group a 1e0 w1\nquorum a\n",
    ),
    *(
        "group \u00e9 any w1\nquorum \u00e9\n",
        "group a ANY w1\nquorum a\n",
        "witness w1 x\nquorum none\n",
        "#\n\n\nquorum none\n\n",
    ),
)


@mutation(3, "chain")
def _chain(draft: Draft) -> str | None:
    """The order and number of an authority's certificates, or what the policy says about it."""
    choose = draft.choose

    def change(root: json_text.Object) -> str:
        listed = dict(root.members)['"time_authorities"']
        assert isinstance(listed, json_text.Array)
        authority = choose.choice(listed.items)
        assert isinstance(authority, json_text.Object)
        at = [key for key, _ in authority.members].index('"certificates"')
        certificates = authority.members[at][1]
        assert isinstance(certificates, json_text.Array)
        others = [json_text.Raw(f'"{base64.b64encode(each).decode()}"') for each in draft.world.clocks["three"].chain]
        way = choose.randrange(6)
        if way == 0:
            certificates.items.reverse()
        elif way == 1:
            certificates.items.pop()
        elif way == 2:
            certificates.items.insert(choose.randrange(3), choose.choice([*others, *certificates.items]))
        elif way == 3:
            certificates.items[:] = others
        elif way == 4:
            certificates.items.append(certificates.items[-1])
        else:
            listed.items.append(authority)
        return f"certificates: {way}"

    return _change_policy(draft, lambda raw: _in_policy(raw, change))


# --- DER: stamps and certificates -------------------------------------------------------------------------------------


def _own_authorities(draft: Draft) -> list[str]:
    return [name for name in AUTHORITIES if f"anchors/{name}.tst" in draft.files and not draft.document]


@mutation(6, "stamp")
def _stamp(draft: Draft) -> str | None:
    """A stamp with one thing changed: in what it says, in what is signed, or in what no signature covers."""
    names = _own_authorities(draft)
    if not names or draft.raw is not None:
        return None
    name = draft.choose.choice(names)
    where = draft.choose.choice(["info", "attributes", "whole", "whole"])
    did = ""

    def change(element: Element) -> None:
        nonlocal did
        did = spoil(element, draft.choose)

    data = draft.files.get("checkpoint.txt", b"")
    draft.files[f"anchors/{name}.tst"] = draft.world.stamp(name, data, **{where: change})
    return f"{name}, {where}: {did}"


@mutation(2, "stamp times")
def _stamp_times(draft: Draft) -> str | None:
    names = _own_authorities(draft)
    if not names or draft.raw is not None:
        return None
    name, data = draft.choose.choice(names), draft.files.get("checkpoint.txt", b"")
    seconds = draft.choose.choice([-301, -299, -298, -297, 0, 10**6, -9 * 86_400 - 1, 999 * 86_400 + 1, 10**9])
    draft.files[f"anchors/{name}.tst"] = draft.world.stamp(name, data, at=SIGNED_AT + seconds)
    return f"{name} at {seconds}"


@mutation(4, "certificate")
def _certificate(draft: Draft) -> str | None:
    """An authority's own certificate with one thing changed and signed again, named by its stamp and by the policy."""
    names = [name for name in _own_authorities(draft) if name in AUTHORITIES[:-1]]
    if not names or draft.raw is not None:
        return None
    name = draft.choose.choice(names)
    clock, did = draft.world.clocks[name], ""

    def change(element: Element) -> None:
        nonlocal did
        did = spoil(element, draft.choose)

    signer = clock.between or clock.root_key
    own = signed_again(clock.chain[0], signer, change)
    if draft.choose.random() < 0.3:
        own, did = spoil_raw(clock.chain[0], draft.choose)
    data = draft.files.get("checkpoint.txt", b"")
    draft.files[f"anchors/{name}.tst"] = clock.token(data, moment(SIGNED_AT + 90), own=own)
    old, new = (base64.b64encode(each) for each in (clock.chain[0], own))
    if "policy.json" in draft.files:
        draft.files["policy.json"] = draft.files["policy.json"].replace(old, new)
    if draft.policy is not None:
        draft.policy = draft.policy.replace(old, new)
    return f"{name}: {did}"


_VALID = ((-9 * 86_400, 999 * 86_400), (90, 900), (91, 900), (-900, 90), (-900, 89), (0, 91), (-(10**9), 5 * 10**9))
_PURPOSES = (
    *((_STAMPING,), (_STAMPING,), (), ("1.3.6.1.5.5.7.3.1",), (_STAMPING, "1.3.6.1.5.5.7.3.1")),
    *(("2.5.29.37.0",), (_STAMPING, _STAMPING)),
)
_EXTENSIONS = (
    *((), (), (("1.2.3.4", b"\5\0", False),), (("1.2.3.4", b"\5\0", True),), (("2.5.29.30", b"\x30\0", True),)),
    *(
        (("1.3.6.1.5.5.7.1.3", b"\x30\0", False),),
        (("2.5.29.32", b"\x30\0", True),),
        (("2.5.29.17", b"\x30\0", False),),
    ),
    *((("2.5.29.14", b"\4\1x", False),), (("2.5.29.35", b"\x30\0", False),), (("1.2.3.4", b"", False),)),
    (("1.2.3.4", b"\5\0", False), ("1.2.3.5", b"not DER", False)),
)


@mutation(8, "authority")
def _authority(draft: Draft) -> str | None:
    """An authority of another shape in the place of a known one: its keys, certificates, and manner of signing."""
    names = [name for name in _own_authorities(draft) if name in AUTHORITIES[:-1]]
    if not names or draft.raw is not None:
        return None
    choose, name = draft.choose, draft.choose.choice(names)
    keys: list[Key] = [ec_key("fuzz one"), ec_key("fuzz one", ec.SECP384R1()), ec_key("fuzz one", ec.SECP521R1())]
    keys += [draft.world.clocks["rsa"].key, ec.derive_private_key(2**200 + 1, ec.BrainpoolP256R1())]

    def shape() -> Shape:
        return Shape(
            signs=choose.random() < 0.9,
            usage=choose.random() < 0.9,
            purposes=choose.choice(_PURPOSES),
            critical=choose.random() < 0.85,
            constraints=choose.random() < 0.9,
            path_length=choose.choice([None, None, 0, 1]),
            valid=choose.choice([_VALID[0], _VALID[0], *_VALID]),
            more=choose.choice(_EXTENSIONS),
            digest=choose.choice(["sha256", "sha256", "sha256", "sha384", "sha512", "sha224"]),
        )

    plain, between = Shape(), ec_key("fuzz between") if choose.random() < 0.4 else None
    odd = choose.choice(["own", "above", "neither", "neither"])
    made = Authority(
        f"Odd {name}",
        choose.choice(keys),
        ec_key("fuzz odd root"),
        moment(SIGNED_AT),
        between,
        shape() if odd == "own" else plain,
        shape() if odd == "above" else plain,
    )
    others = ["sha384", "sha512", "sha224", "sha1"]

    def mostly(usual: Any, odd: Sequence[Any]) -> Any:
        return usual if choose.random() < 0.8 else choose.choice(odd)

    manner = Manner(
        digest=mostly("sha256", others),
        imprint=mostly("sha256", others),
        names=mostly("v2", ["v1", "both", "none", "issuer", "issuer", "twice"]),
        algorithm=mostly(None, ALGORITHMS),
        carries=choose.choice([None, (), tuple(made.chain), tuple(made.chain[::-1]), tuple(made.chain[:1])]),
        certificate_hash=mostly("sha256", others),
    )
    data = draft.files.get("checkpoint.txt", b"")
    draft.files[f"anchors/{name}.tst"] = made.token(data, moment(SIGNED_AT + 90), manner=manner)
    old, new = _listed_chain(draft.world.clocks[name].chain), _listed_chain(made.chain)
    if choose.random() < 0.2:
        new = _listed_chain(made.chain[: choose.choice([1, len(made.chain) - 1])])
    if "policy.json" in draft.files:
        draft.files["policy.json"] = draft.files["policy.json"].replace(old, new)
    if draft.policy is not None:
        draft.policy = draft.policy.replace(old, new)
    return f"{name}: {odd} {made.own if odd == 'own' else made.above}, {manner.digest} {manner.imprint} {manner.names}"


def _listed_chain(chain: list[bytes]) -> bytes:
    return format_json({"certificates": [base64.b64encode(each).decode() for each in chain]})[1:-1]


# --- mails ------------------------------------------------------------------------------------------------------------


@mutation(5, "mail")
def _mail(draft: Draft) -> str | None:
    """A mail, its signature or its key record with one thing changed, acknowledged as if it held."""
    if draft.document or draft.raw is not None or "later/02/mail.eml" not in draft.files:
        return None
    choose = draft.choose
    record = mails.pem_record(mails.KEY)
    mail = mail_of(
        choose.choice(["world", "=?utf-8?q?w=C3=B6rld?=", "", "a\r\n folded", "\u00e9"]), body=choose.choice(_BODIES)
    )
    way = choose.randrange(5)
    what = "canonicalisation"
    if way == 0:
        mail, what = _odd_mail(mail, choose)
    asked = {
        "selector": SELECTOR.encode(),
        "domain": DOMAIN.encode(),
        "canonicalize": (choose.choice([b"relaxed", b"simple"]), choose.choice([b"relaxed", b"simple"])),
        "include_headers": choose.choice(
            [
                [b"from", b"subject", b"date"],
                [b"from", b"subject", b"date", b"to"],
                [b"from", b"from", b"subject", b"date"],
            ]
        ),
    }
    try:
        signed = mails.sign(mail, **asked)
    except Exception:  # noqa: BLE001 (dkimpy, of a mail that cannot be signed: a signature of another one will do)
        signed = mails.sign(mail_of("world")) + mail
    if way == 1:
        signed, what = _odd_mail(signed, choose)
    if way in {2, 3}:
        signed, what = _odd_tags(signed, choose)
    if way == 4:
        record, what = _odd_record(record, choose)
    if not signed:
        signed = b"\n"
    try:
        said = _found_of(signed, record, choose)
        draft.files = {name: data for name, data in draft.files.items() if not name.startswith("dkim/")}
        draft.files |= draft.world.with_mail(signed, record, said)
    except ParseError:
        return None
    return f"{what}, said to be {said['finding']}"


def _found_of(mail: bytes, record: bytes, choose: random.Random) -> dict[str, Any]:
    """Return what a register says of the mail's signature: mostly what the mail bears out, else anything."""
    named = {"domain": DOMAIN, "selector": SELECTOR}
    keyed = named | {"key_sha256": sha256(record).hex()}
    told = {finding: _members(finding, named, keyed) for finding in FINDINGS}
    honest = [finding for finding, said in told.items() if finding in findings_about(mail, said, key_record=record)]
    if "signed" in honest and choose.random() < 0.6:
        return told["signed"]
    return told[choose.choice(honest if honest and choose.random() < 0.75 else list(FINDINGS))]


def _members(finding: str, named: dict[str, Any], keyed: dict[str, Any]) -> dict[str, Any]:
    said = {"finding": finding}
    if finding == "signed":
        return said | keyed | {"from": DOMAIN, "subject": "world", "known": "none", "kind": "unknown"}
    return said | (keyed if finding in KEYED_FINDINGS else named if finding in SIGNATURE_FINDINGS else {})


_BODIES = (
    *(
        b"We honour it.\r\n",
        b"",
        b"\r\n",
        b"\r\n\r\n\r\n",
        b"We honour it.",
        b"a \t b \r\n\r\n \r\n",
        b"\t \r\n",
        b"a\nb\n",
    ),
    *(
        b"a\rb\r\n",
        b"\0\r\n",
        b"\xff\xfe\r\n",
        b".\r\n",
        b"a\r\r\n",
        b"\xc2\xa0 \r\n",
        b"a\x0b\x0c \r\n",
        b" a\r\n",
        b"\r",
    ),
)


def _odd_mail(mail: bytes, choose: random.Random) -> tuple[bytes, str]:
    lines = mail.split(b"\r\n")
    at = choose.randrange(len(lines))
    way = choose.randrange(9)
    if way == 0:
        lines.insert(at, lines[at])
    elif way == 1:
        del lines[at]
    elif way == 2:
        lines[at] += choose.choice([b" ", b"\t", b"\r", b"\0", b"\xc3\xa9", b"\x0b", b";", b"\n x"])
    elif way == 3:
        lines[at] = choose.choice([b" ", b"\t", b"\n", b"\x0b"]) + lines[at]
    elif way == 4:
        lines[at] = lines[at].replace(b":", choose.choice([b" :", b":  ", b"::", b"", b"\t:", b":\r\n "]), 1)
    elif way == 5:
        lines[at] = lines[at].swapcase()
    elif way == 6:
        lines.insert(
            at, choose.choice([b"From: x@facebook.com", b"Subject: other", b"Date: x", b"X", b": x", b"x y: z", b" "])
        )
    elif way == 7:
        return mail.replace(b"\r\n", choose.choice([b"\n", b"\r", b"\r\r\n", b"\n\r"])), "line ends"
    else:
        return json_text.spoil_bytes(mail, choose)
    return b"\r\n".join(lines), f"line {at}: {way}"


def _odd_tags(signed: bytes, choose: random.Random) -> tuple[bytes, str]:
    head, _, rest = signed.partition(b"\r\n")
    end = signed.index(b"From:") if b"From:" in signed else len(head)
    field, rest = signed[:end], signed[end:]
    tags = field.split(b";")
    at = choose.randrange(len(tags))
    odd = choose.choice(
        [
            *(
                b" l=5",
                b" x=1",
                b" x=99999999999",
                b" t=1",
                b" t=99999999999",
                b" t=-1",
                b" q=dns/txt",
                b" i=@facebook.com",
            ),
            *(
                b" a=rsa-sha1",
                b" a=ed25519-sha256",
                b" c=simple",
                b" c=relaxed",
                b" z=x",
                b" v=2",
                b" v=1",
                b"",
                b" ",
                b" x",
            ),
            *(
                b" h=from",
                b" h=From:Subject:Date",
                b" d=facebook.com",
                b" s=other",
                b" i=x@support.facebook.com",
                b" b=",
                b" bh=",
            ),
            *(
                b" \xc3\xa9=1",
                b" a\0=1",
                b" foo = bar ",
                b" l=0",
                b" x=",
                b" t=",
                b" T=1",
                b" h=",
                b" q=",
                b" i=",
                b" bh=AAAA",
            ),
        ]
    )
    way = choose.randrange(5)
    if way == 0:
        tags.insert(at, odd)
    elif way == 1:
        tags.append(tags[at])
    elif way == 2:
        del tags[at]
    elif way == 3:
        tags[at] = tags[at].replace(b"=", choose.choice([b" = ", b"=\r\n ", b"==", b"", b"=\t"]), 1)
    else:
        tags[at] = tags[at][:-1] + choose.choice([b"", b"A", b"=", b" ", b"\r\n "])
    text = b";".join(tags)
    return (text if text.endswith(b"\r\n") else text.rstrip(b"\r\n") + b"\r\n") + rest, f"tag {at}: {way} {odd!r}"


def _odd_record(record: bytes, choose: random.Random) -> tuple[bytes, str]:
    tags = record.split(b"; ")
    extra = choose.choice(
        [
            *(
                b"t=y",
                b"t=s",
                b"t=y:s",
                b"h=sha1",
                b"h=sha256",
                b"h=sha1:sha256",
                b"s=email",
                b"s=other",
                b"s=*",
                b"n=note",
            ),
            *(
                b"g=*",
                b"k=ed25519",
                b"v=DKIM2",
                b"x",
                b"",
                b" ",
                b"p=",
                b"p=AAAA",
                b"k=",
                b"k=RSA",
                b"v=dkim1",
                b"\xc3\xa9=1",
            ),
        ]
    )
    way = choose.randrange(6)
    if way == 0:
        tags.insert(choose.randrange(len(tags) + 1), extra)
    elif way == 1:
        del tags[choose.randrange(len(tags))]
    elif way == 2:
        tags.reverse()
    elif way == 3:
        at = choose.randrange(len(tags))
        tags[at] = tags[at].replace(b"=", choose.choice([b" = ", b"=\t", b"", b"= "]), 1)
    elif way == 4:
        key = base64.b64decode(tags[-1][2:])
        odd, what = spoil_raw(key, choose)
        return b"; ".join([*tags[:-1], b"p=" + base64.b64encode(odd)]) or b"x", f"key: {what}"
    else:
        return json_text.spoil_bytes(record, choose)[0] or b"x", "bytes"
    return choose.choice([b"; ", b";", b" ; ", b"; "]).join(tags) or b"x", f"{way} {extra!r}"


# --- manifest, files, ZIP ---------------------------------------------------------------------------------------------


@mutation(4, "manifest")
def _manifest(draft: Draft) -> str | None:
    if draft.document or draft.raw is not None:
        return None
    seed = draft.choose.random()
    draft.manifest.append(lambda raw: json_text.spoil(raw, random.Random(seed))[0])
    return f"by {seed}"


_NAMES = (
    *(
        "evidence/x.txt",
        "evidence/../x.txt",
        "x.txt",
        "later/04-supplement.jws",
        "later/1-withdrawal.jws",
        "later/03/x.txt",
    ),
    *(
        "anchors/local2.tst",
        "anchors/.tst",
        "anchors/a.TST",
        "dkim/x.txt",
        f"dkim/{'0' * 64}.txt",
        "README.md",
        "verify.html",
    ),
    *(
        "later/01-erasure.jws",
        "evidence/A.txt",
        "evidence/__proto__.txt",
        "constructor",
        "__proto__",
        "manifest.json2",
        ".",
    ),
)


@mutation(4, "files")
def _files(draft: Draft) -> str | None:
    if draft.document or draft.raw is not None or not draft.files:
        return None
    choose = draft.choose
    name = choose.choice(list(draft.files))
    other = choose.choice(list(draft.files))
    way = choose.randrange(6)
    if way == 0:
        del draft.files[name]
    elif way == 1:
        draft.files[name], draft.files[other] = draft.files[other], draft.files[name]
    elif way == 2:
        draft.files[choose.choice(_NAMES)] = choose.choice([b"x", b"", draft.files[other]])
    elif way == 3:
        draft.files[choose.choice(_NAMES)] = draft.files.pop(name)
    elif way == 4:
        draft.files[name], _ = json_text.spoil_bytes(draft.files[name], choose)
    else:
        order = list(draft.files.items())
        choose.shuffle(order)
        draft.files = dict(order)
    return f"{name}: {way}"


# Fields of a ZIP's member, and what may stand in them; ``place`` is between 0 and 1.
_LIES: tuple[tuple[str, Callable[[float], Any]], ...] = (
    ("flags", lambda place: 1 << int(place * 16)),
    ("extra", lambda _place: b"\1\0\0\0"),
    ("local_extra", lambda _place: b"\1\0\0\0"),
    ("comment", lambda _place: b"x"),
    ("attributes", lambda place: int(place * 16) << 28),
    ("crc", lambda _place: 0),
    ("size", lambda place: int(place * 2**32)),
    ("gap", lambda _place: b"\0"),
    ("name", lambda place: (b"", b"a\0b", b"\xc3\xa9", b"/x", b"x" * 300, b"A\x7f", b"..", b"x/")[int(place * 8)]),
    ("local_name", lambda _place: b"other"),
    ("packed", lambda place: random.Random(place).randbytes(40)),
)


@mutation(4, "zip")
def _zip(draft: Draft) -> str | None:
    if draft.document or draft.raw is not None:
        return None
    place, way = draft.choose.random(), draft.choose.randrange(len(_LIES) + 5)

    def change(members: list[Member]) -> None:
        member = members[int(place * len(members))]
        if way < len(_LIES):
            name, value = _LIES[way]
            setattr(member, name, value(place))
        elif way == len(_LIES):
            members.remove(member)
        elif way == len(_LIES) + 1:
            members.append(member)
        elif way == len(_LIES) + 2:
            members.reverse()
        elif way == len(_LIES) + 3:
            member.stored = not member.stored
        else:
            member.name = members[int(place * 7919) % len(members)].name

    draft.members.append(change)
    return f"{way} at {place:.4f}"


@mutation(3, "deflate")
def _deflate(draft: Draft) -> str | None:
    if draft.document or draft.raw is not None:
        return None
    place, way = draft.choose.random(), draft.choose.randrange(7)

    def change(members: list[Member]) -> None:
        member = members[1 + int(place * (len(members) - 1))]
        deflater = zlib.compressobj([0, 1, 9][way % 3], zlib.DEFLATED, -15)
        packed = deflater.compress(member.data)
        if way == 3:
            packed += deflater.flush(zlib.Z_SYNC_FLUSH)
        packed += deflater.flush()
        ends = {4: packed + b"\0", 5: packed[:-1], 6: b"\0\0\0\xff\xff" + packed}
        member.packed, member.stored = ends.get(way, packed), False

    draft.members.append(change)
    return f"{way} at {place:.4f}"


# --- PDF --------------------------------------------------------------------------------------------------------------


@mutation(14, "document")
def _document(draft: Draft) -> str | None:
    return draft.document.spoil(draft.choose) if draft.document else None


# --- the whole file, and text around it -------------------------------------------------------------------------------


@mutation(4, "bytes")
def _bytes(draft: Draft) -> str:
    choose = draft.choose
    seed, way = choose.random(), choose.randrange(6)

    def change(raw: bytes) -> bytes:
        local = random.Random(seed)
        at = local.randrange(len(raw) + 1)
        if way < 3:
            return flip(raw, local)
        if way == 3:
            return raw[:at]
        if way == 4:
            return raw[:at] + local.randbytes(local.randrange(1, 9)) + raw[at:]
        return raw + local.randbytes(local.randrange(1, 40))

    draft.outer.append(change)
    return f"{way} by {seed}"


_AROUND = (
    *(
        b" ",
        b"\n",
        b"\r\n",
        b"\t",
        b"\x0b",
        b"\x0c",
        b"\xc2\xa0",
        b"\xef\xbb\xbf",
        b"\x85",
        b"\x1c",
        b"\x1f",
        b"\0",
        b"\xe2\x80\xa8",
    ),
    *(b"  \r\n\t ", b"\xe3\x80\x80", b'"', b"<", b"\n\n", b"\xe2\x80\x8b", b"\x1a"),
)


@mutation(4, "around")
def _around(draft: Draft) -> str | None:
    if draft.raw is None:
        return None
    before, after = (draft.choose.choice([*_AROUND, b"", b""]) for _ in range(2))
    draft.outer.append(lambda raw: before + raw + after)
    return f"{before!r} and {after!r}"


# What programs make of a file on its way.
_COPIES: dict[str, Bytes] = {
    "base64": base64.b64encode,
    "base64 in lines": base64.encodebytes,
    "base64 of base64": lambda raw: base64.encodebytes(base64.encodebytes(raw)),
    "cut base64": lambda raw: b"x\n\n" + base64.encodebytes(raw)[:-99],
    "base64url": base64.urlsafe_b64encode,
    "quoted base64": lambda raw: base64.encodebytes(raw).replace(b"\n", b" \n> "),
    "quoted-printable": lambda raw: b"Subject: x\n\n" + quopri.encodestring(raw),
    "UTF-16": lambda raw: b"\xff\xfe" + raw.decode("latin-1").encode("utf-16-le"),
    "UTF-16, big-endian": lambda raw: b"\xfe\xff" + raw.decode("cp437").encode("utf-16-be"),
    "UTF-8 with a mark": lambda raw: raw.decode("latin-1").encode("utf-8-sig"),
    "gzip": lambda raw: gzip.compress(raw, mtime=0),
    "gzip and more": lambda raw: gzip.compress(raw, mtime=0) + b"more",
    "cut gzip": lambda raw: gzip.compress(raw, mtime=0)[:-9],
    "CR LF": lambda raw: raw.replace(b"\n", b"\r\n"),
    "CR": lambda raw: raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r"),
    "LF": lambda raw: raw.replace(b"\r\n", b"\n"),
    "as UTF-8": lambda raw: raw.decode("latin-1").encode(),
    "replaced as UTF-8": lambda raw: raw.decode("utf-8", "replace").encode(),
    "something before": lambda raw: b"Received: from x\r\n\r\n" + raw,
    "something around": lambda raw: b"<xml>" + raw + b"</xml>",
    "in a ZIP": lambda raw: write_zip([Member(b"a.txt", b"x"), Member(b"proof", raw, stored=True)]),
    "in a ZIP, deflated": lambda raw: write_zip([Member(b"proof.asice", raw)]),
    "in a ZIP in a ZIP": lambda raw: write_zip([Member(b"a.zip", write_zip([Member(b"p", raw)]))]),
    "in a damaged ZIP": lambda raw: write_zip([Member(b"p", raw)])[:-1],
    "zipped with data descriptors": lambda raw: rezipped(raw, 8),
    "zipped with names in UTF-8": lambda raw: rezipped(raw, 1 << 11),
    "unzipped": lambda raw: raw[30:],
}


def rezipped(raw: bytes, flags: int) -> bytes:
    """Return the ZIP in ``raw`` as another program would write it; other bytes as they are."""
    try:
        members = members_of(raw)
    except Exception:  # noqa: BLE001 (whatever zipfile says of what is no ZIP)
        return raw
    for member in members:
        member.flags, member.stored = flags, False
    return write_zip(sorted(members, key=lambda member: member.name))


@mutation(4, "copies")
def _copies(draft: Draft) -> str:
    name = draft.choose.choice(list(_COPIES))
    draft.outer.append(_COPIES[name])
    return name


@mutation(1, "long")
def _long(draft: Draft) -> str | None:
    if draft.raw is None:
        return None
    size = draft.choose.choice([65_000, 65_536, 65_537, 131_072, 131_073, 300_000])
    way = draft.choose.choice([b"~", b"A", b".", b"\n"])
    draft.outer.append(lambda raw: raw + way * (size - len(raw)))
    return f"{size} of {way!r}"


# --- choosing ---------------------------------------------------------------------------------------------------------


def make_draft(
    worlds: list[World], documents: list[Document], choose: random.Random, only: Collection[str] = ()
) -> tuple[Draft, list[str]]:
    """Return a genuine proof of some kind with one to three things changed, and the kinds of these changes.

    ``only``: the kinds to choose from, if not from all.
    """
    mutations = [each for each in MUTATIONS if not only or each[1] in only]
    world = choose.choice(worlds)
    form = choose.choices(["anchored", "recorded", "token", "document"], [10, 3, 4, 4])[0]
    draft = Draft(world, choose, {})
    if form == "token":
        slots = [slot for slot in ("account", "contact", "person") if choose.random() < 0.4]
        draft.raw = world.presentation(*slots, bound=choose.random() < 0.4)
    elif form == "document":
        draft.document = choose.choice(documents).copy()
    else:
        draft.files = dict(world.files if form == "anchored" else world.recorded_files)
        # Each stamp costs both verifiers more than all the rest.
        for name in choose.sample(AUTHORITIES, len(AUTHORITIES) - choose.choice([1, 1, 2])):
            draft.files.pop(f"anchors/{name}.tst", None)
    if choose.random() < 0.5 or form == "token":
        draft.policy = world.files["policy.json"]
    if choose.random() < 0.2:
        draft.status = world.status_list({STATUS_INDEX: choose.choice([STANDS, WITHDRAWN, ERASED])})
    draft.did.append(f"{form} of {world.label}")
    kinds: list[str] = []
    for _ in range(choose.choices([0, 1, 2, 3], [1, 70, 20, 9])[0]):
        _, kind, change = choose.choices(mutations, [weight for weight, _, _ in mutations])[0]
        what = change(draft)
        if what is not None:
            kinds.append(kind)
            draft.did.append(f"{kind}: {what}")
    return draft, kinds
