"""Releases: one draw for ever, whatever is repeated, restarted, restored or erased."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import IntegrityError

from server.core.counts import declaration
from server.core.releases import verify_release
from server.errors import Conflict, ObjectionError, OperatorError, VerificationError
from server.store import campaigns, log, releases, tallies
from server.store.campaigns import StoredCampaign
from server.store.tables import contributions, log_head, released_cells
from server.store.tables import releases as releases_table
from server.store.tallies import Bucket
from server.usecases.epochs import epoch_at, parse_epoch
from server.usecases.quarantine import Admitted, admit_burst, find_bursts
from server.usecases.read_counts import CountRow, find_table, make_query, read_counts
from server.usecases.register import Register
from server.usecases.release_counts import Releasing, find_due, import_release
from tests.fixtures.counting import (
    BEGAN,
    GRACE_S,
    contribute,
    counting_since,
    files_of,
    release_until,
)
from tests.fixtures.servers import make_settings, register_of, storage_of

WEEK_S = 7 * 86_400
FIRST_WEEK_OVER = BEGAN + WEEK_S + GRACE_S


@pytest.fixture
def app(tmp_path: Path, storage_settings: dict[str, str]) -> Iterator[Flask]:
    with counting_since(make_settings(tmp_path, **storage_settings)) as app:
        yield app


@pytest.fixture
def register(app: Flask) -> Register:
    return register_of(app)


def drawn(register: Register) -> dict[str, str]:
    with register.database.reading() as connection:
        return {row.id: row.signed for row in connection.execute(select(releases_table))}


def cells_of(register: Register, release_id: str) -> dict[tuple[str, ...], int]:
    with register.database.reading() as connection:
        release = releases.find_release(connection, release_id)
    assert release is not None
    return verify_release(release.signed, register.keyring.policy).cells


def test_nothing_is_released_before_its_grace_is_over(register: Register, tmp_path: Path) -> None:
    assert release_until(register, tmp_path, FIRST_WEEK_OVER - 1) == 0
    assert release_until(register, tmp_path, FIRST_WEEK_OVER) == 2
    assert set(drawn(register)) == {"countries-2026-W02", "europe-2026-W02"}


def test_every_cell_is_released_zeros_included(register: Register, tmp_path: Path) -> None:
    quarter_over = parse_epoch("2026-Q1").end + GRACE_S
    release_until(register, tmp_path, quarter_over)
    for name, table in declaration().tables.items():
        with register.database.reading() as connection:
            stored = connection.execute(
                select(released_cells.c.starts_at, released_cells.c.value).where(released_cells.c.table_name == name)
            ).all()
        epochs = {row.starts_at for row in stored}
        assert len(stored) == len(epochs) * len(table.cells())
    assert any(cells_of(register, "countries-2026-W05").values()), "31 zeros at once would be one chance in 10^10"


def test_the_figures_are_the_true_ones_plus_noise(register: Register, tmp_path: Path) -> None:
    contribute(register, 3000, country="MT", hour=BEGAN, platform="threads", channel="email")
    contribute(register, 10, country="FR", hour=BEGAN + WEEK_S)
    with register.database.writing() as connection:
        bucket = Bucket(BEGAN, "MT", "threads", "email")
        tallies.admit_burst(connection, bucket, reason="television", now=BEGAN)
    release_until(register, tmp_path, FIRST_WEEK_OVER)
    figures = cells_of(register, "countries-2026-W02")
    assert abs(figures["MT", "_T", "_T", "_T"] - 3000) < 40
    assert abs(figures["FR", "_T", "_T", "_T"]) < 40
    assert abs(cells_of(register, "europe-2026-W02")["_T", "_T", "_T", "_T"] - 3000) < 160


def test_a_second_round_draws_nothing(register: Register, tmp_path: Path) -> None:
    release_until(register, tmp_path, FIRST_WEEK_OVER)
    before = drawn(register)
    assert release_until(register, tmp_path, FIRST_WEEK_OVER + 3600) == 0
    assert drawn(register) == before


def test_erasing_after_a_release_changes_no_figure(register: Register, tmp_path: Path) -> None:
    receipts = contribute(register, 30, hour=BEGAN)
    release_until(register, tmp_path, FIRST_WEEK_OVER)
    before = drawn(register)
    with register.database.writing() as connection:
        for receipt in receipts:
            tallies.delete_contribution(connection, receipt)
    assert release_until(register, tmp_path, FIRST_WEEK_OVER + 60) == 0
    assert drawn(register) == before


def test_two_workers_at_once_draw_once(register: Register, tmp_path: Path) -> None:
    """Each looks what is due before the other stores it, as after a lost leadership."""
    with register.database.reading() as connection:
        due = find_due(connection, now=FIRST_WEEK_OVER)
    workers = [Releasing(storage_of(register, tmp_path / name), clock=lambda: FIRST_WEEK_OVER) for name in "ab"]
    for each in due:
        for worker in workers:
            worker._release(each)
    stored = drawn(register)
    assert len(stored) == len(due)
    assert {name: files_of(tmp_path / "a").get(name) for name in stored} == stored
    assert [files_of(tmp_path / "b").get(name) for name in stored] == [None] * len(stored)


def test_the_database_refuses_a_second_draw(register: Register, tmp_path: Path) -> None:
    release_until(register, tmp_path, FIRST_WEEK_OVER)
    with register.database.reading() as connection:
        release = releases.find_release(connection, "europe-2026-W02")
    assert release is not None
    with pytest.raises(IntegrityError), register.database.writing() as connection:
        releases.insert_release(connection, release, {("_T",) * 4: 5})
    with register.database.writing() as connection:
        connection.execute(delete(releases_table).where(releases_table.c.id == release.id))
    with pytest.raises(IntegrityError), register.database.writing() as connection:
        releases.insert_release(connection, release, {("_T",) * 4: 5})


@pytest.mark.parametrize("crash_at", ["INSERT INTO releases", "INSERT INTO released_cells", "put", "UPDATE releases"])
def test_a_crash_anywhere_leaves_one_draw(register: Register, tmp_path: Path, crash_at: str) -> None:
    from sqlalchemy import event

    class Crash(BaseException):
        pass

    def crash(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(crash_at):
            raise Crash

    storage = storage_of(register)
    if crash_at == "put":
        storage.releases.put = lambda *_: (_ for _ in ()).throw(Crash)  # type: ignore[method-assign]
    event.listen(register.database.engine, "before_cursor_execute", crash)
    worker = Releasing(storage, clock=lambda: FIRST_WEEK_OVER)
    with pytest.raises(Crash):
        worker.run_once()
    event.remove(register.database.engine, "before_cursor_execute", crash)
    before = drawn(register)
    assert shown(register, "europe") == [], "nothing is shown before its file is on disk"
    assert release_until(register, tmp_path, FIRST_WEEK_OVER) == 2
    assert len(shown(register, "europe")) == 1
    after = drawn(register)
    assert len(after) == 2
    assert before.items() <= after.items(), "what was drawn stays as it was drawn"
    assert {name: files_of(tmp_path).get(name) for name in after} == after
    with register.database.reading() as connection:
        assert releases.find_unpublished(connection) == []


def shown(register: Register, table: str) -> list[CountRow]:
    with register.database.reading() as connection:
        query = make_query(find_table(connection, table), by=None, start=None, end=None)
        rows = read_counts(connection, query, limit=9)
        assert len(releases.list_releases(connection, [table], limit=9)) == len(rows)
    return rows


def set_back(register: Register) -> None:
    """Let the database be as it was in a backup of the week before."""
    with register.database.writing() as connection:
        connection.execute(delete(released_cells))
        connection.execute(delete(releases_table))


def test_a_restored_database_takes_what_was_published(register: Register, tmp_path: Path) -> None:
    contribute(register, 5, hour=BEGAN)
    release_until(register, tmp_path, FIRST_WEEK_OVER)
    before = drawn(register)
    set_back(register)
    release_until(register, tmp_path, FIRST_WEEK_OVER + 60)
    assert drawn(register) == before


def test_where_the_files_are_lost_too_a_subscribers_copy_is_taken_in(register: Register, tmp_path: Path) -> None:
    release_until(register, tmp_path, FIRST_WEEK_OVER)
    copy = drawn(register)["europe-2026-W02"]
    set_back(register)
    shutil.rmtree(tmp_path / "releases")
    import_release(storage_of(register), copy)
    release_until(register, tmp_path, FIRST_WEEK_OVER + 60)
    assert drawn(register)["europe-2026-W02"] == copy
    import_release(storage_of(register), copy)


def test_other_figures_for_a_known_release_are_refused(register: Register, tmp_path: Path) -> None:
    release_until(register, tmp_path, FIRST_WEEK_OVER)
    copy = drawn(register)["europe-2026-W02"]
    set_back(register)
    shutil.rmtree(tmp_path / "releases")
    release_until(register, tmp_path, FIRST_WEEK_OVER + 60)  # nobody imported anything: a second draw, which is named
    with pytest.raises(Conflict) as caught:
        import_release(storage_of(register), copy)
    assert caught.value.code == "release_conflict"
    with pytest.raises(OperatorError) as refused:
        files_of(tmp_path).put("europe-2026-W02", copy)
    assert refused.value.code == "release_conflict"


def test_a_halted_log_releases_nothing(register: Register, tmp_path: Path) -> None:
    with register.database.writing() as connection:
        connection.execute(update(log_head).values(halted="set back"))
    assert release_until(register, tmp_path, FIRST_WEEK_OVER) == 0
    with register.database.reading() as connection:
        assert log.read_head(connection).halted  # type: ignore[union-attr]
    assert drawn(register) == {}


def test_what_every_table_released_is_forgotten(register: Register, tmp_path: Path) -> None:
    quarter = parse_epoch("2026-Q1")
    early = contribute(register, 4, hour=BEGAN)
    late = contribute(register, 4, hour=quarter.end - 3600)
    release_until(register, tmp_path, quarter.end + GRACE_S - 1)
    assert left(register) == {*early, *late}, "the quarter is still open"
    release_until(register, tmp_path, quarter.end + GRACE_S)
    assert left(register) == set(late), "its week goes on in the next quarter"
    release_until(register, tmp_path, epoch_at("week", quarter.end).end + GRACE_S)
    assert left(register) == set()


def test_a_great_many_are_forgotten_in_steps_that_let_the_log_be_written(register: Register, tmp_path: Path) -> None:
    from sqlalchemy import event

    deletions: list[int] = []
    contribute(register, 4_500, hour=BEGAN)
    event.listen(
        register.database.engine,
        "after_cursor_execute",
        lambda _c, cursor, statement, *_: (
            deletions.append(cursor.rowcount) if statement.startswith("DELETE FROM contributions") else None
        ),
    )
    release_until(register, tmp_path, parse_epoch("2026-Q1").end + GRACE_S)
    assert deletions == [1000, 1000, 1000, 1000, 500]
    assert left(register) == set()


def test_why_a_burst_was_admitted_is_kept(register: Register, tmp_path: Path) -> None:
    contribute(register, 30, country="MT", hour=BEGAN)
    bucket = Bucket(BEGAN, "MT", "facebook", "in-app")
    with register.database.writing() as connection:
        tallies.admit_burst(connection, bucket, reason="a call on television", now=BEGAN)
    release_until(register, tmp_path, parse_epoch("2026-Q1").end + GRACE_S)
    assert left(register) == set()
    with register.database.reading() as connection:
        assert tallies.find_admission(connection, bucket) == "a call on television"


def test_everybodys_bursts_and_a_campaigns_are_apart(register: Register, tmp_path: Path) -> None:
    """Who counted before for everybody counts for a campaign alone; each table has its own cap."""
    cap = declaration().burst_caps["MT"]
    description = '{"contact":"a@b.example","countries":["FR"],"link":"https://b.example","names":{"en":"B"}}'
    with register.database.writing() as connection:
        campaigns.insert_campaign(connection, StoredCampaign("b", description, True, BEGAN, None), logo=None)
    contribute(register, cap - 1, country="MT")
    contribute(register, cap + 2, country="MT", in_general=False, campaign="b")
    contribute(register, 50, country="LU")
    over = BEGAN + 3600
    in_campaign, generally = Bucket(BEGAN, "MT", "facebook", "in-app"), Bucket(BEGAN, "LU", "facebook", "in-app")
    with register.database.reading() as connection:
        found = [(each.burst.bucket, each.burst.registrations, each.tables) for each in find_bursts(connection)]
    everybodys = tuple(declaration().tables)
    assert found == [(generally, 50, everybodys), (in_campaign, cap + 2, ("campaign-b",))]
    assert admit_burst(register, in_campaign, reason="a stall", now=over) == [Admitted(cap + 2, ("campaign-b",))]
    release_until(register, tmp_path, FIRST_WEEK_OVER)
    with register.database.reading() as connection:
        [still] = find_bursts(connection)
    assert (still.burst.bucket, still.tables) == (generally, ("platforms", "outcomes")), "the week is released"
    [admitted] = admit_burst(register, generally, reason="late", now=FIRST_WEEK_OVER)
    assert admitted.tables == ("platforms", "outcomes")


def test_what_cannot_be_admitted(register: Register, tmp_path: Path) -> None:
    contribute(register, 50, country="MT")
    bucket = Bucket(BEGAN, "MT", "facebook", "in-app")
    for asked, now, code in [
        (bucket, BEGAN + 3599, "hour_not_over"),
        (bucket._replace(country="XX"), BEGAN + 3600, "burst_not_found"),
        (bucket._replace(country="DE"), BEGAN + 3600, "burst_not_found"),
        (bucket._replace(hour=BEGAN + 3600), BEGAN + 7200, "burst_not_found"),
    ]:
        with pytest.raises(ObjectionError) as caught:
            admit_burst(register, asked, reason="", now=now)
        assert caught.value.code == code
    admit_burst(register, bucket, reason="", now=BEGAN + 3600)
    with pytest.raises(Conflict, match="it was admitted before"):
        admit_burst(register, bucket, reason="again", now=BEGAN + 3600)


def test_admitting_looks_at_its_own_bucket_alone(register: Register) -> None:
    from sqlalchemy import event

    statements: list[str] = []
    contribute(register, 50, country="MT")
    event.listen(
        register.database.engine,
        "before_cursor_execute",
        lambda _c, _cursor, statement, *_: statements.append(statement) if "contributions" in statement else None,
    )
    admit_burst(register, Bucket(BEGAN, "MT", "facebook", "in-app"), reason="", now=BEGAN + 3600)
    assert len(statements) == 2
    for statement in statements:
        assert "contributions.hour =" in statement


def test_files_that_are_missing_are_written_when_the_worker_begins(register: Register, tmp_path: Path) -> None:
    """Else a copy without releases/ would have no second defence against a redraw, and nobody would know."""
    release_until(register, tmp_path, FIRST_WEEK_OVER)
    before = drawn(register)
    shutil.rmtree(tmp_path / "releases")
    worker = Releasing(storage_of(register), clock=lambda: FIRST_WEEK_OVER)
    assert worker.run_once() == 0
    assert {name: files_of(tmp_path).get(name) for name in before} == before
    set_back(register)
    release_until(register, tmp_path, FIRST_WEEK_OVER + 60)
    assert drawn(register) == before


def test_a_file_with_other_figures_is_named_and_keeps_nothing_else_back(
    register: Register, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    release_until(register, tmp_path, FIRST_WEEK_OVER)
    before = drawn(register)
    (tmp_path / "releases/countries-2026-W02.jws").write_text(before["europe-2026-W02"])
    (tmp_path / "releases/europe-2026-W02.jws").unlink()
    assert release_until(register, tmp_path, FIRST_WEEK_OVER + WEEK_S) == 2, "the next week"
    assert "release countries-2026-W02: release_conflict" in caplog.text
    assert files_of(tmp_path).get("europe-2026-W02") == before["europe-2026-W02"]


def test_one_bad_release_does_not_stop_the_others(
    register: Register, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    contribute(register, 5, hour=BEGAN)
    files_of(tmp_path).put("countries-2026-W02", "no.jws.atall")
    quarter_over = parse_epoch("2026-Q1").end + GRACE_S
    released = release_until(register, tmp_path, quarter_over)
    assert released == len(drawn(register)) > 20
    assert "countries-2026-W02" not in drawn(register)
    assert "release countries-2026-W02: base64url_malformed" in caplog.text
    assert len(left(register)) == 5, "what it was to count is kept until it is released"


def test_an_import_looks_and_writes_in_one_transaction(register: Register, tmp_path: Path) -> None:
    """Else a worker could store its own draw in between, and two draws of one release would be out."""
    from sqlalchemy import event

    release_until(register, tmp_path, FIRST_WEEK_OVER)
    copy = drawn(register)["europe-2026-W02"]
    set_back(register)
    shutil.rmtree(tmp_path / "releases")
    steps: list[str] = []
    storage = storage_of(register)
    put = storage.releases.put
    storage.releases.put = lambda *arguments: (steps.append("put"), put(*arguments))[1]  # type: ignore[method-assign,func-returns-value]
    engine = register.database.engine
    event.listen(engine, "begin", lambda _c: steps.append("begin"))
    event.listen(
        engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: steps.append(statement.split("\n")[0][:20])
    )
    event.listen(engine, "commit", lambda _c: steps.append("commit"))
    import_release(storage, copy)
    assert steps.count("begin") == steps.count("commit") == 1
    assert steps.index("begin") < steps.index("SELECT releases.id, ") < steps.index("put") < steps.index("commit")


def test_what_an_earlier_process_did_not_forget_is_forgotten_at_the_start(register: Register, tmp_path: Path) -> None:
    over = epoch_at("week", parse_epoch("2026-Q1").end).end + GRACE_S
    release_until(register, tmp_path, over)
    contribute(register, 3, hour=BEGAN)  # as if that process had been killed before it forgot
    assert release_until(register, tmp_path, over) == 0
    assert left(register) == set()


def test_who_is_in_no_cell_is_not_left_out_in_silence(
    register: Register, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    contribute(register, 1, country="XX")
    assert release_until(register, tmp_path, FIRST_WEEK_OVER) == 1
    assert set(drawn(register)) == {"europe-2026-W02"}
    assert "release countries-2026-W02: contribution_unknown" in caplog.text


def left(register: Register) -> set[bytes]:
    with register.database.reading() as connection:
        return set(connection.execute(select(contributions.c.receipt_sha256)).scalars())


def test_a_burst_counts_up_to_its_cap_until_somebody_has_looked(register: Register, tmp_path: Path) -> None:
    cap = declaration().burst_caps["MT"]
    contribute(register, 10 * cap, country="MT", hour=BEGAN)
    contribute(register, 10 * cap, country="MT", hour=BEGAN + 3600)
    contribute(register, 7, country="MT", hour=BEGAN + 7200)
    first, second = (Bucket(BEGAN + hours * 3600, "MT", "facebook", "in-app") for hours in (0, 1))
    with register.database.writing() as connection:
        bursts = tallies.find_bursts(connection, caps=declaration().burst_caps)
        assert [(burst.bucket, burst.registrations, burst.cap, burst.usual, burst.admitted) for burst in bursts] == [
            (first, 10 * cap, cap, round((10 * cap + 7) / 2), None),
            (second, 10 * cap, cap, round((10 * cap + 7) / 2), None),
        ]
        tallies.admit_burst(connection, first, reason="a call on television", now=BEGAN)
        assert [burst.admitted for burst in tallies.find_bursts(connection, caps=declaration().burst_caps)] == [
            "a call on television",
            None,
        ]
    release_until(register, tmp_path, FIRST_WEEK_OVER)
    assert abs(cells_of(register, "countries-2026-W02")["MT", "_T", "_T", "_T"] - (10 * cap + cap + 7)) < 40


def test_one_registration_more_changes_one_cell_by_one_at_most(register: Register) -> None:
    """The cap must not make a person's weight larger: under it, at it and over it."""
    cap = declaration().burst_caps["LI"]
    start, end = BEGAN, BEGAN + WEEK_S
    previous = dict.fromkeys(declaration().tables, 0)
    for number in range(1, cap + 4):
        contribute(register, 1, country="LI", hour=BEGAN)
        with register.database.reading() as connection:
            for name, table in declaration().tables.items():
                counted = tallies.count_cells(
                    connection, table.dimensions, start=start, end=end, campaign=None, caps=declaration().burst_caps
                )
                total = sum(counted.values())
                assert total - previous[name] == (1 if number <= cap else 0)
                previous[name] = total


