"""An outsider's client, written from docs/formats.md alone: the standard library and cryptography, no code of ours."""

import base64
import hashlib
import http.client
import json
import secrets
import time
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

Answer = tuple[int, dict[str, str], bytes]
NOTICE = b"You have the right to object."


def b64u(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def un_b64u(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def loose_json(value: Any) -> bytes:
    """JSON as nobody would call canonical: no reader asks for more."""
    return json.dumps(dict(reversed(list(value.items()))), indent=1).encode()


class Client:
    """A holder with a key, an objection's share, and a register at ``port`` that calls itself ``public_url``."""

    def __init__(self, port: int, public_url: str) -> None:
        self.port, self.public_url = port, public_url
        self.key = ec.generate_private_key(ec.SECP256R1())
        numbers = self.key.public_key().public_numbers()
        self.jwk = {"kty": "EC", "crv": "P-256", "x": b64u(numbers.x.to_bytes(32)), "y": b64u(numbers.y.to_bytes(32))}
        self.share = b64u(secrets.token_bytes(32))

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, dict(response.getheaders()), content

    def jws(self, typ: str, payload: dict[str, Any]) -> str:
        head = loose_json({"alg": "ES256", "jwk": self.jwk, "typ": typ})
        signed = f"{b64u(head)}.{b64u(loose_json(payload))}"
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(SHA256())))
        return f"{signed}.{b64u(r.to_bytes(32) + s.to_bytes(32))}"

    def receipt(self, **members: Any) -> str:
        common = {"jti": b64u(secrets.token_bytes(16)), "iat": int(time.time()), "controller": "meta-platforms-ireland"}
        return self.jws("objection-receipt+jwt", common | members)

    def objection(self, evidence: dict[str, bytes], **changes: Any) -> str:
        slots = {slot: {"_sd": [b64u(secrets.token_bytes(32))]} for slot in ("account", "contact", "person")}
        members = {
            "kind": "objection",
            "platform": "instagram",
            "notice": {
                "channel": "in-app",
                "language": "en",
                "rule": "by-hand",
                "ruleset": "2026.1.1",
                "url": "https://www.facebook.com/",
                "text_sha256": hashlib.sha256(NOTICE).hexdigest(),
            },
            "objection": {
                "right": "eu-gdpr:A21",
                "contested_basis": "eu-gdpr:A6-1-f",
                "data_categories": ["posts"],
                "statement": {"template": "meta-ai-training-1", "language": "en"},
            },
            "country": "DE",
            "evidence": named(evidence),
            "self_asserted": slots,
        }
        return self.receipt(**(members | changes))

    def record(self, receipt: str, evidence: dict[str, bytes], work: str | None = None) -> Answer:
        boundary = secrets.token_hex(8)
        body = b""
        parts = [
            *(("evidence", name, data) for name, data in evidence.items()),
            ("holder_share", None, self.share.encode()),
        ]
        parts += [("receipt", None, receipt.encode()), *([("work", None, work.encode())] if work else [])]
        for name, filename, data in parts:
            file = f'; filename="{filename}"' if filename else ""
            body += (
                f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n"
            )
        body += f"--{boundary}--\r\n".encode()
        return self.ask("POST", "/v1/receipts", body, Content_Type=f"multipart/form-data; boundary={boundary}")

    def read(self, path: str, token: str, accept: str = "*/*", method: str = "GET") -> Answer:
        proof = self.jws(
            "dpop+jwt",
            {
                "jti": secrets.token_hex(8),
                "htm": method,
                "htu": self.public_url + path,
                "iat": int(time.time()),
                "ath": b64u(hashlib.sha256(token.encode()).digest()),
            },
        )
        headers = {"Authorization": f"dpop {token}", "DPoP": proof, "Objection_Holder_Share": self.share}
        return self.ask(method, path, Accept=accept, **headers)

    def solve_work(self, receipt_sha256: str) -> str:
        status, _, body = self.ask("GET", f"/v1/work/{receipt_sha256}")
        assert status == 200, body
        challenge = json.loads(body)
        given = challenge["parameters"]
        assert (given["algorithm"], given["data"]) == ("PBKDF2/SHA-256", {"receipt_sha256": receipt_sha256})
        nonce, salt = bytes.fromhex(given["nonce"]), bytes.fromhex(given["salt"])
        for counter in range(1024, 3072):
            key = hashlib.pbkdf2_hmac("sha256", nonce + counter.to_bytes(4), salt, given["cost"], given["keyLength"])
            if key.hex().startswith(given["keyPrefix"]):
                return json.dumps({"solution": {"derivedKey": key.hex(), "counter": counter}, "challenge": challenge})
        raise AssertionError("no try fits")


