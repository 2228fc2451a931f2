"""Verify a proof offline: no database, no network, no clock but the caller's."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.bundles.asice import ASIC_MANIFEST, MIME_TYPE, TIMESTAMP, unpack_container, verify_container
from server.bundles.contents import BundledFile, verify_manifest
from server.bundles.documents import DocumentContents, read_document
from server.bundles.readme import format_time
from server.core.jws import format_public_jwk, thumbprint
from server.core.log_policies import quorum_met, verify_witnesses
from server.core.notes import Checkpoint
from server.core.policies import TrustPolicy, parse_trust_policy, policy_fingerprint
from server.core.practice import is_for_practice
from server.core.presentations import Challenge, split_presentation, verify_binding, verify_challenge
from server.core.proofs import format_entry, parse_proof, verify_proof
from server.core.receipts import CLOCK_SKEW_S, VerifiedReceipt, verify_evidence, verify_receipt
from server.core.statuslists import ERASED, STANDS, WITHDRAWN, StatusList, verify_status_list
from server.core.timestamps import embedded_authority, verify_timestamp
from server.core.tokens import VerifiedToken, verify_token, verify_token_of_receipt
from server.errors import ObjectionError, ParseError, VerificationError
from server.usecases.recognise import PDF_MAGIC, ZIP_MAGIC, is_proof, refuse_other, unrecognised
from server.usecases.verification_report import TITLES, Report
from server.usecases.verify_later import Later, Place, stamps_under, verify_later
from server.usecases.verify_stamps import MAX_NAME, verify_stamps

# With the white space that may stand around a token, and no other: docs/formats.md.
_TOKEN = re.compile(rb"[ \t\n\r]*(ey[A-Za-z0-9_-]*\.[A-Za-z0-9_.~-]+)[ \t\n\r]*")
_MAX_TOKEN_BYTES = 131_072
_DAY_S = 86_400
_LIST_SKEW_S = 360  # a status list is dated back to the full minute, and another machine's clock may be behind
_BY_WORTH = (STANDS, WITHDRAWN, ERASED)
_OF_CONTAINERS = ("container", "files", "container-time", "document")


@dataclass(frozen=True)
class _Given:
    """What came from whoever verifies, not from the proof. ``status``: a raw status list. Times in seconds."""

    pinned: TrustPolicy | None
    now: int
    status: bytes | None
    asked: Challenge | None


def verify_file(
    raw: bytes,
    *,
    policy: TrustPolicy | None,
    now: int,
    status: bytes | None = None,
    asked: Challenge | None = None,
) -> Report:
    """Check a bundle, a certificate, or a token with or without disclosures; its first bytes tell which it is.

    ``policy``: whom to trust; without one a bundle is checked against the keys it carries, and says so. ``now``:
    seconds, to say how old the knowledge of the status is; a proof itself is old by nature. ``status``: a status list
    newer than the one in the bundle. ``asked``: the challenge that the presenter had to answer.
    Raises ParseError ``file_unrecognised`` for what is none of these, ``file_resaved`` for a copy that some program
    changed; whatever else is wrong with a proof is a failed check of the report, and stops no other that can still run.
    """
    given = _Given(policy, now, status, asked)
    if raw.startswith(ZIP_MAGIC):
        return _verify_container(raw, given)
    if raw.startswith(PDF_MAGIC):
        return _verify_document(raw, given)
    if len(raw) <= _MAX_TOKEN_BYTES and (token := _TOKEN.fullmatch(raw)):
        return _verify_token_alone(token[1].decode("ascii"), given)
    refuse_other(raw)
    raise unrecognised()


def _verify_container(raw: bytes, given: _Given) -> Report:
    report = Report()
    files: Mapping[str, bytes] | None = None
    with report.check("container") as saying:
        files = unpack_container(raw)
        saying.reason = MIME_TYPE
    if files is None:
        refuse_other(raw)
        return _unreadable(report, "container-time", given)
    if not is_proof(files):
        raise unrecognised()
    listed: Mapping[str, BundledFile] | None = None
    with report.check("files") as saying:
        listed = verify_container(files)
        saying.reason = (
            f"{len(files)} files, by manifest.json and by {ASIC_MANIFEST}; no signature covers README.txt, "
            "objection.jsonld and verify.html: they may have been exchanged, and nothing here is taken from them"
        )
    with report.check("container-time") as saying:
        token = _file(files, TIMESTAMP)
        authority = embedded_authority(token)
        stamp = verify_timestamp(token, _file(files, ASIC_MANIFEST), trusted=authority)
        name = stamp.authority[:MAX_NAME]
        saying.reason = f"{format_time(stamp.at)} by an authority that calls itself {name}; proves nothing alone"
    policy = _choose_policy(report, files, given.pinned)
    _verify_proof(report, files, listed, policy, given)
    return report


def _verify_document(raw: bytes, given: _Given) -> Report:
    report = Report()
    document, failure = _read_document(raw)
    if document is None:
        refuse_other(raw, parsed=isinstance(failure, VerificationError))
    elif not is_proof(document.files):
        raise unrecognised()
    with report.check("container") as saying:
        if isinstance(failure, ParseError):
            raise failure
        saying.reason = "a PDF that carries files, and does nothing by itself"
    if document is None:
        if isinstance(failure, VerificationError):
            with report.check("document"):
                raise failure
        return _unreadable(report, "document", given)
    listed: Mapping[str, BundledFile] | None = None
    with report.check("files") as saying:
        listed = verify_manifest(document.files)
        saying.reason = f"{len(document.files)} files attached, by manifest.json"
    policy = _choose_policy(report, document.files, given.pinned)
    with report.check("document") as saying:
        signer = thumbprint(format_public_jwk(document.signer_key))
        if policy is None or signer not in policy.issuer_keys:
            raise VerificationError("document_signature_invalid", "signed by a key that is not the register's")
        saying.reason = f"by the register's key {signer}; the words on its pages are the register's"
    _verify_proof(report, document.files, listed, policy, given)
    return report


def _read_document(raw: bytes) -> tuple[DocumentContents | None, ObjectionError | None]:
    try:
        return read_document(raw), None
    except (ParseError, VerificationError) as error:
        return None, error


def _unreadable(report: Report, form_check: str, given: _Given) -> Report:
    absent = {"pinned", "later", "mail", "holder"}
    said = {check.id for check in report.checks}
    report.unchecked(*(check for check in TITLES if check not in {*_OF_CONTAINERS, *absent}), "files")
    report.unchecked(*({form_check} - said))
    for check in ("pinned", "later", "mail"):
        report.not_present(check, "the file cannot be read")
    _verify_holder(report, None, "", "", given)
    return report


def _verify_proof(
    report: Report,
    files: Mapping[str, bytes],
    listed: Mapping[str, BundledFile] | None,
    policy: TrustPolicy | None,
    given: _Given,
) -> None:
    """Check the files of a proof, whatever form they came in. ``listed``: them again, if the manifest holds."""
    media_types = None if listed is None else {name: file.media_type for name, file in listed.items()}
    receipt = _verify_receipt(report, files)
    if receipt is None:
        report.unchecked("evidence")
    else:
        _verify_evidence(report, files, receipt, media_types)
    token = _verify_token(report, files.get("token.sd-jwt"), policy)
    _verify_holder(report, token, "", "", given)
    if receipt is None or token is None:
        report.unchecked("token-receipt", "log")
        logged = None
    else:
        _verify_token_of_receipt(report, token, receipt)
        logged = _verify_log(report, files, receipt, token, policy)
    note, checkpoint = (None, None) if logged is None else logged
    seen = _verify_witnesses(report, note, policy)
    stamped_at = _verify_anchors(report, stamps_under(files, "anchors/"), note, token, policy, seen=seen)
    index = -1 if token is None else token.claims["log"]["index"]
    place = Place(index, note, checkpoint, stamped_at)
    later = verify_later(report, files, media_types, receipt, policy, objection_at=place)
    _verify_status(report, files.get("status.jwt"), token, policy, later, given=given)


def _verify_token_alone(text: str, given: _Given) -> Report:
    report = Report()
    policy = given.pinned
    if policy is None:
        report.not_present("pinned", "no policy was given, and a token carries no keys that anybody should trust")
    else:
        _say_pinned(report, policy)
    presented, raw_binding = split_presentation(text)
    token = _verify_token(report, presented.encode(), policy)
    if token is not None:
        names = ("platform", "right", "data_categories", "objected_at", "receipt_sha256")
        report.facts |= {name: token.claims[name] for name in names}
        report.facts |= {"holder_key": thumbprint(token.holder_jwk)}
        report.facts |= {"log_origin": token.claims["log"]["origin"], "log_index": token.claims["log"]["index"]}
    for check, what in (("receipt", "the receipt"), ("evidence", "the evidence"), ("later", "what was added later")):
        report.not_present(check, f"a token alone does not carry {what}")
    report.not_present("log", "a token alone does not carry the proof; the place in the log is the register's word")
    report.not_present("witnesses", "a token alone does not carry the log's state")
    report.not_present("anchor", "a token alone does not carry time stamps")
    if given.status is None:
        report.not_present("status", "a token alone does not know; the register's status list tells")
    else:
        _verify_status(report, None, token, policy, Later(), given=given)
    _verify_holder(report, token, presented, raw_binding, given)
    return report


def _file(files: Mapping[str, bytes], name: str) -> bytes:
    if name not in files:
        raise VerificationError("bundle_file_missing", f"{name} is not in the bundle")
    return files[name]


def _choose_policy(report: Report, files: Mapping[str, bytes], pinned: TrustPolicy | None) -> TrustPolicy | None:
    own: TrustPolicy | None = None
    with report.check("policy") as saying:
        own = parse_trust_policy(_file(files, "policy.json"))
        saying.reason = f"for {own.issuer} and the log {own.log.key.name}"
        if pinned is not None:
            same = policy_fingerprint(own) == policy_fingerprint(pinned)
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
            "register, log, witnesses and time authorities are those that the bundle itself names; compare the "
            f"policy's fingerprint {policy_fingerprint(own)} with the one that the register publishes elsewhere",
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
        if is_for_practice(receipt.payload["notice"].get("url")):
            report.facts["practice"] = True
    return receipt


def _verify_evidence(
    report: Report, files: Mapping[str, bytes], receipt: VerifiedReceipt, media_types: Mapping[str, str] | None
) -> None:
    folder = "evidence/"
    evidence = {name.removeprefix(folder): data for name, data in files.items() if name.startswith(folder)}
    with report.check("evidence") as saying:
        verify_evidence(receipt, evidence)
        types = {item.name: item.media_type for item in receipt.evidence}
        if media_types is not None and types != {name: media_types.get(folder + name) for name in evidence}:
            raise VerificationError("evidence_mismatch", "manifest.json gives other media types than the receipt")
        saying.reason = f"{len(evidence)} file(s), byte for byte" if evidence else "the holder signed for no files"


def _verify_token(report: Report, raw_token: bytes | None, policy: TrustPolicy | None) -> VerifiedToken | None:
    token: VerifiedToken | None = None
    with report.check("token") as saying:
        if raw_token is None:
            raise VerificationError("bundle_file_missing", "token.sd-jwt is not in the bundle")
        if policy is None:
            raise VerificationError("token_issuer_unknown", "its signer is unknown: the register's policy is needed")
        token = verify_token(_text(raw_token, "ascii", "jws_malformed"), policy)
        saying.reason = f"by {token.claims['iss']}, key {token.kid}"
    if token is None:
        report.unchecked("disclosures")
        return None
    report.facts |= {"issuer": token.claims["iss"], "received_at": token.claims["received_at"]}
    report.facts["assurance"] = token.claims["assurance"]
    if is_for_practice(token.claims["iss"]):
        report.facts["practice"] = True
    report.facts["disclosed"] = dict(token.disclosed)
    if token.disclosed:
        with report.check("disclosures") as saying:
            saying.reason = f"{', '.join(sorted(token.disclosed))}: declared by the holder, not verified"
    else:
        report.not_present("disclosures", "nothing: account, contact and name stay closed")
    return token


def _verify_token_of_receipt(report: Report, token: VerifiedToken, receipt: VerifiedReceipt) -> None:
    with report.check("token-receipt") as saying:
        verify_token_of_receipt(token, receipt)
        if receipt.iat > token.claims["received_at"] + CLOCK_SKEW_S:
            raise VerificationError("token_receipt_mismatch", "received before it was signed")
        saying.reason = "both say the same, and it was signed before it was received"


def _verify_log(
    report: Report,
    files: Mapping[str, bytes],
    receipt: VerifiedReceipt,
    token: VerifiedToken,
    policy: TrustPolicy | None,
) -> tuple[str, Checkpoint] | None:
    """Return the checkpoint, and its note in which the log's own signature holds, if the receipt is under it."""
    logged = None
    with report.check("log") as saying:
        if policy is None:
            raise VerificationError("policy_malformed", "without a policy there is no log to trust")
        proof = parse_proof(_text(_file(files, "proof.tlog-proof"), "utf-8", "proof_malformed"))
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
        logged = (proof.checkpoint_note, checkpoint)
    return logged  # noqa: RET504 (None where the check failed)


