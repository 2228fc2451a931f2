"""The signature under a mail: found, refused, and checked again with the key record alone."""

import itertools
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from server.errors import Unavailable, VerificationError
from server.outside.mail import MailFinding, check_mail, recheck_mail, resolver
from tests.fixtures.mails import DOMAIN, MAIL, NAME, SELECTOR, dns_server, key_record, mail_key, sign_mail

DOMAINS = ("facebookmail.com", "mail.instagram.com")
NOW = int(time.time())


def found(raw: bytes, record: bytes | None = None, *, domains: tuple[str, ...] = DOMAINS) -> MailFinding | None:
    held = key_record() if record is None else record
    return check_mail(
        raw, domains=domains, fetch_key=lambda name, _left_s: held if name == NAME else None, now=NOW, timeout_s=9
    )


def test_a_notice_of_metas_is_known() -> None:
    finding = found(sign_mail())
    assert finding is not None
    told = finding.as_json()
    assert told.pop("key_sha256")
    assert abs(told.pop("signed_at") - time.time()) < 3600
    assert told == {
        "domain": DOMAIN,
        "selector": SELECTOR,
        "from": "facebookmail.com",
        "subject": "Learn how we'll use your information as we improve AI at Meta",
        "date": 1_744_624_800,
        "known": "notice-2025-ai-at-meta",
    }
    recheck_mail(sign_mail(), key_record=finding.key_record, domain=DOMAIN, selector=SELECTOR)


@pytest.mark.parametrize("canonical", [(h, b) for h in (b"relaxed", b"simple") for b in (b"relaxed", b"simple")])
def test_all_canonical_forms(canonical: tuple[bytes, bytes]) -> None:
    assert found(sign_mail(canonicalize=canonical))


def test_spaces_that_a_relaxed_form_allows() -> None:
    raw = (
        sign_mail()
        .replace(b"Subject: Learn how", b"SUBJECT:   Learn\r\n  how")
        .replace(b"interests. ", b"interests.   ")
    )
    assert found(raw)


def test_subjects_in_other_letters() -> None:
    subject = (
        b"=?utf-8?q?D=C3=A9couvrez_comment_nous_utiliserons_vos_informations_?=\r\n"
        b" =?utf-8?q?=C3=A0_mesure_que_nous_am=C3=A9liorons_l=E2=80=99IA_de_Meta?="
    )
    english = b"Learn how we'll use your information as we improve AI at Meta"
    finding = found(sign_mail(MAIL.replace(english, subject)))
    assert finding is not None
    assert finding.known == "notice-2025-ai-at-meta"
    other = found(sign_mail(MAIL.replace(english, b"Hello")))
    assert other is not None
    assert other.known == "none"
    later = found(sign_mail(MAIL.replace(b"2025 10:00", b"2031 10:00")))
    assert later is not None
    assert later.known == "none"


def _signed(**changes: Any) -> Callable[[], bytes]:
    return lambda: sign_mail(**changes)


REFUSED: dict[str, Callable[[], bytes]] = {
    "not signed": lambda: MAIL,
    "another subject": lambda: sign_mail().replace(b"Learn", b"Lern"),
    "another date": lambda: sign_mail().replace(b"14 Apr", b"15 Apr"),
    "another sender": lambda: sign_mail().replace(b"notification@", b"security@"),
    "another body": lambda: sign_mail().replace(b"legitimate", b"vital"),
    "more body": lambda: sign_mail() + b"more\r\n",
    "a second From on top": lambda: b"From: x@facebookmail.com\r\n" + sign_mail(),
    "a second Subject": lambda: b"Subject: x\r\n" + sign_mail(),
    "a second Date": lambda: sign_mail().replace(b"To: ", b"Date: now\r\nTo: "),
    "two senders in one": lambda: sign_mail(MAIL.replace(b"<noti", b"<a@b.example>, <noti")),
    "part of the body only": _signed(length=True),
    "subject not signed": _signed(include_headers=[b"from", b"date"]),
    "date not signed": _signed(include_headers=[b"from", b"subject"]),
    "another domain": _signed(domain=b"example.org"),
    "a domain that ends alike": lambda: sign_mail(
        MAIL.replace(b"facebookmail", b"notfacebookmail"), domain=b"notfacebookmail.com"
    ),
    "signed above the sender's domain": lambda: sign_mail(MAIL.replace(b"@facebookmail.com", b"@other.example")),
    "expired": lambda: sign_mail().replace(b"; t=", b"; x=1500000000; t="),
    "another key": lambda: sign_mail(key=mail_key(1024)),
    "a run of spaces": lambda: sign_mail(MAIL + b" " * 300 + b"x\r\n"),
    "too large": lambda: sign_mail(MAIL + b"x\r\n" * 400_000),
    "no body": lambda: sign_mail()[: sign_mail().index(b"\r\n\r\n")],
    "a signature of many folds": lambda: sign_mail().replace(b"v=1;", b"v=1;" + b"\r\n " * 1990, 1),
    "half a signature": lambda: sign_mail().replace(b"b=", b"c=", 1),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    assert found(REFUSED[case]()) is None


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"v=DKIM1; k=rsa; p=",
        b"v=DKIM1; k=rsa; p=AAAA",
        b"garbage",
        b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        key_record(mail_key(1024)),
        key_record(extra=b"t=y; "),
        key_record(extra=b"p=; "),
    ],
)
def test_keys_that_prove_nothing(record: bytes) -> None:
    assert found(sign_mail(), record) is None


