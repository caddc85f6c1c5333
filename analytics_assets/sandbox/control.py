"""What steers a running sandbox from outside, under /_sandbox/: its clock, its faults, its counts and its truth."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from analytics_assets.sandbox import ads, store_truth, traffic
from analytics_assets.sandbox.faults import Fault
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import SandboxOrganization, World

_Hourly = Callable[[World, SandboxOrganization, datetime], dict[tuple[str, datetime], Decimal]]
_Daily = Callable[[World, SandboxOrganization, datetime], dict[tuple[str, date], Decimal]]
TRUTHS: dict[str, tuple[_Hourly, _Daily]] = {
    "google_analytics": (traffic.hourly_truth, traffic.daily_truth),
    "meta_ads": (ads.hourly_truth, ads.daily_truth),
    "woocommerce": (store_truth.hourly_truth_woocommerce, store_truth.daily_truth_woocommerce),
    "shopify": (store_truth.hourly_truth_shopify, store_truth.daily_truth_shopify),
}


class _Control:
    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    async def clock(self, request: Request) -> Response:
        """GET; PUT {"now": "2026-11-20T12:00:00Z"}, or null: the machine's time."""
        if request.method == "PUT":
            text = (await _body(request))["now"]
            at = datetime.fromisoformat(text) if text is not None else None
            self.sandbox.clock.set(at.replace(tzinfo=at.tzinfo or UTC) if at else None)
        return JSONResponse({"now": self.sandbox.clock.now().isoformat()})

    async def faults(self, request: Request) -> Response:
        """GET; POST a fault or a list of them; DELETE: all of them."""
        faults = self.sandbox.faults
        if request.method == "POST":
            body = json.loads(await request.body())
            for fault in [Fault.read(item) for item in (body if isinstance(body, list) else [body])]:
                faults.add(fault)
        elif request.method == "DELETE":
            faults.clear()
        return JSONResponse([asdict(fault) for fault in faults.active])

    async def counts(self, request: Request) -> Response:
        """GET; DELETE: begin anew."""
        if request.method == "DELETE":
            self.sandbox.counts.clear()
        return JSONResponse(dict(sorted(self.sandbox.counts.items())))

    async def organizations(self, request: Request) -> Response:
        """GET: the organisations and their accounts, without secrets."""
        return JSONResponse(
            [
                {
                    "slug": one.slug, "name": one.name, "time_zone": one.time_zone, "currency": one.currency,
                    "property_id": one.property_id, "property_zone": one.property_zone,
                    "ad_account": one.ad_account, "ad_zone": one.ad_zone, "ad_currency": one.ad_currency,
                    "store_url": f"{str(request.base_url).rstrip('/')}/stores/{one.slug}", "shop": one.shop_domain,
                }
                for one in self.sandbox.world.organizations
            ]
        )  # fmt: skip

    async def truth(self, request: Request) -> Response:
        """GET /_sandbox/truth/{vendor}/{slug}: what the aggregates must be now, as lists of [metric, hour or day, value]."""
        truths = TRUTHS.get(request.path_params["vendor"])
        one = self.sandbox.world.by_slug.get(request.path_params["slug"])
        if truths is None or one is None:
            return JSONResponse({"error": "no such vendor or organisation"}, 404)
        now = self.sandbox.clock.now()
        hourly, daily = (truth(self.sandbox.world, one, now) for truth in truths)
        return JSONResponse(
            {
                "now": now.isoformat(),
                "hourly": [[metric, at.isoformat(), str(value)] for (metric, at), value in hourly.items()],
                "daily": [[metric, day.isoformat(), str(value)] for (metric, day), value in daily.items()],
            }
        )


async def _body(request: Request) -> dict[str, Any]:
    body = json.loads(await request.body())
    if not isinstance(body, dict):
        raise ValueError("the body is no JSON object")
    return body


def _endpoint(handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        try:
            answer: Response = await handler(request)
        except (ValueError, TypeError, KeyError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return answer

    return endpoint


def routes(sandbox: Sandbox) -> list[Route]:
    """The addresses under /_sandbox/."""
    control = _Control(sandbox)
    return [
        Route("/_sandbox/clock", _endpoint(control.clock), methods=["GET", "PUT"]),
        Route("/_sandbox/faults", _endpoint(control.faults), methods=["GET", "POST", "DELETE"]),
        Route("/_sandbox/counts", _endpoint(control.counts), methods=["GET", "DELETE"]),
        Route("/_sandbox/organizations", control.organizations, methods=["GET"]),
        Route("/_sandbox/truth/{vendor}/{slug}", control.truth, methods=["GET"]),
    ]