def _verify_witnesses(report: Report, note: str | None, policy: TrustPolicy | None) -> bool:
    """Tell whether the policy's quorum saw the log's state. What was only recorded cannot have it yet, and what was
    anchored under an earlier quorum need not have today's: neither makes a proof false.
    """
    if policy is None or note is None:
        report.unchecked("witnesses")
        return False
    met = False
    with report.check("witnesses") as saying:
        seen = verify_witnesses(note, policy.log)
        met = quorum_met(policy.log, [name for name, _ in seen])
        if not met:
            saying.absent("not seen by the witnesses that this policy wants")
        elif not seen:
            saying.absent("the policy asks for none, and none that it knows has signed")
        else:
            saying.reason = ", ".join(f"{name} on {format_time(at)}" for name, at in seen)
            report.facts["witnesses"] = [{"name": name, "at": at} for name, at in seen]
    return met


def _verify_anchors(
    report: Report,
    stamps: Mapping[str, bytes],
    note: str | None,
    token: VerifiedToken | None,
    policy: TrustPolicy | None,
    *,
    seen: bool,
) -> int | None:
    """Return when the first clock that ``policy`` trusts stamped the log's state, in seconds; ``seen``: by its quorum.

    The report calls that time independent, and the proof anchored, only by a policy that the proof did not bring.
    """
    report.facts["state"] = "recorded"
    if not stamps:
        report.not_present("anchor", "recorded: no clock stamped it yet")
        return None
    if policy is None or note is None or token is None:
        report.unchecked("anchor")
        return None
    first_at: int | None = None
    with report.check("anchor") as saying:
        stamped = verify_stamps(stamps, note, policy, received_at=token.claims["received_at"])
        first_at, words = stamped.first_at, "; ".join(stamped.words)
        report.facts["anchors"] = stamped.facts
        if not seen:
            saying.absent(f"recorded: stamped, but not seen by the witnesses that this policy wants; {words}")
        elif first_at is None:
            saying.absent(f"recorded: no independent clock stamped it; {words}")
        elif report.facts["keys_from"] == "bundle":
            saying.absent(
                f"recorded: {words}; that this clock is independent is only the word of the bundle's own policy"
            )
        else:
            report.facts |= {"state": "anchored", "anchored_at": first_at}
            saying.reason = f"anchored: {words}"
    return first_at


