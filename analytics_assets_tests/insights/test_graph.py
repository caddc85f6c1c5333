"""ai_insights through Dagster's own runs: found, kept up to date, withdrawn, the same in any order; its checks, each by a fault."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import dagster as dg
import numpy as np

from analytics_assets.insights.baseline import DAY
from analytics_assets.insights.finding import find
from analytics_assets.resources import Database
from analytics_assets.sql import query
from analytics_assets_tests.graph.runs import check_results, run_hours
from analytics_assets_tests.insights.shops import HOURS, NOW, add_hours, add_shop, at, drop, usual
from analytics_assets_tests.woocommerce import Connection, add_organization, order, take_in
from analytics_assets_tests.woocommerce import compute as aggregate

ASSET = "ai_insights"
# Ten to twenty hours ago, in the busy half of the day.
FIRST = next(hour for hour in range(HOURS - 40, HOURS) if at(hour).hour == 11)
INCIDENT = drop(FIRST, FIRST + 7)


def said(connection: Connection, organization: UUID) -> list[dict[str, Any]]:
    """Insights that hold, without when they were written."""
    rows = connection.execute(
        "select * from ai_insights where organization_id = %s and withdrawn_at is null order by starts_at, insight_key",
        (organization,),
    ).fetchall()
    connection.rollback()
    return [{name: value for name, value in row.items() if name not in ("created_at", "updated_at")} for row in rows]


def compute(connection: Connection, ids: list[UUID], first: int, last: int, now: int = HOURS) -> list[dict[str, Any]]:
    """The hours from number first to last, both included, as the asset's run computes them at the hour ``now``."""
    start, end = at(first), at(last + 1)
    found = find(Database(), ids, start, end, at(now))
    rows = connection.execute(
        query("store_insights"), {"ids": ids, "start": start, "end": end, "run_id": None, **found}
    ).fetchall()
    connection.commit()
    return rows


def test_a_run_tells_one_incident_once(connection: Connection, instance: dg.DagsterInstance) -> None:
    acme, calm = add_shop(connection, "acme", 1, INCIDENT, "Europe/Berlin"), add_shop(connection, "calm", 2)
    result = run_hours(instance, at(HOURS - 48), at(HOURS - 1), [ASSET])
    assert result.success
    checks = check_results(result)
    assert len(checks) == 5 and all(check.passed for check in checks.values())
    (insight,) = said(connection, acme)
    assert said(connection, calm) == []
    figures = insight["data_points"]
    assert insight["insight_key"] == "anomaly|woocommerce|total_sales|down" and insight["severity"] in ("high", "critical")
    assert {one["metric"] for one in figures["series"]} == {"total_sales", "orders", "items_sold"}
    assert at(FIRST) <= insight["starts_at"] <= at(FIRST + 2) and insight["period_start"] <= at(FIRST + 1)
    assert 0.15 < figures["actual"] / figures["expected"] < 0.45
    assert "below the usual" in insight["title"] and "Europe/Berlin" in insight["description"] and insight["recommendations"]
    assert str(round(100 - 100 * figures["actual"] / figures["expected"])) in insight["title"]
    event = instance.get_latest_materialization_event(dg.AssetKey(ASSET))
    assert event is not None and event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["run_insights_new"].value == 1 and metadata["run_hours"].value == 96
    assert str(metadata["plot"].value).startswith("![insights](data:image/png;base64,iVBOR")
    assert "| acme" in str(metadata["preview"].value)

    assert run_hours(instance, at(HOURS - 48), at(HOURS - 1), [ASSET]).success
    assert said(connection, acme) == [insight], "nothing had to be done"


def test_any_order_and_any_cut_gives_the_same(connection: Connection) -> None:
    ids = [add_shop(connection, slug, 1, INCIDENT) for slug in ("whole", "hourly", "backwards")]
    compute(connection, ids[:1], HOURS - 48, HOURS - 1)
    hours = range(FIRST - 2, HOURS)
    for hour in hours:
        compute(connection, ids[1:2], hour, hour, hour + 1)
    for hour in reversed(hours):
        compute(connection, ids[2:], hour, hour)
    whole, *others = [
        [{name: value for name, value in row.items() if name not in ("id", "organization_id")} for row in said(connection, one)]
        for one in ids
    ]
    assert len(whole) == 1 and others == [whole, whole]


