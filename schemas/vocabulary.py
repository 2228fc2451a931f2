"""The closed word lists of the contract."""

CONTROLLER = "meta-platforms-ireland"
PLATFORMS = ("facebook", "instagram", "threads", "messenger", "whatsapp")
SEEN_CHANNELS = ("in-app", "notification-list", "form")
UNSEEN_CHANNELS = ("email", "none")
CHANNELS = (*SEEN_CHANNELS, *UNSEEN_CHANNELS)
OUTCOMES = ("recorded", "meta-mail", "acknowledged", "withdrawn")
RIGHT = "eu-gdpr:A21"
CONTESTED_BASIS = "eu-gdpr:A6-1-f"
DATA_CATEGORIES = (
    "posts",
    "photos-and-captions",
    "stories-and-reels",
    "comments",
    "groups-and-pages",
    "marketplace-reviews",
    "profile-name-and-picture",
    "ai-interactions",
)
STATEMENT_TEMPLATES = ("meta-ai-training-1",)
EU_COUNTRIES = (
    *("AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU"),
    *("IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK"),
)
EEA_COUNTRIES = ("IS", "LI", "NO")
ELSEWHERE = "ZZ"
COUNTRIES = (*EU_COUNTRIES, *EEA_COUNTRIES, ELSEWHERE)
MEDIA_TYPES = ("text/plain", "image/png", "image/jpeg", "image/webp", "message/rfc822")
SLOTS = ("account", "contact", "person")
ASSURANCES = ("device", "work")
# What the register finds of a mail's signature (docs/formats.md): by its key, of one signature, of the whole mail.
KEYED_FINDINGS = ("signed", "signature-mismatch", "test-key", "key-unusable")
SIGNATURE_FINDINGS = (
    *("unchecked", "body-changed", "expired", "key-gone", "not-covered", "sender-mismatch", "domain-not-listed"),
)
MAIL_FINDINGS = ("unsigned", "unreadable", "signature-refused")
FINDINGS = (*KEYED_FINDINGS, *SIGNATURE_FINDINGS, *MAIL_FINDINGS)
MAIL_KINDS = ("notice", "confirmation", "answer", "other")  # of the mails that a register knows
UNKNOWN_MAIL = "unknown"
KINDS = ("objection", "supplement", "withdrawal", "erasure")
# What is left of an objection that its holder erased.
REMAINS = ("log-commitment", "published-counts", "counting-mark", "status-bit", "replay-guard")
BUNDLE_ROLES = (
    *("receipt", "token", "proof", "checkpoint", "evidence", "policy", "readme", "status", "description", "verifier"),
    *("anchor", "later-receipt", "acknowledgement", "later-proof", "consistency", "later-anchor", "dkim-key"),
)

MAX_RECEIPT_BYTES = 16_384
MAX_EVIDENCE_ITEMS = 8
MAX_EVIDENCE_BYTES = 4_194_304
MAX_EVIDENCE_TOTAL_BYTES = 8_388_608
MAX_BODY_BYTES = 10_485_760
MAX_ENTRIES = 1 + 16 + 1  # an objection, its supplements, its withdrawal
# What the files of an objection can come to: 9 of its own and 8 of evidence, 8 stamps, 16 supplements with 4 files of
# their own, 8 stamps, 8 files of evidence and a key record for each of these, and a withdrawal's 4 and 8 stamps. The
# list of them is not in it.
MAX_BUNDLE_FILES = 9 + 8 + 8 + 16 * (4 + 8 + 8 + 8) + 4 + 8
