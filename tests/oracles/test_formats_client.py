"""docs/formats.md suffices: the client that was written from it records, polls, fetches, adds and withdraws."""

import hashlib
import io
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator

import pytest

from tests.fixtures.anchoring import http_server, write_anchors
from tests.fixtures.ordinary import KINDS, OrdinaryAuthority
from tests.fixtures.servers import ROOT, Gunicorn, serving
from tests.oracles.outsider import NOTICE, Answer, Client, named, verify_logged, verify_signed


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    folder = tmp_path_factory.mktemp("authority")
    authority = OrdinaryAuthority(folder, KINDS["own"])
    with http_server(authority) as clock:  # without an independent one a proof stays recorded
        anchors = write_anchors(folder / "anchors.toml", authorities=[("tsa", clock.url, authority.write_pem(folder))])
        register = tmp_path_factory.mktemp("register")
        with serving(register, work="10", worker="on", anchors=str(anchors)) as server:
            yield server


@pytest.fixture
def client(server: Gunicorn) -> Client:
    return Client(server.port, "https://register.example")


def test_a_whole_objection(client: Client) -> None:
    policy = json.loads(client.ask("GET", "/v1/policy")[2])
    evidence = {"notice.txt": NOTICE, "more.txt": b"more"}
    receipt = client.objection(evidence, campaign="nobody-knows-it")
    receipt_sha256 = hashlib.sha256(receipt.encode()).hexdigest()
    status, headers, body = client.record(receipt, evidence, client.solve_work(receipt_sha256))
    assert status == 201, body
    assert headers["Content-Type"] == "application/json"
    answer = json.loads(body)
    assert (answer["receipt_sha256"], answer["kind"], answer["state"]) == (receipt_sha256, "objection", "recorded")
    assert answer["token"].endswith("~")
    claims = verify_signed(answer["token"].removesuffix("~"), "dc+sd-jwt", policy)
    assert (claims["assurance"], claims["cnf"], claims["receipt_sha256"]) == (
        "work",
        {"jwk": client.jwk},
        receipt_sha256,
    )
    assert claims["received_at"] == answer["received_at"]
    size = verify_logged(answer["proof"], receipt, "objection", answer["received_at"], policy)
    assert size > claims["log"]["index"]
    assert client.record(receipt, evidence)[0] == 200, "a repeat"

    path = f"/v1/receipts/{receipt_sha256}"
    deadline = time.monotonic() + 60
    while True:  # as the document says, but not as patiently
        status, _, body = client.read(path, answer["token"])
        assert status == 200, body
        polled = json.loads(body)
        if polled["state"] == "anchored":
            break
        assert time.monotonic() < deadline, "not anchored"
        time.sleep(0.5)
    assert polled["token"] == answer["token"]
    verify_logged(polled["proof"], receipt, "objection", answer["received_at"], policy)

    status, headers, bundle = client.read(f"{path}/bundle", answer["token"])
    assert (status, headers["Content-Type"]) == (200, "application/vnd.etsi.asic-e+zip")
    with zipfile.ZipFile(io.BytesIO(bundle)) as files:
        assert files.namelist()[0] == "mimetype"
        assert files.read("receipt.jws") == receipt.encode()
        assert files.read("token.sd-jwt") == answer["token"].encode()
        assert files.read("evidence/more.txt") == b"more"
        manifest = json.loads(files.read("manifest.json"))
        assert manifest["state"] == "anchored"
        for file in manifest["files"]:
            assert hashlib.sha256(files.read(file["name"])).hexdigest() == file["sha256"]
        assert files.read("checkpoint.txt").decode() == files.read("proof.tlog-proof").decode().partition("\n\n")[2]
    status, headers, pdf = client.read(f"{path}/bundle", answer["token"], accept="application/pdf")
    assert (status, headers["Content-Type"], pdf[:5]) == (200, "application/pdf", b"%PDF-")

    reply = {"reply.txt": b"Dear user"}
    later = client.receipt(kind="supplement", objection_sha256=receipt_sha256, evidence=named(reply))
    status, _, body = client.record(later, reply)
    assert status == 201, body
    withdrawal = client.receipt(kind="withdrawal", objection_sha256=receipt_sha256)
    status, _, body = client.record(withdrawal, {})
    assert status == 201, body
    answer = json.loads(body)
    assert (answer["status"], answer["kind"]) == ("withdrawn", "withdrawal")
    acknowledged = verify_signed(answer["token"], "objection-acknowledgement+jwt", policy)
    assert (acknowledged["objection_sha256"], acknowledged["evidence"]) == (receipt_sha256, [])
    verify_logged(answer["proof"], withdrawal, "withdrawal", answer["received_at"], policy)


def test_what_the_document_says_of_errors(client: Client, server: Gunicorn) -> None:
    """Status and code, as its table lists them."""
    document = (ROOT / "docs/formats.md").read_text()
    table = document.partition("## What the register answers")[2].partition("\n## ")[0]
    told = {
        (int(row.split(" ")[1]), code)
        for row in table.splitlines()
        if row.startswith("| ") and row.split(" ")[1].isdigit()
        for code in row.split("`")[1::2]
    }
    receipt = client.objection({})
    assert client.record(receipt, {})[0] == 201
    sha = hashlib.sha256(receipt.encode()).hexdigest()
    path = f"/v1/receipts/{sha}"

    def code_of(answer: Answer, expected: str) -> dict[str, str]:
        status, headers, body = answer
        problem = json.loads(body)
        assert problem["code"] == expected
        assert (status, expected) in told
        assert (problem["status"], headers["Content-Type"]) == (status, "application/problem+json")
        assert problem["type"] == f"{client.public_url}/errors#{expected}"
        return headers

    assert code_of(client.ask("GET", path), "token_missing")["WWW-Authenticate"] == 'DPoP algs="ES256"'
    token = json.loads(client.record(receipt, {})[2])["token"]
    refused = client.ask("GET", path, Authorization=f"DPoP {token}")
    assert 'error="invalid_dpop_proof"' in code_of(refused, "dpop_refused")["WWW-Authenticate"]
    refused = client.ask("GET", path, Authorization="DPoP x", DPoP="x", Objection_Holder_Share=client.share)
    assert 'error="invalid_token"' in code_of(refused, "token_refused")["WWW-Authenticate"]
    code_of(client.record(client.objection({}, country="US"), {}), "field_invalid")
    elsewhere = {"channel": "in-app", "language": "en", "rule": "x", "ruleset": "2026.1.1", "text_sha256": "0" * 64}
    for url, code in {
        "https://platform.example/": "field_invalid",
        "https://www.facebook.com/?a=b": "field_invalid",
        "http://127.0.0.1:8000/practice": "practice_refused",
    }.items():
        code_of(client.record(client.objection({}, notice=elsewhere | {"url": url}), {}), code)
    code_of(client.record(client.objection({"a.txt": b"a"}), {}), "evidence_missing")
    code_of(client.record(client.receipt(kind="withdrawal", objection_sha256="0" * 64), {}), "record_not_found")
    code_of(client.record(client.objection({}), {}, "{}"), "work_malformed")
    code_of(client.ask("GET", "/v1//policy"), "not_found")
    other = Client(server.port, client.public_url)
    assert other.record(receipt, {})[0] == 409
    code_of(other.record(receipt, {}), "holder_share_wrong")
    client.share += "="
    code_of(client.record(client.objection({}), {}), "base64url_malformed")


def test_the_client_needs_no_code_of_the_register() -> None:
    blocked = "import sys; sys.modules.update(server=None, schemas=None); import tests.oracles.outsider"
    done = subprocess.run([sys.executable, "-c", blocked], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
