"""Each check of event_tracking finds the fault that it is there for, and says where."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy.engine import make_url

from analytics_assets.database import connect
from analytics_assets.events.assets import CHECKS
from analytics_assets.ledgered import evaluate
from analytics_assets_tests.events.model import Message
from analytics_assets_tests.events.staging import Connection, add_organization, store
from analytics_assets_tests.events.test_summaries import shopping
from analytics_assets_tests.in_transaction import InTransaction

DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=3)
AT = DAY + timedelta(hours=10)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def figures(server_url: str, template_database: str) -> Iterator[Connection]:
    """Two organisations, summed up by the SQL functions alone; each fault is made in a transaction that is rolled back."""
    name = f"analytics_checks_{uuid.uuid4().hex[:12]}"
    server = server_url.replace("+psycopg", "")
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"create database {name} template {template_database}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", make_url(server_url).set(database=name).render_as_string(hide_password=False))
        with connect() as connection:
            ids = [add_organization(connection, slug) for slug in ("acme", "bolt")]
            for organization in ids:
                store(connection, [
                    *shopping(organization, AT),
                    Message("a", AT + 4 * HOUR, organization, anonymous="a1", type="page"),
                    Message("b", AT + 4 * HOUR + timedelta(minutes=20), organization, anonymous="a1"),
                    Message("c", AT + 5 * HOUR, organization, anonymous="a1", user="u1"),
                    Message("own", AT + 5 * HOUR, organization, user="u2", own="tab"),
                    Message("own2", AT + 7 * HOUR, organization, user="u2", own="tab", type="page"),
                ])  # fmt: skip
            for function in ("summarize_events", "aggregate_hourly_data"):
                connection.execute(f"select count(*) from public.{function}(%s, %s, %s)", (ids, DAY, DAY + timedelta(days=1)))
                connection.commit()
            yield connection
            connection.rollback()
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"drop database {name} with (force)")


_ACME = "(select id from organizations where slug = 'acme')"
_FAULTS = [
    ("nothing", "select 1", set()),
    ("a sum changed", f"update metric_observations set value = value + 1 where metric_id = 6 and organization_id = {_ACME}", {"events_equal_aggregates"}),
    ("a sum lost", f"delete from metric_observations where metric_id = 1 and organization_id = {_ACME}", {"events_equal_aggregates"}),
    ("a published value changed", f"update hourly_facts set value = value + 1 where metric_id = 7 and organization_id = {_ACME}", {"events_equal_aggregates"}),
    ("a published row lost", f"delete from hourly_facts where metric_id = 17 and organization_id = {_ACME}", {"events_equal_aggregates"}),
    ("an event lost", f"delete from event_tracking where event_name = 'Clicked' and \"timestamp\" < '{AT + HOUR}' and organization_id = {_ACME}", {"events_equal_aggregates", "no_orphan_sessions"}),
    ("a session lost", f"delete from visitor_sessions where started_at = '{AT}' and organization_id = {_ACME}", {"events_equal_aggregates", "no_orphan_sessions"}),
    ("a session without events", f"insert into visitor_sessions (organization_id, started_at, last_activity, events, page_views, is_own, session_id, visitor_id) values ({_ACME}, '{AT}', '{AT}', 1, 0, true, 'ghost', 'u7')", {"events_equal_aggregates", "no_orphan_sessions"}),
    ("a session's count wrong", f"update visitor_sessions set events = events + 1 where started_at = '{AT}' and organization_id = {_ACME}", {"no_orphan_sessions"}),
    ("a session's pages wrong", f"update visitor_sessions set page_views = 0 where session_id = 'tab' and organization_id = {_ACME}", {"no_orphan_sessions"}),
    ("a session's end wrong", f"update visitor_sessions set last_activity = last_activity + interval '1 second' where session_id = 'tab' and organization_id = {_ACME}", {"no_orphan_sessions"}),
    ("an event in another session", f"update event_tracking set session_id = 's_other' where \"timestamp\" = '{AT + 4 * HOUR}' and organization_id = {_ACME}", {"no_orphan_sessions", "sessions_hold_their_definition"}),
    ("a session over a gap", f"update event_tracking set \"timestamp\" = \"timestamp\" - interval '15 minutes' where event_type = 'page' and \"timestamp\" = '{AT + 4 * HOUR}' and organization_id = {_ACME}", {"no_orphan_sessions", "sessions_hold_their_definition", "events_equal_aggregates"}),
    ("two sessions in one", f"update visitor_sessions set is_own = false where session_id = 'tab' and organization_id = {_ACME}", {"sessions_hold_their_definition"}),
    ("an id that is not of the start", f"with s as (update visitor_sessions set session_id = 's_1' where started_at = '{AT}' and organization_id = {_ACME}) update event_tracking set session_id = 's_1' where \"timestamp\" < '{AT + HOUR}' and organization_id = {_ACME}", {"sessions_hold_their_definition"}),
    ("an event without its user", f"update event_tracking set user_id = null where known_as = 'a1' and organization_id = {_ACME}", {"identity_coverage"}),
    ("an identity that moved nothing", f"insert into event_identities (organization_id, identified_at, known_as, user_id) values ({_ACME}, now(), 'u2', 'u3')", {"identity_coverage"}),
    ("an event of nobody", f"insert into event_tracking (organization_id, \"timestamp\", session_id, event_name, visitor_id) values ('{uuid4()}', '{AT}', 's', 'e', 'v')", {"known_organizations_only"}),
    ("a visitor of nobody", f"insert into visitors (organization_id, first_seen_at, visitor_id) values ('{uuid4()}', '{AT}', 'v')", {"known_organizations_only"}),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "expected"), [pytest.param(*fault[1:], id=fault[0]) for fault in _FAULTS])
def test_a_fault_is_found(figures: Connection, statement: str, expected: set[str]) -> None:
    database = InTransaction.of(figures)
    fired = {}
    with figures.transaction(force_rollback=True):
        figures.execute(statement)
        for check in CHECKS["event_tracking"]:
            result = evaluate(check, "event_tracking", database, ["acme", "bolt"], DAY, DAY + timedelta(days=1))
            if not result.passed:
                fired[check.name] = result
    assert set(fired) == expected, {name: result.description for name, result in fired.items()}
    for result in fired.values():
        found: Any = result.metadata
        assert found["violations"].value >= 1
        assert "bolt" not in {record.data["organization"] for record in found["worst"].records}
