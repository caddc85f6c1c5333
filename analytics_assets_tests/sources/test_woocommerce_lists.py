"""Refunds, customers and the ids of orders of WooCommerce stores, younger and older ones."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from starlette.responses import Response

from analytics_assets.sources.connector import Task
from analytics_assets.sources.failures import (
    WindowMoved,
)
from analytics_assets_tests.sources.vendor import Asked, Vendor, reply, serving
from analytics_assets_tests.sources.woo_store import END, START, Store, ids, order, problem, read, some_orders, text


@pytest.fixture(scope="module")
def server() -> Iterator[Vendor]:
    with serving() as vendor:
        yield vendor


@pytest.fixture
def vendor(server: Vendor) -> Vendor:
    server.reset()
    return server


def refund(number: int, created: datetime, parent: int = 1) -> dict[str, Any]:
    return {"id": number, "parent_id": parent, "amount": "3.00", "date_created_gmt": text(created)}


def test_refunds_are_listed_by_when_they_were_made(vendor: Vendor) -> None:
    vendor.answer = Store(refunds=[refund(n, START + timedelta(hours=n)) for n in range(5)] + [refund(9, END)])
    pages = read(vendor, Task("refunds", START, END), size=3)
    assert ids(pages) == [0, 1, 2, 3, 4]
    assert {page.stream for page in pages} == {"refunds"}
    assert vendor.asked[0].params["after"] == "2026-09-30T23:59:59"
    assert vendor.asked[0].params["before"] == "2026-10-03T00:00:00"
    assert pages[0].instants == tuple(START + timedelta(hours=n) for n in range(3))


def older_store() -> Store:
    orders = some_orders(7)
    for number, refunds in ((2, [21]), (3, [31, 32]), (6, [61])):
        orders[number - 1]["refunds"] = [{"id": one} for one in refunds]
    return Store(orders, refunds=None)


def test_an_older_store_is_asked_for_the_refunds_of_each_order(vendor: Vendor) -> None:
    vendor.answer = older_store()
    pages = read(vendor, Task("refunds", START, END), size=4)
    assert [(page.request, ids([page])) for page in pages] == [
        ({"order_id": 2}, [21]), ({"order_id": 3}, [31, 32]), ({"order_id": 6}, [61]), (None, []),
    ]  # fmt: skip
    assert [page.number for page in pages] == [1, 2, 3, 4]
    assert [page.position is None for page in pages] == [False, False, False, True]
    assert {page.stream for page in pages} == {"refunds"}


def test_an_older_store_s_refunds_go_on_from_every_page(vendor: Vendor) -> None:
    vendor.answer = older_store()
    whole = read(vendor, Task("refunds", START, END), size=4)
    for at, page in enumerate(whole[:-1], 1):
        vendor.asked.clear()
        rest = read(vendor, Task("refunds", START, END), page.position)
        assert [(one.request, one.body, one.number) for one in rest] == [
            (one.request, one.body, one.number) for one in whole[at:]
        ]
        assert not any(asked.path.endswith("v3/refunds") for asked in vendor.asked)


def test_an_order_that_goes_while_its_refunds_are_read_is_passed_over(vendor: Vendor) -> None:
    store = older_store()

    def gone(asked: Asked) -> Response:
        return problem(404, "woocommerce_rest_shop_order_invalid_id") if "/3/" in asked.path else store(asked)

    vendor.answer = gone
    assert ids(read(vendor, Task("refunds", START, END))) == [21, 61]


def test_an_order_with_many_refunds_is_read_to_its_end(vendor: Vendor) -> None:
    store = vendor.answer = older_store()
    store.orders[1]["refunds"] = [{"id": 1000 + n} for n in range(130)]
    pages = read(vendor, Task("refunds", START, END), size=4)
    assert [page.records for page in pages] == [100, 30, 2, 1, 0]
    rest = read(vendor, Task("refunds", START, END), pages[0].position)
    assert [page.records for page in rest] == [100, 30, 2, 1, 0], "an order of which a part was read is read again"


def customers(count: int) -> list[dict[str, Any]]:
    return [{"id": n, "email": f"{n}@example.com", "date_created_gmt": text(START - timedelta(days=5 - n))} for n in range(count)]


def test_customers_are_read_back_to_those_who_were_there_before(vendor: Vendor) -> None:
    vendor.answer = Store(customers=customers(10))
    task = Task("customers", START, END)
    pages = read(vendor, task, size=2)
    assert ids(pages) == [9, 8, 7, 6, 5, 4]
    assert [page.position is None for page in pages] == [False, False, True]
    params = vendor.asked[0].params
    assert (params["orderby"], params["order"], params["role"]) == ("registered_date", "desc", "all")


@pytest.mark.parametrize("purpose", ["reread", "backfill"])
def test_a_reread_reads_every_customer(vendor: Vendor, purpose: Any) -> None:
    vendor.answer = Store(customers=customers(10))
    assert ids(read(vendor, Task("customers", START, END, purpose), size=4)) == list(range(9, -1, -1))


def test_a_customer_who_registers_meanwhile_moves_no_window_but_one_who_goes_does(vendor: Vendor) -> None:
    """Newest first: a new one shifts the others to later pages, where they are met again and not missed."""
    store = Store(customers=customers(6))
    task = Task("customers", START, END, "reread")

    def registers(asked: Asked) -> Response:
        if asked.params["page"] == "2":
            store.customers += customers(7)[6:]
        return store(asked)

    vendor.answer = registers
    assert set(ids(read(vendor, task, size=3))) == set(range(6))
    vendor.answer = store
    (page,) = read(vendor, task, size=3, most=1)
    del store.customers[0]
    with pytest.raises(WindowMoved):
        read(vendor, task, page.position)


def ids_task() -> Task:
    return Task("order_ids", START, END, "reread")


def test_order_ids_are_those_of_any_status_and_of_the_trash(vendor: Vendor) -> None:
    orders = [order(n, START + timedelta(hours=1 + n)) for n in range(5)]
    orders[3]["status"] = "trash"
    placed_before, placed_after = order(8, START), order(9, END + timedelta(hours=1, seconds=1))
    vendor.answer = Store([*orders, placed_before, placed_after])
    pages = read(vendor, ids_task(), size=3)
    assert [page.keys for page in pages] == [("0", "1", "2"), ("4",), ("3",)]
    assert {(page.stream, page.window_start, page.window_end) for page in pages} == {("order_ids", START, END)}
    assert [page.position is None for page in pages] == [False, False, True]
    assert [page.number for page in pages] == [1, 2, 3]
    assert set(json.loads(pages[0].body)[0]) == {"id", "status", "date_created_gmt", "date_modified_gmt"}
    assert vendor.asked[0].params["after"] == "2026-09-30T23:59:59"
    for at, page in enumerate(pages[:-1], 1):
        assert [one.keys for one in read(vendor, ids_task(), page.position)] == [one.keys for one in pages[at:]]


def test_a_list_of_ids_that_lacks_one_is_read_again(vendor: Vendor) -> None:
    """What is missing from the list counts as deleted: a page that is shorter than its total must not pass."""
    store = Store([order(n, START + timedelta(hours=1 + n)) for n in range(3)])

    def lacking(asked: Asked) -> Response:
        response = store(asked)
        return reply(json.loads(bytes(response.body))[1:], x_wp_total=response.headers["x-wp-total"])

    vendor.answer = lacking
    with pytest.raises(WindowMoved, match="2 records of 3"):
        read(vendor, ids_task())


def test_an_order_of_the_first_second_is_among_the_ids(vendor: Vendor) -> None:
    vendor.answer = Store([order(1, START + timedelta(hours=1)), order(2, END + timedelta(hours=1))])
    assert [page.keys for page in read(vendor, ids_task())] == [("1",), ()]
