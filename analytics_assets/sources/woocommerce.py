"""Orders, refunds and customers of a WooCommerce store, from its REST API v3.

Lists are read by time of modification, in UTC, by id, page by page. A list has no cursor: whoever leaves it while it is read
shifts the pages after, which its total betrays; the window is then read again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from analytics_assets.raw.shapes import STREAMS, PageError, read_page
from analytics_assets.sources.addresses import check_store_url
from analytics_assets.sources.connector import JSON, Account, Connector, RawPage, Source, StreamPolicy, Task
from analytics_assets.sources.failures import Bug, WrongConfiguration
from analytics_assets.sources.http import Http
from analytics_assets.sources.vendors import Vendors
from analytics_assets.sources.woocommerce_answers import Missing, NoRoute, time_zone_of
from analytics_assets.sources.woocommerce_store import USUAL_SIZE, Answer, Place, Store

_API = "wc/v3"
_SECOND = timedelta(seconds=1)
_BY_ID = {"orderby": "id", "order": "asc", "dates_are_gmt": "true"}


def _text(moment: datetime) -> str:
    """As the store compares it: UTC without offset. A trailing Z would be read over, an offset too."""
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat()


def _within(task: Task, prefix: str = "") -> dict[str, str]:
    """The task's window. The store's bounds exclude both ends, and it keeps whole seconds: so a window begins a second
    early, or what happened in the second between two windows would be in neither."""
    return {f"{prefix}after": _text(task.start.replace(microsecond=0) - _SECOND), f"{prefix}before": _text(task.end)}


def _is_true(name: str, value: Any) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}
    found = words.get(str(value).strip().lower())
    if found is None:
        raise WrongConfiguration(f"{name}: {str(value)[:40]!r} is neither true nor false")
    return found


class WooCommerce(Connector):
    """A store, read with a consumer key that may only read."""

    source_type: ClassVar[str] = "woocommerce"
    policies: ClassVar[tuple[StreamPolicy, ...]] = (
        *(
            StreamPolicy(stream, "entity", timedelta(minutes=10), timedelta(hours=48), timedelta(days=days))
            for stream, days in (("orders", 30), ("refunds", 30), ("customers", 3650), ("trashed_orders", 30))
        ),
        StreamPolicy("order_ids", "report", None, timedelta(days=35), timedelta(days=35)),
    )
    required_settings: ClassVar[tuple[str, ...]] = ("store_url",)
    secret_choices: ClassVar[tuple[tuple[str, ...], ...]] = (("consumer_key", "consumer_secret"),)

    def __init__(self, source: Source, http: Http, vendors: Vendors, *, page_size: int | None = None) -> None:
        super().__init__(source, http, vendors, page_size=page_size)
        self.store = Store(source, http, may_use_query=_is_true("query_auth", source.settings.get("query_auth", False)))

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any], vendors: Vendors) -> JSON:
        """store_url as the store's address without a slash at its end, and query_auth where it is on."""
        unknown = sorted(set(settings) - {"store_url", "query_auth"})
        if unknown:
            raise WrongConfiguration(f"{unknown[0]!r}: no setting of a WooCommerce source; there are store_url and query_auth")
        url = settings.get("store_url")
        if not isinstance(url, str) or not url.strip():
            raise WrongConfiguration("store_url: missing; expected the store's address, such as https://shop.example.com")
        checked: JSON = {"store_url": check_store_url(url.strip(), vendors.store_hosts).rstrip("/")}
        if _is_true("query_auth", settings.get("query_auth", False)):
            checked["query_auth"] = True
        return checked

    async def account(self) -> Account:
        """What the store says of itself, after it was seen that the key may read orders."""
        # Without the key: WordPress would take it for a user's name and password there, and refuse.
        _, index = await self.store.send("", {"_fields": "name,timezone_string,gmt_offset"}, with_key=False)
        await self.store.get(f"{_API}/orders", {"per_page": "1", "_fields": "id"})
        _, setting = await self.store.get(f"{_API}/settings/general/woocommerce_currency", {})
        currency = setting.get("value") if isinstance(setting, dict) else None
        if not isinstance(index, dict) or not isinstance(currency, str) or len(currency) != 3:
            raise Bug(f"store {self.store.name}: its settings are not understood (currency {currency!r:.40})")
        zone = time_zone_of(self.store.name, index.get("timezone_string"), index.get("gmt_offset"))
        return Account(zone, currency.upper(), str(index.get("name") or ""))

    async def pages(self, task: Task, position: JSON | None = None) -> AsyncIterator[RawPage]:
        """See Connector. A window without records is one page without records."""
        place = Place(**position) if position else Place(per_page=self.page_size or USUAL_SIZE)
        match task.stream:
            case "orders" | "trashed_orders":
                status = "any" if task.stream == "orders" else "trash"
                params = {**_BY_ID, **_within(task, "modified_"), "status": status, "dp": "4"}
                async for answer in self.store.pages(f"{_API}/orders", params, place):
                    yield self._raw("orders", answer)
            case "refunds":
                async for page in self._refunds(task, place):
                    yield page
            case "customers":
                async for page in self._customers(task, place):
                    yield page
            case "order_ids":
                async for page in self._order_ids(task, place):
                    yield page
            case _:
                raise Bug(f"woocommerce has no stream {task.stream}")

    def _raw(self, stream: str, answer: Answer) -> RawPage:
        """A page of a stream that raw.shapes knows."""
        response, broken, instants, count = answer.response, "", tuple[datetime, ...](), 0
        try:
            read = read_page(response.body, STREAMS["woocommerce", stream], self.source.time_zone)
            instants, count = tuple(read.instants), read.records
        except PageError as error:
            broken = str(error)
        return RawPage(
            stream=stream,
            body=response.body,
            number=answer.place.number,
            fetched_at=response.fetched_at,
            api_version=_API,
            time_zone=self.source.time_zone,
            currency=self.source.currency,
            records=count,
            position=None if answer.after is None else answer.after.json(),
            instants=instants,
            keys=() if broken else tuple(str(record["id"]) for record in answer.records),
            broken=broken,
        )

    async def _refunds(self, task: Task, place: Place) -> AsyncIterator[RawPage]:
        if place.by_order is None:
            try:
                async for answer in self.store.pages(f"{_API}/refunds", {**_BY_ID, **_within(task), "dp": "4"}, place):
                    yield self._raw("refunds", answer)
                return
            except NoRoute:
                # Older stores have no list of all refunds.
                place = replace(place, page=1, total=None, by_order=0)
        async for page in self._refunds_by_order(task, place):
            yield page

    async def _refunds_by_order(self, task: Task, place: Place) -> AsyncIterator[RawPage]:
        """Refunds of an older store: those of each order of the window that has some. A page an order, and at the end of
        the list one without records."""
        # A refund modifies its order, so it is among the orders modified in the window.
        params = {**_BY_ID, **_within(task, "modified_"), "status": "any", "_fields": "id,refunds"}
        number, done = place.number, place.by_order or 0
        async for answer in self.store.pages(f"{_API}/orders", params, place):
            for order_id in (int(order["id"]) for order in answer.records if order.get("refunds")):
                # Read before the window was broken off.
                if order_id <= done:
                    continue
                async for refunds in self._refunds_of(order_id, replace(answer.place, number=number)):
                    yield refunds
                    number += 1
            if answer.after is None:
                end = replace(answer.place, number=number)
                yield self._raw("refunds", Answer(replace(answer.response, body=b"[]"), [], end, None))

    async def _refunds_of(self, order_id: int, place: Place) -> AsyncIterator[RawPage]:
        """The refunds of an order; on resuming, an order of which only some pages were read is read again."""
        try:
            inner = Place(per_page=USUAL_SIZE)
            async for answer in self.store.pages(f"{_API}/orders/{order_id}/refunds", {**_BY_ID, "dp": "4"}, inner):
                at = replace(place, number=place.number + answer.place.number - 1)
                is_done = answer.after is None
                after = replace(at, by_order=order_id if is_done else order_id - 1, number=at.number + 1)
                page = self._raw("refunds", replace(answer, place=at, after=after))
                yield replace(page, request={"order_id": order_id})
        except Missing:
            # Deleted since it was listed; its deletion is found by order_ids.
            return

    async def _customers(self, task: Task, place: Place) -> AsyncIterator[RawPage]:
        """Newest first, down to those who registered before the window; of a re-read all, since a customer's changes have
        no list of their own."""
        params = {"orderby": "registered_date", "order": "desc", "role": "all"}
        since = None if task.purpose in ("reread", "backfill") else _text(task.start)
        async for answer in self.store.pages(f"{_API}/customers", params, place, may_grow=True):
            dates = [date for record in answer.records if isinstance(date := record.get("date_created_gmt"), str)]
            is_enough = since is not None and bool(dates) and min(dates) < since
            yield self._raw("customers", replace(answer, after=None) if is_enough else answer)
            if is_enough:
                return

    async def _order_ids(self, task: Task, place: Place) -> AsyncIterator[RawPage]:
        """Every order placed in the window that is not deleted for good: those of any status, then those in the trash."""
        fields = {"_fields": "id,status,date_created_gmt,date_modified_gmt"}
        lists = ["trash"] if place.status == "trash" else ["any", "trash"]
        for status in lists:
            place = replace(place, status=status)
            async for answer in self.store.pages(
                f"{_API}/orders", {**_BY_ID, **_within(task), **fields, "status": status}, place, is_whole=True
            ):
                after = answer.after
                if after is None and status != lists[-1]:
                    after = Place(1, answer.place.per_page, None, answer.place.number + 1, lists[-1])
                    place = after
                records = answer.records
                is_list = isinstance(answer.value, list) and len(records) == len(answer.value)
                yield RawPage(
                    stream="order_ids",
                    body=answer.response.body,
                    number=answer.place.number,
                    fetched_at=answer.response.fetched_at,
                    api_version=_API,
                    time_zone=self.source.time_zone,
                    currency=self.source.currency,
                    records=len(records),
                    position=None if after is None else after.json(),
                    window_start=task.start,
                    window_end=task.end,
                    keys=tuple(str(record["id"]) for record in records),
                    broken="" if is_list else "no list of orders with their ids",
                )
