"""Events through real runs: the tick, late events, a missing rate, an identity found later, live sessions, retention."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import dagster as dg
import pytest

from analytics_assets.commands.data import _store_rates
from analytics_assets.partition_keys import hour_key
from analytics_assets_tests.events.model import Message
from analytics_assets_tests.events.staging import Connection, add_organization, store
from analytics_assets_tests.events.test_summaries import shopping
from analytics_assets_tests.graph.runs import check_results, materialized, run_days, run_hours
from analytics_assets_tests.woocommerce import daily, hourly, ledger

DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=3)
AT = DAY + timedelta(hours=10)
HOUR = timedelta(hours=1)
ASSETS = ("event_tracking", "hourly_aggregates")
CHECKS = {
    "events_equal_aggregates",
    "no_orphan_sessions",
    "sessions_hold_their_definition",
    "identity_coverage",
    "known_organizations_only",
}


def sensed(instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    """What the sensor of stale partitions requests."""
    from analytics_assets.definitions import defs
    from analytics_assets.resources import Database

    # (The last look for missing hours was a moment ago: only what is marked.)
    context = dg.build_sensor_context(
        instance=instance,
        cursor=datetime.now(UTC).isoformat(),
        resources={"database": Database()},
        repository_def=defs.get_repository_def(),
    )
    return list(defs.resolve_sensor_def("stale_partitions").evaluate_tick(context).run_requests or [])


def execute(instance: dg.DagsterInstance, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    from analytics_assets.definitions import defs

    assert request.job_name is not None
    return defs.resolve_job_def(request.job_name).execute_in_process(
        instance=instance,
        asset_selection=[*(request.asset_selection or [])],
        tags=request.tags,
        raise_on_error=False,
    )


def test_the_tick_takes_events_to_hours_and_days(connection: Connection, instance: dg.DagsterInstance) -> None:
    acme, bolt = add_organization(connection, "acme"), add_organization(connection, "bolt")
    store(connection, shopping(acme, AT) + shopping(bolt, AT + HOUR))
    result = run_hours(instance, DAY, DAY + 23 * HOUR, ASSETS)
    assert result.success
    checks = check_results(result)
    assert {check for asset, check in checks if asset == "event_tracking"} == {
        *CHECKS,
        "organizations_computed",
        "no_failed_partitions",
    }
    assert all(check.passed for check in checks.values())
    assert materialized(instance, "event_tracking") == {
        hour_key(DAY + hour * HOUR, slug) for slug in ("acme", "bolt") for hour in range(24)
    }
    assert hourly(connection, "acme", "events") == {AT: 9}
    assert run_days(instance, DAY, DAY).success
    assert daily(connection, "bolt", "purchase_revenue") == {DAY.date(): Decimal("20.15")}
    assert daily(connection, "acme", "users_active") == {DAY.date(): 1}

    shown = instance.get_latest_materialization_event(dg.AssetKey("event_tracking"))
    assert shown is not None and shown.asset_materialization is not None
    metadata: Any = shown.asset_materialization.metadata
    assert metadata["run_row_count"].value == 18 and metadata["run_events"].value == 18
    first = metadata["preview"].records[0].data
    assert (first["organization"], first["event"], first["events"], first["visitors"]) == ("acme", "Product Viewed", 2, 1)
    assert base64.b64decode(metadata["plot"].value.split("base64,")[1].rstrip(")")).startswith(b"\x89PNG")


def test_a_late_event_is_computed_by_the_sensors_run(connection: Connection, instance: dg.DagsterInstance) -> None:
    acme = add_organization(connection, "acme")
    store(connection, shopping(acme, AT))
    assert run_hours(instance, DAY, DAY + 23 * HOUR, ASSETS).success and run_days(instance, DAY, DAY).success
    assert sensed(instance) == []
    store(connection, [Message("late", AT + timedelta(minutes=50), acme, user="u9", type="page")])
    (request,) = sensed(instance)
    assert [key.to_user_string() for key in request.asset_selection or []] == [*ASSETS, "ai_insights"]
    assert request.tags["dagster/asset_partition_range_start"] == hour_key(AT, "acme")
    assert execute(instance, request).success
    assert hourly(connection, "acme", "events") == {AT: 10}
    (request,) = sensed(instance)
    assert [key.to_user_string() for key in request.asset_selection or []] == [
        "daily_aggregates",
        "cohort_analysis",
        "rule_insights",
    ]
    assert execute(instance, request).success
    assert daily(connection, "acme", "users_active") == {DAY.date(): 2}


def test_a_missing_rate_fails_one_organisation(connection: Connection, instance: dg.DagsterInstance) -> None:
    acme, bolt = add_organization(connection, "acme"), add_organization(connection, "bolt", currency="USD")
    store(connection, shopping(acme, AT, currency="USD") + shopping(bolt, AT, currency="USD"))
    result = run_hours(instance, AT, AT, ASSETS)
    assert result.success, "one organisation's purchase stops nobody else"
    assert materialized(instance, "event_tracking") == {hour_key(AT, "bolt")}
    check = check_results(result)["event_tracking", "organizations_computed"]
    assert not check.passed and "analytics rates add USD EUR" in check.description
    assert [record.data["organization"] for record in check.metadata["worst"].records] == ["acme"]
    # Downstream runs for all; the failed hour keeps its own failure there.
    assert run_hours(instance, AT, AT, ["hourly_aggregates"]).success
    assert materialized(instance, "hourly_aggregates") == {hour_key(AT, "bolt")}
    assert not run_hours(instance, AT, AT, ["event_tracking"], keys=("acme", "acme")).success

    _store_rates([("USD", "EUR", AT.date(), Decimal("0.5"))])
    assert run_hours(instance, AT, AT, ASSETS).success
    assert materialized(instance, "hourly_aggregates") == {hour_key(AT, "acme"), hour_key(AT, "bolt")}
    assert hourly(connection, "acme", "purchase_revenue") == {AT: Decimal("10.075")}


def test_an_identity_found_later_is_computed_again(connection: Connection, instance: dg.DagsterInstance) -> None:
    acme = add_organization(connection, "acme")
    store(connection, [Message("1", AT, acme, user="u"), Message("2", AT + 2 * HOUR, acme, anonymous="a")])
    assert run_hours(instance, DAY, DAY + 47 * HOUR, ASSETS).success and run_days(instance, DAY, DAY).success
    assert daily(connection, "acme", "users_active") == {DAY.date(): 2}
    store(connection, [Message("3", AT + 24 * HOUR, acme, user="u", anonymous="a", type="identify")])
    for _ in range(3):
        for request in sensed(instance):
            assert execute(instance, request).success
    assert daily(connection, "acme", "users_active")[DAY.date()] == 1
    assert hourly(connection, "acme", "users_new") == {AT: 1}
    assert {status for status, _ in ledger(connection, "acme", "event_tracking").values()} == {"done"}


def test_a_backfill_takes_events_where_there_are_any(connection: Connection) -> None:
    from analytics_assets.backfill import assets_of
    from analytics_assets.organizations.registry import get

    acme = add_organization(connection, "acme")
    add_organization(connection, "bolt")
    store(connection, [Message("1", AT, acme, user="u")])
    days = ["daily_aggregates", "cohort_analysis", "rule_insights"]
    assert assets_of([get(connection, "acme")]) == ["orders", "event_tracking", "hourly_aggregates", "ai_insights", *days]
    assert assets_of([get(connection, "bolt")]) == ["orders", "hourly_aggregates", "ai_insights", *days]


def test_live_sessions_are_closed_by_their_job(connection: Connection, instance: dg.DagsterInstance) -> None:
    from analytics_assets.definitions import defs

    acme = add_organization(connection, "acme")
    now = datetime.now(UTC)
    store(connection, [
        Message("1", now - timedelta(minutes=5), acme, user="here", page="/x"),
        Message("2", now - timedelta(minutes=29, seconds=55), acme, user="gone", page="/x"),
    ])  # fmt: skip
    connection.execute("update live_sessions set started_at = started_at, last_activity = last_activity + interval '1 second'")
    connection.execute(
        "update live_sessions set started_at = date_trunc('hour', started_at), last_activity = now() - interval '31 minutes'"
        " where visitor_id = 'gone'"
    )
    connection.commit()
    result = defs.resolve_job_def("live_sessions").execute_in_process(instance=instance)
    metadata: Any = result.asset_materializations_for_node("realtime_sessions")[-1].metadata
    assert metadata["sessions_closed"].value == 1 and metadata["active_sessions"].value == 1
    assert metadata["organizations"].records[0].data["organization"] == "acme"
    assert base64.b64decode(metadata["plot"].value.split("base64,")[1].rstrip(")")).startswith(b"\x89PNG")


def test_maintenance_drops_months_of_events(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    from analytics_assets.operations.maintenance import maintain
    from analytics_assets.resources import Database
    from analytics_assets.settings import SettingError, Settings

    assert Settings.load().keep_events_days == 1096
    monkeypatch.setenv("ANALYTICS_KEEP_EVENTS_DAYS", "none")
    with pytest.raises(SettingError, match="ANALYTICS_KEEP_EVENTS_DAYS=none"):
        Settings.load()
    monkeypatch.setenv("ANALYTICS_KEEP_EVENTS_DAYS", "60")
    acme = add_organization(connection, "acme")
    at = (datetime.now(UTC) - timedelta(days=120)).replace(minute=0, second=0, microsecond=0)
    store(connection, [Message("old", at, acme, user="u")])
    found = [row for row in maintain(Database(), Settings.load()) if row["partition"] == f"event_tracking_{at:%Y%m}"]
    assert [(row["table"], row["action"]) for row in found] == [("event_tracking", "stays")]
    assert "not summed up, e.g. acme" in found[0]["reason"]
    connection.execute("select count(*) from public.summarize_events(%s, %s, %s)", ([acme], at, at + HOUR))
    connection.execute(
        "update partition_ledger set status = 'done', computed_version = input_version where asset = 'daily_aggregates'"
    )
    connection.commit()
    gone = {row["partition"]: row["action"] for row in maintain(Database(), Settings.load())}
    assert gone[f"event_tracking_{at:%Y%m}"] == gone[f"visitor_sessions_{at:%Y%m}"] == "dropped"
