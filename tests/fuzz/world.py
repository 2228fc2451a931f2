"""Genuine proofs of every kind for the fuzzer to spoil. Every key and "random" value is derived from a label.

The register, holder, witness and authorities are those of the tests, with keys of which the fuzzer can sign again: what
is changed inside a layer is reached only when the layers around it hold.
"""

import base64
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from server.core.encoding import sha256
from server.core.log_policies import parse_log_policy
from server.core.merkle import TileTree, leaf_hash
from server.core.notes import COSIGNATURE, VerifierKey, format_verifier_key, sign_cosignature
from server.core.policies import TimeAuthority, TrustPolicy, format_trust_policy
from server.core.presentations import sign_presentation
from server.core.proofs import format_entry, format_proof
from server.core.receipts import verify_receipt
from server.core.tokens import disclosure_digest, format_disclosure
from server.outside.timestamps import LocalAuthority
from tests.fixtures import lasting as lasting_fixtures
from tests.fixtures import make_mail_vectors as mails
from tests.fixtures import records
from tests.fixtures.holders import Holder
from tests.fixtures.lasting import DOMAIN, Lasting, LaterPart
from tests.fixtures.make_vectors import derived, ec_key
from tests.fixtures.records import DECLARED, SIGNED_AT, WITNESS, TestRegister
from tests.fuzz.der import Authority, moment

NOW = SIGNED_AT + 2 * 86_400
WITNESSES = (WITNESS, "witness.example/w2", "witness.example/w3")
AUTHORITIES = ("local", "tsa", "rsa", "three", "tsa-p384", "unlisted")


def _mail_key() -> rsa.RSAPrivateKey:
    return cast(rsa.RSAPrivateKey, load_pem_private_key(mails.KEY, None))