def test_an_insight_is_there_within_hours_and_grows(connection: Connection) -> None:
    acme = add_shop(connection, "acme", 1, INCIDENT)
    compute(connection, [acme], FIRST - 1, FIRST - 1, FIRST)
    assert said(connection, acme) == []
    compute(connection, [acme], FIRST + 2, FIRST + 2, FIRST + 3)
    (early,) = said(connection, acme)
    assert early["closed_at"] is None
    compute(connection, [acme], HOURS - 1, HOURS - 1)
    (late,) = said(connection, acme)
    assert late["id"] == early["id"] and late["period_end"] > early["period_end"]
    assert late["data_points"]["at_stake"] > early["data_points"]["at_stake"]


def test_restated_data_withdraws_and_brings_back(connection: Connection) -> None:
    acme = add_shop(connection, "acme", 1, INCIDENT)
    compute(connection, [acme], FIRST, HOURS - 1)
    (insight,) = said(connection, acme)
    broken, whole = np.round(usual(1, 30.0) * INCIDENT), usual(1, 30.0)
    for orders, expected in ((whole, []), (broken, [insight])):
        add_hours(connection, acme, "woocommerce", {"orders": orders, "total_sales": orders * 40.0, "items_sold": orders * 2})
        connection.execute("select private.mark_stale(%s, array[%s], array[%s])", (ASSET, acme, at(FIRST)))
        connection.commit()
        compute(connection, [acme], FIRST, FIRST)
        assert said(connection, acme) == expected
        (row,) = connection.execute("select withdrawn_at, closed_at from ai_insights").fetchall()
        assert (row["withdrawn_at"] is not None) == (not expected)


def test_what_was_said_stands_when_its_history_is_gone(connection: Connection) -> None:
    """An hour of which half the baseline has been dropped is computed again: nothing is withdrawn for want of history."""
    acme = add_shop(connection, "acme", 1, INCIDENT)
    compute(connection, [acme], FIRST, HOURS - 1)
    before = said(connection, acme)
    dropped_to = at(FIRST - 10 * DAY)
    connection.execute('delete from hourly_facts where "timestamp" < %s', (dropped_to,))
    connection.execute("update private.partition_steps set dropped_to = %s where parent = 'hourly_facts'", (dropped_to,))
    connection.execute("select private.mark_stale(%s, array[%s], array[%s])", (ASSET, acme, at(FIRST)))
    connection.commit()
    (counts,) = compute(connection, [acme], FIRST, FIRST)
    assert counts["hours"] == 1 and counts["insights_withdrawn"] == 0
    assert said(connection, acme) == before and len(before) == 1


def test_what_was_not_delivered_is_no_anomaly(connection: Connection) -> None:
    """A connected source that was last read before the hours in question; the same silence once it was read."""
    acme = add_shop(connection, "acme", 1, drop(FIRST, HOURS - 1, 0.0))
    connection.execute(
        "insert into data_sources (organization_id, source_type, source_name, time_zone, currency, connection_config, last_sync_at)"
        """ values (%s, 'woocommerce', 's', 'UTC', 'EUR', '{"$secrets": {"$enc": "v1", "kid": "k", "ct": "gAAAAA"}}', %s)""",
        (acme, at(FIRST)),
    )
    connection.commit()
    compute(connection, [acme], FIRST, HOURS - 1)
    assert said(connection, acme) == []
    connection.execute("update data_sources set last_sync_at = %s", (NOW,))
    connection.execute("select private.mark_stale(%s, array[%s], array[%s])", (ASSET, acme, at(HOURS - 1)))
    connection.commit()
    compute(connection, [acme], HOURS - 1, HOURS - 1)
    assert [row["data_points"]["direction"] for row in said(connection, acme)] == ["down"]


def test_hours_that_are_not_computed_are_gaps(connection: Connection) -> None:
    acme = add_shop(connection, "acme", 1, drop(FIRST, HOURS - 1, 0.0))
    connection.execute("delete from partition_ledger where organization_id = %s and bucket >= %s", (acme, at(FIRST)))
    connection.commit()
    compute(connection, [acme], FIRST, HOURS - 1)
    assert said(connection, acme) == []


