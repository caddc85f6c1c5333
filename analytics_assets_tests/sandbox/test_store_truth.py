"""What stores hold at a moment, and what their aggregates must be: kept apart from how it is served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_assets.sandbox import shop_orders, shop_world, shopify_records, store_state
from analytics_assets.sandbox.shop_records import order_record
from analytics_assets.sandbox.shop_world import Shop
from analytics_assets.sandbox.shopify_records import Node, amount, ledger, order_node
from analytics_assets.sandbox.store_state import (
    STATE_DAYS,
    Entry,
    Vendor,
    born_within,
    days,
    entries,
    find,
    history,
    local_date,
    registered,
    registration_day,
    registrations,
)
from analytics_assets.sandbox.store_truth import (
    daily_truth_shopify,
    daily_truth_woocommerce,
    hourly_truth_shopify,
    hourly_truth_woocommerce,
    local_hour,
)
from analytics_assets.sandbox.world import SandboxOrganization
from analytics_assets_tests.sandbox.store_server import BERLIN, FIRST_DAY, HOWE, NOW, WORLD

AT = int(NOW.timestamp())
LAST = NOW.date()
#: Organisations, and seconds from before the first day to after the last one.
organizations = st.sampled_from(WORLD.organizations)
moments = st.integers(int(datetime(2026, 10, 11, tzinfo=UTC).timestamp()), AT + 5 * 86400)
vendors: tuple[Vendor, ...] = ("woocommerce", "shopify")
each_vendor = pytest.mark.parametrize("vendor", vendors)


def shop_of(vendor: Vendor, one: SandboxOrganization) -> Shop:
    return one.store if vendor == "woocommerce" else one.shop


def all_entries(vendor: Vendor, one: SandboxOrganization, last: date = LAST) -> list[Entry]:
    return list(born_within(vendor, shop_of(vendor, one), FIRST_DAY, last))


def visible(one: SandboxOrganization, now: int) -> list[Node]:
    """Shopify's orders of the days about a moment."""
    near = local_date(one.shop, now) - timedelta(days=4)
    found = [
        (entry, entry.phase(now)) for entry in born_within("shopify", one.shop, max(FIRST_DAY, near), near + timedelta(days=5))
    ]
    return [order_node(one.shop, entry, phase) for entry, phase in found if phase >= 0]


def money(bag: Node) -> Decimal:
    return Decimal(bag["shopMoney"]["amount"])


def values(record: Any) -> list[str]:
    """Every text in a record, however deep."""
    if isinstance(record, str):
        return [record]
    if isinstance(record, shopify_records.Many):
        return values(list(record.nodes))
    inner = record.values() if isinstance(record, dict) else record if isinstance(record, list) else []
    return [text for one in inner for text in values(one)]


# --- The ledger --------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True)
@given(organizations, moments)
def test_the_sales_of_an_order_always_make_its_current_total(one: SandboxOrganization, now: int) -> None:
    for order in visible(one, now):
        agreements = order["agreements"].nodes
        sales = [sale for agreement in agreements for sale in agreement["sales"].nodes]
        assert sum(money(sale["totalAmount"]) for sale in sales) == money(order["currentTotalPriceSet"])
        assert all(agreement["sales"].nodes for agreement in agreements)
        assert [agreement["happenedAt"] for agreement in agreements] == sorted(one["happenedAt"] for one in agreements)
        if order["cancelledAt"] is None and not order["refunds"]:
            assert sum(money(sale["totalTaxAmount"]) for sale in sales) == money(order["totalTaxSet"])
            assert sum(money(sale["totalDiscountAmountBeforeTaxes"]) for sale in sales) == money(order["totalDiscountsSet"])
            units = sum(sale["quantity"] for sale in sales if sale["lineType"] == "PRODUCT")
            assert units == sum(line["quantity"] for line in order["lineItems"].nodes)
        for sale in sales:
            if sale["actionType"] == "RETURN":
                assert sale["quantity"] < 0 and money(sale["totalAmount"]) <= 0
            elif sale["actionType"] == "ORDER":
                assert sale["quantity"] > 0 and money(sale["totalAmount"]) >= 0
            else:
                assert sale["quantity"] == 0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(organizations, moments, st.integers(0, 10 * 86400))
def test_time_adds_to_a_ledger_and_changes_nothing_in_it(one: SandboxOrganization, now: int, passed: int) -> None:
    for entry in entries("shopify", one.shop, min(max(local_date(one.shop, now), FIRST_DAY), LAST)):
        phases = history("shopify", one.shop, entry).phases
        then, later = (list(ledger(phases[: max(1, entry.phase(at) + 1)])) for at in (now, now + passed))
        assert later[: len(then)] == then


