"""Owners and admins add and change funnels through the API: the database validates as the command does, and marks what has to be
computed anew."""

import json
import threading
import uuid
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from analytics_assets.database import connect
from analytics_assets.funnels import registry
from analytics_assets.funnels.definitions import EVENT_TYPES, FunnelError, check_step, make_funnel
from analytics_assets_tests.funnels.model import Event, add_events, compute, noon_in_berlin, table
from analytics_assets_tests.tenancy.callers import rows
from analytics_assets_tests.woocommerce import Connection, add_organization

OWNER, VIEWER = uuid.UUID(int=0xF1), uuid.UUID(int=0xF2)
INSERT = (
    "insert into public.funnels (organization_id, funnel_name, unit, window_seconds, steps) values (%s, %s, 'session', %s, %s)"
    " returning version, steps, is_active"
)
STEPS = [{"event": "Product Viewed"}, {"event": "Product Added", "name": " Cart "}]


@pytest.fixture
def acme(connection: Connection) -> uuid.UUID:
    """Two visitors of three days ago, an owner and a viewer."""
    organization = add_organization(connection, "acme", "Europe/Berlin")
    for user, role in ((OWNER, "owner"), (VIEWER, "viewer")):
        rows(connection, "insert into public.organization_members values (%s, %s, %s)", organization, user, role)
    noon = noon_in_berlin(3)
    events = [Event(noon, f"v{number}", name="Product Viewed") for number in range(2)]
    add_events(connection, organization, [*events, Event(noon + timedelta(hours=1), "v0", name="Product Added")])
    connection.commit()
    return organization


def ask(connection: Connection, user: uuid.UUID, statement: str, *parameters: Any) -> list[dict[str, Any]]:
    """One request, committed."""
    with connection.transaction():
        rows(connection, "select set_config('role', 'authenticated', true)")
        rows(connection, "select set_config('request.jwt.claims', %s, true)", json.dumps({"sub": str(user)}))
        return rows(connection, statement, *parameters)


def run(connection: Connection, organization: uuid.UUID) -> None:
    """Computes all days until today, as the pipeline."""
    with connection.transaction():
        rows(connection, "set local role analytics_pipeline")
        today = noon_in_berlin(0).date()
        compute(connection, [organization], today - timedelta(days=4), today)


def stale(connection: Connection) -> int:
    """Days that have to be computed."""
    (row,) = rows(connection, "select count(*) as n from partition_ledger where asset = 'funnel_analysis' and status = 'stale'")
    return int(row["n"])


def test_a_funnel_of_an_owner(connection: Connection, acme: uuid.UUID) -> None:
    """Added, computed, changed, renamed, put on hold: each time its days are marked, and computed they are the new definition's."""
    (made,) = ask(connection, OWNER, INSERT, acme, " checkout ", 3600 * 2, Jsonb(STEPS))
    assert made["version"] == 1 and made["steps"][1] == {"name": "Cart", "event": "Product Added"}
    marked = stale(connection)
    assert marked == 4
    run(connection, acme)
    assert stale(connection) == 0 and [row["version"] for row in rows(connection, "select version from funnel_analysis")] == [
        1,
        1,
    ]
    counted = table(connection, acme)
    changes = {
        "window_seconds = 60": 2,
        "window_seconds = 60, unit = 'session'": 2,
        'steps = \'[{"event": "Product Viewed"}]\'': 3,
        "funnel_name = 'looked'": 3,
        "is_active = false": 3,
    }
    for change, version in changes.items():
        before = rows(connection, "select version, is_active, funnel_name from public.funnels")
        (changed,) = ask(connection, OWNER, f"update public.funnels set {change} returning version, is_active, funnel_name")
        assert changed["version"] == version
        assert stale(connection) == (marked if [changed] != before else 0), change
        run(connection, acme)
        kept = rows(connection, "select distinct funnel_name, version from funnel_analysis")
        assert kept == ([{"funnel_name": changed["funnel_name"], "version": version}] if changed["is_active"] else []), change
    assert counted != {} and table(connection, acme) == {}


