"""Shopify's GraphQL Admin API, as the shops of the world answer it.

POST {base}/shopify/{shop}/admin/api/{version}/graphql.json, POST {base}/shopify/{shop}/admin/oauth/access_token, and
the files of bulk operations at {base}/shopify-results/{key}.jsonl.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from analytics_assets.sandbox.faults import Fault
from analytics_assets.sandbox.shop_world import day_bounds
from analytics_assets.sandbox.shopify_access import RESTORE, Access, throttle_status
from analytics_assets.sandbox.shopify_bulk import BulkOperations
from analytics_assets.sandbox.shopify_graphql import (
    Field,
    Page,
    Query,
    QueryError,
    Resolver,
    cut,
    introspect,
    prepare,
    requested_cost,
    select,
)
from analytics_assets.sandbox.shopify_records import Node, gid, instant, order_node
from analytics_assets.sandbox.shopify_search import offset_text, order_page
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.store_state import find
from analytics_assets.sandbox.world import SandboxOrganization

#: Versions that are open; one that is older falls forward to the first of them, one that is not known to the last.
VERSIONS = ("2026-01", "2026-04", "2026-07", "2026-10")
COST_LIMIT = 1000
_LIMITS = "https://shopify.dev/api/usage/rate-limits"
_UNKNOWN_TOKEN = {"errors": "[API] Invalid API key or access token (unrecognized login or wrong password)"}


@dataclass
class _Shops:
    sandbox: Sandbox
    access: Access
    bulk: BulkOperations


@dataclass
class _Call:
    """One request of GraphQL; ``warnings`` gathers what is said of search queries."""

    shops: _Shops
    one: SandboxOrganization
    base: str
    now: int
    scopes: tuple[str, ...]
    warnings: list[Node] = field(default_factory=list)


def routes(sandbox: Sandbox) -> list[Route]:
    """The shops' addresses."""
    shops = _Shops(sandbox, Access(sandbox), BulkOperations(sandbox))

    async def graphql(request: Request) -> Response:
        return _graphql(shops, request, await request.body())

    async def token(request: Request) -> Response:
        return _token(shops, request, await request.body())

    async def result(request: Request) -> Response:
        content = shops.bulk.file(request.path_params["key"])
        if content is None:
            return Response("<Error><Code>NoSuchKey</Code></Error>", 404, media_type="application/xml")
        sandbox.counts["shopify:result"] += 1
        return Response(content, media_type="application/jsonl")

    return [
        Route("/shopify/{shop}/admin/api/{version}/graphql.json", graphql, methods=["POST"]),
        Route("/shopify/{shop}/admin/oauth/access_token", token, methods=["POST"]),
        Route("/shopify-results/{key}.jsonl", result, methods=["GET"]),
    ]


