"""The faults that are alike for every vendor, made before and after the handlers: a pure ASGI middleware."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from analytics_assets.sandbox.faults import GENERIC, Fault
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import World

#: The server puts a function under this name in scope["extensions"]: it closes the connection without an answer.
DROP = "sandbox.drop"

_GOOGLE = re.compile(r"/v1beta/properties/(\d+)")
_META = re.compile(r"/v\d+\.\d+/(?:act_|6)(\d{9})")
_STORE = re.compile(r"/stores/([^/]+)/")
_SHOP = re.compile(r"/shopify/([^/]+)/")
_PAGE = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"


def whose(world: World, path: str) -> tuple[str, str | None] | None:
    """Vendor and organisation (slug) that an address belongs to; None: no vendor's."""
    if path == "/google/token":
        return "google_token", None
    if path.startswith("/shopify-results/"):
        return "shopify", None
    for pattern, vendor, accounts in (
        (_GOOGLE, "google_analytics", world.by_property),
        (_META, "meta_ads", world.by_ad_account),
        (_STORE, "woocommerce", world.by_slug),
        (_SHOP, "shopify_token" if path.endswith("/oauth/access_token") else "shopify", world.by_shop),
    ):
        if match := pattern.match(path):
            one = accounts.get(match[1])
            return vendor, one.slug if one else None
    return None


def _error(vendor: str, status: int, headers: dict[str, str]) -> Response:
    """An error as the vendor words it; stores and shops show the page of the server in front of them."""
    body: dict[str, Any]
    if vendor == "google_analytics":
        words = {429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}
        body = {"error": {"code": status, "message": "The service is currently unavailable.", "status": words[status]}}
    elif vendor == "meta_ads":
        code = 4 if status == 429 else 2
        message = "(#4) Application request limit reached" if code == 4 else "An unexpected error has occurred. Please retry."
        body = {"error": {"message": message, "type": "OAuthException", "is_transient": True, "code": code, "fbtrace_id": "A0"}}
    else:
        title = {429: "429 Too Many Requests", 500: "500 Internal Server Error", 503: "503 Service Unavailable"}[status]
        return Response(_PAGE.format(title), status, headers, "text/html")
    return Response(json.dumps(body), status, headers, "application/json; charset=UTF-8")


class FaultMiddleware:
    """Counts requests by vendor, and lets the faults in force hit them."""

    def __init__(self, app: ASGIApp, sandbox: Sandbox) -> None:
        self.app, self.sandbox = app, sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        owner = whose(self.sandbox.world, scope["path"]) if scope["type"] == "http" else None
        if owner is None:
            return await self.app(scope, receive, send)
        vendor, slug = owner
        self.sandbox.counts[f"{vendor}:requests"] += 1
        fault = self.sandbox.faults.strike(vendor, slug, GENERIC)
        if fault is None:
            return await self.app(scope, receive, send)
        self.sandbox.counts[f"{vendor}:fault:{fault.kind}"] += 1
        await self._suffer(fault, vendor, scope, receive, send)

    async def _suffer(self, fault: Fault, vendor: str, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.kind in ("429", "500", "503"):
            headers = {"Retry-After": str(round(fault.seconds))} if fault.kind == "429" else {}
            await _error(vendor, int(fault.kind), headers)(scope, receive, send)
        elif fault.kind == "html":
            page = _PAGE.format("Just a moment...")
            await Response(page, 200, media_type="text/html")(scope, receive, send)
        elif fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
            await self.app(scope, receive, send)
        elif fault.kind == "truncated":
            await self._cut(scope, receive, send)
        else:
            if fault.kind == "timeout":
                await _gone(receive, fault.seconds)
            scope["extensions"][DROP]()
            await _gone(receive, 1)

    async def _cut(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The first half of the answer, with the length of what is sent."""
        start: Message = {}
        body = bytearray()

        async def keep(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
            else:
                body.extend(message.get("body", b""))

        await self.app(scope, receive, keep)
        half = bytes(body[: len(body) // 2])
        headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        headers.append((b"content-length", str(len(half)).encode()))
        await send({"type": "http.response.start", "status": start["status"], "headers": headers})
        await send({"type": "http.response.body", "body": half})


async def _gone(receive: Receive, seconds: float) -> None:
    """Waits until the client has gone, or so long."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        pass
