"""The objection keeps its earliest independent time, and what is added later has its own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from server.bundles.asice import unpack_container
from server.core.encoding import parse_json
from server.usecases.verification_report import NOT_PRESENT, PASSED, Report
from server.usecases.verify_bundle import verify_file
from tests.fixtures.anchoring import Clock, TestAuthority, anchoring_of, http_server, write_anchors
from tests.fixtures.holders import Holder, Submission
from tests.fixtures.reading import answer_of, download
from tests.fixtures.servers import make_settings, post, register_of, running

ASICE, PDF = "application/vnd.etsi.asic-e+zip", "application/pdf"
HOUR_S = 3600


@dataclass
class Anchored:
    """A register with one independent authority, whose clock the test sets, and an objection in it."""

    app: Flask
    authority: TestAuthority
    clock: Clock
    holder: Holder
    objection: Submission

    def anchor(self, at: int) -> None:
        """Have everything that is recorded so far stamped at ``at``."""
        self.clock.now += 20
        self.authority.now = datetime.fromtimestamp(at, UTC)
        assert anchoring_of(self.app, self.clock).run_once() is not None

    def add(self, kind: str) -> None:
        assert post(self.app, self.holder.later(kind, self.objection)).status_code == 201

    def report(self, media_type: str = ASICE, *, pinned: bool = True) -> Report:
        raw = download(self.app, self.holder, self.objection, media_type)
        policy = register_of(self.app).keyring.policy if pinned else None
        report = verify_file(raw, policy=policy, now=int(time.time()))
        assert report.genuine, report.checks
        return report

    def answer(self) -> dict[str, Any]:
        return answer_of(self.app, self.holder, self.objection)

    def manifest_state(self) -> str:
        raw = download(self.app, self.holder, self.objection, ASICE)
        return str(parse_json(unpack_container(raw)["manifest.json"])["state"])


@pytest.fixture
def anchored(tmp_path: Path) -> Iterator[Anchored]:
    with anchored_register(tmp_path) as found:
        yield found


@contextmanager
def anchored_register(tmp_path: Path) -> Iterator[Anchored]:
    authority = TestAuthority()
    with http_server(authority) as server:
        listed = [("tsa", server.url, authority.write_pem(tmp_path))]
        path = write_anchors(tmp_path / "anchors.toml", authorities=listed)
        with running(make_settings(tmp_path / "data", anchors=str(path))) as app:
            holder = Holder()
            objection = holder.objection()
            assert post(app, objection).status_code == 201
            yield Anchored(app, authority, Clock(), holder, objection)


def later_times(report: Report) -> list[int | None]:
    return [each.get("anchored_at") for each in report.facts["later"]]


def outcome(report: Report, check_id: str) -> str:
    return next(check.outcome for check in report.checks if check.id == check_id)


@pytest.mark.parametrize("kind", ["supplement", "withdrawal"])
@pytest.mark.parametrize("media_type", [ASICE, PDF])
def test_what_is_added_later_has_a_time_of_its_own(anchored: Anchored, kind: str, media_type: str) -> None:
    first = int(time.time()) + 5
    anchored.anchor(first)
    anchored.add(kind)
    between = anchored.report(media_type)
    assert (between.facts["anchored_at"], later_times(between)) == (first, [None])
    anchored.anchor(first + HOUR_S)
    report = anchored.report(media_type)
    assert (report.facts["anchored_at"], later_times(report)) == (first, [first + HOUR_S])
    assert report.facts["state"] == "anchored"


def test_what_one_stamp_covers_has_its_time(anchored: Anchored) -> None:
    anchored.add("supplement")
    first = int(time.time()) + 5
    anchored.anchor(first)
    anchored.add("supplement")
    anchored.add("withdrawal")
    anchored.anchor(first + HOUR_S)
    report = anchored.report()
    assert report.facts["anchored_at"] == first
    assert later_times(report) == [first, first + HOUR_S, first + HOUR_S]


def test_the_answer_counts_what_is_anchored(anchored: Anchored) -> None:
    def told() -> tuple[str, int]:
        answer = anchored.answer()
        return answer["state"], answer["anchored_entries"]

    assert told() == ("recorded", 0)
    anchored.anchor(int(time.time()))
    proof = anchored.answer()["proof"]
    assert told() == ("anchored", 1)
    anchored.add("supplement")
    assert told() == ("anchored", 1)
    anchored.anchor(int(time.time()))
    assert told() == ("anchored", 2)
    assert anchored.answer()["proof"] == proof, "the objection's proof leads where it led"


def test_with_keys_that_came_with_the_file_nothing_is_called_anchored(anchored: Anchored) -> None:
    anchored.add("supplement")
    anchored.anchor(int(time.time()))
    report = anchored.report(pinned=False)
    assert report.facts["state"] == "recorded"
    assert "anchored_at" not in report.facts
    assert later_times(report) == [None]


def test_the_registers_own_clock_anchors_nothing(tmp_path: Path) -> None:
    with running(make_settings(tmp_path)) as app:
        holder = Holder()
        objection = holder.objection()
        assert post(app, objection).status_code == 201
        own = Anchored(app, TestAuthority(), Clock(), holder, objection)
        own.anchor(int(time.time()))
        report = own.report()
        assert (own.answer()["state"], own.answer()["anchored_entries"]) == ("recorded", 0)
        assert own.manifest_state() == report.facts["state"] == "recorded"
        assert [each["authority"] for each in report.facts["anchors"]] == ["local"]
        assert outcome(report, "anchor") == NOT_PRESENT


def test_the_manifest_says_anchored_of_an_independent_stamp(anchored: Anchored) -> None:
    assert anchored.manifest_state() == "recorded"
    anchored.anchor(int(time.time()))
    assert anchored.manifest_state() == "anchored"
    assert outcome(anchored.report(), "anchor") == PASSED
