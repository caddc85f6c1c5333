"""What runs for long runs under a login that is a member of its role and nothing more: no superuser, no owner of anything.

Of everything real: the collector's process with HTTP requests, syncing from a vendor, runs of the jobs with their checks, the sensor,
the upkeep of partitions.
"""

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import dagster as dg
import httpx
import psycopg
import psycopg.sql
import pytest
from sqlalchemy.engine import make_url

from analytics_assets.database import COLLECTOR_ROLE, PIPELINE_ROLE
from analytics_assets.events import keys
from analytics_assets.operations.maintenance import maintain
from analytics_assets.resources import Database
from analytics_assets.settings import PROJECT_ROOT, Settings
from analytics_assets_tests.conftest import _drop_database, _make_database
from analytics_assets_tests.events.serving import CollectorProcess
from analytics_assets_tests.events.test_event_assets import sensed
from analytics_assets_tests.graph.runs import check_results, run_days, run_hours
from analytics_assets_tests.sources.live import live
from analytics_assets_tests.tenancy.callers import Connection, rows


@dataclass(frozen=True)
class Logins:
    """URLs of the analytics database for the two services, and of a database for Dagster that the first owns."""

    pipeline: str
    collector: str
    dagster: str


@pytest.fixture
def logins(connection: Connection, database: str, server_url: str) -> Iterator[Logins]:
    """Made as the README says; nothing of the analytics database belongs to them, before and after."""
    name, password = f"svc_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    names = {role: f"{name}_{role.removeprefix('analytics_')}" for role in (PIPELINE_ROLE, COLLECTOR_ROLE)}
    for role, login in names.items():
        rows(connection, f"create role {login} login password '{password}' in role {role}")
    connection.commit()
    _make_database(server_url, name)
    with psycopg.connect(server_url.replace("+psycopg", ""), autocommit=True) as server:
        server.execute(psycopg.sql.SQL(f"alter database {name} owner to {names[PIPELINE_ROLE]}"))

    def url(login: str, of: str) -> str:
        return make_url(of).set(username=login, password=password).render_as_string(hide_password=False)

    yield Logins(
        url(names[PIPELINE_ROLE], database),
        url(names[COLLECTOR_ROLE], database),
        url(names[PIPELINE_ROLE], make_url(server_url).set(database=name).render_as_string(hide_password=False)),
    )
    connection.rollback()
    _drop_database(server_url, name)
    for login in names.values():
        # Refused where anything belongs to it, or was granted to it itself.
        rows(connection, f"drop role {login}")
    connection.commit()


@pytest.fixture
def dagster_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for the instance."""
    shutil.copy(PROJECT_ROOT / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))


@pytest.mark.usefixtures("dagster_home")
def test_collecting_syncing_and_computing(connection: Connection, logins: Logins, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events and orders of one organisation go all the way; one event is rejected and kept."""
    hour = timedelta(hours=1)
    with live(connection, monkeypatch, 1, 2, vendors=("woocommerce",), orders_per_day=8) as world:
        key = keys.create(connection, world.ids[0], "site")
        connection.commit()
        at = world.now - 3 * hour
        collector = CollectorProcess(environment={"DATABASE_URL": logins.collector})
        with collector.running():
            good = {
                "type": "track",
                "anonymousId": "v1",
                "event": "Product Viewed",
                "timestamp": at.isoformat(),
                "messageId": "m1",
            }
            answer = httpx.post(
                f"{collector.base}/v1/batch", auth=(key, ""), json={"batch": [good, {"type": "track", "event": ""}]}
            )
            assert answer.status_code == 200, answer.text
        assert rows(connection, "select event_name, visitor_id from event_tracking") == [
            {"event_name": "Product Viewed", "visitor_id": "v1"}
        ]
        (kept,) = rows(connection, "select level, resolution from quarantine")
        assert kept == {"level": "event", "resolution": None}
        connection.commit()

        monkeypatch.setenv("DATABASE_URL", logins.pipeline)
        monkeypatch.setenv("DAGSTER_DATABASE_URL", logins.dagster)
        assert world.sync().outcomes == {"completed": 1}
        day = at.replace(hour=0)
        with dg.DagsterInstance.get() as instance:
            hours = run_hours(instance, day - 14 * hour, day + 38 * hour, ("orders", "event_tracking", "hourly_aggregates"))
            days = run_days(instance, day, day, assets=("daily_aggregates", "cohort_analysis", "funnel_analysis"))
            for result in (hours, days):
                evaluations = check_results(result)
                assert result.success and evaluations, result.all_events[-1]
                assert [
                    name for name, one in evaluations.items() if not one.passed and one.severity is dg.AssetCheckSeverity.ERROR
                ] == []
            sensed(instance)
        assert maintain(Database(), Settings.load())
    (count,) = rows(connection, "select (select count(*) from hourly_facts) as hours, (select count(*) from daily_facts) as days")
    assert count["hours"] > 20 and count["days"] > 5
    assert (
        rows(
            connection,
            "select c.oid::regclass::text from pg_class c join pg_roles r on r.oid = c.relowner where r.rolname like 'svc_%' union all"
            " select p.oid::regprocedure::text from pg_proc p join pg_roles r on r.oid = p.proowner where r.rolname like 'svc_%'",
        )
        == []
    )


def test_what_the_logins_cannot_do(connection: Connection, logins: Logins) -> None:
    """Be one another, change a table, read each other's."""
    refused = {
        logins.pipeline: [
            "set role analytics_collector", "alter table public.orders add column x int", "drop table public.orders",
            "create table public.mine (id int)", "create schema mine", "truncate public.orders", "select from migrations.applied",
            "create role other", "alter table public.orders disable row level security", "select from auth.users",
        ],
        logins.collector: [
            "set role analytics_pipeline", "select from public.orders", "select from public.event_tracking",
            "select connection_config from public.data_sources", "delete from public.event_tracking",
            "insert into public.event_tracking (organization_id) values (gen_random_uuid())", "select private.org_ids_as(array['owner'])",
            "update public.event_keys set revoked_at = now()", "select public.cleanup_events(now())", "delete from public.quarantine",
        ],
    }  # fmt: skip
    for url, statements in refused.items():
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as login:
            for statement in statements:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    login.execute(psycopg.sql.SQL(statement))