def _verify_status(
    report: Report,
    bundled: bytes | None,
    token: VerifiedToken | None,
    policy: TrustPolicy | None,
    later: Later,
    *,
    given: _Given,
) -> None:
    if token is None or policy is None:
        report.unchecked("status")
        return
    with report.check("status") as saying:
        raw_lists = [raw for raw in (given.status, bundled) if raw is not None]
        if not raw_lists:
            raise VerificationError("bundle_file_missing", "status.jwt is not in the bundle")
        found = [_verify_list(raw, token, policy) for raw in raw_lists]
        # The newest counts, whoever brought it: an older one, given beside the bundle, must not raise the withdrawn.
        listed, value = max(found, key=lambda each: (each[0].iat, _BY_WORTH.index(each[1])))
        report.facts |= {"status": "stands", "status_at": listed.iat}
        if value == ERASED:
            report.facts["status"] = "erased"
            raise VerificationError(
                "objection_erased", f"erased by its holder, as the register's list of {format_time(listed.iat)} says"
            )
        if later.withdrawn_at is not None or value == WITHDRAWN:
            report.facts["status"] = "withdrawn"
            raise VerificationError("objection_withdrawn", _withdrawal(later, listed.iat))
        saying.reason = f"it stood on {format_time(listed.iat)}, {_age(given.now - listed.iat)}; today may differ"


