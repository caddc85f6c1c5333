"""`analytics status`: what is late, by whose frequency, and what the ledger has open; nothing of an organisation is another's."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analytics_assets.operations.status import read_status
from analytics_assets_tests.command_line import analytics
from analytics_assets_tests.sources.live import Connection

HOUR = "date_trunc('hour', now())"


def _given(connection: Connection, *statements: str) -> None:
    for statement in statements:
        connection.execute(statement)
    connection.commit()


@pytest.fixture
def shops(connection: Connection) -> Connection:
    """late: synced 40 minutes ago, every 15; slow: the same age, every hour; silent: no event for two days; quiet: none ever."""
    _given(
        connection,
        "insert into public.organizations (slug) values ('late'), ('slow'), ('silent'), ('quiet'), ('gone')",
        "update public.organizations set is_active = slug <> 'gone'",
        """insert into public.data_sources (organization_id, source_type, source_name, connection_config, time_zone, currency,
               sync_frequency_minutes, last_sync_at, next_sync_at, failures, failure_kind, last_error, created_at)
           select o.id, 'shopify', o.slug, '{"$secrets": {"$enc": "v1", "kid": "k", "ct": "gAAAAA"}}', 'UTC', 'EUR',
                  case when o.slug = 'slow' then 60 else 15 end, now() - interval '40 minutes', now() + interval '5 minutes',
                  2, 'retry', 'the shop answers 503', now() - interval '1 day'
           from public.organizations o where o.slug in ('late', 'slow', 'gone')""",
        "select private.ensure_event_sources(array(select id from public.organizations where slug in ('silent', 'quiet')))",
        "select private.ensure_partitions('event_tracking', now() - interval '3 days', now())",
        """insert into public.event_tracking (organization_id, "timestamp", session_id, event_name, visitor_id)
           select o.id, now() - interval '2 days', 's', 'e', 'v' from public.organizations o where o.slug = 'silent'""",
        "select private.ensure_partitions('partition_ledger', now() - interval '2 days', now())",
        f"""insert into public.partition_ledger (organization_id, asset, bucket, status, error)
            select o.id, v.asset, v.bucket, v.status, v.error from public.organizations o, (values
                ('orders', {HOUR}, 'failed', 'total is no number'), ('orders', {HOUR} - interval '1 hour', 'stale', null),
                ('daily_aggregates', date_trunc('day', now()), 'waiting', 'hours are missing')) v (asset, bucket, status, error)
            where o.slug = 'slow'""",
    )
    return connection


def test_each_source_is_late_by_its_own_frequency(shops: Connection) -> None:
    found = {row["organization"]: row for row in read_status(shops).rows}
    assert {name: (row["is_late"], row["what_to_do"]) for name, row in found.items()} == {
        "late": (True, "wait"),
        "slow": (False, "wait"),
        "silent": (True, "keys"),
        "quiet": (False, ""),
    }
    assert timedelta(minutes=10) <= found["late"]["late_by"] < timedelta(minutes=11)
    assert timedelta(days=1) <= found["silent"]["late_by"] < timedelta(days=1, minutes=1)
    assert found["late"]["failures"] == 2 and found["late"]["next_try_at"] > datetime.now(UTC)
    assert [row["organization"] for row in read_status(shops).rows[:2]] == ["silent", "late"], "the latest first"
    counts = {name: [row[f"{grain}_{status}"] for grain in ("hours", "days") for status in ("stale", "failed", "waiting")]
              for name, row in found.items()}  # fmt: skip
    assert counts == {"late": [0] * 6, "slow": [1, 1, 0, 0, 0, 1], "silent": [0] * 6, "quiet": [0] * 6}
    assert {row["organization"] for row in read_status(shops, late=True).rows} == {"late", "silent", "slow"}


def test_the_command_says_it_and_its_exit_status_tells(shops: Connection) -> None:
    said = analytics("status")
    assert said.returncode == 1
    assert "3 live" not in said.stdout and "4 sources, 2 late" in said.stdout and "total is no number" in said.stdout
    for organization, status in (("late", 1), ("slow", 1), ("silent", 1), ("quiet", 0)):
        assert analytics("status", "--organization", organization).returncode == status, organization
    assert "quiet" not in analytics("status", "--late").stdout
    unknown = analytics("status", "--organization", "nobody")
    assert unknown.returncode == 1 and "nobody" in unknown.stderr
    _given(shops, "update public.partition_ledger set status = 'stale' where status = 'failed'")
    assert analytics("status", "--organization", "slow").returncode == 0, "late neither by its hour, nor failed"


def test_json_holds_everything(shops: Connection) -> None:
    said = json.loads(analytics("status", "--json").stdout)
    found: dict[str, Any] = {one["organization"]: one for one in said}
    assert set(found) == {"late", "slow", "silent", "quiet"}
    assert found["slow"]["open"]["hours_failed"] == 1 and found["slow"]["first_error"] == "orders: total is no number"
    assert found["late"]["sources"][0]["is_late"] is True and 600 <= found["late"]["sources"][0]["late_by"] < 700
    assert "gAAAA" not in json.dumps(said)
