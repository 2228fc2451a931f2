"""``objection.jsonld``: the objection in the terms of the Data Privacy Vocabulary (DPV 2.3), for other programs.

Its context stands in it, so that nothing need be fetched to read it. The profile is our own: ISO/IEC TS 27560, the
nearest standard, is about consent.
"""

from datetime import UTC, datetime
from typing import Any

from server.bundles.certificate import CertificateFacts
from server.core.encoding import JsonObject, format_base64url, format_json
from server.core.jws import thumbprint

PROFILE_PATH = "/profiles/objection/1"
_CONTROLLERS = {"meta-platforms-ireland": "Meta Platforms Ireland Limited"}
_TERMS = {
    "contestedBasis": "The legal basis on which the controller relies, and which the objection contests.",
    "dataCategory": "A kind of data that the objection covers; its name is that of the signed receipt.",
    "platform": "The platform on which the person objected.",
    "channel": "By what the person learnt of the processing, as in the signed receipt.",
    "recordedBy": "The register that recorded the objection.",
    "log": "The name of the transparency log that holds its entry.",
    "logIndex": "The place of the entry in that log.",
    "existedBefore": "A time at which an independent authority stamped a state of the log that holds the entry.",
    "withdrawn": "When the register received the withdrawal.",
}
_VOCABULARIES = {
    "dpv": "https://w3id.org/dpv#",
    "eu-gdpr": "https://w3id.org/dpv/legal/eu/gdpr#",
    "legal-eu": "https://w3id.org/dpv/legal/eu#",
    "ai": "https://w3id.org/dpv/ai#",
    "pd": "https://w3id.org/dpv/pd#",
    "prov": "http://www.w3.org/ns/prov#",
    "dcterms": "http://purl.org/dc/terms/",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}


def format_linked_data(facts: CertificateFacts) -> bytes:
    """Return the objection as JSON-LD. It explains; what is proved, the signed receipt proves."""
    payload = facts.receipt.payload
    profile = facts.register + PROFILE_PATH
    description: JsonObject = {
        "@context": {**_VOCABULARIES, "objection": f"{profile}#"},
        "@id": _hash_name(facts.receipt.sha256),
        "@type": ["dpv:RightExerciseActivity", "prov:Activity"],
        "dcterms:conformsTo": {"@id": profile},
        "dpv:hasRight": {"@id": "eu-gdpr:A21"},
        "dpv:hasApplicableLaw": {"@id": "legal-eu:law-GDPR"},
        "dpv:hasDataController": {
            "@type": "dpv:DataController",
            "dpv:hasName": _CONTROLLERS[payload["controller"]],
        },
        "dpv:hasDataSubject": {
            "@id": f"urn:ietf:params:oauth:jwk-thumbprint:sha-256:{thumbprint(facts.receipt.holder_jwk)}",
            "@type": "dpv:DataSubject",
        },
        "dpv:hasProcessing": {"@id": "ai:ModelTraining"},
        "dpv:hasPersonalData": {"@id": "pd:SocialMedia"},
        "dpv:hasStatus": {"@id": f"dpv:{_status(facts)}"},
        "objection:contestedBasis": {"@id": "eu-gdpr:A6-1-f-controller"},
        "objection:dataCategory": [{"@id": f"objection:{name}"} for name in payload["objection"]["data_categories"]],
        "objection:platform": {"@id": f"objection:{payload['platform']}"},
        "objection:channel": {"@id": f"objection:{payload['notice']['channel']}"},
        "objection:recordedBy": {"@id": facts.register},
        "objection:log": facts.log_origin,
        "objection:logIndex": facts.log_index,
        "dcterms:created": _time(facts.receipt.iat),
        "dcterms:dateSubmitted": _time(facts.received_at),
        "prov:used": [
            {
                "@id": _hash_name(bytes.fromhex(item.sha256)),
                "@type": "prov:Entity",
                "dcterms:format": item.media_type,
                "dcterms:title": item.name,
            }
            for item in facts.receipt.evidence
        ],
    }
    if facts.anchor is not None:
        description["objection:existedBefore"] = _time(facts.anchor.at)
    if facts.status == "withdrawn":
        description["objection:withdrawn"] = _time(facts.withdrawn_at)
    return format_json(description)


def format_profile(register: str) -> bytes:
    """Return what the profile's own terms mean, as JSON-LD: what stands at the profile's address."""
    profile = register + PROFILE_PATH
    terms = [{"@id": f"{profile}#{name}", "rdfs:comment": text} for name, text in _TERMS.items()]
    vocabularies = {"dcterms": _VOCABULARIES["dcterms"], "rdfs": "http://www.w3.org/2000/01/rdf-schema#"}
    return format_json(
        {
            "@context": vocabularies,
            "@id": profile,
            "dcterms:title": "Objection to AI training, profile 1",
            "dcterms:description": "How objection.jsonld uses DPV 2.3. No conformance to ISO/IEC TS 27560 is claimed: "
            "it is about consent.",
            "dcterms:hasPart": terms,
        }
    )


def _status(facts: CertificateFacts) -> str:
    """What is known of the request at the controller: that it was made, or that the controller says it has it."""
    confirmed = any(mail.confirms for item in facts.later for mail in item.mails)
    return "RequestAcknowledged" if confirmed else "RequestInitiated"


def _hash_name(digest: bytes) -> str:
    return f"ni:///sha-256;{format_base64url(digest)}"  # RFC 6920


def _time(seconds: int) -> dict[str, Any]:
    return {"@type": "xsd:dateTime", "@value": datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
