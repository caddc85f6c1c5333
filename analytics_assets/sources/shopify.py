"""Orders of a Shopify shop with their ledger, from its GraphQL Admin API.

A ledger are the sales of an order's agreements: what was sold, changed or given back, each at its own moment. An order
with more of them than fit on a page is drained by further pages of its own, before the next orders are read. Wide windows
are read by a bulk operation.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, ClassVar

from analytics_assets.sources.connector import JSON, Account, Connector, RawPage, Source, StreamPolicy, Task
from analytics_assets.sources.failures import AskForLess, Bug, PermissionDenied, WrongConfiguration
from analytics_assets.sources.http import Http
from analytics_assets.sources.shopify_answers import end_of, instants_of, key_of, nodes_of, rest_of
from analytics_assets.sources.shopify_bulk import ORDERS_A_PAGE, BulkReader, BulkRefused, Part
from analytics_assets.sources.shopify_client import GraphQL, ShopClient
from analytics_assets.sources.shopify_queries import (
    ACCOUNT,
    AGREEMENTS_AT_ONCE,
    DRAINED_SALES,
    ORDER_AGREEMENTS,
    ORDERS,
    ORDERS_AT_ONCE,
    SALES_AT_ONCE,
    SALES_OF_ONE,
    search,
)
from analytics_assets.sources.vendors import Vendors

_SHOP = re.compile(r"[a-z0-9][a-z0-9-]*\.myshopify\.com")
_WIDE = timedelta(days=7)
# Shopify pages no deeper into a list.
_DEEPEST = 25_000


@dataclass(frozen=True)
class _Place:
    """Where in a window a page begins, where it is read page by page.

    Attributes:
        after: cursor of the orders page; first: orders on it.
        number: of the page within the window; read: orders before it.
        drain: what of the orders before it is still to be read, one request each: see rest_of.
        is_end: there are no more orders after these.
        flags: remarks that stay for the whole window.
    """

    after: str | None = None
    first: int = ORDERS_AT_ONCE
    number: int = 1
    read: int = 0
    drain: tuple[JSON, ...] = ()
    is_end: bool = False
    flags: tuple[str, ...] = ()

    @property
    def is_over(self) -> bool:
        return self.is_end and not self.drain

    def json(self) -> JSON | None:
        """As the position of a page: None where nothing is left."""
        return None if self.is_over else {**asdict(self), "drain": list(self.drain), "flags": list(self.flags)}

    @staticmethod
    def of(position: JSON) -> _Place:
        return _Place(**{**position, "drain": tuple(position.get("drain", ())), "flags": tuple(position.get("flags", ()))})


class Shopify(Connector):
    """A shop, read with an app's access token."""

    source_type: ClassVar[str] = "shopify"
    policies: ClassVar[tuple[StreamPolicy, ...]] = (
        StreamPolicy("orders", "entity", timedelta(minutes=10), timedelta(hours=48), timedelta(days=30)),
    )
    required_settings: ClassVar[tuple[str, ...]] = ("shop",)
    secret_choices: ClassVar[tuple[tuple[str, ...], ...]] = (("access_token",), ("client_id", "client_secret"))

    def __init__(self, source: Source, http: Http, vendors: Vendors, *, page_size: int | None = None) -> None:
        super().__init__(source, http, vendors, page_size=page_size)
        self.client = ShopClient(source, http, vendors)

    def secrets(self) -> Mapping[str, Any]:
        return self.client.secrets()

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any], vendors: Vendors) -> JSON:
        """shop as its name at Shopify, x.myshopify.com."""
        unknown = sorted(set(settings) - {"shop"})
        if unknown:
            raise WrongConfiguration(f"{unknown[0]!r}: no setting of a Shopify source; there is shop")
        shop = settings.get("shop")
        if not isinstance(shop, str) or not shop.strip():
            raise WrongConfiguration("shop: missing; expected the shop's name at Shopify, such as example.myshopify.com")
        name = shop.strip().lower()
        name = name if "." in name else f"{name}.myshopify.com"
        if _SHOP.fullmatch(name) is None:
            raise WrongConfiguration(
                f"shop: {shop[:80]!r} is no shop's name at Shopify; expected example.myshopify.com, not the address that buyers see"
            )
        return {"shop": name}

    async def account(self) -> Account:
        """What the shop says of itself, and what the app may read."""
        answer = await self.client.ask(ACCOUNT)
        shop, app = answer.data.get("shop"), answer.data.get("currentAppInstallation")
        listed = app.get("accessScopes") if isinstance(app, dict) else None
        scopes = {scope.get("handle") for scope in listed if isinstance(scope, dict)} if isinstance(listed, list) else set()
        if not isinstance(shop, dict) or not shop.get("ianaTimezone") or not shop.get("currencyCode"):
            raise Bug(f"shop {self.client.shop}: it names neither time zone nor currency")
        if not scopes & {"read_orders", "read_all_orders"}:
            raise PermissionDenied(
                f"shop {self.client.shop}: the app lacks the scope read_orders; give it that, read_all_orders and read_customers, and "
                "install it again"
            )
        notes = (
            () if "read_all_orders" in scopes else ("only the last 60 days can be read: the app lacks the scope read_all_orders",)
        )
        return Account(str(shop["ianaTimezone"]), str(shop["currencyCode"]), str(shop.get("name") or ""), notes)

    async def pages(self, task: Task, position: JSON | None = None) -> AsyncIterator[RawPage]:
        """See Connector. A window without orders is one page without orders."""
        if task.stream != "orders":
            raise Bug(f"shopify has no stream {task.stream}")
        is_bulk = "bulk" in position if position else task.purpose == "backfill" or task.end - task.start > _WIDE
        place = _Place(first=self.page_size or ORDERS_AT_ONCE)
        if is_bulk:
            try:
                async for page in self._bulk_pages(task, position):
                    yield page
                return
            except BulkRefused:
                place = replace(place, flags=("bulk_refused",))
        elif position:
            place = _Place.of(position)
        async for page in self._paged(task, place):
            yield page

    # --- In bulk -----------------------------------------------------------------------------------------------

    async def _bulk_pages(self, task: Task, position: JSON | None) -> AsyncIterator[RawPage]:
        number = int(position["number"]) if position else 1
        async for part in BulkReader(self.client, self.page_size or ORDERS_A_PAGE).parts(task, position):
            number += 1
            yield self._bulk_page(part, number - 1, None if part.position is None else {**part.position, "number": number})

    def _bulk_page(self, part: Part, number: int, position: JSON | None) -> RawPage:
        return RawPage(
            stream="bulk_orders",
            body=part.body(),
            number=number,
            fetched_at=part.fetched_at,
            api_version=part.api_version,
            time_zone=self.source.time_zone,
            currency=self.source.currency,
            records=part.orders,
            position=position,
            instants=instants_of(part.records),
            keys=tuple(key_of(record) for record in part.records if record.get("__parentId") is None),
            flags=part.flags,
            broken=part.broken,
        )

    # --- Page by page ------------------------------------------------------------------------------------------

    async def _paged(self, task: Task, place: _Place) -> AsyncIterator[RawPage]:
        """Raises Bug where a cursor leads back to what was read: it would go on so for ever."""
        # What an order has more of is asked for anew where the order itself comes again: so that is known for a page only.
        lists, drained = set[str | None](), set[str]()
        while not place.is_over:
            if place.drain:
                drained.add(json.dumps(place.drain[0]))
                page, after = await self._drained(place)
                is_back = bool(after.drain) and json.dumps(after.drain[0]) in drained
            else:
                lists.add(place.after)
                drained.clear()
                page, after = await self._orders(task, place)
                is_back = not after.is_end and after.after in lists
            if is_back:
                raise Bug(f"shop {self.client.shop}: a list has more, and its endCursor leads back to what was read")
            place = after
            yield page

    async def _orders(self, task: Task, place: _Place) -> tuple[RawPage, _Place]:
        """A page of orders, and the place after it."""
        if place.read + place.first > _DEEPEST:
            raise AskForLess(f"shop {self.client.shop}: more than {_DEEPEST} orders in a window cannot be read page by page")
        while True:
            sizes = {"first": place.first, "agreements": AGREEMENTS_AT_ONCE, "sales": SALES_AT_ONCE}
            try:
                answer = await self.client.ask(ORDERS, {"q": search(task), "after": place.after, **sizes})
                break
            except AskForLess:
                # Too dear, or the answer too large.
                if place.first == 1:
                    raise
                place = replace(place, first=place.first // 2)
        orders = answer.data.get("orders")
        nodes, (has_more, end) = nodes_of(orders), end_of(orders)
        drain = (rest_of(str(node.get("id")), node.get("agreements"), None, None, AGREEMENTS_AT_ONCE) for node in nodes)
        after = replace(
            place,
            after=end,
            number=place.number + 1,
            read=place.read + len(nodes),
            drain=tuple(item for item in drain if item is not None),
            is_end=not has_more,
        )
        is_list = isinstance(orders, dict) and isinstance(orders.get("nodes"), list) and isinstance(orders.get("pageInfo"), dict)
        page = self._page(
            answer, place, after, nodes, "" if is_list else "no page of orders: data.orders has no nodes and pageInfo"
        )
        return replace(page, keys=tuple(key_of(node) for node in nodes)), after

    async def _drained(self, place: _Place) -> tuple[RawPage, _Place]:
        """A page with more of an order that did not fit on its page, and the place after it."""
        item, *rest = place.drain
        variables = {
            "id": item["order"],
            "after": item["after"],
            "afterSale": item["after_sale"],
            "agreements": item["size"],
            "sales": SALES_OF_ONE if item["size"] == 1 else DRAINED_SALES,
        }
        answer = await self.client.ask(ORDER_AGREEMENTS, variables)
        order = answer.data.get("order")
        # An order that was deleted since has nothing more to read.
        nodes = [order] if isinstance(order, dict) else []
        more = (
            rest_of(item["order"], nodes[0].get("agreements"), item["after"], item["after_sale"], item["size"]) if nodes else None
        )
        after = replace(place, number=place.number + 1, drain=((more,) if more else ()) + tuple(rest))
        return replace(self._page(answer, place, after, nodes, ""), request={"drain": dict(item)}), after

    def _page(self, answer: GraphQL, place: _Place, after: _Place, nodes: list[JSON], broken: str) -> RawPage:
        return RawPage(
            stream="orders",
            body=answer.response.body,
            number=place.number,
            fetched_at=answer.response.fetched_at,
            api_version=answer.api_version,
            time_zone=self.source.time_zone,
            currency=self.source.currency,
            records=len(nodes),
            position=after.json(),
            instants=instants_of(nodes),
            flags=(*place.flags, *answer.flags),
            # The body also tells how many points are left, which are other ones at each call.
            sameness=json.dumps(answer.data, sort_keys=True).encode(),
            broken=broken,
        )