def _json(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    content = json.dumps(body, separators=(",", ":")).encode("ascii")
    return Response(content, status, headers, "application/json; charset=utf-8")


def _token(shops: _Shops, request: Request, body: bytes) -> Response:
    one = shops.sandbox.world.by_shop.get(request.path_params["shop"])
    if one is None:
        return _json({"errors": "Not Found"}, 404)
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            form = json.loads(body)
        except ValueError:
            form = None
        if not isinstance(form, dict):
            return _json({"error": "invalid_request", "error_description": "The body is no JSON object."}, 400)
    else:
        form = dict(parse_qsl(body.decode("utf-8", "replace")))
    status, answer = shops.access.grant(one, {str(name): str(value) for name, value in form.items()})
    shops.sandbox.counts["shopify_token:access_token"] += 1
    return _json(answer, status)


def version_in_force(version: str) -> str | None:
    """What answers a request for a version; None where that is no version at all."""
    if version == "unstable" or version in VERSIONS:
        return version
    if not re.fullmatch(r"\d{4}-\d\d", version):
        return None
    return VERSIONS[0] if version < VERSIONS[0] else VERSIONS[-1]


def _graphql(shops: _Shops, request: Request, body: bytes) -> Response:
    one, version = shops.sandbox.world.by_shop.get(request.path_params["shop"]), version_in_force(request.path_params["version"])
    if one is None or version is None:
        return _json({"errors": "Not Found"}, 404)
    headers = {"X-Shopify-API-Version": version}
    scopes = shops.access.scopes(one, request.headers.get("x-shopify-access-token", ""))
    fault = shops.sandbox.faults.strike("shopify", one.slug, ("throttled", "revoked", "forbidden", "reduce"))
    if scopes is None or (fault is not None and fault.kind == "revoked"):
        return _json(_UNKNOWN_TOKEN, 401, headers)
    if fault is not None and fault.kind == "forbidden":
        scopes = ()
    asked = _read_body(request, body)
    if asked is None:
        return _json({"errors": {"query": "Required parameter missing or invalid"}}, 400, headers)
    base = f"{request.url.scheme}://{request.url.netloc}"
    call = _Call(shops, one, base, int(shops.sandbox.clock.now().timestamp()), scopes)
    try:
        query = prepare(*asked)
        answer = {"data": introspect(*asked)} if query.introspects else _run(call, query, fault)
    except QueryError as error:
        return _json({"errors": [error.error]}, 200, headers)
    shops.sandbox.counts[f"shopify:{query.fields[0].name}"] += 1
    return _json(answer, 200, headers)


def _read_body(request: Request, body: bytes) -> tuple[str, Mapping[str, Any] | None, str | None] | None:
    if request.headers.get("content-type", "").startswith("application/graphql"):
        return body.decode("utf-8", "replace"), None, None
    try:
        asked = json.loads(body)
    except ValueError:
        return None
    if not isinstance(asked, dict) or not isinstance(asked.get("query"), str):
        return None
    variables, operation = asked.get("variables"), asked.get("operationName")
    if not isinstance(variables, dict | None) or not isinstance(operation, str | None):
        return None
    return asked["query"], variables, operation


def _run(call: _Call, query: Query, fault: Fault | None) -> Node:
    access, cost = call.shops.access, requested_cost(query)
    if cost > COST_LIMIT or (fault is not None and fault.kind == "reduce"):
        over = max(cost, COST_LIMIT + 1)
        raise QueryError(
            f"Query cost is {over}, which exceeds the single query max cost limit ({COST_LIMIT}).\n\nSee {_LIMITS} for more "
            "information on how the\ncost of a query is calculated.",
            "MAX_COST_EXCEEDED", cost=over, maxCost=COST_LIMIT, documentation=_LIMITS,
        )  # fmt: skip
    available = access.available(call.one)
    if fault is not None and fault.kind == "throttled":
        available = min(available, cost - fault.seconds * RESTORE)
    if cost > available:
        throttled = {"message": "Throttled", "extensions": {"code": "THROTTLED", "documentation": _LIMITS}}
        return {"errors": [throttled], "extensions": {"cost": _costs(cost, None, available)}}
    access.spend(call.one, cost)
    denied = _denied(call, query)
    if denied is not None:
        access.spend(call.one, -cost)
        return {"errors": [denied], "data": None, "extensions": {"cost": _costs(cost, 0, access.available(call.one))}}
    data, actual = select(query.fields, {"__typename": "QueryRoot" if query.kind == "query" else "Mutation"}, _resolvers(call))
    actual = cost if query.kind == "mutation" else min(actual, cost)
    access.spend(call.one, actual - cost)
    extensions: Node = {"cost": _costs(cost, actual, access.available(call.one))}
    if call.warnings:
        extensions["search"] = call.warnings
    return {"data": data, "extensions": extensions}


def _costs(requested: int, actual: int | None, available: float) -> Node:
    return {"requestedQueryCost": requested, "actualQueryCost": actual, "throttleStatus": throttle_status(available)}


def _denied(call: _Call, query: Query) -> Node | None:
    if "read_orders" in call.scopes:
        return None
    for one in query.fields:
        if one.name in ("order", "orders", "bulkOperationRunQuery"):
            required = "`read_orders` access scope."
            return {
                "message": f"Access denied for {one.name} field. Required access: {required}", "path": [one.key],
                "extensions": {"code": "ACCESS_DENIED", "documentation": "https://shopify.dev/api/usage/access-scopes",
                               "requiredAccess": required},
            }  # fmt: skip
    return None


# --- Root fields -------------------------------------------------------------------------------------------


def _resolvers(call: _Call) -> Mapping[str, Resolver]:
    bulk, one, base = call.shops.bulk, call.one, call.base
    return {
        "shop": lambda _: _shop(call),
        "orders": lambda field: _orders(call, field),
        "order": lambda field: _order(call, field.arguments["id"]),
        "node": lambda field: _node(call, field.arguments["id"]),
        "nodes": lambda field: [_node(call, identifier) for identifier in field.arguments["ids"]],
        "currentAppInstallation": lambda _: {
            "__typename": "AppInstallation", "id": gid("AppInstallation", one.number),
            "accessScopes": [{"__typename": "AccessScope", "handle": scope, "description": scope} for scope in call.scopes],
        },
        "currentBulkOperation": lambda field: bulk.current(one, base) if field.arguments["type"] == "QUERY" else None,
        "bulkOperation": lambda field: bulk.get(one, field.arguments["id"], base),
        "bulkOperations": lambda field: cut(bulk.all(one, base).nodes, field.arguments, field.name),
        "bulkOperationRunQuery": lambda field: {**bulk.run(one, field.arguments), "__typename": "BulkOperationRunQueryPayload"},
        "bulkOperationCancel": lambda field: {
            **bulk.cancel(one, field.arguments["id"], base), "__typename": "BulkOperationCancelPayload",
        },
    }  # fmt: skip


def _orders(call: _Call, field: Field) -> Page:
    page, warnings = order_page(field.arguments, call.one.shop, call.shops.sandbox.world.first_day, call.now)
    if warnings:
        call.warnings.append({"path": [field.key], "query": field.arguments.get("query"), "warnings": warnings})
    return page


def _order(call: _Call, identifier: str) -> Node | None:
    read = re.fullmatch(r"gid://shopify/Order/(\d{1,18})", identifier)
    entry = find("shopify", call.one.shop, call.shops.sandbox.world.first_day, int(read[1])) if read else None
    phase = -1 if entry is None else entry.phase(call.now)
    return None if entry is None or phase < 0 else order_node(call.one.shop, entry, phase)


def _node(call: _Call, identifier: str) -> Node | None:
    if identifier.startswith("gid://shopify/BulkOperation/"):
        return call.shops.bulk.get(call.one, identifier, call.base)
    return _order(call, identifier) if "read_orders" in call.scopes else None


def _shop(call: _Call) -> Node:
    shop, (offset, minutes) = call.one.shop, offset_text(call.one.shop, call.now)
    opened = day_bounds(shop.time_zone, call.shops.sandbox.world.first_day)[0]
    return {
        "__typename": "Shop", "id": gid("Shop", call.one.number), "name": shop.name, "myshopifyDomain": call.one.shop_domain,
        "currencyCode": shop.currency, "ianaTimezone": shop.time_zone, "timezoneOffset": offset,
        "timezoneOffsetMinutes": minutes, "createdAt": instant(opened), "url": f"https://{call.one.shop_domain}",
        "plan": {"__typename": "ShopPlan", "displayName": "Basic", "publicDisplayName": "Basic", "partnerDevelopment": False,
                 "shopifyPlus": False},
    }  # fmt: skip
