"""The Shopify connector: windows that are read page by page, and orders that do not fit on a page."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from starlette.responses import Response

from analytics_assets.sandbox.app import connection_of, running, vendor_environment
from analytics_assets.sandbox.shopify_access import refresh_token
from analytics_assets.sandbox.shopify_graphql import prepare, requested_cost
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.store_state import born_within, history
from analytics_assets.sandbox.world import Clock, make_world
from analytics_assets.sources import shopify_queries
from analytics_assets.sources.connector import RawPage, Task
from analytics_assets.sources.failures import (
    AskForLess,
    Bug,
)
from analytics_assets.sources.shopify import Shopify
from analytics_assets.sources.vendors import Vendors
from analytics_assets_tests.sources.shopify_shop import (
    BACKFILL,
    JSON,
    SHOP,
    START,
    TOKEN,
    Row,
    Shop,
    all_sales,
    keys,
    ledger,
    order,
    read,
    sales,
)
from analytics_assets_tests.sources.vendor import Asked, Vendor, gathered, reply, serving, source, with_connector


@pytest.fixture(scope="module")
def server() -> Iterator[Vendor]:
    with serving() as vendor:
        yield vendor


@pytest.fixture
def vendor(server: Vendor) -> Vendor:
    server.reset()
    return server


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


@pytest.mark.parametrize("cursors", [["1"], ["1", "2"], ["1", "2", "3"]])
@pytest.mark.parametrize("per_page", [5, 1])
@pytest.mark.parametrize("position", [None, {"after": "1", "number": 2, "read": 1}])
def test_a_list_whose_cursor_leads_back_is_no_endless_loop(
    vendor: Vendor, cursors: list[str], position: JSON | None, per_page: int
) -> None:
    """Also where an order in it is drained in between."""
    following = dict(pairwise([None, *cursors, cursors[0]]))

    def circle(asked: Asked) -> Response:
        variables = asked.json["variables"]
        if "id" in variables:
            return reply({"data": {"order": ledger(order(1, 1, 1), variables, variables["after"])}})
        end = following[variables["after"]]
        page = {
            "nodes": [ledger(order(1, 1, 1), {"agreements": per_page, "sales": 5})],
            "pageInfo": {"hasNextPage": True, "endCursor": end},
        }
        return reply({"data": {"orders": page}})

    vendor.answer = circle
    with pytest.raises(Bug, match="endCursor leads back"):
        read(vendor, position=position)
    assert len([asked for asked in vendor.asked if "id" not in asked.json["variables"]]) <= len(cursors) + 1


@pytest.mark.parametrize("part", ["agreements", "sales"])
def test_an_order_whose_cursor_leads_back_is_no_endless_loop(vendor: Vendor, part: str) -> None:
    """The cursor of its agreements, or of the sales of one of them, stays where it is."""
    stuck = {"hasNextPage": True, "endCursor": "7"}
    shop = Shop([order(1, 1)])

    def circle(asked: Asked) -> Response:
        body = json.loads(bytes(shop(asked).body))
        found = body["data"]["order"] if "order" in body["data"] else body["data"]["orders"]["nodes"][0]
        node = found["agreements"] if part == "agreements" else found["agreements"]["nodes"][0]["sales"]
        node["pageInfo"] = stuck
        return reply(body)

    vendor.answer = circle
    shop.orders[0]["agreements"] *= 40
    with pytest.raises(Bug, match="endCursor leads back"):
        read(vendor)
    assert len(vendor.asked) <= 4


def test_an_order_that_comes_again_is_drained_again(vendor: Vendor) -> None:
    """An order that was edited while the list is read stands on a later page once more, with the same cursors within."""
    again = order(1, *[1] * 12)
    vendor.answer = Shop([again, again])
    pages = read(vendor, size=1)
    assert pages[-1].position is None
    drains = [json.dumps(page.request) for page in pages if page.request]
    assert drains and drains[: len(drains) // 2] == drains[len(drains) // 2 :]


def test_a_page_of_something_else_is_broken(vendor: Vendor) -> None:
    vendor.answer = lambda _: reply({"data": {"products": {}}})
    assert "no page of orders" in read(vendor)[0].broken


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
            Shopify, source("shopify", Shopify.check_settings(settings, at), secrets), at, everything, patience=10.0
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
