"""The description is walked against the register: what it allows is answered, what it does not is refused, and each
answer is one that it names, valid against its schema."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import jsonschema
import pytest
from flask import Flask
from werkzeug.test import TestResponse

from schemas.openapi import describe
from server.usecases.campaigns import add_campaign, create_key
from server.web.problems import TITLES
from tests.fixtures.anchoring import anchoring_of
from tests.fixtures.counting import BEGAN, GRACE_S, contribute, counting_since, release_until
from tests.fixtures.holders import Holder, Submission
from tests.fixtures.servers import MULTIPART, PUBLIC_URL, format_multipart, make_settings, parts_of, post, register_of

WEEK_S = 7 * 86_400
DESCRIPTION = describe()
ODD = [
    *("", " ", "x", "X", "-", "-1", "+1", "0", "00", "01", "1.0", "1e3", "0x1", "9" * 9, "9" * 10, "9" * 11, "9" * 400),
    *("null", "true", "[]", "{}", "é", "٣", "\0", "\n", "a\nb", "%00", "%", "..", "../..", "a,b", "geo,geo", ",geo"),
    *("2026", "2026-W00", "2026-W54", "2026-W1", "2026-13", "2026-00", "2026-Q5", "0000-01", "2026-W02\n", "2026-w02"),
    *("a" * 64, "A" * 64, "0" * 63, "0" * 65, "a" * 5000, "_", "-a", "a-", "CSV", "json,csv", "*", "256.p/256", "1000"),
]


@dataclass
class World:
    """A register with something at each address, and who may read it."""

    app: Flask
    holder: Holder
    submission: Submission
    token: str
    key: str

    def ask(self, operation: "Operation", values: dict[tuple[str, str], str]) -> TestResponse:
        """Send a request with ``values``, by where they stand and what they are called."""
        address, query, headers = operation.path, {}, {"Accept-Language": "en"}
        for (place, name), value in values.items():
            if place == "path":
                address = address.replace(f"{{{name}}}", quote(value, safe="/"))
            elif place == "query":
                query[name] = value
            else:
                headers[name] = value
        if query:
            address += f"?{urlencode(query)}"
        return self.app.test_client().open(address, method=operation.method.upper(), headers=headers)

    def good_values(self, operation: "Operation") -> dict[tuple[str, str], str]:
        """Return a value that works for each parameter that must be there."""
        values = {("path", name): value for name, value in PATH_VALUES.items() if f"{{{name}}}" in operation.path}
        if "{receipt_sha256}" in operation.path:
            values["path", "receipt_sha256"] = self.submission.sha256
        if "entries" in operation.path:
            values["path", "number"] = "000.p/2"
        if operation.secured("holder"):
            address = f"{PUBLIC_URL}{operation.path.replace('{receipt_sha256}', self.submission.sha256)}"
            values["header", "Authorization"] = f"DPoP {self.token}"
            values["header", "DPoP"] = self.holder.dpop(self.token, operation.method.upper(), address)
            values["header", "Objection-Holder-Share"] = self.submission.holder_share
        return values


PATH_VALUES = {
    "list_number": "0",
    "level": "0",
    "number": "000.p/2",
    "name": "countries",
    "file": "datapackage.json",
    "release_id": "countries-2026-W02",
}


@dataclass(frozen=True)
class Operation:
    path: str
    method: str

    @property
    def described(self) -> dict[str, Any]:
        operation: dict[str, Any] = DESCRIPTION["paths"][self.path][self.method]
        return operation

    @property
    def parameters(self) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = self.described.get("parameters", [])
        return parameters

    def secured(self, scheme: str) -> bool:
        return any(scheme in choice for choice in self.described.get("security", []))

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


OPERATIONS = [Operation(path, method) for path, methods in DESCRIPTION["paths"].items() for method in methods]
PARAMETERS = [(operation, parameter) for operation in OPERATIONS for parameter in operation.parameters]


def named(value: Any) -> str:
    return value["name"] if isinstance(value, dict) else str(value)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("register")
    with counting_since(make_settings(folder, work="1")) as app:
        register = register_of(app)
        group = {"names": {"en": "Group"}, "countries": ["DE"], "link": "https://g.example/", "contact": "a@g.example"}
        add_campaign(register, "closed", group, logo=None, open_figures=False, now=BEGAN)
        key = create_key(register, "closed", name="test", now=BEGAN)
        contribute(register, 50, campaign="closed")
        release_until(register, folder, BEGAN + 4 * WEEK_S + GRACE_S)
        holder = Holder()
        submission = holder.objection({"a.txt": b"one"})
        token = json.loads(post(app, submission).data)["token"]
        post(app, Holder().objection({}))
        assert anchoring_of(app).run_once() is not None
        yield World(app, holder, submission, token, key)


def expect_described(operation: Operation, response: TestResponse) -> Any:
    """Fail unless the description names this answer; return its JSON, if it is that."""
    told = operation.described["responses"].get(str(response.status_code))
    assert told is not None, f"{operation}: {response.status_code} is not described: {response.data[:300]!r}"
    if "content" not in told:
        assert response.data == b""
        return None
    offered = {name.partition(";")[0]: name for name in told["content"]}
    assert response.mimetype in offered, f"{operation}: {response.content_type} is not described"
    schema = told["content"][offered[response.mimetype]]["schema"]
    if "json" not in response.mimetype:
        assert schema["type"] == "string"
        return None
    value = json.loads(response.data)
    jsonschema.Draft202012Validator(schema | {"components": DESCRIPTION["components"]}).validate(value)
    if response.status_code >= 400:
        assert value["code"] in TITLES
        assert value["status"] == response.status_code
    return value


def allows(schema: dict[str, Any], text: str) -> bool:
    """Whether ``schema`` allows a parameter that is spelled ``text``."""
    if schema.get("type") == "integer":
        return (
            re.fullmatch("-?(0|[1-9][0-9]*)", text) is not None and schema["minimum"] <= int(text) <= schema["maximum"]
        )
    if schema.get("type") == "array":
        items = text.split(",") if text else []
        return len(set(items)) == len(items) and set(items) <= set(schema["items"]["enum"])
    if "enum" in schema:
        return text in schema["enum"]
    if "pattern" in schema:
        return re.fullmatch(schema["pattern"].removeprefix("^").removesuffix("$"), text) is not None
    return len(text) <= schema.get("maxLength", len(text))


def good_spellings(operation: Operation, parameter: dict[str, Any]) -> list[str]:
    """Return the boundaries of what is allowed, and what the description gives as an example or default."""
    schema = parameter["schema"]
    if schema.get("type") == "integer":
        return [str(schema[name]) for name in ("minimum", "maximum", "default")]
    if schema.get("type") == "array":
        assert parameter["example"] == ["epoch", "geo"]
        return ["", "epoch", "geo", "epoch,geo", "geo,epoch"]
    if "enum" in schema:
        return list(schema["enum"])
    spellings = [parameter["example"]] if "example" in parameter else []
    if parameter["name"] == "file":
        spellings += re.findall(r"[a-z-]+\\\.[a-z-]+(?:\\\.[a-z]+)?", schema["pattern"])
        spellings = [each.replace("\\", "") for each in spellings]
        assert len(spellings) == 5
    if parameter["name"] == "table":
        spellings += ["europe", "platforms"]
    return spellings


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
def test_an_operation_answers_as_described(world: World, operation: Operation) -> None:
    if operation.method == "post":
        return
    response = world.ask(operation, world.good_values(operation))
    assert response.status_code in {200, 204} or operation.path.endswith("/campaign"), response.data
    expect_described(operation, response)
    if etag := response.headers.get("ETag"):
        again = world.ask(operation, world.good_values(operation) | {("header", "If-None-Match"): etag})
        assert again.status_code == 304
        expect_described(operation, again)


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
def test_every_media_type_that_is_described_is_given(world: World, operation: Operation) -> None:
    content = operation.described["responses"].get("200", {}).get("content", {})
    if operation.method != "get" or len(content) < 2 or "{file}" in operation.path:
        return
    for media_type in content:
        response = world.ask(operation, world.good_values(operation) | {("header", "Accept"): media_type})
        assert (response.status_code, response.mimetype) == (200, media_type)
        expect_described(operation, response)


@pytest.mark.parametrize(("operation", "parameter"), PARAMETERS, ids=named)
def test_what_a_parameter_may_be_is_answered(world: World, operation: Operation, parameter: dict[str, Any]) -> None:
    place = parameter["in"]
    spellings = good_spellings(operation, parameter)
    assert spellings or place in {"path", "header"}
    for text in spellings:
        assert allows(parameter["schema"], text), text
        response = world.ask(operation, world.good_values(operation) | {(place, parameter["name"]): text})
        assert response.status_code == 200, (text, response.data)
        expect_described(operation, response)
    for text in ODD:
        if allows(parameter["schema"], text) and (
            place != "header" or text.isprintable()
        ):  # well-formed, and there may be no such thing
            response = world.ask(operation, world.good_values(operation) | {(place, parameter["name"]): text})
            assert response.status_code in {200, 204, 400, 401, 403, 404}, (text, response.data)
            value = expect_described(operation, response)
            if response.status_code == 400:
                assert value["code"] in {"epoch_malformed", "dimension_unknown"}, (text, value)


@pytest.mark.parametrize(("operation", "parameter"), PARAMETERS, ids=named)
def test_what_a_parameter_may_not_be_is_refused(world: World, operation: Operation, parameter: dict[str, Any]) -> None:
    schema, place = parameter["schema"], parameter["in"]
    bad = [text for text in ODD if not allows(schema, text)]
    if schema.get("type") == "integer":
        bad += [str(schema["minimum"] - 1), str(schema["maximum"] + 1)]
    if place == "header":
        bad = [text for text in bad if text.isascii() and text.isprintable()] + ["x" * 4097]
    assert len(bad) > 3 or "maxLength" in schema
    for text in bad:
        response = world.ask(operation, world.good_values(operation) | {(place, parameter["name"]): text})
        if place == "path" and response.status_code == 404 and response.mimetype == "application/problem+json":
            assert json.loads(response.data)["code"] in TITLES
            continue  # another path, maybe one that is not described at all
        assert 400 <= response.status_code < 500, (text, response.data)
        expect_described(operation, response)


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
def test_what_is_not_described_is_refused(world: World, operation: Operation) -> None:
    if not any(parameter["in"] == "query" for parameter in operation.parameters):
        return
    values = world.good_values(operation)
    response = world.ask(operation, values | {("query", "unknown"): "1"})
    assert (response.status_code, expect_described(operation, response)["code"]) == (400, "argument_refused")


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.secured("holder")], ids=named)
def test_a_header_that_must_be_there(world: World, operation: Operation) -> None:
    for name in ("Authorization", "DPoP", "Objection-Holder-Share"):
        values = world.good_values(operation)
        del values["header", name]
        response = world.ask(operation, values)
        assert response.status_code in {400, 401}
        expect_described(operation, response)


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.secured("campaign")], ids=named)
def test_figures_that_need_a_key(world: World, operation: Operation) -> None:
    closed = {("path", "name"): "campaign-closed", ("path", "release_id"): "campaign-closed-2026-W02"}
    values = {
        place: value
        for place, value in (world.good_values(operation) | closed).items()
        if f"{{{place[1]}}}" in operation.path
    }
    if any(parameter["name"] == "table" for parameter in operation.parameters):
        values["query", "table"] = "campaign-closed"
    statuses = []
    if operation.path.endswith(".atom"):  # it leaves out what the caller may not read
        return
    for key in (None, "wrong", world.key):
        shown = {} if key is None else {("header", "Authorization"): f"Bearer {key}"}
        response = world.ask(operation, values | shown)
        statuses.append(response.status_code)
        expect_described(operation, response)
    assert statuses == [401, 401, 200]


RECORD, VERIFY = Operation("/v1/receipts", "post"), Operation("/v1/verifications", "post")


def test_recording_answers_as_described(world: World) -> None:
    submission = Holder().objection({"a.txt": b"one"})
    parts = parts_of(submission)
    whole = format_multipart(parts)
    client = world.app.test_client()
    statuses = set()
    for body, media_type in [
        *((whole, MULTIPART), (whole, MULTIPART), (b"", MULTIPART), (b"x", MULTIPART), (whole, "text/plain")),
        *((whole[:-30], MULTIPART), (bytes(10_485_761), MULTIPART), (format_multipart(parts[:1]), MULTIPART)),
        (format_multipart([("receipt", None, b"A" * 16_385), parts[1]]), MULTIPART),
        (format_multipart([("receipt", None, b"a.b"), parts[1]]), MULTIPART),
        (format_multipart([parts[0], ("holder_share", None, b"x"), parts[2]]), MULTIPART),
        (format_multipart([*parts, ("work", None, b"{}")]), MULTIPART),
        (format_multipart([*parts, ("other", None, b"{}")]), MULTIPART),
    ]:
        response = client.post("/v1/receipts", data=body, content_type=media_type)
        expect_described(RECORD, response)
        statuses.add(response.status_code)
    assert statuses >= {200, 201, 400, 413, 415}
    names = set(RECORD.described["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"])
    assert names == {"receipt", "holder_share", "evidence", "work", "mails"}


def test_verifying_answers_as_described(world: World) -> None:
    bundle = Operation("/v1/receipts/{receipt_sha256}/bundle", "get")
    proof = world.ask(bundle, world.good_values(bundle)).data
    statuses = set()
    for body, media_type in [
        *((proof, "application/octet-stream"), (world.token.encode(), "text/plain"), (proof[:-9], "application/zip")),
        *((b"", "application/octet-stream"), (b"\x89PNG", "image/png"), (bytes(16_777_217), "application/zip")),
        (format_multipart([("file", "a.asice", proof)]), MULTIPART),
    ]:
        response = world.app.test_client().post("/v1/verifications", data=body, content_type=media_type)
        expect_described(VERIFY, response)
        statuses.add(response.status_code)
    assert statuses == {200, 400, 413, 415}
