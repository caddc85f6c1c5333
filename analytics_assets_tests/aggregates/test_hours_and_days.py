"""Hours in the store's zone, days in the organisation's, against a count of the same records by another route."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from analytics_assets.raw.importer import import_files, open_target
from analytics_assets_tests.aggregates.recount import SUMS, recount, start_of_local_hour
from analytics_assets_tests.woocommerce import (
    Connection,
    add_organization,
    compute,
    daily,
    hourly,
    ledger,
    order,
    refund,
    row_versions,
    state,
    take_in,
)

# Zone, the day on which its clock changes, how many hours that day has.
CHANGES = [
    ("Europe/London", "2025-03-30", 23),
    ("Europe/London", "2025-10-26", 25),
    ("America/New_York", "2025-03-09", 23),
    ("America/New_York", "2025-11-02", 25),
    ("America/St_Johns", "2025-03-09", 23),
    ("America/St_Johns", "2025-11-02", 25),
    ("Australia/Lord_Howe", "2025-10-05", 23.5),
    ("Australia/Lord_Howe", "2025-04-06", 24.5),
    ("America/St_Johns", "2010-11-07", 25),  # one minute after midnight
    ("Asia/Kolkata", "2025-06-15", 24),
    ("Asia/Kathmandu", "2025-06-15", 24),
]


def midnight(date: str, zone: str) -> datetime:
    return datetime.fromisoformat(date).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def records(seed: int, around: datetime, zone: str, spread: timedelta) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Orders and refunds within the spread of a moment, with amounts of up to three decimals."""
    rng = random.Random(seed)

    def moment() -> datetime:
        return around + timedelta(seconds=rng.randrange(int(-spread.total_seconds()), int(spread.total_seconds())))

    def amount(most: int, digits: int = 3) -> str:
        return str(Decimal(rng.randrange(most)).scaleb(-digits))

    orders = [
        order(
            number,
            moment(),
            amount(90_000),
            zone=zone,
            customer=rng.randrange(12),
            items=rng.randrange(1, 9),
            tax=amount(5_000),
            shipping=amount(900, 2),
            discount=rng.choice(["0.00", amount(4_000)]),
            paid=rng.random() < 0.9,
            status=rng.choice(["completed", "processing", "refunded", "completed", "cancelled", "failed", "trash"]),
        )
        for number in range(1, 121)
    ]
    refunds = [
        refund(
            number,
            moment(),
            amount(3_000, 2),
            parent=rng.choice([0, rng.randrange(1, 140)]),
            zone=zone,
            tax=amount(300, 2),
            shipping=rng.choice(["0.00", amount(300, 2)]),
        )
        for number in range(500, 540)
    ]
    return orders, refunds


def published(connection: Connection, org: UUID, view: str, period: str) -> dict[tuple[str, Any], Decimal]:
    rows = connection.execute(
        f'select metric, "{period}" as period, value from public.{view} where organization_id = %s and value <> 0', (org,)
    ).fetchall()
    return {(row["metric"], row["period"]): row["value"] for row in rows if row["metric"] in (*SUMS, "customers_ordering")}


@pytest.mark.parametrize("changes", [CHANGES[:4], CHANGES[4:8], CHANGES[8:]], ids=["whole hours", "half-hour zones", "odd ones"])
def test_every_metric_by_hour_and_day_around_a_clock_change(
    connection: Connection, tmp_path: Path, changes: list[tuple[str, str, float]]
) -> None:
    for seed, (zone, date, hours) in enumerate(changes):
        start = midnight(date, zone)
        assert midnight((datetime.fromisoformat(date) + timedelta(days=1)).date().isoformat(), zone) - start == timedelta(
            hours=hours
        )
        slug = f"shop-{seed}"
        org = add_organization(connection, slug, zone)
        orders, refunds = records(seed, start, zone, timedelta(hours=40))
        # As close around the change as can be.
        orders += [
            order(900 + i, start + timedelta(minutes=i * 10 + (i % 3)), "1.00", zone=zone, customer=50 + i) for i in range(32)
        ]
        take_in(connection, tmp_path, slug, "orders", orders[:70], orders[70:])
        take_in(connection, tmp_path, slug, "refunds", refunds)
        compute(connection, [org], start - timedelta(days=3), start + timedelta(days=4))
        by_hour, by_day = recount(orders, refunds, zone, zone)
        assert published(connection, org, "hourly_aggregates", "timestamp") == by_hour, zone
        assert published(connection, org, "daily_aggregates", "date") == by_day, zone
        assert all(v[0] == "done" for v in ledger(connection, slug, "hourly_aggregates").values())


