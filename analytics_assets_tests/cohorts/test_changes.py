"""What moves members and rows: late orders, cancelled ones, rates that are missing, periods that begin, settings that change."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from analytics_assets_tests.cohorts.model import Cell, Customer, Facts, Order, Visitor, cells
from analytics_assets_tests.cohorts.world import World, compute, set_today, table_cells, versions
from analytics_assets_tests.woocommerce import Connection, ledger

TODAY = date(2026, 9, 16)  # a Wednesday
MONDAY = date(2026, 9, 14)
TEN = Decimal(10)


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def weeks_back(count: int, day: int = 0) -> datetime:
    """Noon of a day of the week so many weeks before this one."""
    return noon(MONDAY - timedelta(weeks=count) + timedelta(days=day))


@pytest.fixture
def shop(connection: Connection, organizations: list[UUID]) -> World:
    """An organisation in UTC, on a Wednesday."""
    set_today(connection, TODAY)
    return World(connection, organizations[0], Facts("UTC"))


def settle(world: World) -> None:
    """Computes the days touched; the rows are then those of the definitions."""
    for day in sorted(world.take_dirty()):
        compute(world.connection, [world.id], day, day)
    today = world.connection.execute("select private.cohort_today('UTC') as today").fetchone()
    assert today is not None
    assert table_cells(world.connection, world.id) == cells(
        world.facts, today["today"], {"EUR": Decimal(1), "USD": Decimal("0.5")}
    )


def sizes(world: World, kind: str = "first_purchase") -> dict[date, int]:
    """Size by weekly cohort."""
    found = table_cells(world.connection, world.id)
    return {cohort: cell.size for (k, period, cohort, number), cell in found.items() if (k, period, number) == (kind, "week", 0)}


def test_an_order_week_by_week(shop: World) -> None:
    """Written out by hand: two customers of one week; one comes back two weeks later and returns half of it."""
    shop.put_order("1", Order("woocommerce", weeks_back(3), TEN, "id:1"))
    shop.put_order("2", Order("woocommerce", weeks_back(3, 6), TEN, "id:2"))
    shop.put_order("3", Order("woocommerce", weeks_back(1), TEN, "id:1"))
    shop.put_order("4", Order("woocommerce", weeks_back(1), TEN, None))
    shop.put_refund("5", "3", weeks_back(0), Decimal(5))
    shop.put_refund("6", None, weeks_back(0), Decimal(5))
    settle(shop)
    found = table_cells(shop.connection, shop.id)
    cohort = MONDAY - timedelta(weeks=3)
    assert [found["first_purchase", "week", cohort, k] for k in range(4)] == [
        Cell(2, 2, Decimal(1), Decimal(20), True),
        Cell(2, 0, Decimal(0), Decimal(0), True),
        Cell(2, 1, Decimal("0.5000"), TEN, True),
        Cell(2, 0, Decimal(0), Decimal(-5), False),
    ]
    assert ("first_purchase", "week", cohort, 4) not in found


def test_a_late_older_order_moves_the_customer(shop: World) -> None:
    """Both cohorts are rewritten; the one that is left empty has no rows any more."""
    shop.put_order("1", Order("woocommerce", weeks_back(1), TEN, "id:1"))
    shop.put_order("2", Order("woocommerce", weeks_back(2), TEN, "id:2"))
    settle(shop)
    shop.put_order("3", Order("woocommerce", weeks_back(2, 3), TEN, "id:1"))
    settle(shop)
    assert sizes(shop) == {MONDAY - timedelta(weeks=2): 2}
    shop.put_order("3", Order("woocommerce", weeks_back(2, 3), TEN, "id:1", counted=False))
    settle(shop)
    assert sizes(shop) == {MONDAY - timedelta(weeks=2): 1, MONDAY - timedelta(weeks=1): 1}


def test_a_cancelled_order_of_shopify_is_none(shop: World) -> None:
    """Its money goes with it: a member's revenue is that of their orders."""
    shop.put_order("1", Order("shopify", weeks_back(3), TEN, "id:1"))
    shop.put_sale("s1", "1", weeks_back(3), TEN)
    shop.put_order("2", Order("shopify", weeks_back(1), TEN, "id:1"))
    shop.put_sale("s2", "2", weeks_back(1) - timedelta(days=8), TEN)
    settle(shop)
    assert sizes(shop) == {MONDAY - timedelta(weeks=3): 1}
    shop.put_order("1", Order("shopify", weeks_back(3), TEN, "id:1", cancelled=weeks_back(0)))
    settle(shop)
    assert sizes(shop) == {MONDAY - timedelta(weeks=1): 1}
    assert table_cells(shop.connection, shop.id)["first_purchase", "week", MONDAY - timedelta(weeks=1), 0].revenue == TEN