def named(evidence: dict[str, bytes]) -> list[dict[str, Any]]:
    return [
        {"name": name, "media_type": "text/plain", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in evidence.items()
    ]


def verify_signed(jws: str, typ: str, policy: dict[str, Any]) -> dict[str, Any]:
    """Return the claims of what the register signed, by a key of its policy."""
    head, payload, signature = jws.split(".")
    header = json.loads(un_b64u(head))
    assert (header["alg"], header["typ"], header.keys()) == ("ES256", typ, {"alg", "kid", "typ", "x5c"})
    (jwk,) = [key for key in policy["issuer_keys"] if key["kid"] == header["kid"]]
    x, y = (int.from_bytes(un_b64u(jwk[name])) for name in ("x", "y"))
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    raw = un_b64u(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    key.verify(der, f"{head}.{payload}".encode(), ec.ECDSA(SHA256()))
    thumbprint = json.dumps({"crv": jwk["crv"], "kty": jwk["kty"], "x": jwk["x"], "y": jwk["y"]}, separators=(",", ":"))
    assert jwk["kid"] == b64u(hashlib.sha256(thumbprint.encode()).digest())
    certificate = x509.load_der_x509_certificate(base64.b64decode(header["x5c"][0]))
    assert certificate.public_key() == key
    claims: dict[str, Any] = json.loads(un_b64u(payload))
    return claims


def verify_logged(proof: str, receipt: str, kind: str, received_at: int, policy: dict[str, Any]) -> int:
    """Return the size of the log that ``proof`` shows the receipt in, under the log key of the policy."""
    top, _, note = proof.partition("\n\n")
    first, extra, index_line, *path = top.split("\n")
    assert first == "c2sp.org/tlog-proof@v1"
    salt = base64.b64decode(extra.removeprefix("extra "))
    index = int(index_line.removeprefix("index "))
    commitment = b64u(hashlib.sha256(salt + hashlib.sha256(receipt.encode()).digest()).digest())
    entry = f'{{"commitment":"{commitment}","kind":"{kind}","time":{received_at},"v":1}}'.encode()
    text, _, signatures = note.partition("\n\n")
    origin, size_line, root_line = text.split("\n")
    size = int(size_line)
    found = hashlib.sha256(b"\0" + entry).digest()
    node, last = index, size - 1
    for step in map(base64.b64decode, path):  # RFC 9162, section 2.1.3.2
        if node & 1 or node == last:
            found = hashlib.sha256(b"\1" + step + found).digest()
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\1" + found + step).digest()
        node, last = node >> 1, last >> 1
    assert (last, found) == (0, base64.b64decode(root_line))
    vkey = policy["log"].split("\n")[0].split(" ")[1]
    name, key_id, key = vkey.split("+", 2)
    (line,) = [line for line in signatures.split("\n") if line.startswith(f"— {name} ")]
    raw = base64.b64decode(line.rpartition(" ")[2])
    assert (name, key_id) == (origin, raw[:4].hex())
    assert base64.b64decode(key)[:1] == b"\1"
    Ed25519PublicKey.from_public_bytes(base64.b64decode(key)[1:]).verify(raw[4:], f"{text}\n".encode())
    return size
