"""What a bundle holds, whatever its container form: files by name, and ``manifest.json`` that lists them all."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.proofs import BundleManifest
from server.core.encoding import JsonObject, format_json, parse_json, sha256
from server.core.policies import parse_trust_policy
from server.errors import FieldError, ObjectionError, ParseError, VerificationError

MANIFEST = "manifest.json"
_MANIFEST_SCHEMA = BundleManifest()
_TEXT = "text/plain; charset=utf-8"
_AS_SIGNED = ""  # the media type of evidence is the one that its receipt gives
_REQUIRED = (
    *("receipt.jws", "token.sd-jwt", "proof.tlog-proof", "checkpoint.txt", "policy.json", "status.jwt", "README.txt"),
    "objection.jsonld",
)
_EVIDENCE_NAME = r"[a-z0-9][a-z0-9-]{0,47}\.[a-z0-9]{1,8}"
_LATER = r"later/[0-9]{2}-(?:supplement|withdrawal)"
_STAMP = r"[a-z0-9][a-z0-9-]{0,31}\.tst"
_STAMP_TYPE = "application/vnd.etsi.timestamp-token"
_ANCHORS = "anchors/"
# Name → role and media type. A name that none of these describes has no place in a bundle.
_FORMS = [
    (re.compile(pattern), role, media_type)
    for pattern, role, media_type in (
        (r"receipt\.jws", "receipt", "application/jose"),
        (r"token\.sd-jwt", "token", "application/dc+sd-jwt"),
        (r"proof\.tlog-proof", "proof", _TEXT),
        (r"checkpoint\.txt", "checkpoint", _TEXT),
        (r"policy\.json", "policy", "application/json"),
        (r"status\.jwt", "status", "application/statuslist+jwt"),
        (r"objection\.jsonld", "description", "application/ld+json"),
        (r"README\.txt", "readme", _TEXT),
        (r"verify\.html", "verifier", "text/html; charset=utf-8"),
        (_ANCHORS + _STAMP, "anchor", _STAMP_TYPE),
        (rf"{_LATER}\.jws", "later-receipt", "application/jose"),
        (rf"{_LATER}\.ack", "acknowledgement", "application/jose"),
        (rf"{_LATER}\.tlog-proof", "later-proof", _TEXT),
        (rf"{_LATER}\.consistency", "consistency", _TEXT),
        (rf"{_LATER}/{_STAMP}", "later-anchor", _STAMP_TYPE),
        (r"dkim/[0-9a-f]{64}\.txt", "dkim-key", _TEXT),
        (rf"(?:evidence|later/[0-9]{{2}})/{_EVIDENCE_NAME}", "evidence", _AS_SIGNED),
    )
]


@dataclass(frozen=True)
class BundledFile:
    """One file of a proof. ``media_type`` and ``role`` as in the manifest, whose own role is ``manifest``."""

    data: bytes
    media_type: str
    role: str


def bundled_file(name: str, data: bytes, *, signed_type: str = _AS_SIGNED) -> BundledFile:
    """Return the file under ``name``; ``signed_type`` is the media type that a receipt gives a piece of evidence.

    Raises ParseError ``bundle_malformed`` for a name that has no place in a bundle.
    """
    for pattern, role, media_type in _FORMS:
        if pattern.fullmatch(name):
            return BundledFile(data, media_type or signed_type, role)
    raise ParseError("bundle_malformed", f"{name} is not a file of a proof")


def format_manifest(files: Mapping[str, BundledFile]) -> bytes:
    """Return ``manifest.json``: every file with role, type, size and hash, in the order of ``files``."""
    listed = [
        {
            "name": name,
            "role": file.role,
            "media_type": file.media_type,
            "size": len(file.data),
            "sha256": sha256(file.data).hex(),
        }
        for name, file in files.items()
    ]
    receipt_sha256 = sha256(files["receipt.jws"].data).hex()
    return format_json({"v": 1, "receipt_sha256": receipt_sha256, "state": _state(files), "files": listed})


def with_manifest(files: Mapping[str, BundledFile], manifest: bytes) -> dict[str, BundledFile]:
    """Return ``files`` and, last of them, the ``manifest`` that lists them."""
    return {**files, MANIFEST: BundledFile(manifest, "application/json", "manifest")}


def verify_manifest(files: Mapping[str, bytes]) -> dict[str, BundledFile]:
    """Return the files of a proof, in the manifest's order, once ``files`` are it and exactly what it lists.

    The media types of evidence are the manifest's word: compare them with the receipts.
    Raises VerificationError ``bundle_unlisted_file``, ``bundle_file_missing``, ``bundle_file_mismatch``; ParseError
    ``bundle_malformed`` when the list itself is not that of a proof.
    """
    if MANIFEST not in files:
        raise VerificationError("bundle_file_missing", f"{MANIFEST} is missing")
    manifest = _parse_manifest(files[MANIFEST])
    listed = {item["name"]: item for item in manifest["files"]}
    if unlisted := files.keys() - listed.keys() - {MANIFEST}:
        raise VerificationError("bundle_unlisted_file", f"not listed, so it proves nothing: {_names(unlisted)}")
    if missing := listed.keys() - files.keys():
        raise VerificationError("bundle_file_missing", f"listed but not there: {_names(missing)}")
    if missing := set(_REQUIRED) - listed.keys():
        raise VerificationError("bundle_file_missing", f"no proof is without {_names(missing)}")
    for name, item in listed.items():
        if len(files[name]) != item["size"] or sha256(files[name]).hex() != item["sha256"]:
            raise VerificationError("bundle_file_mismatch", f"{name} is not the file that the manifest lists")
    found = {name: bundled_file(name, files[name], signed_type=item["media_type"]) for name, item in listed.items()}
    told = {name: BundledFile(files[name], item["media_type"], item["role"]) for name, item in listed.items()}
    if found != told or len(listed) != len(manifest["files"]):
        raise ParseError("bundle_malformed", "a file is listed twice, or under another role or type than its own")
    if manifest["receipt_sha256"] != sha256(files["receipt.jws"]).hex():
        raise VerificationError("bundle_file_mismatch", f"{MANIFEST} names another receipt than receipt.jws")
    if manifest != json.loads(format_manifest(found)):
        raise ParseError("bundle_malformed", "the manifest tells another state than its files")
    return found


def _state(files: Mapping[str, BundledFile]) -> str:
    """Return ``anchored`` once there is a stamp by an authority that the bundle's own policy trusts."""
    try:
        policy = parse_trust_policy(files["policy.json"].data)
    except ObjectionError:  # the verifier's next check says so
        return "recorded"
    stamps = {f"{_ANCHORS}{authority.name}.tst" for authority in policy.time_authorities if authority.trusted}
    return "recorded" if stamps.isdisjoint(files) else "anchored"


def _parse_manifest(raw: bytes) -> JsonObject:
    try:
        manifest = parse_json(raw)
        if problems := _MANIFEST_SCHEMA.refusals(manifest):
            raise FieldError.from_messages(problems)
    except ParseError as error:
        raise ParseError("bundle_malformed", f"{MANIFEST}: {error}") from error
    return manifest


def _names(names: set[str]) -> str:
    return ", ".join(sorted(names))