def test_a_sign_up_is_one_persons(shop: World) -> None:
    """A customer and a user with the same e-mail address, or the same id, are one; the earlier date counts, and the orders
    of the customer are the user's revenue."""
    shop.put_customer("woocommerce", "id:7", Customer(weeks_back(1), "7", "a@x"))
    shop.put_order("1", Order("woocommerce", weeks_back(1, 1), TEN, "id:7"))
    shop.put_visitor("u", Visitor([weeks_back(3), weeks_back(1)], "u", weeks_back(2), None))
    settle(shop)
    assert sizes(shop, "signup") == {MONDAY - timedelta(weeks=1): 1, MONDAY - timedelta(weeks=2): 1}
    shop.put_visitor("u", Visitor([weeks_back(3), weeks_back(1)], "u", weeks_back(2), "a@x"))
    settle(shop)
    assert sizes(shop, "signup") == {MONDAY - timedelta(weeks=2): 1}
    found = table_cells(shop.connection, shop.id)
    assert found["signup", "week", MONDAY - timedelta(weeks=2), 1] == Cell(1, 1, Decimal(1), TEN, True)
    assert found["first_visit", "week", MONDAY - timedelta(weeks=3), 2].revenue == TEN
    shop.put_visitor("7", Visitor([weeks_back(0)], "7", None, None))
    settle(shop)
    assert sizes(shop, "signup") == {MONDAY - timedelta(weeks=1): 1, MONDAY - timedelta(weeks=2): 1}


def test_an_address_learned_later_brings_the_orders_of_other_weeks(shop: World) -> None:
    """Only the day of registration is marked; the user's cohort lies in another week, and the order in a third."""
    shop.put_customer("woocommerce", "id:7", Customer(weeks_back(5), "7", None))
    shop.put_order("1", Order("woocommerce", weeks_back(2), TEN, "id:7"))
    shop.put_visitor("u", Visitor([weeks_back(3)], "u", None, "a@x"))
    settle(shop)
    assert table_cells(shop.connection, shop.id)["first_visit", "week", MONDAY - timedelta(weeks=3), 1].revenue == 0
    shop.put_customer("woocommerce", "id:7", Customer(weeks_back(5), "7", "a@x"))
    assert shop.dirty == {weeks_back(5).date()}
    settle(shop)
    assert table_cells(shop.connection, shop.id)["first_visit", "week", MONDAY - timedelta(weeks=3), 1].revenue == TEN


def test_a_period_that_begins_gives_each_cohort_a_row(shop: World) -> None:
    """Also after weeks in which nothing was computed; the periods that ended are complete."""
    shop.put_order("1", Order("woocommerce", weeks_back(2), TEN, "id:1"))
    shop.put_visitor("u", Visitor([weeks_back(1)], "u"))
    settle(shop)
    for today in (MONDAY + timedelta(days=6), MONDAY + timedelta(days=7), MONDAY + timedelta(days=40)):
        set_today(shop.connection, today)
        written = compute(shop.connection, [shop.id], today - timedelta(days=1), today)
        assert table_cells(shop.connection, shop.id) == cells(shop.facts, today), today
        assert (sum(row["rows_written"] for row in written) > 0) == (today.weekday() != 6)


