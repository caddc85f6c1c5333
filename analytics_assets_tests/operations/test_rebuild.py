"""Layers again from raw pages: equal to what was there, healed where it was damaged, unseen while it happens."""

import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from analytics_assets.database import connect
from analytics_assets.operations.rebuild import Compared, RebuildError, rebuild
from analytics_assets.organizations.registry import get
from analytics_assets_tests.command_line import analytics
from analytics_assets_tests.woocommerce import Connection, add_organization, compute, customer, order, refund, state, take_in

DAY = datetime(2026, 3, 2, tzinfo=UTC)


def differences(found: list[Compared]) -> dict[str, tuple[int, int]]:
    return {row.table: (row.missing, row.wrong) for row in found if row.missing or row.wrong}


def run(connection: Connection, slug: str, **options: Any) -> list[Compared]:
    start, end = options.pop("start", DAY.date()), options.pop("end", DAY.date() + timedelta(days=5))
    return rebuild(connection, [get(connection, slug)], start, end, **options)


@pytest.fixture
def shop(connection: Connection, tmp_path: Path) -> Connection:
    """Two organisations with orders, later versions, guests, a refund and customers of five days."""
    ids = [add_organization(connection, slug, "Asia/Kolkata") for slug in ("acme", "umbra")]
    for slug in ("acme", "umbra"):
        take_in(connection, tmp_path, slug, "customers", [customer(7, "a@example.org", DAY)])
        for day in range(5):
            at = DAY + timedelta(days=day, hours=5)
            orders = [
                order(
                    10 * day + n, at + timedelta(hours=n), f"{n + 1}.50", customer=7 * (n % 2), email=f"{'ab'[n % 2]}@example.org"
                )
                for n in range(4)
            ]
            take_in(connection, tmp_path, slug, "orders", orders)
        newer = order(11, DAY + timedelta(days=1, hours=7), "90.00", modified=DAY + timedelta(days=4))
        take_in(connection, tmp_path, slug, "orders", [newer])
        take_in(connection, tmp_path, slug, "refunds", [refund(1, DAY + timedelta(days=2), "1.00", parent=2)])
    compute(connection, ids, DAY - timedelta(days=1), DAY + timedelta(days=6))
    connection.execute(
        "select count(*) from public.aggregate_cohorts(%s, %s, %s)", (ids, DAY.date(), DAY.date() + timedelta(days=5))
    )
    connection.commit()
    return connection


def test_what_is_sound_stays_as_it_is(shop: Connection) -> None:
    ids = {slug: get(shop, slug).id for slug in ("acme", "umbra")}
    before = {slug: state(shop, key) for slug, key in ids.items()}
    found = run(shop, "acme")
    assert differences(found) == {} and not [row.error for row in found if row.error]
    assert {row.table for row in found} == {"orders", "refunds", "customers", "hourly_facts", "daily_facts", "cohort_analysis"}
    assert {row.table: row.rows for row in found}["orders"] == 20
    assert {slug: state(shop, key) for slug, key in ids.items()} == before


