"""Who is counted: each holder once, for ever; with what became of the objection, while that can still change."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from server.core.counts import Cell, declaration
from server.store import campaigns, tallies
from server.store.campaigns import StoredCampaign
from server.store.tables import contributions, counted_holders
from server.store.tallies import hour_of
from server.usecases.epochs import epoch_at, parse_epoch
from server.usecases.log_writer import LogWriter, SealedReceipt
from server.usecases.register import Register, holder_scoped
from server.usecases.release_counts import count, find_due
from server.usecases.row_sums import changing_sums
from server.usecases.tally import Countable, uncount_campaign
from tests.fixtures.counting import BEGAN, counting_since
from tests.fixtures.holders import Holder
from tests.fixtures.mails import MAIL, NAME, dns_server, key_record, sign_mail
from tests.fixtures.sealed import sealed_receipt
from tests.fixtures.servers import footprint, make_settings, post, register_of, running
from tests.usecases.test_record_objection import in_one_group

CAMPAIGNS = ("first", "second")
ENGLISH = b"Learn how we'll use your information as we improve AI at Meta"
CONFIRMATION = MAIL.replace(ENGLISH, b"We honour your objection")
# Nobody is told what these mean: an Italian notice that no list has, and what Meta writes to everybody.
OTHERS = [MAIL, MAIL.replace(ENGLISH, b"Scopri di"), MAIL.replace(ENGLISH, b"You have 3 new notifications")]
KNOWN = """
[[mails]]
id = "confirmation-2025-en"
kind = "confirmation"
subjects = ["We honour your objection"]
from = 2025-04-14
until = 2025-12-31
source = "a test"
confidence = "R"
"""


def add_campaigns(register: Register, since: int) -> None:
    description = '{"contact":"a@b.example","countries":["DE"],"link":"https://b.example","names":{"en":"B"}}'
    with register.database.writing() as connection:
        for slug in CAMPAIGNS:
            campaigns.insert_campaign(connection, StoredCampaign(slug, description, True, since, None), logo=None)
        campaigns.insert_campaign(connection, StoredCampaign("ended", description, True, since, since + 1), logo=None)


@pytest.fixture
def app(tmp_path: Path, storage_settings: dict[str, str]) -> Iterator[Flask]:
    with running(make_settings(tmp_path, **storage_settings)) as app:
        add_campaigns(register_of(app), int(time.time()))
        yield app


def counted(app: Flask) -> list[dict[str, Any]]:
    with register_of(app).database.reading() as connection:
        return [dict(row._mapping) for row in connection.execute(select(contributions))]


def test_an_objection_counts_for_its_hour_country_platform_and_channel(app: Flask) -> None:
    objection = Holder().objection(country="FR", platform="instagram", notice={"channel": "email"})
    assert post(app, objection).status_code == 201
    [row] = counted(app)
    assert row.pop("hour") in {hour_of(int(time.time())), hour_of(int(time.time())) - 3600}
    assert row == {
        "receipt_sha256": bytes.fromhex(objection.sha256),
        "country": "FR",
        "platform": "instagram",
        "channel": "email",
        "outcome": "recorded",
        "in_general": True,
        "campaign": None,
    }


def test_a_holder_counts_once_however_often(app: Flask) -> None:
    holder = Holder()
    first = holder.objection()
    assert [post(app, each).status_code for each in (first, first, holder.objection())] == [201, 200, 201]
    assert post(app, holder.later("erasure", first)).status_code == 201
    assert counted(app) == [], "what is erased is taken out of what is still to be counted"
    assert post(app, holder.objection()).status_code == 201
    assert counted(app) == [], "and its holder is not counted again"
    assert footprint(register_of(app))["counted_holders"] == 1


def test_two_objections_of_a_holder_in_one_group_count_once(app: Flask) -> None:
    holder = Holder()
    answers = in_one_group(app, *(holder.objection() for _ in range(4)), Holder().objection())
    assert [answer.status_code for answer in answers] == [201] * 5
    assert len(counted(app)) == 2


def test_a_refused_objection_counts_for_nothing(app: Flask) -> None:
    holder = Holder()
    objection = holder.objection()
    refused = replace(objection, evidence=dict.fromkeys(objection.evidence, b"other"))
    assert post(app, refused).status_code == 422
    assert counted(app) == []
    assert post(app, holder.objection()).status_code == 201
    assert len(counted(app)) == 1


def test_only_a_known_confirmation_acknowledges_and_no_outcome_goes_back(tmp_path: Path) -> None:
    known = tmp_path / "known.toml"
    known.write_text(KNOWN)
    with (
        dns_server({NAME: [key_record()]}) as address,
        running(make_settings(tmp_path, dns_servers=address, known_mails=str(known))) as app,
    ):
        holder = Holder()
        objection = holder.objection()
        post(app, objection)

        def outcome_after(*mails: bytes) -> str:
            evidence = {f"{number}.eml": mail for number, mail in enumerate(mails)}
            assert post(app, holder.later("supplement", objection, evidence)).status_code == 201
            [row] = counted(app)
            return str(row["outcome"])

        forged = sign_mail(CONFIRMATION).replace(b"legitimate", b"vital")
        assert outcome_after(b"Subject: x\r\n\r\nunsigned", CONFIRMATION, forged) == "recorded"
        for mail in OTHERS:
            assert outcome_after(sign_mail(mail)) == "meta-mail"
        late = CONFIRMATION.replace(b"2025", b"2026")
        assert outcome_after(sign_mail(late)) == "meta-mail", "the list does not know that subject for that day"
        reply = {"reply.eml": sign_mail(CONFIRMATION)}
        assert outcome_after(sign_mail(MAIL), sign_mail(CONFIRMATION)) == "acknowledged"
        assert outcome_after(sign_mail(MAIL)) == "acknowledged", "another mail takes nothing back"
        assert post(app, holder.later("withdrawal", objection)).status_code == 201
        assert [row["outcome"] for row in counted(app)] == ["withdrawn"]
        assert post(app, holder.later("supplement", objection, reply)).status_code == 201
        assert [row["outcome"] for row in counted(app)] == ["withdrawn"], "a reply that comes later changes nothing"


def test_one_campaign_ever_and_only_one_that_runs(app: Flask) -> None:
    for named, counts_for in {"first": "first", "unknown": None, "ended": None}.items():
        assert post(app, Holder().objection(campaign=named)).status_code == 201
        assert counted(app)[-1]["campaign"] in {counts_for, "first"}
    assert sorted(str(row["campaign"]) for row in counted(app)) == ["None", "None", "first"]
    holder = Holder()
    for named in (None, "second", "first"):
        assert post(app, holder.objection(**({"campaign": named} if named else {}))).status_code == 201
    theirs = [(row["in_general"], row["campaign"]) for row in counted(app)][3:]
    assert sorted(theirs, key=str) == [(False, "second"), (True, None)]


def test_what_comes_late_counts_for_the_next_epoch(app: Flask) -> None:
    register = register_of(app)
    later = epoch_at("week", int(time.time())).end
    with register.database.writing() as connection:
        tallies.close_until(connection, later)
        tallies.close_until(connection, later - 86_400)
    assert post(app, Holder().objection()).status_code == 201
    assert [row["hour"] for row in counted(app)] == [later]


def test_marks_lead_to_nobody_without_the_registers_key(app: Flask) -> None:
    """What remains of an erased holder is a keyed hash: other keys give other marks."""
    holder = Holder()
    objection = holder.objection()
    post(app, objection)
    register = register_of(app)
    with register.database.reading() as connection:
        [mark] = connection.execute(select(counted_holders.c.mark)).scalars()
    assert mark == register.keyring.counting_mark(holder.jwk, "general")
    assert mark != replace(register.keyring, counting_key=bytes(32)).counting_mark(holder.jwk, "general")
    assert mark != register.keyring.counting_mark(holder.jwk, "campaign")


# What one person might do to weigh more, hour by hour; time passes between two of them.
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["object", "erase", "withdraw", "acknowledge", "add a mail", "leave"]),
        st.sampled_from(["DE", "FR"]),
        st.sampled_from([None, *CAMPAIGNS]),
        st.sampled_from([0, 40, 72, 200, 900]),  # hours that pass before it
    ),
    max_size=8,
)


@pytest.fixture(scope="module")
def counting_register(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Register]:
    with counting_since(make_settings(tmp_path_factory.mktemp("budget"))) as app:
        add_campaigns(register_of(app), BEGAN)
        yield register_of(app)


# On 31 March 2026, a Tuesday; three days later March and the first quarter are closed, and the week is not.
JOIN_AND_LEAVE_AFTER_THE_MONTH = [
    ("object", "DE", "first", (parse_epoch("2026-03").end - 3600 - BEGAN) // 3600),
    ("leave", "DE", None, 72),
]


def test_a_campaign_may_be_left_after_a_month_closed_within_its_week(counting_register: Register) -> None:
    spent = person_adds(counting_register, JOIN_AND_LEAVE_AFTER_THE_MONTH)
    assert {table for table, *_ in spent} == declaration().tables.keys(), "it left the campaign, and nothing else"
    with counting_register.database.reading() as connection:
        assert tallies.read_counting(connection).closed_until > BEGAN
    stayed = person_adds(counting_register, JOIN_AND_LEAVE_AFTER_THE_MONTH[:1])
    assert {table for table, *_ in stayed} == {*declaration().tables, "campaign-first"}
    too_late = [JOIN_AND_LEAVE_AFTER_THE_MONTH[0], ("leave", "DE", None, 24 * 9)]
    assert "campaign-first" in {table for table, *_ in person_adds(counting_register, too_late)}


@given(ACTIONS)
@example(JOIN_AND_LEAVE_AFTER_THE_MONTH)
@example([*JOIN_AND_LEAVE_AFTER_THE_MONTH, ("object", "FR", "second", 0)])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_person_does_costs_at_most_the_declared_budget(
    counting_register: Register, actions: list[tuple[str, str, str | None, int]]
) -> None:
    """All true counts that are ever released, with the person and without: the differences, weighed by epsilon."""
    spent = person_adds(counting_register, actions)
    prices = {name: table.epsilon for name, table in declaration().tables.items()}
    general = sum(prices[table] * abs(value) for (table, _, _), value in spent.items() if table in prices)
    joined = sum(abs(value) for (table, _, _), value in spent.items() if table not in prices)
    assert general <= declaration().lifetime_epsilon
    assert joined * declaration().campaign_epsilon <= declaration().campaign_epsilon


def person_adds(
    register: Register, actions: list[tuple[str, str, str | None, int]]
) -> dict[tuple[str, str, Cell], int]:
    """Do ``actions`` as one new person; return what they added to each table's epoch and cell as that was closed."""
    with register.database.writing() as connection:
        connection.execute(delete(contributions))
        connection.exec_driver_sql(f"UPDATE counting SET closed_until = {BEGAN}")
        connection.exec_driver_sql("UPDATE log_head SET newest_at = 0")
    now = BEGAN
    added: dict[tuple[str, str, Cell], int] = {}
    mark, campaign_mark = secrets.token_bytes(32), secrets.token_bytes(32)
    closed: set[tuple[str, str]] = set()
    objections: list[SealedReceipt] = []
    for action, country, campaign, hours in [*actions, ("wait", "DE", None, 24 * 200)]:
        now += hours * 3600
        close(register, now, added, closed)
        writer = LogWriter(
            register.database,
            register.blobs,
            name=register.keyring.log_name,
            key=register.keyring.log_key,
            clock=lambda now=now: now,  # type: ignore[misc]
        )
        try:
            if action == "object":
                objections.append(objection_of(register, mark, campaign_mark, country, campaign))
                writer.append(objections[-1])
            elif action != "wait" and objections:
                act(register, writer, action, objections)
        finally:
            writer.close()
    return added


