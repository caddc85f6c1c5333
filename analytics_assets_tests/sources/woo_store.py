"""A WooCommerce store on the loopback address: what it answers, and how it is read in tests."""

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response

from analytics_assets.sources.connector import RawPage, Source, Task
from analytics_assets.sources.vendors import Vendors
from analytics_assets.sources.woocommerce import WooCommerce
from analytics_assets_tests.sources.vendor import Asked, Vendor, gathered, reply, source

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
