"""The WooCommerce connector: windows that are read page by page, that move, and that are too much for the store."""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response

from analytics_assets.sandbox.app import connection_of, running, vendor_environment
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.store_state import born_within, history
from analytics_assets.sandbox.world import Clock, make_world
from analytics_assets.sources.connector import RawPage, Task
from analytics_assets.sources.failures import (
    RetryLater,
    WindowMoved,
)
from analytics_assets.sources.vendors import Vendors
from analytics_assets.sources.woocommerce import WooCommerce
from analytics_assets.sources.woocommerce_store import Place
from analytics_assets_tests.sources.vendor import Asked, Vendor, gathered, serving, source, with_connector
from analytics_assets_tests.sources.woo_store import (
    END,
    KEY,
    SECRET,
    START,
    Store,
    ids,
    order,
    read,
    some_orders,
    text,
)


@pytest.fixture(scope="module")
def server() -> Iterator[Vendor]:
    with serving() as vendor:
        yield vendor


@pytest.fixture
def vendor(server: Vendor) -> Vendor:
    server.reset()
    return server


# --- Orders ----------------------------------------------------------------------------------------------------------


def test_a_window_is_read_page_by_page(vendor: Vendor) -> None:
    vendor.answer = Store(some_orders(5))
    pages = read(vendor, size=2)
    assert ids(pages) == [1, 2, 3, 4, 5]
    assert [page.number for page in pages] == [1, 2, 3]
    assert [page.position for page in pages] == [
        {"page": 2, "per_page": 2, "total": 5, "number": 2}, {"page": 3, "per_page": 2, "total": 5, "number": 3}, None,
    ]  # fmt: skip
    first = pages[0]
    assert (first.stream, first.records, first.keys, first.broken) == ("orders", 2, ("1", "2"), "")
    assert (first.time_zone, first.currency, first.api_version) == ("Europe/Berlin", "EUR", "wc/v3")
    assert first.instants == (datetime(2026, 9, 30, 23, 0, tzinfo=UTC),)
    assert first.body == json.dumps(vendor.answer.orders[:2]).encode()
    assert (first.window_start, first.window_end) == (None, None)


def test_what_is_asked_for(vendor: Vendor) -> None:
    vendor.answer = Store(some_orders(1))
    read(vendor)
    (asked,) = vendor.asked
    assert asked.path == "/wp-json/wc/v3/orders"
    assert asked.params == {
        "status": "any", "dates_are_gmt": "true", "orderby": "id", "order": "asc", "per_page": "100", "page": "1", "dp": "4",
        "modified_after": "2026-09-30T23:59:59", "modified_before": "2026-10-03T00:00:00",
    }  # fmt: skip
    assert asked.headers["authorization"] == "Basic " + base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()


def test_the_second_between_two_windows_is_in_one_of_them(vendor: Vendor) -> None:
    """The store's bounds exclude both ends: an order of the second in which one window ends was in neither."""
    vendor.answer = Store(
        [order(1, START - timedelta(seconds=1)), order(2, START), order(3, END - timedelta(seconds=1)), order(4, END)]
    )
    assert ids(read(vendor)) == [2, 3]
    assert ids(read(vendor, Task("orders", END, END + timedelta(days=1)))) == [4]


def test_a_window_without_orders_is_one_page(vendor: Vendor) -> None:
    vendor.answer = Store()
    (page,) = read(vendor)
    assert (page.body, page.records, page.position, page.instants, page.broken) == (b"[]", 0, None, (), "")


def test_a_window_that_was_broken_off_goes_on(vendor: Vendor) -> None:
    vendor.answer = Store(some_orders(7))
    first = read(vendor, size=3, most=1)
    rest = read(vendor, position=json.loads(json.dumps(first[0].position)))
    assert ids(first + rest) == [1, 2, 3, 4, 5, 6, 7]
    assert [page.number for page in rest] == [2, 3]


def test_a_window_moves_when_an_order_leaves_it(vendor: Vendor) -> None:
    store = Store(some_orders(5))

    def edited(asked: Asked) -> Response:
        if asked.params["page"] == "2":
            store.orders[0]["date_modified_gmt"] = text(END + timedelta(hours=1))
        return store(asked)

    vendor.answer = edited
    with pytest.raises(WindowMoved, match="5 records at first, 4 now"):
        read(vendor, size=2)
    assert ids(read(vendor, size=2)) == [2, 3, 4, 5]


def test_a_window_that_moved_while_it_rested_is_told_on_resuming(vendor: Vendor) -> None:
    store = vendor.answer = Store(some_orders(5))
    (page,) = read(vendor, size=2, most=1)
    del store.orders[0]
    with pytest.raises(WindowMoved):
        read(vendor, position=page.position)


def test_a_store_without_totals_is_read_until_a_page_is_short(vendor: Vendor) -> None:
    store = Store(some_orders(4))

    def without(asked: Asked) -> Response:
        response = store(asked)
        del response.headers["x-wp-total"]
        return response

    vendor.answer = without
    assert ids(read(vendor, size=2)) == [1, 2, 3, 4]


def test_orders_in_the_trash_are_orders(vendor: Vendor) -> None:
    vendor.answer = Store([*some_orders(3), order(9, START + timedelta(hours=1), status="trash")])
    (page,) = read(vendor, Task("trashed_orders", START, END))
    assert (page.stream, page.keys) == ("orders", ("9",))
    assert json.loads(page.body)[0]["status"] == "trash"
    assert ids(read(vendor)) == [1, 2, 3]


def test_amounts_are_asked_for_unrounded_and_kept_as_they_are(vendor: Vendor) -> None:
    vendor.answer = Store([order(1, START, total="10.1250"), order(2, START, total=7.5)])
    (page,) = read(vendor)
    assert vendor.asked[0].params["dp"] == "4"
    assert [record["total"] for record in json.loads(page.body)] == ["10.1250", 7.5]