def _verify_list(raw: bytes, token: VerifiedToken, policy: TrustPolicy) -> tuple[StatusList, int]:
    listed = verify_status_list(_text(raw, "ascii", "jws_malformed"), policy)
    reference = token.claims["status"]["status_list"]
    if listed.uri != reference["uri"]:
        raise VerificationError("status_mismatch", "another list than the token names")
    if listed.iat + _LIST_SKEW_S < token.claims["received_at"]:
        raise VerificationError("status_mismatch", "a list from before the objection was received")
    return listed, listed.status(reference["idx"])


def _withdrawal(later: Later, list_iat: int) -> str:
    if later.withdrawn_at is not None:
        return f"its holder withdrew it: received {format_time(later.withdrawn_at)}"
    return f"its holder withdrew it, as the register's list of {format_time(list_iat)} says"


def _age(seconds: int) -> str:
    if seconds < 0:
        return "by a clock that is ahead of this one"
    days = seconds // _DAY_S
    return "less than a day ago" if days < 1 else "one day ago" if days == 1 else f"{days} days ago"


def _verify_holder(
    report: Report, token: VerifiedToken | None, presented: str, raw_binding: str, given: _Given
) -> None:
    """Only an answer to the verifier's own nonce shows who holds the key now."""
    if given.asked is None and not raw_binding:
        report.not_present("holder", "no key binding: anybody may hand on this proof")
        return
    if token is None:
        report.unchecked("holder")
        return
    with report.check("holder") as saying:
        binding = verify_binding(raw_binding, token, presented)
        said = f"presented to {binding.audience!r}, {format_time(binding.presented_at)} by the holder's clock"
        if given.asked is None:
            saying.absent(f"signed, {said}; but nobody asked for it with a nonce: it may have been copied")
        else:
            verify_challenge(binding, given.asked)
            saying.reason = said


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


def _text(raw: bytes, encoding: str, code: str) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise ParseError(code, f"not {encoding} text") from error
