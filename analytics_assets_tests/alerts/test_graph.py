"""performance_alerts through Dagster's own runs: from orders to who is told; its checks, each proven by a fault; the sensors."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import dagster as dg
import pytest

from analytics_assets.alerts.assets import CHECKS
from analytics_assets.ledgered import evaluate as evaluate_check
from analytics_assets.resources import Database
from analytics_assets_tests.alerts.world import DAY, HOUR, TODAY, add_rule, alerts, evaluate, put_days, put_hours, series
from analytics_assets_tests.graph.runs import check_results, materialized, run_days, run_hours
from analytics_assets_tests.webhook_receiver import receiving
from analytics_assets_tests.woocommerce import Connection, add_organization, order, take_in

ASSET = "performance_alerts"
START = TODAY - 2 * DAY


def _sensor(instance: dg.DagsterInstance, name: str) -> Any:
    from analytics_assets.definitions import defs

    context = dg.build_sensor_context(
        instance=instance, resources={"database": Database()}, repository_def=defs.get_repository_def()
    )
    return defs.resolve_sensor_def(name).evaluate_tick(context)


def test_from_orders_to_the_webhook_and_back_by_late_orders(
    connection: Connection, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    acme, bolt = (add_organization(connection, slug) for slug in ("acme", "bolt"))
    add_rule(connection, "acme", name="few", below="2", confirm=1, since=START.date())
    noon = START + 12 * HOUR

    def orders(first: int, *hours: int) -> list[dict[str, Any]]:
        return [order(first + number, noon + hour * HOUR) for number, hour in enumerate(hours)]

    with receiving() as receiver:
        monkeypatch.setenv("ANALYTICS_ALERT_WEBHOOK_URL", f"{receiver.url}/webhook")
        for slug in ("acme", "bolt"):
            take_in(connection, tmp_path, slug, "orders", orders(1, 0, 0, 0, 2, 2, 2))
        assert run_hours(instance, noon, noon + 2 * HOUR).success
        # Hours that were computed open the day for alerts, of the organisation that has a rule.
        marked = connection.execute(
            "select organization_id, bucket from public.partition_ledger where asset = %s", (ASSET,)
        ).fetchall()
        assert {(row["organization_id"], row["bucket"]) for row in marked if row["bucket"] == START} == {(acme, START)}
        connection.rollback()
        result = run_days(instance, START, START, assets=[ASSET])
        assert result.success
        checks = check_results(result)
        assert len(checks) >= 5 and all(check.passed for check in checks.values())
        assert materialized(instance, ASSET) == {f"{START:%Y-%m-%d}|acme", f"{START:%Y-%m-%d}|bolt"}
        assert alerts(connection, None, "state, fired, organization_id") == [("resolved", noon + HOUR, acme)]
        event = instance.get_latest_materialization_event(dg.AssetKey(ASSET))
        assert event is not None and event.asset_materialization is not None
        assert "few: orders of woocommerce were 0" in str(event.asset_materialization.metadata["preview"].value)

        # Four late orders in that hour: it was never true.
        take_in(connection, tmp_path, "acme", "orders", orders(11, 1, 1, 1, 1))
        assert run_hours(instance, noon, noon + 2 * HOUR).success
        assert ASSET in {name for request in _sensor(instance, "stale_partitions").run_requests or [] for name in _names(request)}
        assert run_days(instance, START, START, assets=[ASSET]).success
        assert alerts(connection, None, "state") == [("withdrawn",)]
        # And one that goes on, through the sensor that tells.
        take_in(connection, tmp_path, "acme", "orders", orders(21, 3))
        assert run_hours(instance, noon + 3 * HOUR, noon + 3 * HOUR).success
        assert run_days(instance, START, START, assets=[ASSET]).success
        assert "1 notices delivered in 1 messages" in str(_sensor(instance, "alert_notices").skip_message)
        assert receiver.told("rule") == [[("acme", "few", "open")]]
        assert "0 notices delivered" in str(_sensor(instance, "alert_notices").skip_message)
    assert bolt not in {row[0] for row in alerts(connection, None, "organization_id")}


def _names(request: dg.RunRequest) -> list[str]:
    return [key.to_user_string() for key in request.asset_selection or []]


def test_nobody_is_told_where_no_address_is_set(connection: Connection, instance: dg.DagsterInstance) -> None:
    assert _sensor(instance, "alert_notices").skip_message == "nobody is told: no address is set"


@pytest.fixture
def world(connection: Connection) -> list[UUID]:
    """Two organisations with active alerts of every kind."""
    ids = [add_organization(connection, slug) for slug in ("acme", "bolt")]
    for slug, organization in zip(("acme", "bolt"), ids, strict=True):
        add_rule(connection, slug, name="few")
        add_rule(connection, slug, name="fall", change="-30", grain="day", confirm=1)
        add_rule(connection, slug, name="ratio", channel="events", metric="bounce_rate", above="0.5", confirm=1)
        add_rule(connection, slug, name="goal", metric="total_sales", goal="100000", confirm=1)
        put_hours(connection, organization, series(START, 20, 3))
        put_days(connection, organization, {START - 7 * DAY: 100, START: 50})
        put_hours(connection, organization, {START: 100}, 1, 5)
        put_hours(connection, organization, {START: 10}, 2, 5)
        month = (TODAY.replace(day=1) - DAY).replace(day=1)
        put_days(connection, organization, {month + number * DAY: 10 for number in range(9)}, 50)
    # The goal's month is over and its days are not all computed: it is neither reached nor reset.
    evaluate(connection, ids, TODAY - 70 * DAY, TODAY, told_by=["webhook"])
    return ids


_ACME = "(select id from organizations where slug = 'acme')"
_OF = f"organization_id = {_ACME} and details ->> 'rule'"
_FAULTS = {
    "a value that the tables do not hold": (f"update performance_alerts set details = details || '{{\"value\": 4}}', current_value = 4 where {_OF} = 'few'", {"alerts_recompute"}),
    "a current value of its own": (f"update performance_alerts set current_value = 2 where {_OF} = 'few'", {"alerts_recompute"}),
    "a ratio whose parts changed": (f"update hourly_facts set value = 60 where metric_id = 2 and organization_id = {_ACME}", {"alerts_recompute"}),
    "a month whose days changed": (f"update daily_facts set value = 11 where metric_id = 50 and organization_id = {_ACME}", {"alerts_recompute"}),
    "a day that changed": (f"update daily_facts set value = 90 where metric_id = 41 and value = 50 and organization_id = {_ACME}", {"alerts_recompute"}),
    "an alert that should have cleared": (f"update performance_alerts set current_value = -5 where {_OF} = 'fall'", {"alerts_recompute"}),
    "an alert of a rule that is gone": (f"delete from alert_rules where name = 'few' and organization_id = {_ACME}", {"one_active_a_rule"}),
    "an alert of a rule that is off": (f"update alert_rules set is_active = false where name = 'few' and organization_id = {_ACME}; update alert_rules set updated_at = now() - interval '1 day' where organization_id = {_ACME}", {"one_active_a_rule"}),
    "two active alerts of a rule": ("drop index performance_alerts_one_active_a_rule;"
        f" insert into performance_alerts select (jsonb_populate_record(a, '{{\"id\": \"00000000-0000-0000-0000-000000000001\"}}')).* from performance_alerts a where {_OF} = 'few'", {"one_active_a_rule"}),
    "an alert that cleared before it fired": (f"update performance_alerts set cleared_bucket = fired_bucket where {_OF} = 'few'", {"one_active_a_rule"}),
    "more alerts than a reader takes in": ("insert into performance_alerts select (jsonb_populate_record(a, jsonb_build_object('id', gen_random_uuid(), 'is_active', false, 'resolved_at', now()))).*"
        f" from performance_alerts a, generate_series(1, 10) where {_OF} = 'few'", {"volume_in_budget"}),
    "a notice that nobody takes": (f"update alert_notices set error = 'the receiver answered 500', created_at = now() - interval '2 hours' where organization_id = {_ACME}", {"notices_delivered"}),
}  # fmt: skip


def test_every_fault_is_found(connection: Connection, world: list[UUID]) -> None:
    """One after the other, each in a transaction that is taken back."""

    class InThisTransaction(Database):
        def rows(self, statement: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
            return connection.execute(statement.encode(), parameters).fetchall()

    def fired(end: datetime = TODAY + DAY) -> dict[str, Any]:
        database, start = InThisTransaction(), TODAY - timedelta(days=60)
        results = [evaluate_check(check, ASSET, database, ["acme", "bolt"], start, end) for check in CHECKS[ASSET]]
        return {str(result.check_name): result for result in results if not result.passed}

    rules = alerts(connection, world[0], "state, rule")
    assert sorted(rules) == [("active", name) for name in ("fall", "few", "goal", "ratio")]
    assert {name: result.description for name, result in fired().items()} == {}
    assert {name for _, names in _FAULTS.values() for name in names} == {check.name for check in CHECKS[ASSET]}
    for name, (statement, expected) in _FAULTS.items():
        with connection.transaction(force_rollback=True):
            for part in statement.split(";"):
                connection.execute(part.encode())
            found = fired()
            assert set(found) == expected, name
            for result in found.values():
                assert {record.data["organization"] for record in result.metadata["worst"].records} == {"acme"}, name
            # Of organisations with a day that is still to be judged nothing is said.
            connection.execute("update partition_ledger set status = 'stale' where asset = %s", (ASSET,))
            assert "alerts_recompute" not in fired(), name
    assert fired() == {}


def test_backfills_leave_alerts_out_where_there_are_no_rules(connection: Connection) -> None:
    from analytics_assets.backfill import assets_of
    from analytics_assets.organizations import registry

    for slug in ("acme", "none"):
        add_organization(connection, slug)
    add_rule(connection, "acme")
    assert ASSET in assets_of([registry.get(connection, slug) for slug in ("none", "acme")])
    assert ASSET not in assets_of([registry.get(connection, "none")])


def test_a_tenant_acknowledges_and_switches_its_own(connection: Connection, world: list[UUID]) -> None:
    """An owner of acme: who and when is set by the database; of bolt nothing changes, and no threshold does."""
    user = "00000000-0000-0000-0000-00000000000a"
    connection.execute("insert into public.organization_members values (%s, %s, 'owner')", (world[0], user))
    connection.execute(
        "select set_config('role', 'authenticated', true), set_config('request.jwt.claims', %s, true)", (f'{{"sub": "{user}"}}',)
    )
    assert connection.execute("update public.performance_alerts set is_acknowledged = true").rowcount == 4
    assert connection.execute("update public.alert_rules set is_active = false").rowcount == 4
    row = connection.execute(
        "select distinct acknowledged_by::text from public.performance_alerts where is_acknowledged"
    ).fetchall()
    assert [one["acknowledged_by"] for one in row] == [user]
    with pytest.raises(Exception, match="permission denied"):
        connection.execute("update public.alert_rules set threshold = 1")
    connection.rollback()
