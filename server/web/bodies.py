"""Bodies of requests: bounded, and read into memory only: evidence must not touch the disk before it is sealed."""

from collections.abc import Iterator
from dataclasses import dataclass

from flask import Request
from gunicorn.http.errors import ParseException
from multipart import MultipartError, MultipartSegment, PushMultipartParser

from schemas import vocabulary as words
from server.errors import RequestError, TooLarge
from server.web.room import SMALL, Place
from server.web.uploads import Upload

_NEEDED = ("receipt", "holder_share")
_MAX_PARTS = words.MAX_EVIDENCE_ITEMS + 5
_MAX_FIELD_BYTES = 65_536
_UNCHECKED = b"unchecked"


@dataclass(frozen=True)
class Submission:
    """The parts of a ``POST /v1/receipts``, as sent. ``evidence``: files by name. ``work``: only some have it.

    ``unchecked``: mails are to be kept even when nobody can look at their signatures now.
    """

    receipt: bytes
    holder_share: str
    evidence: dict[str, bytes]
    work: str | None
    unchecked: bool


def read_body(request: Request, *, max_bytes: int, place: Place) -> bytes:
    """Return the body; ``place`` is taken as soon as it is a large one.

    Raises TooLarge ``body_too_large``: where its length is announced, before any of it is read; RequestError
    ``body_malformed``, ``body_too_slow``; and what ``place`` raises.
    """
    too_large = TooLarge("body_too_large", f"at most {max_bytes} bytes")
    if (request.content_length or 0) > max_bytes:
        raise too_large
    # werkzeug cuts a chunked body at the limit and says nothing: what is judged would not be what was sent.
    request.max_content_length = max_bytes + 1
    upload = Upload(request)
    blocks = []
    try:
        while block := upload.read_block():
            blocks.append(block)
            if upload.received > max_bytes:
                raise too_large
            if upload.received > SMALL:
                place.take(upload)
    except ParseException:  # not its cause: gunicorn quotes the body in it
        raise RequestError("body_malformed", "the chunks of the body are malformed") from None
    place.received()
    return b"".join(blocks)


def read_submission(request: Request, place: Place) -> Submission:
    """Raises RequestError ``media_type_refused``, ``multipart_malformed``, ``part_missing``, ``part_unexpected``, and
    what ``read_body`` raises."""
    if request.mimetype != "multipart/form-data":
        raise RequestError("media_type_refused", "send multipart/form-data")
    body = read_body(request, max_bytes=words.MAX_BODY_BYTES, place=place)
    fields: dict[str, bytes] = {}
    evidence: dict[str, bytes] = {}
    unexpected = []
    repeated = False
    for number, (part, data) in enumerate(_parse(body, request.mimetype_params.get("boundary", ""))):
        if number == _MAX_PARTS:
            raise TooLarge("body_too_large", f"at most {_MAX_PARTS} parts")
        if part.filename is None:
            kept, key, expected = fields, part.name or "", part.name in {*_NEEDED, "work", "mails"}
            if len(data) > _MAX_FIELD_BYTES:
                raise TooLarge("body_too_large", f"a field that is no file has at most {_MAX_FIELD_BYTES} bytes")
        else:
            kept, key, expected = evidence, part.filename, part.name == "evidence"
        if not expected:
            unexpected.append(part.name or "(no name)")
        repeated |= key in kept
        kept[key] = data
    if missing := sorted(set(_NEEDED) - fields.keys()):
        raise RequestError("part_missing", f"missing: {', '.join(missing)}")
    if unexpected:
        raise RequestError("part_unexpected", f"not expected here: {', '.join(sorted(unexpected))}")
    if fields.get("mails", _UNCHECKED) != _UNCHECKED:
        raise RequestError("part_unexpected", "the part mails says unchecked, or is not there")
    if repeated:
        raise RequestError("part_unexpected", "a part is given twice")
    if any(len(data) > words.MAX_EVIDENCE_BYTES for data in evidence.values()):
        raise TooLarge("body_too_large", f"an evidence file has at most {words.MAX_EVIDENCE_BYTES} bytes")
    return Submission(
        receipt=fields["receipt"],
        # What is no text becomes text that neither can be.
        holder_share=fields["holder_share"].decode("ascii", "replace"),
        evidence=evidence,
        work=fields["work"].decode("utf-8", "replace") if "work" in fields else None,
        unchecked="mails" in fields,
    )


def _parse(body: bytes, boundary: str) -> Iterator[tuple[MultipartSegment, bytes]]:
    """Yield each part with its data; nothing for an empty body."""
    if not body:
        return
    try:
        with PushMultipartParser(boundary) as parser:
            chunks: list[bytes] = []
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    part, chunks = event, []
                    if len(dict(part.headerlist)) != len(part.headerlist):
                        raise MultipartError("a header of a part is given twice")
                elif event is None:
                    yield part, b"".join(chunks)
                else:
                    chunks.append(event)
    except MultipartError as error:
        raise RequestError("multipart_malformed", "the multipart body is malformed") from error
