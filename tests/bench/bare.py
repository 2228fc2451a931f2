"""The baseline: a Flask application that reads the same body and answers as many bytes, and does nothing else."""

from flask import Flask, Response, request

application = Flask(__name__)
_ANSWER = b"x" * 3_000


@application.post("/v1/receipts")
def read() -> Response:
    request.get_data()
    return Response(_ANSWER, 201, mimetype="application/json")
