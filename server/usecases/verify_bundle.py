"""Check a proof as a sceptic would: offline, without the register, saying what was seen and what was not there."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from server.bundles.asice import ASIC_MANIFEST, MIME_TYPE, TIMESTAMP, unpack_container, verify_container
from server.bundles.readme import format_time
from server.core.jws import thumbprint
from server.core.policies import TrustPolicy, format_trust_policy, parse_trust_policy
from server.core.presentations import Challenge, split_presentation, verify_binding, verify_challenge
from server.core.proofs import format_entry, parse_proof, verify_proof
from server.core.receipts import CLOCK_SKEW_S, VerifiedReceipt, verify_evidence, verify_receipt
from server.core.tokens import VerifiedToken, verify_token, verify_token_of_receipt
from server.errors import ObjectionError, ParseError, VerificationError
from server.outside.timestamps import authority_name, embedded_authority, verify_timestamp

PASSED, FAILED, NOT_PRESENT = "passed", "failed", "not-present"
_TITLES = {
    "container": "The bundle is a plain ASiC-E container",
    "files": "It holds exactly the files that it lists, with their hashes",
    "container-time": "The container's own time stamp",
    "policy": "The bundle's own policy names the register's keys",
    "pinned": "The register's keys are pinned from outside",
    "receipt": "The receipt is signed by its holder",
    "evidence": "The evidence is what the holder signed for",
    "token": "The token is signed by the register",
    "disclosures": "What the holder disclosed",
    "token-receipt": "The token is about this receipt",
    "log": "The receipt stands in the log",
    "holder": "The presenter holds the key now",
    "witnesses": "Witnesses saw the log's state",
    "anchor": "An independent clock stamped the log's state",
    "status": "The objection still stands",
}
_ZIP = b"PK\x03\x04"
_TOKEN = re.compile(rb"\s*ey[A-Za-z0-9_-]*\.[A-Za-z0-9_.~-]+\s*")
_MAX_NAME = 200
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
        if self._passed("receipt"):
            sentences = [
                "The holder of one key signed this objection, and the register's key states when it was received.",
                "It stands in the register's log, and every evidence file is the one that was signed for.",
            ]
        else:
            sentences = [
                "The register states, signed, that it received an objection by the holder of one key, and when."
            ]
        if self.facts.get("disclosed"):
            sentences.append("What the holder disclosed was fixed when the objection was recorded.")
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
        if self._passed("receipt"):
            sentences.append("Anything that only README.txt says: it explains, and nobody signed it.")
        else:
            sentences.append("The objection as its holder signed it, and its place in the log: the bundle shows them.")
        if self.facts.get("keys_from") == "bundle":
            sentences.append("That the register's keys are genuine: they were taken from the bundle itself.")
        return sentences

    @contextmanager
    def check(self, check_id: str) -> Iterator["_Saying"]:
        """Add a check that passes, with what the block says, unless the block raises one of our errors."""
        saying = _Saying()
        try:
            yield saying
        except ObjectionError as error:
            self.checks.append(Check(check_id, _TITLES[check_id], FAILED, str(error), error.code))
        else:
            self.checks.append(Check(check_id, _TITLES[check_id], PASSED, saying.reason))

    def not_present(self, check_id: str, reason: str) -> None:
        self.checks.append(Check(check_id, _TITLES[check_id], NOT_PRESENT, reason))

    def unchecked(self, *check_ids: str) -> None:
        self.checks += [
            Check(check_id, _TITLES[check_id], FAILED, _NEEDS_EARLIER, "not_checked") for check_id in check_ids
        ]

    def _passed(self, check_id: str) -> bool:
        return any(check.id == check_id and check.outcome == PASSED for check in self.checks)


@dataclass
class _Saying:
    """The reason of a check that passes."""

    reason: str = ""


def verify_file(raw: bytes, *, policy: TrustPolicy | None, asked: Challenge | None = None) -> Report:
    """Check a bundle, or a token with or without disclosures; which of them it is shows in its first bytes.

    ``policy``: whom to trust; without one a bundle is checked against the keys it carries, and says so.
    ``asked``: with which nonce a presentation was asked for; without it nobody proves to hold the key.
    Freshness is not asked for: a proof is old by nature. Raises ParseError ``file_unrecognised`` for what is neither;
    whatever is wrong with a bundle or a token is a failed check of the report, and stops no other that can still run.
    """
    if raw.startswith(_ZIP):
        return _verify_bundle(raw, policy, asked)
    if _TOKEN.fullmatch(raw):
        return _verify_token_alone(raw, policy, asked)
    raise ParseError("file_unrecognised", "neither a bundle (.asice) nor a token")


def _verify_bundle(raw: bytes, pinned: TrustPolicy | None, asked: Challenge | None) -> Report:
    report = Report()
    files: Mapping[str, bytes] | None = None
    with report.check("container") as saying:
        files = unpack_container(raw)
        saying.reason = MIME_TYPE
    if files is None:
        report.unchecked(*list(_TITLES)[1:-4])
        _verify_holder(report, None, "", "", asked)
        _say_what_is_absent(report)
        return report

    media_types: Mapping[str, str] | None = None
    with report.check("files") as saying:
        media_types = verify_container(files).evidence_types
        saying.reason = f"{len(files)} files, by manifest.json and by {ASIC_MANIFEST}"
    _verify_container_time(report, files)
    policy = _choose_policy(report, files, pinned)

    receipt = _verify_receipt(report, files)
    if receipt is None:
        report.unchecked("evidence")
    else:
        _verify_evidence(report, files, receipt, media_types)
    token = _verify_token(report, files.get("token.sd-jwt"), policy)
    if receipt is None or token is None:
        report.unchecked("token-receipt", "log")
    else:
        with report.check("token-receipt") as saying:
            verify_token_of_receipt(token, receipt)
            if receipt.iat > token.claims["received_at"] + CLOCK_SKEW_S:
                raise VerificationError("token_receipt_mismatch", "received before it was signed")
            saying.reason = "both say the same, and it was signed before it was received"
        _verify_log(report, files, receipt, token, policy)
    _verify_holder(report, None, "", "", asked)
    _say_what_is_absent(report)
    return report


def _verify_token_alone(raw: bytes, policy: TrustPolicy | None, asked: Challenge | None) -> Report:
    report = Report()
    if policy is None:
        report.not_present("pinned", "no policy was given, and a token carries no keys that anybody should trust")
    else:
        _say_pinned(report, policy)
    presented, raw_binding = split_presentation(_ascii(raw.strip()))
    token = _verify_token(report, presented.encode(), policy)
    if token is not None:
        names = ("platform", "right", "data_categories", "objected_at", "receipt_sha256")
        report.facts |= {name: token.claims[name] for name in names}
        report.facts |= {"holder_key": thumbprint(token.holder_jwk)}
        report.facts |= {"log_origin": token.claims["log"]["origin"], "log_index": token.claims["log"]["index"]}
    report.not_present("receipt", "a token alone does not carry the receipt")
    report.not_present("evidence", "a token alone does not carry the evidence")
    report.not_present("log", "a token alone does not carry the proof; the place in the log is the register's word")
    _verify_holder(report, token, presented, raw_binding, asked)
    _say_what_is_absent(report)
    return report


def _file(files: Mapping[str, bytes], name: str) -> bytes:
    if name not in files:
        raise VerificationError("bundle_file_missing", f"{name} is not in the bundle")
    return files[name]


def _verify_container_time(report: Report, files: Mapping[str, bytes]) -> None:
    with report.check("container-time") as saying:
        token = _file(files, TIMESTAMP)
        authority = embedded_authority(token)
        at = verify_timestamp(token, _file(files, ASIC_MANIFEST), trusted=authority)
        name = authority_name(authority)[:_MAX_NAME]
        saying.reason = (
            f"{format_time(int(at.timestamp()))} by an authority that calls itself {name}; proves nothing alone"
        )


def _choose_policy(report: Report, files: Mapping[str, bytes], pinned: TrustPolicy | None) -> TrustPolicy | None:
    own: TrustPolicy | None = None
    with report.check("policy") as saying:
        own = parse_trust_policy(_file(files, "policy.json"))
        saying.reason = f"for {own.issuer} and the log {own.log.key.name}"
        if pinned is not None:
            same = format_trust_policy(own) == format_trust_policy(pinned)
            saying.reason += "; the same as the one you gave" if same else "; NOT the one you gave, so it is not used"
    if pinned is not None:
        _say_pinned(report, pinned)
        return pinned
    report.facts["keys_from"] = "bundle"
    if own is None:
        report.not_present("pinned", "no policy was given, and the bundle's own cannot be read")
    else:
        report.not_present(
            "pinned",
            "keys taken from the bundle itself; compare the fingerprint "
            f"{', '.join(sorted(own.issuer_keys))} with what the register publishes",
        )
    return own


def _say_pinned(report: Report, pinned: TrustPolicy) -> None:
    report.facts["keys_from"] = "policy"
    with report.check("pinned") as saying:
        saying.reason = f"by the policy you gave, for {pinned.issuer} and the log {pinned.log.key.name}"


def _verify_receipt(report: Report, files: Mapping[str, bytes]) -> VerifiedReceipt | None:
    receipt: VerifiedReceipt | None = None
    with report.check("receipt") as saying:
        found = verify_receipt(_file(files, "receipt.jws"))
        if found.kind != "objection":
            raise VerificationError("receipt_kind_refused", f"it is a receipt of kind {found.kind}, not an objection")
        receipt = found
        saying.reason = f"by the key {thumbprint(receipt.holder_jwk)}"
        report.facts |= _receipt_facts(receipt)
    return receipt


def _verify_evidence(
    report: Report, files: Mapping[str, bytes], receipt: VerifiedReceipt, media_types: Mapping[str, str] | None
) -> None:
    evidence = {name.removeprefix("evidence/"): data for name, data in files.items() if name.startswith("evidence/")}
    with report.check("evidence") as saying:
        verify_evidence(receipt, evidence)
        if media_types is not None and media_types != {item.name: item.media_type for item in receipt.evidence}:
            raise VerificationError("evidence_mismatch", "manifest.json gives other media types than the receipt")
        saying.reason = f"{len(evidence)} file(s), byte for byte" if evidence else "the holder signed for no files"


def _verify_token(report: Report, raw_token: bytes | None, policy: TrustPolicy | None) -> VerifiedToken | None:
    token: VerifiedToken | None = None
    with report.check("token") as saying:
        if raw_token is None:
            raise VerificationError("bundle_file_missing", "token.sd-jwt is not in the bundle")
        if policy is None:
            raise VerificationError("token_issuer_unknown", "its signer is unknown: the register's policy is needed")
        token = verify_token(_ascii(raw_token), policy)
        saying.reason = f"by {token.claims['iss']}, key {token.kid}"
    if token is None:
        report.unchecked("disclosures")
        return None
    report.facts |= {"issuer": token.claims["iss"], "received_at": token.claims["received_at"]}
    report.facts["disclosed"] = dict(token.disclosed)
    if token.disclosed:
        with report.check("disclosures") as saying:
            saying.reason = f"{', '.join(sorted(token.disclosed))}: declared by the holder, not verified"
    else:
        report.not_present("disclosures", "nothing: account, contact and name stay closed")
    return token


def _verify_log(
    report: Report,
    files: Mapping[str, bytes],
    receipt: VerifiedReceipt,
    token: VerifiedToken,
    policy: TrustPolicy | None,
) -> None:
    with report.check("log") as saying:
        if policy is None:
            raise VerificationError("policy_malformed", "without a policy there is no log to trust")
        proof = parse_proof(_utf8(_file(files, "proof.tlog-proof")))
        entry = format_entry(
            kind=receipt.kind,
            salt=proof.salt,
            receipt_sha256=receipt.sha256,
            received_at=token.claims["received_at"],
        )
        checkpoint = verify_proof(proof, entry=entry, log=policy.log)
        if (checkpoint.origin, proof.index) != (token.claims["log"]["origin"], token.claims["log"]["index"]):
            raise VerificationError("proof_mismatch", "the token names another place in the log")
        if _file(files, "checkpoint.txt") != proof.checkpoint_note.encode():
            raise VerificationError("proof_mismatch", "checkpoint.txt is not the checkpoint of the proof")
        saying.reason = f"entry {proof.index} of {checkpoint.origin}, signed at {checkpoint.size} entries"
        report.facts |= {"log_origin": checkpoint.origin, "log_index": proof.index, "log_size": checkpoint.size}


def _verify_holder(
    report: Report, token: VerifiedToken | None, presented: str, raw_binding: str, asked: Challenge | None
) -> None:
    """Only an answer to the verifier's own nonce shows who holds the key now."""
    if asked is None and not raw_binding:
        report.not_present("holder", "no key binding: anybody may hand on this proof")
        return
    if token is None and raw_binding:
        report.unchecked("holder")
        return
    with report.check("holder") as saying:
        if token is None:
            raise VerificationError("binding_missing", "only the holder's presentation of the token answers a nonce")
        binding = verify_binding(raw_binding, token, presented)
        saying.reason = f"presented to {binding.audience!r}, {format_time(binding.presented_at)} by the holder's clock"
        if asked is not None:
            verify_challenge(binding, asked)
    if asked is None and report.checks[-1].outcome == PASSED:
        said = report.checks.pop().reason
        report.not_present("holder", f"signed, {said}; but nobody asked for it with a nonce: it may have been copied")


def _say_what_is_absent(report: Report) -> None:
    report.not_present("witnesses", "no witness has cosigned that the policy names")
    report.not_present("anchor", "recorded, not yet anchored")
    report.not_present("status", "not known offline; the register's status list tells")


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
