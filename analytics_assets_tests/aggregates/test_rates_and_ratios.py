"""Amounts of other currencies, and ratios at every grain."""

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from analytics_assets.sql import query
from analytics_assets_tests.aggregates.test_hours_and_days import records
from analytics_assets_tests.woocommerce import (
    Connection,
    add_organization,
    compute,
    daily,
    hourly,
    ledger,
    order,
    refund,
    take_in,
)

DAY = datetime(2026, 3, 2, tzinfo=UTC)
TEN = DAY.replace(hour=10)


def add_rates(connection: Connection, *rates: tuple[str, str, date, str]) -> int:
    """As `analytics rates add` does it; returns how many are new or changed."""
    with connection.cursor() as cursor:
        cursor.execute("create temp table new_rates (like public.exchange_rates including defaults) on commit drop")
        cursor.executemany(
            "insert into pg_temp.new_rates (from_currency, to_currency, rate_date, rate) values (%s, %s, %s, %s)", rates
        )
        row = cursor.execute(query("store_rates"), prepare=False).fetchone()
    connection.commit()
    assert row is not None
    return int(row["changed"])


def run(connection: Connection, *ids: UUID, days: int = 1) -> None:
    compute(connection, list(ids), DAY, DAY + timedelta(days=days))


def test_hour_without_a_rate_fails_alone_and_says_what_to_do(connection: Connection, tmp_path: Path) -> None:
    acme, umbra = add_organization(connection), add_organization(connection, "umbra", currency="USD")
    for slug in ("acme", "umbra"):
        take_in(
            connection,
            tmp_path,
            slug,
            "orders",
            [
                order(1, TEN, "10.00", currency="USD"),
                order(2, TEN.replace(hour=11), "1.00", currency="USD" if slug == "umbra" else "EUR"),
            ],
        )
    run(connection, acme, umbra)
    status, error = ledger(connection, "acme", "hourly_aggregates")[TEN]
    assert status == "failed" and error == (
        "order 1 is in USD, the organisation reports in EUR, and there is no exchange rate for 2026-03-02. "
        "Add one with `analytics rates add USD EUR 2026-03-02 RATE`."
    )
    assert hourly(connection, "acme", "total_sales") == {TEN.replace(hour=11): 1}
    assert ledger(connection, "acme", "orders")[TEN] == ("done", None)
    assert ledger(connection, "acme", "daily_aggregates")[DAY][0] == "failed"
    assert hourly(connection, "umbra", "total_sales") == {TEN: 10, TEN.replace(hour=11): 1}
    assert set(ledger(connection, "umbra", "hourly_aggregates").values()) == {("done", None)}

    assert add_rates(connection, ("USD", "EUR", DAY.date(), "0.857142857")) == 1
    assert ledger(connection, "acme", "hourly_aggregates")[TEN] == ("stale", None)
    run(connection, acme, umbra)
    assert hourly(connection, "acme", "total_sales")[TEN] == Decimal("8.57142857")
    assert daily(connection, "acme", "total_sales") == {DAY.date(): Decimal("9.57142857")}
    assert ledger(connection, "acme", "hourly_aggregates")[TEN] == ("done", None)


def test_changed_rate_restates_the_hours_that_it_holds_for(connection: Connection, tmp_path: Path) -> None:
    acme = add_organization(connection)
    take_in(
        connection, tmp_path, "acme", "orders", [order(i, TEN + timedelta(days=i), "10.00", currency="USD") for i in range(3)]
    )
    add_rates(connection, ("USD", "EUR", DAY.date(), "0.5"), ("USD", "EUR", DAY.date() + timedelta(days=2), "0.6"))
    run(connection, acme, days=3)
    assert list(hourly(connection, "acme", "total_sales").values()) == [5, 5, 6]
    assert add_rates(connection, ("USD", "EUR", DAY.date(), "0.5")) == 0
    assert "stale" not in {status for status, _ in ledger(connection, "acme", "hourly_aggregates").values()}
    assert add_rates(connection, ("USD", "EUR", DAY.date(), "0.7")) == 1
    run(connection, acme, days=3)
    assert list(daily(connection, "acme", "total_sales").values()) == [7, 7, 6]


def test_changed_rate_restates_refunds_too(connection: Connection, tmp_path: Path) -> None:
    acme, later = add_organization(connection), TEN + timedelta(days=20)
    take_in(connection, tmp_path, "acme", "orders", [order(1, TEN, "10.00", currency="USD")])
    take_in(connection, tmp_path, "acme", "refunds", [refund(9, later, "10.00", parent=1)])
    add_rates(connection, ("USD", "EUR", DAY.date(), "0.5"), ("USD", "EUR", later.date(), "0.6"))
    run(connection, acme, days=21)
    assert hourly(connection, "acme", "total_sales") == {TEN: 5, later: -6}
    add_rates(connection, ("USD", "EUR", later.date(), "0.7"))
    assert ledger(connection, "acme", "hourly_aggregates")[later] == ("stale", None)
    run(connection, acme, days=21)
    assert hourly(connection, "acme", "total_sales") == {TEN: 5, later: -7}


@pytest.mark.parametrize(("age", "is_known"), [(-1, False), (0, True), (6, True), (7, False)])
def test_rate_holds_for_its_day_and_six_more(connection: Connection, tmp_path: Path, age: int, is_known: bool) -> None:
    acme = add_organization(connection)
    add_rates(connection, ("USD", "EUR", DAY.date() - timedelta(days=age), "0.5"), ("EUR", "USD", DAY.date(), "2"))
    take_in(connection, tmp_path, "acme", "orders", [order(1, TEN, "10.00", currency="USD")])
    run(connection, acme)
    assert hourly(connection, "acme", "total_sales") == ({TEN: 5} if is_known else {})


