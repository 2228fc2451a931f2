"""The signature under a mail: found, refused, and checked again with the key record alone."""

import itertools
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import dkim
import pytest

from schemas.vocabulary import FINDINGS, KEYED_FINDINGS
from server.core.mails import recheck_finding
from server.errors import Unavailable, VerificationError
from server.outside.known_mails import load_known_mails
from server.outside.mail import MailFinding, check_mails, resolver
from server.settings import Settings
from tests.fixtures.mails import DOMAIN, MAIL, NAME, SELECTOR, dns_server, key_record, mail_key, sign_mail

DOMAINS = ("facebookmail.com", "mail.instagram.com")
NOW = int(time.time())
BOTH = {"domain": DOMAIN, "selector": SELECTOR}


def found(
    raw: bytes,
    record: bytes | Sequence[bytes] | None = None,
    *,
    domains: Sequence[str] = DOMAINS,
    fetch: Callable[[str, float], Sequence[bytes]] | None = None,
    now: int = NOW,
) -> MailFinding:
    held = [key_record()] if record is None else [record] if isinstance(record, bytes) else record
    [finding] = check_mails(
        [raw],
        domains=domains,
        known=load_known_mails(None),
        fetch_keys=fetch or (lambda name, _left_s: held if name == NAME else []),
        now=now,
        timeout_s=9,
    )
    # Whatever is acknowledged, every verifier bears it out.
    recheck_finding(raw, finding.claims, key_record=finding.key_record)
    assert (finding.key_record is not None) == (finding.finding in KEYED_FINDINGS) == ("key_sha256" in finding.claims)
    return finding


def silent(_name: str, _left_s: float) -> Sequence[bytes]:
    raise Unavailable("dns_unavailable", "silent")


def test_a_notice_of_metas_is_known() -> None:
    told = dict(found(sign_mail()).claims)
    assert told.pop("key_sha256")
    assert abs(told.pop("signed_at") - time.time()) < 3600
    assert told == {
        "finding": "signed",
        "domain": DOMAIN,
        "selector": SELECTOR,
        "from": "facebookmail.com",
        "subject": "Learn how we'll use your information as we improve AI at Meta",
        "date": 1_744_624_800,
        "known": "notice-2025-en",
        "kind": "notice",
    }


@pytest.mark.parametrize("canonical", [(h, b) for h in (b"relaxed", b"simple") for b in (b"relaxed", b"simple")])
def test_all_canonical_forms(canonical: tuple[bytes, bytes]) -> None:
    assert found(sign_mail(canonicalize=canonical)).finding == "signed"


def test_spaces_that_a_relaxed_form_allows() -> None:
    raw = (
        sign_mail()
        .replace(b"Subject: Learn how", b"SUBJECT:   Learn\r\n  how")
        .replace(b"interests. ", b"interests.   ")
    )
    assert found(raw).finding == "signed"


def test_subjects_in_other_letters() -> None:
    subject = (
        b"=?utf-8?q?D=C3=A9couvrez_comment_nous_utiliserons_vos_informations_?=\r\n"
        b" =?utf-8?q?=C3=A0_mesure_que_nous_am=C3=A9liorons_l=E2=80=99IA_de_Meta?="
    )
    english = b"Learn how we'll use your information as we improve AI at Meta"
    finding = found(sign_mail(MAIL.replace(english, subject))).claims
    assert (finding["known"], finding["kind"]) == ("notice-2025-fr", "notice")
    for other in (
        MAIL.replace(english, b"Hello"),
        MAIL.replace(b"2025 10:00", b"2031 10:00"),
        MAIL.replace(b"14", b"x"),
    ):
        claims = found(sign_mail(other)).claims
        assert (claims["known"], claims["kind"]) == ("none", "unknown")


def _signed(**changes: Any) -> Callable[[], bytes]:
    return lambda: sign_mail(**changes)


