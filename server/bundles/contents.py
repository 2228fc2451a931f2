"""What a bundle holds, whatever its container form."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.proofs import BundleManifest
from schemas.vocabulary import MAX_EVIDENCE_ITEMS
from server.core.encoding import JsonObject, format_json, parse_json, sha256
from server.errors import FieldError, ParseError, VerificationError

MANIFEST = "manifest.json"
_EVIDENCE = "evidence/"
_SINGLE_FILES = {
    "receipt.jws": ("receipt", "application/jose"),
    "token.sd-jwt": ("token", "application/dc+sd-jwt"),
    "proof.tlog-proof": ("proof", "text/plain; charset=utf-8"),
    "checkpoint.txt": ("checkpoint", "text/plain; charset=utf-8"),
    "policy.json": ("policy", "application/json"),
    "README.txt": ("readme", "text/plain; charset=utf-8"),
}


@dataclass(frozen=True)
class BundleContents:
    """The files of a proof: ``files`` by name, ``evidence`` by the name the receipt gives it."""

    receipt: bytes
    token: bytes
    proof: bytes
    checkpoint: bytes
    policy: bytes
    readme: bytes
    evidence: Mapping[str, bytes]

    @property
    def files(self) -> dict[str, bytes]:
        singles = (self.receipt, self.token, self.proof, self.checkpoint, self.policy, self.readme)
        return dict(zip(_SINGLE_FILES, singles, strict=True)) | {
            f"{_EVIDENCE}{name}": data for name, data in self.evidence.items()
        }


def media_type_of(name: str, evidence_types: Mapping[str, str]) -> str:
    if name == MANIFEST:
        return "application/json"
    if name in _SINGLE_FILES:
        return _SINGLE_FILES[name][1]
    return evidence_types[name.removeprefix(_EVIDENCE)]


def format_manifest(contents: BundleContents, *, evidence_types: Mapping[str, str]) -> bytes:
    """Return ``manifest.json``: every file with role, type, size and hash."""
    files = [
        {
            "name": name,
            "role": _SINGLE_FILES[name][0] if name in _SINGLE_FILES else "evidence",
            "media_type": media_type_of(name, evidence_types),
            "size": len(data),
            "sha256": sha256(data).hex(),
        }
        for name, data in contents.files.items()
    ]
    receipt_sha256 = sha256(contents.receipt).hex()
    return format_json({"v": 1, "receipt_sha256": receipt_sha256, "state": "recorded", "files": files})


def parse_manifest(raw: bytes) -> JsonObject:
    """Raises ParseError ``bundle_malformed``."""
    try:
        manifest = parse_json(raw)
        if problems := BundleManifest().validate(manifest):
            raise FieldError.from_messages(problems)
    except ParseError as error:
        raise ParseError("bundle_malformed", f"{MANIFEST}: {error}") from error
    return manifest


def verify_manifest(manifest: JsonObject, files: Mapping[str, bytes]) -> BundleContents:
    """Return the contents once ``files`` are exactly what the manifest lists, byte for byte.

    Raises VerificationError ``bundle_unlisted_file``, ``bundle_file_missing``, ``bundle_file_mismatch``; ParseError
    ``bundle_malformed`` when the list itself is not that of a proof.
    """
    listed = {item["name"]: item for item in manifest["files"]}
    if unlisted := files.keys() - listed.keys():
        raise VerificationError("bundle_unlisted_file", f"not listed, so it proves nothing: {_names(unlisted)}")
    if missing := listed.keys() - files.keys():
        raise VerificationError("bundle_file_missing", f"listed but not there: {_names(missing)}")
    for name, item in listed.items():
        if len(files[name]) != item["size"] or sha256(files[name]).hex() != item["sha256"]:
            raise VerificationError("bundle_file_mismatch", f"{name} is not the file that the manifest lists")
    evidence = {name.removeprefix(_EVIDENCE): data for name, data in files.items() if name.startswith(_EVIDENCE)}
    expected = {name: role for name, (role, _) in _SINGLE_FILES.items()}
    expected |= {f"{_EVIDENCE}{name}": "evidence" for name in evidence}
    roles = {name: item["role"] for name, item in listed.items()}
    if roles != expected or len(evidence) > MAX_EVIDENCE_ITEMS or len(listed) != len(manifest["files"]):
        raise ParseError("bundle_malformed", "the files listed are not those of a proof")
    if any(listed[name]["media_type"] != media_type for name, (_, media_type) in _SINGLE_FILES.items()):
        raise ParseError("bundle_malformed", "a file is listed under another media type than its own")
    if manifest["receipt_sha256"] != sha256(files["receipt.jws"]).hex():
        raise VerificationError("bundle_file_mismatch", f"{MANIFEST} names another receipt than receipt.jws")
    return BundleContents(
        receipt=files["receipt.jws"],
        token=files["token.sd-jwt"],
        proof=files["proof.tlog-proof"],
        checkpoint=files["checkpoint.txt"],
        policy=files["policy.json"],
        readme=files["README.txt"],
        evidence=evidence,
    )


def _names(names: set[str]) -> str:
    return ", ".join(sorted(names))
