"""A year of a real shop, against a recount of its files with pandas."""

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analytics_assets.operations.rebuild import rebuild
from analytics_assets.organizations.registry import get
from analytics_assets.raw.importer import import_files, open_target
from analytics_assets.settings import PROJECT_ROOT
from analytics_assets_tests.cohorts.world import compute as compute_cohorts
from analytics_assets_tests.woocommerce import Connection, add_organization, compute, daily, hourly, ledger, row_versions, state

FOLDER = PROJECT_ROOT.parent / "shared" / "data" / "online_retail"
START, END = datetime(2010, 12, 1, tzinfo=UTC), datetime(2011, 12, 11, tzinfo=UTC)
ORDERED = ("orders", "items_sold", "gross_sales", "customers_new")
METRICS = (*ORDERED, "refunds_count", "refunds_amount", "net_sales", "total_sales", "discounts", "shipping_revenue", "taxes")

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the data set is not here")


def read(stream: str) -> Iterator[dict[str, Any]]:
    with gzip.open(FOLDER / f"woocommerce_{stream}.jsonl.gz", "rb") as file:
        for line in file:
            yield from json.loads(line)


def exact(values: "pd.Series[Any]") -> Decimal:
    return sum(values, Decimal(0))


def recount() -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Orders and refunds: when (UTC), what, how much; in Decimal."""
    orders = pd.DataFrame(
        {
            "at": o["date_paid_gmt"] or o["date_created_gmt"],
            "id": o["id"],
            "customer": o["customer_id"],
            "orders": Decimal(1),
            "items_sold": Decimal(sum(line["quantity"] for line in o["line_items"])),
            "gross_sales": Decimal(o["total"]),
        }
        for o in read("orders")
    )
    refunds = pd.DataFrame(
        {
            "at": r["date_created_gmt"],
            "order": r["parent_id"],
            "refunds_count": Decimal(1),
            "refunds_amount": Decimal(r["amount"]),
        }
        for r in read("refunds")
    )
    for frame in (orders, refunds):
        frame["at"] = pd.to_datetime(frame["at"], utc=True)
        frame["hour"] = frame["at"].dt.floor("h")
        frame["date"] = frame["hour"].dt.tz_convert("Europe/London").dt.date
    known = orders[orders["customer"] != 0].sort_values("at", kind="stable")
    first = known.drop_duplicates("customer").index
    orders["customers_new"] = pd.Series([Decimal(int(i in first)) for i in orders.index], dtype=object)
    return orders, refunds


def expected(orders: "pd.DataFrame", refunds: "pd.DataFrame", period: str) -> dict[str, dict[Any, Decimal]]:
    """Each metric by period, without zeros."""
    sums: dict[str, dict[Any, Decimal]] = {m: orders.groupby(period)[m].agg(exact).to_dict() for m in ORDERED}
    sums |= {m: refunds.groupby(period)[m].agg(exact).to_dict() for m in ("refunds_count", "refunds_amount")}
    periods = sums["orders"].keys() | sums["refunds_count"].keys()
    zero = Decimal(0)
    net = {p: sums["gross_sales"].get(p, zero) - sums["refunds_amount"].get(p, zero) for p in periods}
    none: dict[Any, Decimal] = {}
    sums |= {"net_sales": net, "total_sales": net, "discounts": none, "shipping_revenue": none, "taxes": none}
    return {m: {p: v for p, v in values.items() if v != 0} for m, values in sums.items()}


Cohorts = dict[tuple[str, date, int], tuple[int, int, Decimal]]


def expected_cohorts(orders: "pd.DataFrame", refunds: "pd.DataFrame") -> Cohorts:
    """Size, active customers and revenue of every cohort by first purchase: (week or month, cohort, period number)."""
    found: Cohorts = {}
    known = orders[orders["customer"] != 0][["id", "customer", "at", "gross_sales"]].rename(columns={"gross_sales": "money"})
    back = refunds.merge(known, left_on="order", right_on="id", suffixes=("", "_of_order"))
    back["at"] = back[["at", "at_of_order"]].max(axis="columns")
    back["money"] = -back["refunds_amount"]
    today = pd.Timestamp.now("Europe/London").tz_localize(None)
    for period, frequency, most in (("week", "W-SUN", 104), ("month", "M", 36)):
        starts = {
            id(frame): frame["at"].dt.tz_convert("Europe/London").dt.tz_localize(None).dt.to_period(frequency)
            for frame in (known, back)
        }
        bought = known.assign(period=starts[id(known)])
        cohort_of = bought.groupby("customer")["period"].min()
        money = pd.concat([bought, back.assign(period=starts[id(back)])])[["customer", "period", "money"]]
        sizes = cohort_of.value_counts()
        active = bought.assign(cohort=bought["customer"].map(cohort_of)).groupby(["cohort", "period"])["customer"].nunique()
        earned = money.assign(cohort=money["customer"].map(cohort_of)).groupby(["cohort", "period"])["money"].agg(exact)
        for cohort, size in sizes.items():
            assert isinstance(cohort, pd.Period)
            for number in range(most + 1):
                at = cohort + number
                if at.start_time > today:
                    break
                found[period, cohort.start_time.date(), number] = (
                    int(size),
                    int(active.get((cohort, at), 0)),
                    earned.get((cohort, at), Decimal(0)),
                )
    return found


def stored_cohorts(connection: Connection) -> Cohorts:
    rows = connection.execute("select * from public.cohort_analysis where cohort_type = 'first_purchase'").fetchall()
    return {
        (row["period_type"], row["cohort_date"], row["period_number"]): (row["cohort_size"], row["active_users"], row["revenue"])
        for row in rows
    }


def import_both(connection: Connection) -> list[int]:
    return [
        import_files(
            connection,
            open_target(connection, "retail", "woocommerce", stream),
            [Path(FOLDER / f"woocommerce_{stream}.jsonl.gz")],
        ).stored
        for stream in ("orders", "refunds")
    ]


def test_a_real_year_by_hour_by_day_and_in_total(connection: Connection) -> None:
    org = add_organization(connection, "retail", "Europe/London", "GBP")
    assert import_both(connection) == [208, 39]
    compute(connection, [org], START, END)
    orders, refunds = recount()
    assert (len(orders), exact(orders["gross_sales"])) == (20_725, Decimal("10655622.484"))
    assert (len(refunds), exact(refunds["refunds_amount"])) == (3_836, Decimal("896812.49"))

    for view, period in ((hourly, "hour"), (daily, "date")):
        counted = expected(orders, refunds, period)
        for metric in METRICS:
            found = {at: value for at, value in view(connection, "retail", metric).items() if value != 0}
            assert found == counted[metric], (period, metric)
            assert sum(found.values()) == sum(counted[metric].values())
    known = orders[orders["customer"] != 0]
    ordering = known.groupby("date")["customer"].nunique().to_dict()
    assert {d: v for d, v in daily(connection, "retail", "customers_ordering").items() if v != 0} == ordering
    newcomers = daily(connection, "retail", "customers_new")
    assert sum(newcomers.values()) == known["customer"].nunique()
    first_dates: dict[Any, date] = known.groupby("customer")["date"].min().to_dict()
    returning = known[known["date"] > known["customer"].map(first_dates)].groupby("date")["customer"].nunique().to_dict()
    assert {d: v for d, v in daily(connection, "retail", "customers_returning").items() if v != 0} == returning

    assert set(ledger(connection, "retail", "cohort_analysis").values()) == {("stale", None)}
    compute_cohorts(connection, [org], START.date(), END.date())
    cohorts = expected_cohorts(orders, refunds)
    assert stored_cohorts(connection) == cohorts
    customers = orders[orders["customer"] != 0]
    paid = exact(customers["gross_sales"]) - exact(refunds[refunds["order"].isin(customers["id"])]["refunds_amount"])
    for period in ("week", "month"):
        assert sum(money for (p, _, _), (_, _, money) in cohorts.items() if p == period) == paid
        assert (
            sum(size for (p, _, k), (size, _, _) in cohorts.items() if p == period and k == 0) == customers["customer"].nunique()
        )

    for asset in ("orders", "hourly_aggregates", "cohort_analysis"):
        assert set(ledger(connection, "retail", asset).values()) == {("done", None)}
    before = row_versions(connection)
    assert import_both(connection) == [0, 0]
    compute(connection, [org], START, END)
    compute_cohorts(connection, [org], START.date(), END.date())
    assert row_versions(connection) == before

    # Rebuilt from raw pages: nothing differs, and what is damaged is healed to the same rows.
    untouched = state(connection, org)
    damaged = [
        connection.execute(damage).rowcount
        for damage in (
            "delete from public.orders where order_id like '%7'",
            "update public.hourly_facts set value = value + 1",
            "delete from public.daily_facts where date between '2011-03-01' and '2011-03-31'",
            "update public.cohort_analysis set revenue = 0 where period_number = 3 and revenue <> 0",
        )
    ]
    connection.commit()
    retail = [get(connection, "retail")]
    found = {row.table: (row.missing, row.wrong) for row in rebuild(connection, retail, START.date(), END.date())}
    orders_gone, hours_wrong, days_gone, cohorts_wrong = damaged
    assert min(damaged) > 50 and found == {
        "orders": (orders_gone, 0),
        "refunds": (0, 0),
        "customers": (0, 0),
        "hourly_facts": (hours_wrong, hours_wrong),
        "daily_facts": (days_gone, 0),
        "cohort_analysis": (cohorts_wrong, cohorts_wrong),
    }
    assert state(connection, org) == untouched and stored_cohorts(connection) == cohorts