def test_ids_of_agreements_and_sales_are_never_given_twice() -> None:
    met: Counter[str] = Counter()
    for one in WORLD.organizations[:3]:
        ids: Counter[str] = Counter()
        for entry in all_entries("shopify", one):
            order = order_node(one.shop, entry, len(entry.moments) - 1)
            for agreement in order["agreements"].nodes:
                ids[agreement["id"]] += 1
                ids.update(sale["id"] for sale in agreement["sales"].nodes)
        assert set(ids.values()) == {1}
        met.update({"orders": len(ids)})
    assert met["orders"] > 3000


@pytest.mark.parametrize(
    ("value", "text"), [("10", "10.0"), ("12.50", "12.5"), ("12.35", "12.35"), ("-0.00", "0.0"), ("-3", "-3.0")]
)
def test_amounts_have_one_decimal_at_least(value: str, text: str) -> None:
    assert amount(Decimal(value)) == text


# --- The state at a moment ---------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True)
@given(organizations, moments)
def test_no_store_shows_the_future(one: SandboxOrganization, now: int) -> None:
    woo_now = shop_world.gmt_text(now) or ""
    near = local_date(one.store, now) - timedelta(days=3)
    for entry in born_within("woocommerce", one.store, max(FIRST_DAY, near), near + timedelta(days=5)):
        whole, phase = history("woocommerce", one.store, entry), entry.phase(now)
        state = whole.at(now)
        assert (state is None) == (phase < 0)
        if state is None:
            assert entry.created > now or (entry.removed is not None and entry.removed <= now)
            continue
        assert state is whole.phases[phase]
        record = order_record(whole.order, state)
        assert entry.created <= now
        assert all(value is None or value <= woo_now for name, value in record.items() if name.endswith("_gmt"))
        assert all(refund.at <= now for refund in state.refunds)
    shopify_now = shopify_records.instant(now) or ""
    for order in visible(one, now):
        times = [text for text in values(order) if len(text) == 20 and text.endswith("Z") and text[10] == "T"]
        assert times and max(times) <= shopify_now


@each_vendor
def test_an_order_is_found_by_its_id_and_changes_within_its_days(vendor: Vendor) -> None:
    for one in WORLD.organizations[:4]:
        shop = shop_of(vendor, one)
        for entry in all_entries(vendor, one):
            assert find(vendor, shop, FIRST_DAY, entry.id) is entry
            assert list(entry.moments) == sorted(set(entry.moments)) and entry.moments[0] == entry.created
            last = max(entry.moments[-1], entry.removed or 0)
            assert (local_date(shop, last) - entry.day).days <= STATE_DAYS
            assert all(refund_at in entry.moments for _, refund_at in entry.refunds)
        assert find(vendor, shop, FIRST_DAY, all_entries(vendor, one)[0].id - 1) is None
        for nothing in (-5, 0, 1, 10**17):
            assert find(vendor, shop, FIRST_DAY, nothing) is None


def test_customers_register_in_the_order_of_their_ids() -> None:
    for one in WORLD.organizations[:4]:
        for day in days(FIRST_DAY, LAST):
            people = registered("woocommerce", one.store, day, AT)
            ids = [entry.customer_id for entry in people]
            assert ids == sorted(ids) and all(registration_day(one.store, known) == day for known in ids)
            assert len(ids) == registrations("woocommerce", one.store, day, AT)


def test_some_orders_go_and_shopify_lets_go_of_test_orders_alone() -> None:
    fates: Counter[str] = Counter()
    for one in WORLD.organizations:
        for entry in all_entries("woocommerce", one):
            fates["all"] += 1
            fates["trashed"] += entry.statuses[-1] == "trash"
            fates["trashed after a refund"] += entry.statuses[-1] == "trash" and bool(entry.refunds)
            fates["deleted"] += entry.removed is not None
            assert entry.removed is None or entry.removed > entry.moments[-1]
            assert entry.removed is None or entry.joins or not entry.customer_id
        for entry in all_entries("shopify", one):
            fates["test"] += entry.is_test
            fates["test, deleted"] += entry.is_test and entry.removed is not None
            assert entry.is_test or entry.removed is None
            assert "trash" not in entry.statuses and entry.processed <= entry.created
            assert local_date(one.shop, entry.processed) == entry.day
    assert all(0 < fates[kind] < fates["all"] / 30 for kind in fates if kind != "all"), fates
    assert fates["trashed"] > 10 and fates["deleted"] > 5 and fates["test"] > 15