# --- Pages that the store cannot make --------------------------------------------------------------------------------


def failing_above(store: Store, most: int, status: int = 500, from_page: int = 1) -> Any:
    """The store fails at pages of more than so many records."""

    def answer(asked: Asked) -> Response:
        size, page = int(asked.params["per_page"]), int(asked.params["page"])
        return Response("<h1>Fatal error</h1>", status) if size > most and page >= from_page else store(asked)

    return answer


def test_a_store_that_fails_at_large_pages_is_asked_for_smaller_ones(vendor: Vendor) -> None:
    vendor.answer = failing_above(Store(some_orders(130)), 25, from_page=2)
    pages = read(vendor)
    assert ids(pages) == list(range(1, 131))
    assert [page.records for page in pages] == [100, 25, 5]
    # The third hundred begins where the second page of a hundred would: at the fifth page of 25.
    assert pages[1].position == {"page": 6, "per_page": 25, "total": 130, "number": 3}
    assert [page.number for page in pages] == [1, 2, 3]


def test_a_store_that_is_silent_for_long_over_large_pages_is_asked_for_smaller_ones(vendor: Vendor) -> None:
    vendor.answer = Store(some_orders(60))
    vendor.wait = lambda asked: 0.6 if int(asked.params["per_page"]) > 50 else 0.0
    assert [page.records for page in read(vendor, timeout=0.2)] == [50, 10]


def test_a_store_that_fails_at_every_size_is_left_alone(vendor: Vendor) -> None:
    vendor.answer = failing_above(Store(), 0, 502)
    with pytest.raises(RetryLater, match="HTTP 502") as info:
        read(vendor)
    assert info.value.status == 502
    assert [asked.params["per_page"] for asked in vendor.asked] == ["100", "50", "25", "12"]


def test_a_store_that_says_when_to_come_back_is_not_asked_for_less(vendor: Vendor) -> None:
    vendor.answer = lambda _: Response("Briefly unavailable for scheduled maintenance.", 503, {"retry-after": "600"})
    with pytest.raises(RetryLater) as info:
        read(vendor)
    assert len(vendor.asked) == 1
    assert info.value.retry_at is not None
    assert timedelta(seconds=590) < info.value.retry_at - datetime.now(UTC) <= timedelta(seconds=600)


@given(st.integers(1, 500), st.integers(1, 100))
def test_a_smaller_page_begins_at_the_same_record(page: int, size: int) -> None:
    place: Place | None = Place(page=page, per_page=size, number=3, total=9)
    smaller = place.smaller() if place else None
    while place is not None and smaller is not None:
        assert 10 <= smaller.per_page == place.per_page // 2
        assert (smaller.page - 1) * smaller.per_page == (place.page - 1) * place.per_page == (page - 1) * size
        assert (smaller.number, smaller.total) == (3, 9)
        place, smaller = smaller, smaller.smaller()


# --- The sandbox -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 6, 10])
def test_a_store_of_the_sandbox_is_read_whole(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is as most are, the sixth is an older one, and the host of the tenth drops the Authorization header."""
    world, now = make_world(number, date(2026, 9, 1)), datetime(2026, 9, 22, 12, tzinfo=UTC)
    one, start = world.organizations[-1], datetime(2026, 8, 30, tzinfo=UTC)
    with running(Sandbox(world, Clock(now))) as base:
        for variable, value in vendor_environment(base).items():
            monkeypatch.setenv(variable, value)
        vendors = Vendors.load()
        settings, secrets = connection_of(one, "woocommerce", base)
        connected = source("woocommerce", WooCommerce.check_settings(settings, vendors), secrets)

        async def everything(connector: WooCommerce) -> dict[str, list[RawPage]]:
            assert (await connector.account()).time_zone == one.time_zone
            tasks = [Task(policy.stream, start, now, "reread") for policy in connector.policies]
            return {task.stream: await gathered(connector.pages(task)) for task in tasks}

        pages = with_connector(WooCommerce, connected, vendors, everything, page_size=50)
    at = int(now.timestamp())
    whole = [
        history("woocommerce", one.store, entry) for entry in born_within("woocommerce", one.store, world.first_day, now.date())
    ]
    states = {each.order.id: state for each in whole if (state := each.at(at)) is not None}
    listed = {stream: [record for page in found for record in json.loads(page.body)] for stream, found in pages.items()}
    orders = {record["id"]: record for stream in ("orders", "trashed_orders") for record in listed[stream]}
    assert all(not page.broken for found in pages.values() for page in found)
    assert orders.keys() == states.keys() == {record["id"] for record in listed["order_ids"]}
    assert len(listed["orders"]) + len(listed["trashed_orders"]) == len(orders)
    assert {number: record["status"] for number, record in orders.items()} == {
        number: state.status for number, state in states.items()
    }
    assert sum(Decimal(record["total"]) for record in orders.values()) == sum(state.basket.total for state in states.values())
    refunds = {refund.id: refund.amount for state in states.values() for refund in state.refunds}
    known = {record["id"]: Decimal(record["amount"]) for record in listed["refunds"]}
    assert known.items() <= refunds.items()
    in_trash = {refund.id for state in states.values() if state.status == "trash" for refund in state.refunds}
    assert refunds.keys() - known.keys() <= in_trash, "an older store lists no orders in the trash along with their refunds"
    entries = born_within("woocommerce", one.store, world.first_day, now.date())
    joined = {entry.customer_id for entry in entries if entry.joins and entry.created <= at}
    assert joined
    assert joined <= {record["id"] for record in listed["customers"]}