def test_an_order_of_tomorrow_waits_for_its_week(shop: World) -> None:
    """Stores date orders ahead of the organisation's clock."""
    set_today(shop.connection, MONDAY - timedelta(days=1))
    shop.put_order("1", Order("woocommerce", noon(MONDAY), TEN, "id:1"))
    settle(shop)
    assert sizes(shop) == {}
    set_today(shop.connection, MONDAY)
    compute(shop.connection, [shop.id], MONDAY - timedelta(days=1), MONDAY)
    assert sizes(shop) == {MONDAY: 1}


def test_rows_end_after_104_weeks_and_36_months(shop: World) -> None:
    """Four years of one customer."""
    for number, back in enumerate((210, 106, 105, 40)):
        shop.put_order(str(number), Order("woocommerce", weeks_back(back), TEN, "id:1"))
    settle(shop)
    found = table_cells(shop.connection, shop.id)
    assert max(n for _, period, _, n in found if period == "week") == 104
    assert max(n for _, period, _, n in found if period == "month") == 36
    assert found["first_purchase", "week", MONDAY - timedelta(weeks=210), 104].active == 1


def test_a_missing_rate_fails_its_day_and_keeps_the_rows(shop: World, organizations: list[UUID]) -> None:
    """Of that organisation alone; the other days go in. With the rate the day goes in as well."""
    other = World(shop.connection, organizations[1], Facts("UTC"))
    for world in (shop, other):
        world.put_order("1", Order("woocommerce", weeks_back(2), TEN, "id:1"))
        settle(world)
    before = table_cells(shop.connection, shop.id)
    shop.put_order("1", Order("woocommerce", weeks_back(2), TEN, "id:1", currency="USD"))
    other.put_order("2", Order("woocommerce", weeks_back(2), TEN, "id:2"))
    shop.take_dirty()
    outcome = compute(shop.connection, organizations, weeks_back(2).date(), weeks_back(2).date())
    (failed,) = [row for row in outcome if row["failed_days"]]
    assert failed["organization_id"] == shop.id and "analytics rates add USD EUR" in failed["error"]
    assert "order 1 is in USD, the organisation reports in EUR" in failed["error"]
    assert table_cells(shop.connection, shop.id) == before
    assert sizes(other) == {MONDAY - timedelta(weeks=2): 2}
    assert {status for status, _ in ledger(shop.connection, "acme", "cohort_analysis").values()} == {"failed"}
    shop.put_order("3", Order("woocommerce", weeks_back(1), TEN, "id:3"))
    compute(shop.connection, [shop.id], weeks_back(1).date(), weeks_back(1).date())
    assert sizes(shop) == {MONDAY - timedelta(weeks=2): 1, MONDAY - timedelta(weeks=1): 1}

    shop.connection.execute(
        "insert into public.exchange_rates (from_currency, to_currency, rate_date, rate) values ('USD', 'EUR', %s, 0.5)",
        (weeks_back(2).date(),),
    )
    shop.dirty.add(weeks_back(2).date())
    settle(shop)
    assert {status for status, _ in ledger(shop.connection, "acme", "cohort_analysis").values()} == {"done"}


def test_the_first_store_order_ends_tracked_purchases(shop: World) -> None:
    """Tracked purchases stand in where an organisation has no store at all."""
    shop.put_visitor("u", Visitor([weeks_back(3), weeks_back(2)], "u"))
    shop.put_purchase("e1", "u", weeks_back(3), "Order Completed", TEN)
    shop.put_purchase("e2", "u", weeks_back(2), "Order Refunded", Decimal(4))
    settle(shop)
    assert sizes(shop) == {MONDAY - timedelta(weeks=3): 1}
    shop.put_order("1", Order("woocommerce", weeks_back(1), TEN, "id:1"))
    settle(shop)
    assert sizes(shop) == {MONDAY - timedelta(weeks=1): 1}


