"""funnel_analysis through Dagster's own runs; its checks, each proven by a fault; the sensor and the backfill."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import dagster as dg
import pytest

from analytics_assets_tests.funnels.model import Event, Funnel, add_events, add_funnel, compute, counts, table
from analytics_assets_tests.graph.runs import check_results, materialized, run_days
from analytics_assets_tests.in_transaction import InTransaction
from analytics_assets_tests.woocommerce import Connection, add_organization

ASSET = "funnel_analysis"
DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=5)
NOON = DAY + timedelta(hours=12)
FUNNEL = Funnel(
    [
        {"name": "Seen", "event": "Product Viewed", "page": "/shoes*", "properties": {"category": "shoes"}},
        {"name": "Cart", "event": "Product Added"},
        {"name": "Paid", "event": "Order Completed"},
    ],
    name="checkout",
)


def _events() -> list[Event]:
    seen = {"name": "Product Viewed", "page": "https://shop.example/shoes/7?a=1", "properties": {"category": "shoes"}}
    return [
        *(Event(NOON, f"v{number}", **seen) for number in range(4)),  # type: ignore[arg-type]
        Event(NOON, "v9", name="Product Viewed", page="https://shop.example/hats", properties={"category": "hats"}),
        *(Event(NOON + timedelta(minutes=1), f"v{number}", name="Product Added") for number in range(2)),
        Event(NOON + timedelta(minutes=2), "v0", name="Order Completed"),
    ]


@pytest.fixture
def shops(connection: Connection) -> list[UUID]:
    """Two organisations with the same events and funnel."""
    ids = [add_organization(connection, slug) for slug in ("acme", "bolt")]
    for organization in ids:
        add_events(connection, organization, _events())
        add_funnel(connection, organization, FUNNEL)
    connection.commit()
    return ids


def _run(instance: dg.DagsterInstance, keys: tuple[str, str] | None = None) -> dg.ExecuteInProcessResult:
    return run_days(instance, DAY - timedelta(days=1), DAY + timedelta(days=1), keys, [ASSET])


def _latest_metadata(instance: dg.DagsterInstance) -> dict[str, Any]:
    event = instance.get_latest_materialization_event(dg.AssetKey(ASSET))
    assert event is not None and event.asset_materialization is not None
    return dict(event.asset_materialization.metadata)


def test_a_run_computes_and_shows_funnels(connection: Connection, instance: dg.DagsterInstance, shops: list[UUID]) -> None:
    result = _run(instance)
    assert result.success
    for organization in shops:
        assert table(connection, organization) == counts(_events(), [FUNNEL], "UTC")
    connection.rollback()
    checks = check_results(result)
    assert len(checks) == 6 and all(check.passed for check in checks.values())
    assert len(materialized(instance, ASSET)) == 6
    metadata = _latest_metadata(instance)
    assert metadata["run_rows_written"].value == 6 and metadata["run_days"].value == 6
    assert "| acme" in metadata["preview"].value and "Paid" in metadata["preview"].value
    assert metadata["plot"].value.startswith("![funnels](data:image/png;base64,iVBOR")

    assert _run(instance).success
    assert "run_rows_written" not in _latest_metadata(instance), "nothing had to be done"


def test_late_events_are_counted_by_the_sensor(connection: Connection, instance: dg.DagsterInstance, shops: list[UUID]) -> None:
    from analytics_assets.definitions import defs
    from analytics_assets.resources import Database

    assert _run(instance).success
    connection.execute("update organizations set created_at = now()")
    # What storing funnels marked of later days is done too.
    compute(connection, shops, (DAY + timedelta(days=2)).date(), datetime.now(UTC).date() + timedelta(days=1))
    connection.commit()

    def tick() -> list[dg.RunRequest]:
        context = dg.build_sensor_context(
            instance=instance, resources={"database": Database()}, repository_def=defs.get_repository_def()
        )
        return list(defs.resolve_sensor_def("stale_partitions").evaluate_tick(context).run_requests or [])

    assert tick() == []
    add_events(connection, shops[0], [Event(NOON + timedelta(hours=3), "v1", name="Order Completed")])
    connection.execute("select private.mark_stale('funnel_analysis', array[%s], array[%s])", (shops[0], DAY))
    connection.commit()
    requests = tick()
    assert [(request.job_name, [key.to_user_string() for key in request.asset_selection or []]) for request in requests] == [
        ("daily_tick", [ASSET, "rule_insights"])
    ]
    assert requests[0].tags["dagster/asset_partition_range_start"] == f"{DAY:%Y-%m-%d}|acme"
    assert run_days(instance, DAY, DAY, ("acme", "acme"), [ASSET]).success
    assert table(connection, shops[0])["checkout", DAY.date(), 3] == (2, 2)
    assert table(connection, shops[1])["checkout", DAY.date(), 3] == (1, 1)

    # Its window was open when the day was computed, and nothing came since.
    connection.execute("update funnel_analysis set is_final = false where organization_id = %s", (shops[1],))
    connection.execute("update partition_ledger set computed_at = %s where organization_id = %s", (NOON, shops[1]))
    connection.commit()
    requests = tick()
    assert [request.tags["dagster/asset_partition_range_start"] for request in requests] == [f"{DAY:%Y-%m-%d}|bolt"]


_ACME = "(select id from organizations where slug = 'acme')"
_FAULTS = {
    "conversions that do not reach the next step": (
        f"update funnel_analysis set conversions = 3 where step_order = 1 and organization_id = {_ACME}", {"steps_add_up"},
    ),
    "a last step that loses its visitors": (
        f"update funnel_analysis set conversions = 0 where step_order = 3 and organization_id = {_ACME}", {"steps_add_up"},
    ),
    "the last step missing": (
        f"delete from funnel_analysis where step_order = 3 and organization_id = {_ACME}", {"steps_add_up"},
    ),
    "the first step missing": (
        f"delete from funnel_analysis where step_order = 1 and organization_id = {_ACME}",
        {"steps_add_up", "entries_equal_recount"},
    ),
    "a day lost": (f"delete from funnel_analysis where organization_id = {_ACME}", {"entries_equal_recount"}),
    "a day of no entry": (
        f"update funnel_analysis set visitors = 0, conversions = 0 where organization_id = {_ACME}",
        {"steps_add_up", "entries_equal_recount"},
    ),
    "an event lost": (
        f"delete from event_tracking where visitor_id = 'v3' and organization_id = {_ACME}", {"entries_equal_recount"},
    ),
    "an entry that nobody counted": (
        f"update event_tracking set page_url = '/shoes', metadata = '{{\"properties\": {{\"category\": \"shoes\"}}}}'"
        f" where visitor_id = 'v9' and organization_id = {_ACME}", {"entries_equal_recount"},
    ),
    "a funnel that there never was": (
        f"update funnel_analysis set funnel_name = 'other' where organization_id = {_ACME}",
        {"known_funnels_only", "entries_equal_recount"},
    ),
    "a version that there never was": (
        f"update funnel_analysis set version = 7 where organization_id = {_ACME}", {"known_funnels_only"},
    ),
    "an older version on a day that is computed": (
        f"update funnels set version = 2 where organization_id = {_ACME}", {"known_funnels_only"},
    ),
    "rows of a funnel that was removed": (
        f"update funnels set is_active = false where organization_id = {_ACME}", {"known_funnels_only"},
    ),
    "a day that never became final": (
        f"update funnel_analysis set is_final = false where organization_id = {_ACME}", {"days_become_final"},
    ),
    "steps of two versions": (
        f"update funnel_analysis set version = 2 where step_order = 2 and organization_id = {_ACME}",
        {"steps_add_up", "known_funnels_only"},
    ),
}  # fmt: skip


def test_every_fault_is_found(connection: Connection, shops: list[UUID]) -> None:
    """One after the other, each in a transaction that is taken back."""
    from analytics_assets.funnels.assets import CHECKS
    from analytics_assets.ledgered import evaluate

    def fired() -> dict[str, Any]:
        database, end = InTransaction.of(connection), DAY + timedelta(days=1)
        results = [evaluate(check, ASSET, database, ["acme", "bolt"], DAY, end) for check in CHECKS[ASSET]]
        return {str(result.check_name): result for result in results if not result.passed}

    compute(connection, shops, DAY.date(), datetime.now(UTC).date())
    assert fired() == {}
    for name, (statement, expected) in _FAULTS.items():
        with connection.transaction(force_rollback=True):
            connection.execute(statement.encode())
            found = fired()
            assert set(found) == expected, name
            for result in found.values():
                assert result.metadata["violations"].value >= 1
                assert {record.data["organization"] for record in result.metadata["worst"].records} == {"acme"}, name
            # A day that is marked is still to be computed: nothing is said of its events, nor that its version is old.
            connection.execute("update partition_ledger set status = 'stale' where asset = %s", (ASSET,))
            assert not set(fired()) & {"entries_equal_recount", "days_become_final"}, name
            assert ("known_funnels_only" in fired()) == (name in _NEVER_THERE), name
    assert fired() == {}


_NEVER_THERE = ("a funnel that there never was", "a version that there never was", "steps of two versions")


def test_backfills_leave_funnels_out_where_there_are_none(connection: Connection, shops: list[UUID]) -> None:
    from analytics_assets.backfill import assets_of
    from analytics_assets.organizations import registry

    add_organization(connection, "none")
    assert ASSET in assets_of([registry.get(connection, slug) for slug in ("none", "acme")])
    assert ASSET not in assets_of([registry.get(connection, "none")])
