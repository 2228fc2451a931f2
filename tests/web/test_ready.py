"""``/readyz`` says what a recording would be told: not ready for the reason for which an objection is refused."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from flask import Flask
from psycopg import sql
from sqlalchemy import event, text

from server.store import blobs, database, log
from tests.fixtures.holders import Holder
from tests.fixtures.servers import make_settings, post, register_of, running

SCREENSHOT = {"screenshot.jpg": bytes(100_000)}


@pytest.fixture
def app(tmp_path: Any, storage_settings: dict[str, str]) -> Iterator[Flask]:
    with running(make_settings(tmp_path, **storage_settings)) as app:
        yield app


def said(app: Flask) -> tuple[int, str | None]:
    response = app.test_client().get("/readyz")
    return response.status_code, json.loads(response.data).get("code")


def refused(app: Flask, evidence: dict[str, bytes] | None = None) -> tuple[int, str | None]:
    response = post(app, Holder().objection(evidence))
    return response.status_code, json.loads(response.data).get("code")


@contextmanager
def full(where: Any, constant: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, constant, 1 << 60)
        yield


def test_a_disk_without_room_for_evidence(app: Flask) -> None:
    with full(blobs, "_KEPT_FREE_BYTES"):
        assert refused(app, SCREENSHOT) == said(app) == (503, "storage_full")
        assert app.test_client().get("/healthz").status_code == 200
    assert said(app) == (200, None)


def test_a_disk_without_room_for_rows(tmp_path: Any) -> None:
    with running(make_settings(tmp_path)) as app:
        submission = Holder().objection({})
        assert post(app, submission).status_code == 201
        with full(database, "_LEAST_FREE_BYTES"):
            assert refused(app, {}) == said(app) == (503, "storage_full")
            assert post(app, submission).status_code == 200  # a repeat needs no room
        assert said(app) == (200, None)
        assert refused(app, {}) == (201, None)


@contextmanager
def read_only(app: Flask) -> Iterator[None]:
    """Have the database refuse changes, as it does on a disk that went read-only, or as a standby."""
    engine = register_of(app).database.engine
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _query_only)
    else:
        _alter(engine.url, "on")
    engine.dispose()
    try:
        yield
    finally:
        if engine.dialect.name == "sqlite":
            event.remove(engine, "connect", _query_only)
        else:
            _alter(engine.url, "off")
        engine.dispose()


def _query_only(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA query_only = ON")


def _alter(url: Any, value: str) -> None:
    with psycopg.connect(url.set(drivername="postgresql").render_as_string(False), autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        change = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}")
        connection.execute(change.format(sql.Identifier(url.database), sql.SQL(value)))


def test_a_database_that_may_only_be_read(app: Flask) -> None:
    with read_only(app):
        status, code = said(app)
        assert (status, code) == (503, "database_unavailable")
        assert refused(app)[0] == 503
    assert said(app) == (200, None)
    assert refused(app) == (201, None)


def test_a_writer_that_ended(app: Flask) -> None:
    assert said(app) == (200, None)
    register_of(app).log_writer.close()
    assert said(app) == (503, "log_unavailable")


def test_sums_that_nobody_can_add_to(app: Flask) -> None:
    with register_of(app).database.writing() as connection:
        connection.execute(text("UPDATE log_head SET sums = '{'"))
    assert refused(app, {})[0] == 503
    assert said(app) == (503, "log_unavailable")


def test_a_folder_of_segments_that_is_gone(app: Flask, tmp_path: Any) -> None:
    assert said(app) == (200, None)
    shutil.rmtree(tmp_path / "blobs")
    assert refused(app, {}) == said(app) == (503, "storage_unavailable")


def test_a_halted_log_is_told_before_what_will_pass(app: Flask) -> None:
    with register_of(app).database.writing() as connection:
        log.halt(connection, "a witness saw more")
    for where, constant in ((blobs, "_KEPT_FREE_BYTES"), (database, "_LEAST_FREE_BYTES")):
        with full(where, constant):
            assert said(app) == (503, "log_halted")
    assert said(app) == (503, "log_halted")
    assert b"witness" not in app.test_client().get("/readyz").data
