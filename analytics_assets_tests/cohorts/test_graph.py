"""Cohorts in the graph: real pages taken in, hours and days run, days marked again, checks that find what they are for."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import dagster as dg
import pandas as pd
import pytest

from analytics_assets.cohorts.assets import CHECKS
from analytics_assets.cohorts.previews import triangle
from analytics_assets.ledgered import evaluate
from analytics_assets.resources import Database
from analytics_assets_tests.cohorts.world import compute
from analytics_assets_tests.graph.runs import check_results, materialized, run_days
from analytics_assets_tests.woocommerce import Connection, add_organization, customer, ledger, order, refund, take_in

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
TODAY = NOW.replace(hour=0)
# Two weeks that are over.
FIRST = TODAY - timedelta(days=TODAY.weekday() + 14)
END = FIRST + timedelta(days=14)


def day(number: int, hour: int = 10) -> datetime:
    return FIRST + timedelta(days=number, hours=hour)


def close_hours(connection: Connection, ids: list[UUID]) -> None:
    """Takes in what was imported, and computes the hours of both weeks."""
    for function in ("ingest_orders", "aggregate_hourly_data"):
        connection.execute(f"select count(*) from public.{function}(%s, %s, %s)", (ids, FIRST, END))
    connection.commit()


@pytest.fixture
def shops(connection: Connection, tmp_path: Path) -> list[UUID]:
    """Two organisations with two weeks, computed by the SQL functions alone."""
    ids = [add_organization(connection, slug) for slug in ("acme", "bolt")]
    for slug in ("acme", "bolt"):
        take_in(
            connection,
            tmp_path,
            slug,
            "orders",
            [
                order(1, day(0), "10.00", customer=5),
                order(2, day(1), "5.00", customer=6),
                order(3, day(8), "7.00", customer=5),
                order(4, day(9), "4.00", email="g@x.org"),
            ],
        )
        take_in(connection, tmp_path, slug, "refunds", [refund(7, day(9), "1.50", parent=1), refund(8, day(9), "2.00", parent=4)])
        take_in(connection, tmp_path, slug, "customers", [customer(9, "n@x.org", day(3))])
    close_hours(connection, ids)
    compute(connection, ids, FIRST.date(), END.date() - timedelta(days=1))
    return ids


def cohorts(connection: Connection, slug: str, kind: str = "first_purchase") -> dict[tuple[int, int], tuple[int, int, str]]:
    """(day of the cohort, period): size, active, revenue; by week, only what is over."""
    rows = connection.execute(
        "select a.* from public.cohort_analysis a join public.organizations o on o.id = a.organization_id"
        " where o.slug = %s and cohort_type = %s and period_type = 'week' and cohort_date + 7 * period_number < %s",
        (slug, kind, END.date()),
    ).fetchall()
    return {
        ((row["cohort_date"] - FIRST.date()).days, row["period_number"]): (
            row["cohort_size"],
            row["active_users"],
            str(row["revenue"]),
        )
        for row in rows
    }


_ACME = "(select id from organizations where slug = 'acme')"
_FIRST = f"organization_id = {_ACME} and cohort_type = 'first_purchase'"
_FAULTS = [
    (
        "a size changed",
        f"update cohort_analysis set cohort_size = 9 where {_FIRST} and period_number = 1",
        {"rows_keep_the_definitions"},
    ),
    (
        "a size changed in all its rows",
        f"update cohort_analysis set cohort_size = 9, active_users = case period_number when 0 then 9 else active_users end where {_FIRST}",
        {"sizes_equal_recount"},
    ),
    (
        "period 0 without everybody",
        f"update cohort_analysis set active_users = 0 where {_FIRST} and period_number = 0",
        {"rows_keep_the_definitions"},
    ),
    (
        "a row lost",
        f"delete from cohort_analysis where {_FIRST} and period_number = 1",
        {"rows_keep_the_definitions", "revenue_equals_orders"},
    ),
    (
        "complete too early",
        f"update cohort_analysis set is_complete = not is_complete where {_FIRST} and period_number = 0",
        {"rows_keep_the_definitions"},
    ),
    (
        "a row of the future",
        "insert into cohort_analysis (organization_id, cohort_type, period_type, cohort_date, period_number, cohort_size, active_users,"
        " is_complete) select organization_id, cohort_type, period_type, cohort_date, max(period_number) + 1, max(cohort_size), 0, false"
        f" from cohort_analysis where {_FIRST} group by 1, 2, 3, 4",
        {"rows_keep_the_definitions"},
    ),
    ("money changed", f"update cohort_analysis set revenue = revenue + 1 where {_FIRST}", {"revenue_equals_orders"}),
    ("a refund lost", f"delete from refunds where refund_id = '8' and organization_id = {_ACME}", {"revenue_equals_orders"}),
    (
        "an order that nobody counted",
        "insert into orders select (jsonb_populate_record(o, jsonb_build_object('order_id', '99', 'customer_key', 'id:77'))).*"
        f" from orders o where order_id = '2' and organization_id = {_ACME}",
        {"sizes_equal_recount"},
    ),
    (
        "a member lost",
        f"delete from cohort_members where organization_id = {_ACME} and cohort_type = 'signup'",
        {"sizes_equal_recount"},
    ),
    (
        "a member in another week",
        f"update cohort_members set anchor_date = anchor_date + 7 where {_FIRST} and member like '%id:6'",
        {"sizes_equal_recount", "revenue_equals_orders"},
    ),
    (
        "a visitor whom nobody counted",
        f"insert into visitors (organization_id, first_seen_at, visitor_id, user_id) values ({_ACME}, '{day(2)}', 'u', 'u')",
        {"sizes_equal_recount"},
    ),
]


@pytest.mark.parametrize(("statement", "expected"), [pytest.param(*fault[1:], id=fault[0]) for fault in _FAULTS])
def test_a_fault_is_found(connection: Connection, shops: list[UUID], statement: str, expected: set[str]) -> None:
    def fired() -> dict[str, Any]:
        results = [
            evaluate(check, "cohort_analysis", Database(), ["acme", "bolt"], FIRST, TODAY) for check in CHECKS["cohort_analysis"]
        ]
        return {str(result.check_name): result for result in results if not result.passed}

    assert fired() == {}
    connection.execute(statement)
    connection.commit()
    found = fired()
    assert set(found) == expected
    for result in found.values():
        assert {record.data["organization"] for record in result.metadata["worst"].records} == {"acme"}


def test_real_runs(connection: Connection, shops: list[UUID], instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """A run over the days computes, checks and draws; late pages mark the days whose cohorts they change, and no others."""
    assert cohorts(connection, "acme") == {(0, 0): (2, 2, "15.00"), (0, 1): (2, 1, "5.50"), (7, 0): (1, 1, "2.00")}
    assert cohorts(connection, "acme", "signup") == {(0, 0): (1, 1, "0"), (0, 1): (1, 0, "0")}
    connection.execute("delete from cohort_analysis")
    connection.execute("update partition_ledger set status = 'stale' where asset = 'cohort_analysis'")
    connection.commit()
    result = run_days(instance, FIRST, END - timedelta(days=1), assets=("cohort_analysis",))
    assert result.success
    assert all(check.passed for check in check_results(result).values()) and len(check_results(result)) == 5
    assert len(materialized(instance, "cohort_analysis")) == 28
    metadata: dict[str, Any] = {}
    for materialization in result.asset_materializations_for_node("cohort_analysis"):
        metadata |= materialization.metadata
    assert "data:image/png;base64" in metadata["triangle"].value and "first_purchase" in metadata["preview"].value
    assert cohorts(connection, "bolt") == {(0, 0): (2, 2, "15.00"), (0, 1): (2, 1, "5.50"), (7, 0): (1, 1, "2.00")}

    def stale() -> set[int]:
        found = ledger(connection, "acme", "cohort_analysis")
        return {(at - FIRST).days for at, (status, _) in found.items() if status == "stale"}

    # The guest of the second week turns out to be the customer who registered in the first; so does the refund.
    take_in(connection, tmp_path, "acme", "customers", [customer(9, "g@x.org", day(3), modified=day(13))])
    close_hours(connection, shops)
    assert stale() == {3, 9}
    assert run_days(instance, FIRST, END - timedelta(days=1), keys=("acme", "acme"), assets=("cohort_analysis",)).success
    row = connection.execute(
        "select member from cohort_members where cohort_type = 'first_purchase' and member like '%id:9'"
    ).fetchone()
    assert row is not None and stale() == set()

    # An order of the first week is moved to the second: its refund's day counts with it, wherever it lies.
    take_in(connection, tmp_path, "acme", "orders", [order(1, day(10), "10.00", customer=5, modified=day(13))])
    close_hours(connection, shops)
    assert stale() == {0, 8, 9, 10}
    assert run_days(instance, FIRST, END - timedelta(days=1), keys=("acme", "acme"), assets=("cohort_analysis",)).success
    assert cohorts(connection, "acme") == {(0, 0): (1, 1, "5.00"), (0, 1): (1, 0, "0"), (7, 0): (2, 2, "17.50")}


def test_a_young_organisation_has_a_picture_that_holds_its_title() -> None:
    """One month was drawn so narrow that the layout gave up, with a warning, and cut the title off: warnings are errors here."""
    month = {"cohort_date": TODAY.date().replace(day=1), "period_number": 0, "cohort_size": 1234, "retention_rate": 1.0}
    picture = triangle(
        pd.DataFrame([{**month, "is_complete": False}]), "a-shop-of-some-length: first_purchase cohorts by month (members)"
    )
    assert picture.startswith("![a-shop-of-some-length") and "data:image/png;base64," in picture