@each_vendor
@settings(max_examples=40, deadline=None, derandomize=True)
@given(one=organizations, low=moments, width=st.integers(1, 3 * 86400))
def test_a_window_of_changes_needs_few_orders_of_the_days_before(
    vendor: Vendor, one: SandboxOrganization, low: int, width: int
) -> None:
    shop, since = shop_of(vendor, one), local_date(shop_of(vendor, one), low)
    last = local_date(shop, low + width)

    def changed(found: Iterable[Entry]) -> list[int]:
        return [entry.id for entry in found if any(low <= moment < low + width for moment in entry.moments)]

    few = list(born_within(vendor, shop, since - timedelta(days=STATE_DAYS), last, since))
    every = list(born_within(vendor, shop, since - timedelta(days=60), last))
    assert changed(few) == changed(every)
    assert len(few) < len(every) / 4


@each_vendor
def test_made_anew_it_is_the_same(vendor: Vendor) -> None:
    shop, day = shop_of(vendor, BERLIN), date(2026, 10, 20)
    first = store_state.born(vendor, shop, day)
    for module in (shop_world, shop_orders, store_state):
        for thing in vars(module).values():
            if hasattr(thing, "cache_clear"):
                thing.cache_clear()
    again = store_state.born(vendor, shop, day)
    assert again == first and again is not first


# --- Truth -------------------------------------------------------------------------------------------------


def summed(truth: dict[tuple[str, datetime], Decimal]) -> dict[str, Decimal]:
    totals: dict[str, Decimal] = {}
    for (metric, _), value in truth.items():
        totals[metric] = totals.get(metric, Decimal(0)) + value
    return totals


@settings(max_examples=25, deadline=None, derandomize=True)
@given(organizations, moments)
def test_the_hours_of_a_shop_make_the_current_totals_of_its_orders(one: SandboxOrganization, now: int) -> None:
    totals = summed(hourly_truth_shopify(WORLD, one, datetime.fromtimestamp(now, UTC)))
    found = [(entry, entry.phase(now)) for entry in all_entries("shopify", one, local_date(one.shop, now)) if not entry.is_test]
    orders = [order_node(one.shop, entry, phase) for entry, phase in found if phase >= 0]
    assert totals.get("total_sales", 0) == sum(money(order["currentTotalPriceSet"]) for order in orders)
    assert totals.get("orders", 0) == len(orders)
    assert totals.get("cancelled_orders", 0) == sum(order["cancelledAt"] is not None for order in orders)
    assert totals.get("customers_new", 0) == len({order["customer"]["id"] for order in orders if order["customer"]})
    check_sums(totals)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(organizations, moments)
def test_the_hours_of_a_store_make_its_orders_less_their_refunds(one: SandboxOrganization, now: int) -> None:
    totals = summed(hourly_truth_woocommerce(WORLD, one, datetime.fromtimestamp(now, UTC)))
    states = [
        state
        for entry in all_entries("woocommerce", one, local_date(one.store, now))
        if (state := history("woocommerce", one.store, entry).at(now))
        and state.status in ("completed", "processing", "on-hold", "refunded")
    ]
    refunds = [refund for state in states for refund in state.refunds]
    left = sum(state.basket.total for state in states) - sum(refund.amount for refund in refunds)
    assert totals.get("total_sales", 0) == left
    assert (totals.get("orders", 0), totals.get("refunds_count", 0)) == (len(states), len(refunds))
    assert totals.get("customers_new", 0) <= len(states)
    check_sums(totals)


def check_sums(totals: dict[str, Decimal]) -> None:
    if totals:
        assert totals["net_sales"] + totals["shipping_revenue"] + totals["taxes"] == totals["total_sales"]
        assert totals["net_sales"] <= totals["gross_sales"] - totals["discounts"]


