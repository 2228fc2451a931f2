"""``README.txt`` of a bundle: for the person who opens it years later."""

from datetime import UTC, datetime

from server.core.practice import is_for_practice
from server.core.receipts import VerifiedReceipt

_PLATFORMS = {
    "facebook": "Facebook",
    "instagram": "Instagram",
    "threads": "Threads",
    "messenger": "Messenger",
    "whatsapp": "WhatsApp",
}
_CHANNELS = {
    "in-app": "a notice on the page",
    "notification-list": "an entry in the list of notifications",
    "form": "Meta's objection form",
    "email": "an e-mail, kept apart",
    "none": "no notice was at hand",
}
_PRACTICE = """PRACTICE: this was made for practice. It records no objection to Meta.

"""


def format_readme(
    receipt: VerifiedReceipt,
    *,
    received_at: int,
    log_origin: str,
    log_index: int,
    issuer: str,
    anchored_at: int | None,
) -> bytes:
    """Return the explanation. ``anchored_at``: when an independent clock first stamped it, in seconds, if one did."""
    payload = receipt.payload
    notice = payload["notice"]
    evidence = "".join(f"  evidence/{item.name}\n" for item in receipt.evidence)
    state = "Recorded: no independent clock has stamped it yet"
    unproved = """- That the time above is right, if you do not trust the register's clock: no
  independent clock has stamped it yet.
"""
    if anchored_at is not None:
        state = f"Anchored: no later than {format_time(anchored_at)}"
        unproved = ""
    by_hand = "receipt.jws evidence/*" if evidence else "receipt.jws"
    practice = _PRACTICE if is_for_practice(notice.get("url"), issuer) else ""
    return f"""PROOF OF OBJECTION

{practice}Somebody objected, under Article 21 GDPR, to the use of their personal data for
training AI at Meta. This bundle is the proof of it.

  Platform             {_PLATFORMS[payload["platform"]]}
  Prompted by          {_CHANNELS[notice["channel"]]}
  Objected at          {format_time(receipt.iat)} (the clock of the person's computer)
  Received at          {format_time(received_at)} (the register's clock)
  State                {state}
  Register             {issuer}
  Place in the log     {log_origin}, entry {log_index}
  Receipt, SHA-256     {receipt.sha256.hex()}


WHAT IT SHOWS

- The holder of one secret key signed this objection (receipt.jws).
- The register received it, with the evidence listed there, and entered it in
  its public log (token.sd-jwt, proof.tlog-proof).
- Every evidence file is the one the holder signed for, byte for byte.

WHAT IT DOES NOT SHOW

- That Meta received the objection. Only a confirmation by Meta shows that.
- Who holds the key. Names and accounts stay with the holder, as salted digests;
  they may open them for you, and what they open was fixed at the time above.
{unproved}- Whether it still stands today. The register's list of today tells.

WHAT IS IN IT

  receipt.jws          the objection, signed by its holder
  token.sd-jwt         the register's signed statement about it
  proof.tlog-proof     that the receipt stands in the log
  checkpoint.txt       the log's signed state at that moment
  status.jwt           the register's list of objections that no longer stand
  objection.jsonld     what was objected to, in the vocabulary DPV; it explains
{evidence}  anchors/             time stamps over checkpoint.txt, by whom policy.json names;
                       that of "local" is the register's own clock's, and shows
                       no independent time
  later/               what the person added or withdrew since, with its own time
                       stamps
  policy.json          the register's public keys, as it states them
  manifest.json        every file with its size and SHA-256
  META-INF/            the same list in the form of ASiC-E (ETSI EN 319 162-1),
                       stamped by the register's own clock, which nobody need trust


HOW TO CHECK IT

With the verifier, offline:

  objection verify FILE

That takes all keys from policy.json: those of the register, its log, witnesses
and time authorities. It shows that the parts fit together. To rule out that
somebody made them up, or put others in their place, get the register's policy
from another source that you trust, and pass it:

  objection verify --policy policy.json FILE

or compare its fingerprint, which "sha256sum policy.json" prints, with the one
that the register publishes elsewhere.

Any file by hand: unzip the bundle, run

  sha256sum {by_hand}

and compare with manifest.json and with the hash above.
""".encode()


def format_time(seconds: int) -> str:
    """Return a time in UTC, for people."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%d %B %Y, %H:%M:%S UTC")
