"""The WooCommerce connector against stores on the loopback address: pages, windows that move, and every way of saying no."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
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
from analytics_assets.sources import failures
from analytics_assets.sources.connector import RawPage, Source, Task
from analytics_assets.sources.failures import (
    Bug,
    PermissionDenied,
    Reauthorize,
    RetryLater,
    SourceFailure,
    Throttled,
    WindowMoved,
    WrongConfiguration,
)
from analytics_assets.sources.vendors import Vendors
from analytics_assets.sources.woocommerce import WooCommerce
from analytics_assets.sources.woocommerce_store import Place
from analytics_assets_tests.sources.vendor import Asked, Vendor, gathered, reply, serving, source, with_connector

KEY, SECRET = "ck_" + "0a1b2c3d" * 5, "cs_" + "9f8e7d6c" * 5
START, END = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 3, tzinfo=UTC)
ORDERS = Task("orders", START, END)
API = "/wp-json/wc/v3"


def text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S")


def order(number: int, modified: datetime, **more: Any) -> dict[str, Any]:
    created = text(modified - timedelta(hours=1))
    return {
        "id": number, "order_key": f"k{number}", "status": "completed", "total": "10.00", "refunds": [],
        "date_created_gmt": created, "date_modified_gmt": text(modified), "date_paid_gmt": None, **more,
    }  # fmt: skip


@dataclass
class Store:
    """A store with the lists of WooCommerce: bounds exclude both ends, pages are cut anew at each call."""

    orders: list[dict[str, Any]] = field(default_factory=list)
    refunds: list[dict[str, Any]] | None = field(default_factory=list)
    customers: list[dict[str, Any]] = field(default_factory=list)
    index: dict[str, Any] = field(default_factory=lambda: {"name": "Shop", "timezone_string": "Europe/Berlin", "gmt_offset": 2})
    sees_header: bool = True

    def __call__(self, asked: Asked) -> Response:
        path = asked.path.removeprefix(API)
        if asked.path == "/wp-json/":
            # WordPress reads a Basic header here as a user's password.
            return problem(401, "invalid_username") if "authorization" in asked.headers else reply(self.index)
        if refusal := self._refusal(asked):
            return refusal
        if path == "/settings/general/woocommerce_currency":
            return reply({"id": "woocommerce_currency", "value": "EUR"})
        if path == "/orders":
            status = asked.params.get("status", "any")
            found = [one for one in self.orders if (one["status"] == "trash") == (status == "trash")]
            return self._page(asked, sorted(found, key=lambda one: one["id"]))
        if path == "/refunds" and self.refunds is not None:
            return self._page(asked, self.refunds)
        if path == "/customers":
            return self._page(asked, sorted(self.customers, key=lambda one: one["date_created_gmt"], reverse=True))
        if path.endswith("/refunds") and path.startswith("/orders/"):
            number = int(path.split("/")[2])
            of = [refund for one in self.orders if one["id"] == number for refund in one["refunds"]]
            return self._page(asked, [{"amount": "1.00", "date_created_gmt": text(START), **refund} for refund in of])
        return problem(404, "rest_no_route")

    def _refusal(self, asked: Asked) -> Response | None:
        key = asked.params.get("consumer_key"), asked.params.get("consumer_secret")
        if self.sees_header and (header := asked.headers.get("authorization", "")):
            name, _, secret = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
            key = name, secret
        return None if key == (KEY, SECRET) else problem(401, "woocommerce_rest_cannot_view")

    def _page(self, asked: Asked, found: list[dict[str, Any]]) -> Response:
        for name, column in (("", "date_created_gmt"), ("modified_", "date_modified_gmt")):
            after, before = asked.params.get(f"{name}after", ""), asked.params.get(f"{name}before", "z")
            found = [one for one in found if after < one.get(column, text(START)) < before]
        page, size = int(asked.params.get("page", 1)), int(asked.params.get("per_page", 10))
        fields = asked.params.get("_fields", "").split(",")
        shown = [
            {name: value for name, value in one.items() if fields == [""] or name in fields}
            for one in found[(page - 1) * size : page * size]
        ]
        return reply(shown, x_wp_total=str(len(found)))


def problem(status: int, code: str, message: str = "Sorry.", **headers: str) -> Response:
    return reply({"code": code, "message": message, "data": {"status": status}}, status, **headers)


@pytest.fixture(scope="module")
def server() -> Iterator[Vendor]:
    with serving() as vendor:
        yield vendor


@pytest.fixture
def vendor(server: Vendor) -> Vendor:
    server.reset()
    return server


def connected(vendor: Vendor, **settings: Any) -> Source:
    return source("woocommerce", {"store_url": vendor.url, **settings}, {"consumer_key": KEY, "consumer_secret": SECRET})


def work(vendor: Vendor, job: Any, *, settings: dict[str, Any] | None = None, size: int | None = None, **options: Any) -> Any:
    vendors = Vendors(store_hosts=(vendor.host,))
    return vendor.with_connector(WooCommerce, connected(vendor, **(settings or {})), vendors, job, page_size=size, **options)


def read(
    vendor: Vendor, task: Task = ORDERS, position: dict[str, Any] | None = None, *, size: int | None = None, most: int | None = None,
    **options: Any,
) -> list[RawPage]:  # fmt: skip
    found: list[RawPage] = work(vendor, lambda one: gathered(one.pages(task, position), most), size=size, **options)
    return found


def ids(pages: list[RawPage]) -> list[int]:
    return [record["id"] for page in pages for record in json.loads(page.body)]


def some_orders(count: int, **more: Any) -> list[dict[str, Any]]:
    return [order(n, START + timedelta(minutes=n), **more) for n in range(1, count + 1)]


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


# --- Refunds, customers, ids -----------------------------------------------------------------------------------------


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


# --- The account -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "offset", "zone"),
    [
        ("Europe/Berlin", 2, "Europe/Berlin"),
        ("", 0, "UTC"),
        ("", 2, "Etc/GMT-2"),
        ("", "-5", "Etc/GMT+5"),
        ("", 14.0, "Etc/GMT-14"),
        ("", "5.5", "Asia/Kolkata"),
        ("", 5.75, "Asia/Kathmandu"),
        ("", 4.5, "Asia/Kabul"),
        ("", 3.5, "Asia/Tehran"),
        ("", 6.5, "Asia/Yangon"),
        ("", 9.5, "Australia/Darwin"),
        ("", 8.75, "Australia/Eucla"),
        (None, -9.5, "Pacific/Marquesas"),
    ],
)
def test_the_account_s_zone(vendor: Vendor, name: Any, offset: Any, zone: str) -> None:
    vendor.answer = Store(some_orders(3), index={"name": "The Shop", "timezone_string": name, "gmt_offset": offset})
    account = work(vendor, lambda one: one.account())
    assert (account.time_zone, account.currency, account.name) == (zone, "EUR", "The Shop")
    assert [asked.params.get("per_page") for asked in vendor.asked if asked.path == f"{API}/orders"] == ["1"]


@pytest.mark.parametrize(("name", "offset"), [("", -3.5), ("", 13.75), ("", 15), ("", None), ("Mars/Olympus", 0)])
def test_a_zone_that_is_none_has_to_be_chosen(vendor: Vendor, name: Any, offset: Any) -> None:
    vendor.answer = Store(index={"timezone_string": name, "gmt_offset": offset})
    with pytest.raises(WrongConfiguration, match="choose a city as time zone"):
        work(vendor, lambda one: one.account())


def test_a_store_that_gives_no_orders_has_no_account(vendor: Vendor) -> None:
    store = Store()
    vendor.answer = lambda asked: problem(403, "woocommerce_rest_cannot_view") if "orders" in asked.path else store(asked)
    with pytest.raises(PermissionDenied, match="permission Read"):
        work(vendor, lambda one: one.account())


# --- Ways of saying no -----------------------------------------------------------------------------------------------

REFUSALS: list[tuple[Response, type[SourceFailure], str]] = [
    (problem(401, "woocommerce_rest_authentication_error", "Consumer key is invalid."), Reauthorize, "Consumer key is invalid"),
    (
        problem(401, "woocommerce_rest_authentication_error", "The API key does not have read permissions."),
        PermissionDenied,
        "Read",
    ),
    (problem(401, "woocommerce_rest_cannot_view"), PermissionDenied, "--set query_auth=true.*access logs"),
    (problem(403, "woocommerce_rest_cannot_view"), PermissionDenied, "for a user who may see orders"),
    (Response("denied", 401), Reauthorize, "--set query_auth=true"),
    (Response("<h1>Forbidden</h1>", 403), PermissionDenied, "firewall"),
    (Response("<h1>Not Found</h1>", 404), WrongConfiguration, "no WordPress REST API.*Permalinks"),
    (problem(404, "rest_no_route"), WrongConfiguration, "WooCommerce is active"),
    (problem(400, "rest_invalid_param", "Invalid parameter(s): orderby"), Bug, "rest_invalid_param"),
    (Response("slow down", 429), Throttled, "no more requests"),
    (Response("", 520), RetryLater, "HTTP 520"),
    (Response("<!doctype html><title>Just a moment</title>", 200, media_type="text/html"), RetryLater, "a page instead of data"),
    (Response("<html>maintenance</html>", 200, media_type="application/json"), RetryLater, "firewall or maintenance page"),
    (Response('[{"id": 1, "order_k', 200, media_type="application/json"), RetryLater, "breaks off"),
    (Response("", 200, media_type="application/json"), RetryLater, "empty"),
    (problem(200, "internal_error", "Oops."), RetryLater, "an error as if it were data .internal_error"),
]


@pytest.mark.parametrize(("response", "kind", "says"), REFUSALS)
def test_every_refusal_is_a_failure_of_its_kind(vendor: Vendor, response: Response, kind: type[SourceFailure], says: str) -> None:
    vendor.answer = lambda _: response
    with pytest.raises(kind, match=says) as info:
        read(vendor, size=10)
    message = str(info.value)
    assert vendor.host in message
    assert KEY not in message
    assert SECRET not in message
    assert isinstance(info.value, failures.SourceFailure)


def test_a_store_that_is_busy_is_asked_again_when_it_says(vendor: Vendor) -> None:
    vendor.answer = lambda _: Response("", 429, {"retry-after": "120"})
    with pytest.raises(Throttled) as info:
        read(vendor)
    assert info.value.retry_at is not None
    assert info.value.retry_at > datetime.now(UTC) + timedelta(seconds=110)
    assert len(vendor.asked) == 1


def test_a_key_that_a_store_sends_back_is_not_told(vendor: Vendor) -> None:
    vendor.answer = lambda _: problem(400, "rest_odd", f"The key {KEY} and {SECRET} are odd")
    with pytest.raises(Bug) as info:
        read(vendor)
    assert "[secret]" in str(info.value)
    assert KEY not in str(info.value)
    assert SECRET not in str(info.value)


def test_a_page_that_postgresql_cannot_keep_is_broken(vendor: Vendor) -> None:
    vendor.answer = Store([order(1, START, note="\0")])
    (page,) = read(vendor)
    assert "NUL" in page.broken
    assert page.keys == ()


def test_a_page_of_something_else_is_broken(vendor: Vendor) -> None:
    vendor.answer = lambda _: reply([{"id": 1, "name": "a product"}], x_wp_total="1")
    assert "no page of woocommerce orders" in read(vendor)[0].broken
    vendor.answer = lambda _: reply(["1"], x_wp_total="1")
    assert "no list of orders" in read(vendor, ids_task())[0].broken


def test_a_redirect_is_not_followed_and_its_target_named(vendor: Vendor) -> None:
    vendor.answer = lambda _: Response("", 301, {"location": "https://www.example.com/wp-json/wc/v3/orders?consumer_key=x"})
    with pytest.raises(WrongConfiguration, match=r"https://www\.example\.com") as info:
        read(vendor)
    assert "consumer_key=x" not in str(info.value)
    assert len(vendor.asked) == 1


def test_a_store_in_a_private_network_is_not_called(vendor: Vendor) -> None:
    vendor.answer = Store(some_orders(1))
    with pytest.raises(WrongConfiguration, match="public internet"):
        vendor.with_connector(WooCommerce, connected(vendor), Vendors(), lambda one: gathered(one.pages(ORDERS)))
    assert vendor.asked == []


# --- A host that drops the Authorization header ----------------------------------------------------------------------


def test_the_key_goes_into_the_address_only_where_the_tenant_agrees(vendor: Vendor) -> None:
    vendor.answer = Store(some_orders(3), sees_header=False)
    with pytest.raises(PermissionDenied, match="query_auth"):
        read(vendor, size=2)
    assert not any(KEY in asked.target for asked in vendor.asked)
    vendor.asked.clear()
    pages = read(vendor, size=2, settings={"query_auth": True})
    assert ids(pages) == [1, 2, 3]
    assert [KEY in asked.target for asked in vendor.asked] == [False, True, True]
    assert "authorization" not in vendor.asked[-1].headers
    assert not any(KEY in json.dumps(page.position) for page in pages)


def test_a_header_that_comes_through_is_preferred(vendor: Vendor) -> None:
    vendor.answer = Store(some_orders(1))
    read(vendor, settings={"query_auth": True})
    assert not any(KEY in asked.target for asked in vendor.asked)


def test_a_key_that_is_no_good_in_the_address_either_is_said_to_be_so(vendor: Vendor) -> None:
    vendor.answer = lambda _: problem(401, "woocommerce_rest_cannot_view")
    with pytest.raises(PermissionDenied) as info:
        read(vendor, settings={"query_auth": True})
    assert "query_auth" not in str(info.value)
    vendor.answer = lambda _: problem(401, "woocommerce_rest_authentication_error", "Consumer key is invalid.")
    vendor.asked.clear()
    with pytest.raises(Reauthorize):
        read(vendor, settings={"query_auth": True})
    assert len(vendor.asked) == 1, "a key that was seen and refused is not shown to the access logs"


# --- Settings --------------------------------------------------------------------------------------------------------


def test_settings_have_a_normal_form() -> None:
    check = WooCommerce.check_settings
    assert check({"store_url": " https://Shop.Example.com/store/ "}, Vendors()) == {"store_url": "https://shop.example.com/store"}
    assert check({"store_url": "https://shop.example.com", "query_auth": "true"}, Vendors()) == {
        "store_url": "https://shop.example.com",
        "query_auth": True,
    }
    assert "query_auth" not in check({"store_url": "https://shop.example.com", "query_auth": "false"}, Vendors())
    local = Vendors(store_hosts=("127.0.0.1:8080",))
    assert check({"store_url": "http://127.0.0.1:8080/stores/a"}, local) == {"store_url": "http://127.0.0.1:8080/stores/a"}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "store_url: missing"),
        ({"store_url": "http://shop.example.com"}, "https"),
        ({"store_url": "https://ck:cs@shop.example.com"}, "user or password"),
        ({"store_url": "https://shop.example.com", "query_auth": "perhaps"}, "query_auth: 'perhaps'"),
        ({"store_url": "https://shop.example.com", "query_atuh": True}, "query_atuh"),
    ],
)
def test_settings_that_are_wrong(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(WrongConfiguration, match=says):
        WooCommerce.check_settings(settings, Vendors())


def test_an_unknown_stream_is_ours_to_mend(vendor: Vendor) -> None:
    with pytest.raises(Bug, match="no stream products"):
        read(vendor, Task("products", START, END))


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