def test_a_metric_stands_in_an_hour_where_something_of_its_kind_happened() -> None:
    both = {"shipping_revenue", "taxes", "net_sales", "total_sales"}
    sold, back = {"items_sold", "gross_sales", "discounts"}, {"refunds_amount", "refunds_count"}
    seen: set[frozenset[str]] = set()
    for one in WORLD.organizations:
        for truth, is_shopify in (
            (hourly_truth_woocommerce(WORLD, one, NOW), False),
            (hourly_truth_shopify(WORLD, one, NOW), True),
        ):
            hours: dict[datetime, set[str]] = {}
            for metric, hour in truth:
                hours.setdefault(hour, set()).add(metric)
            for hour, metrics in hours.items():
                assert ("orders" in metrics) == ("customers_new" in metrics)
                assert bool(metrics & sold) == (metrics >= sold) and bool(metrics & back) == (metrics >= back)
                assert bool(metrics & both) == (metrics >= both) == bool(metrics & (sold | back))
                if not is_shopify:
                    assert ("orders" in metrics) == (metrics >= sold) and "cancelled_orders" not in metrics
                assert truth.get(("refunds_count", hour), 1) > 0 and truth.get(("orders", hour), 1) > 0
                seen.add(frozenset(metrics))
    assert frozenset(back | both) in seen
    assert frozenset({"orders", "customers_new"}) in seen


def test_days_count_people_once() -> None:
    for one in WORLD.organizations[:3]:
        for hourly, daily in (
            (hourly_truth_woocommerce(WORLD, one, NOW), daily_truth_woocommerce(WORLD, one, NOW)),
            (hourly_truth_shopify(WORLD, one, NOW), daily_truth_shopify(WORLD, one, NOW)),
        ):
            new: Counter[date] = Counter()
            zone = ZoneInfo(one.time_zone)
            for (metric, hour), value in hourly.items():
                if metric == "customers_new":
                    new[hour.astimezone(zone).date()] += int(value)
            for day, count in new.items():
                ordering, returning = daily["customers_ordering", day], daily["customers_returning", day]
                assert ordering == returning + count
            assert {metric for metric, _ in daily} == {"customers_ordering", "customers_returning"}
            assert any(value for (metric, _), value in daily.items() if metric == "customers_returning")


def test_guests_with_the_address_of_a_customer_are_that_customer() -> None:
    """Somewhere a guest's order comes before or after the registration under the same address, however it is typed."""
    merged = 0
    for one in WORLD.organizations:
        people: dict[str, set[int]] = {}
        for entry in all_entries("woocommerce", one):
            whole = history("woocommerce", one.store, entry)
            state = whole.at(AT)
            if state is not None and state.status in ("completed", "processing", "on-hold", "refunded"):
                people.setdefault(whole.order.email.strip().lower(), set()).add(whole.order.customer_id)
        merged += sum(0 in ids and len(ids) > 1 for ids in people.values())
        assert summed(hourly_truth_woocommerce(WORLD, one, NOW))["customers_new"] == len(people)
    assert merged > 5


@pytest.mark.parametrize(
    ("number", "at", "hour"),
    [
        (1, "2026-10-25T00:40:00", "2026-10-25T00:00:00"),
        (1, "2026-10-25T01:40:00", "2026-10-25T01:00:00"),
        (2, "2026-10-20T10:29:59", "2026-10-20T09:30:00"),
        (2, "2026-10-20T10:30:00", "2026-10-20T10:30:00"),
        (7, "2026-10-20T10:20:00", "2026-10-20T10:15:00"),
        # Lord Howe: at 02:00 (+10:30) it is 02:30 (+11); back at 02:00 (+11) it is 01:30 (+10:30).
        (9, "2026-10-03T15:20:00", "2026-10-03T14:30:00"),
        (9, "2026-10-03T15:45:00", "2026-10-03T15:30:00"),
        (9, "2026-10-03T16:05:00", "2026-10-03T16:00:00"),
        (9, "2026-04-04T14:45:00", "2026-04-04T14:00:00"),
        (9, "2026-04-04T15:10:00", "2026-04-04T15:00:00"),
        (9, "2026-04-04T15:40:00", "2026-04-04T15:30:00"),
    ],
)
def test_local_hours_of_zones_with_odd_clocks(number: int, at: str, hour: str) -> None:
    shop = WORLD.organizations[number - 1].store
    begins = local_hour(shop, int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()))
    assert datetime.fromtimestamp(begins, UTC).replace(tzinfo=None).isoformat() == hour


def test_before_the_shop_opens_there_is_nothing() -> None:
    before = datetime(2026, 10, 11, 6, tzinfo=UTC)
    for one in (BERLIN, HOWE):
        assert not hourly_truth_woocommerce(WORLD, one, before) and not daily_truth_woocommerce(WORLD, one, before)
        assert not hourly_truth_shopify(WORLD, one, before) and not daily_truth_shopify(WORLD, one, before)