def test_a_short_key_is_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa

    assert rsa.generate_private_key(65537, 1024)
    weak = mail_key(1024)
    assert found(sign_mail(key=weak), key_record(weak)), "1024 bits are the least"


def test_what_expired_since_is_still_what_it_was() -> None:
    """The signature's own end is asked on receipt; years later only the bytes count."""
    raw = sign_mail()
    for clock in (0, NOW + 10**9):
        assert check_mail(raw, domains=DOMAINS, fetch_key=lambda _name, _left_s: key_record(), now=clock, timeout_s=9)
    recheck_mail(raw, key_record=key_record(), domain=DOMAIN, selector=SELECTOR)
    for wrong in ({"domain": "example.org"}, {"selector": "other"}, {"key_record": key_record(mail_key(1024))}):
        with pytest.raises(VerificationError) as caught:
            recheck_mail(raw, **({"key_record": key_record(), "domain": DOMAIN, "selector": SELECTOR} | wrong))
        assert caught.value.code == "dkim_mismatch"


def test_the_key_comes_from_the_dns() -> None:
    raw = sign_mail()
    with dns_server({NAME: [key_record()], "two." + NAME: [b"a", b"b"], "none." + NAME: []}) as address:
        fetch = resolver([address])
        assert fetch(NAME, 3) == key_record(), "longer than one string, and than one UDP packet or not"
        assert fetch("unknown.example", 3) is None
        assert fetch("two." + NAME, 3) is None
        assert fetch("none." + NAME, 3) is None
        assert check_mail(raw, domains=DOMAINS, fetch_key=fetch, now=NOW, timeout_s=3)


def test_a_dns_that_is_silent_is_not_waited_for_long() -> None:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        fetch = resolver([f"127.0.0.1:{silent.getsockname()[1]}"])
        start = time.monotonic()
        with pytest.raises(Unavailable):
            fetch(NAME, 0.5)
        with pytest.raises(Unavailable):
            fetch(NAME, -1)
        with pytest.raises(Unavailable):
            check_mail(many_signatures(), domains=DOMAINS, fetch_key=fetch, now=NOW, timeout_s=0.5)
        assert time.monotonic() - start < 2


def many_signatures() -> bytes:
    """Return a mail with eight signatures, of which only the last can hold."""
    raw = sign_mail()
    signature = raw[: raw.index(b"\r\nFrom:") + 2]
    others = [signature.replace(b"s=" + SELECTOR.encode(), b"s=other%d" % number) for number in range(7)]
    return b"".join(others) + raw


def test_all_signatures_share_one_deadline() -> None:
    asked: list[float] = []

    def slow(name: str, left_s: float) -> bytes | None:
        asked.append(left_s)
        time.sleep(0.05)
        return key_record() if name == NAME else None

    assert check_mail(many_signatures(), domains=DOMAINS, fetch_key=slow, now=NOW, timeout_s=3)
    assert len(asked) == 8
    assert asked[0] <= 3
    assert all(later <= earlier - 0.05 for earlier, later in itertools.pairwise(asked))


def test_hostile_mails_raise_nothing() -> None:
    chance, raw = random.Random(6376), sign_mail()
    hostile = [b"", b"\r\n\r\n", b" x\r\n\r\n", b"\xff" * 999, b"From:\r\n" * 3000 + b"\r\n", b": \r\n\r\n"]
    hostile += [b"Subject: " + b"=?x?q?" * 5000 + b"?=\r\n" + raw, raw.replace(b"v=1", b"v=1;" * 4000)]
    for _ in range(600):
        altered = bytearray(raw)
        for _ in range(chance.choice((1, 2, 8))):
            altered[chance.randrange(len(altered))] = chance.randrange(256)
        hostile.append(bytes(altered))
    for mail in hostile:
        finding = found(mail)
        if finding is not None:  # bytes that the relaxed form or no signature covers
            assert finding.as_json()["subject"] == "Learn how we'll use your information as we improve AI at Meta"
        with suppress(VerificationError):
            recheck_mail(mail, key_record=key_record(), domain=DOMAIN, selector=SELECTOR)