def test_what_the_command_stores_is_what_the_api_stores(connection: Connection, acme: uuid.UUID) -> None:
    """The same definition given to the command afterwards changes nothing, and makes no new version."""
    ask(connection, OWNER, INSERT, acme, "checkout", 86400, Jsonb(STEPS))
    stored = registry.store(
        connection, "acme", make_funnel("checkout", "session", "24h", ["Product Viewed", "Cart: Product Added"])
    )
    assert (stored.change, stored.version) == ("unchanged", 1)
    stored = registry.store(connection, "acme", make_funnel("checkout", "session", "24h", ["Product Viewed"]))
    assert (stored.change, stored.version) == ("changed", 2)


def test_who_may(connection: Connection, acme: uuid.UUID) -> None:
    """A viewer changes none and adds none; nobody writes version or organisation; no more than 100 are counted."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ask(connection, VIEWER, INSERT, acme, "f", 60, Jsonb(STEPS))
    ask(connection, OWNER, INSERT, acme, "f", 60, Jsonb(STEPS))
    assert ask(connection, VIEWER, "update public.funnels set window_seconds = 61 returning version") == []
    with pytest.raises(psycopg.errors.UniqueViolation):
        ask(connection, OWNER, INSERT, acme, "f", 60, Jsonb(STEPS))
    with pytest.raises(psycopg.errors.CheckViolation, match="100 are counted already"):
        ask(
            connection, OWNER,
            "insert into public.funnels (organization_id, funnel_name, unit, window_seconds, steps)"
            " select %s, 'f' || n, 'user', 60, %s from generate_series(1, 100) n", acme, Jsonb(STEPS),
        )  # fmt: skip
    assert len(rows(connection, "select 1 from public.funnels")) == 1


def test_a_day_that_a_computation_is_just_closing_stays_open(connection: Connection, acme: uuid.UUID) -> None:
    """It had read the definitions before the change, and closed the day's first ledger row over the mark."""
    rows(connection, INSERT, acme, "first", 86400, Jsonb(STEPS))
    connection.commit()
    computing = threading.Thread(target=_compute, args=(acme,))
    waiting = (
        "select 1 as n from pg_stat_activity where wait_event_type = 'Lock' and query like 'select * from aggregate_funnels%'"
    )
    with connect() as holding:
        # Readers go on: the computation is halted where it writes, and a request of a tenant is not.
        rows(holding, "lock table public.funnel_analysis in share mode")
        computing.start()
        while not rows(connection, waiting):
            assert computing.is_alive()
            connection.rollback()
        connection.rollback()
        ask(connection, OWNER, INSERT, acme, "second", 86400, Jsonb(STEPS))
    computing.join()
    assert {row["funnel_name"] for row in rows(connection, "select funnel_name from funnel_analysis")} == {"first"}
    assert stale(connection) == 4
    connection.commit()
    run(connection, acme)
    assert {row["funnel_name"] for row in rows(connection, "select funnel_name from funnel_analysis")} == {"first", "second"}


def _compute(organization: uuid.UUID) -> None:
    with connect() as connection:
        run(connection, organization)


_TEXT = st.sampled_from(
    ["", " ", "A", " Added to cart\t", "x" * 100, "x" * 101, "Größe ☂", "'); drop table orders --", "page", "track"]
)
_VALUE = st.one_of(_TEXT, st.none(), st.booleans(), st.integers(-5, 5), st.lists(st.integers(), max_size=1))
_STEP = st.one_of(
    st.dictionaries(
        st.sampled_from(["name", "event", "type", "page", "properties", "Event", "$$"]),
        st.one_of(_VALUE, st.sampled_from(EVENT_TYPES), st.dictionaries(_TEXT, _VALUE, max_size=2)),
        max_size=4,
    ),
    _VALUE,
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_STEP)
def test_the_database_takes_what_the_command_takes(connection: Connection, step: Any) -> None:
    """Any step: accepted by both or by none, stored alike, refused for the same."""
    (said,) = connection.execute(
        "select private.step_problem(%(step)s) as problem,"
        " case when jsonb_typeof(%(step)s) = 'object' then private.sound_step(%(step)s) end as sound",
        {"step": Jsonb(step)},
    ).fetchall()
    try:
        stored = check_step(step, 1)
    except FunnelError as error:
        stored, nothing = {}, "nothing to look for" in str(error)
    if stored:
        assert (said["problem"], said["sound"]) == (None, stored)
    else:
        assert said["sound"] is None if nothing else said["problem"]
