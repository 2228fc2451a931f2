"""The local time authority, seen by our own verifier and by OpenSSL."""

import random
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asn1crypto import cms, tsp
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from server.core.timestamps import TrustedAuthority, embedded_authority, verify_timestamp
from server.errors import ObjectionError, OperatorError, ParseError, VerificationError
from server.outside.timestamps import LocalAuthority, create_local_authority

NOW = datetime(2026, 11, 23, 18, 0, 0, tzinfo=UTC)
DATA = b"register.example/log\n11\n"
openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="OpenSSL is not installed")


@pytest.fixture(scope="module")
def authority() -> LocalAuthority:
    return create_local_authority(now=NOW)


@pytest.fixture(scope="module")
def trusted(authority: LocalAuthority) -> TrustedAuthority:
    return TrustedAuthority.from_der(authority.certificates)


def test_a_token_says_when_its_data_existed(authority: LocalAuthority, trusted: TrustedAuthority) -> None:
    token = authority.timestamp(DATA, now=NOW)
    assert verify_timestamp(token, DATA, trusted=trusted).at == NOW.timestamp()


def test_a_time_in_another_zone_is_the_same_time(authority: LocalAuthority, trusted: TrustedAuthority) -> None:
    token = authority.timestamp(DATA, now=NOW.astimezone(tz=None) + timedelta(microseconds=999_999))
    assert verify_timestamp(token, DATA, trusted=trusted).at == NOW.timestamp()


def test_a_token_outlives_its_authority() -> None:
    then = datetime(2001, 1, 1, tzinfo=UTC)
    old = create_local_authority(now=then)
    assert old.certificate.not_valid_after_utc < datetime(2012, 1, 1, tzinfo=UTC)
    trusted = TrustedAuthority.from_der(old.certificates)
    assert verify_timestamp(old.timestamp(DATA, now=then), DATA, trusted=trusted).at == then.timestamp()


def test_a_token_from_after_the_end_of_its_certificate_is_refused(
    authority: LocalAuthority, trusted: TrustedAuthority
) -> None:
    token = authority.timestamp(DATA, now=NOW + timedelta(days=4000))
    with pytest.raises(VerificationError) as caught:
        verify_timestamp(token, DATA, trusted=trusted)
    assert caught.value.code == "timestamp_invalid"


def test_other_data_is_refused(authority: LocalAuthority, trusted: TrustedAuthority) -> None:
    with pytest.raises(VerificationError) as caught:
        verify_timestamp(authority.timestamp(DATA, now=NOW), DATA + b"x", trusted=trusted)
    assert caught.value.code == "timestamp_invalid"


def test_another_authority_is_refused(trusted: TrustedAuthority) -> None:
    token = create_local_authority(now=NOW).timestamp(DATA, now=NOW)  # the same name, another key
    with pytest.raises(VerificationError) as caught:
        verify_timestamp(token, DATA, trusted=trusted)
    assert caught.value.code == "timestamp_invalid"


def test_another_key_under_the_same_root_is_refused(authority: LocalAuthority) -> None:
    other = create_local_authority(now=NOW)
    mixed = TrustedAuthority.from_der([other.certificates[0], authority.certificates[1]])
    with pytest.raises(VerificationError):
        verify_timestamp(authority.timestamp(DATA, now=NOW), DATA, trusted=mixed)


@pytest.mark.parametrize("token", [b"", b"\x30\x00", b"not DER at all", b"\x30\x84\xff\xff\xff\xff"])
def test_what_is_no_token_is_malformed(token: bytes, trusted: TrustedAuthority) -> None:
    for read in (embedded_authority, lambda raw: verify_timestamp(raw, DATA, trusted=trusted)):
        with pytest.raises(ParseError) as caught:
            read(token)
        assert caught.value.code == "timestamp_malformed"


def test_a_certificate_that_cannot_be_read_is_malformed(authority: LocalAuthority, trusted: TrustedAuthority) -> None:
    token = authority.timestamp(DATA, now=NOW).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x2a")
    with pytest.raises(ParseError) as caught:
        embedded_authority(token)
    assert caught.value.code == "timestamp_malformed"
    # Nobody signs the certificates that a token carries: the pinned ones decide.
    assert verify_timestamp(token, DATA, trusted=trusted).at == NOW.timestamp()


def test_only_one_authority_and_its_root_may_be_inside(authority: LocalAuthority) -> None:
    token = cms.ContentInfo.load(authority.timestamp(DATA, now=NOW))
    token["content"]["certificates"] = list(token["content"]["certificates"])[:1]
    with pytest.raises(ParseError) as caught:
        embedded_authority(token.dump(force=True))
    assert caught.value.code == "timestamp_malformed"


