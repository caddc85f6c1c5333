"""Live sources in the graph: the asset that syncs, its sensor and checks, and raw assets that ask the vendors."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from analytics_assets.partition_keys import hour_key, range_tags
from analytics_assets_tests.graph.runs import check_results, materialized, run_hours
from analytics_assets_tests.sources.live import Connection, Live, live
from analytics_assets_tests.woocommerce import ledger

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
HOUR = timedelta(hours=1)
RAW = ["raw_google_analytics", "raw_meta_ads", "raw_woocommerce", "raw_shopify"]


@pytest.fixture
def shops(connection: Connection, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Live:  # type: ignore[misc]
    with live(connection, monkeypatch, 3, 4, now=NOW, orders_per_day=4) as found:
        yield found


def _sync(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    from analytics_assets.definitions import defs

    return defs.resolve_job_def("source_sync").execute_in_process(instance=instance, raise_on_error=False)


def _sensor(instance: dg.DagsterInstance, name: str = "source_freshness") -> list[dg.RunRequest]:
    from analytics_assets.definitions import defs
    from analytics_assets.resources import Database

    context = dg.build_sensor_context(
        instance=instance, resources={"database": Database()}, repository_def=defs.get_repository_def()
    )
    return list(defs.resolve_sensor_def(name).evaluate_tick(context).run_requests or [])


def test_the_asset_syncs_what_is_due_and_says_who_is_late(shops: Live, instance: dg.DagsterInstance) -> None:
    request = _sensor(instance)[0]
    assert request.tags["analytics/sources_due"] == "12"
    shops.fault("html", account="sandbox-0002", vendor="woocommerce")
    shops.fault("revoked", account="sandbox-0003", vendor="meta_ads")
    result = _sync(instance)
    assert result.success
    metadata = result.asset_materializations_for_node("data_sources")[0].metadata
    assert metadata["run_syncs"].value == 12 and metadata["run_syncs_completed"].value == 10
    assert metadata["run_syncs_retry"].value == 1 and metadata["run_syncs_reauthorize"].value == 1
    assert metadata["sources_healthy"].value == 10
    table = metadata["sources"]
    assert isinstance(table, dg.TableMetadataValue) and len(table.records) == 12
    checks = check_results(result)
    assert checks["data_sources", "sources_fresh"].passed
    waiting = checks["data_sources", "no_operator_needed"]
    assert (
        not waiting.passed
        and "sandbox-0003" in (waiting.description or "")
        and "analytics sources test" in (waiting.description or "")
    )
    assert not _sensor(instance), "nothing is due: who waits for an operator is left alone"

    # An hour later nobody has come by: every source is late, the worst first.
    shops.rows(
        "update public.data_sources set last_sync_at = last_sync_at - interval '1 hour', created_at = created_at - interval '2 hours' returning 1"
    )
    shops.sandbox.faults.clear()
    shops.rows("update public.data_sources set next_sync_at = now() + interval '1 hour' returning 1")
    late = check_results(_sync(instance))["data_sources", "sources_fresh"]
    assert not late.passed and (late.description or "").startswith("12 sources late; first: sandbox-000")
    shops.due()
    assert len(_sensor(instance)) == 1
    left = check_results(_sync(instance))["data_sources", "sources_fresh"].description or ""
    assert left.startswith("1 sources late; first: sandbox-0003") and "meta_ads" in left and "reauthorize" in left


def test_one_pass_at_a_time(shops: Live, instance: dg.DagsterInstance) -> None:
    from analytics_assets.definitions import defs

    run = instance.create_run_for_job(defs.resolve_job_def("source_sync"), status=dg.DagsterRunStatus.STARTED)
    assert not _sensor(instance)
    instance.report_run_failed(run)
    assert len(_sensor(instance)) == 1


def test_a_night_s_schedule_has_everything_read_anew(shops: Live, instance: dg.DagsterInstance) -> None:
    from analytics_assets.definitions import defs

    shops.sync()
    result = defs.resolve_job_def("restatement").execute_in_process(instance=instance)
    assert result.success
    marked = shops.rows("select reread_due_at - now() as wait from public.data_sources where reread_due_at is not null")
    assert len(marked) == 12 and all(row["wait"] <= timedelta(hours=1) for row in marked)
    assert len({row["wait"] for row in marked}) > 6, "each at a moment of its own"


def test_a_backfill_asks_for_wide_windows_and_a_tick_for_none(shops: Live, instance: dg.DagsterInstance) -> None:
    first, last = NOW - timedelta(days=3), NOW - HOUR
    result = run_hours(instance, first, last, assets=RAW, keys=("sandbox-0002", "sandbox-0002"))
    assert result.success
    asked = Counter(shops.sandbox.counts)
    # Three reports of Google, two of Meta, a few lists of the store; not one request an hour.
    assert asked["google_analytics:runReport"] <= 3 and 0 < asked["meta_ads:requests"] <= 12
    assert 0 < asked["woocommerce:requests"] <= 10 and 0 < asked["shopify:requests"] <= 12
    assert shops.rows("select distinct sync_type from public.sync_logs") == [{"sync_type": "backfill"}]
    assert {row["slug"] for row in shops.rows(
        "select distinct o.slug from public.raw_data_backup p join public.organizations o on o.id = p.organization_id")
    } == {"sandbox-0002"}  # fmt: skip
    for asset in RAW:
        statuses = ledger(shops.connection, "sandbox-0002", asset)
        assert len(statuses) >= 72 and {status for status, _ in list(statuses.values())} <= {"done", "stale"}
        assert hour_key(first, "sandbox-0002") in materialized(instance, asset)

    # A tick, and the sensor of stale partitions, take in what is there.
    from analytics_assets.definitions import defs

    before = sum(shops.sandbox.counts.values())
    for tags in ({"dagster/schedule_name": "hourly_tick_schedule"}, {"analytics/requested_by": "stale_partitions"}):
        key = hour_key(last, "sandbox-0002")
        assert (
            defs.resolve_job_def("hourly_tick")
            .execute_in_process(instance=instance, tags=range_tags(key, key) | tags, raise_on_error=False)
            .success
        )
    assert sum(shops.sandbox.counts.values()) == before


def test_a_vendor_that_fails_one_organisation_fails_its_hours_alone(shops: Live, instance: dg.DagsterInstance) -> None:
    first, last = NOW - timedelta(hours=5), NOW - HOUR
    shops.fault("forbidden", account="sandbox-0002", vendor="google_analytics")
    result = run_hours(instance, first, last, assets=["raw_google_analytics"])
    check = check_results(result)["raw_google_analytics", "organizations_computed"]
    assert not check.passed and "sandbox-0002" in (check.description or "")
    done = materialized(instance, "raw_google_analytics")
    assert hour_key(first, "sandbox-0001") in done and hour_key(first, "sandbox-0002") not in done
    status, error = ledger(shops.connection, "sandbox-0002", "raw_google_analytics")[first]
    assert status == "failed" and error is not None and "Google Analytics" in error

    # Tried again by the sensor's run: only the failed ones ask, and now they are given.
    shops.sandbox.faults.clear()
    shops.sandbox.counts.clear()
    from analytics_assets.definitions import defs

    result = defs.resolve_job_def("hourly_tick").execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey("raw_google_analytics")],
        tags=range_tags(hour_key(first, "sandbox-0001"), hour_key(last, "sandbox-0003"))
        | {"analytics/requested_by": "stale_partitions"},
        raise_on_error=False,
    )
    assert result.success and 0 < shops.sandbox.counts["google_analytics:runReport"] <= 4
    assert ledger(shops.connection, "sandbox-0002", "raw_google_analytics")[first] == ("done", None)
    assert hour_key(first, "sandbox-0002") in materialized(instance, "raw_google_analytics")