def _ed25519(label: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(derived(f"fuzz {label}"))


def authorities() -> dict[str, Authority]:
    """Return time authorities by name: the register's own clock, and others of every kind of key."""
    at = moment(SIGNED_AT)
    keys: dict[str, Any] = {name: ec_key(f"fuzz {name}") for name in AUTHORITIES}
    keys["rsa"] = _mail_key()
    between = {"three": ec_key("fuzz between")}
    return {
        name: Authority(f"Authority {name}", keys[name], ec_key(f"fuzz root of {name}"), at, between.get(name))
        for name in AUTHORITIES
    }


class _Register(TestRegister):
    @cached_property
    def certificate(self) -> str:
        name, start = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test register")]), moment(SIGNED_AT)
        builder = x509.CertificateBuilder(name, name, self.issuer_key.public_key(), 1, start, moment(NOW + 10**8))
        made = builder.sign(self.issuer_key, SHA256(), ecdsa_deterministic=True)
        return base64.b64encode(made.public_bytes(Encoding.DER)).decode()


@dataclass
class World:
    """The register with its keys, and one objection with all that was added later: ``lasting``.

    ``policy`` names two witnesses of three and all authorities but one. ``note``: the checkpoint, cosigned.
    """

    label: str = "world"
    payload: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, bytes] | None = None
    withdrawn: bool = True

    @cached_property
    def clocks(self) -> dict[str, Authority]:
        return authorities()

    @cached_property
    def witnesses(self) -> dict[str, Ed25519PrivateKey]:
        return {name: _ed25519(name) for name in WITNESSES}

    @cached_property
    def register(self) -> TestRegister:
        clocks = cast(dict[str, LocalAuthority], self.clocks)
        return _Register(
            issuer_key=ec_key("fuzz issuer"),
            log_key=_ed25519("log"),
            clock=clocks["local"],
            authority=clocks["tsa"],
            witness_key=self.witnesses[WITNESS],
        )

    @cached_property
    def lasting(self) -> Lasting:
        chance = random.Random(self.label)
        slots = {
            slot: format_disclosure(derived(f"{self.label} {slot}")[:16], slot, value)
            for slot, value in DECLARED.items()
        }
        asserted = {slot: {"_sd": [disclosure_digest(text)]} for slot, text in slots.items()}
        holder = Holder(ec_key("fuzz holder"))
        with (
            mock.patch("secrets.token_bytes", chance.randbytes),
            mock.patch.object(records, "Holder", return_value=holder),
            mock.patch.object(lasting_fixtures, "mail_key", _mail_key),
            mock.patch("dkim.time.time", return_value=SIGNED_AT),
        ):
            made = Lasting(
                self.register,
                withdrawn=self.withdrawn,
                words=self.label,
                evidence=self.evidence,
                **({"self_asserted": asserted} | self.payload),
            )
        made.record.disclosures = slots
        return made

    @property
    def issuer_key(self) -> Any:
        return self.register.issuer_key

    @property
    def holder(self) -> Holder:
        return self.lasting.record.holder

    @cached_property
    def policy(self) -> TrustPolicy:
        listed = tuple(
            TimeAuthority(name, self.clocks[name].certificates, trusted=name not in {"local", "tsa-p384"})
            for name in AUTHORITIES[:-1]
        )
        return replace(self.register.policy, log=parse_log_policy(self.log_policy), time_authorities=listed)

    @property
    def log_policy(self) -> str:
        keys = {name: VerifierKey(name, key.public_key(), COSIGNATURE) for name, key in self.witnesses.items()}
        lines = [f"log {format_verifier_key(self.register.policy.log.key)}"]
        lines += [f"witness w{n} {format_verifier_key(key)}" for n, key in enumerate(keys.values(), 1)]
        return "\n".join([*lines, "group two 2 w1 w2 w3", "quorum two", ""])

    @cached_property
    def note(self) -> str:
        return self.cosigned(self.register.checkpoint(self.lasting.record.tree))

    def cosigned(self, note: str, *, at: int = SIGNED_AT + 30) -> str:
        text = note.partition("\n\n")[0] + "\n"
        return note + "".join(sign_cosignature(text, name, key, time=at) for name, key in self.witnesses.items())

    def stamp(self, name: str, data: bytes, *, at: int = SIGNED_AT + 90, **changes: Any) -> bytes:
        return self.clocks[name].token(data, moment(at), **changes)

    @cached_property
    def files(self) -> dict[str, bytes]:
        """The files of the anchored proof, with all that was added later. Copy before changing."""
        made = self.lasting
        made.note = self.note
        with mock.patch.object(lasting_fixtures, "mail_key", _mail_key):
            files = made.files()
        files |= {f"anchors/{name}.tst": self.stamp(name, self.note.encode()) for name in AUTHORITIES}
        files["policy.json"] = format_trust_policy(self.policy)
        return files

    @property
    def recorded_files(self) -> dict[str, bytes]:
        """The files as they are at once: nothing is stamped, and nothing was added later."""
        return {name: data for name, data in self.files.items() if not name.startswith(("anchors/", "later/", "dkim/"))}

    def status_list(self, statuses: Mapping[int, int] | None = None, **changes: Any) -> bytes:
        return self.register.status_list(statuses, **changes)

    def presentation(self, *slots: str, bound: bool = False) -> bytes:
        text = self.lasting.record.presentation(*slots)
        if bound:
            text = sign_presentation(text, key=self.holder.key, audience="who.example", nonce="n-1", now=NOW)
        return text.encode()

    def with_mail(self, mail: bytes, record: bytes, said: Mapping[str, Any]) -> dict[str, bytes]:
        """Return the files of a proof whose second supplement holds ``mail``, of which the register ``said`` this."""
        made, files = self.lasting, dict(self.files)
        part = made.later[1]
        digest = sha256(mail).hex()
        (item,) = part.receipt.payload["evidence"]
        payload = part.receipt.payload | {"evidence": [item | {"size": len(mail), "sha256": digest}]}
        receipt = verify_receipt(self.holder.sign(payload).encode())
        new = LaterPart(receipt, {"mail.eml": mail}, part.index, {"mail.eml": said})
        files["later/02-supplement.jws"], files["later/02/mail.eml"] = receipt.raw, mail
        files["later/02-supplement.ack"] = new.acknowledgement(self.register)
        for name in [name for name in files if name.startswith("dkim/")]:
            del files[name]
        if "key_sha256" in said:
            files[f"dkim/{said['key_sha256']}.txt"] = record
        # Its place in the log is the old receipt's: the log is made anew around it.
        return self.logged_again(files, {1: new})

    def logged_again(self, files: dict[str, bytes], changed: Mapping[int, LaterPart]) -> dict[str, bytes]:
        """Return ``files`` with all proofs made anew over a log in which the ``changed`` later receipts stand."""
        record, parts = self.lasting.record, list(self.lasting.later)
        for place, part in changed.items():
            parts[place] = part
        leaves = {record.index: self._leaf(record.receipt, record.salt, record.claims["received_at"])}
        leaves |= {part.index: self._leaf(part.receipt, part.salt, part.receipt.iat + 1) for part in parts}
        tree = TileTree(0, records.no_tile)
        tree.append(leaves.get(n) or leaf_hash(bytes([n])) for n in range(record.tree.size))
        note = self.cosigned(self.register.checkpoint(tree))

        def proof(index: int, salt: bytes) -> bytes:
            return format_proof(salt=salt, index=index, path=tree.path(index), checkpoint_note=note).encode()

        files = dict(files)
        files["proof.tlog-proof"], files["checkpoint.txt"] = proof(record.index, record.salt), note.encode()
        for number, part in enumerate(parts, 1):
            files[f"later/{number:02}-{part.receipt.kind}.tlog-proof"] = proof(part.index, part.salt)
        for name in [name for name in files if name.startswith("anchors/")]:
            files[name] = self.stamp(name[8:-4], note.encode())
        return files

    @staticmethod
    def _leaf(receipt: Any, salt: bytes, received_at: int) -> bytes:
        entry = format_entry(kind=receipt.kind, salt=salt, receipt_sha256=receipt.sha256, received_at=received_at)
        return leaf_hash(entry)


def mail_of(subject: str, *, body: bytes = b"We honour it.\r\n") -> bytes:
    head = f"From: Meta <case@{DOMAIN}>\r\nTo: anna@example.org\r\nSubject: {subject}\r\n"
    return head.encode() + b"Date: Wed, 18 Nov 2026 11:00:00 +0000\r\n\r\n" + body