def test_altered_tokens_raise_nothing_but_our_errors(authority: LocalAuthority, trusted: TrustedAuthority) -> None:
    token, chance = authority.timestamp(DATA, now=NOW), random.Random(3161)
    info = token.index(b"\x02\x01\x01\x06")  # TSTInfo: version, then the policy
    for round_number in range(1500):
        altered = bytearray(token)
        altered[chance.randrange(len(altered))] ^= chance.randrange(1, 256)
        if round_number % 5 == 0:
            del altered[chance.randrange(len(altered)) :]
        for who in (embedded_authority, lambda _: trusted):
            try:
                at = verify_timestamp(bytes(altered), DATA, trusted=who(bytes(altered))).at
            except ObjectionError:
                continue
            # What still passes differs in what a token leaves unsigned, never in what it says.
            assert (at, altered[info : info + 60]) == (NOW.timestamp(), token[info : info + 60])


def test_the_structures_are_those_of_rfc_3161(authority: LocalAuthority) -> None:
    signed = cms.ContentInfo.load(authority.timestamp(DATA, now=NOW), strict=True)["content"]
    info = tsp.TSTInfo.load(bytes(signed["encap_content_info"]["content"]), strict=True)
    assert info["message_imprint"]["hash_algorithm"]["algorithm"].native == "sha256"
    assert info["nonce"].native
    names = [attribute["type"].native for attribute in signed["signer_infos"][0]["signed_attrs"]]
    assert set(names) == {"content_type", "message_digest", "signing_time", "signing_certificate_v2"}
    encoded = [choice.dump() for choice in signed["certificates"]]
    assert encoded == sorted(encoded), "DER wants the set of certificates sorted"
    assert len(encoded) == 2


def test_the_certificate_may_only_stamp_and_says_that_it_is_untrusted(
    authority: LocalAuthority, trusted: TrustedAuthority
) -> None:
    usage = authority.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert usage.critical
    assert list(usage.value) == [x509.ExtendedKeyUsageOID.TIME_STAMPING]
    assert not authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    for certificate in (authority.certificate, authority.root):
        assert "UNTRUSTED" in certificate.subject.rfc4514_string()
    assert "UNTRUSTED" in embedded_authority(authority.timestamp(DATA, now=NOW)).name


def test_a_stored_authority_is_the_same_authority(authority: LocalAuthority, trusted: TrustedAuthority) -> None:
    restored = LocalAuthority.from_pem(authority.to_pem())
    assert verify_timestamp(restored.timestamp(DATA, now=NOW), DATA, trusted=trusted).at == NOW.timestamp()


def test_a_damaged_key_file_is_an_operators_error(authority: LocalAuthority) -> None:
    other = create_local_authority(now=NOW).to_pem()
    key, certificates = authority.to_pem().split(b"-----BEGIN CERTIFICATE", 1)
    for pem in (b"", key, other.split(b"-----BEGIN CERTIFICATE", 1)[0] + b"-----BEGIN CERTIFICATE" + certificates):
        with pytest.raises(OperatorError) as caught:
            LocalAuthority.from_pem(pem)
        assert caught.value.code == "keys_invalid"


@openssl
def test_openssl_agrees(authority: LocalAuthority, tmp_path: Path) -> None:
    assert _openssl_verifies(authority, authority.timestamp(DATA, now=NOW), DATA, tmp_path)


@openssl
@pytest.mark.parametrize("tampered", ["data", "time", "signature", "authority"])
def test_openssl_refuses_what_we_refuse(
    tampered: str, authority: LocalAuthority, trusted: TrustedAuthority, tmp_path: Path
) -> None:
    token, data = authority.timestamp(DATA, now=NOW), DATA
    if tampered == "data":
        data += b"x"
    elif tampered == "time":
        assert token.count(b"20261123180000Z") == 1
        token = token.replace(b"20261123180000Z", b"20251123180000Z")
    elif tampered == "signature":
        token = token[:-1] + bytes([token[-1] ^ 1])
    else:
        token = create_local_authority(now=NOW).timestamp(DATA, now=NOW)
    with pytest.raises(VerificationError):
        verify_timestamp(token, data, trusted=trusted)
    assert not _openssl_verifies(authority, token, data, tmp_path)


def _openssl_verifies(authority: LocalAuthority, token: bytes, data: bytes, folder: Path) -> bool:
    (folder / "data").write_bytes(data)
    (folder / "x.tst").write_bytes(token)
    (folder / "root.pem").write_bytes(authority.root.public_bytes(Encoding.PEM))
    command = "openssl ts -verify -data data -token_in -in x.tst -CAfile root.pem"
    done = subprocess.run(
        [*command.split(), "-attime", str(int(NOW.timestamp()))],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("Verification: OK" in done.stdout + done.stderr) == (done.returncode == 0), done.stderr
    return done.returncode == 0
