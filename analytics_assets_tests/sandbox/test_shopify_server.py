"""Shopify's GraphQL: what is read is the truth, searching, paging and points."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from analytics_assets.sandbox.faults import Fault
from analytics_assets.sandbox.store_truth import daily_truth_shopify, hourly_truth_shopify, local_hour
from analytics_assets.sandbox.world import SandboxOrganization
from analytics_assets_tests.sandbox.shopify_reader import ORDERS, Node, Served, ShopClient, every_order, money, serve
from analytics_assets_tests.sandbox.store_server import BERLIN, HOWE, KOLKATA, NOW, WORLD

served = pytest.fixture(serve)
#: For tests that neither set clock or faults nor spend many points.
shared = pytest.fixture(serve, scope="module")


# --- What is read is the truth -----------------------------------------------------------------------------


def recomputed(orders: list[Node], one: SandboxOrganization) -> dict[tuple[str, datetime], Decimal]:
    """The metrics by Shopify's own rules, from what the API says."""
    rows: dict[tuple[str, datetime], Decimal] = {}

    def add(metric: str, when: str, value: Decimal | int) -> None:
        hour = datetime.fromtimestamp(local_hour(one.shop, int(datetime.fromisoformat(when).timestamp())), UTC)
        rows[metric, hour] = rows.get((metric, hour), Decimal(0)) + value

    met: set[str] = set()
    for order in sorted((order for order in orders if not order["test"]), key=lambda order: str(order["processedAt"])):
        who = order["customer"]
        add("orders", order["processedAt"], 1)
        add("customers_new", order["processedAt"], int(who is not None and who["id"] not in met))
        met |= {who["id"]} if who else set()
        if order["cancelledAt"]:
            add("cancelled_orders", order["cancelledAt"], 1)
        for agreement in order["agreements"]:
            when = agreement["happenedAt"]
            for sale in agreement["sales"]:
                total, tax = money(sale["totalAmount"]), money(sale["totalTaxAmount"])
                discount, is_shipping = money(sale["totalDiscountAmountBeforeTaxes"]), sale["lineType"] == "SHIPPING"
                add("total_sales", when, total)
                add("taxes", when, tax)
                add("net_sales", when, Decimal(0) if is_shipping else total - tax)
                add("shipping_revenue", when, total - tax if is_shipping else Decimal(0))
                if sale["actionType"] == "RETURN":
                    add("refunds_amount", when, -total)
                else:
                    add("items_sold", when, sale["quantity"] if sale["lineType"] == "PRODUCT" else 0)
                    add("gross_sales", when, Decimal(0) if is_shipping else total - tax + discount)
                    add("discounts", when, Decimal(0) if is_shipping else discount)
            if any(sale["actionType"] == "RETURN" for sale in agreement["sales"]):
                add("refunds_count", when, 1)
    return rows


