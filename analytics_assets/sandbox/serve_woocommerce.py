"""WooCommerce REST v3, as the stores of the world answer it: {base}/stores/{slug}/wp-json/...

Read only. A seventh of the stores is of an older version, without /refunds and without orderby=modified.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from analytics_assets.sandbox.shop_records import links
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.woocommerce_access import Refused, check_access
from analytics_assets.sandbox.woocommerce_customers import list_customers, one_customer
from analytics_assets.sandbox.woocommerce_lists import (
    STATUSES,
    Answer,
    Call,
    Stores,
    encode,
    list_order_refunds,
    list_orders,
    list_refunds,
    no_route,
    one_order,
    span,
    state,
)
from analytics_assets.sandbox.woocommerce_query import read_params

_NO_STORE = b"<!doctype html><html><head><title>Page not found</title></head><body><h1>404</h1></body></html>"


def routes(sandbox: Sandbox) -> list[Route]:
    """The stores' addresses. A path that a store does not know is answered as WordPress does."""
    stores = Stores()
    path = "/stores/{slug}/wp-json"
    served: list[tuple[str, str, Callable[[Call], Answer], bool]] = [
        ("/", "index", _index, True),
        ("", "index", _index, True),
        ("/wc/v3/orders", "orders", list_orders, False),
        ("/wc/v3/orders/{id:int}", "order", one_order, False),
        ("/wc/v3/orders/{id:int}/refunds", "order_refunds", list_order_refunds, False),
        ("/wc/v3/refunds", "refunds", list_refunds, False),
        ("/wc/v3/customers", "customers", list_customers, False),
        ("/wc/v3/customers/{id:int}", "customer", one_customer, False),
        ("/wc/v3/reports/orders/totals", "totals", _totals, False),
        ("/wc/v3/settings/general/woocommerce_currency", "currency", _currency, False),
        ("/{path:path}", "no_route", no_route, True),
    ]
    return [
        Route(path + end, _endpoint(sandbox, stores, kind, answer, is_open), methods=["GET"])
        for end, kind, answer, is_open in served
    ]


def _endpoint(
    sandbox: Sandbox, stores: Stores, kind: str, answer: Callable[[Call], Answer], is_open: bool
) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        one = sandbox.world.by_slug.get(request.path_params["slug"])
        if one is None:
            return Response(_NO_STORE, 404, media_type="text/html")
        params, lists = read_params(request)
        call = Call(request, sandbox, stores, one, int(sandbox.clock.now().timestamp()), params, lists)
        try:
            if not is_open:
                check_access(request, one, params)
                _suffer(call)
            body, headers = answer(call)
        except Refused as refused:
            return _json(refused.body, refused.status, refused.headers)
        sandbox.counts[f"woocommerce:{kind}"] += 1
        return _json(body, 200, headers)

    return endpoint


def _json(body: Any, status: int, headers: Mapping[str, str]) -> Response:
    content = body if isinstance(body, bytes) else encode(body)
    return Response(content, status, headers, "application/json; charset=UTF-8")


def _suffer(call: Call) -> None:
    """Faults in WooCommerce's own form."""
    if call.sandbox.faults.refused("woocommerce", call.one.slug):
        raise Refused(401, "woocommerce_rest_authentication_error", "Consumer key is invalid.")
    fault = call.sandbox.faults.strike("woocommerce", call.one.slug, ("throttled", "revoked", "forbidden"))
    if fault is None:
        return
    if fault.kind == "throttled":
        raise Refused(429, "too_many_requests", "Too many requests.", headers={"Retry-After": str(max(1, round(fault.seconds)))})
    if fault.kind == "revoked":
        raise Refused(401, "woocommerce_rest_authentication_error", "Consumer key is invalid.")
    raise Refused(403, "woocommerce_rest_cannot_view", "Sorry, you cannot list resources.")


# --- The store ---------------------------------------------------------------------------------------------


def _totals(call: Call) -> Answer:
    counts = dict.fromkeys(STATUSES, 0)
    for entry in span(call):
        one = state(call, entry)
        if one is not None and one.status in counts:
            counts[one.status] += 1
    return [{"slug": slug, "name": name, "total": counts[slug]} for slug, name in STATUSES.items()], {}


def _currency(call: Call) -> Answer:
    setting = {
        "id": "woocommerce_currency", "label": "Currency", "description": "", "type": "select", "default": "USD",
        "tip": "What currency prices are listed in.", "value": call.shop.currency,
        "options": {call.shop.currency: call.shop.currency}, "group_id": "general",
        "_links": links(call.shop, "settings", "general", "woocommerce_currency"),
    }  # fmt: skip
    return setting, {}


def _index(call: Call) -> Answer:
    now = datetime.fromtimestamp(call.now, ZoneInfo(call.shop.time_zone))
    offset = now.utcoffset()
    hours = 0 if offset is None else offset.total_seconds() / 3600
    home = str(call.request.url.replace(query="")).rstrip("/").removesuffix("/wp-json")
    index: dict[str, Any] = {
        "name": call.shop.name, "description": "", "url": home, "home": home,
        "gmt_offset": int(hours) if hours == int(hours) else hours, "timezone_string": call.shop.time_zone,
        "namespaces": ["oembed/1.0", "wc/v1", "wc/v2", "wc/v3", "wp/v2"], "authentication": [], "routes": {},
    }  # fmt: skip
    return index, {}