@pytest.mark.parametrize(
    ("store_zone", "zone"),
    [("Asia/Kolkata", "America/New_York"), ("Pacific/Kiritimati", "Pacific/Pago_Pago"), ("Australia/Lord_Howe", "Europe/London")],
)
def test_hours_are_the_stores_and_days_the_organisations(
    connection: Connection, tmp_path: Path, store_zone: str, zone: str
) -> None:
    org = add_organization(connection, zone=zone)
    around = midnight("2025-10-26", zone)
    orders, refunds = records(7, around, store_zone, timedelta(hours=60))
    open_target(connection, "acme", "woocommerce", "orders", time_zone=store_zone)
    take_in(connection, tmp_path, "acme", "orders", orders)
    take_in(connection, tmp_path, "acme", "refunds", refunds)
    compute(connection, [org], around - timedelta(days=5), around + timedelta(days=5))
    by_hour, by_day = recount(orders, refunds, store_zone, zone)
    assert published(connection, org, "hourly_aggregates", "timestamp") == by_hour
    assert published(connection, org, "daily_aggregates", "date") == by_day


@pytest.mark.parametrize(("zone", "date", "hours"), [c for c in CHANGES if c[2] in (23, 24, 25) and c[1] > "2025"])
def test_day_has_as_many_hours_as_the_clock_gives_it(
    connection: Connection, tmp_path: Path, zone: str, date: str, hours: int
) -> None:
    org = add_organization(connection, zone=zone)
    start = midnight(date, zone)
    take_in(
        connection,
        tmp_path,
        "acme",
        "orders",
        [order(i, start + timedelta(minutes=60 * i + 7), "1.00", zone=zone) for i in range(-1, hours + 1)],
    )
    compute(connection, [org], start - timedelta(days=2), start + timedelta(days=3))
    day = datetime.fromisoformat(date).date()
    assert daily(connection, "acme", "orders") == {day - timedelta(days=1): 1, day: hours, day + timedelta(days=1): 1}
    assert hourly(connection, "acme", "orders") == {start + timedelta(hours=i): 1 for i in range(-1, hours + 1)}


def test_repeated_hour_stays_two_hours(connection: Connection, tmp_path: Path) -> None:
    org = add_organization(connection, zone="America/New_York")
    first, second = datetime(2025, 11, 2, 5, 30, tzinfo=UTC), datetime(2025, 11, 2, 6, 30, tzinfo=UTC)
    zone = ZoneInfo("America/New_York")
    assert first.astimezone(zone).replace(tzinfo=None) == second.astimezone(zone).replace(tzinfo=None)
    take_in(connection, tmp_path, "acme", "orders", [order(1, first, "1.00"), order(2, second, "2.00")])
    compute(connection, [org], first - timedelta(days=2), first + timedelta(days=2))
    assert hourly(connection, "acme", "total_sales") == {first.replace(minute=0): 1, second.replace(minute=0): 2}


def test_half_hour_that_lord_howe_repeats_begins_when_the_clock_goes_back(connection: Connection) -> None:
    zone = ZoneInfo("Australia/Lord_Howe")
    for minute, expected in ((14 * 60 + 59, "14:00"), (15 * 60, "15:00"), (15 * 60 + 29, "15:00"), (15 * 60 + 30, "15:30")):
        at = datetime(2025, 4, 5, tzinfo=UTC) + timedelta(minutes=minute)
        row = connection.execute("select private.local_hour(%s, 'Australia/Lord_Howe') as start", (at,)).fetchone()
        assert row == {"start": start_of_local_hour(at, zone)} and f"{row['start']:%H:%M}" == expected