@pytest.mark.parametrize("one", [BERLIN, KOLKATA, HOWE], ids=lambda one: one.slug)
def test_every_order_drained_to_its_last_sale_makes_the_truth(
    served: Served, one: SandboxOrganization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analytics_assets.sandbox.shopify_access.RESTORE", 1_000_000)
    orders = every_order(served.shop(one))
    assert len({order["id"] for order in orders}) == len(orders) > 150
    for order in orders:
        sales = [sale for agreement in order["agreements"] for sale in agreement["sales"]]
        assert sum(money(sale["totalAmount"]) for sale in sales) == money(order["currentTotalPriceSet"])
        assert len({sale["id"] for sale in sales}) == len(sales)
    assert recomputed(orders, one) == hourly_truth_shopify(WORLD, one, NOW)
    assert any(order["test"] for order in orders) or one is not BERLIN
    days = [day for metric, day in daily_truth_shopify(WORLD, one, NOW) if metric == "customers_ordering"]
    assert len(days) > 20


def test_some_orders_need_draining(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analytics_assets.sandbox.shopify_access.RESTORE", 1_000_000)
    orders = [order for one in WORLD.organizations[:3] for order in every_order(served.shop(one), "updated_at:>=2026-10-14")]
    assert max(len(order["agreements"]) for order in orders) > 20
    assert max(len(agreement["sales"]) for order in orders for agreement in order["agreements"]) > 50
    reasons = {agreement["reason"] for order in orders for agreement in order["agreements"]}
    assert reasons == {"ORDER", "ORDER_EDIT", "REFUND"}
    sales = [sale for order in orders for agreement in order["agreements"] for sale in agreement["sales"]]
    assert {sale["actionType"] for sale in sales} == {"ORDER", "RETURN", "UPDATE"}
    assert {sale["lineType"] for sale in sales} == {"PRODUCT", "SHIPPING", "FEE"}
    assert any(order["processedAt"] < order["createdAt"] for order in orders)
    assert any(order["customer"] is None for order in orders)


# --- GraphQL -----------------------------------------------------------------------------------------------


def test_the_answer_has_the_fields_that_were_asked_for_in_their_order(shared: Served) -> None:
    query = """query Two($n: Int = 1, $with: Boolean!) {
      store: shop { ianaTimezone name ...Money }
      orders(first: $n, sortKey: ID, reverse: true) { edges { node { ...O legacyResourceId } } }
    }
    fragment Money on Shop { currencyCode plan @include(if: $with) { displayName } }
    fragment O on Order {
      total: totalPriceSet { shopMoney { currencyCode amount } } id
      agreements(first: 1) { nodes { __typename ... on OrderAgreement { reason } ... on RefundAgreement { happenedAt } } }
    }"""
    data = shared.shop(KOLKATA).ask(query, **{"with": False})
    assert list(data) == ["store", "orders"]
    assert list(data["store"].items()) == [("ianaTimezone", "Asia/Kolkata"), ("name", KOLKATA.name), ("currencyCode", "INR")]
    node = data["orders"]["edges"][0]["node"]
    assert list(node) == ["total", "id", "agreements", "legacyResourceId"]
    assert list(node["total"]["shopMoney"]) == ["currencyCode", "amount"]
    assert node["agreements"]["nodes"] == [{"__typename": "OrderAgreement", "reason": "ORDER"}]
    assert node["id"] == f"gid://shopify/Order/{node['legacyResourceId']}"
    same = shared.shop(KOLKATA).ask(
        'query($id:ID!){node(id:$id){... on Order{id}} order(id:$id){id} nodes(ids:[$id,"gid://shopify/Order/1"]){id}}',
        id=node["id"],
    )
    assert same == {"node": {"id": node["id"]}, "order": {"id": node["id"]}, "nodes": [{"id": node["id"]}, None]}


@pytest.mark.parametrize(
    ("query", "says", "code"),
    [
        ("{ shop { nme } }", "Cannot query field 'nme' on type 'Shop'", "undefinedField"),
        ("{ shop { name }", "Syntax Error", None),
        ("{ orders { nodes { id } } }", "one of first or last", "BAD_REQUEST"),
        ("{ orders(first: 251) { nodes { id } } }", "not between 0 and 250", "BAD_USER_INPUT"),
        ('{ orders(first: 1, after: "x") { nodes { id } } }', "Invalid cursor", "BAD_USER_INPUT"),
        ('{ orders(first: 1, query: "updated_at:>=soon") { nodes { id } } }', "Invalid timestamp", "BAD_USER_INPUT"),
        ("query($n: Int!) { orders(first: $n) { nodes { id } } }", "$n", "INVALID_VARIABLE"),
    ],
)
def test_what_is_no_query_is_refused_at_200(shared: Served, query: str, says: str, code: str | None) -> None:
    answer = shared.shop(BERLIN).post(query)
    (error,) = answer.json()["errors"]
    assert answer.status_code == 200 and says in error["message"] and "data" not in answer.json()
    assert error.get("extensions", {}).get("code") == code


def test_bodies_that_are_no_request_and_shops_that_are_none(shared: Served) -> None:
    shop = shared.shop(BERLIN)
    url, token = f"{shop.base}/api/2026-10/graphql.json", {"X-Shopify-Access-Token": shop.token}
    assert shared.http.post(url, content=b"[]", headers=token).status_code == 400
    text = shared.http.post(url, content=b"{shop{name}}", headers={**token, "Content-Type": "application/graphql"})
    assert text.json()["data"] == {"shop": {"name": BERLIN.name}}
    other = shared.http.post(url.replace(BERLIN.shop_domain, "no.myshopify.com"), json={"query": "{shop{name}}"}, headers=token)
    assert (other.status_code, other.json()) == (404, {"errors": "Not Found"})
    schema = shop.post("{__schema{queryType{name}}}").json()["data"]
    assert schema == {"__schema": {"queryType": {"name": "QueryRoot"}}}


@pytest.mark.parametrize(
    ("asked", "answers"), [("2026-10", "2026-10"), ("2024-04", "2026-01"), ("2030-01", "2026-10"), ("unstable", "unstable")]
)
def test_a_version_that_is_not_open_falls_forward(shared: Served, asked: str, answers: str) -> None:
    answer = shared.shop(BERLIN).post("{shop{name}}", version=asked)
    assert (answer.status_code, answer.headers["X-Shopify-API-Version"]) == (200, answers)
    assert shared.shop(BERLIN).post("{shop{name}}", version="v1").status_code == 404


# --- Searching ---------------------------------------------------------------------------------------------

IDS = "query($q:String,$after:String,$key:OrderSortKeys,$r:Boolean,$n:Int!){orders(first:$n,after:$after,sortKey:$key,reverse:$r,query:$q){pageInfo{hasNextPage endCursor} nodes{id updatedAt processedAt test}}}"


def listed(shop: ShopClient, search: str | None = None, key: str = "UPDATED_AT", reverse: bool = False) -> list[Node]:
    found: list[Node] = []
    after = None
    while True:
        page = shop.ask(IDS, q=search, after=after, key=key, r=reverse, n=100)["orders"]
        found += page["nodes"]
        if not page["pageInfo"]["hasNextPage"]:
            return found
        after = page["pageInfo"]["endCursor"]


def test_both_ends_of_a_window_belong_to_it(served: Served) -> None:
    shop = served.shop(BERLIN)
    orders = listed(shop)
    assert [order["updatedAt"] for order in orders] == sorted(order["updatedAt"] for order in orders)
    low, high = orders[30]["updatedAt"], orders[80]["updatedAt"]
    for search in (f"updated_at:>'{low}' AND updated_at:<'{high}'", f'updated_at:>="{low}" updated_at:<={high}'):
        found = listed(shop, search)
        assert found == [order for order in orders if low <= order["updatedAt"] <= high]
    processed = listed(shop, f"processed_at:>='{low}' AND status:any", "PROCESSED_AT", reverse=True)
    assert processed == sorted(
        (order for order in orders if order["processedAt"] >= low), key=lambda o: (o["processedAt"], o["id"]), reverse=True
    )
    assert listed(shop, "test:true") == [order for order in orders if order["test"]]
    number = orders[5]["id"].rpartition("/")[2]
    assert listed(shop, f"id:{number}", "ID") == [orders[5]]


def test_a_filter_that_is_not_known_is_read_over_with_a_warning(shared: Served) -> None:
    answer = shared.shop(BERLIN).post(IDS, q="colour:red", n=1).json()
    assert len(answer["data"]["orders"]["nodes"]) == 1
    (warning,) = answer["extensions"]["search"]
    assert warning["warnings"][0]["field"] == "colour"


def test_an_order_that_changes_between_two_pages_moves_to_the_end(served: Served) -> None:
    shop = served.shop(BERLIN)
    moments = [NOW - timedelta(days=4), NOW - timedelta(days=1)]
    served.sandbox.clock.set(moments[0])
    whole = listed(shop)
    first = shop.ask(IDS, key="UPDATED_AT", r=False, n=20)["orders"]
    served.sandbox.clock.set(moments[1])
    rest, after = [], first["pageInfo"]["endCursor"]
    while after:
        page = shop.ask(IDS, after=after, key="UPDATED_AT", r=False, n=50)["orders"]
        rest += page["nodes"]
        after = page["pageInfo"]["endCursor"] if page["pageInfo"]["hasNextPage"] else None
    newest = {order["id"]: order for order in listed(shop)}
    read = {order["id"]: order for order in [*first["nodes"], *rest]}
    assert {order["id"] for order in whole} <= set(read)
    assert read == newest


# --- Points ------------------------------------------------------------------------------------------------


def test_the_cost_of_a_connection_grows_with_its_logarithm(served: Served) -> None:
    shop = served.shop(BERLIN)

    def cost(query: str) -> Any:
        return shop.post(query).json()["extensions"]["cost"]

    assert cost("{shop{name}}")["requestedQueryCost"] == 1
    assert cost("{orders(first:200){nodes{id}}}")["requestedQueryCost"] == 12
    assert cost("{orders(first:250){nodes{customer{id}}}}")["requestedQueryCost"] == 24
    assert cost("{orders(first:10){edges{cursor node{id}} pageInfo{hasNextPage}}}")["requestedQueryCost"] == 6
    few = cost('{orders(first:250, query:"id:1"){nodes{customer{id}}}}')
    assert (few["requestedQueryCost"], few["actualQueryCost"]) == (24, 2)
    asked = shop.post("{orders(first:250){nodes{agreements(first:250){nodes{sales(first:250){nodes{id}}}}}}}").json()
    (error,) = asked["errors"]
    want = 2 + (1 + 2 + (1 + 2 + 1 * 11) * 11) * math.floor(2 * math.log(250))
    assert error["extensions"] | {"documentation": ""} == {
        "code": "MAX_COST_EXCEEDED", "cost": want, "maxCost": 1000, "documentation": "",
    }  # fmt: skip


def test_an_empty_bucket_throttles_and_fills_with_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, query = served.shop(BERLIN), ORDERS
    levels = []
    for _ in range(40):
        answer = shop.post(query, first=20)
        body = answer.json()
        status = body["extensions"]["cost"]["throttleStatus"]
        levels.append(status["currentlyAvailable"])
        if "errors" in body:
            break
    assert answer.status_code == 200 and "data" not in body
    assert body["errors"] == [
        {
            "message": "Throttled",
            "extensions": {"code": "THROTTLED", "documentation": "https://shopify.dev/api/usage/rate-limits"},
        }
    ]
    cost = body["extensions"]["cost"]
    assert cost["actualQueryCost"] is None and status["currentlyAvailable"] < cost["requestedQueryCost"]
    assert (status["maximumAvailable"], status["restoreRate"]) == (2000, 100)
    assert levels[0] > levels[3] > levels[-1]
    assert "data" in served.shop(KOLKATA).post(query, first=20).json()
    monkeypatch.setattr("analytics_assets.sandbox.shopify_access.RESTORE", 1_000_000)
    assert "data" in shop.post(query, first=20).json()


def test_faults_have_shopifys_form(served: Served) -> None:
    shop = served.shop(BERLIN)
    served.sandbox.faults.add(Fault("throttled", "shopify", BERLIN.slug, most=1, seconds=0.05))
    answer = shop.post(ORDERS, first=20).json()
    cost = answer["extensions"]["cost"]
    assert answer["errors"][0]["extensions"]["code"] == "THROTTLED"
    wait = (cost["requestedQueryCost"] - cost["throttleStatus"]["currentlyAvailable"]) / cost["throttleStatus"]["restoreRate"]
    assert 0.03 < wait < 0.08
    served.sandbox.faults.add(Fault("reduce", "shopify", most=1))
    assert shop.post(ORDERS, first=1).json()["errors"][0]["extensions"]["code"] == "MAX_COST_EXCEEDED"
    served.sandbox.faults.add(Fault("forbidden", "shopify", most=1))
    assert shop.post(ORDERS, first=1).json()["errors"][0]["extensions"]["code"] == "ACCESS_DENIED"
    served.sandbox.faults.add(Fault("revoked", "shopify", most=1))
    assert shop.post(ORDERS, first=1).status_code == 401
    assert "data" in shop.post(ORDERS, first=1).json()