NOT_SIGNED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "not signed": ("unsigned", lambda: MAIL),
    "another subject": ("signature-mismatch", lambda: sign_mail().replace(b"Learn", b"Lern")),
    "a tag in the subject": ("signature-mismatch", lambda: sign_mail().replace(b"Learn", b"[EXTERNAL] Learn")),
    "another date": ("signature-mismatch", lambda: sign_mail().replace(b"14 Apr", b"15 Apr")),
    "another sender": ("signature-mismatch", lambda: sign_mail().replace(b"notification@", b"security@")),
    "another body": ("body-changed", lambda: sign_mail().replace(b"legitimate", b"vital")),
    "a footer of a mailing list": ("body-changed", lambda: sign_mail() + b"-- \r\nlist@example.org\r\n"),
    "rewritten links": ("body-changed", lambda: _link().replace(b"https://meta", b"https://safe.example/?url=meta")),
    "a body in another encoding": ("body-changed", lambda: _umlaut().replace(b"k=C3=B6n", "kön".encode())),
    "a second From on top": ("unreadable", lambda: b"From: x@facebookmail.com\r\n" + sign_mail()),
    "a second Subject": ("unreadable", lambda: b"Subject: x\r\n" + sign_mail()),
    "a second Date": ("unreadable", lambda: sign_mail().replace(b"To: ", b"Date: now\r\nTo: ")),
    "two senders in one": ("sender-mismatch", lambda: sign_mail(MAIL.replace(b"<noti", b"<a@b.example>, <noti"))),
    "no sender": ("sender-mismatch", lambda: sign_mail(MAIL.replace(b"<notification@facebookmail.com>", b""))),
    "part of the body only": ("not-covered", _signed(length=True)),
    "subject not signed": ("not-covered", _signed(include_headers=[b"from", b"date"])),
    "date not signed": ("not-covered", _signed(include_headers=[b"from", b"subject"])),
    "another domain": ("domain-not-listed", _signed(domain=b"example.org")),
    "a domain that ends alike": (
        "domain-not-listed",
        lambda: sign_mail(MAIL.replace(b"facebookmail", b"notfacebookmail"), domain=b"notfacebookmail.com"),
    ),
    "another sender than the signer": (
        "sender-mismatch",
        lambda: sign_mail(MAIL.replace(b"@facebookmail.com", b"@other.example")),
    ),
    "expired": ("expired", lambda: sign_mail().replace(b"; t=", b"; x=1500000000; t=")),
    "another key": ("signature-mismatch", lambda: sign_mail(key=mail_key(1024))),
    "a selector without a key": ("key-gone", _signed(selector=b"gone")),
    "a run of spaces": ("unreadable", lambda: sign_mail(MAIL + b" " * 300 + b"x\r\n")),
    "too large": ("unreadable", lambda: sign_mail(MAIL + b"x\r\n" * 400_000)),
    "no body": ("unreadable", lambda: sign_mail()[: sign_mail().index(b"\r\n\r\n")]),
    "a signature of many folds": (
        "signature-refused",
        lambda: sign_mail().replace(b"v=1;", b"v=1;" + b"\r\n " * 1900, 1),
    ),
    "half a signature": ("signature-refused", lambda: sign_mail().replace(b"b=", b"c=", 1)),
    "an old algorithm": ("signature-refused", _signed(signature_algorithm=b"rsa-sha1")),
    "ours altered, and another's": (
        "body-changed",
        lambda: sign_mail(sign_mail().replace(b"legitimate", b"vital"), domain=b"list.example"),
    ),
    "another's, and a bad one": (
        "domain-not-listed",
        lambda: b"DKIM-Signature: v=1\r\n" + sign_mail(domain=b"list.example"),
    ),
}


def _link() -> bytes:
    return sign_mail(MAIL + b"https://meta.example/\r\n")


def _umlaut() -> bytes:
    return sign_mail(MAIL + b"Sie k=C3=B6nnen widersprechen\r\n")


@pytest.mark.parametrize("case", NOT_SIGNED)
def test_what_is_no_signature_of_metas_has_its_own_finding(case: str) -> None:
    expected, make = NOT_SIGNED[case]
    finding = found(make())
    assert finding.finding == expected
    if "domain" in finding.claims:
        others = {"another domain": "example.org", "a domain that ends alike": "notfacebookmail.com"}
        assert finding.domain == ("list.example" if "another's" in case else others.get(case, DOMAIN)) or (
            case == "ours altered, and another's" and finding.domain == DOMAIN
        )


