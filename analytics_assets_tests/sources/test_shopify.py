"""The Shopify connector against shops on the loopback address: ledgers drained, points, tokens, bulk operations."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs

import pytest
from starlette.responses import Response

from analytics_assets.sandbox.app import connection_of, running, vendor_environment
from analytics_assets.sandbox.shopify_access import refresh_token
from analytics_assets.sandbox.shopify_graphql import prepare, requested_cost
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.store_state import born_within, history
from analytics_assets.sandbox.world import Clock, make_world
from analytics_assets.sources import shopify_bulk, shopify_queries
from analytics_assets.sources.connector import RawPage, Task
from analytics_assets.sources.failures import (
    AskForLess,
    Bug,
    PermissionDenied,
    Reauthorize,
    RetryLater,
    SourceFailure,
    Throttled,
    WindowMoved,
    WrongConfiguration,
)
from analytics_assets.sources.http import Http
from analytics_assets.sources.shopify import Shopify
from analytics_assets.sources.vendors import Vendors
from analytics_assets_tests.sources.vendor import Asked, Vendor, gathered, reply, serving, source, with_connector

TOKEN, REFRESH = "shpat_" + "0a1b2c3d" * 4, "shprt_" + "9f8e7d6c" * 4
SHOP, CLIENT = "acme.myshopify.com", {"client_id": "app-1234", "client_secret": "shpss_" + "5566" * 8}
START, END = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 3, tzinfo=UTC)
ORDERS = Task("orders", START, END)
BACKFILL = Task("orders", START, END, "backfill")
JSON = dict[str, Any]


def text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def order(number: int, *agreements: int, at: datetime | None = None) -> JSON:
    """An order and its agreements, an hour apart, each with so many sales of 1.00."""
    at = at or START + timedelta(hours=1, minutes=number)
    return {
        "id": f"gid://shopify/Order/{number}", "legacyResourceId": str(number), "processedAt": text(at), "cancelledAt": None,
        "updatedAt": text(at), "agreements": [
            {"id": f"gid://shopify/SalesAgreement/{number * 100 + n}", "happenedAt": text(at + timedelta(hours=n)), "reason": "ORDER",
             "sales": [
                 {"id": f"gid://shopify/Sale/{(number * 100 + n) * 1000 + k}", "actionType": "ORDER",
                  "totalAmount": {"shopMoney": {"amount": "1.0"}}}
                 for k in range(sales)
             ]}
            for n, sales in enumerate(agreements or (2,))
        ],
    }  # fmt: skip


def connection(nodes: list[JSON], first: int, after: str | None) -> JSON:
    start = int(after or 0)
    end = min(start + first, len(nodes))
    return {
        "pageInfo": {"hasNextPage": end < len(nodes), "endCursor": str(end) if end > start else None},
        "nodes": nodes[start:end],
    }


def ledger(one: JSON, asked: Mapping[str, Any], after: str | None = None) -> JSON:
    """An order with a page of its agreements, each with a page of its sales."""
    agreements = connection(one["agreements"], asked["agreements"], after)
    nodes = [{**node, "sales": connection(node["sales"], asked["sales"], asked.get("afterSale"))} for node in agreements["nodes"]]
    return {**one, "agreements": {**agreements, "nodes": nodes}}


def errors(code: str, message: str = "No.", cost: JSON | None = None, **more: Any) -> Response:
    extensions = {"extensions": {"cost": cost}} if cost else {}
    return reply({"errors": [{"message": message, "extensions": {"code": code}}], **extensions, **more})


@dataclass
class Shop:
    """A shop. tokens: those that are good; polls: looks at a bulk operation until it is complete; dearest: orders at once."""

    orders: list[JSON] = field(default_factory=list)
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    refresh: set[str] = field(default_factory=lambda: {REFRESH})
    scopes: tuple[str, ...] = ("read_orders", "read_all_orders", "read_customers")
    dearest: int = 1000
    polls: int = 1
    operations: int = 0
    operation: JSON = field(default_factory=lambda: {"status": "COMPLETED"})
    refusal: JSON | None = None
    ranges: bool = True
    url: str = ""
    granted: int = 0
    version: str = "2026-10"

    def __call__(self, asked: Asked) -> Response:
        if asked.path.endswith("/admin/oauth/access_token"):
            return self._grant({name: values[0] for name, values in parse_qs(asked.body.decode()).items()})
        if asked.path.endswith(".jsonl"):
            return self._file(asked)
        if asked.headers.get("x-shopify-access-token") not in self.tokens:
            return reply({"errors": "[API] Invalid API key or access token"}, 401)
        return self._graphql(asked.json["query"], asked.json["variables"])

    def _graphql(self, query: str, variables: JSON) -> Response:
        if "accessScopes" in query:
            shop = {"name": "Acme", "ianaTimezone": "Asia/Kolkata", "currencyCode": "INR"}
            scopes = [{"handle": scope} for scope in self.scopes]
            return self._data({"shop": shop, "currentAppInstallation": {"accessScopes": scopes}})
        if "bulkOperationRunQuery" in query:
            assert "groupObjects: true" in query
            if self.refusal:
                return self._data({"bulkOperationRunQuery": {"bulkOperation": None, "userErrors": [self.refusal]}})
            self.operations += 1
            operation = {"id": f"gid://shopify/BulkOperation/{self.operations}", "status": "CREATED"}
            return self._data({"bulkOperationRunQuery": {"bulkOperation": operation, "userErrors": []}})
        if "BulkOperation" in query:
            return self._data({"node": self._status()})
        if "order(id" in query:
            found = next((one for one in self.orders if one["id"] == variables["id"]), None)
            return self._data({"order": found and ledger(found, variables, variables["after"])})
        if variables["first"] > self.dearest:
            return errors("MAX_COST_EXCEEDED", "Query cost is 1200, which exceeds the single query max cost limit (1000).")
        low, high = re.findall(r"'([^']+)'", variables["q"])
        within = [one for one in self.orders if low <= one["updatedAt"] <= high]
        page = connection(within, variables["first"], variables["after"])
        return self._data({"orders": {**page, "nodes": [ledger(one, variables) for one in page["nodes"]]}})

    def _data(self, data: JSON) -> Response:
        cost = {"requestedQueryCost": 100, "throttleStatus": {"currentlyAvailable": 1900, "restoreRate": 100}}
        return reply({"data": data, "extensions": {"cost": cost}}, x_shopify_api_version=self.version)

    def _grant(self, form: JSON) -> Response:
        if form["client_secret"] != CLIENT["client_secret"]:
            return reply({"error": "invalid_client"}, 401)
        self.granted += 1
        token = f"shpat_granted_{self.granted:08}"
        if form["grant_type"] == "client_credentials":
            self.tokens = {token}
            return reply({"access_token": token, "expires_in": 86399, "scope": "read_orders"})
        if form.get("refresh_token") not in self.refresh:
            return reply({"error": "invalid_grant", "error_description": "Used."}, 400)
        self.tokens, self.refresh = {token}, {f"shprt_rotated_{self.granted:08}"}
        return reply(
            {
                "access_token": token,
                "expires_in": 3600,
                "refresh_token": next(iter(self.refresh)),
                "refresh_token_expires_in": 7776000,
            }
        )

    # --- Bulk operations -----------------------------------------------------------------------------------

    def lines(self) -> bytes:
        found = b""
        for one in self.orders:
            found += line({name: value for name, value in one.items() if name != "agreements"})
            for agreement in one["agreements"]:
                found += line({**{k: v for k, v in agreement.items() if k != "sales"}, "__parentId": one["id"]})
                for sale in agreement["sales"]:
                    found += line({**sale, "__parentId": agreement["id"]})
        return found

    def _status(self) -> JSON | None:
        if self.polls > 0:
            self.polls -= 1
            return {"id": "gid://shopify/BulkOperation/1", "status": "RUNNING", "errorCode": None, "url": None}
        content = self.lines()
        return {
            "id": "gid://shopify/BulkOperation/1", "errorCode": None, "objectCount": str(content.count(b"\n")),
            "fileSize": str(len(content)), "url": f"{self.url}/results/1.jsonl?X-Goog-Signature=a%2Bb%3D" if content else None,
            **self.operation,
        }  # fmt: skip

    def _file(self, asked: Asked) -> Response:
        assert "x-shopify-access-token" not in asked.headers
        assert asked.params == {"X-Goog-Signature": "a+b="}
        content, wanted = self.lines(), re.fullmatch(r"bytes=(\d+)-(\d+)", asked.headers.get("range", ""))
        if not self.ranges or wanted is None:
            return Response(content)
        first, last = int(wanted[1]), min(int(wanted[2]), len(content) - 1)
        return Response(content[first : last + 1], 206, {"content-range": f"bytes {first}-{last}/{len(content)}"})


def line(value: JSON) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Vendor]:
    with serving() as vendor:
        yield vendor


@pytest.fixture
def vendor(server: Vendor) -> Vendor:
    server.reset()
    return server


def vendors(vendor: Vendor, **more: Any) -> Vendors:
    options = {"shopify_url": f"{vendor.url}/{{shop}}", "shopify_download_hosts": (vendor.host,)}
    return Vendors(**(options | more))


def work(vendor: Vendor, job: Any, *, secrets: JSON | None = None, size: int | None = None, **options: Any) -> Any:
    at, save = options.pop("vendors", None) or vendors(vendor), options.pop("save_secrets", None)
    one = source("shopify", {"shop": SHOP}, secrets or {"access_token": TOKEN}, save_secrets=save)
    return vendor.with_connector(Shopify, one, at, job, page_size=size, **options)


def read(
    vendor: Vendor, task: Task = ORDERS, position: JSON | None = None, *, most: int | None = None, **options: Any
) -> list[RawPage]:
    found: list[RawPage] = work(vendor, lambda one: gathered(one.pages(task, position), most), **options)
    return found


def sales(pages: list[RawPage]) -> set[str]:
    """Ids of all sales on the pages."""
    return {
        f"gid://shopify/Sale/{number}"
        for page in pages
        for number in re.findall(rb"Sale/(\d+)", page.body)
        for number in [number.decode()]
    }


def all_sales(orders: list[JSON]) -> set[str]:
    return {sale["id"] for one in orders for agreement in one["agreements"] for sale in agreement["sales"]}


def keys(pages: list[RawPage]) -> list[str]:
    return [key for page in pages for key in page.keys]


# --- Page by page ----------------------------------------------------------------------------------------------------


def test_a_window_is_read_page_by_page(vendor: Vendor) -> None:
    vendor.answer = Shop([order(n) for n in range(1, 6)])
    pages = read(vendor, size=2)
    assert keys(pages) == ["1", "2", "3", "4", "5"]
    assert [page.number for page in pages] == [1, 2, 3]
    assert [page.records for page in pages] == [2, 2, 1]
    assert pages[-1].position is None
    assert (pages[0].position or {})["after"] == "2"
    first = pages[0]
    assert (first.stream, first.time_zone, first.currency, first.api_version) == ("orders", "Europe/Berlin", "EUR", "2026-10")
    assert first.instants == (START + timedelta(hours=1),)
    assert json.loads(first.body)["extensions"]["cost"]
    assert (first.flags, first.broken, first.request) == ((), "", None)


def test_what_is_asked_for(vendor: Vendor) -> None:
    vendor.answer = Shop([order(1)])
    read(vendor)
    (asked,) = vendor.asked
    assert asked.path == f"/{SHOP}/admin/api/2026-10/graphql.json"
    assert asked.headers["x-shopify-access-token"] == TOKEN
    assert asked.json["variables"] == {
        "q": "updated_at:>='2026-10-01T00:00:00Z' AND updated_at:<'2026-10-03T00:00:00Z'",
        "first": 20, "after": None, "agreements": 10, "sales": 20,
    }  # fmt: skip


def test_the_documents_are_shopify_s_and_not_too_dear() -> None:
    assert requested_cost(prepare(shopify_queries.ORDERS, {"q": "", "first": 20, "agreements": 10, "sales": 20})) <= 900
    for agreements, sales_at_once in ((25, 100), (1, 250)):
        asked = {"id": "gid://shopify/Order/1", "agreements": agreements, "sales": sales_at_once}
        assert requested_cost(prepare(shopify_queries.ORDER_AGREEMENTS, asked)) <= 900
    assert requested_cost(prepare(shopify_queries.ACCOUNT)) <= 10
    prepare(shopify_queries.RUN_BULK, {"query": ""})
    prepare(shopify_queries.BULK_STATUS, {"id": "gid://shopify/BulkOperation/1"})
    bulk = prepare(shopify_queries.bulk_orders(BACKFILL))
    assert bulk.fields[0].arguments["query"] == shopify_queries.search(BACKFILL)


def test_a_window_without_orders_is_one_page(vendor: Vendor) -> None:
    vendor.answer = Shop()
    (page,) = read(vendor)
    assert (page.records, page.position, page.keys, page.instants) == (0, None, (), ())


def test_every_moment_at_which_an_order_counts_is_an_instant(vendor: Vendor) -> None:
    one = order(1, 1, 1, 1)
    one["cancelledAt"] = "2026-10-02T23:59:59+05:30"
    one["agreements"][2]["happenedAt"] = "1970-01-01T00:00:00Z"
    vendor.answer = Shop([one])
    (page,) = read(vendor)
    assert page.instants == (
        START + timedelta(hours=1), START + timedelta(hours=2), datetime(2026, 10, 2, 18, 15, tzinfo=UTC),
    )  # fmt: skip


def test_the_points_that_are_left_say_nothing_new(vendor: Vendor) -> None:
    shop = Shop([order(1)])
    vendor.answer = shop
    (first,) = read(vendor)
    vendor.answer = lambda asked: reply({**json.loads(bytes(shop(asked).body)), "extensions": {"cost": {"actualQueryCost": 7}}})
    (again,) = read(vendor)
    assert first.body != again.body
    assert first.sameness == again.sameness
    shop.orders[0]["totalPriceSet"] = {"shopMoney": {"amount": "2.0"}}
    assert read(vendor)[0].sameness != first.sameness


def large_orders() -> list[JSON]:
    """As they come: small ones, one with more agreements than fit, one with more sales than fit in two of them, both at once."""
    return [
        order(1), order(2, *[1] * 40), order(3, 3, 270, 2, 21, 1), order(4), order(5, *[2] * 12, 300, *[1] * 3), order(6, *[1] * 10),
        order(7, *[20] * 10),
    ]  # fmt: skip


def test_an_order_that_does_not_fit_is_drained_before_the_next_orders(vendor: Vendor) -> None:
    vendor.answer = shop = Shop(large_orders())
    pages = read(vendor, size=3)
    assert sales(pages) == all_sales(shop.orders)
    assert keys(pages) == ["1", "2", "3", "4", "5", "6", "7"]
    assert [page.number for page in pages] == list(range(1, len(pages) + 1))
    drained = [page for page in pages if page.request]
    assert {page.stream for page in pages} == {"orders"}
    # 40 agreements: 10, 25 and 5. The third order: five agreements alone, of which the second has a second page. The fifth: the
    # first ten were whole, so all after them at once, and since one is not whole, each of them alone.
    counts = Counter((page.request or {})["drain"]["order"].rpartition("/")[2] for page in drained)
    assert counts == {"2": 2, "3": 6, "5": 8}
    assert {page.records for page in drained} == {1}
    assert all(page.keys == () for page in drained)
    assert [page.position is None for page in pages] == [False] * (len(pages) - 1) + [True]
    order_pages = [at for at, page in enumerate(pages) if not page.request]
    assert all("Order/5" in str(page.request) for page in pages[order_pages[1] + 1 : order_pages[2]])


def test_a_window_goes_on_from_every_page_without_loss(vendor: Vendor) -> None:
    vendor.answer = Shop(large_orders())
    whole = read(vendor, size=3)
    for at, page in enumerate(whole[:-1], 1):
        rest = read(vendor, position=json.loads(json.dumps(page.position)))
        assert [(one.body, one.number, one.request) for one in rest] == [
            (one.body, one.number, one.request) for one in whole[at:]
        ]


def test_an_order_that_goes_while_it_is_drained(vendor: Vendor) -> None:
    shop = Shop([order(1, *[1] * 40)])

    def gone(asked: Asked) -> Response:
        response = shop(asked)
        shop.orders.clear()
        return response

    vendor.answer = gone
    pages = read(vendor)
    assert [(page.records, page.position is None) for page in pages] == [(1, False), (0, True)]


def test_a_page_that_is_too_dear_is_halved(vendor: Vendor) -> None:
    vendor.answer = shop = Shop([order(n) for n in range(1, 12)], dearest=5)
    pages = read(vendor)
    assert [page.records for page in pages] == [5, 5, 1]
    assert len(vendor.asked) == 5, "the smaller size stays"
    shop.dearest = 0
    with pytest.raises(AskForLess, match="too dear"):
        read(vendor)


def test_more_orders_than_can_be_paged_through_are_too_many(vendor: Vendor) -> None:
    vendor.answer = Shop([order(1)])
    with pytest.raises(AskForLess, match="25000"):
        read(vendor, position={"after": "1", "first": 20, "number": 1250, "read": 24990})


def test_another_version_than_the_one_asked_for_is_told(vendor: Vendor) -> None:
    vendor.answer = Shop([order(1)], version="2027-01")
    (page,) = read(vendor)
    assert (page.flags, page.api_version) == (("api_version:2027-01",), "2027-01")


def test_a_list_that_has_more_and_does_not_say_where_is_no_endless_loop(vendor: Vendor) -> None:
    vendor.answer = lambda _: reply({"data": {"orders": {"nodes": [], "pageInfo": {"hasNextPage": True, "endCursor": None}}}})
    with pytest.raises(Bug, match="endCursor"):
        read(vendor)


def test_a_page_of_something_else_is_broken(vendor: Vendor) -> None:
    vendor.answer = lambda _: reply({"data": {"products": {}}})
    assert "no page of orders" in read(vendor)[0].broken


# --- Ways of saying no -----------------------------------------------------------------------------------------------

REFUSALS: list[tuple[Response, type[SourceFailure], str]] = [
    (errors("ACCESS_DENIED", "Access denied for orders field."), PermissionDenied, "read_all_orders"),
    (errors("SHOP_INACTIVE"), PermissionDenied, "paused"),
    (errors("INTERNAL_SERVER_ERROR"), RetryLater, "INTERNAL_SERVER_ERROR"),
    (errors("undefinedField", "Field 'x' doesn't exist"), Bug, "undefinedField: Field 'x'"),
    (errors("ACCESS_DENIED", data={"orders": {"nodes": [], "pageInfo": {"hasNextPage": False}}}), PermissionDenied, "may not"),
    (errors("odd", data={"orders": {"nodes": [], "pageInfo": {"hasNextPage": False}}}), Bug, "odd"),
    (reply({"data": None}), Bug, "neither data nor errors"),
    (reply([]), Bug, "neither data nor errors"),
    (reply({"errors": "[API] Invalid API key"}, 401), Reauthorize, "connect the source again"),
    (reply({"errors": "Unavailable Shop"}, 402), PermissionDenied, "paused"),
    (reply({"errors": "Locked"}, 423), PermissionDenied, "paused"),
    (reply({"errors": "Forbidden"}, 403), PermissionDenied, "installed"),
    (reply({"errors": "Not Found"}, 404), WrongConfiguration, "no shop acme"),
    (Response("", 429, {"retry-after": "60"}), Throttled, "no more requests"),
    (Response("<h1>Bad gateway</h1>", 502), RetryLater, "HTTP 502"),
    (Response("<!doctype html><html></html>", 200, media_type="text/html"), RetryLater, "HTML page"),
    (Response('{"data": {"orders": ', 200, media_type="application/json"), RetryLater, "breaks off"),
    (Response("", 301, {"location": "https://other.example.com/x?y=1"}), WrongConfiguration, "other.example.com"),
]


@pytest.mark.parametrize(("response", "kind", "says"), REFUSALS)
def test_every_refusal_is_a_failure_of_its_kind(vendor: Vendor, response: Response, kind: type[SourceFailure], says: str) -> None:
    vendor.answer = lambda _: response
    with pytest.raises(kind, match=says) as info:
        read(vendor)
    assert SHOP in str(info.value)
    assert TOKEN not in str(info.value)
    assert "y=1" not in str(info.value)


def test_a_shop_without_points_is_asked_again_when_they_are_back(vendor: Vendor) -> None:
    cost = {"requestedQueryCost": 857, "throttleStatus": {"maximumAvailable": 2000, "currentlyAvailable": 357, "restoreRate": 50}}
    vendor.answer = lambda _: errors("THROTTLED", cost=cost)
    with pytest.raises(Throttled) as info:
        read(vendor)
    assert info.value.retry_at is not None
    assert timedelta(seconds=9) < info.value.retry_at - datetime.now(UTC) <= timedelta(seconds=10)


def test_a_short_wait_for_points_is_waited_in_place(vendor: Vendor) -> None:
    shop = Shop([order(1)])
    cost = {"requestedQueryCost": 100, "throttleStatus": {"currentlyAvailable": 95, "restoreRate": 100}}
    vendor.answer = lambda asked: errors("THROTTLED", cost=cost) if len(vendor.asked) == 1 else shop(asked)
    assert keys(read(vendor, patience=2.0)) == ["1"]


def test_a_page_waits_until_it_can_be_paid_for(vendor: Vendor) -> None:
    shop = Shop([order(n) for n in range(1, 4)])
    times: list[datetime] = []

    def poor(asked: Asked) -> Response:
        times.append(datetime.now(UTC))
        body = json.loads(bytes(shop(asked).body))
        body["extensions"]["cost"]["throttleStatus"] = {"currentlyAvailable": 80, "restoreRate": 100}
        return reply(body)

    vendor.answer = poor
    assert keys(read(vendor, size=2)) == ["1", "2", "3"]
    assert times[1] - times[0] > timedelta(seconds=0.18)


# --- The account and its settings ------------------------------------------------------------------------------------


def test_the_account(vendor: Vendor) -> None:
    vendor.answer = shop = Shop()
    account = work(vendor, lambda one: one.account())
    assert (account.time_zone, account.currency, account.name, account.notes) == ("Asia/Kolkata", "INR", "Acme", ())
    shop.scopes = ("read_orders",)
    assert "only the last 60 days can be read" in work(vendor, lambda one: one.account()).notes[0]
    shop.scopes = ("read_products",)
    with pytest.raises(PermissionDenied, match="read_orders"):
        work(vendor, lambda one: one.account())


@pytest.mark.parametrize("given", ["acme", "acme.myshopify.com", " ACME.myshopify.com "])
def test_a_shop_has_one_name(given: str) -> None:
    assert Shopify.check_settings({"shop": given}, Vendors()) == {"shop": SHOP}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "shop: missing"),
        ({"shop": "acme.example.com"}, "no shop's name"),
        ({"shop": "evil.com/acme.myshopify.com"}, "no shop's name"),
        ({"shop": "acme.myshopify.com.evil.com"}, "no shop's name"),
        ({"shop": "-acme"}, "no shop's name"),
        ({"shop": "acme\n.myshopify.com"}, "no shop's name"),
        ({"shop": "acme", "version": "2026-10"}, "version"),
    ],
)
def test_settings_that_are_wrong(settings: JSON, says: str) -> None:
    with pytest.raises(WrongConfiguration, match=says):
        Shopify.check_settings(settings, Vendors())


def test_an_unknown_stream_is_ours_to_mend(vendor: Vendor) -> None:
    with pytest.raises(Bug, match="no stream products"):
        read(vendor, Task("products", START, END))


# --- Tokens ----------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """A row of data_sources: its secrets, changed by one at a time. At each change, whether the shop saw the new token before."""

    secrets: JSON
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    changes: int = 0

    async def save(self, change: Callable[[Mapping[str, Any]], Awaitable[JSON | None]]) -> Mapping[str, Any]:
        async with self.lock:
            changed = await change(self.secrets)
            if changed is not None:
                self.secrets, self.changes = changed, self.changes + 1
            return self.secrets


def expiring(ends: datetime | None, **more: Any) -> JSON:
    return {
        "access_token": TOKEN,
        "refresh_token": REFRESH,
        **({"expires_at": ends.isoformat()} if ends else {}),
        **CLIENT,
        **more,
    }


def test_a_token_that_is_about_to_end_is_refreshed_and_kept_before_it_is_used(vendor: Vendor) -> None:
    row, shop = Row(expiring(datetime.now(UTC) + timedelta(seconds=30))), Shop([order(1)])
    kept: list[str] = []

    def watched(asked: Asked) -> Response:
        if asked.path.endswith("graphql.json"):
            kept.append(row.secrets["refresh_token"])
        return shop(asked)

    vendor.answer = watched
    assert keys(read(vendor, secrets=row.secrets, save_secrets=row.save)) == ["1"]
    assert kept == ["shprt_rotated_00000001"]
    assert row.secrets["access_token"] == "shpat_granted_00000001"
    assert timedelta(minutes=59) < datetime.fromisoformat(row.secrets["expires_at"]) - datetime.now(UTC) <= timedelta(hours=1)
    assert datetime.fromisoformat(row.secrets["refresh_expires_at"]) > datetime.now(UTC) + timedelta(days=89)
    assert row.secrets["client_id"] == CLIENT["client_id"]
    form = parse_qs(vendor.asked[0].body.decode())
    assert form["grant_type"] == ["refresh_token"]


@pytest.mark.parametrize("ends", [None, datetime.now(UTC) + timedelta(minutes=50)])
def test_a_token_that_ended_sooner_is_refreshed_once(vendor: Vendor, ends: datetime | None) -> None:
    row = Row(expiring(ends))
    vendor.answer = shop = Shop([order(n) for n in range(1, 4)], tokens=set())
    assert keys(read(vendor, secrets=row.secrets, save_secrets=row.save, size=2)) == ["1", "2", "3"]
    assert (row.changes, shop.granted) == (1, 1)


def test_of_two_workers_one_refreshes(vendor: Vendor) -> None:
    vendor.answer = shop = Shop([order(1)], tokens=set())

    async def main() -> list[list[RawPage]]:
        row = Row(expiring(None))
        one = source("shopify", {"shop": SHOP}, row.secrets, save_secrets=row.save)
        async with Http(patience=0.0) as http:
            workers = [Shopify(one, http, vendors(vendor)) for _ in range(2)]
            found = await asyncio.gather(*(gathered(worker.pages(ORDERS)) for worker in workers))
        assert row.changes == 1
        return list(found)

    assert [keys(pages) for pages in asyncio.run(main())] == [["1"], ["1"]]
    assert shop.granted == 1


def test_a_token_that_another_worker_has_stored_is_used(vendor: Vendor) -> None:
    row = Row(expiring(None, access_token="shpat_of_another_one"))
    vendor.answer = shop = Shop([order(1)], tokens={"shpat_of_another_one"}, refresh=set())
    assert keys(read(vendor, secrets=expiring(None), save_secrets=row.save)) == ["1"]
    assert (row.changes, shop.granted) == (0, 0)


def test_a_refreshed_token_that_is_refused_as_well_ends_it(vendor: Vendor) -> None:
    row, shop = Row(expiring(None)), Shop(tokens=set())

    def deaf(asked: Asked) -> Response:
        response = shop(asked)
        shop.tokens = set()
        return response

    vendor.answer = deaf
    with pytest.raises(Reauthorize):
        read(vendor, secrets=row.secrets, save_secrets=row.save)
    assert (row.changes, shop.granted) == (1, 1)


@pytest.mark.parametrize(
    ("secrets", "kind", "says"),
    [
        ({"access_token": TOKEN}, Reauthorize, "connect the source again"),
        (expiring(None, refresh_token="shprt_used_up"), Reauthorize, "invalid_grant"),
        (expiring(None, client_secret="shpss_of_nobody"), Reauthorize, "invalid_client"),
        (expiring(None, refresh_expires_at="2026-01-01T00:00:00+00:00"), Reauthorize, "ended at 2026-01-01"),
        ({"access_token": TOKEN, "refresh_token": REFRESH}, WrongConfiguration, "ANALYTICS_SHOPIFY_CLIENT_ID"),
        (expiring(None, expires_at="soon"), WrongConfiguration, "expires_at"),
    ],
)
def test_a_token_that_cannot_be_renewed(vendor: Vendor, secrets: JSON, kind: type[SourceFailure], says: str) -> None:
    row = Row(secrets)
    vendor.answer = Shop(tokens=set())
    with pytest.raises(kind, match=says) as info:
        read(vendor, secrets=secrets, save_secrets=row.save)
    assert row.secrets == secrets
    assert not any(value in str(info.value) for name, value in secrets.items() if name.endswith(("token", "secret")))


def test_the_deployment_s_app_is_named_where_its_credentials_are_wrong(vendor: Vendor) -> None:
    row = Row({"access_token": TOKEN, "refresh_token": REFRESH})
    vendor.answer = shop = Shop([order(1)], tokens=set())
    at = vendors(vendor, shopify_client_id="app", shopify_client_secret="shpss_wrong")
    with pytest.raises(WrongConfiguration, match="ANALYTICS_SHOPIFY_CLIENT_ID"):
        read(vendor, secrets=row.secrets, save_secrets=row.save, vendors=at)
    good = vendors(vendor, shopify_client_id=CLIENT["client_id"], shopify_client_secret=CLIENT["client_secret"])
    assert keys(read(vendor, secrets=row.secrets, save_secrets=row.save, vendors=good)) == ["1"]
    assert shop.granted == 1
    assert "client_secret" not in row.secrets


def test_a_refresh_token_is_not_used_up_where_its_successor_cannot_be_kept(vendor: Vendor) -> None:
    vendor.answer = shop = Shop(tokens=set())
    with pytest.raises(Bug, match="no place to keep"):
        read(vendor, secrets=expiring(None))
    assert shop.granted == 0


def test_client_credentials_are_turned_into_a_token(vendor: Vendor) -> None:
    row = Row(dict(CLIENT))
    vendor.answer = shop = Shop([order(1)], tokens=set())
    assert keys(read(vendor, secrets=row.secrets, save_secrets=row.save)) == ["1"]
    assert row.secrets["access_token"] == "shpat_granted_00000001"
    assert keys(read(vendor, secrets=row.secrets, save_secrets=row.save)) == ["1"]
    assert shop.granted == 1, "kept for a day"
    shop.tokens = set()
    assert keys(read(vendor, secrets=row.secrets, save_secrets=row.save)) == ["1"]
    assert shop.granted == 2
    assert keys(read(vendor, secrets=dict(CLIENT))) == ["1"], "where nothing can be kept, as before a source is stored"


# --- Bulk operations -------------------------------------------------------------------------------------------------


def bulk_shop(vendor: Vendor, count: int = 7, **more: Any) -> Shop:
    shop = Shop([order(n, 2, 1) if n % 2 else order(n) for n in range(1, count + 1)], url=vendor.url, **more)
    vendor.answer = shop
    return shop


@pytest.mark.parametrize("task", [BACKFILL, Task("orders", START - timedelta(days=6), END)])
def test_a_wide_window_is_read_by_a_bulk_operation(vendor: Vendor, task: Task) -> None:
    shop = bulk_shop(vendor)
    pages = read(vendor, task, size=3)
    assert [page.stream for page in pages] == ["bulk_orders"] * 4
    assert [page.records for page in pages] == [0, 3, 3, 1]
    assert keys(pages) == ["1", "2", "3", "4", "5", "6", "7"]
    assert [page.number for page in pages] == [1, 2, 3, 4]
    assert [page.position is None for page in pages] == [False, False, False, True]
    lines = [record for page in pages for record in json.loads(page.body)]
    assert lines == [json.loads(text) for text in shop.lines().splitlines()]
    assert (
        b"[" + b",".join(shop.lines().splitlines()) + b"]"
        == pages[0].body[:1] + b",".join(page.body[1:-1] for page in pages[1:]) + b"]"
    )
    assert pages[1].instants == (START + timedelta(hours=1), START + timedelta(hours=2))
    assert not any("Signature" in json.dumps(page.position) for page in pages), "an address that is signed is a secret"


def test_a_week_is_no_wide_window(vendor: Vendor) -> None:
    bulk_shop(vendor)
    assert {page.stream for page in read(vendor, Task("orders", END - timedelta(days=7), END))} == {"orders"}


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_goes_on_where_it_stopped(vendor: Vendor, ranges: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shopify_bulk, "_BYTES_AT_ONCE", 700)
    shop = bulk_shop(vendor, ranges=ranges)
    whole = read(vendor, BACKFILL, size=2)
    assert keys(whole) == ["1", "2", "3", "4", "5", "6", "7"]
    for at, page in enumerate(whole[:-1], 1):
        rest = read(vendor, BACKFILL, json.loads(json.dumps(page.position)), size=2)
        assert [(one.body, one.number, one.position) for one in rest] == [
            (one.body, one.number, one.position) for one in whole[at:]
        ]
    assert shop.operations == 1, "an operation that was begun is not begun again"


def test_a_file_is_read_some_bytes_at_a_time(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = bulk_shop(vendor, 40)
    for size in (1_000, 999, 4096, len(shop.lines()), len(shop.lines()) + 1):
        monkeypatch.setattr(shopify_bulk, "_BYTES_AT_ONCE", size)
        vendor.asked.clear()
        assert keys(read(vendor, BACKFILL)) == [str(n) for n in range(1, 41)]
        files = [asked for asked in vendor.asked if asked.path.endswith(".jsonl")]
        assert len(files) == -(-len(shop.lines()) // size)
        assert {asked.headers["accept-encoding"] for asked in files} == {"identity"}


def test_a_page_in_bulk_has_a_limit_in_bytes_too(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    bulk_shop(vendor)
    monkeypatch.setattr(shopify_bulk, "_BYTES_A_PAGE", 1)
    assert [page.records for page in read(vendor, BACKFILL)] == [0, *[1] * 7]


def test_nothing_in_the_window_is_no_file(vendor: Vendor) -> None:
    bulk_shop(vendor, 0)
    pages = read(vendor, BACKFILL)
    assert [(page.body, page.records, page.position is None) for page in pages] == [(b"[]", 0, False), (b"[]", 0, True)]


def test_who_waits_for_an_operation_tells_that_it_is_there(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shopify_bulk, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(shopify_bulk, "_LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(shopify_bulk, "_SILENCE", 0.0)
    shop = bulk_shop(vendor, polls=4)
    pages = read(vendor, BACKFILL)
    assert [page.records for page in pages] == [0, 0, 0, 0, 0, 7]
    assert [page.number for page in pages] == [1, 2, 3, 4, 5, 6]
    assert shop.operations == 1


@pytest.mark.parametrize(
    ("operation", "kind", "says"),
    [
        ({"status": "FAILED", "errorCode": "ACCESS_DENIED"}, PermissionDenied, "read_orders"),
        ({"status": "FAILED", "errorCode": "TIMEOUT"}, AskForLess, "too long"),
        ({"status": "FAILED", "errorCode": "INTERNAL_SERVER_ERROR"}, WindowMoved, "INTERNAL_SERVER_ERROR"),
        ({"status": "CANCELED"}, WindowMoved, "CANCELED"),
        ({"status": "EXPIRED"}, WindowMoved, "no longer known"),
        ({"status": "COMPLETED", "url": None}, WindowMoved, "no longer there"),
        ({"status": "ASLEEP"}, Bug, "ASLEEP"),
    ],
)
def test_an_operation_that_has_no_result(vendor: Vendor, operation: JSON, kind: type[Exception], says: str) -> None:
    bulk_shop(vendor, operation=operation)
    with pytest.raises(kind, match=says):
        read(vendor, BACKFILL)


def test_a_result_that_is_gone_is_made_again(vendor: Vendor) -> None:
    shop = bulk_shop(vendor)
    first = read(vendor, BACKFILL, size=2, most=2)
    vendor.answer = lambda asked: Response("<Error/>", 404) if asked.path.endswith(".jsonl") else shop(asked)
    with pytest.raises(WindowMoved, match="no longer there"):
        read(vendor, BACKFILL, first[1].position)


def test_a_result_that_breaks_off_is_no_result(vendor: Vendor) -> None:
    shop = bulk_shop(vendor, ranges=False)
    vendor.answer = lambda asked: Response(shop.lines()[:-40]) if asked.path.endswith(".jsonl") else shop(asked)
    with pytest.raises(RetryLater, match="breaks off"):
        read(vendor, BACKFILL)


def test_a_result_that_is_not_grouped_is_broken(vendor: Vendor) -> None:
    """A sale on another page than its order would be lost."""
    shop = bulk_shop(vendor)
    shop.orders = [
        *shop.orders[:2],
        {"id": "gid://shopify/SalesAgreement/100", "__parentId": "gid://shopify/Order/9", "agreements": []},
    ]
    pages = read(vendor, BACKFILL)
    assert "not grouped" in pages[-1].broken


def test_a_line_that_is_no_json_is_broken(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    bulk_shop(vendor)
    monkeypatch.setattr(Shop, "lines", lambda _: b'{"id":"gid://shopify/Order/1"}\n{"id": oops}\n')
    assert "no JSON" in read(vendor, BACKFILL)[-1].broken


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://evil.example.com/1.jsonl", ("storage.googleapis.com",)),
        ("https://storage.googleapis.com.evil.com/1.jsonl", ("storage.googleapis.com",)),
        ("https://storage.googleapis.com:8443/1.jsonl", ("storage.googleapis.com",)),
        ("https://storage.googleapis.com@evil.com/1.jsonl", ("storage.googleapis.com",)),
        ("https://user@storage.googleapis.com/1.jsonl", ("storage.googleapis.com",)),
        ("http://storage.googleapis.com/1.jsonl", ("storage.googleapis.com",)),
        ("http://169.254.169.254/latest", ("storage.googleapis.com",)),
        ("http://10.0.0.1/1.jsonl", ("10.0.0.1",)),
        ("file:///etc/passwd", ("storage.googleapis.com", "")),
    ],
)
def test_a_result_is_read_from_known_hosts_only(vendor: Vendor, url: str, hosts: tuple[str, ...]) -> None:
    bulk_shop(vendor, operation={"status": "COMPLETED", "url": f"{url}?signature=s3cret"})
    with pytest.raises(WrongConfiguration, match="ANALYTICS_SHOPIFY_DOWNLOAD_HOSTS") as info:
        read(vendor, BACKFILL, vendors=vendors(vendor, shopify_download_hosts=hosts))
    assert "s3cret" not in str(info.value)
    assert not any(asked.path.endswith(".jsonl") for asked in vendor.asked)


@pytest.mark.parametrize("host", ["storage.googleapis.com", "storage.googleapis.com:443"])
def test_shopify_s_own_storage_is_known(host: str) -> None:
    shopify_bulk.check_download(f"https://{host}/x/1.jsonl?a=b", Vendors())


def test_a_shop_with_all_its_operations_under_way_is_asked_later(vendor: Vendor) -> None:
    bulk_shop(vendor, refusal={"field": None, "message": "Already in progress.", "code": "OPERATION_IN_PROGRESS"})
    with pytest.raises(Throttled, match="OPERATION_IN_PROGRESS") as info:
        read(vendor, BACKFILL)
    assert info.value.retry_at is not None


def test_where_shopify_runs_no_such_operation_the_orders_are_read_page_by_page(vendor: Vendor) -> None:
    """In April 2026 it refused agreements in bulk for weeks."""
    refusal = {"field": ["query"], "code": "INVALID", "message": "must implement Node. Invalid connections: agreements."}
    bulk_shop(vendor, refusal=refusal)
    pages = read(vendor, BACKFILL, size=3)
    assert {page.stream for page in pages} == {"orders"}
    assert keys(pages) == ["1", "2", "3", "4", "5", "6", "7"]
    assert {page.flags for page in pages} == {("bulk_refused",)}
    rest = read(vendor, BACKFILL, pages[0].position)
    assert keys(rest) == ["4", "5", "6", "7"]


# --- The sandbox -----------------------------------------------------------------------------------------------------


def amounts(pages: list[RawPage]) -> dict[str, dict[str, Decimal]]:
    """By order id, the amount of each of its sales by id."""
    found: dict[str, dict[str, Decimal]] = {}

    def add(order_id: str, sale: JSON) -> None:
        found.setdefault(order_id, {})[sale["id"]] = Decimal(sale["totalAmount"]["shopMoney"]["amount"])

    for page in pages:
        value, owners = json.loads(page.body), dict[str, str]()
        if page.stream == "orders":
            nodes = value["data"]["orders"]["nodes"] if "orders" in value["data"] else [value["data"]["order"]]
            for node in nodes:
                for agreement in node["agreements"]["nodes"]:
                    for sale in agreement["sales"]["nodes"]:
                        add(node["id"], sale)
            continue
        for record in value:
            parent = record.get("__parentId")
            owners[record["id"]] = record["id"] if parent is None else owners[parent]
            if "actionType" in record:
                add(owners[record["id"]], record)
    return found


@pytest.mark.parametrize("purpose", ["reread", "backfill"])
def test_a_shop_of_the_sandbox_is_read_whole(purpose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world, now = make_world(1, date(2026, 9, 1), seed=5, orders_per_day=20), datetime(2026, 9, 5, 12, tzinfo=UTC)
    (one,) = world.organizations
    with running(Sandbox(world, Clock(now))) as base:
        for variable, value in vendor_environment(base).items():
            monkeypatch.setenv(variable, value)
        at = Vendors.load()
        settings, secrets = connection_of(one, "shopify", base)
        cuts = [datetime(2026, 8, 31, tzinfo=UTC), datetime(2026, 9, 3, tzinfo=UTC), now]

        async def everything(connector: Shopify) -> list[RawPage]:
            assert (await connector.account()).currency == one.currency
            tasks = [Task("orders", start, end, purpose) for start, end in pairwise(cuts)]
            return [page for task in tasks for page in await gathered(connector.pages(task))]

        pages: list[RawPage] = with_connector(
            Shopify, source("shopify", Shopify.check_settings(settings, at), secrets), at, everything
        )
        assert all(page.stream == ("orders" if purpose == "reread" else "bulk_orders") for page in pages)
        assert any(page.request for page in pages) == (purpose == "reread"), "some orders of the sandbox do not fit on a page"
    moment = int(now.timestamp())
    whole = [history("shopify", one.shop, entry) for entry in born_within("shopify", one.shop, world.first_day, now.date())]
    states = {str(each.order.id): state for each in whole if (state := each.at(moment)) is not None}
    assert set(keys(pages)) == states.keys()
    ledgers = amounts(pages)
    expected = {
        f"gid://shopify/Order/{number}": Decimal(0)
        if state.status == "cancelled"
        else state.basket.total - sum(refund.amount for refund in state.refunds)
        for number, state in states.items()
    }
    assert {number: sum(found.values()) for number, found in ledgers.items()} == expected


def test_a_shop_of_the_sandbox_rotates_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(1, date(2026, 9, 1))
    (one,) = world.organizations
    with running(Sandbox(world, Clock(datetime(2026, 9, 3, tzinfo=UTC)))) as base:
        for variable, value in vendor_environment(base).items():
            monkeypatch.setenv(variable, value)
        row = Row({"access_token": "shpat_has_ended", "refresh_token": refresh_token(one)})

        def names() -> str:
            connected = source("shopify", {"shop": one.shop_domain}, row.secrets, save_secrets=row.save)
            return str(with_connector(Shopify, connected, Vendors.load(), lambda connector: connector.account()).name)

        assert names() == names() == one.shop.name
        row.secrets = {**row.secrets, "access_token": "shpat_has_ended"}
        assert names() == one.shop.name
        assert row.changes == 2
