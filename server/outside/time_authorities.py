"""Time authorities, asked over HTTP (RFC 3161, section 3.4). The verifier needs none of this."""

from datetime import datetime
from http import HTTPStatus

from asn1crypto import tsp
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, decode_timestamp_response
from rfc3161_client.tsp import PKIStatus

from server.errors import ParseError, Unavailable
from server.outside.http import post
from server.outside.timestamps import TrustedAuthority, verify_timestamp


def request_timestamp(url: str, data: bytes, *, trusted: TrustedAuthority, timeout_s: float) -> tuple[bytes, datetime]:
    """Return a verified TimeStampToken (DER) over ``data`` from the authority at ``url``, and the time it states.

    Raises Unavailable ``timestamp_unavailable`` when the authority does not answer or does not stamp; what
    ``verify_timestamp`` raises when the answer is not to this question, or not by ``trusted``.
    """
    query = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256)
    request = query.nonce(nonce=True).cert_request(cert_request=True).build()
    answer = post(
        url,
        request.as_bytes(),
        media_type="application/timestamp-query",
        accept="application/timestamp-reply",
        timeout_s=timeout_s,
        code="timestamp_unavailable",
    )
    if answer.status != HTTPStatus.OK:
        raise Unavailable("timestamp_unavailable", f"{url} answers {answer.status}")
    token = _granted_token(answer.body, url)
    return token, verify_timestamp(token, data, trusted=trusted, nonce=request.nonce)


def _granted_token(raw: bytes, url: str) -> bytes:
    try:
        response = decode_timestamp_response(raw)
        if PKIStatus(response.status) != PKIStatus.GRANTED:
            raise Unavailable("timestamp_unavailable", f"{url} does not stamp: status {response.status}")
        token: bytes = tsp.TimeStampResp.load(raw, strict=True)["time_stamp_token"].dump()
    except ValueError as error:
        raise ParseError("timestamp_malformed", f"{url} answers with something else than a time token") from error
    return token
