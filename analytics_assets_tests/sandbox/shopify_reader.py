"""A client of the sandbox's Shopify shops that reads what there is: it waits when it is throttled, and drains every page."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx

from analytics_assets.sandbox.app import running
from analytics_assets.sandbox.shopify_access import access_token
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import SandboxOrganization
from analytics_assets_tests.sandbox.store_server import fresh

Node = dict[str, Any]
MONEY = "{shopMoney{amount currencyCode}}"
SALE = f"id actionType lineType quantity totalAmount{MONEY} totalTaxAmount{MONEY} totalDiscountAmountBeforeTaxes{MONEY}"
ORDER = f"id createdAt processedAt updatedAt cancelledAt test customer{{id}} currentTotalPriceSet{MONEY}"
ORDERS = f"""query($q:String,$after:String,$first:Int!){{ orders(first:$first, after:$after, sortKey:UPDATED_AT, query:$q){{
  pageInfo{{hasNextPage endCursor}}
  nodes{{ {ORDER}
    agreements(first:10){{ pageInfo{{hasNextPage endCursor}}
      edges{{ cursor node{{ id happenedAt reason sales(first:20){{ pageInfo{{hasNextPage endCursor}} nodes{{ {SALE} }} }} }} }} }} }} }} }}"""
AGREEMENTS = f"""query($id:ID!,$after:String,$first:Int!,$sale:String){{ order(id:$id){{
  agreements(first:$first, after:$after){{ pageInfo{{hasNextPage endCursor}}
    edges{{ cursor node{{ id happenedAt reason
      sales(first:20, after:$sale){{ pageInfo{{hasNextPage endCursor}} nodes{{ {SALE} }} }} }} }} }} }} }}"""


class ShopClient:
    """Asks one shop, with its custom app's token unless another one is given."""

    def __init__(self, http: httpx.Client, base: str, one: SandboxOrganization, token: str | None = None) -> None:
        self.http, self.one, self.token = http, one, access_token(one) if token is None else token
        self.base = f"{base}/shopify/{one.shop_domain}/admin"

    def post(self, query: str, /, version: str = "2026-10", **variables: Any) -> httpx.Response:
        return self.http.post(
            f"{self.base}/api/{version}/graphql.json",
            json={"query": query, "variables": variables},
            headers={"X-Shopify-Access-Token": self.token},
        )

    def ask(self, query: str, /, **variables: Any) -> Any:
        """The data; waits where the bucket is empty."""
        while True:
            answer = self.post(query, **variables).json()
            cost = answer["extensions"]["cost"] if "extensions" in answer else {}
            if "data" in answer and "errors" not in answer:
                return answer["data"]
            assert answer["errors"][0]["extensions"]["code"] == "THROTTLED", answer
            status = cost["throttleStatus"]
            time.sleep((cost["requestedQueryCost"] - status["currentlyAvailable"]) / status["restoreRate"] + 0.02)

    def grant(self, **form: str) -> httpx.Response:
        return self.http.post(f"{self.base}/oauth/access_token", json=form)


@dataclass
class Served:
    base: str
    sandbox: Sandbox
    http: httpx.Client

    def shop(self, one: SandboxOrganization, token: str | None = None) -> ShopClient:
        return ShopClient(self.http, self.base, one, token)


def serve() -> Iterator[Served]:
    """A fixture: a server of its own."""
    sandbox = fresh()
    with running(sandbox) as base, httpx.Client() as http:
        yield Served(base, sandbox, http)


def money(bag: Node) -> Decimal:
    return Decimal(bag["shopMoney"]["amount"])


def drained(shop: ShopClient, order: Node) -> list[Node]:
    """All agreements of an order with all their sales: the first pages that came with it, and the ones asked for."""
    found: list[Node] = []
    page = order["agreements"]
    while True:
        previous = None if not found else found[-1]["cursor"]
        for edge in page["edges"]:
            sales = edge["node"]["sales"]
            nodes = list(sales["nodes"])
            while sales["pageInfo"]["hasNextPage"]:
                more = shop.ask(AGREEMENTS, id=order["id"], after=previous, first=1, sale=sales["pageInfo"]["endCursor"])
                (only,) = more["order"]["agreements"]["edges"]
                assert only["node"]["id"] == edge["node"]["id"]
                sales = only["node"]["sales"]
                nodes += sales["nodes"]
            previous = edge["cursor"]
            found.append({**edge["node"], "cursor": edge["cursor"], "sales": nodes})
        if not page["pageInfo"]["hasNextPage"]:
            return found
        page = shop.ask(AGREEMENTS, id=order["id"], after=page["pageInfo"]["endCursor"], first=10)["order"]["agreements"]


def every_order(shop: ShopClient, search: str | None = None) -> list[Node]:
    found: list[Node] = []
    after = None
    while True:
        page = shop.ask(ORDERS, q=search, after=after, first=20)["orders"]
        found += [{**order, "agreements": drained(shop, order)} for order in page["nodes"]]
        if not page["pageInfo"]["hasNextPage"]:
            return found
        after = page["pageInfo"]["endCursor"]
