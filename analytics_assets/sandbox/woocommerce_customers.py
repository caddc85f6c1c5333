"""The customers of a WooCommerce store as its REST API lists them. They register with their first order, and stay."""

from __future__ import annotations

from dataclasses import replace

from analytics_assets.sandbox.shop_records import Record, customer_record
from analytics_assets.sandbox.store_state import (
    Entry,
    days,
    history,
    local_date,
    registered,
    registration_day,
    registrations,
)
from analytics_assets.sandbox.woocommerce_access import Refused
from analytics_assets.sandbox.woocommerce_lists import Answer, Call
from analytics_assets.sandbox.woocommerce_query import page_headers

_ORDERBY = ("id", "include", "name", "registered_date")


def _customer_record(call: Call, entry: Entry) -> Record:
    """As it is now: a first order that is not paid yet makes nobody a paying customer."""
    order = history("woocommerce", call.shop, entry).order
    paid = order.versions[0].paid
    if paid is not None and paid > call.now:
        order = replace(order, versions=(replace(order.versions[0], paid=None),))
    return customer_record(order)


def list_customers(call: Call) -> Answer:
    """GET /customers. Ids ascend with the time of registration, so a page is found by counting days."""
    listing = call.listing(_ORDERBY, "name", ascending=True)
    if call.params.get("role", "customer") not in ("customer", "all"):
        return [], page_headers(call.request, listing, 0)
    passed = list(days(call.sandbox.world.first_day, local_date(call.shop, call.now)))
    if listing.include or listing.exclude or listing.orderby == "name":
        wanted = {registration_day(call.shop, one) for one in listing.include} if listing.include else set(passed)
        found = [
            entry for day in passed if day in wanted for entry in registered("woocommerce", call.shop, day, call.now)
            if entry.customer_id not in listing.exclude and (not listing.include or entry.customer_id in listing.include)
        ]  # fmt: skip
        records = [_customer_record(call, entry) for entry in found]
        if listing.orderby == "name":
            records = sorted(records, key=lambda one: (one["first_name"], one["last_name"], one["id"]))
        records = records[::-1] if listing.descending else records
        return [listing.keep(one) for one in listing.cut(records)], page_headers(call.request, listing, len(records))
    counts = [registrations("woocommerce", call.shop, day, call.now) for day in passed]
    total, start = sum(counts), (listing.page - 1) * listing.per_page
    low, high = start, min(start + listing.per_page, total)
    if listing.descending:
        low, high = max(total - start - listing.per_page, 0), total - start
    page, seen = [], 0
    for day, count in zip(passed, counts, strict=True):
        if seen < high and seen + count > low:
            page += registered("woocommerce", call.shop, day, call.now)[max(low - seen, 0) : high - seen]
        seen += count
    page = page[::-1] if listing.descending else page
    return [listing.keep(_customer_record(call, one)) for one in page], page_headers(call.request, listing, total)


def one_customer(call: Call) -> Answer:
    """GET /customers/{id}."""
    wanted = call.request.path_params["id"]
    day = registration_day(call.shop, wanted)
    if day >= call.sandbox.world.first_day:
        for entry in registered("woocommerce", call.shop, day, call.now):
            if entry.customer_id == wanted:
                return call.listing(_ORDERBY, "name").keep(_customer_record(call, entry)), {}
    raise Refused(404, "woocommerce_rest_invalid_id", "Invalid resource ID.")