def test_a_run_that_has_read_what_is_no_longer_true_stores_nothing(connection: Connection) -> None:
    acme = add_shop(connection, "acme", 1, INCIDENT)
    start, end = at(FIRST), at(HOURS)
    compute(connection, [acme], HOURS - 1, HOURS - 1)
    before = said(connection, acme)
    found = find(Database(), [acme], start, end, NOW)
    connection.execute("select private.mark_stale(%s, array[%s], array[%s])", (ASSET, acme, at(HOURS - 1)))
    connection.execute("update ai_insights set title = 'newer'")
    connection.commit()
    late = {"ids": [acme], "start": start, "end": end, "run_id": None, **found}
    assert connection.execute(query("store_insights"), late).fetchall() == []
    connection.commit()
    assert [row["title"] for row in said(connection, acme)] == ["newer"] and len(before) == 1


def test_what_was_dismissed_has_to_be_larger_to_be_said_again(connection: Connection) -> None:
    """The same kind of incident a week after the first, small enough that a dismissal or three make the difference."""
    earlier = FIRST - 5 * DAY
    factor = drop(earlier, earlier + 7) * drop(FIRST, FIRST + 3, 0.5)
    dismissed, other = add_shop(connection, "acme", 1, factor), add_shop(connection, "bolt", 1, factor)
    for organization in (dismissed, other):
        compute(connection, [organization], earlier, earlier + 8, earlier + 9)
    connection.execute("update ai_insights set is_dismissed = true where organization_id = %s", (dismissed,))
    connection.execute("update ai_insights set dismissed_at = %s where is_dismissed", (at(earlier + 9),))
    connection.commit()
    for organization in (dismissed, other):
        compute(connection, [organization], FIRST, HOURS - 1)
    assert len(said(connection, other)) == 2
    assert len(said(connection, dismissed)) == 1


_FAULTS = {
    "figures_recompute": "update ai_insights set data_points = jsonb_set(data_points, '{actual}', '1')",
    "complete_hours_only": "delete from partition_ledger where asset = 'hourly_aggregates' and bucket = (select starts_at from ai_insights)",
    "volume_within_budget": "insert into ai_insights (organization_id, insight_type, insight_key, title, description, severity, starts_at)"
    " select i.organization_id, 'anomaly', 'anomaly|x|' || n, 't', 'd', 'low', i.starts_at from ai_insights i, generate_series(1, 5) n",
}


def test_every_check_finds_its_fault(connection: Connection, instance: dg.DagsterInstance) -> None:
    add_shop(connection, "acme", 1, INCIDENT)
    assert run_hours(instance, at(FIRST), at(HOURS - 1), [ASSET]).success
    for name, fault in _FAULTS.items():
        with connection.transaction(force_rollback=True):
            connection.execute(fault)
            rows = connection.execute(
                query(f"check_ai_insights_{name}"),
                {"keys": ["acme"], "start": at(FIRST), "end": NOW, "most": 20, "budget": 5},
            ).fetchall()
            assert rows and rows[0]["organization"] == "acme" and rows[0]["found"] >= 1, name


def test_a_late_order_has_its_hour_looked_at_again(connection: Connection, tmp_path: Path) -> None:
    acme = add_organization(connection, "acme")
    hour = at(FIRST)
    take_in(connection, tmp_path, "acme", "orders", [order(1, hour, "10.00")])
    aggregate(connection, [acme], hour, hour + timedelta(hours=1))

    def state() -> Any:
        row = connection.execute("select status from partition_ledger where asset = %s and bucket = %s", (ASSET, hour)).fetchone()
        connection.rollback()
        return row and row["status"]

    assert state() is None, "of a new hour they are looked for after it, in the same run"
    compute(connection, [acme], FIRST, FIRST)
    assert state() == "done"
    aggregate(connection, [acme], hour, hour + timedelta(hours=1))
    assert state() == "done", "nothing had changed"
    take_in(connection, tmp_path, "acme", "orders", [order(1, hour, "7.00", modified=hour + timedelta(hours=1))])
    aggregate(connection, [acme], hour, hour + timedelta(hours=1))
    assert state() == "stale"
    compute(connection, [acme], FIRST, FIRST)
    assert state() == "done"