def test_what_was_damaged_is_healed(shop: Connection) -> None:
    acme, umbra = get(shop, "acme").id, get(shop, "umbra").id
    before, other = state(shop, acme), state(shop, umbra)
    cohorts = shop.execute(
        "select * from public.cohort_analysis where organization_id = %s order by 2, 3, 4, 5", (acme,)
    ).fetchall()
    for damage in (
        "update public.orders set total = total + 1, gross_sales = gross_sales + 1 where order_id = '1' and organization_id = %s",
        "delete from public.orders where order_id = '3' and organization_id = %s",
        "delete from public.refunds where organization_id = %s",
        "update public.customers set first_order_at = now(), first_order_bucket = now() where organization_id = %s",
        """update public.hourly_facts set value = 0 where "timestamp" < '2026-03-03' and organization_id = %s""",
        "delete from public.daily_facts where date = '2026-03-04' and organization_id = %s",
        "update public.cohort_analysis set revenue = 1 where period_number = 0 and organization_id = %s",
    ):
        assert shop.execute(damage, (acme,)).rowcount
    shop.commit()
    damaged = state(shop, acme)
    checked = differences(run(shop, "acme", check=True))
    assert checked.keys() == {"orders", "refunds", "customers", "hourly_facts", "daily_facts", "cohort_analysis"}
    assert checked["orders"] == (2, 1) and checked["refunds"] == (1, 0)
    assert state(shop, acme) == damaged
    assert differences(run(shop, "acme")) == checked
    assert state(shop, acme) == before and state(shop, umbra) == other
    healed = shop.execute(
        "select * from public.cohort_analysis where organization_id = %s order by 2, 3, 4, 5", (acme,)
    ).fetchall()
    assert [row["revenue"] for row in healed] == [row["revenue"] for row in cohorts]
    assert differences(run(shop, "acme")) == {}


def test_readers_see_the_old_or_the_new(shop: Connection) -> None:
    shop.execute("update public.hourly_facts set value = value + 1000")
    shop.execute("update public.daily_facts set value = value + 1000")
    shop.commit()
    total = """select (select sum(value) from public.hourly_facts) as hours, (select sum(value) from public.daily_facts) as days,
                      (select sum(total) from public.orders) as orders"""
    seen: list[tuple[Any, ...]] = []
    stop = threading.Event()

    def read() -> None:
        with connect(autocommit=True) as reader:
            while not stop.is_set():
                (row,) = reader.execute(total).fetchall()
                seen.append(tuple(row.values()))

    (old,) = shop.execute(total).fetchall()
    shop.commit()
    reading = threading.Thread(target=read)
    reading.start()
    rebuild(shop, [get(shop, slug) for slug in ("acme", "umbra")], DAY.date(), DAY.date() + timedelta(days=5))
    (new,) = shop.execute(total).fetchall()
    shop.commit()
    stop.set()
    reading.join()
    assert len(seen) > 3 and set(seen) <= {tuple(old.values()), tuple(new.values())}
    assert tuple(old.values()) in seen and new["hours"] < old["hours"]


def test_orders_without_their_page_stay_and_hours_that_left_are_refused(shop: Connection) -> None:
    acme = get(shop, "acme").id
    before = state(shop, acme)
    shop.execute("delete from public.raw_data_backup where organization_id = %s", (acme,))
    shop.commit()
    assert differences(run(shop, "acme")) == {} and state(shop, acme) == before
    shop.execute("update private.partition_steps set dropped_to = '2026-03-04' where parent = 'hourly_facts'")
    shop.commit()
    with pytest.raises(RebuildError, match="hours of acme before 2026-03-04 00:00 UTC have left"):
        run(shop, "acme")
    assert state(shop, acme) == before
    assert differences(run(shop, "acme", layers=["orders", "cohorts"])) == {}
    assert differences(run(shop, "acme", start=date(2026, 3, 5), end=date(2026, 3, 7))) == {}


def test_the_command_says_what_differs(shop: Connection) -> None:
    shop.execute("delete from public.daily_facts where date = '2026-03-04'")
    shop.commit()
    days = ("--range", "2026-03-02..2026-03-07", "--from", "raw")
    told = analytics("rebuild", "--all", *days, "--check", "--layer", "daily")
    assert told.returncode == 1 and "nothing was changed" in told.stdout and "umbra" in told.stdout
    assert analytics("rebuild", "--all", *days).returncode == 0
    told = analytics("rebuild", "--all", *days, "--check")
    assert told.returncode == 0 and "every row is what its raw pages make of it" in told.stdout
    for wrong in (("--all", "--organization", "acme", *days), ("--all", "--range", "2026"), ("--all", *days, "--layer", "moon")):
        assert analytics("rebuild", *wrong).returncode == 2