def test_nothing_is_lost_or_made_between_orders_hours_and_days(connection: Connection, tmp_path: Path) -> None:
    org = add_organization(connection, zone="Asia/Kathmandu")
    around = datetime(2025, 6, 15, tzinfo=UTC)
    orders, refunds = records(11, around, "Asia/Kathmandu", timedelta(days=12))
    take_in(connection, tmp_path, "acme", "orders", orders)
    take_in(connection, tmp_path, "acme", "refunds", refunds)
    compute(connection, [org], around - timedelta(days=15), around + timedelta(days=15))
    entities = connection.execute(
        "select count(*) as orders, sum(items_sold) as items_sold, sum(gross_sales) as gross_sales, sum(discounts) as discounts"
        " from public.orders where is_counted"
    ).fetchone()
    assert entities is not None and entities["orders"] > 50
    for metric in SUMS:
        of_hours, of_days = (
            sum(values.values()) for values in (hourly(connection, "acme", metric), daily(connection, "acme", metric))
        )
        assert of_hours == of_days
        if metric in entities:
            assert of_hours == entities[metric] != 0
    parts = {metric: sum(daily(connection, "acme", metric).values()) for metric in SUMS}
    assert parts["total_sales"] == parts["net_sales"] + parts["shipping_revenue"] + parts["taxes"]


def test_a_week_later_is_the_same_a_week_later(connection: Connection, tmp_path: Path) -> None:
    week = timedelta(days=7)
    around = datetime(2025, 6, 15, tzinfo=UTC)
    views = []
    for slug, moved in (("acme", timedelta()), ("later", week)):
        org = add_organization(connection, slug, "Asia/Kathmandu")
        orders, refunds = records(3, around + moved, "Asia/Kathmandu", timedelta(hours=50))
        take_in(connection, tmp_path, slug, "orders", orders)
        take_in(connection, tmp_path, slug, "refunds", refunds)
        compute(connection, [org], around - week + moved, around + week + moved)
        views.append(
            [
                {(metric, at - moved): value for (metric, at), value in published(connection, org, view, period).items()}
                for view, period in (("hourly_aggregates", "timestamp"), ("daily_aggregates", "date"))
            ]
        )
    assert views[0] == views[1] and len(views[0][1]) > 40


def test_another_organisation_with_the_same_ids_changes_nothing(connection: Connection, tmp_path: Path) -> None:
    around = datetime(2025, 6, 15, tzinfo=UTC)
    ids = [add_organization(connection, slug) for slug in ("acme", "umbra")]
    states = []
    for slug, seed in (("acme", 1), ("umbra", 2)):
        orders, refunds = records(seed, around, "UTC", timedelta(hours=50))
        take_in(connection, tmp_path, slug, "orders", orders)
        take_in(connection, tmp_path, slug, "refunds", refunds)
        compute(connection, ids, around - timedelta(days=5), around + timedelta(days=5))
        states.append(state(connection, ids[0]))
    assert states[0] == states[1]
    assert state(connection, ids[1])["days"] not in ([], states[0]["days"])


def test_running_anything_again_writes_nothing(connection: Connection, tmp_path: Path) -> None:
    start = datetime(2025, 3, 30, tzinfo=UTC)
    ids = [add_organization(connection, slug, zone) for slug, zone in (("acme", "Europe/London"), ("umbra", "Asia/Kolkata"))]
    for slug in ("acme", "umbra"):
        orders, refunds = records(1, start, "UTC", timedelta(hours=40))
        take_in(connection, tmp_path, slug, "orders", orders)
        take_in(connection, tmp_path, slug, "refunds", refunds)
    span = (ids, start - timedelta(days=3), start + timedelta(days=3))
    connection.execute("select count(*) from public.register_raw_pages('woocommerce', %s, %s, %s)", span)
    compute(connection, *span)
    before = row_versions(connection)
    assert len({row[0] for row in before}) >= 7
    connection.execute("select count(*) from public.register_raw_pages('woocommerce', %s, %s, %s)", span)
    compute(connection, *span)
    compute(connection, ids[:1], start, start + timedelta(days=1))
    compute(connection, [*reversed(ids), ids[0]], start - timedelta(days=1), start + timedelta(days=2))
    assert row_versions(connection) == before
    file = tmp_path / "empty.jsonl"
    file.write_bytes(b"[]\n")
    import_files(connection, open_target(connection, "acme", "woocommerce", "orders"), [file])
    compute(connection, *span)
    assert [row for row in row_versions(connection) if row not in before and not row[0].startswith("raw_")] == []