def test_rate_is_that_of_the_organisations_day_and_of_the_refunds_own(connection: Connection, tmp_path: Path) -> None:
    """23:30 in London is the next day in Kolkata; the refund is in the currency of its order, whatever the store's."""
    acme = add_organization(connection, zone="Asia/Kolkata", currency="INR")
    take_in(connection, tmp_path, "acme", "orders", [order(1, DAY.replace(hour=23, minute=40), "10.00", currency="USD")])
    take_in(connection, tmp_path, "acme", "refunds", [refund(9, DAY + timedelta(days=1, hours=20), "1.00", parent=1)])
    add_rates(connection, *[("USD", "INR", DAY.date() + timedelta(days=i), str(90 + i)) for i in range(3)])
    run(connection, acme, days=3)
    assert list(hourly(connection, "acme", "total_sales").values()) == [910, -92]


def test_refund_without_a_rate_fails_its_hour(connection: Connection, tmp_path: Path) -> None:
    acme = add_organization(connection)
    add_rates(connection, ("USD", "EUR", DAY.date() - timedelta(days=6), "0.5"))
    take_in(
        connection,
        tmp_path,
        "acme",
        "orders",
        [order(1, TEN, "10.00", currency="USD"), order(2, TEN, currency="USD", status="cancelled")],
    )
    take_in(
        connection,
        tmp_path,
        "acme",
        "refunds",
        [refund(9, TEN + timedelta(days=1), "1.00", parent=1), refund(10, TEN + timedelta(days=2), "1.00", parent=2)],
    )
    run(connection, acme, days=3)
    failed = {k: v[1] for k, v in ledger(connection, "acme", "hourly_aggregates").items() if v[0] == "failed"}
    assert list(failed) == [TEN + timedelta(days=1)]
    assert str(failed[TEN + timedelta(days=1)]).startswith(
        "refund 9 is in USD, the organisation reports in EUR, and there is no exchange rate for 2026-03-03."
    )


PARTS = {
    "aov": ("total_sales", "orders"),
    "items_per_order": ("items_sold", "orders"),
    "refund_rate": ("refunds_amount", "gross_sales"),
}
START: dict[str, Callable[[Any], Any]] = {
    "hour": lambda at: at,
    "day": lambda day: day,
    "week": lambda day: day - timedelta(days=day.weekday()),
    "month": lambda day: day.replace(day=1),
}


def test_ratios_are_sums_over_sums_at_every_grain(connection: Connection, tmp_path: Path) -> None:
    org = add_organization(connection, zone="Asia/Kathmandu")
    around = datetime(2025, 6, 30, tzinfo=UTC)
    orders, refunds = records(5, around, "Asia/Kathmandu", timedelta(days=12))
    take_in(connection, tmp_path, "acme", "orders", orders)
    take_in(connection, tmp_path, "acme", "refunds", refunds)
    compute(connection, [org], around - timedelta(days=15), around + timedelta(days=15))
    means_differ = 0
    for ratio, (numerator, denominator) in PARTS.items():
        for grain, start_of in START.items():
            top: dict[Any, Decimal] = defaultdict(Decimal)
            bottom: dict[Any, Decimal] = defaultdict(Decimal)
            source = hourly if grain == "hour" else daily
            for sums, metric in ((top, numerator), (bottom, denominator)):
                for period, value in source(connection, "acme", metric).items():
                    start = start_of(period)
                    sums[start if grain == "hour" else datetime.combine(start, time())] += value
            column = "period_start" if grain == "hour" else "period_start at time zone 'Asia/Kathmandu'"
            found = connection.execute(
                f"select {column} as period, numerator, denominator, value from public.metric_ratios"
                " where organization_id = %s and grain = %s and metric = %s",
                (org, grain, ratio),
            ).fetchall()
            assert {row["period"] for row in found} == top.keys() | bottom.keys()
            for row in found:
                period = row["period"]
                assert (row["numerator"], row["denominator"]) == (top[period], bottom[period])
                if bottom[period] == 0:
                    assert row["value"] is None
                else:
                    assert abs(row["value"] - top[period] / bottom[period]) < Decimal("1e-15")
            if grain == "month":
                of_days = [
                    v / b
                    for d, b in daily(connection, "acme", denominator).items()
                    if b and (v := daily(connection, "acme", numerator).get(d, Decimal(0)))
                ]
                means_differ += all(abs(row["value"] - sum(of_days) / len(of_days)) > Decimal("0.01") for row in found)
    assert means_differ >= 2  # an average of the days' ratios would have been another number


def test_ratios_and_distinct_counts_are_never_stored(connection: Connection, tmp_path: Path) -> None:
    org = add_organization(connection)
    take_in(connection, tmp_path, "acme", "orders", [order(1, TEN, customer=5)])
    run(connection, org)
    stored = {
        table: {
            row["kind"]
            for row in connection.execute(f"select distinct m.kind from public.{table} join public.metrics m using (metric_id)")
        }
        for table in ("hourly_facts", "daily_facts")
    }
    assert stored == {"hourly_facts": {"sum"}, "daily_facts": {"sum", "distinct"}}
