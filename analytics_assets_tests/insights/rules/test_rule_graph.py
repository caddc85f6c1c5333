"""rule_insights through Dagster's own runs: said once, the same in any order, withdrawn when restated; its checks, each by a fault."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import dagster as dg
import numpy as np

from analytics_assets.insights.rules.finding import find
from analytics_assets.resources import Database
from analytics_assets.sql import query
from analytics_assets_tests.graph.runs import check_results, run_days
from analytics_assets_tests.insights.rules.days import (
    DAYS,
    END,
    add_cohorts,
    add_days,
    add_funnel,
    compute,
    midnight,
    on,
    said,
    sold,
)
from analytics_assets_tests.test_cli import done
from analytics_assets_tests.woocommerce import Connection, add_organization

ASSET = "rule_insights"
LAST = DAYS - 1


def _falling(connection: Connection, slug: str = "acme", zone: str = "Europe/Berlin") -> UUID:
    """A shop whose orders fall by 6 % a week for eight weeks."""
    organization = add_organization(connection, slug, zone=zone)
    add_days(connection, organization, "woocommerce", sold(1, -0.06))
    return organization


def _mark(connection: Connection, organization: UUID, day: int) -> None:
    connection.execute("select private.mark_stale(%s, array[%s], array[%s])", (ASSET, organization, midnight(on(day))))
    connection.commit()


def test_a_run_tells_trend_funnel_and_cohort_with_figures_that_recompute(
    connection: Connection, instance: dg.DagsterInstance
) -> None:
    acme, calm = _falling(connection), add_organization(connection, "calm")
    add_days(connection, calm, "woocommerce", sold(2))
    rates = np.full(DAYS, 0.4)
    rates[-1] = 0.3
    add_funnel(connection, acme, rates)
    add_cohorts(connection, acme, np.r_[np.full(15, 0.2), 0.1])
    result = run_days(instance, midnight(on(LAST - 1)), midnight(on(LAST)), assets=(ASSET,))
    assert result.success
    checks = check_results(result)
    assert len(checks) == 5 and all(check.passed for check in checks.values())
    assert said(connection, calm) == []
    found = {row["data_points"]["rule"]: row for row in said(connection, acme)}
    assert set(found) == {"trend", "funnel_step_fell", "cohort_retention"}

    trend = found["trend"]
    assert trend["insight_type"] == "trend" and trend["insight_key"] == "trend|woocommerce|sales|down"
    assert -8 < trend["data_points"]["percent_a_week"] < -4 and trend["data_points"]["with"] == ["orders", "items_sold"]
    assert (
        str(abs(round(trend["data_points"]["percent_a_week"], 1))) in trend["title"] and "Europe/Berlin" in trend["description"]
    )
    assert trend["period_end"] - trend["period_start"] in [timedelta(days=56, hours=shift) for shift in (-1, 0, 1)]
    assert (
        trend["severity"] in ("medium", "high") and 0.9 <= float(trend["confidence_score"]) <= 0.95 and trend["closed_at"] is None
    )

    funnel = found["funnel_step_fell"]
    assert funnel["insight_key"] == "funnel_step_fell|shop|1|down" and funnel["insight_type"] == "recommendation"
    assert "25 % fewer go on from cart to paid" in funnel["title"] and "100 more would have gone on" in funnel["description"]
    cohort = found["cohort_retention"]
    assert cohort["insight_key"] == "cohort_retention|first_purchase|week|down" and "50 % fewer bought again" in cohort["title"]
    assert all(row["recommendations"] for row in found.values())

    event = instance.get_latest_materialization_event(dg.AssetKey(ASSET))
    assert event is not None and event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["run_insights_new"].value == 3 and metadata["run_days"].value == 4
    assert str(metadata["plot"].value).startswith("![trends](data:image/png;base64,iVBOR")
    listed = done("insights", "--organization", "acme")
    assert all(row["title"] in listed for row in found.values())

    before = said(connection, acme)
    assert run_days(instance, midnight(on(LAST - 1)), midnight(on(LAST)), assets=(ASSET,)).success
    assert said(connection, acme) == before, "nothing had to be done"


def test_ads_and_refunds_are_told_with_figures_that_recompute(connection: Connection, instance: dg.DagsterInstance) -> None:
    """A small channel that returns twice what the large one does, and refunds that double in the last two weeks."""
    acme = add_organization(connection, "acme")
    days = np.arange(DAYS)
    swing = np.exp(0.2 * np.sin(days))
    small = 100 * swing
    returned = small * np.where(days >= DAYS - 40, 4.0, 3.5)
    add_days(connection, acme, "meta_ads", {"ad_spend": small, "ad_purchase_value": returned, "ad_purchases": np.full(DAYS, 4.0)})
    add_days(connection, acme, "google_analytics", {"ad_spend": 900 * swing, "ad_purchase_value": 1800 * swing})
    refunds = np.where(days >= DAYS - 14, 18.0, 9.0)
    shop = {"orders": np.full(DAYS, 150.0), "total_sales": np.full(DAYS, 6000.0)}
    add_days(connection, acme, "woocommerce", shop | {"refunds_count": refunds, "refunds_amount": refunds * 25})
    result = run_days(instance, midnight(on(LAST)), midnight(on(LAST)), assets=(ASSET,))
    assert result.success and all(check.passed for check in check_results(result).values())
    found = {row["data_points"]["rule"]: row for row in said(connection, acme)}
    assert set(found) == {"underfunded_channel", "refunds_rose"}
    ads = found["underfunded_channel"]
    assert ads["insight_type"] == "opportunity" and ads["insight_key"] == "underfunded_channel|meta_ads|roas|up"
    assert (
        ads["title"] == "Ads of Meta Ads return 4.00 for each EUR on 10 % of the spend"
        and "the other channels 2.00" in ads["description"]
    )
    assert len(ads["data_points"]["counts"]) == 7 and "a test will tell" in ads["description"]
    refunded = found["refunds_rose"]
    assert refunded["title"] == "Refunds of WooCommerce: 100 % more for each order than usual" and refunded["severity"] == "high"
    assert refunded["data_points"]["at_stake"] == 7 * 9 * 25


def test_any_order_and_any_cut_gives_the_same(connection: Connection) -> None:
    ids = [_falling(connection, slug) for slug in ("whole", "daily", "backwards")]
    days = range(LAST - 30, LAST + 1)
    compute(connection, ids[:1], days[0], days[-1])
    for day in days:
        compute(connection, ids[1:2], day, day, midnight(on(day + 1)) + timedelta(hours=1))
    for day in reversed(days):
        compute(connection, ids[2:], day, day)
    whole, *others = [
        [{name: value for name, value in row.items() if name not in ("id", "organization_id")} for row in said(connection, one)]
        for one in ids
    ]
    assert whole and others == [whole, whole]


def test_restated_days_withdraw_and_bring_back(connection: Connection) -> None:
    acme = _falling(connection)
    compute(connection, [acme], LAST, LAST)
    before = said(connection, acme)
    assert len(before) == 1
    for slope, expected in ((0.0, []), (-0.06, before)):
        add_days(connection, acme, "woocommerce", sold(1, slope))
        _mark(connection, acme, LAST - 20)
        compute(connection, [acme], LAST - 20, LAST - 20)
        assert said(connection, acme) == expected
        (row,) = connection.execute("select withdrawn_at, closed_at from ai_insights").fetchall()
        connection.rollback()
        assert (row["withdrawn_at"] is not None) == (not expected)


def test_what_is_not_seen_again_closes_and_what_lasts_is_said_once(connection: Connection) -> None:
    brief, lasting = add_organization(connection, "brief"), add_organization(connection, "lasting")
    level = sold(3, -0.07)["orders"]
    level[-28:] = level[-56]
    add_days(connection, brief, "woocommerce", {"orders": level})
    add_days(connection, lasting, "woocommerce", {"orders": sold(4, -0.07, 20)["orders"]})
    compute(connection, [brief, lasting], 80, LAST)
    rows = said(connection, brief)
    assert all(row["closed_at"] is not None and "It is over" in row["description"] for row in rows)
    (row,) = said(connection, lasting)
    assert "counts as the new usual" in row["description"]
    assert row["closed_at"] - row["starts_at"] == timedelta(days=56)


def test_the_running_day_says_nothing_and_takes_nothing_back(connection: Connection) -> None:
    acme = _falling(connection, zone="UTC")
    compute(connection, [acme], LAST, LAST)
    before = said(connection, acme)
    noon = midnight(END) + timedelta(hours=12)
    (counts,) = compute(connection, [acme], LAST + 1, LAST + 1, noon)
    assert counts == {"organization_id": acme, "insights_new": 0, "insights_changed": 0, "insights_withdrawn": 0, "days": 1}
    assert said(connection, acme) == before and before


def test_a_day_that_was_last_computed_before_it_was_over_is_missing(connection: Connection) -> None:
    acme = _falling(connection)
    connection.execute(
        "update partition_ledger set computed_at = bucket + interval '20 hours' where asset = 'daily_aggregates' and bucket = %s",
        (midnight(on(LAST - 40)),),
    )
    connection.commit()
    compute(connection, [acme], LAST, LAST)
    assert said(connection, acme) == []


def test_what_was_dismissed_has_to_be_larger_to_be_said_again(connection: Connection) -> None:
    """A fall of 3 % a week is one and a half times the minimum: twice dismissed, it is not said again."""
    dismissed, other = (add_organization(connection, slug) for slug in ("acme", "bolt"))
    for organization in (dismissed, other):
        add_days(
            connection,
            organization,
            "woocommerce",
            {"orders": np.round(sold(5, 0)["orders"] * 0 + 900 * np.exp(-0.03 * np.maximum(np.arange(DAYS) - 105, 0) / 7))},
        )
    connection.execute(
        "insert into ai_insights (organization_id, insight_type, insight_key, title, description, severity, starts_at, closed_at)"
        " select %s, 'trend', 'trend|woocommerce|sales|down', 't', 'd', 'medium', %s::timestamptz + n * interval '1 day', now()"
        " from generate_series(1, 2) n",
        (dismissed, midnight(on(0))),
    )
    connection.execute("update ai_insights set is_dismissed = true")
    connection.execute("update ai_insights set dismissed_at = %s", (midnight(on(50)),))
    connection.commit()
    compute(connection, [dismissed, other], LAST, LAST)
    assert len(said(connection, other)) == 1
    assert [row for row in said(connection, dismissed) if not row["is_dismissed"]] == []


def test_a_run_that_has_read_what_is_no_longer_true_stores_nothing(connection: Connection) -> None:
    acme = _falling(connection)
    compute(connection, [acme], LAST, LAST)
    start, end = midnight(on(LAST)), midnight(on(LAST + 1))
    found = find(Database(), [acme], start, end, end + timedelta(hours=13))
    _mark(connection, acme, LAST)
    connection.execute("update ai_insights set title = 'newer'")
    connection.commit()
    late = {"ids": [acme], "start": start, "end": end, "run_id": None, **found}
    assert connection.execute(query("store_rule_insights"), late).fetchall() == []
    connection.commit()
    assert [row["title"] for row in said(connection, acme)] == ["newer"]


def test_what_changes_below_has_its_days_judged_again(connection: Connection) -> None:
    """Days, funnels and cohorts that change mark the days that rules were applied to, and no others."""
    acme = add_organization(connection, "acme")
    _mark(connection, acme, LAST)
    connection.execute("update partition_ledger set status = 'done', computed_version = input_version where asset = %s", (ASSET,))

    def marked() -> list[datetime]:
        rows = connection.execute(
            "select bucket from partition_ledger where asset = %s and status = 'stale'", (ASSET,)
        ).fetchall()
        return [row["bucket"] for row in rows]

    for statement in (
        "select count(*) from private.mark_rule_insights(array[%(id)s, %(id)s], array[%(day)s, %(before)s]::timestamptz[])",
        "select count(*) from public.aggregate_daily_data(array[%(id)s], %(date)s, %(date)s)",
    ):
        with connection.transaction(force_rollback=True):
            connection.execute(
                "insert into partition_ledger (organization_id, asset, bucket, status, input_version, computed_version, computed_at)"
                " select %s, 'hourly_aggregates', h, 'done', 1, 1, now()"
                " from generate_series(%s::timestamptz, %s::timestamptz + interval '23 hours', interval '1 hour') h",
                (acme, midnight(on(LAST)), midnight(on(LAST))),
            )
            values: dict[str, Any] = {"id": acme, "day": midnight(on(LAST)), "before": midnight(on(LAST - 1)), "date": on(LAST)}
            connection.execute(statement, values)
            assert marked() == [midnight(on(LAST))], statement


def test_days_that_no_run_took_are_requested(connection: Connection, instance: dg.DagsterInstance) -> None:
    """Computed after they were over, more than an hour ago, since the organisation is there; the running day is not marked."""
    acme = add_organization(connection, "acme")
    connection.execute("update organizations set created_at = %s", (midnight(on(LAST - 4)) + timedelta(hours=5),))
    connection.execute("select private.ensure_partitions('partition_ledger', %s, %s)", (midnight(on(0)), midnight(END)))
    connection.execute(
        "insert into partition_ledger (organization_id, asset, bucket, status, input_version, computed_version, computed_at)"
        " select %s, 'daily_aggregates', d, 'done', 1, 1, d + interval '25 hours' from generate_series(%s::timestamptz, %s, interval '1 day') d",
        (acme, midnight(on(LAST - 9)), midnight(on(LAST - 1))),
    )
    connection.execute(
        "update partition_ledger set computed_at = bucket + interval '20 hours' where bucket = %s", (midnight(on(LAST - 2)),)
    )
    connection.execute("select private.mark_missing_rule_days(%s, %s)", (midnight(on(0)), midnight(END)))
    statement = "select bucket from partition_ledger where asset = %s and status = 'stale' order by 1"
    marked = [row["bucket"] for row in connection.execute(statement, (ASSET,))]
    assert marked == [midnight(on(day)) for day in (LAST - 4, LAST - 3, LAST - 1)]
    connection.execute("update partition_ledger set status = 'done', computed_version = input_version where asset = %s", (ASSET,))
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    connection.execute("select private.mark_stale(%s, array[%s], array[%s])", (ASSET, acme, today))
    connection.execute("update partition_ledger set status = 'done', computed_version = input_version where asset = %s", (ASSET,))
    connection.execute(
        "select private.mark_rule_insights(array[%s, %s], array[%s, %s])", (acme, acme, today, midnight(on(LAST - 1)))
    )
    assert [row["bucket"] for row in connection.execute(statement, (ASSET,))] == [midnight(on(LAST - 1))]


_FAULTS = {
    "figures_recompute": "update ai_insights set data_points = jsonb_set(data_points, '{counts,0,value}', '1')",
    "complete_days_only": "delete from partition_ledger where asset = 'daily_aggregates' and bucket >= (select period_end - interval '2 days' from ai_insights)",
    "volume_within_budget": "insert into ai_insights (organization_id, insight_type, insight_key, title, description, severity, starts_at)"
    " select i.organization_id, 'trend', 'trend|x|' || n, 't', 'd', 'low', i.starts_at from ai_insights i, generate_series(1, 5) n",
}


def test_every_check_finds_its_fault(connection: Connection) -> None:
    acme = _falling(connection)
    compute(connection, [acme], LAST, LAST)
    for name, fault in _FAULTS.items():
        parameters = {"keys": ["acme"], "start": midnight(on(LAST)), "end": midnight(END), "most": 20, "budget": 5}
        with connection.transaction(force_rollback=True):
            assert connection.execute(query(f"check_rule_insights_{name}"), parameters).fetchall() == [], name
            connection.execute(fault)
            rows = connection.execute(query(f"check_rule_insights_{name}"), parameters).fetchall()
            assert rows and rows[0]["organization"] == "acme" and rows[0]["found"] >= 1, name
