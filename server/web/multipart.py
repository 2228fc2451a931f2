"""Bounded multipart bodies, read into memory only: evidence must not touch the disk before it is sealed."""

from io import BytesIO
from typing import Any

from flask import Request
from werkzeug.formparser import FormDataParser

from schemas import vocabulary as words
from server.errors import RequestError, TooLarge

_PARTS = {"receipt", "holder_share"}


class BoundedRequest(Request):
    """A request that refuses more than the contract allows before it has read it all."""

    max_content_length = words.MAX_BODY_BYTES
    max_form_parts = words.MAX_EVIDENCE_ITEMS + 5

    def make_form_data_parser(self) -> FormDataParser:
        return FormDataParser(
            stream_factory=self._get_file_stream,
            max_form_memory_size=self.max_form_memory_size,
            max_content_length=self.max_content_length,
            max_form_parts=self.max_form_parts,
            silent=False,  # by default, werkzeug turns a malformed body into an empty one
            cls=self.parameter_storage_class,
        )

    def _get_file_stream(self, *_: Any, **__: Any) -> BytesIO:
        # werkzeug would spool larger files to a temporary file, in plain text.
        return BytesIO()


def read_submission(request: Request) -> tuple[str, str, dict[str, bytes], str | None]:
    """Return receipt, holder share, evidence files by name, and the work proof if there is one, as sent.

    Raises RequestError ``media_type_refused``, ``multipart_malformed``, ``part_missing``, ``part_unexpected``.
    """
    if request.mimetype != "multipart/form-data":
        raise RequestError("media_type_refused", "send multipart/form-data")
    try:
        form, files = request.form, request.files
    except ValueError as error:
        raise RequestError("multipart_malformed", "the multipart body is malformed") from error
    if missing := _PARTS - form.keys():
        raise RequestError("part_missing", f"missing: {', '.join(sorted(missing))}")
    fields = [name for name, _ in form.items(multi=True)]
    uploads = list(files.items(multi=True))
    if unexpected := ({*fields} - _PARTS - {"work"}) | {name for name, _ in uploads if name != "evidence"}:
        shown = sorted(name or "(no name)" for name in unexpected)  # werkzeug gives None for a part without one
        raise RequestError("part_unexpected", f"not expected here: {', '.join(shown)}")
    names = [upload.filename or "" for _, upload in uploads]
    if len(fields) != len(set(fields)) or len(set(names)) != len(names):
        raise RequestError("part_unexpected", "a part is given twice")
    evidence = {upload.filename or "": upload.stream.read() for _, upload in uploads}
    if any(len(data) > words.MAX_EVIDENCE_BYTES for data in evidence.values()):
        raise TooLarge("body_too_large", f"an evidence file has at most {words.MAX_EVIDENCE_BYTES} bytes")
    return form["receipt"], form["holder_share"], evidence, form.get("work")