def test_a_campaigns_table_has_its_countries_and_the_rest(register: Register, tmp_path: Path) -> None:
    description = '{"contact":"a@b.example","countries":["FR","DE"],"link":"https://b.example","names":{"en":"B"}}'
    with register.database.writing() as connection:
        campaigns.insert_campaign(connection, StoredCampaign("b", description, True, BEGAN, None), logo=None)
    for country, number in {"DE": 200, "FR": 100, "ES": 90, "ZZ": 20}.items():
        contribute(register, number, country=country, hour=BEGAN, campaign="b")
    contribute(register, 300, country="DE", hour=BEGAN)
    release_until(register, tmp_path, FIRST_WEEK_OVER)
    figures = {cell[0]: value for cell, value in cells_of(register, "campaign-b-2026-W02").items()}
    assert set(figures) == {"DE", "FR", "ZZ"}
    for country, true in {"DE": 200, "FR": 100, "ZZ": 110}.items():
        assert abs(figures[country] - true) < 40


def test_an_ended_campaign_gets_its_last_week_and_no_more(register: Register, tmp_path: Path) -> None:
    description = '{"contact":"a@b.example","countries":["FR"],"link":"https://b.example","names":{"en":"B"}}'
    with register.database.writing() as connection:
        stored = StoredCampaign("b", description, True, BEGAN + WEEK_S, BEGAN + WEEK_S + 5)
        campaigns.insert_campaign(connection, stored, logo=None)
    release_until(register, tmp_path, BEGAN + 6 * WEEK_S)
    ours = [name for name in drawn(register) if name.startswith("campaign-b-")]
    assert ours == ["campaign-b-2026-W03"]


