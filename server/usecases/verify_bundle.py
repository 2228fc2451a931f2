"""Check a proof as a sceptic would: offline, without the register, saying what was seen and what was not there."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from server.bundles.asice import Container, read_container
from server.bundles.readme import format_time
from server.core.jws import thumbprint
from server.core.policies import TrustPolicy, parse_trust_policy
from server.core.proofs import format_entry, parse_proof, verify_proof
from server.core.receipts import CLOCK_SKEW_S, VerifiedReceipt, verify_evidence, verify_receipt
from server.core.tokens import VerifiedToken, verify_token, verify_token_of_receipt
from server.errors import ObjectionError, ParseError, VerificationError
from server.outside.timestamps import authority_name, embedded_authority, verify_timestamp

PASSED, FAILED, NOT_PRESENT = "passed", "failed", "not-present"
_ZIP = b"PK\x03\x04"
_NEEDS_EARLIER = "cannot be checked, because an earlier check failed"


@dataclass(frozen=True)
class Check:
    """One line of the report. ``code`` is set when it failed."""

    id: str
    title: str
    outcome: str
    reason: str
    code: str | None = None


@dataclass
class Report:
    """``facts``: what the proof says, as far as it holds; shown only with the outcome beside it."""

    checks: list[Check] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def valid(self) -> bool:
        """Whether everything present holds and nothing required is missing."""
        return bool(self.checks) and all(check.outcome != FAILED for check in self.checks)

    @property
    def shows(self) -> list[str]:
        """What the proof shows, in sentences; nothing when it is not valid."""
        if not self.valid:
            return []
        sentences = ["The holder of one key signed this objection, and the register's key states when it was received."]
        if "log_index" in self.facts:
            sentences.append("It stands in the register's log, and every evidence file is the one that was signed for.")
        if self.facts.get("disclosed"):
            sentences.append("What the holder disclosed was fixed when the objection was signed.")
        return sentences

    @property
    def does_not_show(self) -> list[str]:
        """What no reader should take from it."""
        sentences = [
            "That Meta received the objection.",
            "Who holds the key: nothing that the holder says about themselves was verified.",
            "That the time is right, without trusting the register's clock: no independent authority has stamped it.",
            "Whether the objection still stands today.",
        ]
        if self.facts.get("keys_from") == "bundle":
            sentences.append("That the register's keys are genuine: they were taken from the bundle itself.")
        return sentences

    @contextmanager
    def check(self, check_id: str, title: str, reason: str) -> Iterator["_Saying"]:
        """Add a check that passes with ``reason`` unless the block raises one of our errors."""
        saying = _Saying(reason)
        try:
            yield saying
        except ObjectionError as error:
            self.checks.append(Check(check_id, title, FAILED, str(error), error.code))
        else:
            self.checks.append(Check(check_id, title, PASSED, saying.reason))

    def not_present(self, check_id: str, title: str, reason: str) -> None:
        self.checks.append(Check(check_id, title, NOT_PRESENT, reason))

    def unchecked(self, check_id: str, title: str) -> None:
        self.checks.append(Check(check_id, title, FAILED, _NEEDS_EARLIER, "not_checked"))


@dataclass
class _Saying:
    """The reason of a check that passes; the block may put it better."""

    reason: str


def verify_file(raw: bytes, *, policy: TrustPolicy | None) -> Report:
    """Check a bundle, or a token with or without disclosures; which of them it is shows in its first bytes.

    Never raises for what the file holds: whatever is wrong with it is a failed check of the report.
    """
    if raw.startswith(_ZIP):
        return _verify_container(raw, policy)
    return _verify_token_alone(raw, policy)


def _verify_container(raw: bytes, pinned: TrustPolicy | None) -> Report:
    report = Report()
    container: Container | None = None
    with report.check("container", "The bundle holds exactly what it lists", "every file is listed, with its hash"):
        container = read_container(raw)
    if container is None:
        return report
    contents = container.contents

    _verify_container_time(report, container)
    policy = _choose_policy(report, contents.policy, pinned)

    receipt: VerifiedReceipt | None = None
    with report.check("receipt", "The receipt is signed by its holder", "") as saying:
        receipt = verify_receipt(contents.receipt)
        if receipt.kind != "objection":
            raise VerificationError("receipt_kind_refused", f"it is a receipt of kind {receipt.kind}, not an objection")
        saying.reason = f"by the key {thumbprint(receipt.holder_jwk)}"
        report.facts |= _receipt_facts(receipt)

    if receipt is None:
        report.unchecked("evidence", "The evidence is what the holder signed for")
    else:
        count = len(receipt.evidence)
        with report.check("evidence", "The evidence is what the holder signed for", f"{count} file(s), byte for byte"):
            verify_evidence(receipt, contents.evidence)

    token = _verify_token(report, contents.token, policy)
    if receipt is None or token is None:
        report.unchecked("token-receipt", "The token is about this receipt")
        report.unchecked("log", "The receipt stands in the log")
    else:
        with report.check("token-receipt", "The token is about this receipt", "both say the same"):
            verify_token_of_receipt(token, receipt)
            if receipt.iat > token.claims["received_at"] + CLOCK_SKEW_S:
                raise VerificationError("token_receipt_mismatch", "received before it was signed")
        _verify_log(report, container, receipt, token, policy)
    _say_what_is_absent(report, in_log=True)
    return report


def _verify_token_alone(raw: bytes, policy: TrustPolicy | None) -> Report:
    report = Report()
    if policy is not None:
        report.facts["keys_from"] = "policy"
    token = _verify_token(report, raw.strip(), policy)
    if token is not None:
        report.facts |= {name: token.claims[name] for name in ("platform", "right", "objected_at", "receipt_sha256")}
        report.facts["holder_key"] = thumbprint(token.holder_jwk)
    report.not_present("receipt", "The receipt is signed by its holder", "a token alone does not carry the receipt")
    report.not_present("log", "The receipt stands in the log", "a token alone does not carry the proof")
    _say_what_is_absent(report, in_log=False)
    return report


def _verify_container_time(report: Report, container: Container) -> None:
    with report.check("container-time", "The container's own time stamp", "") as saying:
        authority = embedded_authority(container.timestamp)
        at = verify_timestamp(container.timestamp, container.asic_manifest, trusted=authority)
        name = authority_name(authority)
        saying.reason = f"{format_time(int(at.timestamp()))} by {name}; it proves nothing by itself"


def _choose_policy(report: Report, raw_policy: bytes, pinned: TrustPolicy | None) -> TrustPolicy | None:
    title = "The register's keys are pinned from outside"
    own: TrustPolicy | None = None
    with report.check("policy", "The bundle's policy is well-formed", "it names the issuer's and the log's keys"):
        own = parse_trust_policy(raw_policy)
    if pinned is not None:
        with report.check("pinned", title, f"by the policy you gave, for {pinned.issuer}"):
            report.facts["keys_from"] = "policy"
        return pinned
    kids = ", ".join(sorted(own.issuer_keys)) if own else "unreadable"
    report.facts["keys_from"] = "bundle"
    report.not_present(
        "pinned", title, f"taken from the bundle itself; compare the key {kids} with what the register publishes"
    )
    return own


def _verify_token(report: Report, raw_token: bytes, policy: TrustPolicy | None) -> VerifiedToken | None:
    token: VerifiedToken | None = None
    with report.check("token", "The token is signed by the register", "") as saying:
        if policy is None:
            raise VerificationError("token_issuer_unknown", "give the register's policy with --policy")
        token = verify_token(_ascii(raw_token), policy)
        saying.reason = f"by {token.claims['iss']}, key {token.kid}"
    if token is None:
        report.unchecked("disclosures", "What the holder disclosed")
        return None
    report.facts |= {"issuer": token.claims["iss"], "received_at": token.claims["received_at"]}
    report.facts["disclosed"] = dict(token.disclosed)
    if token.disclosed:
        with report.check("disclosures", "What the holder disclosed", ", ".join(sorted(token.disclosed))):
            pass
    else:
        report.not_present("disclosures", "What the holder disclosed", "nothing: account, contact and name stay closed")
    return token


def _verify_log(
    report: Report, container: Container, receipt: VerifiedReceipt, token: VerifiedToken, policy: TrustPolicy | None
) -> None:
    with report.check("log", "The receipt stands in the log", "") as saying:
        if policy is None:
            raise VerificationError("policy_malformed", "without a policy there is no log to trust")
        contents = container.contents
        proof = parse_proof(_utf8(contents.proof))
        entry = format_entry(
            kind=receipt.kind,
            salt=proof.salt,
            receipt_sha256=receipt.sha256,
            received_at=token.claims["received_at"],
        )
        checkpoint = verify_proof(proof, entry=entry, log=policy.log)
        if (checkpoint.origin, proof.index) != (token.claims["log"]["origin"], token.claims["log"]["index"]):
            raise VerificationError("proof_mismatch", "the token names another place in the log")
        if contents.checkpoint != proof.checkpoint_note.encode():
            raise VerificationError("proof_mismatch", "checkpoint.txt is not the checkpoint of the proof")
        saying.reason = f"entry {proof.index} of {checkpoint.origin}, signed at {checkpoint.size} entries"
        report.facts |= {"log_origin": checkpoint.origin, "log_index": proof.index, "log_size": checkpoint.size}


def _say_what_is_absent(report: Report, *, in_log: bool) -> None:
    report.not_present("holder", "The presenter holds the key now", "no key binding: anybody may hand on this proof")
    if in_log:
        report.not_present("witnesses", "Witnesses saw the log's state", "no witness has cosigned it")
        report.not_present("anchor", "An independent clock stamped it", "recorded, not yet anchored")
    report.not_present("status", "The objection still stands", "not known offline; the register's status list tells")


def _receipt_facts(receipt: VerifiedReceipt) -> dict[str, Any]:
    payload = receipt.payload
    return {
        "receipt_sha256": receipt.sha256.hex(),
        "holder_key": thumbprint(receipt.holder_jwk),
        "platform": payload["platform"],
        "right": payload["objection"]["right"],
        "data_categories": payload["objection"]["data_categories"],
        "notice_channel": payload["notice"]["channel"],
        "objected_at": receipt.iat,
    }


def _ascii(raw: bytes) -> str:
    return _decode(raw, "ascii", "jws_malformed")


def _utf8(raw: bytes) -> str:
    return _decode(raw, "utf-8", "proof_malformed")


def _decode(raw: bytes, encoding: str, code: str) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise ParseError(code, f"not {encoding} text") from error