def test_another_time_zone_or_currency_counts_all_anew(shop: World) -> None:
    """Whatever day is computed next; in a currency without rates the rows stay as they are."""
    sunday = weeks_back(2, 6).replace(hour=23)
    shop.put_order("1", Order("woocommerce", sunday, TEN, "id:1"))
    settle(shop)
    shop.facts.zone = "Asia/Tokyo"
    shop.connection.execute("update public.organizations set time_zone = 'Asia/Tokyo'")
    compute(shop.connection, [shop.id], TODAY, TODAY)
    assert sizes(shop) == {MONDAY - timedelta(weeks=1): 1}
    before = table_cells(shop.connection, shop.id)
    shop.connection.execute("update public.organizations set currency = 'USD'")
    (outcome,) = compute(shop.connection, [shop.id], TODAY, TODAY)
    assert outcome["failed_days"] == 1 and "analytics rates add EUR USD" in outcome["error"]
    assert table_cells(shop.connection, shop.id) == before
    shop.connection.execute("insert into public.exchange_rates values ('EUR', 'USD', %s, 2)", (sunday.date(),))
    compute(shop.connection, [shop.id], TODAY, TODAY)
    assert table_cells(shop.connection, shop.id)["first_purchase", "week", MONDAY - timedelta(weeks=1), 0].revenue == 20


def test_a_damaged_row_is_mended_by_its_day(shop: World) -> None:
    """The week's and month's rows are counted anew at each computation."""
    shop.put_order("1", Order("woocommerce", weeks_back(2), TEN, "id:1"))
    shop.put_order("2", Order("woocommerce", weeks_back(1), TEN, "id:1"))
    settle(shop)
    before = table_cells(shop.connection, shop.id)
    shop.connection.execute("update public.cohort_analysis set active_users = 0, revenue = 99 where period_number = 1")
    compute(shop.connection, [shop.id], weeks_back(2).date(), weeks_back(1).date())
    assert table_cells(shop.connection, shop.id) == before


def test_visits_outlive_their_source(shop: World) -> None:
    """Events and visitors' days leave by retention; a day computed again keeps what cohorts have of it."""
    shop.put_visitor("u", Visitor([weeks_back(20), weeks_back(10), weeks_back(0)], "u"))
    shop.put_purchase("e1", "u", weeks_back(20), "Order Completed", TEN)
    shop.put_purchase("e2", "u", weeks_back(0), "Order Completed", TEN)
    settle(shop)
    before = table_cells(shop.connection, shop.id)
    for table in ("visitor_days", "event_tracking"):
        old = shop.connection.execute("select child from private.list_partitions(%s) order by 1 limit 1", (table,)).fetchone()
        assert old is not None
        shop.connection.execute("select private.drop_partition(%s)", (old["child"],))
    compute(shop.connection, [shop.id], weeks_back(20).date(), TODAY)
    assert table_cells(shop.connection, shop.id) == before


def test_pooled_retention_counts_complete_cells_by_size(shop: World) -> None:
    """Two cohorts of three and one; the running week is left out."""
    for number, (customer, back) in enumerate([(1, 2), (2, 2), (3, 2), (4, 1), (1, 1), (4, 0), (2, 0)]):
        shop.put_order(str(number), Order("woocommerce", weeks_back(back), TEN, f"id:{customer}"))
    settle(shop)
    rows = shop.connection.execute(
        "select * from public.cohort_retention where period_type = 'week' and cohort_type = 'first_purchase' order by period_number"
    ).fetchall()
    assert [(r["period_number"], r["cohorts"], r["cohort_size"], r["active_users"], r["retention_rate"]) for r in rows] == [
        (0, 2, 4, 4, Decimal(1)),
        (1, 1, 3, 1, Decimal("0.3333")),
    ]


def test_a_rerun_writes_nothing(shop: World) -> None:
    """Not even to the ledger."""
    shop.put_order("1", Order("woocommerce", weeks_back(2), TEN, "id:1"))
    settle(shop)
    before = versions(shop.connection)
    compute(shop.connection, [shop.id], weeks_back(2).date(), weeks_back(2).date())
    assert versions(shop.connection) == before