@pytest.mark.parametrize(
    ("expected", "record"),
    [
        ("key-gone", b""),
        ("key-gone", b"v=DKIM1; k=rsa; p="),
        ("key-unusable", b"v=DKIM1; k=rsa; p=AAAA"),
        ("key-unusable", b"garbage"),
        ("key-unusable", b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="),
        ("signature-mismatch", key_record(mail_key(1024))),
        ("test-key", key_record(extra=b"t=y; ")),
        ("test-key", key_record(extra=b"t=s:y; ")),
        ("signed", key_record(extra=b"t=s; ")),
        ("key-unusable", key_record(extra=b"p=; ")),
        ("key-unusable", key_record(extra=b"s=other; ")),
    ],
)
def test_keys_that_prove_nothing(expected: str, record: bytes) -> None:
    assert found(sign_mail(), record).finding == expected


def test_of_several_records_the_one_that_holds_counts() -> None:
    others = [b"v=spf1 -all", key_record(mail_key(1024))]
    assert found(sign_mail(), [*others, key_record()]).key_record == key_record()
    assert found(sign_mail(), others).finding == "signature-mismatch"


def test_a_strict_key_is_for_its_very_domain() -> None:
    """RFC 6376, section 3.6.1: with t=s, i= must not be of a subdomain."""
    below = sign_mail(identity=b"x@sub.facebookmail.com")
    same = sign_mail(identity=b"x@facebookmail.com")
    assert (found(below).finding, found(same).finding) == ("signed", "signed")
    strict = key_record(extra=b"t=s; ")
    assert (found(below, strict).finding, found(same, strict).finding) == ("key-unusable", "signed")


def test_a_silent_dns_is_no_finding_about_a_mail() -> None:
    assert found(sign_mail(), fetch=silent).claims == {"finding": "unchecked"} | BOTH
    unasked = [case for case in NOT_SIGNED if found(NOT_SIGNED[case][1](), fetch=silent).finding != "unchecked"]
    asked = {"signature-mismatch", "key-gone"}
    assert unasked == [case for case, (finding, _) in NOT_SIGNED.items() if finding not in asked]


def test_a_signature_that_can_be_looked_up_counts_though_another_cannot() -> None:
    def half(name: str, left_s: float) -> Sequence[bytes]:
        return [key_record()] if name == NAME else silent(name, left_s)

    both = sign_mail(sign_mail(), selector=b"silent")
    assert found(both, fetch=half).finding == "signed"
    assert found(both.replace(b"Learn", b"Lern"), fetch=half).finding == "unchecked"


def test_each_key_is_asked_for_once() -> None:
    asked: list[str] = []

    def fetch(name: str, _left_s: float) -> Sequence[bytes]:
        asked.append(name)
        raise Unavailable("dns_unavailable", "silent")

    check_mails([sign_mail()] * 8, domains=DOMAINS, known=(), fetch_keys=fetch, now=NOW, timeout_s=9)
    assert asked == [NAME]


def test_meta_s_own_domains_are_the_default() -> None:
    domains = Settings.from_env({}).mail_domains
    for domain in (
        *("facebookmail.com", "support.facebook.com", "mail.instagram.com", "support.instagram.com", "fb.com"),
        *("meta.com", "global.metamail.com"),
    ):
        mail = sign_mail(MAIL.replace(b"facebookmail.com", domain.encode()), domain=domain.encode())
        finding = found(mail, domains=domains, fetch=lambda _name, _left_s: [key_record()])
        assert (finding.finding, finding.domain) == ("signed", domain)


def test_mails_that_others_wrote() -> None:
    """Folded, in other cases, with headers doubled and more than one signature: dkimpy says what holds."""
    chance = random.Random(6376)
    forms = [(h, b) for h in (b"relaxed", b"simple") for b in (b"relaxed", b"simple")]
    believed = 0
    for _ in range(200):
        mail = _varied(MAIL, chance)
        raw = sign_mail(mail, canonicalize=chance.choice(forms), include_headers=_headers(chance))
        if chance.random() < 0.4:
            raw = sign_mail(raw, domain=b"esp.example", selector=b"k1", canonicalize=chance.choice(forms))
        if chance.random() < 0.3:
            raw = b"Received: from a.example\r\n\tby b.example\r\nX-Note: 1\r\nx-note: 2\r\n" + raw
        if chance.random() < 0.5:
            raw = _varied(raw, chance)
        holds = any(_dkimpy(raw, number) for number in range(2))
        assert (found(raw).finding == "signed") == holds, raw
        believed += holds
    assert 60 < believed < 190


def _dkimpy(raw: bytes, number: int) -> bool:
    """Tell whether signature ``number`` is by our domain and holds, as dkimpy sees it."""
    reader = dkim.DKIM(raw)
    ours = [value for name, value in reader.headers if name.lower() == b"dkim-signature"]
    with suppress(dkim.DKIMException):
        return number < len(ours) and reader.verify(
            number, dnsfunc=lambda name, timeout=5: key_record() if name.rstrip(b".").decode() == NAME else b""
        )
    return False


def _headers(chance: random.Random) -> list[bytes]:
    names = [b"from", b"subject", b"date", *chance.sample([b"to", b"cc", b"x-note", b"mime-version"], 2)]
    chance.shuffle(names)
    return names


def _varied(mail: bytes, chance: random.Random) -> bytes:
    """Return ``mail`` with what relaxed forms allow, and simple ones do not."""
    changes: list[tuple[bytes, bytes]] = [
        (b"Subject: ", b"SUBJECT:"),
        (b"Subject: Learn how", b"Subject: Learn\r\n\t how"),
        (b"To: somebody", b"to:  somebody"),
        (b"right to object.\r\n", b"right to object. \t\r\n\r\n"),
        (b"interests. You", b"interests.   You"),
        (b"To: ", b"Mime-Version: 1.0\r\nTo: "),
    ]
    for old, new in chance.sample(changes, chance.randrange(3)):
        mail = mail.replace(old, new, 1)
    return mail


def test_a_short_key_is_refused() -> None:
    weak = mail_key(1024)
    assert found(sign_mail(key=weak), key_record(weak)).finding == "signed", "1024 bits are the least"


def test_what_expired_since_is_still_what_it_was() -> None:
    """The signature's own end is asked on receipt; years later only the bytes count."""
    raw = sign_mail()
    for clock in (0, NOW + 10**9):
        assert found(raw, now=clock).finding == "signed"


@pytest.mark.parametrize("claimed", FINDINGS)
def test_a_register_cannot_say_of_a_signed_mail_what_the_mail_contradicts(claimed: str) -> None:
    finding = {"finding": claimed} | BOTH
    word_of_the_register = {"unchecked", "expired", "key-gone", "sender-mismatch", "domain-not-listed"}
    if claimed in {"signed", *word_of_the_register}:
        recheck_finding(sign_mail(), finding, key_record=key_record())
        finding |= {"selector": "other"}
    with pytest.raises(VerificationError) as caught:
        recheck_finding(sign_mail(), finding, key_record=key_record())
    assert caught.value.code == "dkim_mismatch"


def test_the_key_comes_from_the_dns() -> None:
    with dns_server({NAME: [key_record()], "two." + NAME: [b"a", b"b"], "none." + NAME: []}) as address:
        fetch = resolver([address])
        assert fetch(NAME, 3) == [key_record()], "longer than one string, and than one UDP packet or not"
        assert fetch("unknown.example", 3) == []
        assert sorted(fetch("two." + NAME, 3)) == [b"a", b"b"]
        assert fetch("none." + NAME, 3) == []
        assert found(sign_mail(), fetch=fetch).finding == "signed"


def test_a_key_that_was_found_is_kept_and_that_there_is_none_is_not() -> None:
    zone = {NAME: [key_record()]}
    with dns_server(zone) as address:
        fetch = resolver([address])
        assert fetch("late." + NAME, 3) == []
        assert fetch(NAME, 3)
        zone["late." + NAME] = zone.pop(NAME)
        assert fetch("late." + NAME, 3)
        assert fetch(NAME, 3)


def test_a_dns_that_is_silent_is_not_waited_for_long() -> None:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unanswered:
        unanswered.bind(("127.0.0.1", 0))
        fetch = resolver([f"127.0.0.1:{unanswered.getsockname()[1]}"])
        start = time.monotonic()
        with pytest.raises(Unavailable):
            fetch(NAME, 0.5)
        with pytest.raises(Unavailable):
            fetch(NAME, -1)
        mails = [many_signatures()] * 8
        findings = check_mails(mails, domains=DOMAINS, known=(), fetch_keys=fetch, now=NOW, timeout_s=0.5)
        assert [each.finding for each in findings] == ["unchecked"] * 8
        assert time.monotonic() - start < 2


def many_signatures() -> bytes:
    """Return a mail with eight signatures, of which only the last can hold."""
    raw = sign_mail()
    signature = raw[: raw.index(b"\r\nFrom:") + 2]
    others = [signature.replace(b"s=" + SELECTOR.encode(), b"s=other%d" % number) for number in range(7)]
    return b"".join(others) + raw


def test_all_signatures_share_one_deadline() -> None:
    asked: list[float] = []

    def slow(name: str, left_s: float) -> Sequence[bytes]:
        asked.append(left_s)
        time.sleep(0.05)
        return [key_record()] if name == NAME else []

    assert found(many_signatures(), fetch=slow).finding == "signed"
    assert len(asked) == 8
    assert asked[0] <= 9
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
        finding = found(mail).claims
        if finding["finding"] == "signed":  # bytes that the relaxed form or no signature covers
            assert finding["subject"] == "Learn how we'll use your information as we improve AI at Meta"