def test_a_tampered_release_does_not_verify(register: Register, tmp_path: Path) -> None:
    release_until(register, tmp_path, FIRST_WEEK_OVER)
    header, payload, signature = drawn(register)["europe-2026-W02"].split(".")
    other = "A" if payload[40] != "A" else "B"
    with pytest.raises(VerificationError) as caught:
        verify_release(f"{header}.{payload[:40]}{other}{payload[41:]}.{signature}", register.keyring.policy)
    assert caught.value.code == "signature_invalid"


def test_the_noise_of_many_releases_has_the_declared_variance(register: Register, tmp_path: Path) -> None:
    """As released, not as drawn: through aggregation, store and signature."""
    release_until(register, tmp_path, BEGAN + 40 * WEEK_S + GRACE_S)
    with register.database.reading() as connection:
        rows = connection.execute(text("SELECT table_name, value FROM released_cells")).all()
    for name, table in declaration().tables.items():
        values = [row.value for row in rows if row.table_name == name]
        if len(values) < 200:
            continue
        alpha = math.exp(-table.epsilon)
        variance = 2 * alpha / (1 - alpha) ** 2
        seen = sum(value**2 for value in values) / len(values)
        # The fourth moment of the noise is about 6 variances squared: five standard deviations.
        assert abs(seen - variance) < 5 * variance * math.sqrt(5 / len(values)) + 0.1, name
