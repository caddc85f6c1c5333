"""A Shopify shop on the loopback address: what it answers, and how it is read in tests."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import Response

from analytics_assets.sources.connector import RawPage, Task
from analytics_assets.sources.shopify import Shopify
from analytics_assets.sources.vendors import Vendors
from analytics_assets_tests.sources.vendor import Asked, Vendor, gathered, reply, source

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
