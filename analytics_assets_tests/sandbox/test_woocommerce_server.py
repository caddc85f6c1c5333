"""WooCommerce's lists, read by the official client and over plain HTTP."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from analytics_assets.sandbox.shop_world import gmt_text
from analytics_assets.sandbox.store_truth import daily_truth_woocommerce, hourly_truth_woocommerce
from analytics_assets.sandbox.world import SandboxOrganization
from analytics_assets_tests.sandbox.store_server import (
    BERLIN,
    HOWE,
    KOLKATA,
    NOW,
    OLDER,
    STRIPPED,
    WORLD,
)
from analytics_assets_tests.sandbox.woocommerce_reader import Record, Served, histories, sdk_every, serve

UNCOUNTED = {"pending", "failed", "cancelled", "trash"}
served = pytest.fixture(serve, scope="module")
#: For tests that set clock or faults.
faulty = pytest.fixture(serve)


# --- A second client sees the truth ------------------------------------------------------------------------


@pytest.mark.parametrize("one", [BERLIN, KOLKATA, HOWE, STRIPPED], ids=lambda one: one.slug)
def test_what_the_official_client_reads_adds_up_to_the_truth(served: Served, one: SandboxOrganization) -> None:
    orders = [order for order in sdk_every(served, one, "orders", orderby="id", order="asc") if order["status"] not in UNCOUNTED]
    refunds = sdk_every(served, one, "refunds", orderby="id", order="asc")
    counted = {order["id"]: order for order in orders}
    refunds = [refund for refund in refunds if refund["parent_id"] in counted]
    registered = {customer["email"]: customer["id"] for customer in sdk_every(served, one, "customers", orderby="id")}
    everything = sdk_every(served, one, "orders", orderby="id") + sdk_every(served, one, "orders", status="trash")
    for order in everything:
        if order["customer_id"]:
            registered[order["billing"]["email"]] = order["customer_id"]

    def customer(order: Record) -> Any:
        email = order["billing"]["email"].strip().lower()
        return order["customer_id"] or registered.get(email, email)

    def added(lines: list[Record], name: str) -> Decimal:
        return sum((Decimal(line[name]) for line in lines), Decimal(0))

    totals: Counter[str] = Counter()
    for (metric, _), value in hourly_truth_woocommerce(WORLD, one, NOW).items():
        totals[metric] += value  # type: ignore[assignment]
    assert totals["orders"] == len(orders) > 150
    assert totals["items_sold"] == sum(line["quantity"] for order in orders for line in order["line_items"])
    assert totals["discounts"] == added(orders, "discount_total")
    assert totals["gross_sales"] == sum(
        added(order["line_items"], "subtotal") + added(order["fee_lines"], "total") for order in orders
    )
    assert totals["refunds_count"] == len(refunds) > 0
    assert totals["refunds_amount"] == added(refunds, "amount")
    assert totals["total_sales"] == added(orders, "total") - added(refunds, "amount")
    assert totals["net_sales"] + totals["shipping_revenue"] + totals["taxes"] == totals["total_sales"]
    back = sum(added(refund["shipping_lines"], "total") for refund in refunds)
    assert totals["shipping_revenue"] == added(orders, "shipping_total") + back
    assert totals["customers_new"] == len({customer(order) for order in orders})
    by_day: dict[Any, set[Any]] = {}
    for order in orders:
        by_day.setdefault(datetime.fromisoformat(order["date_paid"] or order["date_created"]).date(), set()).add(customer(order))
    daily = daily_truth_woocommerce(WORLD, one, NOW)
    assert {day: len(people) for day, people in by_day.items()} == {
        day: value for (metric, day), value in daily.items() if metric == "customers_ordering"
    }


def test_both_ways_of_paging_give_each_order_once(served: Served) -> None:
    ids = [order["id"] for order in served.every(BERLIN, "orders", orderby="id", order="asc")]
    assert ids == sorted(set(ids))
    newest = [order["id"] for order in served.every(BERLIN, "orders", orderby="modified", order="desc")]
    assert set(newest) == set(ids)
    first = served.get(BERLIN, "orders", per_page=20)
    assert len(first.json()) == 20
    assert [order["date_created_gmt"] for order in first.json()] == sorted(
        (order["date_created_gmt"] for order in first.json()), reverse=True
    )
    assert first.headers["Link"].endswith('page=2>; rel="next"')
    assert "consumer_" not in first.headers["Link"]
    beyond = served.get(BERLIN, "orders", page=999)
    assert (beyond.status_code, beyond.json()) == (200, [])
    assert beyond.headers["X-WP-Total"] == first.headers["X-WP-Total"]


def test_what_is_served_is_what_is_now(served: Served) -> None:
    now = gmt_text(int(NOW.timestamp())) or ""
    for path in ("orders", "refunds", "customers"):
        for record in served.every(BERLIN, path):
            assert all(value is None or value <= now for name, value in record.items() if name.endswith("_gmt"))


# --- Windows -----------------------------------------------------------------------------------------------


def test_a_window_of_modifications_leaves_out_both_its_ends(served: Served) -> None:
    orders = served.every(BERLIN, "orders", orderby="id")
    some = sorted(order["date_modified_gmt"] for order in orders)
    low, high = some[20], some[90]
    found = served.every(BERLIN, "orders", modified_after=low, modified_before=f"{high}Z", dates_are_gmt="true")
    assert {order["id"] for order in found} == {order["id"] for order in orders if low < order["date_modified_gmt"] < high}
    assert len(found) > 50


def test_without_dates_are_gmt_the_stores_clock_counts(served: Served) -> None:
    orders = served.every(KOLKATA, "orders")
    low, high = "2026-10-20T12:00:00Z", "2026-10-21T12:00:00"
    found = served.every(KOLKATA, "orders", after=low, before=high)
    assert {order["id"] for order in found} == {o["id"] for o in orders if low < o["date_created"] + "Z" < high + "Z"}
    assert found
    gmt = served.every(KOLKATA, "orders", after=low, before=high, dates_are_gmt=1)
    assert {order["id"] for order in gmt} == {o["id"] for o in orders if low < o["date_created_gmt"] + "Z" < high + "Z"}
    assert {order["id"] for order in gmt} != {order["id"] for order in found}


def test_fields_are_chosen_by_name_and_path(served: Served) -> None:
    rows = served.get(BERLIN, "orders", _fields="id,status,billing.email", include="1,2").json()
    assert rows == []
    rows = served.get(BERLIN, "orders", _fields="id,status,billing.email", per_page=3, dp=4).json()
    assert [set(row) for row in rows] == [{"id", "status", "billing"}] * 3
    assert set(rows[0]["billing"]) == {"email"}
    some = served.get(BERLIN, "orders", include=",".join(str(row["id"]) for row in rows), orderby="id").json()
    assert {order["id"] for order in some} == {row["id"] for row in rows}


def test_statuses_can_be_listed(served: Served) -> None:
    totals = {row["slug"]: row["total"] for row in served.get(BERLIN, "reports/orders/totals").json()}
    counts = Counter(order["status"] for order in served.every(BERLIN, "orders"))
    assert totals == {slug: counts.get(slug, 0) for slug in totals}
    found = served.every(BERLIN, "orders", status="completed,refunded")
    assert Counter(order["status"] for order in found) == {slug: counts[slug] for slug in ("completed", "refunded")}


# --- Orders that go ----------------------------------------------------------------------------------------


def test_a_trashed_order_is_in_the_trash_alone(served: Served) -> None:
    seen = 0
    for one in WORLD.organizations:
        trashed = {h.order.id: h for h in histories(one) if (v := h.at(int(NOW.timestamp()))) and v.status == "trash"}
        listed = {order["id"]: order for order in served.every(one, "orders", status="trash")}
        assert set(listed) == set(trashed)
        for order_id, history in trashed.items():
            seen += 1
            assert listed[order_id]["date_modified_gmt"] == gmt_text(history.phases[-1].modified)
            assert served.get(one, f"orders/{order_id}").json()["status"] == "trash"
        assert not set(trashed) & {order["id"] for order in served.every(one, "orders", _fields="id")}
    assert seen > 5


def test_an_order_deleted_for_good_was_never_there(served: Served) -> None:
    seen = 0
    for one in WORLD.organizations:
        gone = [h for h in histories(one) if h.removed is not None and h.removed <= NOW.timestamp()]
        for history in gone:
            seen += 1
            answer = served.get(one, f"orders/{history.order.id}")
            assert (answer.status_code, answer.json()["code"]) == (404, "woocommerce_rest_shop_order_invalid_id")
            assert served.get(one, "orders", include=history.order.id, status="any,trash").json() == []
        assert not {h.order.id for h in gone} & {order["id"] for order in served.every(one, "orders", _fields="id")}
    assert seen > 5


# --- Refunds, customers, the store -------------------------------------------------------------------------


def test_refunds_of_an_order_do_not_say_whose_they_are(served: Served) -> None:
    refunds = served.every(BERLIN, "refunds", after="2026-10-14T00:00:00", dates_are_gmt="true")
    assert refunds
    for refund in refunds[:5]:
        own = served.get(BERLIN, f"orders/{refund['parent_id']}/refunds").json()
        assert {name: value for name, value in refund.items() if name != "parent_id"} in own
        assert not any("parent_id" in one for one in own)
        assert refund["id"] in [one["id"] for one in served.get(BERLIN, f"orders/{refund['parent_id']}").json()["refunds"]]


def test_an_older_store_knows_no_list_of_refunds(served: Served) -> None:
    answer = served.get(OLDER, "refunds")
    assert answer.status_code == 404
    assert answer.json() == {
        "code": "rest_no_route",
        "message": "No route was found matching the URL and request method.",
        "data": {"status": 404},
    }
    assert served.get(OLDER, "orders", orderby="modified").json()["code"] == "rest_invalid_param"
    refunded = [order for order in served.every(OLDER, "orders") if order["refunds"]]
    own = served.get(OLDER, f"orders/{refunded[0]['id']}/refunds").json()
    assert [one["id"] for one in own] == [one["id"] for one in reversed(refunded[0]["refunds"])]


def test_customers_are_paged_in_the_order_of_their_registration(served: Served) -> None:
    everyone = served.every(BERLIN, "customers", orderby="registered_date", order="asc", role="all")
    assert [one["id"] for one in everyone] == sorted({one["id"] for one in everyone})
    registered = [one["date_created_gmt"] for one in everyone]
    assert registered == sorted(registered)
    assert {one["id"] for one in everyone} == {
        h.order.customer_id for h in histories(BERLIN) if h.order.joins and h.order.created <= NOW.timestamp()
    }
    backwards = served.every(BERLIN, "customers", orderby="id", order="desc")
    assert backwards == everyone[::-1]
    part = served.get(BERLIN, "customers", orderby="id", order="desc", per_page=7, page=2).json()
    assert part == backwards[7:14]
    assert served.every(BERLIN, "customers", include=f"{everyone[3]['id']},{everyone[9]['id']}") and len(everyone) > 50
    assert served.get(BERLIN, f"customers/{everyone[0]['id']}").json() == everyone[0]
    assert served.get(BERLIN, "customers/999999999").status_code == 404
    assert served.get(BERLIN, "customers", role="editor").json() == []


def test_a_customer_pays_when_the_order_is_paid(faulty: Served) -> None:
    history = next(h for h in histories(BERLIN) if h.order.joins and h.order.versions[0].paid)
    faulty.sandbox.clock.set(datetime.fromtimestamp(history.order.created, UTC))
    customer = faulty.get(BERLIN, f"customers/{history.order.customer_id}").json()
    assert (customer["is_paying_customer"], customer["date_modified_gmt"]) == (False, gmt_text(history.order.created))
    order = faulty.get(BERLIN, f"orders/{history.order.id}").json()
    assert (order["status"], order["date_paid_gmt"]) == ("pending", None)
    faulty.sandbox.clock.set(datetime.fromtimestamp(history.order.created - 1, UTC))
    assert faulty.get(BERLIN, f"orders/{history.order.id}").status_code == 404
    assert faulty.get(BERLIN, f"customers/{history.order.customer_id}").status_code == 404


@pytest.mark.parametrize(("one", "offset"), [(BERLIN, 1), (KOLKATA, 5.5), (WORLD.organizations[6], 5.75)])
def test_the_index_tells_the_zone_to_everyone(served: Served, one: SandboxOrganization, offset: float) -> None:
    for end in ("", "/"):
        index = served.http.get(f"{served.base}/stores/{one.slug}/wp-json{end}").json()
        assert (index["timezone_string"], index["gmt_offset"]) == (one.time_zone, offset)
        assert "wc/v3" in index["namespaces"]
    assert served.get(one, "settings/general/woocommerce_currency").json()["value"] == one.currency