def objection_of(
    register: Register, mark: bytes, campaign_mark: bytes, country: str, campaign: str | None
) -> SealedReceipt:
    sealed = sealed_receipt(kid=register.keyring.issuer_kid)
    counts = Countable(sealed.receipt_sha256, country, "facebook", "in-app", campaign, mark, campaign_mark)
    return replace(sealed, countable=counts)


def act(register: Register, writer: LogWriter, action: str, objections: list[SealedReceipt]) -> None:
    objection = objections[-1]
    if action == "leave":
        macs = register.keyring.row_macs
        with register.database.writing() as connection, changing_sums(connection, macs) as sums:
            uncount_campaign(connection, objection.receipt_sha256, sums)
        return
    kind = {"erase": "erasure", "withdraw": "withdrawal"}.get(action, "supplement")
    later = replace(
        sealed_receipt(kid=register.keyring.issuer_kid),
        kind=kind,
        slot_digests=(),
        objection_sha256=objection.receipt_sha256,
        outcome={"acknowledge": "acknowledged", "add a mail": "meta-mail"}.get(action),
        holder_jti=holder_scoped("x", secrets.token_hex(8)),
        sealed=b"" if action == "erase" else b"later",
    )
    writer.append(later)
    if action in {"erase", "withdraw"}:
        objections.pop()


def close(register: Register, now: int, added: dict[tuple[str, str, Cell], int], closed: set[tuple[str, str]]) -> None:
    """Close what is due, as the worker does; note what would be released but for the noise."""
    with register.database.reading() as connection:
        due = find_due(connection, now=now)
    for each in due:
        if (each.table.name, each.epoch.name) in closed:
            continue
        closed.add((each.table.name, each.epoch.name))
        with register.database.writing() as connection:
            tallies.close_until(connection, each.epoch.end)
        with register.database.reading() as connection:
            for cell, value in count(connection, each.table, each.epoch).items():
                added[each.table.name, each.epoch.name, cell] = value
